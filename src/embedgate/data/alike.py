"""Items that repeat one another: they say one thing several times, and are drawn together.

Items are in one cluster where the data says so, where their texts are equal but for case, punctuation and spaces, or
nearly equal, and where queries ask for the same documents. What joins two joins all that they are joined with.

Sources:
    Miller, "Adding error bars to evals: a statistical approach to language model evaluations", arXiv 2411.00640 (2024),
    on clusters of items; Broder, "On the resemblance and containment of documents", SEQUENCES 1997, on near-duplicates.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

Clusters = npt.NDArray[np.intp]

# Texts are nearly equal where they share this part of all runs of four characters that any of both has (Jaccard).
NEARLY = 0.7
_RUN = 4
# Of MinHash: enough that of 1,000 pairs beyond the threshold hardly one is overlooked.
_PERMUTATIONS = 128


def clusters_of(texts: Sequence[str], *keys: Iterable[Hashable | None]) -> Clusters | None:
    """The cluster of each item.

    Args:
        texts: The text of each item.
        *keys: What else joins items: those of equal keys are in one cluster; None joins nothing.

    Returns:
        Numbers from 0, `[n]`; None where each item is alone.
    """
    joined = _Joined(len(texts))
    plain = [" ".join(re.findall(r"\w+", text.casefold())) or text for text in texts]
    for values in (plain, *keys):
        joined.all_equal(values)
    first: dict[str, int] = {}
    for item, text in enumerate(plain):
        first.setdefault(text, item)
    for one, other in _nearly_equal([*first]):
        joined.both(first[one], first[other])
    roots = [joined.root(item) for item in range(len(texts))]
    return numbered(roots)


def numbered(roots: npt.ArrayLike) -> Clusters | None:
    """Clusters of items by anything that those of one share, numbered from 0; None where each item is alone."""
    _, numbers = np.unique(roots, return_inverse=True)
    return None if numbers.max() + 1 == len(numbers) else numbers.astype(np.intp)


class _Joined:
    """Items in sets that grow together (union-find)."""

    def __init__(self, items: int) -> None:
        self._parents = list(range(items))

    def root(self, item: int) -> int:
        while self._parents[item] != item:
            self._parents[item] = self._parents[self._parents[item]]
            item = self._parents[item]
        return item

    def both(self, one: int, other: int) -> None:
        first, last = sorted((self.root(one), self.root(other)))
        self._parents[last] = first

    def all_equal(self, values: Iterable[Hashable | None]) -> None:
        first: dict[Hashable, int] = {}
        for item, value in enumerate(values):
            if value is not None:
                self.both(first.setdefault(value, item), item)


def _nearly_equal(texts: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yields each text that is nearly equal to one before it, behind that one."""
    from datasketch import MinHash, MinHashLSH

    runs = [_runs(text) for text in texts]
    nearby = MinHashLSH(threshold=NEARLY, num_perm=_PERMUTATIONS)
    for item, sketch in enumerate(MinHash.generator(runs, num_perm=_PERMUTATIONS)):
        known = next(
            (other for other in sorted(nearby.query(sketch)) if _share(runs[other], runs[item]) >= NEARLY), None
        )
        if known is None:
            nearby.insert(item, sketch)  # those that are like another are found by that one, however many they are
        else:
            yield texts[known], texts[item]


def _runs(text: str) -> set[bytes]:
    starts = range(max(1, len(text) - _RUN + 1))
    return {text[start : start + _RUN].encode("utf-8", "surrogatepass") for start in starts}


def _share(one: set[bytes], other: set[bytes]) -> float:
    both = len(one & other)
    return both / (len(one) + len(other) - both)
