"""Faults that were played through, and whether they explain a candidate's vectors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from embedgate.core.judgement import BY_BATCH, LENGTH
from embedgate.diagnosis.distance import distances, root_mean_square, row_cosines
from embedgate.diagnosis.faults import Fault
from embedgate.encoders import FloatArray

# Share of the squared distance to the reference that a fault must leave, at most.
LEFT = 0.05
# It must explain so much of the squared distance of all texts: what shows in one alone is not why the others are off.
SHARE = 0.25
# No text may be left so many times as far off as the median is.
FAR = 4.0
# A fault moves a vector by more than this share of its length; what it does not move may be off as far as what it
# explains, so many times.
MOVED, AS_FAR = 1e-3, 3.0
# A fault that leaves no more than this is all there is.
EXACT = 3e-4


@dataclass(frozen=True, eq=False)
class Attempt:
    """Faults that were played through together.

    Attributes:
        faults: The faults.
        vectors: What the reference gives with them, float32 `[n, dim]`, of all texts or of a few.
        distance: Root mean square distance of the candidate's vectors to these.
        angle: As `distance`, where only directions count.
        cosine: Mean cosine of the candidate's vectors to these.
    """

    faults: tuple[Fault, ...]
    vectors: FloatArray
    distance: float
    angle: float
    cosine: float

    @property
    def name(self) -> str:
        """What was done, in words."""
        return " and ".join(fault.name for fault in self.faults) or "nothing changed"


def reached(faults: Iterable[Fault]) -> tuple[str, ...]:
    """Every layer that faults reach."""
    found: dict[str, None] = {}
    for fault in faults:
        found[fault.layer] = None
        found |= dict.fromkeys([*([BY_BATCH] if fault.depends_on_batch else ()), *([LENGTH] if fault.cuts else ())])
    return tuple(found)


def attempted(mine: FloatArray, faults: tuple[Fault, ...], vectors: FloatArray) -> Attempt:
    """What faults come to.

    Args:
        mine: The candidate's vectors, float32 `[n, dim]`.
        faults: The faults.
        vectors: What the reference gives with them, float32 `[n, dim]`.
    """
    off = root_mean_square(distances(mine, vectors))
    if any(fault.read for fault in faults):
        off = max(off, _off_centre(mine, vectors, max(fault.read for fault in faults)))
    cosines = np.where(mine.any(axis=1) | vectors.any(axis=1), row_cosines(mine, vectors), 1.0)
    angle = float(np.sqrt(np.maximum(2 - 2 * cosines, 0).mean()))
    return Attempt(faults, vectors, off, angle, float(cosines.mean()))


def explains(attempt: Attempt, mine: FloatArray, before: FloatArray, off_before: float, noise: float) -> bool:
    """Whether faults explain the vectors that something else leaves unexplained.

    What they move must come to lie where the candidate's vectors are, and nothing else may be off by more than that is
    then.

    Args:
        attempt: The faults.
        mine: The candidate's vectors, float32 `[n, dim]`.
        before: What the reference gives without them, float32 `[n, dim of the model]`.
        off_before: Root mean square distance of the candidate's vectors to the reference's own.
        noise: How far a sound candidate of its kind may be off.
    """
    vectors = attempt.vectors
    if vectors.shape != mine.shape or attempt.distance > noise:
        return False
    if before.shape != mine.shape or any(fault.read for fault in attempt.faults):
        return attempt.distance**2 <= LEFT * off_before**2
    moved = distances(vectors, before) > MOVED
    if not moved.any():
        return False
    after, off = distances(mine, vectors), distances(mine, before)
    left, others = root_mean_square(after[moved]), after[~moved]
    if left**2 > LEFT * float(np.square(off[moved]).mean()):
        return False
    if after.max() > max(FAR * float(np.median(after)), MOVED):
        return False
    if float(np.square(after).sum()) > (1 - SHARE) * float(np.square(off).sum()):
        return False
    return not others.size or root_mean_square(others) <= max(AS_FAR * left, EXACT)


def _off_centre(mine: FloatArray, vectors: FloatArray, read: int) -> float:
    """As the distance, of what differs between texts: numbers that were read from the vectors explain their mean."""
    if len(mine) <= read + 1:
        return float("inf")
    spread = np.square(vectors - vectors.mean(axis=0)).sum()
    left = np.square(mine - vectors).sum() * len(mine) / (len(mine) - read)
    return float(np.sqrt(left / spread)) if spread else float("inf")
