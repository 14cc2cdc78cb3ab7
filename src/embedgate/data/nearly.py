"""Texts that are nearly equal, found among many without comparing each with each.

Of every text stays a sketch (MinHash): two texts have as many of its values in common as they share runs of characters.
Sketches are sorted in many orders, and only texts that stand beside each other in one of them are compared.

Sources:
    Broder, "On the resemblance and containment of documents", SEQUENCES 1997, on sketches; Bawa, Condie and Ganesan,
    "LSH forest: self-tuning indexes for similarity search", WWW 2005, on sorting them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint32]

# Texts are nearly equal where they share this part of all runs of four characters that any of both has (Jaccard).
NEARLY = 0.7
_RUN = 4
# Values of a sketch: what they say of two texts has a standard error of 0.04.
_VALUES = 128
# Three standard errors below the threshold: of 1,000 pairs at it, one is overlooked for that.
_WORTH_COMPARING = NEARLY - 0.12
# Sketches are sorted from every fourth value on, by so many values: the longer two agree, the nearer they stand.
_STEP = 4
_SORTED_BY = 16
# What is worked on at once, for the memory it takes.
_BATCH = 4096


def likely(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yields pairs of texts that may be nearly equal: at most 32 for each text, however many are alike.

    Args:
        texts: Different texts. Equal sketches stand in the order of these.
    """
    sketches = _sketches(texts)
    beside = [_worth_comparing(sketches, start) for start in range(0, _VALUES, _STEP)]
    del sketches
    for pair in np.unique(np.concatenate(beside)):
        yield divmod(int(pair), len(texts))


def nearly_equal(texts: Sequence[str]) -> Callable[[int, int], bool]:
    """What tells whether two of the texts, given by their numbers, are nearly equal."""
    runs = cache(lambda item: _runs(texts[item]))

    def found(one: int, other: int) -> bool:
        first, second = runs(one), runs(other)
        both = len(np.intersect1d(first, second, assume_unique=True))
        return both / (len(first) + len(second) - both) >= NEARLY

    return found


def _worth_comparing(sketches: Hashes, start: int) -> npt.NDArray[np.int64]:
    """Pairs that stand beside each other when sketches are sorted from one value on, as `low * texts + high`."""
    texts = sketches.shape[1]
    order = np.lexsort(np.roll(sketches, -start, axis=0)[_SORTED_BY - 1 :: -1])
    low, high = np.sort([order[:-1], order[1:]], axis=0)
    batches = (slice(first, first + _BATCH) for first in range(0, texts, _BATCH))
    shared = [np.count_nonzero(sketches[:, low[rows]] == sketches[:, high[rows]], axis=0) for rows in batches]
    kept = np.concatenate(shared) >= _WORTH_COMPARING * _VALUES
    found: npt.NDArray[np.int64] = low[kept] * texts + high[kept]
    return found


def _sketches(texts: Sequence[str]) -> Hashes:
    """The sketch of each text, `[values, texts]`."""
    random = np.random.default_rng(0)
    # Odd, so that no two runs become one.
    factors = random.integers(2**31, size=(_VALUES, 1), dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    shifts = random.integers(2**32, size=(_VALUES, 1), dtype=np.uint32)
    found = np.empty((_VALUES, len(texts)), dtype=np.uint32)
    for item, text in enumerate(texts):
        runs = _runs(text)
        least = [_least(runs[first : first + _BATCH], factors, shifts) for first in range(0, len(runs), _BATCH)]
        found[:, item] = np.min(least, axis=0)
    return found


def _least(runs: Hashes, factors: Hashes, shifts: Hashes) -> Hashes:
    mixed = runs * factors
    mixed += shifts
    least: Hashes = mixed.min(axis=1)
    return least


def _runs(text: str) -> Hashes:
    """The hashes of all runs of a text, ascending, each once."""
    signs = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    signs = np.pad(signs, (0, max(0, _RUN - len(signs))))
    hashes = np.zeros(len(signs) - _RUN + 1, dtype=np.uint32)
    for place in range(_RUN):
        hashes *= np.uint32(0x9E3779B1)
        hashes += signs[place : place + len(hashes)]
    # Runs that differ in one character alone spread over all numbers, as MurmurHash3 does it.
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        hashes ^= hashes >> np.uint32(shift)
        hashes *= np.uint32(factor)
    hashes.sort()
    once: Hashes = hashes[np.append(True, hashes[1:] != hashes[:-1])]
    return once
