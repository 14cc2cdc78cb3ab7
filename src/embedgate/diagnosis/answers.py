"""Vectors that cannot be of their texts, whatever made them: zeros, and one for texts that have nothing in common."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from embedgate.core.errors import counted
from embedgate.core.judgement import ANSWERS, Diagnosis, Proof, quoted
from embedgate.diagnosis.distance import distances, row_cosines
from embedgate.diagnosis.playing import Asked
from embedgate.encoders import FloatArray

# Texts that must have one vector before that is told.
SOME = 3
# Share of its length by which a vector may differ from one that counts as the same; and cosine under which the
# reference tells two texts apart.
SAME, TOLD_APART = 1e-3, 0.99
# Cosine to a text's own vector from which on a vector may be that text's, with another fault.
NEAR = 0.9
STEP = "see what it answers where a call fails or runs out of time, and whether texts reach the model one by one"
Flags = npt.NDArray[np.bool_]


def not_of_texts(asked: Asked, sound: FloatArray) -> Diagnosis | None:
    """Says that vectors are zeros, or the same for several texts and that of none of them; None where none is so.

    Args:
        asked: What the candidate was asked and answered.
        sound: The reference's vectors of the same texts, float32 `[n, dim of the model]`.
    """
    zeros: Flags = np.asarray(~asked.mine.any(axis=1) & sound.any(axis=1))
    if zeros.any():
        return _told(asked, zeros, "zeros in the place of a vector")
    alike = _alike(asked, sound)
    if alike.any():
        return _told(asked, alike, "a vector that is the same for all of these, and that of none of them")
    return None


def _alike(asked: Asked, sound: FloatArray) -> Flags:
    """The texts of the largest group that has one vector, which the reference gives to none of them."""
    best = np.zeros(len(asked.mine), dtype=bool)
    for call in asked.calls:  # vectors that change places within one may be one text's in several
        for row in call.rows:
            group = distances(np.broadcast_to(asked.mine[row], asked.mine.shape), asked.mine) <= SAME
            here = {asked.texts[other] for other in call.rows if group[other]}
            if group.sum() > best.sum() and len(here) >= SOME and _is_of_none(asked.mine[group], sound[group]):
                best = group
    return best


def _is_of_none(mine: FloatArray, sound: FloatArray) -> bool:
    """Whether a vector, which texts have that the reference tells apart, is near to none of theirs."""
    are_apart = row_cosines(np.broadcast_to(sound[0], sound.shape), sound).min() < TOLD_APART
    return bool(are_apart and (mine.shape != sound.shape or row_cosines(mine, sound).max() < NEAR))


def _told(asked: Asked, rows: Flags, what: str) -> Diagnosis:
    found = np.flatnonzero(rows).tolist()
    texts = list(dict.fromkeys(asked.texts[row] for row in found))
    count = f"{len(texts)} of {counted(asked.distinct, 'text')}"
    which = "every text gets" if len(texts) == asked.distinct else f"{count} get"
    shared = _of_length(texts, [asked.texts[row] for row in np.flatnonzero(~rows).tolist()])
    others = "" if what.startswith("zeros") else ": another caller's, or what stands for a failure"
    cause = f"{which} {what}{others} ({shared}first {quoted(texts[0], 40)})"
    return Diagnosis(ANSWERS, cause, STEP, Proof("read", asked.distinct))


def _of_length(those: Sequence[str], others: Sequence[str]) -> str:
    """What sets texts apart by their length from others; empty where nothing does."""
    lengths, rest = sorted(map(len, those)), sorted(map(len, others))
    if not rest or len(those) < SOME:
        return ""
    if lengths[0] > rest[-1]:
        return f"all of {lengths[0]} characters and more, others have up to {rest[-1]}; "
    if lengths[-1] < rest[0]:
        return f"all of up to {lengths[-1]} characters, others have {rest[0]} and more; "
    return ""
