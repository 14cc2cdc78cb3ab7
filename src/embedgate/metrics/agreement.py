"""Agreement with the reference, text by text: the same directions, the same neighbours, in the same order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from embedgate.core.similarity import COSINE, Similarity, normalised
from embedgate.data.alike import numbered
from embedgate.data.types import FEWEST_TEXTS
from embedgate.metrics import METRICS, FloatArray, Matrix, Rows, Scores, mean_of, require_finite
from embedgate.metrics.retrieval import similarities, top_k

NEAREST = 10
NEIGHBOURS = 50
# The metrics whose items are the sample of texts whose neighbours are looked up.
AMONG_ALL = tuple(metric.name for metric in METRICS.values() if metric.among_all)
# Texts whose embeddings are copied at a time.
_AT_ONCE = 2**13


def evaluate(
    candidate: Matrix,
    reference: Matrix,
    seed: int = 0,
    cap: int = 2000,
    similarity: Similarity = COSINE,
    rows: Rows | None = None,
    clusters: Rows | None = None,
) -> dict[str, Scores]:
    """How near a combination's embeddings stay to the reference's.

    Args:
        candidate: What is compared of the combination's embeddings, float32 `[n, dim]`.
        reference: What is compared of the reference's, of the same texts in the same order, float32 `[n, dim]`.
        seed: What the texts whose neighbours are looked up are drawn from, where there are more than `cap`.
        cap: The most texts whose neighbours are looked up; each among all `n` texts.
        similarity: How the model compares them; it decides which texts are neighbours.
        rows: Which texts to compare; None for all. Their neighbours are looked up among all.
        clusters: The cluster of each text, `[n]`, where some say the same and are drawn together.

    Returns:
        `cosine_mean`, `cosine_p01` and `cosine_min` of the cosine of each compared text's two embeddings, items float64
        `[n]`; `top10_overlap`, per text the share of its ten nearest other texts in the reference that are among its
        ten nearest in the combination, and `neighbour_rank_correlation`, per text Spearman's correlation of the two
        similarities to its 50 nearest texts in the reference, items float64 `[min(n, cap)]`. Both look at fewer
        neighbours where there are fewer texts.

    Raises:
        NotFinite: If an embedding of the combination or the reference holds NaN or infinity.
        ValueError: If dimensions or numbers of texts differ, or there are fewer than three texts.
    """
    if candidate.shape != reference.shape:
        raise ValueError(
            f"embeddings of shape {candidate.shape} cannot be compared with the reference's of shape {reference.shape}"
        )
    texts = len(reference)
    if texts < FEWEST_TEXTS:
        raise ValueError(f"{texts} texts have no neighbours to compare; {FEWEST_TEXTS} are the fewest")
    require_finite(candidate, "embeddings")
    require_finite(reference, "reference embeddings")
    compared = np.arange(texts) if rows is None else np.sort(rows)
    rows = compared
    if len(rows) > cap:
        rows = np.sort(np.random.default_rng(seed).choice(rows, cap, replace=False))
    overlap, correlation = [], []
    pairs = zip(*(similarities(arm[rows], arm, similarity) for arm in (reference, candidate)), strict=True)
    for (queries, wanted), (_, got) in pairs:
        for scores in (wanted, got):
            scores[np.arange(len(queries)), rows[queries]] = -np.inf  # no text is its own neighbour
        overlap.append(overlap_of(wanted, got, min(NEAREST, texts - 1)))
        neighbours = top_k(wanted, min(NEIGHBOURS, texts - 1))
        correlation.append(
            _rank_correlation(
                np.take_along_axis(wanted, neighbours, axis=1), np.take_along_axis(got, neighbours, axis=1)
            )
        )
    cosines = _cosines(candidate, reference, compared, similarity)
    found = {
        "cosine_mean": mean_of(cosines),
        "cosine_p01": _quantile(cosines, METRICS["cosine_p01"].quantile or 0.0),
        "cosine_min": _quantile(cosines, METRICS["cosine_min"].quantile or 0.0),
        "top10_overlap": mean_of(np.concatenate(overlap)),
        "neighbour_rank_correlation": mean_of(np.concatenate(correlation)),
    }
    if clusters is None:
        return found
    of = {name: numbered(clusters[rows if name in AMONG_ALL else compared]) for name in found}
    return {name: replace(scores, clusters=of[name]) for name, scores in found.items()}


def _cosines(candidate: Matrix, reference: Matrix, rows: Rows, similarity: Similarity) -> FloatArray:
    """Cosine of each compared text's two embeddings, float64 `[rows]`."""
    found = np.empty(len(rows))
    for part in _portions(len(rows)):
        arms = (arm[rows[part]] for arm in (candidate, reference))
        mine, theirs = (arm if similarity is COSINE else normalised(arm) for arm in arms)
        found[part] = np.einsum("ij,ij->i", mine.astype(np.float64), theirs.astype(np.float64))
    return found


def _portions(texts: int) -> Iterator[slice]:
    """A few texts at a time: float64 copies of all take twice the memory of all embeddings."""
    return (slice(start, start + _AT_ONCE) for start in range(0, texts, _AT_ONCE))


def lengths(candidate: Matrix, reference: Matrix) -> Scores:
    """How far the lengths of embeddings are the reference's: of each, the share that one length is of the other.

    Args:
        candidate: Embeddings of the combination as it gave them, float32 `[n, dim]`.
        reference: The reference's, of the same texts in the same order, float32 `[n, dim]`.

    Returns:
        Scores, items float64 `[n]` from 0 to 1: the lesser length by the greater, 1 where both are 0.
    """
    mine, theirs = (
        np.concatenate([np.linalg.norm(arm[rows].astype(np.float64), axis=1) for rows in _portions(len(arm))])
        for arm in (candidate, reference)
    )
    greater = np.maximum(mine, theirs)
    return mean_of(np.divide(np.minimum(mine, theirs), greater, out=np.ones_like(greater), where=greater > 0))


def overlap_of(wanted: Matrix, got: Matrix, k: int) -> FloatArray:
    """Share of each row's `k` greatest in `wanted` that are among its `k` greatest in `got`, float64 `[rows]`.

    Where equal scores straddle the cut, each counts with its share of the tie orders that put it above; what both have
    is the lesser share, so that equal scores overlap wholly.

    Args:
        wanted: Scores, float32 `[rows, columns]`.
        got: Other scores of the same.
        k: How many are looked at.
    """
    both = np.minimum(_membership(wanted, k), _membership(got, k))
    return np.asarray(both.sum(axis=1, dtype=np.float64) / k, dtype=np.float64)


def _membership(scores: Matrix, k: int) -> Matrix:
    cut = np.partition(scores, -k, axis=1)[:, -k, None]
    above, tied = scores > cut, scores == cut
    share = (k - above.sum(axis=1)) / tied.sum(axis=1)
    return np.where(tied, share.astype(np.float32)[:, None], above.astype(np.float32))


def _rank_correlation(wanted: Matrix, got: Matrix) -> FloatArray:
    """Spearman's correlation of two matrices row by row; 0 where a row is constant, since no order is left."""
    from scipy.stats import rankdata

    ranks: list[npt.NDArray[np.float64]] = []
    for scores in (wanted, got):
        ranked = rankdata(scores, axis=1)
        ranks.append(ranked - ranked.mean(axis=1, keepdims=True))
    covariance, of_wanted, of_got = (
        np.einsum("ij,ij->i", a, b) for a, b in ((ranks[0], ranks[1]), (ranks[0], ranks[0]), (ranks[1], ranks[1]))
    )
    scale = np.sqrt(of_wanted * of_got)
    return np.asarray(np.divide(covariance, scale, out=np.zeros_like(scale), where=scale > 0), np.float64)


def _quantile(values: FloatArray, quantile: float) -> Scores:
    """Scores of a quantile of the items: the least item that at least this share of the items does not exceed."""
    order = np.argsort(values, kind="stable")
    ascending = values[order]

    def replicate(weights: Matrix) -> FloatArray:
        drawn = np.cumsum(np.take(weights, order, axis=1), axis=1, dtype=np.float64)
        reached = (drawn > 0) & (drawn >= quantile * drawn[:, -1:])
        return np.asarray(ascending[reached.argmax(axis=1)], dtype=np.float64)

    value = float(replicate(np.ones((1, len(values)), np.float32))[0])
    return Scores(value, values, replicate, lambda rows: _quantile(values[rows], quantile))
