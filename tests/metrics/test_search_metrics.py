"""What is found is scored fairly: over all orders of equal scores, at one cut and at two."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from embedgate.metrics import retrieval, search
from embedgate.metrics.search import Found, Indistinct, judged, kept_at_10, ranking
from embedgate.vectors import nearest as nearest_module
from embedgate.vectors.codes import Ranges, quantize, stored
from embedgate.vectors.nearest import nearest


def in_every_order(first: np.ndarray, second: np.ndarray | None, candidates: int, cut: int) -> np.ndarray:
    """Probabilities of places by trying every order of equals, in both rankings."""
    documents = len(first)
    found = np.zeros((documents, cut))
    orders = list(itertools.permutations(range(documents)))
    for order in orders:
        one = sorted(order, key=lambda document: -first[document])
        if second is None:
            for place, document in enumerate(one[:cut]):
                found[document, place] += 1 / len(orders)
            continue
        inside = one[:candidates]
        again = list(itertools.permutations(inside))
        for other in again:
            two = sorted(other, key=lambda document: -second[document])
            for place, document in enumerate(two[:cut]):
                found[document, place] += 1 / len(orders) / len(again)
    return found


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([5, 4, 3, 3, 3, 1], None),
        ([2, 2, 2, 2, 2, 2], None),
        ([5, 4, 3, 3, 3, 1], [1, 5, 2, 4, 3, 9]),
        ([5, 3, 3, 3, 3, 1], [1, 5, 2, 2, 2, 9]),
        ([3, 3, 3, 3, 3, 3], [1, 1, 2, 2, 3, 3]),
        ([6, 5, 4, 3, 2, 1], [2, 2, 2, 1, 1, 1]),
        ([4, 4, 3, 3, 3, 3], [2, 1, 2, 1, 2, 1]),
    ],
)
def test_places_are_those_of_every_order_of_equals(monkeypatch, first, second):
    monkeypatch.setattr(search, "CUT", 2)
    scores = np.array([first], np.float32)
    again = None if second is None else np.array([second], np.float32)
    found = Found(scores, np.arange(6)[None])
    places = ranking(found, 4, again).places[0]
    assert places == pytest.approx(in_every_order(scores[0], None if again is None else again[0], 4, 2))


def test_first_of_more_candidates_is_that_of_fewer():
    """One search serves every factor of rescoring: its beginning, ties at the cut included, is a shorter search."""
    rng = np.random.default_rng(0)
    first = -np.sort(-rng.integers(0, 12, (20, 90)).astype(np.float32), axis=1)
    second, ids = rng.random((20, 90)).astype(np.float32), np.tile(np.arange(90), (20, 1))
    long = ranking(Found(first, ids), 20, second)
    cut = first[:, 19, None]
    short = ranking(Found(np.where(first >= cut, first, -np.inf), ids), 20, second)
    assert np.array_equal(long.places, short.places)
    assert long.membership.sum(axis=1) == pytest.approx(np.full(20, 10))


def test_many_of_a_kind_take_no_time():
    """An encoder that has collapsed: 5,000 documents score alike, in both rankings."""
    found = Found(np.ones((3, 5000), np.float32), np.tile(np.arange(5000), (3, 1)))
    places = ranking(found, 40, np.ones((3, 5000), np.float32)).places
    assert places == pytest.approx(np.full((3, 5000, 10), 1 / 5000))


def test_kept_counts_what_both_find():
    truth = ranking(Found(np.arange(20, 0, -1, dtype=np.float32)[None], np.arange(20)[None]))
    same = ranking(Found(np.arange(20, 0, -1, dtype=np.float32)[None], np.arange(20)[None]))
    shifted = ranking(Found(np.arange(20, 0, -1, dtype=np.float32)[None], np.arange(5, 25)[None]))
    others = ranking(Found(np.arange(20, 0, -1, dtype=np.float32)[None], np.arange(50, 70)[None]))
    assert [kept_at_10(each, truth).value for each in (same, shifted, others)] == [1.0, 0.5, 0.0]


def test_equal_scores_are_kept_wholly():
    """Twenty documents that nothing tells apart, in both: any ten of them are the right ten."""
    one = ranking(Found(np.ones((1, 20), np.float32), np.arange(20)[None]))
    other = ranking(Found(np.ones((1, 20), np.float32), np.arange(20)[None, ::-1]))
    assert kept_at_10(one, other).value == pytest.approx(1.0)


def test_judgements_score_as_retrieval_does():
    rng = np.random.default_rng(0)
    queries, documents = (rng.standard_normal((n, 16)).astype(np.float32) for n in (30, 200))
    documents[50:60] = documents[40:50]  # ties
    queries, documents = (m / np.linalg.norm(m, axis=1, keepdims=True) for m in (queries, documents))
    relevance = [{int(d): int(rng.integers(1, 4)) for d in rng.choice(200, 5, replace=False)} for _ in range(30)]
    relevance[0] = {45: 1, 55: 2}
    found = nearest(stored(documents, "float32"), queries, 10, 1)
    mine, theirs = judged(ranking(found), relevance), retrieval.evaluate(queries, documents, relevance)
    for metric, scores in mine.items():
        assert scores.items == pytest.approx(theirs[metric].items, abs=1e-6)
    assert 0 < mine["ndcg_at_10"].value < 1


class TestNearest:
    @pytest.fixture
    def arms(self):
        rng = np.random.default_rng(1)
        queries, documents = (rng.standard_normal((n, 24)).astype(np.float32) for n in (9, 500))
        return queries, documents, Ranges.of(documents)

    @pytest.mark.parametrize("precision", ["float32", "float16", "int8", "uint8", "binary", "ubinary"])
    @pytest.mark.parametrize("chunk", [7, 2**16])
    def test_every_document_is_compared_and_every_tie_found(self, monkeypatch, arms, precision, chunk):
        monkeypatch.setattr(nearest_module, "CHUNK", chunk)
        queries, documents, ranges = arms
        codes, asked = stored(documents, precision, ranges), quantize(queries, precision, ranges)
        found = nearest(codes, asked, 10, 1)
        if precision in ("binary", "ubinary"):
            signs = [np.where(m > 0, 1, -1) for m in (queries, documents)]
            true = (signs[0] @ signs[1].T - 24) / 2
        else:
            true = asked.astype(np.float64) @ codes.matrix.astype(np.float64).T
        for query, scores in enumerate(true):
            cut = np.sort(scores)[-10]
            wanted = set(np.flatnonzero(scores >= cut - 1e-5).tolist())
            known = found.scores[query] > -np.inf
            assert set(found.ids[query, known].tolist()) == wanted
            assert found.scores[query, known] == pytest.approx(np.sort(scores[list(wanted)])[::-1], abs=1e-4)
        if precision == "binary":
            assert found.ids.shape[1] > 12, "no ties, so nothing is tested"

    def test_ties_beyond_the_first_look_are_found(self):
        documents = np.ones((3000, 8), np.float32)
        found = nearest(stored(documents, "ubinary"), np.full((2, 1), 255, np.uint8), 10, 1)
        assert found.ids.shape == (2, 3000)

    def test_documents_that_nothing_tells_apart_are_told(self, monkeypatch):
        monkeypatch.setattr(nearest_module, "MOST_TIES", 100)
        codes = stored(np.ones((3000, 8), np.float32), "ubinary")
        with pytest.raises(Indistinct, match="128 or more documents score alike for one query"):
            nearest(codes, np.full((2, 1), 255, np.uint8), 10, 1)

    def test_fewer_documents_than_results(self, arms):
        queries, documents, _ = arms
        found = nearest(stored(documents[:4], "float32"), queries, 10, 1)
        assert sorted(found.ids[0].tolist()) == [0, 1, 2, 3]

    def test_float_queries_rank_as_decoded_documents_do(self, arms):
        queries, documents, ranges = arms
        found = nearest(stored(documents, "int8", ranges), queries * ranges.step, 10, 1)
        step, low = ranges.step, ranges.low
        decoded = (quantize(documents, "int8", ranges).astype(np.float64) + 128) * step + low
        wanted = np.argsort(-(queries.astype(np.float64) @ decoded.T), axis=1)[:, :10]
        assert np.array_equal(found.ids[:, :10], wanted)
