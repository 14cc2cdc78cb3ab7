"""Grown collections: the same vectors whoever asks, near to where they come from, and kept in a file that survives."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from embedgate.core.errors import GateError
from embedgate.metrics import NotFinite
from embedgate.vectors import corpus
from embedgate.vectors.corpus import Recipe, grow

DIM = 16
TOPICS = 12


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def topics(seed: int = 3) -> np.ndarray:
    """240 vectors about 12 topics, 20 in a row about each: near each other, and far from all other topics."""
    rng = np.random.default_rng(seed)
    centres = np.repeat(np.eye(TOPICS, DIM) * 4, 20, axis=0)
    return unit(centres + rng.standard_normal((TOPICS * 20, DIM)) / 4).astype(np.float32)


@pytest.fixture(scope="module")
def real() -> np.ndarray:
    return topics()


@pytest.fixture(scope="module")
def recipe(real) -> Recipe:
    return Recipe.of(real, seed=5)


@pytest.fixture
def small(monkeypatch) -> None:
    """Chunks of 32, blocks of 64, and files from 300 vectors."""
    monkeypatch.setattr(corpus, "CHUNK", 32)
    monkeypatch.setattr(corpus, "CHUNKS_PER_BLOCK", 2)
    monkeypatch.setattr(corpus, "IN_MEMORY", 300)


def parents(recipe: Recipe, rows: int, n: int) -> np.ndarray:
    """The parents of the first grown vectors, drawn as the module draws them."""
    chunks = -(-rows // corpus.CHUNK)
    drawn = [np.random.default_rng((recipe.seed, c)).integers(0, n, corpus.CHUNK) for c in range(chunks)]
    return np.concatenate(drawn)[:rows]


# Recipes


def test_neighbours_are_the_nearest_others(real, recipe):
    cosines = real.astype(np.float64) @ real.T.astype(np.float64)
    np.fill_diagonal(cosines, -2)
    assert recipe.neighbours.dtype == np.int32
    assert recipe.neighbours.shape == (240, 16)
    assert np.array_equal(recipe.neighbours, np.argsort(-cosines, axis=1)[:, :16])


@pytest.mark.parametrize(("n", "width"), [(2, 1), (3, 2), (16, 15), (17, 16), (240, 16)])
def test_as_many_neighbours_as_there_are(real, n, width):
    found = Recipe.of(real[:n]).neighbours
    assert found.shape == (n, width)
    assert all(row not in listed for row, listed in enumerate(found))


def test_copies_are_nobodys_neighbours(real):
    doubled = np.concatenate([real, real[:50]])
    found = Recipe.of(doubled).neighbours
    assert found.max() < 240
    # A copy may have its original as a neighbour; every other list is what it was.
    assert np.array_equal(found[:240], Recipe.of(real).neighbours)
    assert found[240:, 0].tolist() == list(range(50))


def test_too_few_vectors_are_said(real):
    with pytest.raises(ValueError, match="1 different vectors are too few to grow; 2 are the fewest"):
        Recipe.of(np.concatenate([real[:1], real[:1]]))
    with pytest.raises(ValueError, match="0 different vectors"):
        Recipe.of(real[:0])


def test_identity_is_of_neighbours_seed_and_method(real, recipe, monkeypatch):
    assert Recipe.of(real, seed=5).sha256 == recipe.sha256
    others = {Recipe.of(real, seed=6).sha256, Recipe.of(topics(4), seed=5).sha256}
    monkeypatch.setattr(corpus, "METHOD", 2)
    others.add(recipe.sha256)
    assert len(others | {Recipe(recipe.neighbours, 5).sha256}) == 3
    monkeypatch.undo()
    assert recipe.sha256 not in others


# Grown vectors


def test_the_same_whoever_asks(real, recipe):
    assert np.array_equal(grow(real, recipe, 5000), grow(real.copy(), Recipe.of(real, seed=5), 5000))
    assert not np.array_equal(grow(real, recipe, 5000), grow(real, Recipe.of(real, seed=6), 5000))


@pytest.mark.parametrize("size", [0, 7, 240, 241, 240 + 2048, 240 + 2049, 6000])
def test_a_row_does_not_depend_on_the_size(real, recipe, size):
    assert np.array_equal(grow(real, recipe, size), grow(real, recipe, 7001)[:size])


def test_real_vectors_come_first_unchanged(real, recipe):
    grown = grow(real, recipe, 1000)
    assert grown.dtype == np.float32
    assert grown.shape == (1000, DIM)
    assert np.array_equal(grown[:240], real)


def test_a_row_comes_from_the_same_texts_in_every_combination(real, recipe):
    noise = np.random.default_rng(1).standard_normal(real.shape) * 0.002
    other = unit(real + noise).astype(np.float32)
    cosines = np.einsum("ij,ij->i", grow(real, recipe, 3000), grow(other, recipe, 3000))
    assert cosines.min() > 0.998
    # By a recipe of its own embeddings it would not.
    cosines = np.einsum("ij,ij->i", grow(real, recipe, 3000), grow(other, Recipe.of(other, seed=5), 3000))
    assert cosines.min() < 0.99


def test_a_grown_vector_has_its_parents_length(real, recipe):
    lengths = np.random.default_rng(2).uniform(0.5, 20, len(real)).astype(np.float32)
    scaled = real * lengths[:, None]
    grown = grow(scaled, recipe, 2000)
    expected = lengths[parents(recipe, 1760, 240)]
    assert np.allclose(np.linalg.norm(grown[240:], axis=1), expected, rtol=1e-5)
    # Directions do not depend on lengths.
    assert np.allclose(unit(grown), grow(real, recipe, 2000), atol=1e-5)


def test_a_vector_without_length_spoils_no_other(real, recipe):
    holed = real.copy()
    holed[17] = 0
    grown = grow(holed, recipe, 4000)
    assert np.isfinite(grown).all()
    from_hole = parents(recipe, 3760, 240) == 17
    assert from_hole.any()
    assert np.array_equal(~grown[240:].any(axis=1), from_hole)
    # By such a reference, it would be grown from like any other.
    assert corpus._originals(holed).tolist() == list(range(240))


def test_a_grown_vector_is_near_its_parent(real, recipe):
    grown = grow(real, recipe, 4240)[240:]
    drawn = parents(recipe, 4000, 240)
    nearest = np.argmax(grown @ real.T, axis=1)
    # All 16 neighbours are of the parent's topic of 20; only the widest movements leave it.
    assert np.mean(nearest // 20 == drawn // 20) > 0.99
    # Its parent itself for many, but far from all: it would be if nothing were moved.
    assert 0.2 < np.mean(nearest == drawn) < 0.8


def test_no_movement_cancels_the_parent_out():
    # 40 vectors at right angles to each other: a movement along the parent would be as long as the parent is.
    apart = np.eye(40, dtype=np.float32)
    recipe = Recipe.of(apart)
    cosines = np.einsum("ij,ij->i", grow(apart, recipe, 5040)[40:], apart[parents(recipe, 5000, 40)])
    assert cosines.min() > 0.1


def test_children_have_the_covariance_of_their_neighbourhood():
    rng = np.random.default_rng(0)
    spread = np.array([0.1, 0.05, 0.01] + [0.0001] * 13)
    cloud = unit(np.eye(1, DIM) * 3 + np.roll(rng.standard_normal((300, DIM)) * spread, 1, axis=1)).astype(np.float32)
    recipe = Recipe.of(cloud)
    grown = grow(cloud, recipe, 40_300)[300:]
    moved = grown - cloud[parents(recipe, 40_000, 300)]
    # A width uniform up to 3.2 has a mean square of 3.2^2 / 3.
    around = cloud[recipe.neighbours] - cloud[:, None]
    expected = np.sqrt(np.square(around).mean(axis=(0, 1)) * 3.2**2 / 3)
    assert np.allclose(np.sqrt(np.square(moved).mean(axis=0))[1:4], expected[1:4], rtol=0.05)
    assert np.square(moved).sum(axis=0)[4:].max() < np.square(moved).sum(axis=0)[3] / 100


def test_vectors_of_a_low_dimension_stay_in_it():
    rng = np.random.default_rng(0)
    flat = unit(rng.standard_normal((500, 3)) @ rng.standard_normal((3, 64))).astype(np.float32)
    grown = grow(flat, Recipe.of(flat), 3000)
    assert np.linalg.matrix_rank(grown, tol=1e-2) == 3


def test_no_vector_is_grown_twice(real, recipe):
    assert len(np.unique(grow(real, recipe, 20_000), axis=0)) == 20_000


def test_not_finite_vectors_are_named(real, recipe):
    broken = real.copy()
    broken[[3, 9], 1] = np.nan, np.inf
    with pytest.raises(NotFinite, match="2 of the embeddings hold NaN or infinity: rows 3, 9"):
        grow(broken, recipe, 1000)
    with pytest.raises(NotFinite, match="reference embeddings"):
        Recipe.of(broken)


def test_a_recipe_for_others_is_refused(real, recipe):
    with pytest.raises(ValueError, match="a recipe for 240 vectors, but 100 vectors"):
        grow(real[:100], recipe, 1000)


# In a file


class Interrupting:
    """Takes progress, and interrupts at its n-th line."""

    def __init__(self, at: int = 0) -> None:
        self.at = at
        self.lines: list[str] = []

    def __call__(self, line: str) -> None:
        self.lines.append(line)
        if len(self.lines) == self.at:
            raise KeyboardInterrupt


def test_a_file_holds_what_memory_would(small, real, recipe, tmp_path):
    progress = Interrupting()
    found = grow(real, recipe, 500, folder=tmp_path / "new", progress=progress)
    assert np.array_equal(found, grow(real, recipe, 500))
    assert progress.lines == [f"grown {n} of 500 vectors" for n in (304, 368, 432, 496, 500)]
    assert not found.flags.writeable
    assert isinstance(found.base, np.memmap)


def test_few_vectors_need_no_file(small, real, recipe, tmp_path):
    grow(real, recipe, 300, folder=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_complete_file_is_used_again(small, real, recipe, tmp_path, monkeypatch):
    first = grow(real, recipe, 500, folder=tmp_path)
    monkeypatch.setattr(corpus, "_chunks", lambda *_: pytest.fail("it grew again"))
    assert np.array_equal(grow(real, recipe, 500, folder=tmp_path, progress=pytest.fail), first)


def test_an_interrupted_one_goes_on(small, real, recipe, tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        grow(real, recipe, 500, folder=tmp_path, progress=Interrupting(2))
    # What a kill leaves: half a chunk beyond what was noted.
    with (tmp_path / "corpus.npy").open("ab") as stream:
        stream.write(b"x" * 1000)
    progress, chunks, began = Interrupting(), corpus._chunks, []
    monkeypatch.setattr(corpus, "_chunks", lambda *args: began.append(args[3]) or chunks(*args))
    found = grow(real, recipe, 500, folder=tmp_path, progress=progress)
    assert began == [4]
    assert progress.lines[:2] == ["growing goes on after 368 of 500 vectors", "grown 432 of 500 vectors"]
    assert np.array_equal(found, chunked(real, recipe, 500, chunks))


def chunked(real, recipe, size, chunks) -> np.ndarray:
    return np.concatenate([real, *(vectors for *_, vectors in chunks(real, recipe, size))])


def test_another_collection_begins_anew(small, real, recipe, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        grow(real, recipe, 500, folder=tmp_path, progress=Interrupting(2))
    nudged = real.copy()
    nudged[100, 3] = np.nextafter(nudged[100, 3], np.float32(2))
    other = Recipe(recipe.neighbours, 6)
    # Each differs from the one before in one thing.
    for vectors, by, size in (
        (nudged, recipe, 500),
        (nudged, other, 500),
        (nudged, other, 600),
        (nudged, other, 500),
        (np.ascontiguousarray(nudged[:, :8]), other, 500),
    ):
        progress = Interrupting()
        found = grow(vectors, by, size, folder=tmp_path, progress=progress)
        assert progress.lines[0] == f"grown 304 of {size} vectors"
        assert np.array_equal(found, grow(vectors, by, size))


def test_another_method_begins_anew(small, real, recipe, tmp_path, monkeypatch):
    grow(real, recipe, 500, folder=tmp_path)
    monkeypatch.setattr(corpus, "METHOD", 2)
    progress = Interrupting()
    grow(real, recipe, 500, folder=tmp_path, progress=progress)
    assert progress.lines[0] == "grown 304 of 500 vectors"


def test_who_reads_a_deleted_one_reads_on(small, real, recipe, tmp_path):
    first = grow(real, recipe, 500, folder=tmp_path)
    grow(real, recipe, 600, folder=tmp_path)
    assert np.array_equal(first, grow(real, recipe, 500))


@pytest.mark.parametrize(
    "record",
    [
        "",
        "{",
        "[]",
        "null",
        '{"key": 1}',
        '{"key": "KEY", "chunks": "many", "bytes": 1}',
        "\N{GREEK SMALL LETTER ALPHA}",
    ],
)
def test_a_corrupt_record_begins_anew(small, real, recipe, tmp_path, record):
    grow(real, recipe, 500, folder=tmp_path)
    key = json.loads((tmp_path / "corpus.json").read_text())["key"]
    (tmp_path / "corpus.json").write_bytes(record.replace("KEY", key).encode("utf-16" if record > "~" else "utf-8"))
    progress = Interrupting()
    found = grow(real, recipe, 500, folder=tmp_path, progress=progress)
    assert progress.lines[0] == "grown 304 of 500 vectors"
    assert np.array_equal(found, grow(real, recipe, 500))


@pytest.mark.parametrize("file", ["corpus.npy", "corpus.json"])
def test_a_missing_or_short_file_begins_anew(small, real, recipe, tmp_path, file):
    grow(real, recipe, 500, folder=tmp_path)
    (tmp_path / file).write_bytes((tmp_path / file).read_bytes()[:-5])
    assert np.array_equal(grow(real, recipe, 500, folder=tmp_path), grow(real, recipe, 500))
    (tmp_path / file).unlink()
    assert np.array_equal(grow(real, recipe, 500, folder=tmp_path), grow(real, recipe, 500))


def test_a_full_disk_is_said_before_it_begins(small, real, recipe, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(2**40, 2**40 - 2**20, 2**20))
    with pytest.raises(GateError) as raised:
        grow(real, recipe, 500, folder=tmp_path)
    assert raised.value.cause == f"{tmp_path} has 1 MiB free, but 500 vectors of 16 dimensions need 16 MiB"
    assert "--gate-cache" in raised.value.action
    assert "--gate-corpus-size" in raised.value.action
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "corpus.npy").exists()


def test_a_disk_that_gets_full_is_said_in_one_line(small, real, recipe, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(corpus.os, "fsync", full)
    with pytest.raises(
        GateError, match=r"corpus.npy cannot be written: No space left on device; free some space, or give another"
    ) as raised:
        grow(real, recipe, 500, folder=tmp_path)
    assert "\n" not in str(raised.value)
    monkeypatch.undo()
    assert np.array_equal(grow(real, recipe, 500, folder=tmp_path), grow(real, recipe, 500))


def test_a_folder_that_cannot_be_made_is_said(small, real, recipe, tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(GateError, match="cannot be written"):
        grow(real, recipe, 500, folder=tmp_path / "taken")


def test_a_second_process_waits(small, real, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "LOCK_SECONDS", 0.1)
    progress = Interrupting()
    with (
        FileLock(tmp_path / "corpus.lock"),
        pytest.raises(GateError, match="another process has been growing") as raised,
    ):
        grow(real, recipe, 500, folder=tmp_path, progress=progress)
    assert "\n" not in str(raised.value)
    assert progress.lines == [f"another process grows vectors in {tmp_path}: waiting for it"]
    assert list(Path(tmp_path).glob("corpus.npy")) == []
    grow(real, recipe, 500, folder=tmp_path)


def test_a_million_rows_need_no_memory_of_their_own(small, real, recipe, tmp_path):
    import tracemalloc

    tracemalloc.start()
    grow(real, recipe, 60_000, folder=tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60_000 * DIM * 4 / 4


@pytest.mark.parametrize("name", ["corpus.npy", "corpus.json"])
def test_nothing_is_written_through_a_link(small, real, recipe, tmp_path, name):
    """A folder that several people write to can hold one."""
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / name).symlink_to(tmp_path / "precious")
    assert np.array_equal(grow(real, recipe, 500, folder=tmp_path / "kept"), grow(real, recipe, 500))
    assert (tmp_path / "precious").read_bytes() == b"precious"
