"""The embeddings of one combination."""

from __future__ import annotations

import numpy as np
import pytest

from embedgate.core.embeddings import Embeddings
from embedgate.core.roles import Input
from embedgate.core.similarity import DOT


@pytest.fixture
def embeddings() -> Embeddings:
    matrix = np.random.default_rng(0).standard_normal((50, 37)).astype(np.float32)
    return Embeddings([Input(f"text {row}", "") for row in range(50)], matrix)


def test_rows_are_of_length_1_to_the_same_bits_as_all_together(embeddings):
    rows = np.array([3, 49, 3, 0])
    assert np.array_equal(embeddings.unit(rows), embeddings.normalised[rows])
    assert np.array_equal(embeddings.of(["text 49", "text 3"]), embeddings.normalised[[49, 3]])


def test_where_lengths_count_rows_are_as_the_encoder_gave_them(embeddings):
    dot = Embeddings(embeddings.inputs, embeddings.matrix, DOT)
    assert np.array_equal(dot.of(["text 7"]), embeddings.matrix[[7]])


def test_holds_each_vector_once(embeddings):
    """A session keeps those of every combination."""
    embeddings.of(["text 1"])
    held = [value.nbytes for value in vars(embeddings).values() if isinstance(value, np.ndarray)]
    assert held == [embeddings.matrix.nbytes]
