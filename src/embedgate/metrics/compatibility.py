"""Whether a new model's vectors can join the incumbent's index, or everything must be embedded again."""

from __future__ import annotations

import numpy as np

from embedgate.core.embeddings import Embeddings
from embedgate.metrics import Matrix
from embedgate.metrics.retrieval import similarities, top_k

# Below these, neighbours found across the two spaces are no longer those found within the old one.
SAME_SPACE_COSINE = 0.99
SAME_SPACE_OVERLAP = 0.9
UNIT = 1e-2
NEAREST = 10


def advise(new: Embeddings, old: Embeddings) -> str:
    """Tells what becomes of an index built with the incumbent, and why, in one line.

    Args:
        new: The new model's embeddings.
        old: The incumbent's, of the same texts.
    """
    if new.dim != old.dim:
        return _again(f"{new.dim} dimensions instead of {old.dim}")
    if new.similarity is not old.similarity:
        return _again(f"the new model compares by {new.similarity}, the incumbent by {old.similarity}")
    norms = [np.linalg.norm(arm.matrix, axis=1) for arm in (new, old)]
    unit = [bool(np.abs(norm - 1).max() < UNIT) for norm in norms]
    if unit[0] != unit[1]:
        words = ["normalised" if normalised else "not normalised" for normalised in unit]
        return _again(f"the new vectors are {words[0]}, the incumbent's {words[1]}")
    same = new.normalised[new.rows(old.inputs)]
    cosine = float((same * old.normalised).sum(axis=1).mean())
    overlap = _mixed_overlap(new.at(old.inputs), old)
    reason = (
        f"same dimension ({new.dim}) and normalisation, mean cosine of the same text across both {cosine:.3f}, "
        f"new queries find {overlap:.1%} of the incumbent's ten nearest"
    )
    if cosine < SAME_SPACE_COSINE or overlap < SAME_SPACE_OVERLAP:
        return _again(reason)
    return f"new vectors can be mixed with the incumbent's: {reason}"


def _again(reason: str) -> str:
    return f"embed everything again: {reason}"


def _mixed_overlap(queries: Matrix, old: Embeddings) -> float:
    """Share of an index's own ten nearest texts that another model's queries, of the same texts, find in it."""
    index, similarity = old.compared, old.similarity
    k = min(NEAREST, len(index))
    common = []
    searches = (similarities(asked, index, similarity) for asked in (queries, index))
    for (_, mine), (_, theirs) in zip(*searches, strict=True):
        found, wanted = top_k(mine, k), top_k(theirs, k)
        common.append((found[:, :, None] == wanted[:, None, :]).any(axis=2).mean(axis=1))
    return float(np.concatenate(common).mean())
