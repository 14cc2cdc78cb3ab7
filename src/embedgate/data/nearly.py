"""Texts that are nearly equal, found among many without comparing each with each.

Of every text stays a sketch (MinHash): two texts have as many of its values in common as they share runs of characters.
Sketches are sorted in many orders, and only texts that stand beside each other in one of them are compared. Of a very
long text its first `MOST_COMPARED` characters count.

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
# Characters of a text that are compared: more than models read of one (32,768 tokens are about as many).
MOST_COMPARED = 1 << 17
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
    sketches = _sketches([text[:MOST_COMPARED] for text in texts])
    beside = [_worth_comparing(sketches, start) for start in range(0, _VALUES, _STEP)]
    del sketches
    for pair in np.unique(np.concatenate(beside)):
        yield divmod(int(pair), len(texts))


def nearly_equal(texts: Sequence[str]) -> Callable[[int, int], bool]:
    """What tells whether two of the texts, given by their numbers, are nearly equal."""
    runs = cache(lambda item: _runs(texts[item][:MOST_COMPARED]))

    def found(one: int, other: int) -> bool:
        first, second = runs(one), runs(other)
        both = len(np.intersect1d(first, second, assume_unique=True))
        return both / (len(first) + len(second) - both) >= NEARLY

    return found


def _worth_comparing(sketches: Hashes, start: int) -> npt.NDArray[np.int64]:
    """Pairs that stand beside each other when sketches are sorted from one value on, as `low * texts + high`."""
    texts = len(sketches)
    order = _order(np.take(sketches, range(start, start + _SORTED_BY), axis=1, mode="wrap"))
    low, high = np.sort([order[:-1], order[1:]], axis=0)
    batches = (slice(first, first + _BATCH) for first in range(0, texts, _BATCH))
    shared = [np.count_nonzero(sketches[low[rows]] == sketches[high[rows]], axis=1) for rows in batches]
    kept = np.concatenate(shared) >= _WORTH_COMPARING * _VALUES
    found: npt.NDArray[np.int64] = low[kept] * texts + high[kept]
    return found


def _order(rows: Hashes) -> npt.NDArray[np.intp]:
    """The order of rows by their first value, then by their second, and so on; equal ones as they come."""
    # Bytes of which the first counts most are sorted at once, many times as fast as value after value.
    plain = np.ascontiguousarray(rows, dtype=">u4")
    return plain.view(f"S{plain.itemsize * plain.shape[1]}").ravel().argsort(kind="stable")


def _sketches(texts: Sequence[str]) -> Hashes:
    """The sketch of each text, `[texts, values]`."""
    random = np.random.default_rng(0)
    # Odd, so that no two runs become one.
    factors = random.integers(2**31, size=(_VALUES, 1), dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    shifts = random.integers(2**32, size=(_VALUES, 1), dtype=np.uint32)
    found = np.empty((len(texts), _VALUES), dtype=np.uint32)
    for some in _batches([max(_RUN, len(text)) for text in texts]):
        hashes, first = _runs_of([texts[item] for item in some])
        found[some.start : some.stop] = _least(hashes, first, factors, shifts)
    return found


def _batches(lengths: Sequence[int]) -> Iterator[range]:
    """Neighbours that have some thousands of characters together; one text that has more is alone."""
    first = size = 0
    for item, length in enumerate(lengths):
        if size and size + length > _BATCH:
            yield range(first, item)
            first, size = item, 0
        size += length
    if lengths:
        yield range(first, len(lengths))


def _least(hashes: Hashes, first: npt.NDArray[np.intp], factors: Hashes, shifts: Hashes) -> Hashes:
    """The sketches of texts `[texts, values]`, from the hashes of their runs and the place of each text's first."""
    least: Hashes
    if len(first) == 1:  # it may be long: a batch of its runs at a time
        batches = (hashes[start : start + _BATCH] for start in range(0, len(hashes), _BATCH))
        least = np.min([_mixed(batch, factors, shifts).min(axis=1) for batch in batches], axis=0)[None]
    else:
        least = np.minimum.reduceat(_mixed(hashes, factors, shifts), first, axis=1).T
    return least


def _mixed(hashes: Hashes, factors: Hashes, shifts: Hashes) -> Hashes:
    mixed = hashes * factors
    mixed += shifts
    return mixed


def _runs_of(texts: Sequence[str]) -> tuple[Hashes, npt.NDArray[np.intp]]:
    """The hashes of all runs of some texts, one text after the other, and the place of each text's first."""
    padded = [text.ljust(_RUN, "\0") for text in texts]
    ends = np.cumsum([len(text) for text in padded])
    hashes = _hashed("".join(padded))
    # Runs that begin in one text and end in the next are none.
    within = np.ones(len(hashes), dtype=bool)
    for before in range(1, _RUN):
        within[ends[:-1] - before] = False
    return hashes[within], np.append(0, ends[:-1] - (_RUN - 1) * np.arange(1, len(ends)))


def _runs(text: str) -> Hashes:
    """The hashes of all runs of a text, ascending, each once."""
    hashes = _hashed(text.ljust(_RUN, "\0"))
    hashes.sort()
    once: Hashes = hashes[np.append(True, hashes[1:] != hashes[:-1])]
    return once


def _hashed(text: str) -> Hashes:
    """The hash of the run that begins at each character of a text, as long as there is a whole one."""
    signs = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    hashes = np.zeros(len(signs) - _RUN + 1, dtype=np.uint32)
    for place in range(_RUN):
        hashes *= np.uint32(0x9E3779B1)
        hashes += signs[place : place + len(hashes)]
    # Runs that differ in one character alone spread over all numbers, as MurmurHash3 does it.
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        hashes ^= hashes >> np.uint32(shift)
        hashes *= np.uint32(factor)
    return hashes
