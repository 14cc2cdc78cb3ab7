"""What a dataset can show is foreseen from the number of its items, and named as what it is: an estimate."""

from __future__ import annotations

import math

import pytest
from scipy.stats import norm

from embedgate.metrics import METRICS
from embedgate.metrics.foreseen import DEVIATION, items_to_show, smallest_loss

TASKS = [name for name, metric in METRICS.items() if metric.kind in ("similarity", "retrieval", "labelled", "triplets")]
# What was measured with dynamic int8 (docs/statistics.md): the loss, and the items that repeat no other.
MEASURED = [
    ("spearman", 0.0032, 969),
    ("spearman", 0.0021, 784),
    ("spearman", 0.0035, 1352),
    ("ndcg_at_10", 0.0250, 449),
    ("ndcg_at_10", 0.0048, 3146),
    ("ndcg_at_10", 0.0163, 221),
    ("recall_at_10", 0.0243, 449),
    ("recall_at_10", 0.0055, 3146),
    ("recall_at_10", 0.0333, 221),
    ("mrr_at_10", 0.0341, 449),
    ("mrr_at_10", 0.0063, 3146),
    ("mrr_at_10", 0.0271, 221),
    ("v_measure", 0.0040, 780),
    ("v_measure", 0.0051, 1140),
    ("triplet_accuracy", 0.0145, 890),
    ("triplet_accuracy", 0.0096, 2520),
]


def test_every_metric_of_a_task_has_one():
    assert {*DEVIATION} == {*TASKS}
    assert smallest_loss("cosine_mean", 100, 0.05) is None
    assert items_to_show("cosine_mean", 0.01, 0.05) is None


@pytest.mark.parametrize(("metric", "loss", "items"), MEASURED)
def test_it_is_near_what_was_measured(metric, loss, items):
    assert 0.6 < smallest_loss(metric, items, 0.05) / loss < 1.6


def test_it_is_the_formula_of_reports():
    z = norm.isf(0.02) + norm.ppf(0.8)
    assert smallest_loss("spearman", 400, 0.02) == pytest.approx(z * DEVIATION["spearman"] / math.sqrt(400))


def test_few_counts_show_no_less_than_three_items():
    assert smallest_loss("triplet_accuracy", 30, 0.05) == pytest.approx(0.1)


@pytest.mark.parametrize("metric", TASKS)
def test_so_many_items_show_the_loss_and_one_fewer_does_not(metric):
    needed = items_to_show(metric, 0.01, 0.05)
    assert smallest_loss(metric, needed, 0.05) <= 0.01 < smallest_loss(metric, needed - 1, 0.05)
    assert items_to_show(metric, 0.0, 0.05) is None
