"""Triplets: is the anchor nearer the close text than the less close one?"""

from __future__ import annotations

import numpy as np

from embedgate.core.similarity import COSINE, Similarity
from embedgate.metrics import Matrix, Scores, mean_of, require_finite


def evaluate(
    anchors: Matrix, positives: Matrix, negatives: Matrix, similarity: Similarity = COSINE
) -> dict[str, Scores]:
    """Share of triplets whose anchor is more similar to its positive than to its negative.

    Args:
        anchors: What is compared of the anchors, float32 `[n, dim]`.
        positives: What is compared of the close texts, float32 `[n, dim]`.
        negatives: What is compared of the less close texts, float32 `[n, dim]`.
        similarity: How the model compares them.

    Returns:
        `triplet_accuracy`; its items are 1 (right), 0 (wrong) or 0.5 (equal similarities), float64 `[n]`.

    Raises:
        NotFinite: If an embedding holds NaN or infinity.
    """
    for matrix, what in ((anchors, "anchors"), (positives, "positives"), (negatives, "negatives")):
        require_finite(matrix, what)
    margin = similarity.paired(anchors, positives) - similarity.paired(anchors, negatives)
    return {"triplet_accuracy": mean_of((np.sign(margin) + 1) / 2)}
