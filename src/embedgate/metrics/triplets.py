"""Triplets: is the anchor nearer the close text than the less close one?"""

from __future__ import annotations

import numpy as np

from embedgate.metrics import Matrix, Scores, mean_of, require_finite


def evaluate(anchors: Matrix, positives: Matrix, negatives: Matrix) -> dict[str, Scores]:
    """Share of triplets whose anchor has the greater cosine to its positive than to its negative.

    Args:
        anchors: Normalised embeddings of the anchors, float32 `[n, dim]`.
        positives: Normalised embeddings of the close texts, float32 `[n, dim]`.
        negatives: Normalised embeddings of the less close texts, float32 `[n, dim]`.

    Returns:
        `triplet_accuracy`; its items are 1 (right), 0 (wrong) or 0.5 (equal cosines), float64 `[n]`.

    Raises:
        NotFinite: If an embedding holds NaN or infinity.
    """
    for matrix, what in ((anchors, "anchors"), (positives, "positives"), (negatives, "negatives")):
        require_finite(matrix, what)
    margin = np.einsum("ij,ij->i", anchors, positives) - np.einsum("ij,ij->i", anchors, negatives)
    return {"triplet_accuracy": mean_of((np.sign(margin) + 1) / 2)}
