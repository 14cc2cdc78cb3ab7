"""Does each of some texts, in which losses show, lie where the reference has it? No approval is needed for that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embedgate.checks.check import Case, Check, live_candidates
from embedgate.checks.context import Context, measuring
from embedgate.core.combination import Combination
from embedgate.core.errors import GateError, ResourceError, counted
from embedgate.core.judgement import Judgement, WorstText, quoted, rounding
from embedgate.core.roles import STS
from embedgate.data import load_golden
from embedgate.diagnosis.distance import distances, row_cosines
from embedgate.encoders import FloatArray
from embedgate.properties import telling
from embedgate.properties.contract import CANARIES
from embedgate.runtime.session import Run

# Texts that are shown of those that moved too far.
WORST = 5


@dataclass(frozen=True, eq=False)
class Answers:
    """What an encoder makes of the texts.

    Attributes:
        vectors: Their embeddings, float32 `[n, dim]`; NaN where it refuses a text.
        given: Which it does not refuse, bool `[n]`.
    """

    vectors: FloatArray
    given: npt.NDArray[np.bool_]


@measuring
class Telling:
    """The texts, what they have in common, and what references make of them: once for all candidates."""

    def __init__(self, context: Context) -> None:
        self._session = context.session
        tokenizer = self._session.tokenizer
        canaries = (make(tokenizer) for name, make in CANARIES.items() if name not in telling.MONOTONOUS)
        self._canaries, self._others = tuple(canaries), telling.texts()
        self._references: dict[Combination, Answers] = {}
        self.texts = (*load_golden()[0], *self._canaries, *self._others)
        self.groups = telling.groups(self.texts, [self._tokens(text) for text in self.texts])

    def of_reference(self, run: Run) -> Answers:
        """What a reference makes of the texts."""
        if run.combination not in self._references:
            self._references[run.combination] = self.of(run)
        return self._references[run.combination]

    def of(self, run: Run) -> Answers:
        """What a run makes of the texts: the golden ones as they were encoded, canaries one by one."""
        golden = self._session.golden(run).embeddings
        rows = [*golden, *(self._alone(run, text) for text in self._canaries), *self._together(run)]
        given = np.array([row is not None for row in rows])
        refused = np.full(golden.shape[1], np.nan, np.float32)
        return Answers(np.stack([refused if row is None else row for row in rows]), given)

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
    mine, theirs = known.of(run), known.of_reference(context.reference_run(case))
    limit = context.tolerances.texts_move(case.combination)
    wide, right = mine.vectors.shape[1], theirs.vectors.shape[1]
    if wide != right:
        return case.failed(context.diagnose(run), f"gives {wide} dimensions, and the reference {right}")
    both = np.flatnonzero(mine.given & theirs.given & np.isfinite(theirs.vectors).all(axis=1))
    moves = np.nan_to_num(distances(mine.vectors[both], theirs.vectors[both]), nan=np.inf)
    beyond = [int(both[place]) for place in np.flatnonzero(moves > limit)]
    worst, most = known.texts[both[moves.argmax()]], float(moves.max())
    how = f"the furthest by {most:.2g}{rounding(most)} ({quoted(worst, 60)})"
    value = most if np.isfinite(most) else None
    if not beyond:
        message = f"{counted(len(both), 'text')} lie where the reference has them, {how}; {limit:g} is tolerated"
        return case.passed(message, value=value, limit=limit, n=len(both))
    what = f"{len(beyond)} of {counted(len(both), 'text')} lie further than {limit:g}"
    message = f"{what} from where the reference has them, {how}"
    shared = telling.in_common(beyond, _among(known.groups, both), len(both))
    return case.failed(
        context.diagnose(run),
        "; ".join(filter(None, (message, shared))),
        value=value,
        limit=limit,
        n=len(both),
        worst=_worst(known.texts, mine.vectors, theirs.vectors, both[np.argsort(-moves)]),
    )


def _among(groups: Mapping[str, frozenset[int]], places: npt.NDArray[np.intp]) -> dict[str, frozenset[int]]:
    """Groups of texts without those that were not compared."""
    return {name: found & frozenset(places.tolist()) for name, found in groups.items()}


def _worst(
    texts: Sequence[str], mine: FloatArray, theirs: FloatArray, order: npt.NDArray[np.intp]
) -> tuple[WorstText, ...]:
    """The texts that moved furthest, with the cosine to where the reference has them."""
    first = order[:WORST]
    cosines = row_cosines(mine[first], theirs[first])
    return tuple(WorstText(texts[place], 1.0, float(cosine)) for place, cosine in zip(first, cosines, strict=True))


TELLING_TEXTS = Check(
    "texts",
    keeps_texts,
    live_candidates,
    depth="quick",
    texts="some",
    tolerances=("texts", "stability"),
)
