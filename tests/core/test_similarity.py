"""Similarities: as Sentence Transformers computes them, and by the name in a model's config."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.small import copy_with
from sentence_transformers import SimilarityFunction

from embedgate.core.errors import ModelError
from embedgate.core.model import resolve
from embedgate.core.similarity import COSINE, DOT, EUCLIDEAN, MANHATTAN, SIMILARITIES


def vectors(rows: int, seed: int) -> np.ndarray:
    return 3 * np.random.default_rng(seed).standard_normal((rows, 8)).astype(np.float32)


@pytest.mark.parametrize("name", SIMILARITIES)
def test_values_are_those_of_sentence_transformers(name):
    similarity, first, second = SIMILARITIES[name], vectors(5, 0), vectors(5, 1)
    ready = similarity.prepared(first), similarity.prepared(second)
    paired = SimilarityFunction.to_similarity_pairwise_fn(name)(first, second).numpy()
    crossed = SimilarityFunction.to_similarity_fn(name)(first, second).numpy()
    np.testing.assert_allclose(similarity.paired(*ready), paired, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(similarity.crossed(*ready), crossed, rtol=1e-5, atol=1e-5)


def test_every_similarity_of_sentence_transformers_for_dense_vectors_is_known():
    from sentence_transformers import SentenceTransformer

    assert set(SentenceTransformer.SUPPORTED_SIMILARITY_FN_NAMES) == set(SIMILARITIES)


@pytest.mark.parametrize("similarity", SIMILARITIES.values(), ids=str)
def test_the_scale_makes_vectors_of_any_length_alike(similarity):
    first, second = vectors(5, 0), vectors(5, 1)
    found = [
        similarity.paired(*(similarity.prepared(part * length) for part in (first, second)))
        / similarity.scale(first * length)
        for length in (np.float32(1), np.float32(40))
    ]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4)


@pytest.mark.parametrize(
    ("said", "similarity"),
    [(None, COSINE), ("cosine", COSINE), ("dot", DOT), ("euclidean", EUCLIDEAN), ("manhattan", MANHATTAN)],
)
def test_a_models_config_names_it(small, tmp_path, said, similarity):
    assert resolve(str(copy_with(small, tmp_path / "model", similarity_fn_name=said))).similarity is similarity


def test_an_unknown_one_is_refused(small, tmp_path):
    with pytest.raises(
        ModelError, match="names the similarity 'maxsim', which Sentence Transformers does not have"
    ) as told:
        resolve(str(copy_with(small, tmp_path / "model", similarity_fn_name="maxsim")))
    assert told.value.action == "set its similarity_fn_name to cosine, dot, euclidean, manhattan"
