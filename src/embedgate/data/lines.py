"""Unlabelled texts of a plain file, one a line, such as a log of queries."""

from __future__ import annotations

from pathlib import Path

from embedgate.core.errors import counted
from embedgate.data.files import Writing, lines
from embedgate.data.rows import suffix_of
from embedgate.data.table import PLAIN, Reading
from embedgate.data.types import Origin, Texts

SUFFIX = ".txt"
# The options that mean something to such a file.
OPTIONS = ("name", "role", "encoding")


def is_plain(path: Path) -> bool:
    """Whether a file holds one text a line, by its name."""
    return suffix_of(path) == SUFFIX


def read(path: Path, origin: Origin, role: str = "", reading: Reading = PLAIN) -> Texts:
    """Reads a file of one text a line; blank lines are left out, and counted in a note.

    Args:
        path: The file; also packed by gzip.
        origin: What identifies it.
        role: How the texts are used, as of `Texts`.
        reading: How it is to be read.

    Raises:
        DataError: If a line cannot be decoded, with its number; or fewer than three texts differ.
    """
    texts: list[str] = []
    blank = 0
    writing = Writing.of(path, reading.encoding)
    for _, line in lines(path, writing, reading.save):
        text = line.rstrip("\r\n")
        if text.strip():
            texts.append(text)
        else:
            blank += 1
    left = (f"{counted(blank, 'blank line')} left out",) if blank else ()
    return Texts.once(texts, **vars(origin), role=role, notes=(*writing.notes, *left))
