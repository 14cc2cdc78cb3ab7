"""Ordering: does a combination tell which of two texts is more similar to a third as the reference does?"""

from __future__ import annotations

import numpy as np

from embedgate.core.similarity import COSINE, Similarity
from embedgate.metrics import FloatArray, Matrix, Scores, mean_of, require_finite


def margins(anchors: Matrix, nearer: Matrix, farther: Matrix, similarity: Similarity = COSINE) -> FloatArray:
    """By how much each anchor's similarity to the one text exceeds that to the other.

    Args:
        anchors: What is compared of the texts compared with, float32 `[n, dim]`.
        nearer: What is compared of the one text of each, float32 `[n, dim]`.
        farther: What is compared of the other, float32 `[n, dim]`.
        similarity: How the model compares them.

    Returns:
        float64 `[n]`.

    Raises:
        NotFinite: If an embedding holds NaN or infinity.
    """
    for matrix, what in ((anchors, "anchors"), (nearer, "nearer texts"), (farther, "farther texts")):
        require_finite(matrix, what)
    exact = [part.astype(np.float64) for part in (anchors, nearer, farther)]
    first, second = (similarity.paired(exact[0], other) for other in exact[1:])
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
