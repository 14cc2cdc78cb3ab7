"""Rows of data files (CSV, TSV, JSONL, Parquet), streamed, each with the line or row it stands on."""

from __future__ import annotations

import csv
import json
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from embedgate.core.errors import DataError, counted

Row = Mapping[str, object]

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
QUOTES = "a cell that holds quotes stands in quotes, and those inside are doubled"
UNNAMED = ("sentence1", "sentence2", "score")


@dataclass(frozen=True)
class Table:
    """Rows with named columns, to be read once.

    Attributes:
        source: File, or hub id with its revision.
        columns: Names of the columns; of a JSONL file, the keys of its first object.
        rows: Number of each row's line in the file, or of the row itself where there are no lines; and the row.
        unit: What stands between source and number in a message.
        first: Number of the first row, or of the header where there is one.
        notes: What a reader of a report should know about how the file was understood.
    """

    source: str
    columns: tuple[str, ...]
    rows: Iterator[tuple[int, Row]]
    unit: str = ":"
    first: int = 1
    notes: tuple[str, ...] = ()

    def at(self, number: int) -> str:
        """The place of a row, for a message: `file:line`, or `file row number`."""
        return f"{self.source}{self.unit}{number}"


def shown(columns: Iterable[str]) -> str:
    """Names of columns for a message; shortened, since they are texts where a header was expected and is missing."""
    return ", ".join(map(reprlib.repr, columns))


def open_table(path: Path) -> Table:
    """Opens a data file by its suffix.

    Raises:
        DataError: If the suffix is unknown or the file cannot be read; and from `rows`, with file and line, on the
            first malformed row.
    """
    match path.suffix.lower():
        case ".csv":
            return delimited(path, ",")
        case ".tsv":
            return delimited(path, "\t")
        case ".jsonl":
            return json_lines(path)
        case ".parquet":
            return parquet(path)
    raise DataError(f"{path}: unknown kind of file", f"give one that ends in {', '.join(SUFFIXES)}")


def delimited(path: Path, delimiter: str, *, unnamed: tuple[str, ...] = UNNAMED, quoted: bool = True) -> Table:
    """Opens a CSV or TSV file, with or without a header.

    A first row of as many cells as `unnamed`, the last of them a number, is no header.

    Args:
        path: The file, UTF-8, with or without a byte order mark.
        delimiter: What stands between two cells.
        unnamed: Names of the columns where there is no header.
        quoted: Whether double quotes enclose cells that hold delimiters, quotes or line ends.
    """
    records = _records(path, delimiter, quoted)
    line, cells = next(records, (0, []))
    if not cells:
        raise _empty(path)
    if len(cells) == len(unnamed) and _is_number(cells[-1]):
        return Table(str(path), unnamed, _named(path, unnamed, chain([(line, cells)], records)), first=line)
    columns = tuple(cell.strip() for cell in cells)
    if len(set(columns)) < len(columns):
        raise DataError(f"{path}:{line}: two columns have the same name: {shown(columns)}")
    return Table(str(path), columns, _named(path, columns, records), first=line)


def json_lines(path: Path) -> Table:
    """Opens a file of one JSON object a line."""
    objects = _objects(path)
    line, first = next(objects, (0, {}))
    if not first:
        raise _empty(path) if not line else DataError(f"{path}:{line}: an empty object")
    return Table(str(path), tuple(first), chain([(line, first)], objects), first=line)


def parquet(path: Path) -> Table:
    """Opens a Parquet file; needs pyarrow."""
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise DataError(f"{path}: Parquet needs pyarrow", "pip install embedgate[parquet]") from error

    try:
        file = ParquetFile(path)
    except (ArrowException, OSError) as error:
        raise DataError(f"{path}: not a Parquet file: {_one_line(error)}") from error
    if not file.metadata.num_rows:
        raise _empty(path)

    def rows() -> Iterator[tuple[int, Row]]:
        number = 0
        try:
            batches = (batch.to_pylist() for batch in file.iter_batches())
            for number, row in enumerate(chain.from_iterable(batches), 1):
                yield number, row
        except (ArrowException, OSError, ValueError) as error:
            raise DataError(f"{path} row {number + 1}: {_one_line(error)}") from error

    return Table(str(path), tuple(file.schema_arrow.names), rows(), unit=" row ")


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines of a file, counted from 1, each decoded on its own.

    Raises:
        DataError: If one is not UTF-8, with its number.
    """
    # Lines end at "\n" alone: str.splitlines would also cut texts at U+2028 and its like. They are decoded one by one,
    # so that a bad byte can be found again.
    with path.open("rb") as stream:
        for number, raw in enumerate(stream, 1):
            try:
                yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                bad = f"byte 0x{error.object[error.start]:02x} at position {error.start + 1}"
                raise DataError(f"{path}:{number}: not UTF-8 ({bad})", "save the file as UTF-8") from error


def _records(path: Path, delimiter: str, quoted: bool) -> Iterator[tuple[int, list[str]]]:
    """Cells of each record that is not blank, with the line it starts on."""
    text = (line for _, line in lines(path))
    options: dict[str, Any] = {} if quoted else {"quoting": csv.QUOTE_NONE}
    reader = csv.reader(text, delimiter=delimiter, strict=True, **options)
    start = 1
    try:
        for cells in reader:
            if cells:
                yield start, cells
            start = reader.line_num + 1
    except csv.Error as error:
        cause = str(error).replace("\t", "\\t")
        raise DataError(f"{path}:{start}: {cause}", QUOTES) from error


def _named(path: Path, columns: tuple[str, ...], records: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, Row]]:
    for line, cells in records:
        if len(cells) != len(columns):
            raise DataError(f"{path}:{line}: {counted(len(cells), 'column')}, not {len(columns)}: {shown(columns)}")
        yield line, dict(zip(columns, cells, strict=True))


def _objects(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    for line, text in lines(path):
        if text.strip():
            yield line, parse_object(path, line, text)


def parse_object(path: Path, line: int, text: str) -> dict[str, object]:
    """The object that a line of a JSONL file holds.

    Raises:
        DataError: If it holds none, with its number.
    """
    try:
        row = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{line}: invalid JSON: {error.msg} at column {error.colno}") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or brackets as deep
        raise DataError(f"{path}:{line}: invalid JSON: {_one_line(error)}") from error
    if not isinstance(row, dict):
        raise DataError(f"{path}:{line}: {reprlib.repr(row)} is not a JSON object")
    return row


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _empty(path: Path) -> DataError:
    return DataError(f"{path}: holds no rows")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
