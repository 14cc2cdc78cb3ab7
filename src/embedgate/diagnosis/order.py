"""Rows that belong to other texts: which text each vector is of, and what order that comes to."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embedgate.core.judgement import quoted
from embedgate.diagnosis.distance import root_mean_square, row_cosines
from embedgate.diagnosis.playing import Asked, Call
from embedgate.encoders import FloatArray

# A vector is another text's where it lies so much nearer to that one's than to its own.
NEARER = 4.0
# Texts in another's place without which nothing is said of an order.
SOME = 2
# Vectors that are as near as this are of one text.
TIE = 1e-5
# Characters that texts must begin with alike before that is a reason.
PREFIX = 12
Places = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Moved:
    """Vectors that are other texts'.

    Attributes:
        about: What happened, to be read after "these are the reference's vectors".
        distance: Root mean square distance of the vectors to those of the texts that they are of.
        cosine: Mean cosine to those.
    """

    about: str
    distance: float
    cosine: float


def moved_rows(asked: Asked, theirs: FloatArray, lengths: Sequence[int], *, with_pool: bool = True) -> Moved | None:
    """Finds out whether vectors are the reference's, of other texts; None where they are not, or of their own.

    Args:
        asked: What the candidate was asked and answered.
        theirs: The reference's vectors of the texts, in their order, float32 `[n, dim]`.
        lengths: Tokens of each text.
        with_pool: Whether a vector may be that of a text which was not asked for now.
    """
    texts, vectors = list(asked.texts), theirs
    if with_pool and asked.pool is not None and asked.pool[1].shape[1] == theirs.shape[1]:
        texts, vectors = [*texts, *asked.pool[0]], np.concatenate([theirs, asked.pool[1]])
    apart = _apart(asked.mine, vectors)
    rows = np.arange(len(theirs))
    own = apart[rows, rows]
    nearest = apart.argmin(axis=1)
    least = apart[rows, nearest]
    moved = (own > NEARER * least) & (own > asked.noise)
    reached = np.where(moved, least, own)
    # What a call gives that answers the one before is of an earlier text for the first, which nobody here knows.
    unknown = reached > asked.noise
    if unknown.any() and not (asked.is_live and set(np.flatnonzero(unknown).tolist()) <= {*asked.calls[0].rows}):
        return None
    moved &= ~unknown
    if moved.sum() < SOME:
        return None
    place = rows.copy()
    for row in np.flatnonzero(moved):
        place[row] = _which(asked, int(row), np.flatnonzero(apart[row] <= least[row] + TIE))
    if unknown.any() and not _of_the_call_before(asked, texts, place, moved):
        return None
    found = vectors[place]
    cosine = float(row_cosines(asked.mine[~unknown], found[~unknown]).mean())
    return Moved(_order(asked, lengths, place, moved, texts), root_mean_square(reached[~unknown]), cosine)


def _apart(mine: FloatArray, theirs: FloatArray) -> FloatArray:
    """Distance of each vector to each of others, as a share of the other's length, float32 `[n, m]`."""
    one, other = mine.astype(np.float64), theirs.astype(np.float64)
    lengths = np.linalg.norm(other, axis=1)
    square = np.square(one).sum(axis=1)[:, None] + np.square(lengths)[None] - 2 * one @ other.T
    return np.asarray(np.sqrt(np.maximum(square, 0)) / np.maximum(lengths, 1e-12), dtype=np.float32)


def _order(
    asked: Asked, lengths: Sequence[int], place: Places, moved: npt.NDArray[np.bool_], texts: Sequence[str]
) -> str:
    counted = f"{int(moved.sum())} of {len(moved)}"
    pairs = [(int(row), int(place[row])) for row in np.flatnonzero(moved)]
    first = pairs[0]
    example = f"{quoted(texts[first[0]], 40)} received that of {quoted(texts[first[1]], 40)}"
    calls = [call for call in asked.calls if moved[list(call.rows)].any()]
    orders = [_within(call, place) for call in calls]
    for told, is_so in (
        ("every text gets one and the same vector", _all_one),
        ("rows come in the order of the texts' lengths, and are not put back", _sorted_by(lengths)),
        ("rows come in the order of the texts' lengths, and are not put back", _sorted_by(list(map(len, asked.texts)))),
        ("rows come in the opposite order", _reversed),
        ("each text gets the vector of one that stands a fixed number of places away", _rotated),
    ):
        fits = (order is not None and is_so(order, call.rows) for order, call in zip(orders, calls, strict=True))
        if asked.is_live and all(fits):
            return f"in another order in {counted}: {told} ({example})"
    # A cache keeps the vector of the first text: that one has its own.
    kept = all(other >= len(moved) or not moved[other] for _, other in pairs)
    if kept and (told := _alike(pairs, texts)):
        return f"of other texts in {counted}: {told} ({example})"
    if not asked.is_live:
        return f"of other texts in {counted} ({example})"
    if all(order is not None and len(set(order.tolist())) == len(order) for order in orders):
        return f"in another order in {counted} ({example})"
    if _of_the_call_before(asked, texts, place, moved):
        return f"of the call before in {counted}: a call answers what the one before asked for ({example})"
    if all(other >= len(asked.texts) for _, other in pairs):
        return f"of texts that were asked for earlier in {counted} ({example})"
    return f"of other texts in {counted} ({example})"


def _alike(pairs: Sequence[tuple[int, int]], texts: Sequence[str]) -> str:
    """What texts have in common with those whose vectors they get; empty where that explains nothing."""
    both = [(texts[row], texts[other]) for row, other in pairs]
    for told, key in (
        ("texts that differ in case alone get one vector", str.casefold),
        ("texts that differ in whitespace alone get one vector", lambda text: "".join(text.split())),
        ("texts that differ in punctuation alone get one vector", lambda text: "".join(filter(str.isalnum, text))),
    ):
        if all(key(one) == key(other) for one, other in both):
            return told
    shared = min(shared_start(one, other) for one, other in both)
    if shared < PREFIX:
        return ""
    return f"texts that begin with the same {shared} characters, or fewer, get one vector"


def shared_start(one: str, other: str) -> int:
    """Characters that two texts begin with alike."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _which(asked: Asked, row: int, places: Places) -> int:
    """Of texts with one vector, one that was asked for in the same call where there is one."""
    call = next(call for call in asked.calls if row in call.rows)
    return int(next((place for place in places if int(place) in call.rows), places[0]))


def _within(call: Call, place: Places) -> Places | None:
    """For each row of a call, whose vector it got, by the place in the call; None where that is not of this call."""
    where = {row: position for position, row in enumerate(call.rows)}
    found = [where.get(int(place[row])) for row in call.rows]
    return None if None in found or len(found) <= SOME else np.array(found, dtype=np.intp)


def _all_one(order: Places, _: Sequence[int]) -> bool:
    return len(set(order.tolist())) == 1


def _reversed(order: Places, _: Sequence[int]) -> bool:
    return bool(np.array_equal(order, np.arange(len(order))[::-1]))


def _rotated(order: Places, _: Sequence[int]) -> bool:
    return bool(len(set(((order - np.arange(len(order))) % len(order)).tolist())) == 1)


def _sorted_by(lengths: Sequence[int]) -> Callable[[Places, Sequence[int]], bool]:
    """Whether a call's rows stand in the order of their lengths, or were put back by the wrong side of that order."""

    def is_so(order: Places, rows: Sequence[int]) -> bool:
        if len(set(order.tolist())) < len(order):
            return False
        own = np.array([lengths[row] for row in rows])
        if len(set(own.tolist())) <= SOME:  # nothing was sorted by what is alike
            return False
        return any(_monotone(own[each]) for each in (order, order.argsort()))

    return is_so


def _monotone(values: Places) -> bool:
    steps = np.diff(values)
    return bool((steps >= 0).all() or (steps <= 0).all())


def _of_the_call_before(asked: Asked, texts: Sequence[str], place: Places, moved: npt.NDArray[np.bool_]) -> bool:
    """Whether each call gives what the one before it asked for; what came before the first is not known."""
    for before, call in itertools.pairwise(asked.calls):
        own = {asked.texts[row] for row in before.rows}
        # Where it asks for more than the one before, the rest may be its own.
        stale = call.rows[: len(before.rows)]
        if not all(texts[place[row]] in own for row in stale):
            return False
    return bool(moved.any())
