"""Items that repeat one another are drawn together: a verdict is no surer for being said twice."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from embedgate.metrics import agreement, clustering, mean_of, similarity
from embedgate.metrics.bootstrap import replicates_of
from embedgate.metrics.comparison import AllAlike
from embedgate.metrics.ends import interval
from embedgate.metrics.statistics import compare, compare_floor, compare_points

ALPHA = 0.05


def arms(n=300, loss=0.02, seed=0):
    rng = np.random.default_rng(seed)
    reference = rng.beta(4, 2, n)
    return reference * (1 - loss) + rng.normal(0, 0.05, n), reference


def times(arm, count, *, told):
    """Scores of an arm whose items come several times over; whether it is told that they do."""
    items = np.tile(arm, count)
    return replace(mean_of(items), clusters=np.tile(np.arange(len(arm)), count) if told else None)


@pytest.mark.parametrize("unit_loss", [None, 1.0])
@pytest.mark.parametrize("how", [compare, compare_points])
def test_items_four_times_over_say_what_they_say_once(how, unit_loss):
    once, fourfold, untold = (
        how(*(make(arm) for arm in arms()), 0.015, alpha=ALPHA, unit_loss=unit_loss, family=50)
        for make in (mean_of, lambda arm: times(arm, 4, told=True), lambda arm: times(arm, 4, told=False))
    )
    assert (fourfold.verdict, fourfold.clusters, fourfold.n) == (once.verdict, 300, 1200)
    assert (fourfold.low, fourfold.high) == pytest.approx((once.low, once.high), abs=1e-6)
    assert fourfold.smallest_detectable_loss == pytest.approx(once.smallest_detectable_loss, rel=1e-3)
    assert untold.high - untold.low < 0.6 * (once.high - once.low)
    assert (once.clusters, untold.clusters) == (None, None)


def test_what_is_needed_to_settle_it_is_told_in_such_items():
    once = compare(*map(mean_of, arms(60, 0.007)), 0.01, alpha=ALPHA)
    fourfold = compare(*(times(arm, 4, told=True) for arm in arms(60, 0.007)), 0.01, alpha=ALPHA)
    assert fourfold.items_needed == pytest.approx(4 * once.items_needed, rel=0.02)


def test_a_mean_with_a_floor_and_an_interval_of_its_own_are_as_wide():
    once, fourfold = mean_of(arms()[1]), times(arms()[1], 4, told=True)
    ends = [compare_floor(scores, 0.6, metric="top10_overlap", alpha=ALPHA) for scores in (once, fourfold)]
    assert (ends[0].low, ends[0].high) == pytest.approx((ends[1].low, ends[1].high), abs=1e-6)
    assert vars(interval(once, ALPHA)) == pytest.approx(vars(interval(fourfold, ALPHA)), abs=1e-6)


def test_a_loss_at_the_tolerance_seldom_passes_where_clusters_lose_together():
    """Each cluster has its own loss, 5% on average: taken for independent, its items pass too often."""
    passed = dict.fromkeys((True, False), 0)
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(40), 8)
    for _ in range(400):
        reference = rng.beta(4, 2, 320)
        candidate = reference - np.repeat(rng.normal(0.05 * 2 / 3, 0.1, 40), 8)
        for told in passed:
            pair = (replace(mean_of(arm), clusters=clusters if told else None) for arm in (candidate, reference))
            passed[told] += compare(*pair, 0.05, alpha=ALPHA, replicates=500).verdict == "pass"
    assert passed[True] / 400 == pytest.approx(ALPHA, abs=0.03)
    assert passed[False] / 400 > 0.2


@pytest.mark.parametrize("count", [2, 3, 10])
def test_few_clusters_keep_both_levels(count):
    """A loss of just the tolerance passes in one session of twenty at most, and is red in hardly one of a thousand."""
    rng, clusters, size = np.random.default_rng(count), np.repeat(np.arange(count), 120 // count), 120 // count
    verdicts = Counter()
    for _ in range(200):
        reference = np.full(len(clusters), 0.8) + rng.normal(0, 0.05, len(clusters))
        candidate = reference - 0.008 + np.repeat(rng.normal(0, 0.02, count), size)
        pair = (replace(mean_of(arm), clusters=clusters) for arm in (candidate, reference))
        verdicts[compare(*pair, 0.01, alpha=ALPHA, family=50, replicates=1000).verdict] += 1
    assert verdicts["pass"] <= 17  # of 200, where 5% pass, so many do in one test of fifty
    assert verdicts["fail"] <= 1
    lost = (replace(mean_of(arm), clusters=clusters) for arm in (candidate - 0.5, reference))
    assert compare(*lost, 0.01, alpha=ALPHA, family=50).verdict == "fail"


def test_the_two_sides_come_in_the_same_clusters():
    plain, other = mean_of([1.0, 0.0, 1.0]), replace(mean_of([1.0, 0.0, 1.0]), clusters=np.array([0, 0, 1]))
    with pytest.raises(ValueError, match="in other clusters"):
        compare(plain, other, 0.01, alpha=ALPHA)


@pytest.mark.parametrize("how", [compare, compare_points])
def test_items_that_are_all_one_say_nothing(how):
    """Drawn again and again, one cluster is always the same, and would leave no doubt."""
    one = replace(mean_of([1.0, 0.0, 1.0]), clusters=np.zeros(3, np.intp))
    with pytest.raises(ValueError, match="all 3 items repeat one another"):
        how(one, one, 0.01, alpha=ALPHA)


def test_a_rank_correlation_of_pairs_drawn_together_is_that_of_what_was_drawn():
    rng = np.random.default_rng(3)
    first, second = (rng.normal(size=(40, 8)).astype(np.float32) for _ in range(2))
    scores = similarity.evaluate(first, second, rng.integers(0, 5, 40))["spearman"]
    clusters = np.arange(40) // 2
    found = replicates_of(replace(scores, clusters=clusters), 50)
    from embedgate.metrics.bootstrap import bootstrap_weights

    drawn = bootstrap_weights(20, 50)[:, clusters].astype(np.float32)
    assert found == pytest.approx(scores.replicate(drawn))


def test_clusters_of_texts_may_be_drawn_more_often_than_there_are_texts():
    """The V-measure of a resample is that of its texts, however many these are."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(30, 4)).astype(np.float32)
    scores = clustering.evaluate(points, [str(i % 3) for i in range(30)])["v_measure"]
    weights = np.stack([np.ones(30), np.full(30, 4.0)]).astype(np.float32)
    assert scores.replicate(weights) == pytest.approx([scores.value, scores.value])


@pytest.mark.parametrize("rows", [[0, 1, 2, 3, 4, 5], [2, 3, 8, 9, 11]])
def test_some_of_the_items_are_scored_alone_and_keep_their_clusters(rows):
    rng = np.random.default_rng(1)
    first, second = (rng.normal(size=(12, 8)).astype(np.float32) for _ in range(2))
    grades = rng.integers(0, 5, 12)
    whole = replace(similarity.evaluate(first, second, grades)["spearman"], clusters=np.arange(12) // 2)
    part = whole.of(rows)
    assert part.value == similarity.evaluate(first[rows], second[rows], grades[rows])["spearman"].value
    assert part.clusters.tolist() == np.unique([row // 2 for row in rows], return_inverse=True)[1].tolist()


class TestFloors:
    """Agreement of texts that are nearly equal: intervals are those of the clusters."""

    def scores(self, copies: int, texts: int = 400):
        rng = np.random.default_rng(0)
        reference = rng.normal(size=(texts, 16)).astype(np.float32)
        candidate = reference + 0.2 * rng.normal(size=reference.shape).astype(np.float32)
        arms = [
            np.repeat(arm / np.linalg.norm(arm, axis=1, keepdims=True), copies, axis=0)
            for arm in (candidate, reference)
        ]
        clusters = np.repeat(np.arange(texts), copies) if copies > 1 else None
        return agreement.evaluate(*arms, clusters=clusters)

    @pytest.mark.parametrize("metric", ["cosine_mean", "cosine_p01"])
    def test_twenty_copies_are_no_surer_than_one(self, metric):
        one, many = (compare_floor(self.scores(n)[metric], 0.9, metric=metric, alpha=0.05) for n in (1, 20))
        assert (many.n, many.clusters) == (8000, 400)
        assert (many.low, many.high) == pytest.approx((one.low, one.high), abs=0.002)

    def test_a_sample_of_neighbours_knows_the_clusters_of_its_own(self):
        rng = np.random.default_rng(0)
        rows = rng.normal(size=(60, 8)).astype(np.float32)
        found = agreement.evaluate(rows, rows, cap=20, clusters=np.arange(60) // 2)
        assert len(found["top10_overlap"].items) == len(found["top10_overlap"].clusters) == 20
        assert found["cosine_mean"].independent == 30

    def test_what_tells_as_much_where_all_of_a_cluster_say_the_same(self):
        scores = mean_of(np.arange(10.0))
        assert scores.effective == 10
        assert replace(scores, clusters=np.repeat(np.arange(5), 2)).effective == 5
        assert replace(scores, clusters=np.array([0] * 9 + [1])).effective == 1, "10^2 / (9^2 + 1^2)"

    def test_few_texts_bound_no_first_percentile_and_show_no_loss(self):
        found = compare_floor(self.scores(1, 225)["cosine_p01"], 0.5, metric="cosine_p01", alpha=0.05)
        assert found.verdict == "inconclusive"
        assert (found.low, found.smallest_detectable_loss) == (-1, None)
        assert found.items_needed == 299

    def test_where_all_say_the_same_only_the_least_is_compared(self):
        scores = self.scores(20, 3)
        alike = {name: replace(each, clusters=np.zeros(60, dtype=np.intp)) for name, each in scores.items()}
        assert compare_floor(alike["cosine_min"], 0.5, metric="cosine_min", alpha=0.05).verdict == "pass"
        with pytest.raises(AllAlike, match="all 60 items repeat one another"):
            compare_floor(alike["cosine_mean"], 0.5, metric="cosine_mean", alpha=0.05)
