"""Resamples: items are drawn again and again, those of one cluster together.

Everything is deterministic: resamples depend on the number of items or clusters, the number of replicates and the seed
alone, so that all combinations share them.
"""

from __future__ import annotations

from collections.abc import Iterator
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
from cachetools import LRUCache, cached

from embedgate.metrics import FloatArray, Matrix, Scores

Counts = npt.NDArray[np.uint8]

REPLICATES = 10_000
FEWEST_REPLICATES = 1_000
# Bootstrap counts held per number of items, in bytes; more items than this over `REPLICATES` get fewer replicates.
LARGEST_COUNTS = 2**27
# Of all numbers of items together, in bytes: slices ask for dozens.
LARGEST_KEPT = 2**29
# Weights in work at a time: 2^19 float32 are 2 MiB.
_CHUNK = 2**19

_replicates_of: WeakKeyDictionary[Scores, dict[tuple[int, int], FloatArray]] = WeakKeyDictionary()


def _bytes(array: npt.NDArray[np.generic]) -> int:
    return array.nbytes


@cached(LRUCache(LARGEST_KEPT, _bytes))
def bootstrap_weights(n: int, replicates: int = REPLICATES, seed: int = 0) -> Counts:
    """How often each of `n` items is drawn in each replicate of a bootstrap (Efron 1979).

    Args:
        n: Number of items, drawn from with replacement as often.
        replicates: Number of replicates; fewer are made, but at least 1,000, where they would take more than 128 MiB.
        seed: What they are drawn from, with `n`.

    Returns:
        Counts, uint8 `[replicates, n]`, each row adding up to `n`; read-only, shared by all who ask for the same.
    """
    rng = np.random.default_rng((seed, n))
    rows = min(replicates, max(FEWEST_REPLICATES, LARGEST_COUNTS // n))
    counts = np.empty((rows, n), dtype=np.uint8)
    for part in _chunks(rows, n):
        size = part.stop - part.start
        drawn = rng.integers(0, n, size=(size, n), dtype=np.int32) + np.arange(size)[:, None] * n
        counts[part] = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)
    counts.setflags(write=False)
    return counts


def replicates_of(scores: Scores, replicates: int = REPLICATES, seed: int = 0) -> FloatArray:
    """The metric's value in each replicate, float64 `[replicates]`.

    It is remembered as long as the scores live: the reference's serve every arm.
    """
    known = _replicates_of.setdefault(scores, {})
    if (replicates, seed) not in known:
        counts = bootstrap_weights(scores.independent, replicates, seed)
        parts = []
        for part in _chunks(len(counts), len(scores.items)):
            drawn = counts[part] if scores.clusters is None else np.take(counts[part], scores.clusters, axis=1)
            parts.append(scores.replicate(drawn.astype(np.float32)))
        known[replicates, seed] = np.concatenate(parts)
    return known[replicates, seed]


def cautious_means(
    candidate: Scores, reference: Scores, unit_loss: float, replicates: int = REPLICATES, seed: int = 0
) -> tuple[FloatArray, FloatArray]:
    """Means of two arms in each replicate of a Bayesian bootstrap (Rubin 1981), with one loss more.

    Args:
        candidate: Scores of the combination, a mean of its items.
        reference: The reference's, of the same items in the same clusters.
        unit_loss: What one item more loses; where items come in clusters, one more of their mean size.
        replicates: Number of replicates.
        seed: What they are drawn from.
    """
    arms = np.stack([candidate.items, reference.items, np.ones_like(reference.items)], axis=1)
    if reference.clusters is not None:
        sums = np.zeros((reference.independent, arms.shape[1]))
        np.add.at(sums, reference.clusters, arms)
        arms = sums
    size = len(reference.items) / len(arms)
    arms = np.append(arms, [[0.0, unit_loss * size, size]], axis=0).astype(np.float32)
    found = (_spacings(len(arms), replicates, seed) @ arms).astype(np.float64)
    return found[:, 0] / found[:, 2], found[:, 1] / found[:, 2]


@cached(LRUCache(LARGEST_KEPT, _bytes))
def _spacings(n: int, replicates: int, seed: int) -> Matrix:
    """Weights of a Bayesian bootstrap (Rubin 1981) of `n` items, not yet divided by their sums, float32."""
    rows = min(replicates, max(FEWEST_REPLICATES, LARGEST_COUNTS // (4 * n)))
    weights = np.random.default_rng((seed, n, 1)).standard_exponential((rows, n), dtype=np.float32)
    weights.setflags(write=False)
    return weights


def _chunks(rows: int, n: int) -> Iterator[slice]:
    step = max(1, _CHUNK // n)
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))
