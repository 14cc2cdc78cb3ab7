"""What a comparison with a limit came to: its verdict, how surely it is red, and how many items would settle it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from embedgate.core.family import largest_family
from embedgate.core.judgement import Verdict
from embedgate.metrics.ends import Interval

POWER = 0.8
# More items than this are as good as no number.
MOST_ITEMS = 10**9


class AllAlike(ValueError):
    """All items repeat one another, so that there is nothing to draw from."""


@dataclass(frozen=True)
class Shared:
    """A level that checks share (Bonferroni).

    Attributes:
        alpha: How often one of them may be red by chance.
        checks: How many there are, each counted by its weight.
        weight: As how many of them the one that is judged counts.
    """

    alpha: float
    checks: int
    weight: int = 1

    @property
    def each(self) -> float:
        """The level of the one that is judged."""
        return self.alpha * self.weight / self.checks


@dataclass(frozen=True)
class Comparison:
    """The outcome of a comparison with a limit.

    Attributes:
        verdict: `pass` if `low` reaches the limit, `fail` if `high` does not, `inconclusive` otherwise.
        observed: What was compared with the limit: the share of the reference that is kept, or the value itself.
        low: Lower end of its interval, one-sided at level alpha.
        high: Upper end of its interval, one-sided at the level of each check of the family.
        limit: The least that passes.
        n: Number of items.
        smallest_detectable_loss: The loss that these items can tell from none at level alpha with 80% power, in the
            unit of `observed`; None where there is no standard error (a least value).
        items_needed: About how many such items would settle an inconclusive comparison; None where it is settled, or
            where no number would, since the observed value is at the limit.
        largest_family: Of a `fail`, the most checks that its family can have for it to be one; None of any other, and
            where no family has a part in it.
        clusters: How many clusters the items come in, drawn as wholes; None where each item is alone.
    """

    verdict: Verdict
    observed: float
    low: float
    high: float
    limit: float
    n: int
    smallest_detectable_loss: float | None
    items_needed: int | None
    largest_family: int | None = None
    clusters: int | None = None


def comparison(
    observed: float,
    low: float,
    upper: Callable[[float], float],
    limit: float,
    n: int,
    standard_error: float,
    alpha: float,
    level: Shared,
    needed: Callable[[], int | None],
    beyond: bool = False,
    *,
    independent: int | None = None,
) -> Comparison:
    """The verdict of an interval: where it is inconclusive, how many items would settle it; where red, how surely.

    Args:
        observed: What is compared.
        low: Lower end of its interval.
        upper: From a level to the upper end.
        limit: The least that passes.
        n: Number of items.
        standard_error: Of what is compared.
        alpha: Level of the lower end.
        level: What gives the upper end its level.
        needed: How many items would settle it.
        beyond: Whether what lies at the limit does not pass.
        independent: How many clusters the items come in; None where each is alone.
    """
    from scipy.stats import norm

    between = Interval(low, upper(level.each))
    verdict = verdict_of(between, limit)
    if beyond and verdict == "pass" and low == limit:
        verdict = "inconclusive"

    def is_red(checks: int) -> bool:
        return upper(replace(level, checks=checks).each) < limit

    return Comparison(
        verdict,
        observed,
        between.low,
        between.high,
        limit,
        n,
        float(norm.isf(alpha) + norm.ppf(POWER)) * standard_error,
        needed() if verdict == "inconclusive" else None,
        largest_family(is_red, level.checks) if verdict == "fail" else None,
        independent if independent is not None and independent < n else None,
    )


def verdict_of(between: Interval, limit: float) -> Verdict:
    """What an interval says about a limit."""
    return "pass" if between.low >= limit else "fail" if between.high < limit else "inconclusive"


def items_needed(margin: float, deviation: float, unit_loss: float, n: int, alpha: float, to_fail: float) -> int | None:
    """At how many items the interval's end would meet the limit, all else as observed.

    Args:
        margin: The observed value less the limit.
        deviation: Standard deviation of one item's share in the observed value.
        unit_loss: Loss of the assumed item, in the unit of the observed value; 0 where none is assumed.
        n: Number of items now.
        alpha: Level of the lower end.
        to_fail: Level of the upper end.
    """
    from scipy.stats import norm

    if margin > 0:
        # With x = 1 / items: margin = unit_loss x + z sqrt(deviation^2 x + unit_loss^2 x^2), solved for x.
        z = float(norm.isf(alpha))
        linear = (z * deviation) ** 2 + 2 * margin * unit_loss
        root = math.sqrt(linear**2 + 4 * (z**2 - 1) * (unit_loss * margin) ** 2)
        needed = (linear + root) / (2 * margin**2)
    elif margin < 0:
        needed = (float(norm.isf(to_fail)) * deviation / margin) ** 2
    else:
        return None
    return max(n + 1, math.ceil(needed)) if needed < MOST_ITEMS else None
