"""Whether a new model's vectors can join the incumbent's index, or everything must be embedded again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embedgate.core.embeddings import Embeddings
from embedgate.metrics import Matrix
from embedgate.metrics.retrieval import similarities, top_k

# Below these, neighbours found across the two spaces are no longer those found within the old one.
SAME_SPACE_COSINE = 0.99
SAME_SPACE_OVERLAP = 0.9
UNIT = 1e-2
NEAREST = 10
FLOAT32_BYTES = 4


@dataclass(frozen=True)
class Advice:
    """What becomes of an index built with the incumbent.

    Attributes:
        mixed: Whether new vectors can be mixed with the incumbent's.
        reason: Why, in one line.
    """

    mixed: bool
    reason: str

    def __str__(self) -> str:
        told = "new vectors can be mixed with the incumbent's" if self.mixed else "embed everything again"
        return f"{told}: {self.reason}"


@dataclass(frozen=True)
class Anew:
    """What embedding a collection anew would take.

    Attributes:
        documents: How many there are.
        texts_per_second: How fast this machine has encoded the texts at hand.
        hours: How long it would take for documents like these.
        bytes: Bytes of their vectors as float32, without an index's own.
    """

    documents: int
    texts_per_second: float
    hours: float
    bytes: int


def anew(documents: int, texts_per_second: float, dim: int) -> Anew:
    """Estimates what embedding a collection anew would take.

    Args:
        documents: How many there are.
        texts_per_second: How fast texts like them are encoded, above 0.
        dim: Dimensions of a vector.
    """
    hours = documents / texts_per_second / 3600
    return Anew(documents, texts_per_second, hours, FLOAT32_BYTES * dim * documents)


def normalises(embeddings: Embeddings) -> bool:
    """Whether every embedding has length 1."""
    return bool((np.abs(np.linalg.norm(embeddings.matrix, axis=1) - 1) < UNIT).all())


def advise(new: Embeddings, old: Embeddings) -> Advice:
    """Tells what becomes of an index built with the incumbent, and why.

    Args:
        new: The new model's embeddings.
        old: The incumbent's, of the same texts.
    """
    if new.dim != old.dim:
        return Advice(False, f"{new.dim} dimensions instead of {old.dim}")
    if new.similarity is not old.similarity:
        return Advice(False, f"the new model compares by {new.similarity}, the incumbent by {old.similarity}")
    unit = [normalises(arm) for arm in (new, old)]
    if unit[0] != unit[1]:
        words = ["normalised" if normalised else "not normalised" for normalised in unit]
        return Advice(False, f"the new vectors are {words[0]}, the incumbent's {words[1]}")
    same = new.unit(new.rows(old.inputs))
    cosine = float((same * old.normalised).sum(axis=1).mean())
    overlap = _mixed_overlap(new.at(old.inputs), old)
    reason = (
        f"same dimension ({new.dim}) and normalisation, mean cosine of the same text across both {cosine:.3f}, "
        f"new queries find {overlap:.1%} of the incumbent's ten nearest"
    )
    return Advice(cosine >= SAME_SPACE_COSINE and overlap >= SAME_SPACE_OVERLAP, reason)


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
