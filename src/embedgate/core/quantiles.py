"""Bounds of a quantile, from below and from above, whatever the distribution of the values.

The number of values below a quantile is binomial, so that two of them, in order, bound it (David and Nagaraja, Order
Statistics, 3rd edition, 2003, section 7.1). scipy tells which two.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt


def at_least(values: npt.ArrayLike, quantile: float, level: float = 0.05, effective: int | None = None) -> float | None:
    """Returns what a quantile is at least with probability 1 - level; None where there are too few values to say.

    Args:
        values: Independent values `[n]`.
        quantile: Which, between 0 and 1.
        level: How often the quantile may be less, one-sided.
        effective: How many independent values tell as much, where these are not: the bound stands at the same share
            of all values as among so many (Korn and Graubard, "Confidence intervals for proportions with small
            expected number of positive counts estimated from survey data", 1998); None for all.
    """
    n = len(np.asarray(values))
    place = _place(effective or n, quantile, level, "greater")
    return _of_place(values, None if place is None else place * n // (effective or n))


def at_most(values: npt.ArrayLike, quantile: float, level: float = 0.05, effective: int | None = None) -> float | None:
    """Returns what a quantile is at most with probability 1 - level; None where there are too few values to say.

    With 59 values the largest bounds p95 with 95% (Wilks, "Determination of sample sizes for setting tolerance limits",
    1941); with fewer, none does.

    Args:
        values: Independent values `[n]`.
        quantile: Which, between 0 and 1.
        level: How often the quantile may be more, one-sided.
        effective: As of `at_least`.
    """
    n = len(np.asarray(values))
    place = _place(effective or n, quantile, level, "less")
    return _of_place(values, None if place is None else -(-(place + 1) * n // (effective or n)) - 1)


def _of_place(values: npt.ArrayLike, place: int | None) -> float | None:
    return None if place is None else float(np.sort(np.asarray(values))[place])


@lru_cache(maxsize=1024)
def _place(n: int, quantile: float, level: float, alternative: Literal["greater", "less"]) -> int | None:
    """The place of the bound among `n` values in order: of values that are their places, scipy's bound is its own.

    It depends on no value, and scipy takes milliseconds; budgets ask again with every look at their turns.
    """
    from scipy.stats import quantile_test

    found = quantile_test(np.arange(n), p=quantile, alternative=alternative).confidence_interval(1 - level)
    place = found.low if alternative == "greater" else found.high
    return None if np.isnan(place) else int(place)
