"""Labelled texts: do k-means clusters of the embeddings keep the labels together?"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from embedgate.metrics import FloatArray, Matrix, Scores, require_finite

STARTS = 16

Codes = npt.NDArray[np.intp]


def evaluate(points: Matrix, labels: Sequence[str], seed: int = 0) -> dict[str, Scores]:
    """Mean V-measure of k-means with as many clusters as labels, over several starts.

    K-means falls into another local optimum at the slightest change of its input, which would drown a small loss of
    quality. Therefore each start takes its first centres from the same texts in every combination (one text per label,
    drawn from the seed), and the value is the mean over the starts.

    Args:
        points: Normalised embeddings, float32 `[n, dim]`.
        labels: Label of each text, `[n]`.
        seed: What the starts are drawn from.

    Returns:
        `v_measure`. Its items are, per text, the share of starts in which the text's own label is the most frequent in
        its cluster, float64 `[n]`; they show the worst texts, while the value is no mean of them. A replicate resamples
        the texts and keeps their clusters.

    Raises:
        NotFinite: If an embedding holds NaN or infinity.
        ValueError: If there are fewer than two labels.

    Source:
        Rosenberg and Hirschberg, "V-Measure: a conditional entropy-based external cluster evaluation measure",
        EMNLP 2007.
    """
    require_finite(points, "labelled texts")
    names, label = np.unique(np.asarray(labels), return_inverse=True)
    if len(names) < 2:
        raise ValueError("fewer than two labels, so there is nothing to tell apart")
    # One thread: as fast at this size, and the sums do not depend on how many cores there are.
    with threadpool_limits(1):
        clusterings = [_cluster(points, rows) for rows in _starts(label, seed)]
    return {"v_measure": _scores(label, clusterings)}


def _scores(label: Codes, clusterings: Sequence[Codes]) -> Scores:
    """Scores of texts in the clusters that they were found in, whichever other texts were found with them."""
    tables = _Tables(label, clusterings)
    own = [tables.in_own_cluster(label, clusters) for clusters in clusterings]
    value = float(tables.v_measure(np.ones((1, len(label)), np.float32))[0])

    def over(rows: Codes) -> Scores:
        return _scores(label[rows], [clusters[rows] for clusters in clusterings])

    return Scores(value, np.mean(own, axis=0), tables.v_measure, over)


def _starts(label: Codes, seed: int) -> list[Codes]:
    """Rows of the first centres of each start: one text per label."""
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(label == code) for code in range(label.max() + 1)]
    return [np.array([rng.choice(rows) for rows in members]) for _ in range(STARTS)]


def _cluster(points: Matrix, start: Codes) -> Codes:
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        # Fewer distinct embeddings than clusters: the V-measure shows it.
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = KMeans(len(start), init=points[start], n_init=1).fit(points)
    return np.asarray(fitted.labels_, dtype=np.intp)


class _Tables:
    """Contingency tables of one labelling and several clusterings, of any resampling of the texts.

    The columns of `indicators` say which text is in which label, cluster, or label and cluster; weights times
    indicators are the counts of a resampled table. `bounds` are the first columns of its parts: the labels, then the
    clusters and the occupied cells of each clustering in turn.
    """

    def __init__(self, label: Codes, clusterings: Sequence[Codes]) -> None:
        parts = [label]
        for clusters in clusterings:
            parts += [clusters, label * (clusters.max() + 1) + clusters]
        codes = [np.unique(part, return_inverse=True)[1] for part in parts]
        sizes = np.array([code.max() + 1 for code in codes])
        self.bounds = np.cumsum(sizes) - sizes
        # x log x of every count a resampling can give; reading it is ten times as fast as computing it. Texts that are
        # drawn together can add up to more than there are, and then it is computed once more.
        self.counts_log_counts = _counts_log_counts(len(label))
        self.indicators = np.zeros((len(label), int(sizes.sum())), dtype=np.float32)
        for first, code in zip(self.bounds, codes, strict=True):
            self.indicators[np.arange(len(label)), first + code] = 1

    def v_measure(self, weights: Matrix) -> FloatArray:
        """Mean V-measure over the clusterings in each replicate, float64 `[replicates]`.

        Each row of the weights, float32 `[replicates, n]`, holds whole numbers.
        """
        counts = (weights @ self.indicators).astype(np.intp)
        total = weights.sum(axis=1, dtype=np.float64)[:, None]
        if (most := int(total.max())) >= len(self.counts_log_counts):
            self.counts_log_counts = _counts_log_counts(most)
        entropy = np.log(total) - np.add.reduceat(self.counts_log_counts[counts], self.bounds, axis=1) / total
        labels, clusters, joint = entropy[:, :1], entropy[:, 1::2], entropy[:, 2::2]
        # 2hc / (h + c) with homogeneity h = I / H(labels), completeness c = I / H(clusters) and I the mutual
        # information; both are 1 where neither labels nor clusters differ.
        both = labels + clusters
        apart = both > 1e-12
        information = np.where(apart, both - joint, 1.0)
        return np.asarray((2 * information / np.where(apart, both, 2.0)).mean(axis=1), dtype=np.float64)

    @staticmethod
    def in_own_cluster(label: Codes, clusters: Codes) -> npt.NDArray[np.bool_]:
        """Whether each text's label is the most frequent in its cluster; labels equally frequent all are."""
        table = np.zeros((label.max() + 1, clusters.max() + 1), dtype=np.intp)
        np.add.at(table, (label, clusters), 1)
        most: npt.NDArray[np.bool_] = (table == table.max(axis=0))[label, clusters]
        return most


def _counts_log_counts(most: int) -> FloatArray:
    """X log x of the whole numbers up to the most."""
    from scipy.special import xlogy

    return np.asarray(xlogy(np.arange(most + 1), np.arange(most + 1)), np.float64)
