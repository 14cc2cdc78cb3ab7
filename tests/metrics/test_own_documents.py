"""Queries that are documents themselves, and judgements of documents that are not there: scored as BEIR does."""

from __future__ import annotations

import numpy as np
import pytest
import pytrec_eval

from embedgate.metrics import retrieval, search
from embedgate.metrics.search import Found, judged, ranking
from embedgate.vectors.measure import Vectors, rankings
from embedgate.vectors.storage import FLOAT32, Storage

MEASURES = {"ndcg_at_10": "ndcg_cut_10", "recall_at_10": "recall_10", "mrr_at_10": "recip_rank"}


def unit(matrix):
    return (matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(np.float32)


class Arguments:
    """Like ArguAna: each query is a document under its own id, most have one answer, some an answer that is missing."""

    def __init__(self, queries=300, documents=1200, seed=0):
        rng = np.random.default_rng(seed)
        self.documents = unit(rng.normal(size=(documents, 32)))
        self.rows = rng.permutation(documents)[:queries]
        # A title makes the document another text than the query.
        self.queries = unit(self.documents[self.rows] + 0.05 * rng.normal(size=(queries, 32)))
        near = np.argsort(-(self.queries @ self.documents.T), axis=1)
        self.own, self.relevance, self.unreachable = {}, [], {}
        for query in range(queries):
            if query % 3:
                self.own[query] = int(self.rows[query])
            answers = {int(near[query, place]): int(rng.integers(1, 4)) for place in rng.integers(1, 20, size=2)}
            answers |= {int(self.rows[query]): 2} if query % 10 == 1 else {}  # judged with itself
            self.relevance.append(answers if query % 50 else {})
            if query % 25 == 0:
                self.unreachable[query] = (1, 3)

    def as_beir_does(self):
        """By metric, the scores of BEIR's `EvaluateRetrieval.evaluate`, with identical ids left out of all results."""
        names = [f"q{row}" for row in range(len(self.documents))]
        ids = [names[self.own[query]] if query in self.own else f"other{query}" for query in range(len(self.queries))]
        qrels, run = {}, {}
        for query, scores in enumerate(self.queries @ self.documents.T):
            grades = {names[row]: grade for row, grade in self.relevance[query].items()}
            absent = {f"missing{i}": grade for i, grade in enumerate(self.unreachable.get(query, ()))}
            qrels[ids[query]] = grades | absent
            order = np.argsort(-scores)[:100]
            found = {names[row]: float(scores[row]) for row in order if names[row] != ids[query]}
            run[ids[query]] = dict(list(found.items())[:10])
        wanted = {"ndcg_cut.10", "recall.10", "recip_rank"}
        scored = pytrec_eval.RelevanceEvaluator(qrels, wanted).evaluate(run)
        return {name: [scored[id_][measure] for id_ in ids] for name, measure in MEASURES.items()}

    def scores(self):
        return retrieval.evaluate(
            self.queries, self.documents, self.relevance, own=self.own, unreachable=self.unreachable
        )


def test_values_are_those_of_beir():
    data = Arguments()
    found, expected = data.scores(), data.as_beir_does()
    for name in MEASURES:
        assert found[name].items.tolist() == pytest.approx(expected[name], abs=1e-9)
    assert 0.2 < found["mrr_at_10"].value < 0.9


def test_a_query_that_finds_itself_finds_its_answer_second():
    """What BEIR's ArguAna looks like where nothing is left out: a reciprocal rank of one half."""
    documents = unit(np.random.default_rng(0).normal(size=(60, 16)))
    documents[30:] = unit(documents[:30] + 0.1 * documents[30:])
    answers = [{30 + query: 1} for query in range(30)]
    own = {query: query for query in range(30)}
    before = retrieval.evaluate(documents[:30], documents, answers)
    after = retrieval.evaluate(documents[:30], documents, answers, own=own)
    assert (before["mrr_at_10"].value, before["ndcg_at_10"].value) == pytest.approx((0.5, 1 / np.log2(3)))
    assert (after["mrr_at_10"].value, after["ndcg_at_10"].value) == pytest.approx((1, 1))


@pytest.mark.parametrize("documents", [3, 10, 11])
def test_few_documents_leave_places_empty(documents):
    """The query's own document fills no place, even where fewer than ten others are there."""
    rng = np.random.default_rng(documents)
    vectors = unit(rng.normal(size=(documents, 8)))
    found = retrieval.evaluate(vectors[:1], vectors, [{0: 1, 1: 1}], own={0: 0})
    assert found["recall_at_10"].value == 0.5
    alone = retrieval.evaluate(vectors[:1], vectors, [{0: 1}], own={0: 0})
    assert [scores.value for scores in alone.values()] == [0, 0, 0]


def test_ties_are_scored_over_all_orders_of_the_others():
    documents = np.repeat(unit(np.random.default_rng(1).normal(size=(1, 8))), 21, axis=0)
    found = retrieval.evaluate(documents[:1], documents, [{5: 1}], own={0: 0}, unreachable={0: (1,)})
    assert found["recall_at_10"].value == pytest.approx(10 / 20 / 2)
    assert found["mrr_at_10"].value == pytest.approx(sum(1 / rank for rank in range(1, 11)) / 20)


def test_a_query_whose_answers_are_all_missing_scores_nothing():
    documents = unit(np.random.default_rng(0).normal(size=(12, 8)))
    found = retrieval.evaluate(documents[:2], documents, [{3: 1}, {}], unreachable={1: (2,)})
    assert [scores.items[1] for scores in found.values()] == [0, 0, 0]
    with pytest.raises(ValueError, match="query 1 has no relevant document"):
        retrieval.evaluate(documents[:2], documents, [{3: 1}, {}])


def test_stored_vectors_are_searched_without_them_too():
    """Float32 vectors, searched as stored ones are, score what the embeddings do."""
    data = Arguments()
    vectors = Vectors(data.queries, data.documents)
    found = dict(rankings(vectors, [FLOAT32], {}, 1, data.own))["float32"]
    scores = judged(found, data.relevance, data.unreachable)
    for name in ("ndcg_at_10", "recall_at_10"):
        assert scores[name].items == pytest.approx(data.scores()[name].items, abs=1e-9)


def test_candidates_that_are_ranked_again_are_others():
    data = Arguments()
    storages = [Storage("float16"), Storage("float16", 1), Storage("float16", 4)]
    for _, found in rankings(Vectors(data.queries, data.documents), storages, {}, 1, data.own):
        for query, document in data.own.items():
            assert found.membership[query][found.ids[query] == document].sum() == 0
        assert found.membership.sum(axis=1) == pytest.approx(np.full(len(data.queries), 10))


def test_results_without_a_document_keep_their_order():
    found = Found(np.array([[3, 2, 1]] * 2, np.float32), np.array([[7, 8, 9]] * 2))
    left = found.without({1: 8})
    assert left.scores.tolist() == [[3, 2, 1], [3, 1, -np.inf]]
    assert left.ids.tolist() == [[7, 8, 9], [7, 9, 8]]
    assert found.without({}) is found
    places = ranking(left).places
    assert places[1, 1, 1] == 1
    assert places.shape[2] == search.CUT
