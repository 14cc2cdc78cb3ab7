"""Ends of intervals: of what resamples say, of a quantile of the items, and of a share of them.

`docs/statistics.md` explains the methods to an engineer and names their sources.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from embedgate.core.quantiles import at_least, at_most
from embedgate.metrics import METRICS, FloatArray, Scores
from embedgate.metrics.bootstrap import REPLICATES, replicates_of

# Of items that count as fewer, percentiles of resamples lie too near to each other: Student's interval counts.
FEW = 30
# The lower end of a quantile of cosines of so few items that none bounds it.
UNBOUNDED = -1.0


@dataclass(frozen=True)
class Interval:
    """Two one-sided ends of an interval.

    Attributes:
        low: Lower end.
        high: Upper end.
    """

    low: float
    high: float


def interval(
    scores: Scores, alpha: float, *, metric: str = "", replicates: int = REPLICATES, seed: int = 0
) -> Interval:
    """Interval of one value, each end one-sided at level alpha.

    Args:
        scores: The scores.
        alpha: How often the true value may lie beyond each end.
        metric: Name of the metric, since a quantile of the items gets another interval (see `compare_floor`).
        replicates: Number of bootstrap replicates.
        seed: What they are drawn from.
    """
    if metric and is_share(metric):
        return Interval(share_at_least(scores.items, alpha), share_at_most(scores.items, alpha))
    quantile = METRICS[metric].quantile if metric else None
    if quantile is None:
        found, n = replicates_of(scores, replicates, seed), scores.independent
        return Interval(lower(found, scores.value, n, alpha), upper(found, scores.value, n, alpha))
    return quantile_interval(scores, quantile, alpha) if quantile else Interval(scores.value, scores.value)


def _expanded(alpha: float, n: int) -> float:
    """The level at which a percentile interval of `n` items is as wide as Student's instead of too narrow.

    Source: Hesterberg, "What teachers should know about the bootstrap", The American Statistician 69 (2015).
    """
    from scipy.stats import norm, t

    return float(norm.cdf(math.sqrt(n / (n - 1)) * t.ppf(alpha, n - 1))) if n > 1 else 0.0


def lower(replicates: FloatArray, observed: float, n: int, alpha: float) -> float:
    """Lower end of a percentile interval that holds the observed value; of few items, no nearer than Student's."""
    low = min(float(np.quantile(replicates, _expanded(alpha, n), method="lower")), observed)
    return min(low, observed - _reach(replicates, n, alpha)) if 1 < n < FEW else low


def upper(replicates: FloatArray, observed: float, n: int, alpha: float) -> float:
    """Upper end of an interval that holds the observed value: the further of the percentile's and Student's.

    At alpha / family, hardly a replicate lies beyond the former, and a false `fail` costs more than an inconclusive
    check.
    """
    high = float(np.quantile(replicates, 1 - _expanded(alpha, n), method="higher"))
    return max(high, observed + _reach(replicates, n, alpha))


def _reach(replicates: FloatArray, n: int, alpha: float) -> float:
    """How far Student's interval reaches from the observed value; nowhere where it has no deviation.

    A bootstrap of `n` items has a deviation that is too small by n - 1 in n (Hesterberg 2015).
    """
    from scipy.stats import t

    if n < 2:
        return 0.0
    deviation = float(replicates[np.isfinite(replicates)].std())
    return float(t.isf(alpha, n - 1)) * math.sqrt(n / (n - 1)) * deviation


def quantile_interval(scores: Scores, quantile: float, alpha: float) -> Interval:
    """Items that a quantile lies between, whatever the distribution; an end of a cosine where there are too few.

    Items of one cluster count as if they all said the same (`Scores.effective`).
    """
    return Interval(quantile_at_least(scores, quantile, alpha), quantile_at_most(scores, quantile, alpha))


def quantile_at_least(scores: Scores, quantile: float, alpha: float) -> float:
    """Lower end of a quantile's interval; the least cosine where there are too few items."""
    low = at_least(scores.items, quantile, alpha, scores.effective)
    return UNBOUNDED if low is None else low


def quantile_at_most(scores: Scores, quantile: float, alpha: float) -> float:
    """Upper end of a quantile's interval; the largest cosine where there are too few items."""
    high = at_most(scores.items, quantile, alpha, scores.effective)
    return 1.0 if high is None else high


def is_share(metric: str) -> bool:
    """Whether a metric is the share of its items that are right, each item right or wrong."""
    return METRICS[metric].kind in ("ordering", "stored") and METRICS[metric].unit_loss is not None


def share_at_least(items: FloatArray, alpha: float) -> float:
    """Lower end of the exact interval of a share; an item that is half right counts as wrong."""
    from scipy.stats import binomtest

    right = int((items == 1).sum())
    return float(binomtest(right, len(items), alternative="greater").proportion_ci(1 - alpha, "exact").low)


def share_at_most(items: FloatArray, alpha: float) -> float:
    """Upper end of the exact interval of a share; an item that is half right counts as right."""
    from scipy.stats import binomtest

    n, wrong = len(items), int((items == 0).sum())
    return float(binomtest(n - wrong, n, alternative="less").proportion_ci(1 - alpha, "exact").high)
