"""Stored vectors row by row: a text, its role, and what is stored of it. Each kind of store reads them in its way."""

from __future__ import annotations

import reprlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from embedgate.core.errors import DataError
from embedgate.core.roles import DOCUMENT, QUERY, Input

Codes = npt.NDArray[Any]
# Names of columns, the best first, in lower case and without what is no letter and no digit.
TEXTS = ("text", "sentence", "document", "passage", "chunk", "content", "pagecontent", "body")
VECTORS = ("vector", "embedding", "embeddings", "vectors", "emb", "densevector", "dense")
ROLE = "role"
KNOWN_ROLES = (DOCUMENT, QUERY)


@dataclass(frozen=True, eq=False)
class Rows:
    """Some rows of a store.

    Attributes:
        numbers: Their places in it, counted from 0 and ascending, int64 `[n]`.
        inputs: Their texts and roles.
        codes: What is stored, in its own type, `[n, width]`.
    """

    numbers: npt.NDArray[np.int64]
    inputs: tuple[Input, ...]
    codes: Codes

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True)
class Layout:
    """What a store holds in each row, as its first one or its schema tells.

    Attributes:
        width: Values of a vector.
        dtype: Their type.
        count: Number of rows; None where only reading all of it tells.
    """

    width: int
    dtype: np.dtype[Any]
    count: int | None


class Reader(ABC):
    """Reads a store.

    Attributes:
        origin: What the store is called in messages.
        library: What reads it, with its version.
    """

    origin: str
    library: str

    @abstractmethod
    def layout(self) -> Layout:
        """What it holds, without reading it whole.

        Raises:
            GateError: If there is no such store, or it holds no texts with vectors.
        """

    @abstractmethod
    def take(self, numbers: Sequence[int]) -> Rows:
        """Rows by their numbers, ascending; those beyond the store are left out.

        Raises:
            GateError: If one of them is malformed.
        """

    def draw(self, most: int, seed: int) -> tuple[Rows, int]:
        """Rows at random, as many as are asked for or all there are; and how many there are.

        Raises:
            GateError: If one of them is malformed.
        """
        count = self.layout().count
        assert count is not None, "a reader that cannot tell draws in its own way"
        return self.take(drawn(count, most, seed)), count

    def name(self, number: int) -> str:
        """What a row is called in a message; rows are counted from 1."""
        return f"row {number + 1}"


def drawn(count: int, most: int, seed: int) -> list[int]:
    """Numbers of rows at random, ascending: all of them where there are no more."""
    if count <= most:
        return list(range(count))
    found = np.random.default_rng((seed, count)).choice(count, most, replace=False)
    return sorted(found.tolist())


def vectors_of(values: Sequence[object], width: int, dtype: np.dtype[Any], places: Sequence[str]) -> Codes:
    """Vectors as one matrix, `[n, width]`.

    Args:
        values: Lists of numbers.
        width: How many each must have.
        dtype: Their type.
        places: Where each stands, for messages.

    Raises:
        DataError: If one is no list of so many numbers.
    """
    matrix = np.empty((len(values), width), dtype=dtype)
    for row, (value, place) in enumerate(zip(values, places, strict=True)):
        found = vector_of(value, place)
        if len(found) != width:
            raise DataError(f"{place}: a vector of {len(found)} numbers, others have {width}", "store them anew")
        if found.dtype != matrix.dtype and dtype.kind != "f" and not np.array_equal(found, found.astype(dtype)):
            raise DataError(f"{place}: a vector with values that are no {dtype}", "correct precision=")
        with np.errstate(over="ignore"):  # what is beyond the type is infinite, which its check tells
            matrix[row] = found
    return matrix


def vector_of(value: object, place: str) -> Codes:
    """A vector, `[width]`.

    Raises:
        DataError: If it is none.
    """
    try:
        found = np.asarray(value)
    except ValueError:  # lists of several lengths in it
        found = np.empty((), dtype=object)
    if value is None or found.ndim != 1 or not found.size or found.dtype.kind not in "fiu":
        raise DataError(f"{place}: no vector of numbers", "give a list of numbers in each row, or leave the row out")
    return found


def role_of(value: object, place: str) -> str:
    """A row's role.

    Raises:
        DataError: If it is none of a store's.
    """
    if value not in KNOWN_ROLES:
        cause = f"{place}: its role is {reprlib.repr(value)}, not document or query"
        raise DataError(cause, "correct it, or give role=document or role=query for all")
    return str(value)
