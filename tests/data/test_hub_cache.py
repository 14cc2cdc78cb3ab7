"""A hub dataset without a network: from the cache where it holds the commit that was asked for, else refused."""

from __future__ import annotations

import pytest
from helpers.hub_cache import Put, offline

from embedgate.core.errors import DataError
from embedgate.data import Similarity, load

COMMIT, OTHER = "0123456789abcdef0123456789abcdef01234567", "f" * 40
PAIRS = [{"sentence1": "a", "sentence2": "b", "score": 1.5}, {"sentence1": "c", "sentence2": "d", "score": 3.0}]


@pytest.fixture
def cached(tmp_path, monkeypatch) -> Put:
    return offline(tmp_path, monkeypatch)


def test_a_hub_dataset_is_read_from_the_cache(cached):
    cached("org/name", COMMIT, "default", "test", PAIRS)
    dataset = load(f"hub:org/name@{COMMIT}")
    assert isinstance(dataset, Similarity)
    assert (dataset.version, dataset.first, dataset.grades.tolist()) == (COMMIT, ("a", "c"), [1.5, 3.0])


def test_a_hub_dataset_of_another_commit_is_refused(cached):
    folder = cached("org/name", OTHER, "default", "test", PAIRS)
    with pytest.raises(DataError) as refused:
        load(f"hub:org/name@{COMMIT}")
    assert str(refused.value) == (
        f"hub:org/name@{COMMIT}: the hub is out of reach, and the newest in the cache is of commit {OTHER}; "
        f"load it once with a network, or remove {folder}"
    )


def test_what_is_not_in_the_cache_is_told(cached):
    with pytest.raises(DataError, match="cannot be loaded: Couldn't reach 'org/name' on the Hub"):
        load(f"hub:org/name@{COMMIT}")
