"""Verdicts from scores: bootstrap intervals, and what they say about a tolerance.

`docs/statistics.md` explains the method to an engineer and names its sources. In short: items are resampled, the same
ones for both arms; a combination passes where the worse end of the interval is within the tolerance, fails where the
better end is beyond it, and is inconclusive otherwise. The worse end is one-sided at level alpha, since a combination
must pass all its checks (an intersection-union test, Berger 1982); the better end is one-sided at alpha / family, since
one red check among the family fails the build (Bonferroni).

Where items come in clusters, these are resampled: what repeats an item adds nothing to it.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import numpy as np

from embedgate.metrics import METRICS, FloatArray, Scores, ends
from embedgate.metrics.bootstrap import REPLICATES, cautious_means, replicates_of
from embedgate.metrics.comparison import AllAlike, Comparison, Shared, comparison, items_needed, verdict_of
from embedgate.metrics.ends import Interval


def compare(
    candidate: Scores,
    reference: Scores,
    tolerance: float,
    *,
    alpha: float,
    family: int = 1,
    weight: int = 1,
    shared: float | None = None,
    unit_loss: float | None = None,
    beyond: bool = False,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Comparison:
    """Compares a combination with the reference on the same items, higher being better.

    Args:
        candidate: Scores of the combination.
        reference: Scores of the reference on the same items in the same order.
        tolerance: The loss that is acceptable, as a share of the reference's value; below zero, the gain that is asked.
        alpha: How often a loss as large as the tolerance may pass.
        family: Number of checks of which one false `fail` would fail the build; each may do so at shared / family.
        weight: As how many of them this one counts, see `embedgate.core.family`.
        shared: The level that these checks share; alpha where it is not given.
        unit_loss: For a mean of items that are right or wrong, the most that one item can lose: the lower end then
            assumes one more item that lost it, since items that all kept their score do not prove that none ever
            loses it. This is Gaffke's bound (2005), for counts that of Clopper and Pearson (1934), and with no change
            at all the rule of three (Hanley and Lippman-Hand 1983).
        beyond: Whether what lies at the limit does not pass, as where a combination is to be better.
        replicates: Number of bootstrap replicates.
        seed: What they are drawn from.

    Raises:
        AllAlike: If all items repeat one another.
        ValueError: If the two have other items, or the reference's value is not above zero beyond chance, so that
            there is nothing to retain a share of.
    """
    _require_pairs(candidate, reference)
    if not reference.value > 0:
        raise ValueError(f"the reference itself scores {reference.value:.4g} here, nothing to retain")
    draws, observed = (replicates, seed), candidate.value / reference.value
    kept = _retention(*(replicates_of(arm, *draws) for arm in (candidate, reference)))
    if not math.isfinite(ends.lower(kept, observed, reference.independent, alpha)):
        raise ValueError(
            f"the reference itself scores {reference.value:.4g} on {len(reference.items)} items here, not above zero "
            "beyond chance, nothing to retain"
        )
    cautious = None
    if unit_loss is not None:
        cautious = _retention(*cautious_means(candidate, reference, unit_loss, *draws))
    unit = (unit_loss or 0.0) / reference.value
    level = Shared(shared or alpha, family, weight)
    return _paired(reference, observed, kept, cautious, unit, 1 - tolerance, alpha=alpha, level=level, beyond=beyond)


def compare_points(
    candidate: Scores,
    reference: Scores,
    tolerance: float,
    *,
    alpha: float,
    family: int = 1,
    weight: int = 1,
    unit_loss: float | None = None,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Comparison:
    """As `compare`, by the difference of the two values and no share of one: the reference may score nothing.

    Args:
        candidate: Scores of the combination.
        reference: Scores of the reference on the same items in the same order.
        tolerance: The loss that is acceptable, in the unit of the metric.
        alpha: How often a loss as large as the tolerance may pass.
        family: Number of checks of which one false `fail` would fail the build; each may do so at alpha / family.
        weight: As of `compare`.
        unit_loss: As of `compare`.
        replicates: Number of bootstrap replicates.
        seed: What they are drawn from.

    Raises:
        AllAlike: If all items repeat one another.
        ValueError: If the two have other items.
    """
    _require_pairs(candidate, reference)
    draws = (replicates, seed)
    mine, theirs = (replicates_of(arm, *draws) for arm in (candidate, reference))
    cautious = None
    if unit_loss is not None:
        cautious = np.subtract(*cautious_means(candidate, reference, unit_loss, *draws))
    observed, level = candidate.value - reference.value, Shared(alpha, family, weight)
    return _paired(reference, observed, mine - theirs, cautious, unit_loss or 0.0, -tolerance, alpha=alpha, level=level)


def _require_pairs(candidate: Scores, reference: Scores) -> None:
    if len(candidate.items) != len(reference.items):
        raise ValueError(f"{len(candidate.items)} items cannot be paired with the reference's {len(reference.items)}")
    if candidate.independent != reference.independent:
        raise ValueError("the reference's items come in other clusters")
    if reference.independent < 2:
        raise AllAlike(_all_alike(len(reference.items)))


def _all_alike(items: int) -> str:
    return f"all {items} items repeat one another, so there is nothing to draw from"


def _paired(
    reference: Scores,
    observed: float,
    replicates: FloatArray,
    cautious: FloatArray | None,
    unit_loss: float,
    limit: float,
    *,
    alpha: float,
    level: Shared,
    beyond: bool = False,
) -> Comparison:
    """The outcome of a comparison with the reference on the same items.

    Args:
        reference: The reference's scores.
        observed: What is compared with the limit.
        replicates: The same in each replicate; -inf where it cannot be told.
        cautious: The same with one loss more, which then decides of the lower end; None where none is assumed.
        unit_loss: That loss in the unit of what is compared; 0 where none is assumed.
        limit: The least that passes.
        alpha: Level of the lower end.
        level: What gives the upper end its level.
        beyond: Whether what lies at the limit does not pass.
    """
    items, n = len(reference.items), reference.independent
    deviation = float(replicates[np.isfinite(replicates)].std())
    low = ends.lower(replicates, observed, n, alpha)
    if cautious is not None:
        low = float(np.quantile(cautious, alpha, method="lower"))

    def needed() -> int | None:
        lost = unit_loss * items / n
        return items_needed(observed - limit, deviation * math.sqrt(items), lost, items, alpha, level.each)

    return comparison(
        observed,
        low,
        lambda to_fail: ends.upper(replicates, observed, n, to_fail),
        limit,
        items,
        deviation if cautious is None else float(cautious.std()),
        alpha,
        level,
        needed,
        beyond,
        independent=n,
    )


def compare_floor(
    scores: Scores,
    floor: float,
    *,
    metric: str,
    alpha: float,
    family: int = 1,
    weight: int = 1,
    shared: float | None = None,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Comparison:
    """Compares a value with the least that is acceptable.

    A mean gets a bootstrap interval. The bootstrap is inconsistent for extremes (Bickel and Freedman 1981): a low
    quantile gets the distribution-free interval between order statistics (David and Nagaraja 2003), whose ends are -1
    and 1 where there are too few items for one, and counts items of one cluster as one and the same (Kish 1965, Korn
    and Graubard 1998); the least item has no interval at all and is compared as observed. A
    share of items that are right or wrong gets the exact interval of Clopper and Pearson (1934), since resampling items
    that are all right cannot show that one may be wrong.

    Args:
        scores: The scores.
        floor: The least acceptable value.
        metric: Name of the metric in `embedgate.metrics.METRICS`.
        alpha: How often a value as low as the floor may pass.
        family: Number of checks of which one false `fail` would fail the build.
        weight: As of `compare`.
        shared: The level that these checks share; alpha where it is not given.
        replicates: Number of bootstrap replicates.
        seed: What they are drawn from.

    Raises:
        AllAlike: If all items repeat one another, but for the least item.
    """
    n, quantile, level = len(scores.items), METRICS[metric].quantile, Shared(shared or alpha, family, weight)
    if quantile == 0:
        exact = Interval(scores.value, scores.value)
        return Comparison(verdict_of(exact, floor), scores.value, exact.low, exact.high, floor, n, None, None)
    if scores.clusters is not None and scores.independent < 2:
        raise AllAlike(_all_alike(n))
    if quantile is not None:
        return _compare_quantile(scores, quantile, floor, alpha, level)
    if ends.is_share(metric):
        return _compare_share(scores, floor, alpha, level)
    found, independent = replicates_of(scores, replicates, seed), scores.independent
    standard_error = float(found.std())
    return comparison(
        scores.value,
        ends.lower(found, scores.value, independent, alpha),
        lambda to_fail: ends.upper(found, scores.value, independent, to_fail),
        floor,
        n,
        standard_error,
        alpha,
        level,
        lambda: items_needed(scores.value - floor, standard_error * math.sqrt(n), 0.0, n, alpha, level.each),
        independent=independent,
    )


def compare_drift(value: float, approved: float, tolerance: float) -> Literal["pass", "fail", "stale"]:
    """Compares a value with an approved one, higher being better: both are observations on the same items.

    Args:
        value: The value now.
        approved: The approved value.
        tolerance: The absolute difference that is acceptable.

    Returns:
        `fail` if it is worse by more than the tolerance, `stale` if better by more, else `pass`.
    """
    if value < approved - tolerance:
        return "fail"
    return "stale" if value > approved + tolerance else "pass"


def _retention(candidate: FloatArray, reference: FloatArray) -> FloatArray:
    """The share that is kept in each replicate; -inf where the reference has nothing to retain a share of."""
    return np.divide(candidate, reference, out=np.full_like(candidate, -np.inf), where=reference > 0)


def _compare_quantile(scores: Scores, quantile: float, floor: float, alpha: float, level: Shared) -> Comparison:
    from scipy.stats import norm

    n, one_error = len(scores.items), float(norm.sf(1))
    around = ends.quantile_interval(scores, quantile, one_error)
    standard_error = (around.high - around.low) / 2

    def needed() -> int | None:
        # The same question asked of a share, whose deviation is known: do fewer than the quantile lie below the floor?
        margin = quantile - float((scores.items < floor).mean())
        deviation = math.sqrt(quantile * (1 - quantile) * n / scores.effective)
        found = items_needed(margin, deviation, 0.0, n, alpha, level.each)
        # Of fewer, not even the least bounds the quantile (Wilks 1941).
        fewest = math.ceil(math.log(alpha) / math.log(1 - quantile) * n / scores.effective)
        return None if found is None else max(found, fewest)

    low = ends.quantile_at_least(scores, quantile, alpha)
    found = comparison(
        scores.value,
        low,
        lambda to_fail: ends.quantile_at_most(scores, quantile, to_fail),
        floor,
        n,
        standard_error,
        alpha,
        level,
        needed,
        independent=scores.independent,
    )
    # Where no item bounds the quantile, no loss shows.
    return replace(found, smallest_detectable_loss=None) if low == ends.UNBOUNDED else found


def _compare_share(scores: Scores, floor: float, alpha: float, level: Shared) -> Comparison:
    n, share = len(scores.items), scores.value
    wrong = (1 - share) + 1 / n  # one more, so that none at all does not claim certainty
    deviation = math.sqrt(wrong * max(1 - wrong, 0.0))
    return comparison(
        share,
        ends.share_at_least(scores.items, alpha),
        lambda to_fail: ends.share_at_most(scores.items, to_fail),
        floor,
        n,
        deviation / math.sqrt(n),
        alpha,
        level,
        lambda: items_needed(share - floor, math.sqrt(share * (1 - share)), 1.0, n, alpha, level.each),
    )
