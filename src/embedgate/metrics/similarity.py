"""Similarity pairs: does the similarity of two texts rank with the grade people gave them?"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from embedgate.core.similarity import COSINE, Similarity
from embedgate.metrics import FloatArray, Matrix, Scores, require_finite


def evaluate(
    first: Matrix, second: Matrix, grades: npt.ArrayLike, similarity: Similarity = COSINE
) -> dict[str, Scores]:
    """Spearman's rank correlation of the model's similarity with the grades.

    Args:
        first: What is compared of the pairs' first texts, float32 `[n, dim]`.
        second: What is compared of their second texts, float32 `[n, dim]`.
        grades: Grade of each pair, higher is more alike, `[n]`.
        similarity: How the model compares them.

    Returns:
        `spearman`; its items are the similarities, float64 `[n]`. It is 0 where all are equal.

    Raises:
        NotFinite: If an embedding holds NaN or infinity.
        ValueError: If all grades are equal, so that nothing can correlate with them.
    """
    require_finite(first, "first texts")
    require_finite(second, "second texts")
    wanted = np.asarray(grades, dtype=np.float64)
    if np.ptp(wanted) == 0:
        raise ValueError(f"every grade is {wanted[0]:g}, so nothing can correlate with them")
    return {"spearman": _correlation(similarity.paired(first, second).astype(np.float64), wanted)}


def _correlation(found: FloatArray, wanted: FloatArray) -> Scores:
    """Scores of the rank correlation of similarities with grades; 0 where one side is constant."""
    from scipy.stats import spearmanr

    x, y = _Ranked(found), _Ranked(wanted)

    def replicate(weights: Matrix) -> FloatArray:
        rank_x, rank_y = x.centred_ranks(weights), y.centred_ranks(weights)
        weighted_x, weighted_y = weights * rank_x, weights * rank_y
        covariance = np.einsum("bi,bi->b", weighted_x, rank_y)
        variance_x = np.einsum("bi,bi->b", weighted_x, rank_x)
        variance_y = np.einsum("bi,bi->b", weighted_y, rank_y)
        scale = np.sqrt(variance_x * variance_y)
        # Where one side is constant in a replicate there is no order to keep.
        return np.asarray(np.divide(covariance, scale, out=np.zeros_like(scale), where=scale > 0), np.float64)

    value = float(spearmanr(found, wanted).statistic) if np.ptp(found) > 0 < np.ptp(wanted) else 0.0
    return Scores(value, found, replicate, lambda rows: _correlation(found[rows], wanted[rows]))


class _Ranked:
    """Values sorted once, so that any weighting of them is ranked without sorting again."""

    def __init__(self, values: npt.NDArray[np.floating]) -> None:
        self.order = np.argsort(values, kind="stable")
        _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
        self.group = group
        self.starts = np.cumsum(sizes) - sizes
        self.tied = len(sizes) < len(values)

    def centred_ranks(self, weights: Matrix) -> FloatArray:
        """Mid-ranks in each resampled multiset, less their mean, float64 `[replicates, n]`.

        Equal values share the mean of the ranks they take up, as in `scipy.stats.rankdata`: the weight below them plus
        half of (their own weight + 1). The mean rank is (n + 1) / 2, so the halves cancel.
        """
        counts = np.take(weights, self.order, axis=1).astype(np.float64)
        if self.tied:
            counts = np.add.reduceat(counts, self.starts, axis=1)
        upto = np.cumsum(counts, axis=1)
        counts *= 0.5
        total = upto[:, -1:].copy()
        upto -= counts
        upto -= 0.5 * total
        return np.asarray(np.take(upto, self.group, axis=1), np.float64)
