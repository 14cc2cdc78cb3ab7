"""Statistics: verdicts err as seldom as they say, and say so when they cannot tell."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import beta, binom

from embedgate.core.family import MOST_CHECKS
from embedgate.metrics import Scores, agreement, bootstrap, mean_of, statistics
from embedgate.metrics.bootstrap import bootstrap_weights
from embedgate.metrics.ends import interval
from embedgate.metrics.statistics import compare, compare_drift, compare_floor, compare_points

ALPHA = 0.05


def flipped(n, reference_right, lost):
    """A metric that counts: the reference gets so many items right, the candidate so many of them wrong."""
    reference = np.zeros(n)
    reference[:reference_right] = 1
    candidate = reference.copy()
    candidate[:lost] = 0
    return mean_of(candidate), mean_of(reference)


def graded(n, loss, seed=0, spread=0.02):
    """A metric by degrees: the candidate loses this share on average, with a little noise."""
    rng = np.random.default_rng(seed)
    reference = rng.beta(4, 2, n)
    return mean_of(reference * (1 - loss) + rng.normal(0, spread, n)), mean_of(reference)


class TestBootstrapWeights:
    def test_each_replicate_draws_as_many_items_as_there_are(self):
        weights = bootstrap_weights(50, 2000)
        assert weights.shape == (2000, 50)
        assert (weights.sum(axis=1) == 50).all()

    def test_counts_are_multinomial(self):
        weights = bootstrap_weights(50, 20_000)
        seen = np.bincount(weights.ravel(), minlength=8)[:8] / weights.size
        assert seen == pytest.approx(binom.pmf(np.arange(8), 50, 1 / 50), abs=2e-3)

    def test_are_shared_and_the_same_each_time(self):
        assert bootstrap_weights(50, 100) is bootstrap_weights(50, 100)
        assert (bootstrap_weights(50, 100) == bootstrap_weights.__wrapped__(50, 100)).all()
        assert (bootstrap_weights(50, 100, seed=1) != bootstrap_weights(50, 100)).any()

    def test_many_items_get_fewer_replicates(self, monkeypatch):
        monkeypatch.setattr(bootstrap, "LARGEST_COUNTS", 2**20)
        assert len(bootstrap_weights.__wrapped__(700)) == 2**20 // 700
        assert len(bootstrap_weights.__wrapped__(2**11)) == bootstrap.FEWEST_REPLICATES


class TestCompare:
    def test_a_clear_loss_fails(self):
        found = compare(*graded(300, 0.05), 0.01, alpha=ALPHA, family=120)
        assert found.verdict == "fail"
        assert found.low < found.observed < found.high < found.limit == 0.99
        assert found.items_needed is None

    @pytest.mark.parametrize("loss", [0.0, -0.05])
    def test_no_loss_and_a_gain_pass(self, loss):
        found = compare(*graded(300, loss), 0.01, alpha=ALPHA, family=120)
        assert found.verdict == "pass"
        assert found.low >= found.limit

    def test_a_loss_near_the_tolerance_is_inconclusive_and_more_items_settle_it(self):
        found = compare(*graded(60, 0.007), 0.01, alpha=ALPHA)
        assert found.verdict == "inconclusive"
        assert found.items_needed is not None
        assert found.items_needed > 60
        # Three times as many, since at the number itself the odds of a verdict are even.
        assert compare(*graded(3 * found.items_needed, 0.007, seed=1), 0.01, alpha=ALPHA).verdict == "pass"

    def test_no_number_of_items_settles_a_loss_at_the_tolerance(self):
        reference = mean_of([0.5, 1.0, 0.5, 1.0])
        found = compare(mean_of([0.25, 0.5, 0.5, 1.0]), reference, 0.25, alpha=ALPHA)
        assert (found.verdict, found.observed, found.items_needed) == ("inconclusive", 0.75, None)

    def test_a_wider_family_needs_more_to_fail_but_no_more_to_pass(self):
        one, many = (compare(*graded(100, 0.02), 0.01, alpha=ALPHA, family=family) for family in (1, 1000))
        assert one.low == many.low
        assert one.high < many.high

    def test_the_same_items_twice_leave_no_doubt(self):
        scores = graded(50, 0)[1]
        found = compare(scores, scores, 0.0, alpha=ALPHA)
        assert (found.verdict, found.low, found.high, found.smallest_detectable_loss) == ("pass", 1, 1, 0)

    def test_the_smallest_detectable_loss_is_of_the_paired_standard_error(self):
        candidate, reference = graded(400, 0.01)
        kept = candidate.value / reference.value
        expected = (candidate.items - kept * reference.items).std() / reference.value / math.sqrt(400)
        found = compare(candidate, reference, 0.01, alpha=ALPHA)
        assert found.smallest_detectable_loss == pytest.approx((1.645 + 0.842) * expected, rel=0.05)

    def test_a_loss_that_can_be_detected_is_detected_four_times_in_five(self):
        smallest = compare(*graded(100, 0), 0.01, alpha=ALPHA).smallest_detectable_loss
        seen = Counter(
            compare(*graded(100, smallest, seed), 0.0, alpha=ALPHA, replicates=1000).verdict for seed in range(300)
        )
        assert seen["fail"] / 300 == pytest.approx(0.8, abs=0.08)

    def test_a_reference_without_quality_has_nothing_to_retain(self):
        with pytest.raises(ValueError, match="the reference itself scores 0 here, nothing to retain"):
            compare(mean_of([1.0, 1.0]), mean_of([0.0, 0.0]), 0.01, alpha=ALPHA)

    def test_a_reference_at_chance_has_nothing_to_retain(self):
        noise = mean_of(np.tile([1.1, -0.9], 25))
        assert noise.value == pytest.approx(0.1)
        with pytest.raises(ValueError, match="not above zero beyond chance"):
            compare(noise, noise, 0.01, alpha=ALPHA)

    def test_other_items_cannot_be_paired(self):
        with pytest.raises(ValueError, match="3 items cannot be paired with the reference's 2"):
            compare(mean_of([1.0, 1, 1]), mean_of([1.0, 1]), 0.01, alpha=ALPHA)

    def test_the_references_replicates_are_computed_once(self):
        calls = []
        plain = mean_of([0.5, 0.7, 0.9])
        counted = Scores(
            plain.value, plain.items, lambda weights: calls.append(1) or plain.replicate(weights), plain.over
        )
        for _ in range(3):
            compare(plain, counted, 0.01, alpha=ALPHA)
        assert len(calls) == 1


class TestCounts:
    """Few or no items change: the bootstrap of the items alone would be certain of what it never saw."""

    @pytest.mark.parametrize("n", [100, 500])
    def test_no_change_gives_the_rule_of_three(self, n):
        found = compare(*flipped(n, n, 0), 0.01, alpha=ALPHA, unit_loss=1.0)
        assert 1 - found.low == pytest.approx(3 / n, rel=0.06)

    @pytest.mark.parametrize("lost", [0, 1, 3, 10])
    def test_the_lower_end_is_that_of_clopper_and_pearson(self, lost):
        found = compare(*flipped(200, 200, lost), 0.01, alpha=ALPHA, unit_loss=1.0)
        assert 1 - found.low == pytest.approx(beta.ppf(1 - ALPHA, lost + 1, 200 - lost), rel=0.05)

    def test_no_change_on_few_items_is_inconclusive_and_on_the_items_needed_passes(self):
        found = compare(*flipped(100, 80, 0), 0.01, alpha=ALPHA, unit_loss=1.0)
        assert (found.verdict, found.observed) == ("inconclusive", 1)
        assert found.items_needed is not None
        n = int(found.items_needed * 1.2)
        assert compare(*flipped(n, n * 8 // 10, 0), 0.01, alpha=ALPHA, unit_loss=1.0).verdict == "pass"

    def test_without_the_unit_loss_it_would_pass(self):
        assert compare(*flipped(100, 80, 0), 0.01, alpha=ALPHA).verdict == "pass"

    def test_many_losses_fail(self):
        assert compare(*flipped(300, 240, 40), 0.01, alpha=ALPHA, family=120, unit_loss=1.0).verdict == "fail"


@pytest.mark.slow("verdicts err as seldom as they promise, by simulation")
@pytest.mark.slow("a true loss at the tolerance passes or fails as seldom as promised, over a thousand sessions")
class TestErrorRates:
    """A true loss that equals the tolerance passes at most at alpha, and fails at most at alpha / family."""

    SESSIONS = 1000
    FAMILY = 10

    def rates(self, draw, tolerance, unit_loss=None):
        seen = Counter(
            compare(
                *draw(np.random.default_rng(seed)),
                tolerance,
                alpha=ALPHA,
                family=self.FAMILY,
                unit_loss=unit_loss,
                replicates=2000,
            ).verdict
            for seed in range(self.SESSIONS)
        )
        return seen["pass"] / self.SESSIONS, seen["fail"] / self.SESSIONS

    def within(self, rate, level):
        return rate <= level + 3 * math.sqrt(level * (1 - level) / self.SESSIONS)

    @pytest.mark.parametrize(("tolerance", "gain"), [(0.05, 0.0), (0.1, 0.0), (0.1, 0.1)])
    def test_of_a_metric_that_counts(self, tolerance, gain):
        def draw(rng):
            right = rng.random(100) < 0.8
            lost = rng.random(100) < tolerance + gain * 0.2 / 0.8
            gained = rng.random(100) < gain
            return mean_of(np.where(right, ~lost, gained)), mean_of(right)

        passed, failed = self.rates(draw, tolerance, unit_loss=1.0)
        assert self.within(passed, ALPHA)
        assert self.within(failed, ALPHA / self.FAMILY)

    @pytest.mark.parametrize("n", [20, 100])
    def test_of_a_metric_by_degrees(self, n):
        def draw(rng):
            reference = rng.beta(4, 2, n)
            return mean_of(0.95 * reference + rng.normal(0, 0.1, n)), mean_of(reference)

        passed, failed = self.rates(draw, 0.05)
        assert self.within(passed, ALPHA)
        assert self.within(failed, ALPHA / self.FAMILY)


class TestFloor:
    def cosines(self, values):
        """The agreement metrics of texts with these cosines."""
        angles = np.arccos(values)
        candidate = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
        return agreement.evaluate(candidate, np.tile(np.array([1, 0], np.float32), (len(values), 1)), cap=20)

    @pytest.mark.parametrize(("floor", "verdict"), [(0.97, "pass"), (0.9799, "inconclusive"), (0.99, "fail")])
    def test_of_a_mean(self, floor, verdict):
        scores = mean_of(np.random.default_rng(0).normal(0.98, 0.005, 400))
        assert compare_floor(scores, floor, metric="cosine_mean", alpha=ALPHA, family=120).verdict == verdict

    @pytest.mark.parametrize(("floor", "verdict"), [(0.9, "pass"), (0.9500001, "fail")])
    def test_of_the_least_compares_what_was_observed(self, floor, verdict):
        scores = self.cosines(np.linspace(0.95, 1, 100))["cosine_min"]
        found = compare_floor(scores, floor, metric="cosine_min", alpha=ALPHA, family=120)
        assert (found.verdict, found.smallest_detectable_loss, found.items_needed) == (verdict, None, None)
        assert found.low == found.observed == found.high == pytest.approx(0.95)

    @pytest.mark.parametrize(("floor", "verdict"), [(0.8899, "inconclusive"), (0.88, "pass"), (0.9, "fail")])
    def test_of_a_low_quantile(self, floor, verdict):
        scores = self.cosines(np.linspace(0.889, 0.99, 5000))["cosine_p01"]
        found = compare_floor(scores, floor, metric="cosine_p01", alpha=ALPHA, family=120)
        assert found.verdict == verdict
        assert found.low < found.observed < found.high
        assert (found.items_needed is not None) == (verdict == "inconclusive")

    def test_a_low_quantile_of_few_items_cannot_pass(self):
        scores = self.cosines(np.full(100, 0.99))["cosine_p01"]
        found = compare_floor(scores, 0.9, metric="cosine_p01", alpha=ALPHA)
        assert (found.verdict, found.low) == ("inconclusive", -1)
        # 299 items: 0.99^299 is just below 5%.
        assert found.items_needed == 299
        enough = self.cosines(np.full(299, 0.99))["cosine_p01"]
        assert compare_floor(enough, 0.9, metric="cosine_p01", alpha=ALPHA).verdict == "pass"

    def test_a_low_quantile_at_the_floor_seldom_passes_or_fails(self):
        rng = np.random.default_rng(0)
        seen = Counter()
        for _ in range(2000):
            items = rng.random(1000)
            scores = Scores(
                float(np.quantile(items, 0.01, method="inverted_cdf")),
                items,
                mean_of(items).replicate,
                mean_of(items).over,
            )
            seen[compare_floor(scores, 0.01, metric="cosine_p01", alpha=ALPHA, family=5).verdict] += 1
        assert seen["pass"] / 2000 <= ALPHA + 3 * math.sqrt(ALPHA / 2000)
        assert seen["fail"] / 2000 <= ALPHA / 5 + 3 * math.sqrt(ALPHA / 5 / 2000)
        assert seen["inconclusive"] < 2000


class TestShare:
    @pytest.mark.parametrize(
        ("right", "half", "n"), [(0, 0, 10), (10, 0, 10), (7, 2, 10), (198, 0, 200), (1990, 4, 2000)]
    )
    @pytest.mark.parametrize("family", [1, 120])
    def test_its_ends_are_those_of_clopper_and_pearson(self, right, half, n, family):
        """Of items that are half right, the low end takes none for right, and the high one all."""
        scores = mean_of(np.repeat([1.0, 0.5, 0.0], [right, half, n - right - half]))
        found = compare_floor(scores, 0.5, metric="order_kept", alpha=ALPHA, family=family)
        most = right + half
        low = beta.ppf(ALPHA, right, n - right + 1) if right else 0
        high = beta.ppf(1 - ALPHA / family, most + 1, n - most) if most < n else 1
        assert (found.low, found.high) == pytest.approx((low, high), abs=1e-10)


class TestInterval:
    def test_holds_the_true_mean_as_often_as_it_says(self):
        held = 0
        for seed in range(600):
            found = interval(mean_of(np.random.default_rng(seed).exponential(1, 80)), ALPHA, replicates=1000)
            held += found.low <= 1 <= found.high
        assert held / 600 == pytest.approx(1 - 2 * ALPHA, abs=0.04)

    def test_of_quantiles_is_no_bootstrap(self):
        items = np.linspace(0.9, 1, 1000)
        scores = Scores(0.9, items, lambda weights: pytest.fail("bootstrapped"), mean_of(items).over)
        assert interval(scores, ALPHA, metric="cosine_min") == statistics.Interval(0.9, 0.9)
        found = interval(scores, ALPHA, metric="cosine_p01")
        assert found.low < items[9] < found.high


@pytest.mark.parametrize(("value", "verdict"), [(0.8, "pass"), (0.79, "pass"), (0.78, "fail"), (0.82, "stale")])
def test_drift_is_judged_in_both_directions(value, verdict):
    assert compare_drift(value, 0.8, 0.015) == verdict


class TestFamilies:
    """A red verdict knows in how large a family it stays red: what merges reports hangs on it."""

    @staticmethod
    def by_reference(family):
        return compare(*graded(60, 0.022), 0.01, alpha=0.02, shared=ALPHA, family=family)

    @staticmethod
    def by_counts(family):
        return compare(*flipped(120, 100, 8), 0.01, alpha=ALPHA, family=family, unit_loss=1.0)

    @staticmethod
    def of_a_mean(family):
        items = np.random.default_rng(0).beta(40, 2, 60) - 0.03
        return compare_floor(mean_of(items), 0.935, metric="cosine_mean", alpha=ALPHA, family=family)

    @staticmethod
    def of_a_quantile(family):
        items = np.concatenate([np.full(380, 0.99), np.linspace(0.5, 0.6, 14)])
        scores = Scores(0.5, items, mean_of(items).replicate, mean_of(items).over)
        return compare_floor(scores, 0.95, metric="cosine_p01", alpha=ALPHA, family=family)

    @staticmethod
    def of_a_share(family):
        kept = flipped(300, 300, 20)[0]
        return compare_floor(kept, 0.97, metric="order_kept", alpha=ALPHA, family=family)

    @pytest.mark.parametrize("asked", ["by_reference", "by_counts", "of_a_mean", "of_a_quantile", "of_a_share"])
    def test_it_is_red_in_the_largest_and_in_none_larger(self, asked):
        found = getattr(self, asked)
        most = found(1).largest_family
        assert most is not None
        assert found(1).verdict == found(most).verdict == "fail"
        assert found(most + 1).verdict == found(10 * most).verdict == "inconclusive"
        assert found(most).largest_family == most
        assert found(most + 1).largest_family is None

    def test_what_leaves_no_doubt_is_red_in_any(self):
        found = compare_floor(mean_of(np.full(50, 0.5)), 0.9, metric="cosine_mean", alpha=ALPHA, family=7)
        assert (found.verdict, found.largest_family) == ("fail", MOST_CHECKS)

    def test_a_least_value_has_no_family(self):
        scores = agreement.evaluate(*(np.eye(4, 8, dtype=np.float32)[::step] for step in (1, -1)))["cosine_min"]
        found = compare_floor(scores, 0.9, metric="cosine_min", alpha=ALPHA, family=7)
        assert (found.verdict, found.largest_family) == ("fail", None)


class TestWeights:
    """Weighted Bonferroni: checks that count as several have more of the level, and no family has more than it all."""

    WEIGHTS = (1, 1, 3, 5)

    @classmethod
    def red(cls, sessions=500, n=80):
        """Which checks of each session are red, bool `[sessions, checks]`, where each mean is just at the floor."""
        found = np.zeros((sessions, len(cls.WEIGHTS)), dtype=bool)
        for session, check in np.ndindex(found.shape):
            items = mean_of(np.random.default_rng([session, check]).normal(0.9, 0.1, n))
            level = {"alpha": ALPHA, "family": sum(cls.WEIGHTS), "weight": cls.WEIGHTS[check]}
            red = compare_floor(items, 0.9, metric="cosine_mean", replicates=400, **level)
            found[session, check] = red.verdict == "fail"
        return found

    def test_the_family_keeps_its_level(self):
        red = self.red()
        assert red.any(axis=1).mean() <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / len(red))
        assert red[:, -1].sum() > 0, "the heaviest has half of the level"

    def test_what_counts_as_several_is_judged_more_sharply(self):
        spread = np.random.default_rng(0).normal(0, 0.1, 100)
        mean = mean_of(0.9 - 2.6 * 0.01 + spread - spread.mean())  # 2.6 standard errors below the floor

        def found(weight):
            return compare_floor(mean, 0.9, metric="cosine_mean", alpha=ALPHA, family=60, weight=weight)

        light, heavy, alone = map(found, (1, 20, 60))
        assert light.high > heavy.high > alone.high
        assert light.low == heavy.low == alone.low, "what passes does not depend on weights"
        assert (light.verdict, heavy.verdict) == ("inconclusive", "fail")

    def test_a_check_of_weight_two_is_as_one_in_half_the_family(self):
        mine, theirs = graded(60, 0.022)
        for compared in (compare, compare_points):
            weighted, alone = (
                compared(mine, theirs, 0.01, alpha=ALPHA, family=family, weight=weight)
                for family, weight in ((40, 2), (20, 1))
            )
            assert replace(weighted, largest_family=alone.largest_family) == alone
            if alone.largest_family not in (None, MOST_CHECKS):
                assert weighted.largest_family in (2 * alone.largest_family, 2 * alone.largest_family + 1)
