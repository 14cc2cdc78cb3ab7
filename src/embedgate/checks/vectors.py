"""Checks of what stored vectors still find: codes, storages, a dataset's own judgements, shared indexes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from embedgate.checks.check import Case, Check, Missing, Subject, candidates
from embedgate.checks.context import Context
from embedgate.checks.quality import all_alike
from embedgate.checks.stored import FEWEST_CALIBRATION, UNMEASURED, Searched, StoredVectors
from embedgate.core.combination import Combination
from embedgate.core.depth import NIGHTLY, STANDARD, Depth
from embedgate.core.judgement import DATASET, Diagnosis, Judgement, WorstText
from embedgate.data.types import Retrieval
from embedgate.metrics import KEPT, METRICS, MIXED_KEPT, Matrix, Scores, mean_of
from embedgate.metrics.comparison import AllAlike, Comparison
from embedgate.metrics.statistics import compare, compare_floor
from embedgate.runtime.plan import Plan
from embedgate.runtime.session import Run
from embedgate.vectors.codes import NEEDS_RANGES, Ranges, codes_fault
from embedgate.vectors.collection import stored_name
from embedgate.vectors.measure import within_ranges
from embedgate.vectors.storage import EMBEDDING_PRECISIONS, FLOAT32, MIXTURES, EmbeddingPrecision, Storage

WORST = 5
# Ranges so many times as wide as the values they are for are other vectors': most of the 256 codes are never used.
WIDEST_RANGES = 2.0
# Under this mean cosine of the same texts, two combinations' vectors have nothing to do with each other.
SAME_SPACE = 0.5


def unavailable(plan: Plan, _: Subject) -> Missing | None:
    """Why stored vectors cannot be searched here; None where they can."""
    reason = plan.search_unavailable
    return Missing("stored vectors cannot be searched here", reason) if reason else None


def precisions(plan: Plan) -> Iterable[Subject]:
    """Each embedding precision but float32."""
    coded = [precision for precision in EMBEDDING_PRECISIONS if precision != FLOAT32.precision]
    return map(Subject.named, coded if plan.collection is not None else ())


def storages(plan: Plan) -> Iterable[Subject]:
    """Each storage of the collection's vectors."""
    if plan.collection is not None:
        for storage in plan.storages:
            yield Subject(storage.id, stored_name(plan.collection.name, storage.id), KEPT, storage)


def judged_storages(plan: Plan) -> Iterable[Subject]:
    """Each storage with each dataset that has judgements, and each metric of these."""
    if plan.collection is not None:
        for storage, dataset, metric in plan.stored_measures:
            name = stored_name(dataset.name, storage.id)
            yield Subject(f"{storage}-{dataset.name}-{metric}", name, metric, (storage, dataset))


def mixtures(plan: Plan) -> Iterable[Subject]:
    """Each way in which a combination and its reference share an index."""
    if plan.collection is not None:
        for mixture in MIXTURES.values():
            yield Subject(mixture.id, stored_name(plan.collection.name, mixture.id), MIXED_KEPT, mixture)


def not_built_first(plan: Plan, combination: Combination, _: Subject) -> Depth:
    """Standard for the reference and for what embedgate did not build, nightly for the others."""
    own = not combination.is_reference and not plan.registry.source(combination).origin
    return NIGHTLY if own else STANDARD


def codes(context: Context, case: Case) -> Judgement:
    """Whether codes say what the vectors say, and their ranges were taken from vectors like these."""
    run, stored = context.run(case), context.of(StoredVectors)
    precision: EmbeddingPrecision = case.subject.metric  # type: ignore[assignment]
    try:
        searched = stored.searched(run)
    except UNMEASURED as error:
        return case.unmeasured(error, context.diagnose(run))
    real, ranges = stored.real(searched.vectors), searched.ranges[None]
    has_ranges = precision in NEEDS_RANGES
    if has_ranges and (fault := _ranges_fault(context, case, searched, ranges, real)) is not None:
        return fault
    if cause := codes_fault(real, precision, ranges):
        step = "compare with sentence_transformers.util.quantize_embeddings"
        return case.failed(Diagnosis("codes", cause, step))
    message = f"{precision} codes of {len(real)} documents decode to their vectors"
    if not has_ranges:
        return case.passed(message)
    inside, asked = (mean_of(within_ranges(part, ranges)) for part in (real, searched.vectors.queries))
    limit = context.tolerances.stored(precision, "within_ranges")
    found = by_floor(context, case, inside, limit, "within_ranges")
    message += (
        f"; {inside.value:.2%} of their values lie within the ranges ({searched.origin}), {limit:.2%} is required; "
        f"{asked.value:.2%} of the queries'"
    )
    cause = f"ranges cut off {1 - inside.value:.2%} of the values: taken from too few or other vectors"
    return case.compared(
        found, message, inside.value, diagnose=lambda: Diagnosis("ranges", cause, _calibrate_again(context))
    )


def keeps(context: Context, case: Case) -> Judgement:
    """Whether a search among stored vectors still finds what exact search among float32 vectors does."""
    run, stored = context.run(case), context.of(StoredVectors)
    storage: Storage = case.subject.about
    collection = stored.collection
    floor = context.tolerances.stored(storage.id, KEPT)
    try:
        scores = stored.score(run, storage.id, collection.name, KEPT)
    except UNMEASURED as error:
        return case.unmeasured(error, context.diagnose(run))
    found = by_floor(context, case, scores, floor)
    message = (
        f"{storage} keeps {scores.value:.2%} of the ten that exact float32 search finds among {collection.size} "
        f"vectors, {floor:.2%} is required"
    )

    def worst() -> list[WorstText]:
        order = [int(i) for i in np.argsort(scores.items, kind="stable")[:WORST] if scores.items[i] < 1]
        return [WorstText(collection.queries[i].text, 1.0, float(scores.items[i])) for i in order]

    return _in_collection(context, case, found, message, lambda: _too_coarse(storage, message), worst)


def ranks(context: Context, case: Case) -> Judgement:
    """Whether a search among stored vectors is as good as one among float32 vectors, by a dataset's judgements."""
    session, run, metric = context.session, context.run(case), case.subject.metric
    subject: tuple[Storage, Retrieval] = case.subject.about
    storage, dataset = subject
    tolerance = context.tolerances.stored(storage.id, metric)
    try:
        mine = context.of(StoredVectors).score(run, storage.id, dataset.name, metric)
        theirs = session.scores(run, dataset)[metric]
    except UNMEASURED as error:
        return case.unmeasured(error, context.diagnose(run))
    unit_loss = METRICS[metric].unit_loss
    try:
        found = compare(mine, theirs, tolerance, alpha=context.alpha, unit_loss=unit_loss, **context.share(case))
    except AllAlike as error:
        return case.unjudged(all_alike(metric, dataset, error))
    except ValueError as error:
        cause = f"{metric} on {dataset.name} cannot be judged: {error}"
        return case.failed(Diagnosis(DATASET, cause, "give data on which float32 vectors score above chance"))
    reference = session.scores(context.reference_run(case), dataset)[metric].value
    message = (
        f"{storage} keeps {found.observed:.2%} of float32's {metric} on {dataset.name} ({mine.value:.4f} of "
        f"{theirs.value:.4f}), {1 - tolerance:.2%} is required"
    )
    if not case.combination.is_reference and reference > 0:
        message += f"; {mine.value / reference:.2%} of the reference's with float32 vectors"

    def worst() -> list[WorstText]:
        change = mine.items - theirs.items
        order = [int(i) for i in np.argsort(change, kind="stable")[:WORST] if change[i] < 0]
        return [WorstText(dataset.queries[i], float(theirs.items[i]), float(mine.items[i])) for i in order]

    return case.compared(
        found, message, mine.value, theirs.value, diagnose=lambda: _too_coarse(storage, message), worst=worst
    )


def mixes(context: Context, case: Case) -> Judgement:
    """Whether an index that two combinations share still finds what the reference finds in its own."""
    run, reference = context.run(case), case.combination.reference
    floor = context.tolerances.floor(case.combination, MIXED_KEPT)
    try:
        scores = context.of(StoredVectors).mixed(run)[case.subject.id]
    except UNMEASURED as error:
        return case.unmeasured(error, context.diagnose(run))
    except ValueError as error:  # a dimension of its own
        return case.failed(Diagnosis("dimension", str(error), "embed documents and queries with one model"))
    found = by_floor(context, case, scores, floor, MIXED_KEPT)
    message = (
        f"{case.subject.about.about(reference.id)} {scores.value:.2%} of the ten that "
        f"{reference} finds alone, {floor:.2%} is required"
    )
    return _in_collection(context, case, found, message, lambda: _no_space(context, run))


def by_floor(context: Context, case: Case, scores: Scores, floor: float, metric: str = KEPT) -> Comparison:
    """Compares scores with a floor."""
    return compare_floor(scores, floor, metric=metric, alpha=context.alpha, **context.share(case))


def _in_collection(
    context: Context,
    case: Case,
    found: Comparison,
    message: str,
    diagnose: Callable[[], Diagnosis],
    worst: Callable[[], Sequence[WorstText]] = tuple,
) -> Judgement:
    """A judgement of what is found in the collection; where floors mean nothing, it is left to baselines and told."""
    collection = context.of(StoredVectors).collection
    if collection.is_like_real:
        return case.compared(found, message, found.observed, 1.0, diagnose=diagnose, worst=worst)
    cause = (
        f"{collection.size} vectors are grown from {len(collection.documents)} documents, more than was compared with "
        "real text (docs/corpus.md), so floors do not judge what is found among them"
    )
    step = f"give more texts, or approve it and let test_baseline.py judge: {context.record_command}"
    return replace(
        case.compared(found, message, found.observed, 1.0),
        verdict="inconclusive",
        message=message,
        smallest_detectable_loss=None,
        items_needed=None,
        largest_family=None,
        diagnosis=Diagnosis(DATASET, cause, step),
    )


def _ranges_fault(context: Context, case: Case, searched: Searched, ranges: Ranges, real: Matrix) -> Judgement | None:
    """Returns the judgement of what is wrong with ranges as such; None where nothing is."""
    if 0 < ranges.vectors < FEWEST_CALIBRATION:
        share = 2 / (ranges.vectors + 1)
        cause = (
            f"ranges were taken from {ranges.vectors} vectors ({searched.origin}): of others like them, they cut "
            f"off {share:.1%} of all values; {FEWEST_CALIBRATION} are the fewest"
        )
        red = case.failed(Diagnosis("ranges", cause, _calibrate_again(context)))
        # Nothing is wrong with the combination where these data are simply few.
        return red if searched.calibrated else replace(red, verdict="inconclusive")
    width, used = ranges.high - ranges.low, np.ptp(real, axis=0)
    wide = float(np.median(width / np.maximum(used, np.float32(1e-12))))
    if wide > WIDEST_RANGES:
        cause = (
            f"ranges ({searched.origin}) are {wide:.1f} times as wide as the values of these vectors: taken from "
            "others, such as vectors that are not normalised"
        )
        return case.failed(Diagnosis("ranges", cause, _calibrate_again(context)))
    return None


def _calibrate_again(context: Context) -> str:
    if context.settings.ranges:
        return "take them anew from some thousand of the vectors that are stored, and store all of them again"
    return f"give data of more texts; then approve ranges by: {context.record_command}"


def _no_space(context: Context, run: Run) -> Diagnosis:
    """Why an index cannot be shared: the run's cause where one was shown, else whether vectors share a space at all."""
    found = context.diagnose(run)
    mine, theirs = context.session.side_by_side(run)
    cosine = float((mine.normalised * theirs.normalised).sum(axis=1).mean())
    if found.is_shown or cosine >= SAME_SPACE:
        return found
    cause = (
        f"queries and documents have no space in common: the mean cosine of the same text across "
        f"{run.combination} and {run.combination.reference} is {cosine:.3f}"
    )
    return Diagnosis("scores", cause, "embed queries and documents with one model; an upgrade embeds everything again")


def _too_coarse(storage: Storage, message: str) -> Diagnosis:
    """Why a storage loses what it loses, and what helps."""
    if storage.rescore:
        step = "rank more candidates again, or store in more bits"
    elif storage.precision == "uint8" and not storage.float_queries:
        step = "store int8, or keep queries float32: products of uint8 codes rank documents by their sums as well"
    elif storage.precision == "int8" and not storage.float_queries:
        step = "keep queries float32, or rank candidates again: products of codes alone ignore what a step is worth"
    else:
        step = "rank candidates again (rescore), or store in more bits"
    return Diagnosis("codes", message, step)


CODES = Check(
    "codes",
    codes,
    over=precisions,
    unavailable=unavailable,
    depth=not_built_first,
    phase="searches",
    against="name",
    family="search",
    tolerances=("stored",),
    vocabulary=lambda: EMBEDDING_PRECISIONS,
)
STORED = Check(
    "search.kept",
    keeps,
    over=storages,
    unavailable=unavailable,
    depth=not_built_first,
    phase="searches",
    family="search",
    tolerances=("stored",),
    vocabulary=lambda: METRICS,
)
STORED_RANKS = Check(
    "search.ranks",
    ranks,
    over=judged_storages,
    unavailable=unavailable,
    depth=not_built_first,
    phase="searches",
    family="search",
    tolerances=("stored",),
    vocabulary=lambda: METRICS,
)
MIXTURE = Check(
    "mixed",
    mixes,
    candidates,
    mixtures,
    unavailable=unavailable,
    depth=NIGHTLY,
    phase="searches",
    family="search",
    tolerances=("floor",),
    vocabulary=lambda: METRICS,
)
