"""Stored vectors in a table: a Parquet or JSONL file with a column of texts and one of vectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from embedgate.core.distrust import MALFORMED, distrusting
from embedgate.core.errors import DataError, one_line
from embedgate.core.roles import DOCUMENT, Input
from embedgate.data.cells import maybe_blank
from embedgate.data.parts import find
from embedgate.data.rows import Row, Table, bounded, lines, parse_object, shown
from embedgate.deployed.stored.rows import (
    ROLE,
    TEXTS,
    VECTORS,
    Layout,
    Reader,
    Rows,
    role_of,
    vector_of,
    vectors_of,
)

# Rows of a Parquet file that are decoded at a time.
BATCH = 4096


@dataclass(frozen=True)
class Asked:
    """What a person says about a table; empty where they leave it to the table.

    Attributes:
        text: The column of texts.
        vector: The column of vectors.
        role: The role of all texts.
    """

    text: str = ""
    vector: str = ""
    role: str = ""


def column(table: Table, asked: str, usual: Sequence[str]) -> str | None:
    """The column that is asked for, else one of a usual name; None where there is none."""
    if asked:
        return asked if asked in table.columns else None
    found = find(table, usual)
    return found[0] if found else None


def require_column(table: Table, key: str, asked: str, usual: Sequence[str]) -> str:
    """As `column`, of one that must be there.

    Args:
        table: The table.
        key: The key of a candidate that names it.
        asked: The column that is asked for; empty for one of a usual name.
        usual: Names of columns, the best first.

    Raises:
        DataError: If it is not.
    """
    found = column(table, asked, usual)
    if found is None:
        what = f"no column {asked!r}" if asked else f"no column of {key}s"
        raise DataError(f"{table.source} has {what}; it has {shown(table.columns)}", f"name it: {key}=COLUMN")
    return found


@dataclass(frozen=True)
class Columns:
    """The columns that count.

    Attributes:
        text: The column of texts.
        vector: The column of vectors.
        role: The column of roles; empty where all texts have one role.
        all_as: The role of all texts, where there is no column.
    """

    text: str
    vector: str
    role: str
    all_as: str

    @classmethod
    def of(cls, source: str, names: Sequence[str], asked: Asked) -> Columns:
        """Finds them by their names.

        Raises:
            DataError: If one is missing.
        """
        table = Table(source, tuple(names), iter(()))
        role = "" if asked.role or ROLE not in names else ROLE
        text = require_column(table, "text", asked.text, TEXTS)
        return cls(text, require_column(table, "vector", asked.vector, VECTORS), role, asked.role or DOCUMENT)

    @property
    def names(self) -> list[str]:
        """Their names, for a reader that reads no others."""
        return [name for name in (self.text, self.vector, self.role) if name]

    def input(self, row: Mapping[str, object], place: str) -> Input:
        """A row's text and role.

        Raises:
            DataError: If it has no text.
        """
        try:
            text = maybe_blank(row.get(self.text))
        except ValueError as error:
            raise DataError(f"{place}: {self.text!r} {error}", "give each vector its text") from error
        return Input(text, role_of(row.get(self.role), place) if self.role else self.all_as)


class ParquetRows(Reader):
    """Reads a Parquet file, of which two columns are decoded a few thousand rows at a time.

    Args:
        path: The file.
        asked: What a person says about it.
    """

    def __init__(self, path: Path, asked: Asked) -> None:
        self.origin = str(path)
        self._path = path
        self._asked = asked

    @cached_property
    def _file(self) -> Any:
        try:
            from pyarrow import ArrowException
            from pyarrow.parquet import ParquetFile
        except ImportError as error:
            raise DataError(f"{self.origin}: Parquet needs pyarrow", "pip install 'embedgate[parquet]'") from error
        self.library = f"pyarrow {version('pyarrow')}"
        with distrusting(DataError, f"{self.origin}: not a Parquet file", "write it anew", ArrowException, OSError):
            found = ParquetFile(self._path)
            _ = found.schema_arrow.names
            return found

    @cached_property
    def _columns(self) -> Columns:
        return Columns.of(self.origin, self._file.schema_arrow.names, self._asked)

    def layout(self) -> Layout:
        """What it holds, by its schema and first row; see `Reader.layout`."""
        count = self._file.metadata.num_rows
        if count <= 0:
            raise DataError(f"{self.origin}: holds no rows", "give the file that holds the vectors")
        kind = self._file.schema_arrow.field(self._columns.vector).type
        dtype = _type_in(kind)
        if dtype is None:
            step = "store a list of numbers in each row, or name another column: vector=COLUMN"
            raise DataError(f"{self.origin}: column {self._columns.vector!r} holds {kind}, not vectors", step)
        _, first = next(self._read([0]), (0, {}))
        width = len(vector_of(first.get(self._columns.vector), self._place(0)))
        return Layout(width, dtype, count)

    def take(self, numbers: Sequence[int]) -> Rows:
        """Rows by their numbers; see `Reader.take`."""
        layout = self.layout()
        wanted = [number for number in numbers if 0 <= number < (layout.count or 0)]
        found = list(self._read(wanted))
        places = [self._place(number) for number, _ in found]
        inputs = [self._columns.input(row, place) for (_, row), place in zip(found, places, strict=True)]
        values = [row[self._columns.vector] for _, row in found]
        codes = vectors_of(values, layout.width, layout.dtype, places)
        return Rows(np.array(wanted, dtype=np.int64), tuple(inputs), codes)

    def _place(self, number: int) -> str:
        return f"{self.origin} {self.name(number)}"

    def _read(self, wanted: Sequence[int]) -> Iterator[tuple[int, Row]]:
        """Rows of ascending numbers, from the row groups that hold them."""
        from pyarrow import ArrowException

        try:
            start = 0
            for group in range(self._file.num_row_groups):
                end = start + self._file.metadata.row_group(group).num_rows
                inside = [number for number in wanted if start <= number < end]
                if inside:
                    yield from self._read_group(group, start, inside)
                start = end
        except (ArrowException, OSError, *MALFORMED) as error:
            raise DataError(f"{self.origin} cannot be read: {one_line(error)}", "write it anew") from error

    def _read_group(self, group: int, start: int, inside: Sequence[int]) -> Iterator[tuple[int, Row]]:
        size = min(BATCH, inside[-1] - start + 1)
        names = self._columns.names
        for batch in bounded(self._path, self._file.iter_batches(batch_size=size, row_groups=[group], columns=names)):
            here = [number for number in inside if start <= number < start + len(batch)]
            if here:
                rows = batch.select(names).take([number - start for number in here])
                yield from zip(here, rows.to_pylist(), strict=True)
            start += len(batch)
            if start > inside[-1]:
                return


def _type_in(kind: Any) -> np.dtype[Any] | None:
    """The type of the numbers in a column of lists; None where there are none."""
    try:
        found = np.dtype(kind.value_type.to_pandas_dtype())
    except (AttributeError, NotImplementedError, TypeError):
        return None
    return found if found.kind in "fiu" else None


class JsonRows(Reader):
    """Reads a file of one JSON object a line, streamed: what is not drawn is not parsed.

    Args:
        path: The file.
        asked: What a person says about it.
        dtype: The type of its numbers; None where the first vector tells.
    """

    library = "json"

    def __init__(self, path: Path, asked: Asked, dtype: np.dtype[Any] | None = None) -> None:
        self.origin = str(path)
        self._path = path
        self._asked = asked
        self._dtype = dtype

    @cached_property
    def _first(self) -> tuple[int, Mapping[str, object]]:
        for number, line in self._lines():
            return number, parse_object(self._path, number + 1, line)
        raise DataError(f"{self.origin}: holds no rows", "give the file that holds the vectors")

    @cached_property
    def _columns(self) -> Columns:
        return Columns.of(self.origin, tuple(self._first[1]), self._asked)

    def layout(self) -> Layout:
        """What it holds, by its first line; see `Reader.layout`."""
        number, row = self._first
        found = vector_of(row[self._columns.vector], self._place(number))
        return Layout(len(found), self._dtype or np.dtype(np.float32 if found.dtype.kind == "f" else found.dtype), None)

    def draw(self, most: int, seed: int) -> tuple[Rows, int]:
        """Rows at random, in one pass: a reservoir of lines (Vitter 1985, algorithm R); see `Reader.draw`."""
        random = np.random.default_rng((seed, most))
        kept: list[tuple[int, str]] = []
        count = 0
        for count, each in enumerate(self._lines(), 1):
            if len(kept) < most:
                kept.append(each)
            elif (place := int(random.integers(count))) < most:
                kept[place] = each
        return self._parsed(sorted(kept)), count

    def take(self, numbers: Sequence[int]) -> Rows:
        """Rows by the numbers of their lines; see `Reader.take`."""
        wanted = set(numbers)
        return self._parsed([(number, line) for number, line in self._lines() if number in wanted])

    def _parsed(self, found: Sequence[tuple[int, str]]) -> Rows:
        layout = self.layout()
        rows = [parse_object(self._path, number + 1, line) for number, line in found]
        places = [self._place(number) for number, _ in found]
        inputs = [self._columns.input(row, place) for row, place in zip(rows, places, strict=True)]
        values = [row.get(self._columns.vector) for row in rows]
        codes = vectors_of(values, layout.width, layout.dtype, places)
        return Rows(np.array([number for number, _ in found], dtype=np.int64), tuple(inputs), codes)

    def _lines(self) -> Iterator[tuple[int, str]]:
        """Lines that are not blank, with their numbers from 0."""
        return ((number - 1, line) for number, line in lines(self._path) if not line.isspace())

    def _place(self, number: int) -> str:
        return f"{self.origin}:{number + 1}"


def json_texts(path: Path) -> Iterator[str]:
    """The texts of a JSONL file, one a line.

    Raises:
        DataError: If a line has none.
    """
    columns: Columns | None = None
    for number, line in lines(path):
        if line.isspace():
            continue
        row = parse_object(path, number, line)
        if columns is None:
            names = [*row, VECTORS[0]]  # which is not asked for here
            columns = Columns.of(str(path), names, Asked())
        yield columns.input(row, f"{path}:{number}").text
