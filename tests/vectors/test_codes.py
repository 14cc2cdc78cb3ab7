"""Codes say what vectors say, as Sentence Transformers makes them; what is wrong with them is named."""

from __future__ import annotations

import re

import numpy as np
import pytest
from sentence_transformers.util import quantize_embeddings

from embedgate.core.errors import GateError
from embedgate.vectors import codes
from embedgate.vectors.codes import Ranges, codes_fault, decode, quantize, stored, unsigned
from embedgate.vectors.measure import within_ranges
from embedgate.vectors.storage import EMBEDDING_PRECISIONS


def vectors(rows: int = 300, dim: int = 40, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


@pytest.mark.parametrize("precision", [p for p in EMBEDDING_PRECISIONS if p != "float16"])
def test_codes_are_sentence_transformers(precision):
    documents = vectors()
    ranges = Ranges.of(documents)
    theirs = quantize_embeddings(documents, precision, ranges=ranges.both)
    mine = quantize(documents, precision, ranges)
    assert mine.dtype == theirs.dtype
    assert np.array_equal(mine, theirs)


@pytest.mark.parametrize("precision", EMBEDDING_PRECISIONS)
def test_documents_are_stored_chunk_by_chunk_as_at_once(monkeypatch, precision):
    documents = vectors()
    ranges = Ranges.of(documents)
    monkeypatch.setattr(codes, "CHUNK", 7)
    kept = stored(documents, precision, ranges)
    assert np.array_equal(kept.matrix, quantize(documents, precision, ranges))
    assert len(kept) == 300
    assert kept.bytes_per_vector == {"float32": 160, "float16": 80, "int8": 40, "uint8": 40}.get(precision, 5)


@pytest.mark.parametrize("precision", ["int8", "uint8"])
def test_eight_bits_need_ranges_of_their_own(precision):
    """The library would take them from the batch, and the same text would have another code in each."""
    with pytest.raises(ValueError, match="codes need ranges"):
        quantize(vectors(), precision)


@pytest.mark.parametrize("precision", ["int8", "uint8"])
def test_a_step_off_at_most(precision):
    documents = vectors()
    ranges = Ranges.of(documents)
    decoded = decode(quantize(documents, precision, ranges), precision, 40, ranges)
    assert (np.abs(decoded - documents) <= 1.01 * ranges.step).all()
    assert np.abs(decoded - documents).max() > 0.5 * ranges.step.min(), "an empty test"


@pytest.mark.parametrize("precision", ["binary", "ubinary"])
def test_bits_are_signs(precision):
    documents = vectors(dim=37)  # the last byte is padded
    assert np.array_equal(decode(quantize(documents, precision), precision, 37), np.where(documents > 0, 1, -1))


def test_twins_differ_by_their_offset():
    documents = vectors()
    ranges = Ranges.of(documents)
    for one, other in (("int8", "uint8"), ("binary", "ubinary")):
        assert np.array_equal(unsigned(quantize(documents, one, ranges), one), quantize(documents, other, ranges))


@pytest.mark.parametrize("precision", EMBEDDING_PRECISIONS)
def test_sound_codes_have_no_fault(precision):
    documents = vectors()
    assert codes_fault(documents, precision, Ranges.of(documents)) is None
    assert codes_fault(documents, precision, Ranges.of(documents[:10])) is None, "values cut off are the ranges' fault"


def wrong_order(found: np.ndarray) -> np.ndarray:
    turned = np.packbits(np.unpackbits(found.view(np.uint8), axis=-1), axis=-1, bitorder="little")
    return turned.view(found.dtype)


@pytest.mark.parametrize(
    ("precision", "broken", "cause"),
    [
        ("ubinary", wrong_order, "bits are packed in the wrong order: the first dimension is in the lowest bit"),
        ("ubinary", np.invert, "100.00% of the bits are not the sign"),
        ("binary", lambda found: found.view(np.uint8), "binary codes are uint8"),
        ("int8", lambda found: found[:, ::-1].copy(), "of the int8 codes are more than a step from their value"),
        ("uint8", lambda found: found[:, :-1], r"uint8 codes are uint8 \(300, 39\), not uint8 \(300, 40\)"),
        ("float16", lambda found: (found * 1.02).astype(np.float16), "of the float16 codes are more than a step"),
    ],
)
def test_broken_codes_are_named(monkeypatch, precision, broken, cause):
    documents = vectors()
    sound = quantize

    def quantize_broken(matrix, kind, ranges=None):
        if kind in ("uint8", "ubinary") and kind != precision:  # the twin breaks in the same way
            return unsigned(broken(sound(matrix, precision, ranges)), precision)
        return broken(sound(matrix, kind, ranges))

    monkeypatch.setattr(codes, "quantize", quantize_broken)
    assert re.search(cause, codes_fault(documents, precision, Ranges.of(documents)) or "none")


@pytest.mark.parametrize("length", [1.0, 12.0, 300.0])
def test_steps_of_float16_grow_with_the_value(length):
    """Vectors that a model does not normalise are of any length, and each value is rounded by its own step."""
    documents = vectors() * np.float32(length)
    assert codes_fault(documents, "float16", Ranges.of(documents)) is None


def test_what_float16_cannot_hold_is_told():
    documents = vectors() * np.float32(1e7)
    assert "are beyond what float16 can hold, 65504" in codes_fault(documents, "float16", Ranges.of(documents))


def test_ranges_of_ten_vectors_cut_off_what_ranges_of_ten_should():
    """2 / (n + 1) of the values, whatever the distribution: what the fewest calibration vectors are chosen by."""
    shares = [
        1 - within_ranges(vectors(seed=seed)[10:], Ranges.of(vectors(seed=seed)[:10])).mean() for seed in range(9)
    ]
    assert np.mean(shares) == pytest.approx(2 / 11, rel=0.1)


class TestFileOfRanges:
    def test_is_read(self, tmp_path):
        ranges = Ranges.of(vectors())
        np.save(tmp_path / "ranges.npy", ranges.both)
        found = Ranges.load(tmp_path / "ranges.npy", 40)
        assert np.array_equal(found.both, ranges.both)
        assert found.vectors == 0, "how many vectors they were taken from is not known"

    @pytest.mark.parametrize(
        ("content", "cause"),
        [
            (None, "cannot be read"),
            (np.zeros((2, 39), np.float32), r"holds float32 \(2, 39\), not the ranges of 40 dimensions"),
            (np.zeros((2, 40), np.int8), "not the ranges of 40 dimensions"),
            (np.array([[1.0] * 40, [0.0] * 40]), "a least value above its greatest"),
            (np.full((2, 40), np.nan), "holds NaN, or values beyond float32"),
            (np.array([[-1e300] * 40, [1e300] * 40]), "holds NaN, or values beyond float32"),
            (np.zeros((2, 40), np.int64), r"holds int64 \(2, 40\), not the ranges of 40 dimensions"),
            (np.array([{}], dtype=object), "cannot be read"),
        ],
    )
    def test_is_refused_in_one_line(self, tmp_path, content, cause):
        file = tmp_path / "ranges.npy"
        if content is not None:
            np.save(file, content)
        with pytest.raises(GateError, match=cause) as told:
            Ranges.load(file, 40)
        assert "\n" not in str(told.value)
        assert str(file) in str(told.value)
