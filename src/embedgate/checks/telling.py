"""Does each of some texts, in which losses show, lie where the reference has it? No approval is needed for that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from embedgate.checks.check import Case, Check, live_candidates
from embedgate.checks.context import Context, measuring
from embedgate.core.combination import Combination
from embedgate.core.errors import GateError, ResourceError, WidthError, counted
from embedgate.core.judgement import Diagnosis, Judgement, WorstText, quoted, rounding
from embedgate.core.roles import STS
from embedgate.data import load_golden
from embedgate.diagnosis.distance import distances, row_cosines
from embedgate.encoders import FloatArray
from embedgate.properties import telling
from embedgate.properties.contract import CANARIES
from embedgate.runtime.session import Run

# Texts that are shown of those that moved too far.
WORST = 5


# What an encoder makes of the texts that it does not refuse: an embedding, float32 `[dim]`, by the place of its text.
Rows: TypeAlias = Mapping[int, FloatArray]


@measuring
class Telling:
    """The texts, what they have in common, and what references make of them: once for all candidates."""

    def __init__(self, context: Context) -> None:
        self._session = context.session
        tokenizer = self._session.tokenizer
        canaries = (make(tokenizer) for name, make in CANARIES.items() if name not in telling.MONOTONOUS)
        self._canaries, self._others = tuple(canaries), telling.texts()
        self._references: dict[Combination, Rows] = {}
        self.texts = (*load_golden()[0], *self._canaries, *self._others)
        self.groups = telling.groups(self.texts, [self._tokens(text) for text in self.texts])

    def of_reference(self, run: Run) -> Rows:
        """What a reference makes of the texts."""
        if run.combination not in self._references:
            self._references[run.combination] = self.of(run)
        return self._references[run.combination]

    def of(self, run: Run) -> Rows:
        """What a run makes of the texts: the golden ones as they were encoded, canaries one by one."""
        golden = self._session.golden(run).embeddings
        rows = (*golden, *(self._alone(run, text) for text in self._canaries), *self._together(run))
        return {place: row for place, row in enumerate(rows) if row is not None}

    def _together(self, run: Run) -> Sequence[FloatArray | None]:
        try:
            return [*self._encoded(run, self._others)]
        except ResourceError:
            raise
        except GateError:  # it refuses one of them
            return [self._alone(run, text) for text in self._others]

    def _alone(self, run: Run, text: str) -> FloatArray | None:
        try:
            return np.asarray(self._encoded(run, [text])[0])
        except ResourceError:
            raise
        except GateError:
            return None

    def _encoded(self, run: Run, texts: Sequence[str]) -> FloatArray:
        return self._session.encode_as(run, run.model.roles[STS], texts)

    def _tokens(self, text: str) -> int:
        """How many tokens a text has; words where nobody knows."""
        tokenizer = self._session.tokenizer
        try:
            return len(text.split()) if tokenizer is None else len(tokenizer.ids([text])[0])
        except (GateError, UnicodeError, TypeError):  # half of a pair of surrogates
            return len(text.split())


def keeps_texts(context: Context, case: Case) -> Judgement:
    """Whether each of the golden texts, odd ones, and others in which losses show lies where the reference has it."""
    run, known = context.run(case), context.of(Telling)
    try:
        mine = known.of(run)
    except WidthError as error:
        return case.failed(context.diagnose(run), error.cause)
    theirs = known.of_reference(context.reference_run(case))
    limit = context.tolerances.texts_move(case.combination)
    taken = sorted(mine.keys() & theirs.keys())
    if told := _other_widths(known.texts, mine, theirs, taken):
        return case.failed(context.diagnose(run), told)
    both = [place for place in taken if np.isfinite(theirs[place]).all()]
    if not both:
        return case.unjudged(_nothing_to_compare(len(taken)))
    own, right = (np.stack([rows[place] for place in both]) for rows in (mine, theirs))
    moves = np.nan_to_num(distances(own, right), nan=np.inf)
    order = np.argsort(-moves, kind="stable").tolist()
    some, most = [known.texts[place] for place in both], float(moves[order[0]])
    found = {"value": most if np.isfinite(most) else None, "limit": limit, "n": len(both)}
    how = f"the furthest by {most:.2g}{rounding(most)} ({quoted(some[order[0]], 60)})"
    beyond = [both[row] for row in order if moves[row] > limit]
    if not beyond:
        message = f"{counted(len(both), 'text')} lie where the reference has them, {how}; {limit:g} is tolerated"
        return case.passed(message, **found)
    what = f"{len(beyond)} of {counted(len(both), 'text')} lie further than {limit:g}"
    shared = telling.in_common(beyond, _among(known.groups, both), len(both))
    message = "; ".join(filter(None, (f"{what} from where the reference has them, {how}", shared)))
    return case.failed(context.diagnose(run), message, **found, worst=_worst(some, own, right, order[:WORST]))


def _other_widths(texts: Sequence[str], mine: Rows, theirs: Rows, places: Sequence[int]) -> str:
    """Which texts have another width than the reference gives them, in a few words; empty where none has."""
    others = [place for place in places if len(mine[place]) != len(theirs[place])]
    if not others:
        return ""
    wide, right = len(mine[others[0]]), len(theirs[others[0]])
    if len(others) == len(places):
        return f"gives {wide} dimensions, and the reference {right}"
    more = f"; {len(others)} of {counted(len(places), 'text')} have another width" if len(others) > 1 else ""
    return f"gives {quoted(texts[others[0]], 60)} {wide} dimensions, and the reference {right}{more}"


def _nothing_to_compare(count: int) -> Diagnosis:
    cause = f"the reference's vectors of {counted(count, 'text')} hold NaN or infinity"
    step = "see what is red about the reference, and mend that first"
    return Diagnosis("finiteness", f"there is nothing to compare with: {cause}", step)


def _among(groups: Mapping[str, frozenset[int]], places: Sequence[int]) -> dict[str, frozenset[int]]:
    """Groups of texts without those that were not compared."""
    return {name: found & frozenset(places) for name, found in groups.items()}


def _worst(texts: Sequence[str], mine: FloatArray, theirs: FloatArray, first: Sequence[int]) -> tuple[WorstText, ...]:
    """The texts that moved furthest, with the cosine to where the reference has them."""
    cosines = row_cosines(mine[first], theirs[first])
    return tuple(WorstText(texts[row], 1.0, float(cosine)) for row, cosine in zip(first, cosines, strict=True))


TELLING_TEXTS = Check(
    "texts",
    keeps_texts,
    live_candidates,
    depth="quick",
    texts="some",
    tolerances=("texts", "stability"),
)
