"""Similarities: how a model's embeddings are compared, by the name in its config (`similarity_fn_name`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Matrix: TypeAlias = npt.NDArray[np.float32]

# Vectors whose squares are held at a time.
_AT_ONCE = 2**13


def normalised(vectors: Matrix) -> Matrix:
    """Vectors of length 1, float32 `[n, dim]`; one of length 0 stays."""
    found = np.empty(vectors.shape, dtype=np.float32)
    for start in range(0, len(vectors), _AT_ONCE):
        part = vectors[start : start + _AT_ONCE]
        norms = np.linalg.norm(part, axis=1, keepdims=True)
        found[start : start + _AT_ONCE] = part / np.maximum(norms, np.float32(1e-12))
    return found


def _as_given(vectors: Matrix) -> Matrix:
    return vectors


@dataclass(frozen=True)
class Similarity:
    """A similarity of two embeddings: the greater, the more alike.

    Attributes:
        name: Sentence Transformers' name of it.
        measure: What it is called in a message.
        prepared: Makes of embeddings, float32 `[n, dim]`, the vectors that are compared: those of length 1 for cosines.
        paired: Similarities of vectors with others, row by row: two `[n, dim]` to `[n]`, in the type given.
        crossed: Similarities of every vector with every other, float32 `[q, dim]`, `[m, dim]` to `[q, m]`.
        length: Length of a vector as the similarity sees it, `[n, dim]` to `[n]`.
        power: How a similarity grows with the lengths of both vectors: 2 for products, 1 for distances, 0 for cosines.
        is_product: Whether it is the inner product of the prepared vectors.
    """

    name: str
    measure: str
    prepared: Callable[[Matrix], Matrix]
    paired: Callable[[npt.NDArray[Any], npt.NDArray[Any]], npt.NDArray[Any]]
    crossed: Callable[[Matrix, Matrix], Matrix]
    length: Callable[[Matrix], npt.NDArray[Any]]
    power: int
    is_product: bool

    def scale(self, vectors: Matrix) -> float:
        """The unit in which similarities of such vectors are told: what that of a usual vector to itself would be.

        It is the mean length to the similarity's power, so that a margin of 0.1 means as much in every model.
        """
        return float(self.length(vectors).mean()) ** self.power or 1.0

    def __str__(self) -> str:
        return self.name


def _products(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.asarray(np.einsum("ij,ij->i", first, second))


def _all_products(first: Matrix, second: Matrix) -> Matrix:
    return first @ second.T


def _lengths(vectors: npt.NDArray[Any], order: int = 2) -> npt.NDArray[Any]:
    return np.asarray(np.linalg.norm(vectors, ord=order, axis=1))


def _distances(metric: str, order: int) -> dict[str, Any]:
    """A distance, negated."""

    def paired(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return -_lengths(first - second, order)

    def crossed(first: Matrix, second: Matrix) -> Matrix:
        from scipy.spatial.distance import cdist

        return -np.asarray(cdist(first, second, metric), dtype=np.float32)

    length = partial(_lengths, order=order)
    return {"paired": paired, "crossed": crossed, "length": length, "power": 1, "is_product": False}


_PRODUCT: dict[str, Any] = {"paired": _products, "crossed": _all_products, "length": _lengths, "is_product": True}
COSINE = Similarity("cosine", "cosine", normalised, **_PRODUCT, power=0)
DOT = Similarity("dot", "dot product", _as_given, **_PRODUCT, power=2)
EUCLIDEAN = Similarity("euclidean", "euclidean distance", _as_given, **_distances("euclidean", 2))
MANHATTAN = Similarity("manhattan", "manhattan distance", _as_given, **_distances("cityblock", 1))
SIMILARITIES: Mapping[str, Similarity] = {each.name: each for each in (COSINE, DOT, EUCLIDEAN, MANHATTAN)}
