"""Delimited text: CSV, TSV, and what spreadsheets write of their kind."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from embedgate.core.errors import DataError, counted
from embedgate.data.files import Writing, lines
from embedgate.data.grades import is_numeral
from embedgate.data.table import PLAIN, UNNAMED, Reading, Row, Table, empty, shown

QUOTES = "a cell that holds quotes stands in quotes, and those inside are doubled"
QUOTED = "put a cell that holds the delimiter into double quotes"
ALONE = "or say ::delimiter=tab where each line is one text, or call the file .txt"
UNQUOTED = "where quotes mean nothing, say quotes=none"
# What may stand between two cells, by its name in notes.
NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
# Characters of the longest cell: a quote that is never closed makes one cell of all that follows it.
LONGEST_CELL = 1 << 26
# Lines that are looked at to find the delimiter.
SAMPLE = 50
# The first line by which spreadsheets are told the delimiter.
_SEP = re.compile(r'"?sep=([^"\w\r\n])"?\s*')
# A cell that stands in quotes after a blank, which is no part of it.
_PADDED = re.compile(r'\s+"[^"]*"\s*')

Record = tuple[int, list[str]]


def delimited(path: Path, delimiter: str, *, reading: Reading = PLAIN) -> Table:
    """Opens a CSV or TSV file, with or without a header.

    A first row of as many cells as `UNNAMED`, the last of them a number, is no header.

    Args:
        path: The file, with or without a byte order mark; also packed by gzip.
        delimiter: What stands between two cells, unless others make the header one that is expected.
        reading: How a person says it is to be read; its delimiter comes before this one.
    """
    file = _File(path, reading)
    file.find_delimiter(delimiter)
    records = file.records()
    line, cells = next(records, (0, []))
    if not cells:
        raise empty(path)
    if bare := file.names(cells):
        return file.table(bare, chain([(line, cells)], records), line)
    columns = tuple(cell.strip() for cell in cells)
    return file.table(columns, file.without_ends(columns, records), line)


class _File:
    """A delimited file, read once to find out its delimiter and once more for its rows."""

    def __init__(self, path: Path, reading: Reading) -> None:
        self._path, self._reading = path, reading
        self._writing = Writing.of(path, reading.encoding)
        self._delimiter = reading.delimiter
        self._options: dict[str, Any] = {} if reading.quoted else {"quoting": csv.QUOTE_NONE}
        self.notes = [*self._writing.notes]
        self._said = {
            "encoding": self._writing.asked,
            "quotes": "none" * (not reading.quoted),
            "header": "none" * reading.numbered,
        }

    def find_delimiter(self, own: str) -> None:
        """Finds what stands between cells, unless a person says it.

        It is the first, the file's own before others, that makes the header one that is expected; else the first that
        cuts all rows into as many cells.
        """
        if self._reading.fits is None:
            self._delimiter = self._delimiter or own
            return
        sample = [line for _, line in islice(self._lines(), SAMPLE)]
        found, told = self._found(sample, own)
        if not self._delimiter:
            self.notes += told
        elif self._delimiter != found:
            self._said["delimiter"] = self._delimiter
        self._delimiter = self._delimiter or found
        cells = chain.from_iterable(self._cut(sample, self._delimiter))
        if self._reading.quoted and self._delimiter != " " and any(map(_PADDED.fullmatch, cells)):
            self._options["skipinitialspace"] = True
            self.notes.append("blanks between delimiters and cells are left out")

    def records(self) -> Iterator[Record]:
        """Cells of each record that is not blank, with the line it starts on."""
        # A line about the delimiter counts as a blank one, so that the numbers of the others stay.
        text = ("\n" if number == 1 and _SEP.fullmatch(line) else line for number, line in self._lines())
        reader = csv.reader(text, delimiter=self._delimiter, strict=True, **self._options)
        start = 1
        try:
            for cells in _with_long_cells(reader):
                if any(map(str.strip, cells)):
                    yield start, cells
                start = reader.line_num + 1
        except csv.Error as error:
            step = QUOTES if self._reading.fits is None else f"{QUOTES}; {UNQUOTED}"
            raise DataError(f"{self._path}:{start}: {_cause(error)}", step) from error

    def without_ends(self, columns: Sequence[str], records: Iterator[Record]) -> Iterator[Record]:
        """Records without the empty cell that each has more than the header, where the first one has it.

        Of a single column, the delimiter may belong to its text.
        """
        head = next(records, None)
        if head is None:
            return records
        whole = chain([head], records)
        if len(columns) == 1 or not _ends_in_delimiter(head[1], columns):
            return whole
        self.notes.append("rows end in a delimiter more than the header")
        return ((line, cells[:-1] if _ends_in_delimiter(cells, columns) else cells) for line, cells in whole)

    def names(self, cells: Sequence[str]) -> tuple[str, ...]:
        """The columns of a file whose first record is no header; empty where it is one."""
        if len(cells) == len(UNNAMED) and is_numeral(cells[-1]) and not self._reading.numbered:
            return UNNAMED
        return tuple(str(number) for number in range(1, len(cells) + 1)) if self._reading.numbered else ()

    def table(self, columns: tuple[str, ...], records: Iterator[Record], first: int) -> Table:
        """Records as a table, of which the first one or the header stands on a line."""
        rows = self._named(columns, records)
        return Table(str(self._path), columns, rows, first=first, notes=tuple(self.notes), said=self._said)

    def _named(self, columns: tuple[str, ...], records: Iterator[Record]) -> Iterator[tuple[int, Row]]:
        """Records as rows."""
        for line, cells in records:
            if len(cells) != len(columns):
                cause = f"{self._path}:{line}: {counted(len(cells), 'column')}, not {len(columns)}: {shown(columns)}"
                is_cut = self._reading.quoted and len(cells) > len(columns)
                step = QUOTED if is_cut else "give each row a cell for each column"
                raise DataError(cause, f"{step}; {ALONE}" if len(columns) == 1 else step)
            yield line, dict(zip(columns, cells, strict=True))

    def _lines(self) -> Iterator[tuple[int, str]]:
        return lines(self._path, self._writing, self._reading.save)

    def _found(self, sample: Sequence[str], own: str) -> tuple[str, list[str]]:
        """What stands between cells, and what is to be told of it."""
        if sample and (said := _SEP.fullmatch(sample[0])):
            return said[1], [f"cells are separated by {said[1]!r}, as its first line says"]
        cut = {each: self._cut(sample, each) for each in dict.fromkeys((own, *NAMES))}
        fitting = (each for each, records in cut.items() if records and self._fits(records[0]))
        even = (each for each, records in cut.items() if _is_even(records))
        found = next(chain(fitting, even), own)
        return found, [f"cells are separated by {NAMES[found]}"] if found != own else []

    def _cut(self, sample: Sequence[str], delimiter: str) -> list[list[str]]:
        reader = csv.reader(sample, delimiter=delimiter, **self._options)
        try:
            records = [cells for cells in _with_long_cells(reader) if any(cells)]
        except csv.Error:
            return []
        return records if len(sample) < SAMPLE else records[:-1]  # the last may go on after the sample

    def _fits(self, first: Sequence[str]) -> bool:
        columns = self.names(first) or tuple(cell.strip() for cell in first)
        return self._reading.fits is not None and self._reading.fits(columns)


def _with_long_cells(reader: Iterator[list[str]]) -> Iterator[list[str]]:
    """Records whose cells may be long. The csv module's limit is the whole process's, and stays as it was."""
    while True:
        before = csv.field_size_limit(LONGEST_CELL)
        try:
            cells = next(reader, None)
        finally:
            csv.field_size_limit(before)
        if cells is None:
            return
        yield cells


def _ends_in_delimiter(cells: Sequence[str], columns: Sequence[str]) -> bool:
    return len(cells) == len(columns) + 1 and not cells[-1].strip()


def _is_even(records: Sequence[Sequence[str]]) -> bool:
    sizes = {len(cells) for cells in records}
    return len(records) > 1 and len(sizes) == 1 and sizes.pop() > 1


def _cause(error: csv.Error) -> str:
    """What the csv module says; in words, where its own are about how it was called."""
    said = str(error)
    if said.startswith("field larger than"):
        return f"a cell of more than {LONGEST_CELL:,} characters"
    return "a carriage return outside quotes" if said.startswith("new-line character") else said.replace("\t", "\\t")
