"""Delimited text: CSV, TSV, and what spreadsheets write of their kind."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from embedgate.core.errors import DataError, counted
from embedgate.data.files import Writing, lines
from embedgate.data.grades import is_numeral
from embedgate.data.table import PLAIN, UNNAMED, Reading, Row, Table, empty, shown

QUOTES = "a cell that holds quotes stands in quotes, and those inside are doubled"
UNQUOTED = "where quotes mean nothing, say quotes=none"
# What may stand between two cells, by its name in notes.
NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
# Lines that are looked at to find the delimiter.
SAMPLE = 50
# The first line by which spreadsheets are told the delimiter.
_SEP = re.compile(r'"?sep=(.)"?\s*')

Record = tuple[int, list[str]]


def delimited(
    path: Path,
    delimiter: str,
    *,
    unnamed: tuple[str, ...] = UNNAMED,
    quoted: bool = True,
    reading: Reading = PLAIN,
) -> Table:
    """Opens a CSV or TSV file, with or without a header.

    A first row of as many cells as `unnamed`, the last of them a number, is no header.

    Args:
        path: The file, with or without a byte order mark; also packed by gzip.
        delimiter: What stands between two cells, unless others make the header one that is expected.
        unnamed: Names of the columns where there is no header.
        quoted: Whether double quotes enclose cells that hold delimiters, quotes or line ends.
        reading: How a person says it is to be read; its delimiter and its quotes come before these.
    """
    file = _File(path, quoted and reading.quoted, reading)
    found, note = (reading.delimiter, "") if reading.delimiter else file.delimiter(delimiter, unnamed)
    records = file.records(found)
    line, cells = next(records, (0, []))
    if not cells:
        raise empty(path)
    notes = (*file.writing.notes, *([note] if note else []))
    if _is_unnamed(cells, unnamed):
        rows = _named(path, unnamed, chain([(line, cells)], records))
        return Table(str(path), unnamed, rows, first=line, notes=notes)
    columns = tuple(cell.strip() for cell in cells)
    if doubled := [column for column, times in Counter(columns).items() if column and times > 1]:
        cause = f"{path}:{line}: two columns have the same name: {shown(columns)}"
        raise DataError(cause, f"rename one that is called {doubled[0]!r}")
    return Table(str(path), columns, _named(path, columns, records), first=line, notes=notes)


class _File:
    """A delimited file, read once to find out its delimiter and once more for its rows."""

    def __init__(self, path: Path, quoted: bool, reading: Reading) -> None:
        self._path, self._reading = path, reading
        self._options: dict[str, Any] = {} if quoted else {"quoting": csv.QUOTE_NONE}
        self.writing = Writing.of(path, reading.encoding)
        self._step = QUOTES if reading.fits is None else f"{QUOTES}; {UNQUOTED}"

    def lines(self) -> Iterator[tuple[int, str]]:
        return lines(self._path, self.writing, self._reading.save)

    def delimiter(self, own: str, unnamed: tuple[str, ...]) -> tuple[str, str]:
        """The delimiter, and a note of it where it is not the file's own.

        It is the first, its own before others, that makes the header one that is expected; else the first that cuts
        all rows into as many cells.
        """
        if self._reading.fits is None:
            return own, ""
        sample = [line for _, line in islice(self.lines(), SAMPLE)]
        if sample and (said := _SEP.fullmatch(sample[0])):
            return said[1], f"cells are separated by {said[1]!r}, as its first line says"
        cut = {each: self._cut(sample, each) for each in dict.fromkeys((own, *NAMES))}
        fitting = (each for each, records in cut.items() if self._fits(records, unnamed))
        even = (each for each, records in cut.items() if _is_even(records))
        found = next(chain(fitting, even), own)
        return found, f"cells are separated by {NAMES[found]}" if found != own else ""

    def records(self, delimiter: str) -> Iterator[Record]:
        """Cells of each record that is not blank, with the line it starts on."""
        # A line about the delimiter counts as a blank one, so that the numbers of the others stay.
        text = ("\n" if number == 1 and _SEP.fullmatch(line) else line for number, line in self.lines())
        reader = csv.reader(text, delimiter=delimiter, strict=True, **self._options)
        start = 1
        try:
            for cells in reader:
                if any(map(str.strip, cells)):
                    yield start, cells
                start = reader.line_num + 1
        except csv.Error as error:
            raise DataError(f"{self._path}:{start}: {_cause(error)}", self._step) from error

    def _cut(self, sample: Sequence[str], delimiter: str) -> list[list[str]]:
        try:
            records = [cells for cells in csv.reader(sample, delimiter=delimiter, **self._options) if any(cells)]
        except csv.Error:
            return []
        return records if len(sample) < SAMPLE else records[:-1]  # the last may go on after the sample

    def _fits(self, records: Sequence[Sequence[str]], unnamed: tuple[str, ...]) -> bool:
        if not records or self._reading.fits is None:
            return False
        return _is_unnamed(records[0], unnamed) or self._reading.fits([cell.strip() for cell in records[0]])


def _cause(error: csv.Error) -> str:
    """What the csv module says; in words, where its own are about how it was called."""
    said = str(error)
    return "a carriage return outside quotes" if said.startswith("new-line character") else said.replace("\t", "\\t")


def _is_even(records: Sequence[Sequence[str]]) -> bool:
    sizes = {len(cells) for cells in records}
    return len(records) > 1 and len(sizes) == 1 and sizes.pop() > 1


def _is_unnamed(cells: Sequence[str], unnamed: tuple[str, ...]) -> bool:
    return len(cells) == len(unnamed) and is_numeral(cells[-1])


def _named(path: Path, columns: tuple[str, ...], records: Iterator[Record]) -> Iterator[tuple[int, Row]]:
    for line, cells in records:
        if len(cells) != len(columns):
            raise DataError(f"{path}:{line}: {counted(len(cells), 'column')}, not {len(columns)}: {shown(columns)}")
        yield line, dict(zip(columns, cells, strict=True))
