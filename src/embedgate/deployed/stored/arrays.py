"""Stored vectors in NumPy's format, with their texts in a file beside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from embedgate.core.errors import DataError, one_line
from embedgate.core.roles import DOCUMENT, Input
from embedgate.data.rows import lines
from embedgate.deployed.stored.rows import Codes, Layout, Reader, Rows
from embedgate.deployed.stored.tables import json_texts

SAVE = "save the vectors, a row each, by numpy.save(file, matrix, allow_pickle=False)"
GIVE = "name the file of its texts, one a line in the order of the rows: texts=FILE"


class ArrayRows(Reader):
    """Reads a `.npy` file, mapped, and a file of texts in the same order: `.jsonl`, or plain with a text a line.

    Args:
        path: The file of vectors.
        texts: The file of texts; None where none is named.
        role: The role of all texts.
    """

    library = f"numpy {np.__version__}"

    def __init__(self, path: Path, texts: Path | None, role: str = "") -> None:
        self.origin = str(path)
        self._path = path
        self._texts = texts
        self._role = role or DOCUMENT

    @cached_property
    def _matrix(self) -> Codes:
        try:
            # Mapped, so that a header cannot ask for more memory than the file has; no pickle and no archive.
            found = np.lib.format.open_memmap(self._path, mode="r")
        except Exception as error:  # NumPy reads the header as Python: anything may come of it
            raise DataError(f"{self.origin} cannot be read: {one_line(error)}", SAVE) from error
        if found.ndim != 2 or not found.size or found.dtype.kind not in "fiu":
            raise DataError(f"{self.origin} holds {found.dtype} {found.shape}, not vectors", SAVE)
        return found

    @cached_property
    def _layout(self) -> Layout:
        count, width = self._matrix.shape
        if self._texts is None:
            raise DataError(f"{self.origin} holds vectors without texts", GIVE)
        if not self._texts.is_file():
            raise DataError(f"{self.origin}: there is no file of texts {self._texts}", GIVE)
        texts = sum(1 for _ in self._read())
        if texts != count:
            cause = f"{self.origin} holds {count:,} vectors, and {self._texts} {texts:,} texts"
            raise DataError(cause, "give the texts that were embedded, in the order of the vectors")
        return Layout(width, self._matrix.dtype, count)

    def layout(self) -> Layout:
        """What it holds, by its header and the number of texts; see `Reader.layout`."""
        return self._layout

    def take(self, numbers: Sequence[int]) -> Rows:
        """Rows by their numbers; see `Reader.take`."""
        count = self.layout().count or 0
        wanted = [number for number in numbers if 0 <= number < count]
        chosen = set(wanted)
        inputs = [Input(text, self._role) for number, text in enumerate(self._read()) if number in chosen]
        return Rows(np.array(wanted, dtype=np.int64), tuple(inputs), np.array(self._matrix[wanted]))

    def _read(self) -> Iterator[str]:
        assert self._texts is not None, "layout requires it"
        if self._texts.suffix.lower() == ".jsonl":
            yield from json_texts(self._texts)
        else:
            yield from (line.removesuffix("\n").removesuffix("\r") for _, line in lines(self._texts))
