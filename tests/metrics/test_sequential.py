"""Looks at a growing part of the items err no more often than one look at all of them."""

import math
from itertools import pairwise

import numpy as np
import pytest

from embedgate.metrics import mean_of
from embedgate.metrics.sequential import FEWEST_ITEMS, GROWTH, levels, looks
from embedgate.metrics.statistics import compare

ALPHA = 0.05


@pytest.mark.parametrize(
    ("n", "wanted"),
    [
        (5, (5,)),
        (599, (599,)),
        (600, (200, 600)),
        (1801, (200, 600, 1801)),
        (100_000, (411, 1234, 3703, 11111, 33333, 100_000)),
    ],
)
def test_each_look_has_three_times_the_items_of_the_one_before(n, wanted):
    assert looks(n) == wanted
    assert all(size >= FEWEST_ITEMS for size in wanted[:-1])
    assert all(later // GROWTH == size for size, later in pairwise(wanted))


def test_one_look_has_the_whole_level():
    assert levels(ALPHA, (40,)) == (ALPHA,)


@pytest.mark.parametrize("n", [600, 2000, 100_000])
def test_a_true_loss_at_the_tolerance_passes_at_alpha_over_all_looks(n):
    """By a Brownian motion, which estimates of many items follow."""
    sizes = looks(n)
    found = levels(ALPHA, sizes)
    assert list(found) == sorted(found), "the later a look, the more may be spent"
    rng, trials = np.random.default_rng(0), 200_000
    total, passed = np.zeros(trials), np.zeros(trials, bool)
    for size, fewer, level in zip(sizes, (0, *sizes), found, strict=False):
        total += rng.normal(size=trials) * math.sqrt(size - fewer)
        passed |= total / math.sqrt(size) > -_quantile(level)
    assert passed.mean() == pytest.approx(ALPHA, abs=4 * math.sqrt(ALPHA * (1 - ALPHA) / trials))


@pytest.mark.slow("a verdict on a part of the items errs as seldom as one on all of them, and finds no less")
class TestErrorRates:
    """Sessions that stop as soon as one passes, beside sessions that look once, on the same draws."""

    SESSIONS, ITEMS, FAMILY, DRAWS = 250, 600, 10, 400

    def verdicts(self, draw, tolerance, unit_loss=None, sessions=SESSIONS):
        """Shares of false passes, of passes and of items used, of sessions with looks and of those without."""
        passed, alone, used = 0, 0, []
        sizes = looks(self.ITEMS)
        for seed in range(sessions):
            candidate, reference = draw(np.random.default_rng(seed))
            for size, level in zip(sizes, levels(ALPHA, sizes), strict=True):
                arms = (mean_of(candidate[:size]), mean_of(reference[:size]))
                of = {"shared": ALPHA, "family": self.FAMILY}
                found = compare(*arms, tolerance, alpha=level, **of, unit_loss=unit_loss, replicates=self.DRAWS)
                if found.verdict == "pass":
                    break
            passed += found.verdict == "pass"
            used.append(size)
            once = (mean_of(candidate), mean_of(reference))
            whole = compare(
                *once, tolerance, alpha=ALPHA, family=self.FAMILY, unit_loss=unit_loss, replicates=self.DRAWS
            )
            alone += whole.verdict == "pass"
        return passed / sessions, alone / sessions, float(np.median(used)) / self.ITEMS

    def by_degrees(self, loss):
        def draw(rng):
            reference = rng.beta(4, 2, self.ITEMS)
            return (1 - loss) * reference + rng.normal(0, 0.1, self.ITEMS), reference

        return draw

    def test_a_true_loss_at_the_tolerance_passes_no_more_often_than_promised(self):
        passed, _, _ = self.verdicts(self.by_degrees(0.05), 0.05)
        assert passed <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / self.SESSIONS)

    def test_one_that_counts_too(self):
        def draw(rng):
            right = rng.random(self.ITEMS) < 0.8
            return np.where(right, rng.random(self.ITEMS) >= 0.05, 0.0), right

        passed, _, _ = self.verdicts(draw, 0.05, unit_loss=1.0)
        assert passed <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / self.SESSIONS)

    def test_no_loss_passes_on_a_third(self):
        passed, alone, used = self.verdicts(self.by_degrees(0.0), 0.05, sessions=40)
        assert (passed, alone) == (1.0, 1.0)
        assert used == pytest.approx(1 / 3)

    def test_a_loss_near_the_tolerance_passes_nearly_as_often_as_by_one_look(self):
        """Where half of the sessions pass by one look, sharing its level over looks costs some points."""
        passed, alone, _ = self.verdicts(self.by_degrees(0.038), 0.05, sessions=150)
        assert 0.3 < alone < 0.9
        assert passed > alone - 0.1


def _quantile(level):
    from scipy.stats import norm

    return float(norm.ppf(level))
