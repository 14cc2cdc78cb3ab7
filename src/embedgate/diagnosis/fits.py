"""Faults of finished vectors whose numbers are read from them: dimensions that are left, factors, offsets and codes.

Whether such a number fits well enough is judged as of any other fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from embedgate.core.errors import counted
from embedgate.diagnosis.distance import distances
from embedgate.diagnosis.faults import STEPS, Fault, as_float32, unit
from embedgate.encoders import FloatArray

# A factor this near to 1 is none.
SAME = 1e-3
# A line on which less of the vectors lies says nothing of them: what does not depend on the reference's does not come
# from them.
RELATED = 0.3
# Numbers that stand at the end of their range in so many places, as a share of all, were cut off there.
AT_THE_END = 1e-3
# Share of the reference's numbers that must lie inside a range: one that is a point fits a constant.
INSIDE = 0.2
# Decimals that vectors may be rounded to, and the share of the last one that they may miss that by, as halves do.
DECIMALS = (1, 2, 3)
EXACTLY = 0.01
# Of codes: numbers that are one, as a share of the largest; how far a gap may be off a whole number of steps; steps of
# 8 bits, with room for a coarser guess of one; and the dimensions of which this must be so.
ONE_STEP, OF_A_STEP, STEPS_OF_8_BITS, MOST = 1e-6, 0.02, 256, 0.8
# Share of the squared numbers around their mean that bytes read the other way round must leave, at most.
LEFT = 0.1
# Share of the dimensions that must have numbers in both halves before bytes are taken for misread ones.
BOTH = 0.5
# Vectors from which the order of dimensions is read, and how far the same numbers may be apart, as a share of their
# length: so far as half types are.
SOME, ORDERED = 8, 2e-3


def fitted(mine: FloatArray, theirs: FloatArray) -> Iterator[Fault]:
    """Faults of finished vectors whose numbers are read from them.

    Args:
        mine: The candidate's vectors, float32 `[n, dim]`.
        theirs: The reference's with other faults, float32 `[n, dim of the model]`.
    """
    if mine.shape[1] < theirs.shape[1]:
        yield from _fewer(mine, theirs)
    if mine.shape[1] != theirs.shape[1]:
        return
    yield from _zeroed(mine, theirs)
    yield from _reordered(mine, theirs)
    yield from _clipped(mine, theirs)
    if (mine == np.rint(mine)).all() and np.abs(mine).max() > 1:
        yield from _codes(mine, theirs)
    if abs(_correlation(mine - mine.mean(axis=0), theirs - theirs.mean(axis=0))) < RELATED:
        return
    square = float(np.square(theirs, dtype=np.float64).sum())
    factor = float((mine.astype(np.float64) * theirs).sum()) / square
    if abs(factor - 1) > SAME:
        name = f"every {'vector' if factor > 0 else 'number'} {factor:.4g} times as {'long' if factor > 0 else 'large'}"
        yield _finish(name, "normalisation", lambda rows: rows * np.float32(factor))
    slope, offset = _line(theirs.ravel(), mine.ravel())
    if abs(offset) > SAME * float(np.abs(mine).mean()):
        name = f"{offset:+.4g} added to every number"
        name = name if abs(slope - 1) < SAME else f"every number {slope:.4g} times as large, and {name}"
        yield _finish(name, "codes", _on_line(slope, offset))
    constant = (mine - theirs).mean(axis=0, dtype=np.float64).astype(np.float32)
    yield _finish("one and the same vector added to every vector", "codes", lambda rows: rows + constant, read=1)
    yield from _other_sign(mine, theirs)


def has_codes(mine: FloatArray) -> bool:
    """Whether the numbers of most dimensions are steps apart, as those of codes of 8 bits are.

    Args:
        mine: Vectors, float32 `[n, dim]`.
    """
    if len(mine) < SOME:
        return False
    gaps = np.diff(np.sort(mine.astype(np.float64), axis=0), axis=0)
    gaps[gaps <= ONE_STEP * np.abs(mine).max()] = 0
    step = np.where(gaps > 0, gaps, np.inf).min(axis=0)
    known = np.isfinite(step)
    if not known.any():
        return False
    steps = gaps[:, known] / step[known]
    are_whole = (np.abs(steps - np.rint(steps)) < OF_A_STEP).all(axis=0) & (steps.sum(axis=0) <= STEPS_OF_8_BITS)
    return bool(are_whole.mean() > MOST)


def _correlation(mine: FloatArray, theirs: FloatArray) -> float:
    """How far all numbers lie on a line with the reference's, from -1 to 1."""
    one, other = mine.ravel().astype(np.float64), theirs.ravel().astype(np.float64)
    one, other = one - one.mean(), other - other.mean()
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / lengths if lengths else 0.0


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


def _other_sign(mine: FloatArray, theirs: FloatArray) -> Iterator[Fault]:
    """Bytes that were read as unsigned, or as signed: each dimension's upper half lies below its lower one."""
    moved = mine - theirs
    if ((moved < 0).any(axis=0) & (moved > 0).any(axis=0)).mean() < BOTH:
        return
    step = np.abs(moved).mean(axis=0)
    upper = np.where(moved < 0, theirs, np.inf).min(axis=0)
    lower = np.where(moved >= 0, theirs, -np.inf).max(axis=0)
    middle = (upper + lower) / 2  # infinite where all lie on one side

    def swapped(rows: FloatArray) -> FloatArray:
        return np.asarray(rows + np.where(rows > middle, -step, step), dtype=np.float32)

    # What lies in a half must be the reference's, and not just the step.
    left = float(np.square(mine - swapped(theirs)).sum())
    if left > LEFT * float(np.square(theirs - theirs.mean(axis=0)).sum()):
        return
    yield _finish("signed bytes read as unsigned (uint8), or the other way round", "codes", swapped, read=2)


def _reordered(mine: FloatArray, theirs: FloatArray) -> Iterator[Fault]:
    """Dimensions in another order: each vector holds the same numbers, and each dimension is one of the reference's."""
    if len(mine) < SOME or distances(np.sort(mine, axis=1), np.sort(theirs, axis=1)).max() > ORDERED:
        return
    from scipy.optimize import linear_sum_assignment

    one, other = (each.T.astype(np.float64) for each in (mine, theirs))
    apart = np.square(one).sum(axis=1)[:, None] + np.square(other).sum(axis=1)[None] - 2 * one @ other.T
    order = linear_sum_assignment(apart)[1]
    known = (np.arange(len(order)), np.arange(len(order))[::-1], np.roll(np.arange(len(order)), len(order) // 2))
    if not any(np.array_equal(order, each) for each in known):
        yield _finish("dimensions in another order", "dimension", lambda rows: rows[:, order])


def _clipped(mine: FloatArray, theirs: FloatArray) -> Iterator[Fault]:
    """Numbers that are rounded to a few decimals, or cut off at the ends of a range."""
    for count in DECIMALS if mine.any() else ():
        if np.abs(mine - np.round(mine, count)).max() <= EXACTLY * 10.0**-count:
            yield _rounded(count)
            break
    ends = float(mine.min()), float(mine.max())
    met = [end for end in ends if (mine == end).sum() > max(AT_THE_END * mine.size, len(mine) / 4)]
    low, high = (end if end in met else open_ for end, open_ in zip(ends, (-np.inf, np.inf), strict=True))
    if met and ((theirs > low) & (theirs < high)).mean() > INSIDE:
        name = f"numbers cut off at {' and '.join(f'{end:.4g}' for end in met)}"
        yield _finish(name, "codes", lambda rows: np.clip(rows, low, high))


def _rounded(count: int) -> Fault:
    return _finish(f"numbers rounded to {counted(count, 'decimal')}", "codes", lambda rows: np.round(rows, count))


def _finish(name: str, layer: str, finish: Callable[[FloatArray], FloatArray], read: int = 0) -> Fault:
    return Fault(name, layer, STEPS[layer], finish=as_float32(finish), read=read)
