"""Faults with a number in them: texts that are cut at some length, dimensions that are left, factors and offsets.

The number is what fits the vectors best; whether it fits well enough is judged as of any other fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from embedgate.diagnosis.distance import distances
from embedgate.diagnosis.faults import STEPS, Fault, as_float32, unit
from embedgate.diagnosis.playing import Player
from embedgate.encoders import FloatArray
from embedgate.encoders.change import ENDLESS, Unplayable

# Numbers that are tried first, and how many between two of them at once.
USUAL = (32, 64, 100, 128, 200, 250, 254, 256, 300, 384, 400, 500, 510, 512, 800, 1000, 1024, 2000, 2048, 4096, 8192)
AT_ONCE = 12
# Distance under which a vector is the reference's, as a share of its length, at least.
SAME = 1e-3
# A text is cut where its vector is so many times as far off as those of short ones are.
BEYOND = 2.0
# Of a vector with int8 noise, the number of a cut is not known to the token.
TO_THE_NUMBER = 1e-2


def cuts(player: Player, beside: tuple[Fault, ...] = ()) -> Iterator[Fault]:
    """Cuts of texts that fit, where short texts agree and longer ones do not.

    Args:
        player: Plays faults through.
        beside: Faults that are there as well.
    """
    asked, lengths = player.asked, player.lengths
    off = distances(asked.mine, player.play(beside))
    order = sorted(range(len(lengths)), key=lambda row: lengths[row])
    short = order[: max(2, len(order) // 3)]
    usual = float(np.median(off[short]))
    beyond = off > max(SAME, BEYOND * usual)
    affected = [row for row in order if beyond[row]]
    if not affected or usual > asked.noise or beyond[short].mean() > 0.25:
        return
    # Two of different lengths: one that is cut at a number of characters may be short in tokens.
    rows = affected[:: max(1, len(affected) // 2)][:2]
    kinds = (("tokens", False), ("tokens", True)) if player.replay is not None else ()
    for kind in (*kinds, ("characters", False), ("characters", True), ("words", False)):
        best = _fitted(player, kind, beside, rows)
        if best is not None:
            yield best


def _fitted(player: Player, kind: tuple[str, bool], beside: tuple[Fault, ...], rows: Sequence[int]) -> Fault | None:
    """The cut that fits best.

    Args:
        player: Plays faults through.
        kind: The unit, and whether the beginning is lost.
        beside: Faults that are there as well.
        rows: The texts that it is to explain.
    """
    unit_, left = kind
    mine = player.asked.mine[list(rows)]
    known: dict[int, float] = {}

    def off(number: int) -> float:
        if number not in known:
            try:
                found = player.play((*beside, _cut(unit_, number, left)), rows)
                known[number] = float(np.square(distances(mine, found)).mean())
            except Unplayable:
                known[number] = float("inf")
        return known[number]

    most = max(_size(unit_, player, row) for row in rows)
    if most <= 2:
        return None
    limit = player.replay.limit if player.replay is not None and unit_ == "tokens" else None
    if limit is not None and most > limit and not left and off(ENDLESS) < TO_THE_NUMBER**2:
        return _cut(unit_, ENDLESS, left)
    best = _least(off, most)
    if best >= most:  # whatever the number is, no text at hand is so long
        return _cut(unit_, ENDLESS, left) if limit is not None and most > limit and not left else None
    if not np.isfinite(off(best)) or (best == limit and not left):
        return None
    return _cut(unit_, best, left, exact=off(best) < TO_THE_NUMBER**2)


def _least(off: Callable[[int], float], most: int) -> int:
    """The number at which something is least: around the best of some, ever closer.

    Half a word more may be better or worse, so that no slope leads to the number.
    """
    tried = sorted({each for each in (*USUAL, *np.geomspace(2, most, 14).astype(int).tolist()) if 1 < each <= most})
    place = tried.index(min(tried, key=off))
    low, high = tried[max(place - 1, 0)], tried[min(place + 1, len(tried) - 1)]
    while True:
        step = max((high - low) // AT_ONCE, 1)
        best: int = min((*range(low, high + 1, step), tried[place]), key=off)
        if step == 1:
            return best
        low, high = max(best - step, 2), min(best + step, most)


def _size(unit_: str, player: Player, row: int) -> int:
    text = player.asked.texts[row]
    return {"tokens": player.lengths[row], "characters": len(text), "words": len(text.split())}[unit_]


def _cut(unit_: str, number: int, left: bool, exact: bool = True) -> Fault:
    where = " from the left" if left else ""
    about = "" if exact else "about "
    if unit_ == "tokens":
        name = "texts that are not cut" if number == ENDLESS else f"texts cut to {about}{number} tokens{where}"
        side = {"left": True} if left else {}
        return Fault(name, "tokens", STEPS["tokens"], change={"longest": number, **side}, cuts=True)

    def characters(text: str) -> str:
        return text[-number:] if left else text[:number]

    def words(text: str) -> str:
        return " ".join(text.split()[:number])

    change = characters if unit_ == "characters" else words
    return Fault(f"texts cut to {about}{number} {unit_}{where}", "texts", STEPS["texts"], text=change, cuts=True)


def fitted(mine: FloatArray, theirs: FloatArray) -> Iterator[Fault]:
    """Faults of finished vectors whose numbers are read from them.

    Args:
        mine: The candidate's vectors, float32 `[n, dim]`.
        theirs: The reference's with other faults, float32 `[n, dim of the model]`.
    """
    if mine.shape[1] < theirs.shape[1]:
        yield from _fewer(mine, theirs)
        return
    yield from _zeroed(mine, theirs)
    square = float(np.square(theirs, dtype=np.float64).sum())
    factor = float((mine.astype(np.float64) * theirs).sum()) / square if square else 0.0
    if abs(factor - 1) > SAME and factor != 0:
        name = f"every vector {factor:.4g} times as long"
        yield _finish(name, "normalisation", lambda rows: rows * np.float32(factor))
    slope, offset = _line(theirs.ravel(), mine.ravel())
    if abs(offset) > SAME * float(np.abs(theirs).mean()):
        name = f"{offset:+.4g} added to every number"
        name = name if abs(slope - 1) < SAME else f"every number {slope:.4g} times as large, and {name}"
        yield _finish(name, "codes", _on_line(slope, offset))
    constant = (mine - theirs).mean(axis=0, dtype=np.float64).astype(np.float32)
    yield _finish("one and the same vector added to every vector", "codes", lambda rows: rows + constant, read=1)
    if (mine == np.rint(mine)).all() and np.abs(mine).max() > 1:
        yield from _codes(mine, theirs)


def _line(xs: FloatArray, ys: FloatArray) -> tuple[float, float]:
    """Slope and offset of the line that fits best, by least squares."""
    one, other = xs.astype(np.float64), ys.astype(np.float64)
    spread = float(np.square(one - one.mean()).sum())
    slope = float(((one - one.mean()) * (other - other.mean())).sum()) / spread if spread else 0.0
    return slope, float(other.mean() - slope * one.mean())


def _on_line(slope: float, offset: float) -> Callable[[FloatArray], FloatArray]:
    return lambda rows: rows * np.float32(slope) + np.float32(offset)


def _fewer(mine: FloatArray, theirs: FloatArray) -> Iterator[Fault]:
    count = mine.shape[1]
    kept = f"the first {count} of {theirs.shape[1]} dimensions"
    yield _finish(kept, "dimension", lambda rows: rows[:, :count])
    yield _finish(f"{kept}, normalised anew", "dimension", lambda rows: unit(rows[:, :count]))
    yield _finish(f"the last {count} of {theirs.shape[1]} dimensions", "dimension", lambda rows: rows[:, -count:])
    if count * 8 == theirs.shape[1]:
        for sign, zero in (("unsigned", 0), ("signed", 128)):
            name = f"bits in bytes ({sign}) in the place of numbers"
            yield _finish(name, "codes", _packed(zero))


def _packed(zero: int) -> Callable[[FloatArray], FloatArray]:
    return lambda rows: np.packbits(rows > 0, axis=1).astype(np.float32) - np.float32(zero)


def _zeroed(mine: FloatArray, theirs: FloatArray) -> Iterator[Fault]:
    used = np.flatnonzero(mine.any(axis=0))
    if not used.size or used[-1] + 1 == mine.shape[1]:
        return
    count = int(used[-1]) + 1

    def zeroed(rows: FloatArray) -> FloatArray:
        return np.where(np.arange(rows.shape[1]) < count, rows, np.float32(0))

    name = f"zeros in all but the first {count} of {theirs.shape[1]} dimensions"
    yield _finish(name, "dimension", zeroed)
    yield _finish(f"{name}, normalised anew", "dimension", lambda rows: unit(zeroed(rows)))


def _codes(mine: FloatArray, theirs: FloatArray) -> Iterator[Fault]:
    """Whole numbers that lie on a line with the reference's, dimension by dimension: codes that nobody decoded."""
    centred = theirs - theirs.mean(axis=0)
    slope = (centred * mine).sum(axis=0) / np.maximum(np.square(centred).sum(axis=0), 1e-12)
    start = mine.mean(axis=0) - slope * theirs.mean(axis=0)
    yield _finish(
        "whole numbers, as of codes that were not decoded", "codes", lambda rows: rows * slope + start, read=2
    )


def _finish(name: str, layer: str, finish: Callable[[FloatArray], FloatArray], read: int = 0) -> Fault:
    return Fault(name, layer, STEPS[layer], finish=as_float32(finish), read=read)
