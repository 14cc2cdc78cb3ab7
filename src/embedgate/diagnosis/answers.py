"""What answers show by themselves: zeros, one vector for unlike texts, and a call that does not repeat itself."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from embedgate.core.errors import counted
from embedgate.core.judgement import ANSWERS, REPETITION, Diagnosis, Proof, quoted
from embedgate.diagnosis.attempts import SHARE
from embedgate.diagnosis.distance import distances, root_mean_square, row_cosines
from embedgate.diagnosis.order import shared_start
from embedgate.diagnosis.playing import Asked
from embedgate.encoders import FloatArray

# Texts that must have one vector before that is told.
SOME = 3
# Share of its length by which a vector may differ from one that counts as the same; and cosine under which the
# reference tells two texts apart.
SAME, TOLD_APART = 1e-6, 0.99
# Characters that texts begin or end with alike where a cut may make them one.
BEGIN, END = 2, 6
# Cosine to a text's own vector from which on a vector may be that text's, with a fault that nobody knows; and to that
# with a known fault.
NEAR, WITH_A_FAULT = 0.9, 0.99
# A vector that moves further when the same call is made again does not repeat itself; and what is random must move
# vectors by so much of their distance to the reference's to be the reason for that.
REPEATED, LIKE = 1e-3, 0.1
STEP = "see what it answers where a call fails or runs out of time, and whether another caller's vectors come back"
ZEROS_STEP = "see what it answers where a call fails, runs out of time or holds many texts"
Flags = npt.NDArray[np.bool_]


def zeros(asked: Asked, sound: FloatArray, share: float = SHARE) -> Diagnosis | None:
    """Says that zeros come in the place of vectors; None where they are not much of what is off.

    Args:
        asked: What the candidate was asked and answered.
        sound: The reference's vectors of the same texts, float32 `[n, dim of the model]`.
        share: How much of the squared distance to the reference they must be.
    """
    rows: Flags = np.asarray(~asked.mine.any(axis=1) & sound.any(axis=1))
    if not rows.any():
        return None
    if sound.shape == asked.mine.shape:
        off = np.square(distances(asked.mine, sound))
        if float(off[rows].sum()) < share * float(off.sum()):
            return None
    return _told(asked, rows, "zeros in the place of a vector", ZEROS_STEP)


def one_for_several(asked: Asked, sound: FloatArray, known: Iterable[FloatArray]) -> Diagnosis | None:
    """Says that several texts get one vector, which is that of none of them; None where it may be one of theirs.

    Args:
        asked: What the candidate was asked and answered.
        sound: The reference's vectors of the same texts, float32 `[n, dim of the model]`.
        known: What it gives with known faults, each float32 `[n, dim]`.
    """
    if sound.shape != asked.mine.shape:
        return None
    known = [each for each in known if each.shape == asked.mine.shape]
    best = np.zeros(len(asked.mine), dtype=bool)
    for call in asked.calls:  # vectors that change places within one may be one text's in several
        for row in call.rows:
            group = distances(np.broadcast_to(asked.mine[row], asked.mine.shape), asked.mine) <= SAME
            here = {asked.texts[other] for other in call.rows if group[other]}
            if group.sum() <= best.sum() or len(here) < SOME or _begin_or_end_alike(here):
                continue
            if _is_of_none(asked.mine, sound, known, group):
                best = group
    if not best.any():
        return None
    return _told(asked, best, "a vector that is the same for all of these, and that of none of them", STEP)


def not_repeated(asked: Asked, before: float, proof: Proof) -> Diagnosis | None:
    """Says that the same call gave other vectors when it was made again; None where it did not, or by little.

    Args:
        asked: What the candidate was asked and answered.
        before: Root mean square distance of its vectors to the reference's.
        proof: The proof of what is read from answers.
    """
    if asked.again is None:
        return None
    moves = distances(asked.again, asked.mine[list(asked.calls[0].rows)])
    most = float(moves.max())
    if not most > REPEATED or root_mean_square(moves) < LIKE * min(before, 1.0):
        return None
    changed = int((moves > REPEATED).sum())
    cause = (
        f"the same {len(moves)} texts, asked for again, came back as other vectors in {changed}, "
        f"which moved by up to {most:.2g} of their length"
    )
    step = "look for a random step (dropout: call eval()), or for what is kept from call to call"
    return Diagnosis(REPETITION, cause, step, proof)


def _begin_or_end_alike(texts: Collection[str]) -> bool:
    """Whether texts are one where they are cut, from the right or the left."""
    first, *others = texts
    begin = min(shared_start(first, other) for other in others)
    end = min(shared_start(first[::-1], other[::-1]) for other in others)
    return begin >= BEGIN or end >= END


def _is_of_none(mine: FloatArray, sound: FloatArray, known: Sequence[FloatArray], group: Flags) -> bool:
    """Whether a vector, which texts have that the reference tells apart, is near to none of theirs, by any fault."""

    def are_apart(rows: FloatArray, near: float) -> bool:
        own = rows[group]
        tells_apart = row_cosines(np.broadcast_to(own[0], own.shape), own).min() < TOLD_APART
        return bool(tells_apart and row_cosines(mine[group], own).max() < near)

    return are_apart(sound, NEAR) and all(are_apart(rows, WITH_A_FAULT) for rows in known)


def _told(asked: Asked, rows: Flags, what: str, step: str) -> Diagnosis:
    texts = list(dict.fromkeys(asked.texts[row] for row in np.flatnonzero(rows).tolist()))
    others = [asked.texts[row] for row in np.flatnonzero(~rows).tolist()]
    which = "every text gets" if not others else f"{len(texts)} of {counted(asked.distinct, 'text')} get"
    in_part = " in some of the calls" if {*texts} & {*others} else ""
    shared = _of_length(texts, others)
    cause = f"{which} {what}{in_part} ({shared}first {quoted(texts[0], 40)})"
    return Diagnosis(ANSWERS, cause, step, Proof("read", asked.distinct))


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
