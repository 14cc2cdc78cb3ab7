"""Bounds of a quantile: the places among the values in order that the binomial distribution gives."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from embedgate.core.quantiles import at_least, at_most

SIZES = (1, 4, 5, 8, 16, 32, 58, 59, 64, 298, 299, 2000)


@pytest.mark.parametrize("quantile", [0.01, 0.5, 0.95])
@pytest.mark.parametrize("level", [0.05, 0.0125, 0.05 / 120, 0.1587])
def test_a_bound_is_the_value_of_the_place_that_the_binomial_distribution_gives(quantile, level):
    for n in SIZES:
        values = np.random.default_rng(n).permutation(n) + 0.5
        below = binom.cdf(np.arange(n), n, quantile)  # P(at most k of n values are below the quantile)
        low = [place + 0.5 for place in range(n) if below[place] <= level]
        high = [place + 0.5 for place in range(n) if 1 - below[place] <= level]
        assert at_least(values, quantile, level) == (low[-1] if low else None)
        assert at_most(values, quantile, level) == (high[0] if high else None)


def test_59_values_bound_p95_and_fewer_do_not():
    values = list(range(59))
    assert at_most(values, 0.95) == 58
    assert at_most(values[:-1], 0.95) is None
    assert 1 - 0.95**59 >= 0.95 > 1 - 0.95**58


def test_the_bound_holds_as_often_as_it_says():
    random = np.random.default_rng(1)
    held = np.mean([at_most(random.uniform(size=72), 0.95) >= 0.95 for _ in range(4_000)])
    assert 0.95 - 0.012 < held < 1


class TestWhereValuesRepeat:
    """Twenty copies of each value say no more than one."""

    @pytest.mark.parametrize("bound", [at_least, at_most])
    def test_copies_bound_what_one_of_each_does(self, bound):
        values = np.random.default_rng(0).random(400)
        assert bound(np.repeat(values, 20), 0.05, effective=400) == bound(values, 0.05)

    @pytest.mark.parametrize("bound", [at_least, at_most])
    def test_fewer_that_tell_as_much_bound_less_closely(self, bound):
        values = np.random.default_rng(0).random(4000)
        own = abs(bound(values, 0.05) - 0.05)
        assert abs(bound(values, 0.05, effective=400) - 0.05) > own

    @pytest.mark.parametrize("bound", [at_least, at_most])
    def test_too_few_bound_nothing(self, bound):
        assert bound(np.arange(4000), 0.001 if bound is at_least else 0.999, effective=40) is None
