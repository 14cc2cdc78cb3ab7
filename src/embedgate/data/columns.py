"""From rows to datasets: which columns mean what, and what each cell must be."""

from __future__ import annotations

import math
import re
import reprlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeVar

import numpy as np

from embedgate.core.errors import DataError
from embedgate.data.rows import Row, Table, shown
from embedgate.data.types import Dataset, Kind, Labelled, Origin, Similarity, Triplets

Value = TypeVar("Value")
Parser = Callable[[object], Any]
Tabular = Literal["similarity", "triplets", "labelled"]

SLICES = "slices"
# What an item shares with others that say the same.
CLUSTER = "cluster"


def text(value: object) -> str:
    """A text that a tokenizer can take, unchanged.

    Raises:
        ValueError: If it is no string, or blank, or holds half of a surrogate pair (JSON can spell one).
    """
    whole = maybe_blank(value)
    if not whole.strip():
        raise ValueError("is empty")
    return whole


def maybe_blank(value: object) -> str:
    """As `text`, but may be blank."""
    if not isinstance(value, str):
        raise ValueError(f"is {reprlib.repr(value)}, not a text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"holds half of a surrogate pair: {reprlib.repr(value)}") from None
    return value


def identifier(value: object) -> str:
    """An id or a label: a text, or a whole number made one."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return text(value)


def number(value: object) -> float:
    """A finite number, or a text that spells one."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"is {reprlib.repr(value)}, not a number")
    try:
        parsed = float(value)
    except (ValueError, OverflowError):
        raise ValueError(f"is {reprlib.repr(value)}, not a number") from None
    if not math.isfinite(parsed):
        raise ValueError(f"is {parsed}, not a finite number")
    return parsed


def slice_names(value: object) -> list[str]:
    """Names of the slices a row is in: a list, or a text with semicolons between; None for none."""
    names = [name.strip() for name in value.split(";") if name.strip()] if isinstance(value, str) else value or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"is {reprlib.repr(value)}, not a list of names")
    return list(dict.fromkeys(names))


# Per kind, what a row holds: accepted names of the column (in lower case, letters and digits alone) and its parser.
# Where a file has several of them, the one named first here counts.
ROLES: dict[Tabular, tuple[tuple[tuple[str, ...], Parser], ...]] = {
    "similarity": (
        (("sentence1", "text1", "sentencea", "texta", "first"), text),
        (("sentence2", "text2", "sentenceb", "textb", "second"), text),
        (("score", "similarityscore", "similarity", "relatednessscore", "grade", "label", "labels"), number),
    ),
    "triplets": (
        (("anchor", "query"), text),
        (("positive", "pos"), text),
        (("negative", "neg"), text),
    ),
    "labelled": (
        (("text", "sentence"), text),
        (("label", "labels", "topic", "category", "class"), identifier),
    ),
}


def find(table: Table, *accepted: Iterable[str]) -> tuple[str, ...] | None:
    """The table's column for each group of accepted names; None if any is missing."""
    by_name = {re.sub(r"[^a-z0-9]", "", column.lower()): column for column in reversed(table.columns)}
    found = [next((by_name[name] for name in names if name in by_name), None) for names in accepted]
    return tuple(column for column in found if column is not None) if None not in found else None


def value(table: Table, line: int, row: Row, column: str, parse: Callable[[object], Value]) -> Value:
    """One cell of a row.

    Raises:
        DataError: With the row's place, if the row lacks it or the parser refuses it.
    """
    if column not in row:
        raise DataError(f"{table.at(line)}: no {column!r}")
    try:
        return parse(row[column])
    except ValueError as error:
        raise DataError(f"{table.at(line)}: {column!r} {error}") from error


def cluster_name(value: object) -> str:
    """What an item shares with others: an id; empty where it shares nothing."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return ""
    if isinstance(value, float):  # so a column of whole numbers arrives that has empty cells
        if math.isnan(value):
            return ""
        value = int(value) if value.is_integer() else value
    return identifier(value)


class Parts:
    """Collects which items are in which slice, and which cluster each is in."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._slices, self._cluster = ((find(table, (name,)) or (name,))[0] for name in (SLICES, CLUSTER))
        self._items: defaultdict[str, list[int]] = defaultdict(list)
        self._groups: list[str] = []

    def add(self, line: int, row: Row) -> None:
        """Notes what a row says of the next item."""
        if self._slices in row:
            for name in value(self._table, line, row, self._slices, slice_names):
                self._items[name].append(len(self._groups))
        cluster = self._cluster
        self._groups.append(value(self._table, line, row, cluster, cluster_name) if cluster in row else "")

    def of(self, items: Iterable[int] | None = None) -> dict[str, Any]:
        """Slices and groups of some of the items, in the order given, as `Dataset` has them; of all where None."""
        kept = range(len(self._groups)) if items is None else items
        place = {item: number for number, item in enumerate(kept)}
        slices = {name: tuple(place[i] for i in rows if i in place) for name, rows in sorted(self._items.items())}
        groups = tuple(self._groups[item] for item in place)
        return {"slices": slices, "groups": groups if any(groups) else None}


def read(table: Table, origin: Origin, kind: Kind | None = None) -> Dataset:
    """Reads a table as the dataset its columns say.

    Args:
        table: Its rows.
        origin: What identifies it.
        kind: The kind its card states; None to infer it from the columns.

    Returns:
        Similarity, triplets or labelled texts.

    Raises:
        DataError: With the row's place if one is malformed, or if the columns fit no kind.
    """
    for candidate, roles in ROLES.items():
        columns = find(table, *(names for names, _ in roles)) if kind in (None, candidate) else None
        if columns:
            return _read(table, origin, candidate, columns, [parse for _, parse in roles])
    wanted = "; ".join(
        f"{candidate} needs {', '.join(names[0] for names, _ in roles)}"
        for candidate, roles in ROLES.items()
        if kind in (None, candidate)
    )
    fits = f"are not those of a {kind} dataset" if kind else "fit no kind of dataset"
    raise DataError(f"{table.at(table.first)}: columns {shown(table.columns)} {fits}", wanted)


def _read(table: Table, origin: Origin, kind: Tabular, columns: tuple[str, ...], parsers: list[Parser]) -> Dataset:
    cells: tuple[list[Any], ...] = tuple([] for _ in columns)
    parts = Parts(table)
    for line, row in table.rows:
        for column, parse, kept in zip(columns, parsers, cells, strict=True):
            kept.append(value(table, line, row, column, parse))
        parts.add(line, row)
    common: dict[str, Any] = {**vars(origin), **parts.of()}
    kept_cells = tuple(map(tuple, cells))
    match kind:
        case "similarity":
            first, second, grades = kept_cells
            return Similarity(**common, first=first, second=second, grades=np.array(grades, dtype=np.float64))
        case "triplets":
            anchors, positives, negatives = kept_cells
            return Triplets(**common, anchors=anchors, positives=positives, negatives=negatives)
        case "labelled":
            items, labels = kept_cells
            return Labelled(**common, items=items, labels=labels)
