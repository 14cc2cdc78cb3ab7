"""Measures one set of embeddings on one dataset: the one place that knows which metrics belong to which kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from embedgate.core.embeddings import Embeddings
from embedgate.core.roles import CLUSTERING, DOCUMENT, PAIR_CLASSIFICATION, QUERY, STS, Input
from embedgate.data.types import Dataset, Labelled, Retrieval, Similarity, Texts, Triplets
from embedgate.metrics import (
    LENGTH_KEPT,
    Scores,
    agreement,
    clustering,
    ordering,
    retrieval,
    similarity,
    triplets,
)
from embedgate.sentences import Case


def measure(dataset: Dataset, embeddings: Embeddings) -> dict[str, Scores]:
    """Scores of a dataset's metrics, by name, which know what items repeat others.

    Raises:
        embedgate.metrics.NotFinite: If an embedding it needs holds NaN or infinity.
    """
    return {name: replace(scores, clusters=dataset.clusters) for name, scores in _measure(dataset, embeddings).items()}


def _measure(dataset: Dataset, embeddings: Embeddings) -> dict[str, Scores]:
    match dataset:
        case Similarity():
            first, second = (embeddings.of(texts, STS) for texts in (dataset.first, dataset.second))
            return similarity.evaluate(first, second, dataset.grades, embeddings.similarity)
        case Retrieval():
            return retrieval.evaluate(
                embeddings.of(dataset.queries, QUERY),
                embeddings.of(dataset.documents, DOCUMENT),
                dataset.relevance,
                embeddings.similarity,
                own=dataset.own,
                unreachable=dataset.unreachable,
            )
        case Labelled():
            return clustering.evaluate(embeddings.of(dataset.items, CLUSTERING), dataset.labels)
        case Triplets():
            parts = (dataset.anchors, dataset.positives, dataset.negatives)
            anchors, positives, negatives = (embeddings.of(part, PAIR_CLASSIFICATION) for part in parts)
            return triplets.evaluate(anchors, positives, negatives, embeddings.similarity)
    raise TypeError(f"no metric knows the dataset type {type(dataset).__name__}")


def measure_agreement(
    candidate: Embeddings, reference: Embeddings, *, lengths: bool, sample: Sequence[Input] | None = None
) -> dict[str, Scores]:
    """Scores of the comparison with the reference over all texts both have, by name.

    Args:
        candidate: The combination's embeddings.
        reference: The reference's.
        lengths: Whether to compare their lengths as well: the model does not normalise.
        sample: The texts to compare, whose neighbours are looked up among all; None for all.
    """
    rows = None if sample is None else reference.rows(sample)
    found = agreement.evaluate(
        candidate.at(reference.inputs), reference.compared, similarity=reference.similarity, rows=rows
    )
    if lengths:
        found[LENGTH_KEPT] = _lengths(candidate, reference, reference.inputs if sample is None else sample)
    return found


def measure_texts(dataset: Texts, candidate: Embeddings, reference: Embeddings, *, lengths: bool) -> dict[str, Scores]:
    """Scores of the comparison with the reference over the texts of one dataset, by name.

    A text's neighbours are looked up among these alone, so that what else a session judges on changes nothing.

    Args:
        dataset: The texts.
        candidate: The combination's embeddings, of these texts and maybe of others.
        reference: The reference's.
        lengths: As of `measure_agreement`.
    """
    inputs, clusters = dataset.inputs(), dataset.clusters
    arms = (candidate.at(inputs), reference.at(inputs))
    found = agreement.evaluate(*arms, similarity=reference.similarity, clusters=clusters)
    if lengths:
        found[LENGTH_KEPT] = replace(_lengths(candidate, reference, inputs), clusters=clusters)
    return found


def _lengths(candidate: Embeddings, reference: Embeddings, inputs: Sequence[Input]) -> Scores:
    return agreement.lengths(*(arm.matrix[arm.rows(inputs)] for arm in (candidate, reference)))


def measure_order(cases: Sequence[Case], candidate: Embeddings, reference: Embeddings) -> dict[str, Scores]:
    """Scores of the comparison with the reference over generated cases, by name.

    Raises:
        embedgate.metrics.NotFinite: If an embedding holds NaN or infinity.
    """
    anchors, nearer, farther = zip(*(case.texts for case in cases), strict=True)
    mine, theirs = (
        ordering.margins(arm.of(anchors, STS), arm.of(nearer, STS), arm.of(farther, STS), arm.similarity)
        for arm in (candidate, reference)
    )
    return ordering.evaluate(mine, theirs)
