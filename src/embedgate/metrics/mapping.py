"""A linear map from a new model's space to an old one's: what new queries, mapped, still find in the old index.

An index need not be embedded anew at once where queries can be mapped into its space. Two maps are fitted on part of
the texts, and the one that keeps more on the rest counts: ridge regression (Hoerl and Kennard, "Ridge regression",
Technometrics 12, 1970), and the orthogonal map of least squares (Schönemann, "A generalized solution of the orthogonal
Procrustes problem", Psychometrika 31, 1966). Vejendla, "Drift-Adapter" (EMNLP 2025), tries such maps for upgrades of
embedding models, and small networks in their place, which keep more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from embedgate.core.similarity import COSINE, Similarity
from embedgate.metrics import Matrix
from embedgate.metrics.retrieval import similarities, top_k

Kind = Literal["ridge", "procrustes"]
# New vectors to vectors in the old space, float32 `[n, new dim]` to `[n, old dim]`.
Map: TypeAlias = Callable[[Matrix], Matrix]

NEAREST = 10
# Texts that a map is judged on: a share of them all, within these.
JUDGED = 0.2
FEWEST_JUDGED, MOST_JUDGED = 50, 2_000
# More hardly move a map of some hundreds of dimensions, and take longer.
MOST_FITTED = 10_000
# From hardly any shrinkage of unit vectors' dimensions to nearly all; leaving each text out in turn chooses.
PENALTIES = tuple(10.0**power for power in range(-5, 3))


class TooFew(ValueError):
    """Fewer texts than a map can be fitted on and judged by."""


@dataclass(frozen=True)
class Mapped:
    """What the better of the maps keeps.

    Attributes:
        kind: Which one it is.
        kept: Share of the old index's own ten nearest texts that new queries, mapped, find; over held-out texts.
        by: The same of each map.
        fitted: Texts that the maps were fitted on.
        judged: Texts that they were judged on, of which the maps have seen none.
    """

    kind: Kind
    kept: float
    by: Mapping[Kind, float]
    fitted: int
    judged: int


def mapped(new: Matrix, old: Matrix, similarity: Similarity = COSINE, *, seed: int = 0) -> Mapped:
    """Fits maps on part of the texts, and tells what each keeps on the rest.

    The index holds the old vectors of all texts. Each held-out text is a query once: its ten nearest other texts by its
    old vector are what its new vector, mapped, is to find.

    Texts whose vectors are equal in either space count once: of two, such as those that differ in their case alone, one
    would be fitted on and the other judged.

    Args:
        new: What the new model compares, float32 `[n, new dim]`.
        old: What the old one compares, float32 `[n, old dim]`, of the same texts.
        similarity: How the old one compares.
        seed: What the held-out texts are drawn from.

    Raises:
        TooFew: If there are too few texts.
    """
    given, distinct = len(new), _distinct(new, old)
    new, old = new[distinct], old[distinct]
    fitted, judged = _split(len(new), new.shape[1], seed, given)
    maps: dict[Kind, Map] = {
        "ridge": _ridge(new[fitted], old[fitted]),
        "procrustes": _procrustes(new[fitted], old[fitted]),
    }
    wanted = _nearest(old[judged], old, judged, similarity)
    by = {kind: _share(_nearest(moved(new[judged]), old, judged, similarity), wanted) for kind, moved in maps.items()}
    best = max(by, key=lambda kind: by[kind])
    return Mapped(best, by[best], by, len(fitted), len(judged))


def _distinct(*spaces: Matrix) -> np.ndarray:
    """Rows that repeat no earlier one in any space, ascending."""
    kept = np.arange(len(spaces[0]))
    for vectors in spaces:
        # To a thousandth of their length: batches of another shape move the last digits.
        length = max(float(np.linalg.norm(vectors, axis=1).mean()), 1e-12)
        rounded = np.round(vectors[kept] / length, 3) + 0.0  # no -0.0
        kept = kept[np.sort(np.unique(rounded, axis=0, return_index=True)[1])]
    return kept


def _split(n: int, dim: int, seed: int, given: int) -> tuple[np.ndarray, np.ndarray]:
    """The texts to fit on, and those to judge by, each ascending, by their rows."""
    judged = min(MOST_JUDGED, max(FEWEST_JUDGED, round(JUDGED * n)))
    if n - judged < dim:
        needed = max(dim + FEWEST_JUDGED, round(dim / (1 - JUDGED)))
        here = f"{given} are here" + f", {n} of them with vectors of their own" * (n < given)
        raise TooFew(f"a map of {dim} dimensions needs some {needed} texts to be fitted and judged, and {here}")
    order = np.random.default_rng((seed, n)).permutation(n)
    return np.sort(order[judged : judged + MOST_FITTED]), np.sort(order[:judged])


def _ridge(new: Matrix, old: Matrix) -> Map:
    """Ridge regression with an intercept; the penalty is chosen by leaving each text out in turn."""
    from sklearn.linear_model import RidgeCV

    fitted = RidgeCV(alphas=PENALTIES).fit(new.astype(np.float64), old.astype(np.float64))
    return lambda vectors: np.asarray(fitted.predict(vectors.astype(np.float64)), dtype=np.float32)


def _procrustes(new: Matrix, old: Matrix) -> Map:
    """Rotation, reflection and scale of least squares; the narrower space is filled up with zeros."""
    from scipy.linalg import orthogonal_procrustes

    width = max(new.shape[1], old.shape[1])
    source, target = (np.pad(each.astype(np.float64), ((0, 0), (0, width - each.shape[1]))) for each in (new, old))
    turned, scale = orthogonal_procrustes(source, target)
    matrix = (turned * scale / max(float((source**2).sum()), 1e-12))[: new.shape[1], : old.shape[1]]
    return lambda vectors: np.asarray(vectors @ matrix, dtype=np.float32)


def _nearest(queries: Matrix, index: Matrix, own: np.ndarray, similarity: Similarity) -> np.ndarray:
    """Rows of the ten texts that are nearest each query, but for its own, `[queries, 10]`."""
    k, found = min(NEAREST, len(index) - 1), []
    for rows, scores in similarities(similarity.prepared(queries), index, similarity):
        scores[np.arange(len(rows)), own[rows]] = -np.inf
        found.append(top_k(scores, k))
    return np.concatenate(found)


def _share(found: np.ndarray, wanted: np.ndarray) -> float:
    """Share of what is wanted that was found, over all queries."""
    return float((found[:, :, None] == wanted[:, None, :]).any(axis=1).mean())
