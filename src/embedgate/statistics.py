"""Statistics behind a verdict: paired bootstrap, one-sided bounds, three outcomes.

A combination passes only if every one of its checks passes, so each is tested at level alpha (an intersection-union test,
Berger, Technometrics 24, 1982). One red check fails the build, so red is corrected for the number of checks (Bonferroni).
`docs/statistics.md` tells it at length.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import binom, norm

from embedgate.metrics import FloatArray, Scores

Verdict = Literal["pass", "fail", "inconclusive"]
Drift = Literal["pass", "fail", "stale"]

REPLICATES = 10_000
POWER = 0.8
# Resamples held at once: 128 MiB of float32.
WEIGHTS = 1 << 25


@dataclass(frozen=True)
class Interval:
    """The two ends of an interval."""

    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """What came of a statistical check.

    Attributes:
        verdict: `pass`, `fail` or `inconclusive`.
        observed: What is compared with the limit.
        low: One-sided lower bound at level alpha; at or above the limit passes.
        high: One-sided upper bound at level alpha/family; below the limit fails.
        limit: The least that is tolerated.
        standard_error: Of `observed`.
        smallest_detectable_loss: The loss that data of this size shows with 80% power at level alpha.
        n: Number of items.
        items_needed: How many items would settle an inconclusive check; None where it is settled or nothing would.
    """

    verdict: Verdict
    observed: float
    low: float
    high: float
    limit: float
    standard_error: float
    smallest_detectable_loss: float
    n: int
    items_needed: int | None


def compare(
    candidate: Scores,
    reference: Scores,
    tolerance: float,
    *,
    alpha: float = 0.05,
    family: int = 1,
    unit_loss: float | None = None,
    seed: int = 0,
) -> Comparison:
    """Judges which share of the reference's value a candidate keeps, by a paired bootstrap over the items.

    Where a metric counts and few items changed, the bootstrap alone would claim to know that nothing can be lost. One
    item that lost `unit_loss` is added for the lower bound, which gives the rule of three where no item changed (Hanley &
    Lippman-Hand, JAMA 249, 1983).

    Args:
        candidate: Scores of the candidate.
        reference: Scores of the reference on the same items.
        tolerance: Largest acceptable loss as a share of the reference's value.
        alpha: Level.
        family: Number of checks that red is corrected for.
        unit_loss: What one item can lose at most in a metric that counts; None for one that loses by degrees.
        seed: Seed of the resampling.

    Raises:
        ValueError: If the items do not match, or the reference's own value is not positive.
    """
    n = len(reference.items)
    if len(candidate.items) != n:
        raise ValueError(f"{len(candidate.items)} items cannot be paired with {n}")
    if not reference.value > 0:
        raise ValueError(f"the reference itself scores {reference.value:.4f} here, there is nothing to keep")
    weights = bootstrap_weights(n, seed)
    kept = candidate.replicate(weights) / _positive(reference.replicate(weights))
    lower = kept
    if unit_loss is not None:
        # The added item is drawn about once in n: each resample loses a Poisson(1) number of units.
        extra = np.random.default_rng(seed + 1).poisson(1.0, len(kept))
        lower = kept - extra * unit_loss / (n * reference.value)
    return _decide(candidate.value / reference.value, kept, lower, 1 - tolerance, n, alpha, family)


def compare_floor(
    scores: Scores, floor: float, *, metric: str, alpha: float = 0.05, family: int = 1, seed: int = 0
) -> Comparison:
    """Judges whether a value reaches a floor.

    Means are bootstrapped. The first percentile has the exact interval of order statistics (David & Nagaraja, Order
    Statistics, 2003, 7.1). A minimum has no interval: the observed one is compared as it is.

    Args:
        scores: What was measured.
        floor: The least acceptable value.
        metric: Its name.
        alpha: Level.
        family: Number of checks that red is corrected for.
        seed: Seed of the resampling.
    """
    n = len(scores.items)
    if metric == "cosine_min":
        verdict: Verdict = "pass" if scores.value >= floor else "fail"
        return Comparison(verdict, scores.value, scores.value, scores.value, floor, 0.0, 0.0, n, None)
    if metric == "cosine_p01":
        ordered = np.sort(scores.items)
        low = ordered[max(int(binom.ppf(alpha, n, 0.01)) - 1, 0)]
        high = ordered[min(int(binom.isf(alpha / family, n, 0.01)), n - 1)]
        spread = (float(high) - float(low)) / (norm.isf(alpha) + norm.isf(alpha / family))
        return _verdict(scores.value, float(low), float(high), floor, spread, n, alpha)
    values = scores.replicate(bootstrap_weights(n, seed))
    return _decide(scores.value, values, values, floor, n, alpha, family)


def compare_drift(value: float, approved: float, tolerance: float) -> Drift:
    """Compares a value with the approved one: `fail` if worse by more than the tolerance, `stale` if better by more."""
    if value < approved - tolerance:
        return "fail"
    return "stale" if value > approved + tolerance else "pass"


def interval(scores: Scores, alpha: float = 0.05, seed: int = 0) -> Interval:
    """Two-sided percentile bootstrap interval of a value, at level 1 - alpha."""
    values = scores.replicate(bootstrap_weights(len(scores.items), seed))
    low, high = np.quantile(values, [alpha / 2, 1 - alpha / 2])
    return Interval(min(float(low), scores.value), max(float(high), scores.value))


@lru_cache(maxsize=6)
def bootstrap_weights(n: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """How often each of n items is drawn in each resample, float32 `[replicates, n]`, read-only.

    There are 10,000 resamples, fewer (at least 1,000) where they would not fit into 128 MiB. All combinations share
    them.
    """
    replicates = min(REPLICATES, max(1000, WEIGHTS // n))
    random = np.random.default_rng([seed, n])
    weights = np.empty((replicates, n), dtype=np.float32)
    for row in weights:
        row[:] = np.bincount(random.integers(0, n, n), minlength=n)
    weights.setflags(write=False)
    return weights


def _decide(
    observed: float, values: FloatArray, lower: FloatArray, limit: float, n: int, alpha: float, family: int
) -> Comparison:
    low = min(float(np.quantile(lower, alpha)), observed)
    high = max(_far_quantile(values, 1 - alpha / family), observed)
    return _verdict(observed, low, high, limit, float(values.std(ddof=1)), n, alpha)


def _far_quantile(values: FloatArray, share: float) -> float:
    """An upper quantile; beyond what the resamples can show, the normal one with their spread."""
    if (1 - share) * len(values) >= 10:
        return float(np.quantile(values, share))
    return max(
        float(values.mean() + norm.ppf(share) * values.std(ddof=1)), float(np.quantile(values, 1 - 10 / len(values)))
    )


def _verdict(
    observed: float, low: float, high: float, limit: float, standard_error: float, n: int, alpha: float
) -> Comparison:
    verdict: Verdict = "pass" if low >= limit else "fail" if high < limit else "inconclusive"
    needed = None
    if verdict == "inconclusive" and observed != limit:
        # Both ends approach what is observed as the root of the number of items.
        reach = observed - low if observed > limit else high - observed
        factor = (reach / abs(observed - limit)) ** 2
        needed = ceil(n * factor) if factor < 1e6 else None
    detectable = max((norm.isf(alpha) + norm.ppf(POWER)) * standard_error, observed - low)
    return Comparison(verdict, observed, low, high, limit, standard_error, float(detectable), n, needed)


def _positive(values: FloatArray) -> FloatArray:
    return np.where(values > 0, values, np.nextafter(0, 1))
