"""Ordering: does a combination tell which of two texts is more similar to a third as the reference does?"""

from __future__ import annotations

import numpy as np

from embedgate.metrics import FloatArray, Matrix, Scores, mean_of, require_finite


def margins(anchors: Matrix, nearer: Matrix, farther: Matrix) -> FloatArray:
    """By how much each anchor's cosine to the one text exceeds that to the other.

    Args:
        anchors: Normalised embeddings of the texts compared with, float32 `[n, dim]`.
        nearer: Normalised embeddings of the one text of each, float32 `[n, dim]`.
        farther: Normalised embeddings of the other, float32 `[n, dim]`.

    Returns:
        float64 `[n]`.

    Raises:
        NotFinite: If an embedding holds NaN or infinity.
    """
    for matrix, what in ((anchors, "anchors"), (nearer, "nearer texts"), (farther, "farther texts")):
        require_finite(matrix, what)
    first, second = (np.einsum("ij,ij->i", anchors, other, dtype=np.float64) for other in (nearer, farther))
    return np.asarray(first - second, dtype=np.float64)


def evaluate(candidate: FloatArray, reference: FloatArray) -> dict[str, Scores]:
    """Share of cases whose two similarities are in the reference's order.

    Args:
        candidate: The combination's margins, float64 `[n]`.
        reference: The reference's margins of the same cases in the same order, float64 `[n]`.

    Returns:
        `order_kept`; its items are 1 (kept), 0 (reversed) or 0.5 (equal similarities in one arm alone).
    """
    signs = np.sign(candidate), np.sign(reference)
    agree = (signs[0] * signs[1] + 1) / 2
    return {"order_kept": mean_of(np.where(signs[0] == signs[1], 1.0, agree))}
