"""Faults of an index, named by what it returns of vectors without a model."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.search_faults import (
    Bits,
    BitsFirst,
    BitsSound,
    Distance,
    DistanceOfUnitQueries,
    Exact,
    Furthest,
    HalfShuffled,
    OneOff,
    Opposite,
    Places,
    Rescored,
    RescoredByPlace,
    Shuffled,
    WorstFirst,
)

from embedgate.vectors.codes import Codes
from embedgate.vectors.faults import diagnose, suspect
from embedgate.vectors.measure import Vectors
from embedgate.vectors.nearest import nearest

DIM, DOCUMENTS, QUERIES = 64, 2000, 40


class InnerProduct(Exact):
    """Inner products of vectors as they come."""

    def __init__(self, documents):
        self.documents = documents


def vectors(lengths):
    """Queries near documents, which lie around centres, of one length or of many."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((100, DIM))
    documents = centres[random.integers(0, 100, DOCUMENTS)] + 0.8 * random.standard_normal((DOCUMENTS, DIM))
    documents /= np.linalg.norm(documents, axis=1, keepdims=True)
    queries = documents[:QUERIES] + 0.05 * random.standard_normal((QUERIES, DIM))
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    if lengths == "many":
        documents, queries = documents * random.uniform(0.5, 2, (DOCUMENTS, 1)), queries * 1.7
    return queries.astype(np.float32), documents.astype(np.float32)


def told(engine, lengths):
    """What is said to be wrong with an engine's index, and whether that is certain."""
    queries, documents = vectors(lengths)
    unit = Exact.normalised(documents)
    truth = nearest(Codes("float32", unit, DIM), Exact.normalised(queries), 10, 1).ids[:, :10]
    index = engine(documents.copy())
    found = index.search(queries.copy(), 10)
    raw = Vectors(queries, documents)
    known = suspect(found, truth, raw, 1)
    return diagnose(index.search, known, found, raw, 1), known.is_certain


@pytest.mark.parametrize("lengths", ["one", "many"])
@pytest.mark.parametrize(
    ("engine", "layer", "cause"),
    [
        (Shuffled, "ids", "documents are shuffled against their ids"),
        (HalfShuffled, "ids", "documents are shuffled against their ids"),
        (OneOff, "ids", "documents are stored under ids that are +1 off"),
        (WorstFirst, "index", "it ranks the worst first"),
        (Furthest, "index", "it ranks the worst first"),
        (Opposite, "index", "it ranks the worst first"),
    ],
)
def test_faults_are_named_whatever_the_lengths_of_vectors(engine, layer, cause, lengths):
    diagnosis, _ = told(engine, lengths)
    assert diagnosis is not None
    assert (diagnosis.layer, diagnosis.cause[: len(cause)]) == (layer, cause)


def test_ids_that_are_right_for_most_are_shuffled_and_not_moved_by_nothing():
    """A constant shift is looked for among wrong ids alone."""

    class FewShuffled(Exact):
        def search(self, queries, k):
            found = super().search(queries, k)
            wrong = found % 5 > 2
            return np.where(wrong, (found * 7 + 3) % DOCUMENTS, found)

    diagnosis, _ = told(FewShuffled, "one")
    assert diagnosis is not None
    assert diagnosis.cause.startswith("documents are shuffled against their ids: of ")


@pytest.mark.parametrize(
    ("engine", "cause"),
    [
        (Distance, "it ranks by L2 distance of vectors that are not normalised"),
        (DistanceOfUnitQueries, "it ranks by L2 distance of documents that are not normalised, as queries are"),
        (InnerProduct, "it ranks by the inner product of vectors that are not normalised"),
    ],
)
def test_ranking_by_lengths_is_certain(engine, cause):
    diagnosis, is_certain = told(engine, "many")
    assert diagnosis is not None
    assert (diagnosis.cause, is_certain) == (cause, True)
    assert told(engine, "one") == (None, False)  # then it is the order of the cosines


@pytest.mark.parametrize("engine", [Exact, Rescored, BitsFirst, BitsSound, Bits, RescoredByPlace, Places])
def test_what_is_sound_or_no_known_fault_is_called_none(engine):
    """A wrong order of bits finds no document by its own vector, and is not to be called shuffled."""
    assert told(engine, "one") == (None, False)
