"""Data as Python gives it: names and paths as they are, and what is in memory as files that the readers read."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from embedgate.core.errors import DataError
from embedgate.data.spec import NAME

Data: TypeAlias = str | Path | Mapping[str, Any]
# What stands between a name and its keys, as behind a path.
KEYS = "::"
SUFFIX = ".jsonl"


def written(data: Data | Iterable[Data], folder: Path) -> list[str]:
    """The options that name datasets; those in memory are written into a folder.

    Raises:
        DataError: If one is none.
    """
    each = [data] if isinstance(data, str | Path | Mapping) else data
    if not isinstance(each, Iterable) or hasattr(each, "columns"):
        raise DataError(f"data is a {type(data).__qualname__} without a name", "name it: {'mine': ...}")
    return [f"--gate-data={name}" for one in each for name in _names(one, folder)]


def as_given(text: str, folder: Path) -> str:
    """A message as whoever gave data in memory understands it: of rows, where it is of lines of files in a folder.

    Args:
        text: The message.
        folder: Where `written` wrote the data.
    """
    file = re.compile(re.escape(str(folder / "_")[:-1]) + rf"(?P<name>\w[\w.-]*?){re.escape(SUFFIX)}(:(?P<row>\d+))?")

    def data(found: re.Match[str]) -> str:
        row = f"row {found['row']} of " if found["row"] else ""
        return f"{row}the data {found['name']!r}"

    return file.sub(data, text)


def _names(one: Any, folder: Path) -> Iterator[str]:
    if isinstance(one, str):
        yield one
    elif isinstance(one, Path):  # which has no `./` that would keep it from being taken for a bundled dataset
        yield os.path.join(os.curdir, one.expanduser())
    elif isinstance(one, Mapping):
        for called, content in one.items():
            name, keys, given = str(called).partition(KEYS)
            if not isinstance(called, str) or not NAME.fullmatch(name):
                step = f"use letters, digits and _ . -, and write keys behind: 'mine{KEYS}skip=empty'"
                raise DataError(f"data cannot be called {called!r}, since its name is a file's", step)
            yield f"{_write(name, content, folder)}{keys}{given}"
    else:
        raise DataError(f"data is a {type(one).__qualname__}", "give a name, a path, or rows by a name: {'mine': rows}")


def _write(name: str, content: Any, folder: Path) -> Path:
    if isinstance(content, str | Path):
        cause = f"the data {name!r} is a {'text' if isinstance(content, str) else 'path'}, not rows"
        raise DataError(cause, "give rows by a name: {'mine': rows}; a path goes without a name: data='mine.jsonl'")
    file = folder / f"{name}{SUFFIX}"
    if file.exists():
        raise DataError(f"two data are called {name!r}", "give each a name of its own")
    lines = (json.dumps(row, default=_plain) + "\n" for row in _rows(name, content))
    try:
        file.write_text("".join(lines), "utf-8")
    except (TypeError, ValueError) as error:
        raise DataError(f"the data {name!r} cannot be written as JSON: {error}", "give texts and numbers") from error
    return file


def _rows(name: str, content: Any) -> Iterator[Mapping[str, Any]]:
    """Rows of a DataFrame, of columns, of rows as they are, or of texts, which have no labels."""
    if hasattr(content, "columns") and hasattr(content, "to_dict"):
        yield from content.to_dict("records")
        return
    if isinstance(content, Mapping):
        columns = {key: list(values) for key, values in content.items()}
        if len({*map(len, columns.values())}) > 1:
            sizes = ", ".join(f"{key} {len(values)}" for key, values in columns.items())
            raise DataError(f"the columns of the data {name!r} differ in length: {sizes}", "give each row a value")
        yield from (dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True))
        return
    for number, row in enumerate(content if isinstance(content, Iterable) else [content], 1):
        if isinstance(row, str):
            row = {"text": row}  # noqa: PLW2901
        if not isinstance(row, Mapping):
            cause = f"row {number} of the data {name!r} is a {type(row).__qualname__}"
            raise DataError(cause, "give texts, or rows such as {'sentence1': ..., 'sentence2': ..., 'score': ...}")
        yield row


def _plain(value: Any) -> Any:
    """What numpy holds, as Python has it."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{value!r} is a {type(value).__qualname__}")
