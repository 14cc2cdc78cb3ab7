"""Metrics: pure functions from embeddings and labels to per-item scores and one value.

A module per kind of dataset (`similarity`, `retrieval`, `clustering`, `triplets`) and one for the comparison with the
reference (`agreement`). Each has `evaluate(...) -> dict[str, Scores]`, keyed by the names in `METRICS`. `search` scores
what is found among stored vectors. Nothing here imports pytest or torch.
SciPy, scikit-learn and pytrec_eval are imported where they compute, since collecting tests needs none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float32]
Rows = npt.NDArray[np.intp]

# Packages whose versions scores depend on, as pip names them.
DISTRIBUTIONS = ("numpy", "pytrec-eval-terrier", "scikit-learn", "scipy")
# What a search among stored vectors keeps of exact float32 search's ten, and one across two combinations.
KEPT, MIXED_KEPT = "kept_at_10", "mixed_kept_at_10"
# The share of an index's rows that hold what the model gives of their texts.
ROWS_KEPT = "rows_kept"
# How near lengths stay to the reference's, where the model does not normalise.
LENGTH_KEPT = "length_kept"
# The name under which what is measured of generated sentences is approved.
ORDERING = "ordering"
# The name under which speed and memory are approved.
BUDGET = "budget"
# What the name of a collection that stored vectors are searched in begins with; size and datasets' names follow.
CORPUS = "corpus-"
# Metrics of a search among stored vectors that are judged by the loss against float32 vectors.
STORED_LOSSES = ("ndcg_at_10", "recall_at_10")
# What the name of a comparison over all texts of several datasets begins with; the datasets' names follow.
ALL_TEXTS = "texts:"


class NotFinite(ValueError):
    """Embeddings that hold NaN or infinity: lost quality, since a mean over them would hide or spread it.

    Attributes:
        rows: The rows that do, ascending.
    """

    def __init__(self, rows: tuple[int, ...], what: str) -> None:
        self.rows = rows
        shown = ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")
        super().__init__(f"{len(rows)} of the {what} hold NaN or infinity: row{'s'[: len(rows) > 1]} {shown}")


def require_finite(matrix: Matrix, what: str = "embeddings") -> None:
    """Raises `NotFinite` if an embedding holds NaN or infinity.

    Args:
        matrix: Embeddings, float32 `[n, dim]`.
        what: What they are embeddings of, in the plural, for the message.
    """
    finite = np.isfinite(matrix).all(axis=1)
    if not finite.all():
        raise NotFinite(tuple(np.flatnonzero(~finite).tolist()), what)


# Compared by identity: arrays have no one truth value, and `embedgate.metrics.statistics` remembers replicates per
# object.
@dataclass(frozen=True, eq=False)
class Scores:
    """One metric of one set of embeddings on one dataset.

    Attributes:
        value: The metric's value.
        items: Per-item scores, float64 `[n]`, in the dataset's order, so that two combinations' can be paired.
        replicate: From bootstrap weights, float32 `[replicates, n]` (how often each item was drawn), to the metric's
            value in each replicate, float64 `[replicates]`.
        over: From the numbers of some of the items, ascending, to the scores of these alone.
        clusters: The cluster of each item, numbers from 0, `[n]`, where some say the same several times and are drawn
            together; None where each item is alone.
    """

    value: float
    items: FloatArray
    replicate: Callable[[Matrix], FloatArray]
    over: Callable[[Rows], Scores]
    clusters: Rows | None = None

    @cached_property
    def independent(self) -> int:
        """How many clusters there are; of items that are all alone, how many of these."""
        return len(self.items) if self.clusters is None else int(self.clusters.max()) + 1

    @cached_property
    def effective(self) -> int:
        """How many items that are alone would tell as much, if those of one cluster all said the same.

        Source: Kish, "Survey Sampling" (1965): n^2 over the sum of the squares of the sizes of the clusters.
        """
        sizes = np.ones(len(self.items)) if self.clusters is None else np.bincount(self.clusters)
        return max(1, int(len(self.items) ** 2 / (sizes.astype(np.float64) ** 2).sum()))

    def of(self, items: Sequence[int]) -> Scores:
        """The scores of some of the items alone, in their clusters.

        Args:
            items: Numbers of the items, ascending.

        Raises:
            ValueError: If these alone cannot be scored.
        """
        rows = np.asarray(items, dtype=np.intp)
        if self.clusters is None:
            return self.over(rows)
        _, clusters = np.unique(self.clusters[rows], return_inverse=True)
        return replace(self.over(rows), clusters=None if clusters.max() + 1 == len(rows) else clusters)


def mean_of(items: npt.ArrayLike) -> Scores:
    """Scores of a metric that is the mean of its items."""
    scores = np.asarray(items, dtype=np.float64)

    def replicate(weights: Matrix) -> FloatArray:
        return np.asarray((weights @ scores) / weights.sum(axis=1), dtype=np.float64)

    return Scores(float(scores.mean()), scores, replicate, lambda rows: mean_of(scores[rows]))


@dataclass(frozen=True)
class Metric:
    """A metric, and what it is about. More of it is better: a metric of which less is better is negated.

    Attributes:
        name: Its name in reports, tolerances and baselines.
        kind: The kind of dataset it needs; `agreement` compares with the reference and needs texts alone, `ordering`
            compares with the reference the order of similarities of generated sentences, `stored` compares a search
            among stored vectors with exact search among float32 ones, `mixed` a search across two combinations.
        about: One line for the docs and reports.
        heading: What the report's table calls it, where it stands for a kind of dataset there; empty for any other.
        unit_loss: For a metric that counts (one item is right or wrong), the most that one item can lose; None for a
            metric whose items lose by degrees. See `embedgate.metrics.statistics`.
        quantile: For a metric that is a quantile of its items, which one, 0 for the least; None for any other. An
            interval of a quantile is made otherwise. See `embedgate.metrics.statistics`.
        among_all: Whether an item's score depends on which other texts there are: among fewer ones, neighbours lie
            farther apart and are kept more easily, so a part of the texts says nothing of all.
    """

    name: str
    kind: Literal["similarity", "retrieval", "labelled", "triplets", "agreement", "ordering", "stored", "mixed"]
    about: str
    heading: str = ""
    unit_loss: float | None = None
    quantile: float | None = None
    among_all: bool = False


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("spearman", "similarity", "rank correlation (Spearman) of similarities with the grades", "Spearman"),
        Metric("ndcg_at_10", "retrieval", "normalised discounted cumulative gain of the first ten", "nDCG@10"),
        Metric("recall_at_10", "retrieval", "share of a query's relevant documents among the first ten", unit_loss=1.0),
        Metric("mrr_at_10", "retrieval", "reciprocal rank of the first relevant document within ten"),
        Metric("v_measure", "labelled", "harmonic mean of homogeneity and completeness of k-means", "V-measure"),
        Metric(
            "triplet_accuracy",
            "triplets",
            "share of triplets whose anchor is nearer the positive",
            "accuracy",
            unit_loss=1.0,
        ),
        Metric("cosine_mean", "agreement", "mean cosine to the reference's embedding of the same text"),
        Metric("cosine_p01", "agreement", "first percentile of that cosine", quantile=0.01),
        Metric("cosine_min", "agreement", "least of that cosine", quantile=0.0),
        Metric(
            LENGTH_KEPT,
            "agreement",
            "mean share that the lesser length is of the greater; of models that do not normalise",
        ),
        Metric("top10_overlap", "agreement", "share of the reference's ten nearest texts kept", among_all=True),
        Metric(
            "neighbour_rank_correlation",
            "agreement",
            "rank correlation of a text's similarities to its nearest texts in the reference with the reference's",
            among_all=True,
        ),
        Metric(KEPT, "stored", "share of what exact float32 search finds that is still found"),
        Metric(ROWS_KEPT, "stored", "share of an index's rows that hold the model's own vectors", unit_loss=1.0),
        Metric("within_ranges", "stored", "share of a vector's dimensions that 8-bit codes do not cut off"),
        Metric(
            MIXED_KEPT,
            "mixed",
            "share of what the reference finds that is still found across it and a combination",
        ),
        Metric(
            "order_kept", "ordering", "share of pairs of similarities that keep the reference's order", unit_loss=1.0
        ),
    )
}


def metrics_of(kind: str) -> tuple[str, ...]:
    """Names of the metrics measured on a kind of dataset."""
    return tuple(metric.name for metric in METRICS.values() if metric.kind == kind)
