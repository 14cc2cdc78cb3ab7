"""How small a loss a dataset can show, as far as the number of its items says before any model has run.

The smallest loss that is told from none at level alpha with 80% power is (z(1 - alpha) + z(0.8)) x s / sqrt(n), with s
the standard deviation of what one item contributes to the share that is kept. Of data that no model has encoded, s is
not known; what stands here is the middle of what was measured on other data, see `docs/statistics.md`, "Before any
model has run".
"""

from __future__ import annotations

import math
from statistics import NormalDist

from embedgate.metrics import METRICS
from embedgate.metrics.comparison import POWER

# By metric, s as a share of the reference's value: of dynamic int8 in ONNX Runtime, which moves embeddings more than
# other int8, the geometric mean over two to three collections. Half types have less.
DEVIATION = {
    "spearman": 0.037,
    "ndcg_at_10": 0.13,
    "recall_at_10": 0.17,
    "mrr_at_10": 0.19,
    "v_measure": 0.056,
    "triplet_accuracy": 0.18,
}
# With n items of which none has changed, counts prove a loss below this over n (the rule of three).
COUNTED = 3


def smallest_loss(metric: str, items: int, alpha: float) -> float | None:
    """About the smallest loss that items can show, as a share of the reference's value; None where nothing is known.

    It is 1 at most: more than all of it cannot be lost.

    Args:
        metric: Name of the metric in `embedgate.metrics.METRICS`.
        items: As how many the items count, 1 or more.
        alpha: Level of the tests.
    """
    if metric not in DEVIATION:
        return None
    least = COUNTED / items if METRICS[metric].unit_loss is not None else 0.0
    return min(1.0, max(least, _reach(alpha) * DEVIATION[metric] / math.sqrt(items)))


def items_to_show(metric: str, loss: float, alpha: float) -> int | None:
    """About how many items show a loss; None where nothing is known, or the loss is none.

    Args:
        metric: As of `smallest_loss`.
        loss: The loss, as a share of the reference's value.
        alpha: Level of the tests.
    """
    if metric not in DEVIATION or loss <= 0:
        return None
    counted = COUNTED / loss if METRICS[metric].unit_loss is not None else 0.0
    return math.ceil(max(counted, (_reach(alpha) * DEVIATION[metric] / loss) ** 2))


def items_to_bound(quantile: float, alpha: float) -> int:
    """How many items a quantile takes before any of them bounds it from below (Wilks 1941).

    Args:
        quantile: Which, above 0 and below 1.
        alpha: Level of the tests.
    """
    return math.ceil(math.log(alpha) / math.log1p(-quantile))


def _reach(alpha: float) -> float:
    """z(1 - alpha) + z(0.8); of the standard library, since scipy takes a second to import."""
    return NormalDist().inv_cdf(1 - alpha) + NormalDist().inv_cdf(POWER)
