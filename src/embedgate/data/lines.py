"""Plain files: unlabelled texts, one a line, such as a log of queries; or tables, where a person says so."""

from __future__ import annotations

import csv
import string
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from embedgate.core.errors import DataError, counted
from embedgate.data.asked import DELIMITERS, Asked, identified
from embedgate.data.delimited import delimited
from embedgate.data.files import PACKED, Writing, lines
from embedgate.data.grades import is_numeral
from embedgate.data.rows import refuse_disguised, suffix_of
from embedgate.data.table import PLAIN, UNNAMED, Reading, Table, shown
from embedgate.data.types import Origin, Texts

SUFFIX = ".txt"
# Characters of a line that are looked at for a header.
READ = 10_000
# What shows nothing and is no blank: NUL, zero-width marks, a byte order mark within a file.
INVISIBLE = "\0\u200b\u200c\u200d\u2060\ufeff" + string.whitespace
# What stands between the cells of a table that is called so, unless a person says it.
OWN_DELIMITER = "\t"


def is_plain(path: Path) -> bool:
    """Whether a file holds one text a line, by its name."""
    return suffix_of(path) == SUFFIX


def files_of(folder: Path) -> list[Path]:
    """The files of a folder that hold one text a line, by their names; no packed copy of another.

    Raises:
        DataError: If one is a link that leaves the folder.
    """
    found = {path for path in folder.iterdir() if is_plain(path) and path.is_file() and not path.name.startswith(".")}
    for path in found:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise DataError(f"{path}: a link out of its folder", "put the file itself there")
    return sorted(path for path in found if path.suffix.lower() != PACKED or path.with_suffix("") not in found)


def is_table(asked: Asked) -> bool:
    """Whether what a person says of a file means something to a table alone."""
    says = asked.delimiter or asked.quotes or asked.header or asked.columns
    return bool(says) or asked.kind not in (None, "texts")


def open_table(path: Path, reading: Reading) -> Table:
    """Opens a table, as of CSV; see `is_table`.

    Raises:
        DataError: If it cannot be read; and from `rows`, with file and line, on the first malformed row.
    """
    refuse_disguised(path)
    return delimited(path, OWN_DELIMITER, reading=reading)


def refuse_header(path: Path, reading: Reading) -> None:
    """Refuses a file whose first line is the header of a table: each of its rows would be taken for a text.

    Args:
        path: The file.
        reading: How it is to be read, with the headers that are expected.

    Raises:
        DataError: If it is, with what reads it as a table and what as texts.
    """
    numbered = lines(path, Writing.of(path, reading.encoding), reading.save)
    line, first = next(((line, text) for line, text in numbered if text.strip()), (0, ""))
    for name, delimiter in DELIMITERS.items():
        cells = _cells(first[:READ].rstrip("\r\n"), delimiter)
        what = _of_table(cells, delimiter, reading)
        if what:
            cause = f"{path}:{line}: is {what} of a table, {shown(cells)}, in a file of one text a line"
            raise DataError(cause, f"read it as a table by ::delimiter={name}, or each line as a text by ::kind=texts")


def _cells(line: str, delimiter: str) -> list[str]:
    """The cells of a line; none where it is no line of a table, as one with a carriage return in it."""
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:
        return []


def _of_table(cells: Sequence[str], delimiter: str, reading: Reading) -> str:
    """What of a table cells are; empty where they are a text: sentences hold commas, and may end in a number."""
    if delimiter == OWN_DELIMITER and len(cells) == len(UNNAMED) and is_numeral(cells[-1]):
        return "a row"
    return "the header" if len(cells) > 1 and reading.fits is not None and reading.fits(cells) else ""


def read(path: Path, origin: Origin, role: str = "", reading: Reading = PLAIN) -> Texts:
    """Reads a file of one text a line; blank lines are left out, and counted in a note.

    Args:
        path: The file; also packed by gzip.
        origin: What identifies it, by the hash of the file.
        role: How the texts are used, as of `Texts`.
        reading: How it is to be read.

    Raises:
        DataError: If it is something else; if a line cannot be decoded, with its number; or fewer than three texts
            differ.
    """
    refuse_disguised(path)
    texts: list[str] = []
    blank = 0
    writing = Writing.of(path, reading.encoding)
    for _, line in lines(path, writing, reading.save):
        text = line.rstrip("\r\n")
        if text.strip(INVISIBLE):
            texts.append(text)
        else:
            blank += 1
    left = (f"{counted(blank, 'blank line')} left out",) if blank else ()
    sha256 = identified(origin.sha256, {"encoding": writing.asked, "role": role})
    return Texts.once(texts, **vars(replace(origin, sha256=sha256)), role=role, notes=(*writing.notes, *left))
