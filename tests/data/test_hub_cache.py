"""A hub dataset without a network: from the cache where it holds the commit that was asked for, else refused."""

from __future__ import annotations

import datasets
import httpx
import pytest
from helpers.hub_cache import Put, offline
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import RepositoryNotFoundError

from embedgate.core.errors import DataError
from embedgate.data import Similarity, load
from embedgate.data.hub_cache import out_of_reach

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


@pytest.fixture
def asked(cached, monkeypatch) -> list[str]:
    """A hub that is out of reach without anyone having said so: what it was asked for."""
    found: list[str] = []

    def ask(self: HfApi, repository: str, **options: object) -> None:
        found.append(repository)
        raise OSError("no route to host")

    monkeypatch.setattr(HfApi, "dataset_info", ask)
    for place in OFFLINE:
        monkeypatch.setattr(place, False)
    return found


OFFLINE = ("datasets.config.HF_HUB_OFFLINE", "huggingface_hub.constants.HF_HUB_OFFLINE")


def test_a_hub_that_is_out_of_reach_is_asked_once_and_the_cache_read(cached, asked):
    cached("org/name", COMMIT, "default", "test", PAIRS)
    assert load(f"hub:org/name@{COMMIT}").version == COMMIT
    assert asked == ["org/name"]
    assert not datasets.config.HF_HUB_OFFLINE
    assert not constants.HF_HUB_OFFLINE


def test_a_hub_that_is_out_of_reach_is_named(asked):
    with pytest.raises(DataError) as refused:
        load(f"hub:org/name@{COMMIT}")
    assert str(refused.value) == (
        f"hub:org/name@{COMMIT}: the hub is out of reach (OSError: no route to host), and the cache does not hold it; "
        "load it once where there is a network; with HF_HUB_OFFLINE=1 the cache alone is asked"
    )
    assert asked == ["org/name"]


def test_a_refusal_of_the_hub_is_an_answer(monkeypatch):
    def ask(self: HfApi, repository: str, **options: object) -> None:
        raise RepositoryNotFoundError("401", response=httpx.Response(401, request=httpx.Request("GET", "https://hub")))

    monkeypatch.setattr(HfApi, "dataset_info", ask)
    monkeypatch.setattr(OFFLINE[1], False)
    assert out_of_reach("org/private") == ""
