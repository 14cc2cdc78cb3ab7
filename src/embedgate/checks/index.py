"""Checks of an index as it is: are its rows this model's vectors, and what do today's queries find among them?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from embedgate.checks.check import Case, Check, Subject, indexes
from embedgate.checks.context import Context
from embedgate.checks.drawn import FLOATS, Drawn, DrawnRows, encoded_as
from embedgate.checks.drawn_faults import AGAIN, Explained, explain
from embedgate.checks.vectors import by_floor
from embedgate.core.errors import counted
from embedgate.core.judgement import DATASET, Diagnosis, Judgement, Verdict, WorstText
from embedgate.core.roles import DOCUMENT, QUERY
from embedgate.metrics import KEPT, ROWS_KEPT, Matrix, NotFinite, Scores, mean_of, require_finite
from embedgate.metrics.agreement import overlap_of
from embedgate.metrics.comparison import Comparison
from embedgate.metrics.retrieval import CUT, evaluate, similarities
from embedgate.metrics.statistics import compare
from embedgate.runtime.plan import Plan
from embedgate.vectors.codes import BITS, NEEDS_RANGES

RECALL = "recall_at_10"
WORST = 5
# Among fewer texts, ten results tell nothing.
FEWEST_TEXTS = 20


def of_rows(_: Plan) -> Iterable[Subject]:
    """One share of its rows."""
    return (Subject("", "", ROWS_KEPT),)


def of_search(_: Plan) -> Iterable[Subject]:
    """What is found of what today's vectors find, and of each text's own row."""
    return map(Subject.named, (KEPT, RECALL))


def rows(context: Context, case: Case) -> Judgement:
    """Whether the rows of stored vectors are what the model gives of their texts today."""
    drawn = context.of(DrawnRows).of(case)
    if not drawn.fits:
        return case.failed(_of_other_size(drawn), _whole(drawn))
    right = drawn.as_stored(drawn.today)
    near, cosines = drawn.points_at(right) & drawn.as_long_as(right), drawn.cosines(right)
    wrong = np.flatnonzero(~near).tolist()
    floor = context.tolerances.stored(_storage(drawn), ROWS_KEPT)
    found = _settled(by_floor(context, case, mean_of(near), floor, ROWS_KEPT), drawn)
    message = (
        f"{near.mean():.2%} of {_whole(drawn)} hold the model's vectors of their texts, {floor:.2%} is required"
        f"{_noted(drawn)}"
    )
    why = explain(context, case, drawn, wrong) if wrong else []
    told = tuple(each.line(drawn) for each in why)
    if why and found.verdict == "inconclusive":
        message += f"; {'; '.join(told)}"

    def worst() -> list[WorstText]:
        order = sorted(wrong, key=lambda place: np.nan_to_num(cosines[place], nan=-1.0))[:WORST]
        return [WorstText(drawn.rows.inputs[i].text, 1.0, float(np.nan_to_num(cosines[i], nan=-1.0))) for i in order]

    judged = case.compared(
        found, message, float(near.mean()), diagnose=lambda: _diagnosis(why, drawn), worst=worst, details=told[1:]
    )
    # Few enough to be tolerated, and wrong all the same: whoever keeps the index wants to know them.
    return replace(judged, details=told) if found.verdict == "pass" else judged


def finds(context: Context, case: Case) -> Judgement:
    """Whether today's queries find among stored vectors what they find among today's of the same texts."""
    drawn, metric = context.of(DrawnRows).of(case), case.subject.metric
    places = _documents(drawn)
    if not drawn.fits:
        return case.failed(_of_other_size(drawn))
    if len(places) < FEWEST_TEXTS:
        cause = f"{drawn.source.origin} has {counted(len(places), 'document')} among the rows drawn"
        step = f"give at least {FEWEST_TEXTS}, since ten of them are results"
        return case.unjudged(Diagnosis(DATASET, cause, step))
    texts = [drawn.rows.inputs[place].text for place in places]
    asked = encoded_as(context, case, context.plan.model.roles[QUERY], texts)[:, : drawn.source.dims]
    similarity = drawn.similarity
    queries, today = similarity.prepared(asked), similarity.prepared(drawn.today[places][:, : drawn.source.dims])
    try:
        require_finite(drawn.vectors[places], "stored vectors")
        documents = similarity.prepared(drawn.vectors[places])
        scores = _measured(queries, documents, today, drawn)
    except NotFinite as error:
        return case.unmeasured(error, Diagnosis("finiteness", str(error), "see stored.rows, which names the rows"))
    mine, theirs = scores[metric]
    storage = _storage(drawn)
    if metric == KEPT:
        floor = context.tolerances.stored(storage, KEPT)
        found = by_floor(context, case, mine, floor)
        message = (
            f"today's queries find {mine.value:.2%} of the ten among {len(texts)} stored vectors that they find among "
            f"today's vectors of the same texts, {floor:.2%} is required"
        )
    else:
        tolerance = context.tolerances.stored(storage, RECALL)
        found = compare(mine, theirs, tolerance, alpha=context.alpha, unit_loss=1.0, **context.share(case))
        message = (
            f"texts as queries find their own row in {mine.value:.2%} of {len(texts)} stored vectors, among today's "
            f"in {theirs.value:.2%}: keeps {found.observed:.2%}, {1 - tolerance:.2%} is required"
        )

    def worst() -> list[WorstText]:
        order = [int(i) for i in np.argsort(mine.items, kind="stable")[:WORST] if mine.items[i] < theirs.items[i]]
        return [WorstText(texts[i], float(theirs.items[i]), float(mine.items[i])) for i in order]

    return case.compared(
        _settled(found, drawn),
        message,
        mine.value,
        theirs.value,
        diagnose=lambda: Diagnosis("scores", message, "see stored.rows, which names rows that are not the model's"),
        worst=worst,
    )


def _documents(drawn: Drawn) -> list[int]:
    """The places of documents, each text once."""
    found: dict[str, int] = {}
    for place, each in enumerate(drawn.rows.inputs):
        if each.role == DOCUMENT:
            found.setdefault(each.text, place)
    return list(found.values())


def _measured(queries: Matrix, documents: Matrix, today: Matrix, drawn: Drawn) -> dict[str, tuple[Scores, Scores]]:
    """By metric, the scores of what is stored, and of today's vectors."""
    similarity = drawn.similarity
    kept = np.concatenate(
        [
            overlap_of(wanted, got, CUT)
            for (_, wanted), (_, got) in zip(
                similarities(queries, today, similarity), similarities(queries, documents, similarity), strict=True
            )
        ]
    )
    own = [{place: 1} for place in range(len(queries))]
    recalls = [evaluate(queries, arm, own, similarity)[RECALL] for arm in (documents, today)]
    return {KEPT: (mean_of(kept), mean_of(np.ones(len(kept)))), RECALL: (recalls[0], recalls[1])}


def _settled(found: Comparison, drawn: Drawn) -> Comparison:
    """A comparison where all rows were looked at, so that no other rows could change it."""
    if len(drawn.rows) < drawn.count:
        return found
    verdict: Verdict = "pass" if found.observed >= found.limit else "fail"
    ends = found.observed
    return replace(found, verdict=verdict, low=ends, high=ends, items_needed=None, largest_family=None)


def _whole(drawn: Drawn) -> str:
    drew = f"{len(drawn.rows):,} rows drawn from {drawn.count:,}" if len(drawn.rows) < drawn.count else ""
    return f"{drew or counted(drawn.count, 'row')} of {drawn.source.origin} ({drawn.precision})"


def _noted(drawn: Drawn) -> str:
    """What else is read from sound vectors: coarser numbers than their type could hold."""
    codes = drawn.rows.codes
    if drawn.has_steps:
        return f"; no dimension has more than 256 steps, as decoded 8-bit codes have, in {codes.dtype}"
    if codes.dtype.kind == "f" and codes.dtype.itemsize > 2 and np.isfinite(codes).all():
        with np.errstate(over="ignore"):
            if np.array_equal(codes, codes.astype(np.float16).astype(codes.dtype)):
                return f"; every value is one that float16 has, in {codes.dtype}"
    return ""


def _diagnosis(why: list[Explained], drawn: Drawn) -> Diagnosis:
    assert why, "what is red has wrong rows"
    return why[0].diagnosis(drawn)


def _of_other_size(drawn: Drawn) -> Diagnosis:
    """Why what is stored has another number of dimensions than the model."""
    width, dim = drawn.vectors.shape[1], drawn.today.shape[1]
    cause = f"the vectors have {width} dimensions, the model's {drawn.source.dims or dim}"
    if width < dim and drawn.precision in FLOATS:
        share = float(drawn.points_at(drawn.truncated()).mean())
        if share > 0.5:
            about = f"{cause}: they are the first {width} of {dim} in {share:.1%} of the rows"
            step = f"truncate queries alike, and say so: ::dims={width}; or embed everything again"
            return Diagnosis("dimension", about, step)
    return Diagnosis("dimension", cause, AGAIN)


def _storage(drawn: Drawn) -> str:
    """The storage whose tolerances count: queries stay float32 here."""
    if drawn.source.dims is not None:
        return f"{drawn.source.dims}d-{drawn.precision}"
    if drawn.precision in NEEDS_RANGES:
        return "int8-float32queries"
    return BITS[0] if drawn.precision in BITS else drawn.precision


def draw(context: Context, case: Case) -> None:
    """Reads and encodes what is judged, so that trouble there is an error."""
    context.of(DrawnRows).of(case)


ROWS = Check(
    "stored.rows",
    rows,
    indexes,
    of_rows,
    depth="quick",
    against="name",
    family="search",
    before=draw,
    texts="some",
    tolerances=("stored", "floor"),
    vocabulary=lambda: (ROWS_KEPT,),
)
FOUND = Check(
    "stored.search",
    finds,
    indexes,
    of_search,
    depth="quick",
    against="name",
    family="search",
    before=draw,
    texts="some",
    tolerances=("stored", "floor"),
    vocabulary=lambda: (KEPT, RECALL),
)
