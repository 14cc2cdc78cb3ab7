"""JSON: a row a line, or one array of rows, as it is or in an object."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from embedgate.core.errors import DataError
from embedgate.data.cells import is_no_number
from embedgate.data.files import PACKED, Writing, lines
from embedgate.data.grades import is_numeral
from embedgate.data.table import PLAIN, UNNAMED, Reading, Row, Table, empty, in_one_line

ROWS = "write one JSON object a line, or one array of objects"
CORRECT = "correct the line, or write the file anew by a JSON library"
# What stands between source and number of a row that has no line of its own.
ELEMENT = " element "
# Arrays that are looked at to tell a grade from a third text.
SAMPLE = 50
Numbered = Iterator[tuple[int, Any]]


def open_json(path: Path, reading: Reading = PLAIN) -> Table:
    """Opens a file of one JSON value a line, or of a single one, by what it holds.

    A line is an object, an array of which `_names` tells the columns, or a text. A single value is an array of these,
    an object that holds one array of objects, or an object with a list for each column, or what pandas writes in its
    place.
    """
    writing = Writing.of(path, reading.encoding)
    if _is_single(path, writing, reading):
        opened, values = _single(path, writing, reading)
    else:
        opened, values = _without_rows(path, writing), _by_line(path, writing, reading)
    number, first = next(values, (0, None))
    if not number:
        raise empty(path)
    rest = chain([(number, first)], values)
    if isinstance(first, str):
        return _plain_texts(opened, number, rest)
    return _arrays(opened, number, first, rest) if isinstance(first, list) else _objects(opened, rest, reading)


def _single(path: Path, writing: Writing, reading: Reading) -> tuple[Table, Numbered]:
    """The values of a file that holds them in one: each has a number, but a row by itself the line it begins on."""
    texts = list(lines(path, writing, reading.save))
    try:
        whole = _parsed(path, 1, "".join(text for _, text in texts))
    except DataError as error:
        raise DataError(error.cause, ROWS) from error
    rows, note = _rows_in(path, whole)
    if not note:
        line = next(number for number, text in texts if text.strip())
        return _without_rows(path, writing), iter([(line, whole)])
    opened = _without_rows(path, writing)
    return replace(opened, unit=ELEMENT, notes=(*opened.notes, note)), enumerate(rows, 1)


def parse_object(path: Path, line: int, text: str) -> dict[str, object]:
    """The object that a line of a JSONL file holds.

    Raises:
        DataError: If it holds none, with its number.
    """
    return _object(f"{path}:{line}", _parsed(path, line, text))


def _parsed(path: Path, line: int, text: str) -> Any:
    """The value that a text holds which begins in a line."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"{path}:{line + error.lineno - 1}"
        raise DataError(f"{place}: invalid JSON: {error.msg} at column {error.colno}", CORRECT) from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or brackets as deep
        raise DataError(f"{path}:{line}: invalid JSON: {in_one_line(error)}", CORRECT) from error


def _object(place: str, value: Any) -> dict[str, object]:
    if not isinstance(value, dict):
        raise DataError(f"{place}: {reprlib.repr(value)} is not a JSON object", ROWS)
    return value


def _without_rows(path: Path, writing: Writing) -> Table:
    return Table(str(path), (), iter(()), notes=writing.notes, said={"encoding": writing.asked})


def _texts(path: Path, writing: Writing, reading: Reading) -> Iterator[tuple[int, str]]:
    return ((line, text) for line, text in lines(path, writing, reading.save) if text.strip())


def _by_line(path: Path, writing: Writing, reading: Reading) -> Numbered:
    return ((line, _parsed(path, line, text)) for line, text in _texts(path, writing, reading))


def _is_single(path: Path, writing: Writing, reading: Reading) -> bool:
    """Whether a file holds one value, and not one a line: the first line is all there is, or no value by itself."""
    head = [text.strip() for _, text in islice(_texts(path, writing, reading), 2)]
    if len(head) < 2:
        return bool(head)
    first = head[0]
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return path.name.lower().removesuffix(PACKED).endswith(".json") or first[0] == "[" or first[-1] in "{[,"
    return False


def _rows_in(path: Path, whole: Any) -> tuple[Sequence[Any], str]:
    """The rows that a single value holds, and a note of where they were."""
    if isinstance(whole, list):
        return whole, "read as one JSON array"
    if not isinstance(whole, dict):
        raise DataError(f"{path}: {reprlib.repr(whole)} holds no rows", ROWS)
    under = [key for key, value in whole.items() if isinstance(value, list) and value and isinstance(value[0], dict)]
    if len(under) > 1:
        cause = f"{path}: which of {', '.join(map(reprlib.repr, under))} holds the rows is not clear"
        raise DataError(cause, "put one of them into a file of its own")
    if under:
        return whole[under[0]], f"rows are those under {under[0]!r}"
    by_column = _columns_of(whole)
    if by_column is None:
        return [whole], ""
    rows = zip(*by_column.values(), strict=True)
    return [dict(zip(by_column, row, strict=True)) for row in rows], "read as a list for each column"


def _columns_of(whole: Mapping[str, Any]) -> Mapping[str, Sequence[Any]] | None:
    """Columns of as many values each, as lists, or as pandas writes them by default: by number."""
    if whole and all(isinstance(value, dict) for value in whole.values()):
        numbers = [tuple(value) for value in whole.values()]
        if len({*numbers}) > 1 or not all(number.isdigit() for number in numbers[0]):
            return None
        return {name: list(column.values()) for name, column in whole.items()}
    if all(isinstance(value, list) for value in whole.values()) and len({*map(len, whole.values())}) == 1:
        return whole
    return None


def _objects(opened: Table, values: Numbered, reading: Reading) -> Table:
    """A table of objects, whose columns are the keys of the first ones."""
    objects = ((number, _object(opened.at(number), value)) for number, value in values)
    head = list(islice(objects, reading.ahead))
    if not head:
        raise empty(opened.source)
    if not head[0][1]:
        raise DataError(f"{opened.at(head[0][0])}: an empty object", "give it keys, or leave it out")
    columns = tuple(dict.fromkeys(key for _, row in head for key in row))
    return replace(opened, columns=columns, rows=chain(head, objects), first=head[0][0])


def _plain_texts(opened: Table, number: int, values: Numbered) -> Table:
    """A table of one column, where each value is a text."""
    rows = ((place, {"text": value}) for place, value in values)
    return replace(opened, columns=("text",), rows=rows, first=number, notes=(*opened.notes, "rows are texts"))


def _arrays(opened: Table, number: int, first: list[Any], values: Numbered) -> Table:
    """A table of arrays, each as long as the first."""
    head = list(islice(values, SAMPLE))
    values = chain(head, values)
    names = UNNAMED if _are_graded([value for _, value in head]) else _names(first)
    if names is None:
        raise DataError(f"{opened.at(number)}: {reprlib.repr(first)} is not a JSON object", ROWS)

    def rows() -> Iterator[tuple[int, Row]]:
        for place, value in values:
            if not isinstance(value, list) or len(value) != len(names):
                cause = f"{opened.at(place)}: {reprlib.repr(value)} is not an array of {', '.join(names)}"
                raise DataError(cause, "give all rows as many values as the first")
            yield place, dict(zip(names, value, strict=True))

    note = f"rows are arrays of {', '.join(names)}"
    return replace(opened, columns=names, rows=rows(), first=number, notes=(*opened.notes, note))


def _are_graded(rows: Sequence[Any]) -> bool:
    """Whether rows are pairs with a grade: each ends in a number, which may be written as a text, or in nothing."""
    if not all(isinstance(row, list) and len(row) == len(UNNAMED) for row in rows):
        return False
    given = [row[-1] for row in rows if not is_no_number(row[-1])]
    return bool(given) and all(isinstance(cell, int | float) or is_numeral(str(cell)) for cell in given)


def _names(row: Sequence[Any]) -> tuple[str, ...] | None:
    """The columns of an array: two texts and a grade, or an anchor, its positive, and any number of negatives.

    As in the training data of Sentence Transformers, https://huggingface.co/datasets/sentence-transformers/embedding-training-data.
    """
    if len(row) == len(UNNAMED) and isinstance(row[-1], int | float):
        return UNNAMED
    if len(row) < 2 or not all(isinstance(value, str) for value in row):
        return None
    return ("anchor", "positive", *(f"negative_{number}" for number in range(1, len(row) - 1)))
