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
    value = float(tables.v_measure(np.ones((1, len(label)), np.float32))[0])

    def over(rows: Codes) -> Scores:
        return _scores(label[rows], [clusters[rows] for clusters in clusterings])

    return Scores(value, tables.in_own_cluster(), tables.v_measure, over)


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

    Of each table, the cells that hold a text are kept alone. A text is in one cell of each, so memory grows with the
    number of texts, and not with that of cells.
    """

    def __init__(self, label: Codes, clusterings: Sequence[Codes]) -> None:
        self._label = _Table(label, np.zeros_like(label))
        self._tables = [_Table(clusters, label) for clusters in clusterings]
        # x log x of every count a resampling can give; reading it is ten times as fast as computing it. Texts that are
        # drawn together can add up to more than there are, and then it is computed once more.
        self._counts_log_counts = _counts_log_counts(len(label))

    def v_measure(self, weights: Matrix) -> FloatArray:
        """Mean V-measure over the clusterings in each replicate, float64 `[replicates]`.

        Each row of the weights, float32 `[replicates, n]`, holds whole numbers.
        """
        drawn = np.ascontiguousarray(weights.T)
        total = weights.sum(axis=1, dtype=np.float64)
        if (most := int(total.max())) >= len(self._counts_log_counts):
            self._counts_log_counts = _counts_log_counts(most)
        labels, _ = self._entropies(self._label, drawn, total)
        values = np.zeros(len(weights))
        for table in self._tables:
            clusters, joint = self._entropies(table, drawn, total)
            # 2hc / (h + c) with homogeneity h = I / H(labels), completeness c = I / H(clusters) and I the mutual
            # information; both are 1 where neither labels nor clusters differ.
            both = labels + clusters
            apart = both > 1e-12
            information = np.where(apart, both - joint, 1.0)
            values += 2 * information / np.where(apart, both, 2.0)
        return np.asarray(values / len(self._tables), dtype=np.float64)

    def _entropies(self, table: _Table, drawn: Matrix, total: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The entropy of a table's clusters, and that of its cells, each float64 `[replicates]`."""
        cells = table.counts(drawn)
        clusters = np.add.reduceat(cells, table.firsts, axis=0)
        found = (self._counts_log_counts[counts].sum(axis=0) for counts in (clusters, cells))
        first, second = (np.log(total) - sums / total for sums in found)
        return first, second

    def in_own_cluster(self) -> FloatArray:
        """Per text, the share of clusterings in which its label is the most frequent in its cluster, float64 `[n]`.

        Labels that are equally frequent all are.
        """
        return np.asarray(np.mean([table.in_own_cluster() for table in self._tables], axis=0), dtype=np.float64)


class _Table:
    """One contingency table: the cells that hold a text, by cluster and, in each, by label.

    Attributes:
        firsts: The first cell of each cluster, ascending.
    """

    def __init__(self, clusters: Codes, label: Codes) -> None:
        from scipy.sparse import csr_array

        width = int(label.max()) + 1
        cells, cell_of = np.unique(clusters * width + label, return_inverse=True)
        _, self.firsts = np.unique(cells // width, return_index=True)
        # The texts of each cell, one after the other; 32 bits each, since this stays as long as the scores do.
        texts = np.argsort(cell_of, kind="stable").astype(np.int32)
        bounds = np.concatenate([[0], np.cumsum(np.bincount(cell_of))]).astype(np.int32)
        ones = np.ones(len(label), dtype=np.float32)
        self._members = csr_array((ones, texts, bounds), shape=(len(cells), len(label)))

    def counts(self, drawn: Matrix) -> Codes:
        """Texts in each cell, intp `[cells, replicates]`, of weights float32 `[n, replicates]`."""
        return np.asarray(self._members @ drawn, dtype=np.intp)

    def in_own_cluster(self) -> npt.NDArray[np.bool_]:
        """Whether no label is more frequent in a text's cluster than its own, `[n]`."""
        sizes = np.diff(self._members.indptr)
        most = np.maximum.reduceat(sizes, self.firsts)
        cells = np.diff([*self.firsts, len(sizes)])
        found = np.empty(self._members.shape[1], dtype=np.bool_)
        found[self._members.indices] = np.repeat(sizes == np.repeat(most, cells), sizes)
        return found


def _counts_log_counts(most: int) -> FloatArray:
    """X log x of the whole numbers up to the most."""
    from scipy.special import xlogy

    return np.asarray(xlogy(np.arange(most + 1), np.arange(most + 1)), np.float64)
