"""Metrics: equal to the libraries they come from, fair to ties, loud about NaN."""

from __future__ import annotations

import importlib.metadata
import tracemalloc
from itertools import permutations

import numpy as np
import pytest
import pytrec_eval
from scipy.stats import spearmanr
from sklearn.metrics import v_measure_score

from embedgate.core.similarity import COSINE, DOT
from embedgate.metrics import (
    DISTRIBUTIONS,
    LENGTH_KEPT,
    METRICS,
    NotFinite,
    agreement,
    clustering,
    mean_of,
    require_finite,
    retrieval,
    similarity,
    triplets,
)

MEASURES = {"ndcg_at_10": "ndcg_cut_10", "recall_at_10": "recall_10", "mrr_at_10": "recip_rank"}


def unit(matrix):
    return (matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(np.float32)


def random_unit(n, dim=16, seed=0):
    return unit(np.random.default_rng(seed).normal(size=(n, dim)))


def draws(n, replicates=20, seed=0):
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=replicates).astype(np.float32)


def by_pytrec_eval(order, relevance):
    """Scores of one query whose documents come in this order."""
    run = {"q": {str(document): float(-rank) for rank, document in enumerate(order[:10])}}
    qrels = {"q": {str(document): grade for document, grade in relevance.items()}}
    scored = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10", "recall.10", "recip_rank"}).evaluate(run)["q"]
    return {name: scored[measure] for name, measure in MEASURES.items()}


class TestFinite:
    def test_names_the_rows(self):
        matrix = random_unit(5)
        matrix[[1, 3], 0] = np.nan, np.inf
        with pytest.raises(NotFinite, match=r"2 of the queries hold NaN or infinity: rows 1, 3") as raised:
            require_finite(matrix, "queries")
        assert raised.value.rows == (1, 3)

    def test_sound_embeddings_pass(self):
        require_finite(random_unit(5))

    @pytest.mark.parametrize(
        "measure",
        [
            lambda bad, good: similarity.evaluate(good, bad, np.arange(12.0)),
            lambda bad, good: retrieval.evaluate(bad, good, [{0: 1}] * 12),
            lambda bad, good: retrieval.evaluate(good, bad, [{0: 1}] * 12),
            lambda bad, good: clustering.evaluate(bad, ["a", "b"] * 6),
            lambda bad, good: triplets.evaluate(good, good, bad),
            agreement.evaluate,
            lambda bad, good: agreement.evaluate(good, bad),
        ],
    )
    def test_every_metric_refuses_nan(self, measure):
        good = random_unit(12)
        bad = good.copy()
        bad[7, 3] = np.nan
        with pytest.raises(NotFinite, match="row 7"):
            measure(bad, good)


class TestSimilarity:
    def graded(self, n=60):
        first = random_unit(n)
        second = unit(first + np.random.default_rng(1).normal(size=first.shape))
        second[5:9], first[5:9] = second[4], first[4]  # equal cosines
        cosines = np.einsum("ij,ij->i", first, second)
        return first, second, cosines, np.round(cosines * 4 + np.random.default_rng(2).normal(size=n))

    def test_value_is_scipys(self):
        first, second, cosines, grades = self.graded()
        scores = similarity.evaluate(first, second, grades)["spearman"]
        assert scores.value == spearmanr(cosines, grades).statistic
        assert np.allclose(scores.items, cosines)

    def test_replicates_equal_scipy_on_the_resampled_pairs(self):
        first, second, cosines, grades = self.graded()
        weights = draws(60)
        found = similarity.evaluate(first, second, grades)["spearman"].replicate(weights)
        for replicate, counts in zip(found, weights.astype(int), strict=True):
            rows = np.repeat(np.arange(60), counts)
            assert replicate == pytest.approx(spearmanr(cosines[rows], grades[rows]).statistic, abs=1e-12)

    def test_collapsed_embeddings_score_nothing(self):
        same = np.repeat(random_unit(1), 8, axis=0)
        scores = similarity.evaluate(same, same, np.arange(8.0))["spearman"]
        assert scores.value == 0
        assert (scores.replicate(draws(8)) == 0).all()

    def test_constant_grades_are_refused(self):
        with pytest.raises(ValueError, match="every grade is 3"):
            similarity.evaluate(random_unit(4), random_unit(4), [3.0] * 4)


class TestRetrieval:
    def test_matches_pytrec_eval_without_ties(self):
        queries, documents = random_unit(40, seed=1), random_unit(300, seed=2)
        rng = np.random.default_rng(3)
        relevance = [
            {int(row): int(rng.integers(0, 4)) for row in rng.choice(300, 30, replace=False)} | {int(q): 1}
            for q in range(40)
        ]
        found = retrieval.evaluate(queries, documents, relevance)
        for q, scores in enumerate(queries @ documents.T):
            expected = by_pytrec_eval(np.argsort(-scores).tolist(), relevance[q])
            assert {name: scores.items[q] for name, scores in found.items()} == expected

    @pytest.mark.parametrize("tied", [range(0, 5), range(3, 7), range(7, 12), range(9, 14)])
    @pytest.mark.parametrize("grades", [{3: 1}, {4: 3, 9: 1}, {3: 2, 4: 1, 10: 3, 11: 1, 19: 2}])
    def test_ties_score_their_mean_over_all_orders(self, tied, grades):
        angles = np.linspace(0.1, 1.4, 20)
        angles[list(tied)] = angles[tied[0]]
        documents = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
        query = np.array([[1.0, 0.0]], dtype=np.float32)
        found = retrieval.evaluate(query, documents, [grades])
        orders = [[*range(tied[0]), *order, *range(tied[-1] + 1, 20)] for order in permutations(tied)]
        scored = [by_pytrec_eval(order, grades) for order in orders]
        for name in MEASURES:
            assert found[name].value == pytest.approx(np.mean([one[name] for one in scored]), abs=1e-12)

    def test_the_order_of_documents_does_not_matter_when_all_tie(self):
        documents = np.repeat(random_unit(1), 50, axis=0)
        first, last = (retrieval.evaluate(random_unit(1, seed=4), documents, [{row: 1}]) for row in (0, 49))
        assert first["recall_at_10"].value == last["recall_at_10"].value == pytest.approx(10 / 50)

    def test_identical_documents_tie_wherever_they_stand(self):
        documents = random_unit(1003, dim=384)
        documents[[501, 1002]] = documents[0]
        for _, scores in retrieval.similarities(random_unit(7, dim=384, seed=5), documents):
            assert (scores[:, 0] == scores[:, 501]).all()
            assert (scores[:, 0] == scores[:, 1002]).all()

    def test_queries_come_in_chunks_of_bounded_size(self, monkeypatch):
        queries, documents = random_unit(50), random_unit(40, seed=1)
        whole = retrieval.evaluate(queries, documents, [{0: 1}] * 50)
        monkeypatch.setattr(retrieval, "_CHUNK", 40)
        chunks = [rows for rows, _ in retrieval.similarities(queries, documents)]
        assert [len(rows) for rows in chunks] == [16, 16, 16, 2]
        parts = retrieval.evaluate(queries, documents, [{0: 1}] * 50)
        assert all((whole[name].items == parts[name].items).all() for name in MEASURES)

    def test_a_query_without_a_relevant_document_is_refused(self):
        with pytest.raises(ValueError, match="query 1 has no relevant document"):
            retrieval.evaluate(random_unit(2), random_unit(5), [{0: 1}, {1: 0}])


class TestClustering:
    def labelled(self, noise, per_label=30, seed=0):
        rng = np.random.default_rng(seed)
        labels = [f"label {i}" for i in range(4) for _ in range(per_label)]
        centres = np.repeat(rng.normal(size=(4, 16)), per_label, axis=0)
        return unit(centres + noise * rng.normal(size=centres.shape)), labels

    def test_clear_labels_are_found(self):
        scores = clustering.evaluate(*self.labelled(0.1))["v_measure"]
        assert scores.value == pytest.approx(1)
        assert (scores.items == 1).all()

    def test_unrelated_labels_are_not(self):
        points, labels = self.labelled(0.1)
        scores = clustering.evaluate(points, np.random.default_rng(0).permutation(labels))["v_measure"]
        assert scores.value < 0.2

    def test_value_and_replicates_equal_sklearn_on_the_resampled_texts(self):
        points, labels = self.labelled(1.5)
        _, label = np.unique(labels, return_inverse=True)
        clusterings = [clustering._cluster(points, rows) for rows in clustering._starts(label, 0)]
        scores = clustering.evaluate(points, labels)["v_measure"]
        assert scores.value == pytest.approx(np.mean([v_measure_score(label, found) for found in clusterings]))
        weights = draws(len(labels), 5)
        for replicate, counts in zip(scores.replicate(weights), weights.astype(int), strict=True):
            rows = np.repeat(np.arange(len(labels)), counts)
            expected = np.mean([v_measure_score(label[rows], found[rows]) for found in clusterings])
            assert replicate == pytest.approx(expected, abs=1e-12)

    def test_memory_is_that_of_the_texts_whatever_the_number_of_cells(self):
        """100 labels spread over 100 clusters: 10,000 cells of 16 tables were 13 GB, kept as long as the scores."""
        rng = np.random.default_rng(0)
        label = rng.integers(100, size=20_000)
        clusterings = [rng.integers(100, size=20_000) for _ in range(clustering.STARTS)]
        weights = np.ones((25, 20_000), np.float32)
        clustering._scores(label[:200], [found[:200] for found in clusterings])  # imports are not its own
        tracemalloc.start()
        try:
            scores = clustering._scores(label, clusterings)
            scores.replicate(weights)
            kept, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert kept < 8e6
        assert most < 40e6

    def test_collapsed_embeddings_score_nothing(self):
        points = np.repeat(random_unit(1), 20, axis=0)
        assert clustering.evaluate(points, ["a", "b"] * 10)["v_measure"].value == pytest.approx(0)

    def test_the_starts_are_the_same_texts_each_time(self):
        points, labels = self.labelled(1.5)
        first, second = (clustering.evaluate(points, labels)["v_measure"] for _ in range(2))
        assert (first.items == second.items).all()

    def test_one_label_is_refused(self):
        with pytest.raises(ValueError, match="fewer than two labels"):
            clustering.evaluate(random_unit(4), ["a"] * 4)


def test_each_kind_of_dataset_has_a_metric_that_stands_for_it():
    kinds = {metric.kind for metric in METRICS.values() if metric.heading}
    assert kinds == {"labelled", "retrieval", "similarity", "triplets"}


def test_packages_that_scores_depend_on_are_named_as_pip_does():
    assert all(importlib.metadata.version(name) for name in DISTRIBUTIONS)


class TestTriplets:
    def test_right_wrong_and_equal(self):
        anchor, near, far = np.eye(3, dtype=np.float32)[[0, 0, 1]]
        scores = triplets.evaluate(np.stack([anchor] * 3), np.stack([near, far, far]), np.stack([far, near, far]))
        assert scores["triplet_accuracy"].items.tolist() == [1, 0, 0.5]
        assert scores["triplet_accuracy"].value == 0.5


class TestAgreement:
    def test_has_every_metric_of_its_kind(self):
        found = agreement.evaluate(random_unit(20), random_unit(20))
        lengths = {LENGTH_KEPT}  # are compared where a model does not normalise
        assert set(found) | lengths == {name for name, metric in METRICS.items() if metric.kind == "agreement"}

    def test_the_reference_agrees_with_itself_even_with_duplicates(self):
        reference = random_unit(60)
        reference[20:45] = reference[0]
        assert {
            name: scores.value for name, scores in agreement.evaluate(reference, reference).items()
        } == pytest.approx(dict.fromkeys(agreement.evaluate(reference, reference), 1.0), abs=1e-6)

    def test_a_rotation_keeps_neighbours_but_no_cosine(self):
        reference = random_unit(60)
        found = agreement.evaluate(-reference, reference)
        assert found["cosine_mean"].value == pytest.approx(-1)
        assert found["top10_overlap"].value == 1
        assert found["neighbour_rank_correlation"].value == pytest.approx(1)

    def test_overlap_and_rank_correlation_equal_the_plain_computation(self):
        reference = random_unit(80)
        candidate = unit(reference + 0.1 * np.random.default_rng(1).normal(size=reference.shape))
        found = agreement.evaluate(candidate, reference)
        for text in range(80):
            wanted, got = (matrix @ matrix[text] for matrix in (reference, candidate))
            others = np.delete(np.arange(80), text)
            by_wanted = others[np.argsort(-wanted[others])]
            by_got = others[np.argsort(-got[others])]
            assert found["top10_overlap"].items[text] == pytest.approx(len({*by_wanted[:10]} & {*by_got[:10]}) / 10)
            expected = spearmanr(wanted[by_wanted[:50]], got[by_wanted[:50]]).statistic
            assert found["neighbour_rank_correlation"].items[text] == pytest.approx(expected)

    @pytest.mark.parametrize("similarity", [COSINE, DOT])
    def test_few_embeddings_are_copied_at_a_time(self, monkeypatch, similarity):
        reference = 2 * random_unit(80)
        candidate = unit(reference + np.random.default_rng(1).normal(size=reference.shape))
        whole = agreement.evaluate(candidate, reference, similarity=similarity)["cosine_mean"].items
        lengths = agreement.lengths(candidate, reference).items
        monkeypatch.setattr(agreement, "_AT_ONCE", 7)
        assert (agreement.evaluate(candidate, reference, similarity=similarity)["cosine_mean"].items == whole).all()
        assert (agreement.lengths(candidate, reference).items == lengths).all()

    def test_another_order_of_the_texts_is_seen(self):
        reference = random_unit(60)
        found = agreement.evaluate(np.roll(reference, 1, axis=0), reference)
        assert found["cosine_mean"].value < 0.3
        assert found["top10_overlap"].value < 0.5

    def test_one_bad_text_shows_in_the_least_cosine(self):
        reference = random_unit(300)
        candidate = reference.copy()
        candidate[17] = -candidate[17]
        found = agreement.evaluate(candidate, reference)
        assert found["cosine_min"].value == pytest.approx(-1)
        assert found["cosine_p01"].value == pytest.approx(1)
        assert int(found["cosine_min"].items.argmin()) == 17

    def test_quantiles_are_numpys_in_every_replicate(self):
        reference = random_unit(400)
        candidate = unit(reference + 0.3 * np.random.default_rng(1).normal(size=reference.shape))
        found = agreement.evaluate(candidate, reference)
        weights = draws(400)
        for name, quantile in (("cosine_p01", 0.01), ("cosine_min", 0.0)):
            assert found[name].value == np.quantile(found[name].items, quantile, method="inverted_cdf")
            for replicate, counts in zip(found[name].replicate(weights), weights.astype(int), strict=True):
                drawn = np.repeat(found[name].items, counts)
                assert replicate == np.quantile(drawn, quantile, method="inverted_cdf")

    def test_few_texts_are_looked_up_where_there_are_many(self):
        reference = random_unit(50)
        found = agreement.evaluate(reference, reference, cap=20)
        assert len(found["top10_overlap"].items) == 20
        assert len(found["cosine_mean"].items) == 50

    def test_collapsed_embeddings_keep_no_order(self):
        found = agreement.evaluate(np.repeat(random_unit(1), 60, axis=0), random_unit(60))
        assert found["neighbour_rank_correlation"].value == 0
        assert found["top10_overlap"].value == pytest.approx(10 / 59)

    def test_another_dimension_is_refused(self):
        with pytest.raises(ValueError, match=r"\(20, 8\) cannot be compared with the reference's of shape \(20, 16\)"):
            agreement.evaluate(random_unit(20, dim=8), random_unit(20))

    def test_too_few_texts_are_refused(self):
        with pytest.raises(ValueError, match="2 texts have no neighbours"):
            agreement.evaluate(random_unit(2), random_unit(2))


def test_a_mean_is_the_mean_of_the_drawn_items():
    scores = mean_of([0.0, 1.0, 0.5])
    assert scores.value == 0.5
    assert scores.replicate(np.array([[3, 0, 0], [0, 1, 2]], dtype=np.float32)).tolist() == pytest.approx([0, 2 / 3])
