"""Rows with named columns, and how a file of them is to be read."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from embedgate.core.errors import DataError
from embedgate.data.files import SAVE

Row = Mapping[str, object]

# The columns of rows without a header.
UNNAMED = ("sentence1", "sentence2", "score")


@dataclass(frozen=True)
class Table:
    """Rows with named columns, to be read once.

    Attributes:
        source: File, or hub id with its revision.
        columns: Names of the columns; of a JSONL file, the keys of its first object, or of its first ones.
        rows: Number of each row's line in the file, or of the row itself where there are no lines; and the row.
        unit: What stands between source and number in a message.
        first: Number of the first row, or of the header where there is one.
        notes: What a reader of a report should know about how the file was understood.
        said: What a person says of how it is written, by its key, where something else would have been found.
    """

    source: str
    columns: tuple[str, ...]
    rows: Iterator[tuple[int, Row]]
    unit: str = ":"
    first: int = 1
    notes: tuple[str, ...] = ()
    said: Mapping[str, str] = field(default_factory=dict)

    def at(self, number: int) -> str:
        """The place of a row, for a message: `file:line`, or `file row number`."""
        return f"{self.source}{self.unit}{number}"

    def refuse_doubled(self, used: Iterable[str]) -> None:
        """Refuses columns that are used and have one name, of which rows keep the last alone.

        Args:
            used: Names of the columns that are read.

        Raises:
            DataError: If several columns have one of these names.
        """
        for name in dict.fromkeys(used):
            if (times := self.columns.count(name)) > 1:
                cause = f"{self.at(self.first)}: {times} columns have the same name: {shown(self.columns)}"
                raise DataError(cause, f"rename all but one that are called {name!r}")


@dataclass(frozen=True)
class Reading:
    """How a person says that a file is to be read, and what is expected in it.

    Attributes:
        delimiter: What stands between two cells; empty to find it.
        encoding: The encoding of its text; empty to find it.
        quoted: Whether double quotes enclose cells that hold delimiters, quotes or line ends.
        fits: Whether a header is one that is expected; None where nothing is: then the suffix says the delimiter.
        numbered: Whether the first row of a delimited file is no header: columns are called by their number, from 1.
        ahead: How many objects of a JSONL file tell its columns.
        save: What to do where a file is not in its encoding.
    """

    delimiter: str = ""
    encoding: str = ""
    quoted: bool = True
    fits: Callable[[Sequence[str]], bool] | None = None
    numbered: bool = False
    ahead: int = 1
    save: str = SAVE


PLAIN = Reading()
# Names of columns that a message gives of many.
MOST_NAMED = 20


def shown(columns: Iterable[str]) -> str:
    """Names of columns for a message: the first of many, each shortened.

    They are texts where a header was expected and is missing, and keys of rows where JSON has no list of them.
    """
    first = [*islice(columns := iter(columns), MOST_NAMED)]
    more = sum(1 for _ in columns)
    return ", ".join(map(reprlib.repr, first)) + (f" and {more:,} more" if more else "")


def empty(source: object) -> DataError:
    """The refusal of a file without rows."""
    return DataError(f"{source}: holds no rows", "give it rows, or name another file")


def in_one_line(error: BaseException) -> str:
    """What an exception says, without its line ends."""
    return " ".join(str(error).split())
