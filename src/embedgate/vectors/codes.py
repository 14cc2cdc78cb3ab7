"""Codes: embeddings as they are stored, by Sentence Transformers' `quantize_embeddings`, and back.

An int8 or uint8 code is the number of a step between a dimension's least and greatest value, its *ranges*, which are
taken from calibration vectors; a binary one is the sign. What is stored is normalised first, so that the inner product
is the cosine.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from embedgate.core.errors import GateError, one_line
from embedgate.metrics import Matrix
from embedgate.vectors.storage import EmbeddingPrecision

Array = npt.NDArray[Any]
STEPS = 255
# A step's rounding, as a share of it.
WITHIN_STEP = 1.01
LARGEST_FLOAT16 = float(np.finfo(np.float16).max)
# Vectors that are quantized at a time, so that a million need little more than their codes.
CHUNK = 2**16
NEEDS_RANGES = ("int8", "uint8")
BITS = ("binary", "ubinary")


@dataclass(frozen=True, eq=False)
class Ranges:
    """The least and greatest value of each dimension that 8-bit codes can tell.

    Attributes:
        low: The least, float32 `[dim]`.
        high: The greatest, float32 `[dim]`.
        vectors: Number of calibration vectors they were taken from; 0 where that is not known.
    """

    low: Matrix
    high: Matrix
    vectors: int

    @classmethod
    def of(cls, calibration: Matrix) -> Ranges:
        """The ranges of calibration vectors, float32 `[n, dim]`."""
        return cls(calibration.min(axis=0), calibration.max(axis=0), len(calibration))

    @classmethod
    def load(cls, file: Path, dim: int) -> Ranges:
        """Ranges from a file as Sentence Transformers takes them, floats `[2, dim]` in NumPy's format.

        Raises:
            GateError: If it is none, or of other dimensions.
        """
        try:
            # Mapped, so that a header cannot ask for more memory than the file has; no pickle and no archive.
            both = np.lib.format.open_memmap(file, mode="r")
        except Exception as error:  # NumPy reads the header as Python: anything may come of it
            raise GateError(
                f"{file} cannot be read: {one_line(error)}", "save ranges [2, dim] by numpy.save"
            ) from error
        if both.shape != (2, dim) or both.dtype.kind != "f":
            cause = f"{file} holds {both.dtype} {both.shape}, not the ranges of {dim} dimensions"
            raise GateError(cause, f"save floats of shape (2, {dim})")
        if not (np.abs(both) <= np.finfo(np.float32).max).all():
            raise GateError(f"{file} holds NaN, or values beyond float32", "take the ranges anew from sound vectors")
        if (both[0] > both[1]).any():
            raise GateError(f"{file} has a least value above its greatest", "save low in row 0, high in row 1")
        return cls(both[0].astype(np.float32), both[1].astype(np.float32), 0)

    def hold(self, vectors: Matrix) -> npt.NDArray[np.bool_]:
        """Which values of vectors they do not cut off, bool `[n, dim]`."""
        return np.asarray((vectors >= self.low) & (vectors <= self.high))

    @property
    def both(self) -> Matrix:
        """As `quantize_embeddings` takes them, float32 `[2, dim]`."""
        return np.stack([self.low, self.high])

    @property
    def step(self) -> Matrix:
        """The size of one step of a code, float32 `[dim]`; 1 where a dimension is constant, as the library has it."""
        step = (self.high - self.low) / np.float32(STEPS)
        return np.where(step == 0, np.float32(1), step).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Codes:
    """Documents as they are stored.

    Attributes:
        precision: Their embedding precision.
        matrix: A row per document: float32, float16, int8 or uint8 `[n, dim]`; of bits int8 or uint8 `[n, dim / 8]`,
            the first dimension in the highest bit.
        dim: Number of dimensions.
        ranges: What 8-bit codes are steps of; None for all others.
    """

    precision: EmbeddingPrecision
    matrix: Array
    dim: int
    ranges: Ranges | None = None

    def __len__(self) -> int:
        return len(self.matrix)

    @property
    def bytes_per_vector(self) -> int:
        """Bytes that one vector is stored in."""
        return int(self.matrix.shape[1] * self.matrix.itemsize)


def stored(vectors: Matrix, precision: EmbeddingPrecision, ranges: Ranges | None = None) -> Codes:
    """Documents as they are stored.

    Args:
        vectors: Normalised vectors, float32 `[n, dim]`.
        precision: The embedding precision.
        ranges: What 8-bit codes are steps of.
    """
    if precision == "float32":
        return Codes(precision, vectors, vectors.shape[1])
    matrix: Array | None = None
    for start in range(0, len(vectors), CHUNK):
        part = quantize(np.asarray(vectors[start : start + CHUNK]), precision, ranges)
        if matrix is None:
            matrix = np.empty((len(vectors), part.shape[1]), dtype=part.dtype)
        matrix[start : start + len(part)] = part
    assert matrix is not None, "there are documents"
    return Codes(precision, matrix, vectors.shape[1], ranges)


def quantize(vectors: Matrix, precision: EmbeddingPrecision, ranges: Ranges | None = None) -> Array:
    """Codes of vectors.

    Args:
        vectors: Normalised vectors, float32 `[n, dim]`.
        precision: The embedding precision.
        ranges: What 8-bit codes are steps of.

    Raises:
        ValueError: If 8-bit codes have no ranges: the library would take them from the batch in hand, so that the same
            text has another code in each batch.
    """
    if precision == "float32":
        return np.asarray(vectors, dtype=np.float32)
    if precision == "float16":
        return vectors.astype(np.float16)
    if precision in NEEDS_RANGES and ranges is None:
        raise ValueError(f"{precision} codes need ranges")
    from sentence_transformers.util import quantize_embeddings

    return np.asarray(quantize_embeddings(vectors, precision, ranges=ranges.both if ranges else None))


def decode(matrix: Array, precision: EmbeddingPrecision, dim: int, ranges: Ranges | None = None) -> Matrix:
    """Vectors that codes stand for, as Sentence Transformers' rescoring decodes them, float32 `[..., dim]`.

    A step stands for its lower end, and a bit for 1 or -1; both only move every inner product of a query alike or
    stretch it, so the order is that of the middle of each step, and of bits as 0 and 1.

    Args:
        matrix: Codes, `[..., width]`.
        precision: Their embedding precision.
        dim: Number of dimensions.
        ranges: What 8-bit codes are steps of.
    """
    if precision in BITS:
        bits = np.unpackbits(unsigned(matrix, precision), axis=-1, count=dim)
        return bits.astype(np.float32) * 2 - 1
    if precision in NEEDS_RANGES:
        assert ranges is not None, "8-bit codes have ranges"
        return unsigned(matrix, precision).astype(np.float32) * ranges.step + ranges.low
    return matrix.astype(np.float32)


def unsigned(matrix: Array, precision: EmbeddingPrecision) -> npt.NDArray[np.uint8]:
    """Codes of one byte without the offset of 128 that int8 and binary have, uint8."""
    return (matrix.view(np.uint8) ^ np.uint8(128)) if precision in ("int8", "binary") else matrix


def codes_fault(vectors: Matrix, precision: EmbeddingPrecision, ranges: Ranges) -> str | None:
    """Tells what is wrong with the codes of vectors; None where they say what the vectors say.

    Args:
        vectors: Normalised vectors, float32 `[n, dim]`.
        precision: Their embedding precision.
        ranges: What 8-bit codes are steps of.
    """
    codes = quantize(vectors, precision, ranges if precision in NEEDS_RANGES else None)
    dim = vectors.shape[1]
    width = -(-dim // 8) if precision in BITS else dim
    kind = {"float32": "float32", "float16": "float16", "int8": "int8", "binary": "int8"}.get(precision, "uint8")
    if codes.shape != (len(vectors), width) or codes.dtype != kind:
        return f"{precision} codes are {codes.dtype} {codes.shape}, not {kind} {(len(vectors), width)}"
    twin: EmbeddingPrecision | None = {"int8": "uint8", "binary": "ubinary"}.get(precision)  # type: ignore[assignment]
    if twin and not np.array_equal(unsigned(codes, precision), quantize(vectors, twin, ranges)):
        return f"{precision} and {twin} codes differ by more than their offset"
    decoded = decode(codes, precision, dim, ranges)
    if precision in BITS:
        right = float(((decoded > 0) == (vectors > 0)).mean())
        if right == 1:
            return None
        turned = np.unpackbits(unsigned(codes, precision), axis=-1, count=dim, bitorder="little")
        if ((turned > 0) == (vectors > 0)).all():
            return "bits are packed in the wrong order: the first dimension is in the lowest bit"
        return f"{1 - right:.2%} of the bits are not the sign of their dimension"
    within = ranges.hold(vectors) if precision in NEEDS_RANGES else True
    if precision == "float16" and (beyond := float((np.abs(vectors) > LARGEST_FLOAT16).mean())):
        return f"{beyond:.2%} of the values are beyond what float16 can hold, {LARGEST_FLOAT16:.0f}"
    wrong = np.abs(decoded - vectors) > WITHIN_STEP * _unit(vectors, precision, ranges) + np.float32(1e-6)
    share = float((wrong & within).mean())
    return f"{share:.2%} of the {precision} codes are more than a step from their value" if share else None


def _unit(vectors: Matrix, precision: EmbeddingPrecision, ranges: Ranges) -> Matrix | np.float32:
    """The step between a code and the next one: float16's grow with the value."""
    if precision in NEEDS_RANGES:
        return np.asarray(ranges.step, dtype=np.float32)
    if precision == "float16":
        # Above half the largest, the next one would be infinity.
        return np.spacing(np.clip(np.abs(vectors), 0, LARGEST_FLOAT16 / 2).astype(np.float16)).astype(np.float32)
    return np.float32(0)
