"""What rows say by their columns: single cells, and which slices and cluster an item is in."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from embedgate.core.errors import DataError
from embedgate.data.alike import repeats
from embedgate.data.cells import cluster_name, property_values, slice_names
from embedgate.data.rows import Row, Table

Value = TypeVar("Value")

SLICES = "slices"
# What an item shares with others that say the same.
CLUSTER = "cluster"
# The most slices that one column makes: one with more holds texts, ids or numbers.
MOST_VALUES = 1_000


def plain(column: str) -> str:
    """A column's name as names are compared: in lower case, letters and digits alone."""
    return re.sub(r"[^a-z0-9]", "", column.lower())


def find(table: Table, *accepted: Iterable[str]) -> tuple[str, ...] | None:
    """The table's column for each group of accepted names; None if any is missing.

    Raises:
        DataError: If the table has one of them twice.
    """
    by_name = {plain(column): column for column in reversed(table.columns)}
    found = [next((by_name[name] for name in names if name in by_name), None) for names in accepted]
    if None in found:
        return None
    columns = tuple(column for column in found if column is not None)
    table.refuse_doubled(columns)
    return columns


def value(table: Table, line: int, row: Row, column: str, parse: Callable[[object], Value]) -> Value:
    """One cell of a row.

    Raises:
        DataError: With the row's place, if the row lacks it or the parser refuses it.
    """
    if column not in row:
        raise DataError(f"{table.at(line)}: no {column!r}", f"give every row {column!r}")
    try:
        return parse(row[column])
    except ValueError as error:
        raise DataError(f"{table.at(line)}: {column!r} {error}", getattr(error, "action", "")) from error


class Parts:
    """Collects which items are in which slice, and which cluster each is in.

    Args:
        table: The rows.
        asked: The columns of slices and clusters that a person names; where none is, those called so.
    """

    def __init__(self, table: Table, asked: Mapping[str, Sequence[str]] | None = None) -> None:
        named = asked or {}
        self._table = table
        self._own = (find(table, (SLICES,)) or (SLICES,))[0]
        self._slices = tuple(named.get(SLICES, (self._own,)))
        (self._cluster,) = named.get(CLUSTER) or find(table, (CLUSTER,)) or (CLUSTER,)
        self._cluster_asked = CLUSTER in named
        self._items: defaultdict[str, list[int]] = defaultdict(list)
        self._groups: list[str] = []
        self._values: defaultdict[str, set[str]] = defaultdict(set)

    def add(self, line: int, row: Row) -> None:
        """Notes what a row says of the next item."""
        for column in self._slices:
            if column in row:
                for name in self._names(line, row, column):
                    self._items[name].append(len(self._groups))
        cluster = self._cluster
        self._groups.append(value(self._table, line, row, cluster, cluster_name) if cluster in row else "")

    def notes(self, maybe_labels: bool = False) -> tuple[str, ...]:
        """A note of a column of clusters that was found by its name, where it joins items.

        Args:
            maybe_labels: Whether it may be meant as labels.
        """
        if self._cluster_asked or not repeats(self._groups):
            return ()
        other = f"; label={self._cluster} reads it as labels" if maybe_labels else ""
        return (f"rows of one {self._cluster!r} count together{other}",)

    def of(self, items: Iterable[int] | None = None) -> dict[str, Any]:
        """Slices and groups of some of the items, in the order given, as `Dataset` has them; of all where None."""
        return self.joined([(item,) for item in (range(len(self._groups)) if items is None else items)])

    def joined(self, items: Sequence[Sequence[int]]) -> dict[str, Any]:
        """As `of`, where an item is made of several of those that were added, or several of one.

        Args:
            items: Per item those that it is made of. It is in the slices of all, and in the cluster of the first that
                has one.
        """
        places = defaultdict(list)
        for place, made_of in enumerate(items):
            for item in made_of:
                places[item].append(place)
        slices = {
            name: tuple(sorted({place for row in rows for place in places[row]}))
            for name, rows in sorted(self._items.items())
        }
        groups = tuple(next((self._groups[item] for item in made_of if self._groups[item]), "") for made_of in items)
        return {"slices": slices, "groups": groups if any(groups) else None}

    def _names(self, line: int, row: Row, column: str) -> list[str]:
        if column == self._own:
            return value(self._table, line, row, column, slice_names)
        names = value(self._table, line, row, column, property_values)
        self._values[column].update(names)
        if len(self._values[column]) > MOST_VALUES:
            cause = (
                f"{self._table.at(line)}: {column!r} has more than {MOST_VALUES:,} values, each of which makes a slice"
            )
            raise DataError(cause, "make slices of a column with few")
        return [f"{column}={name}" for name in names]
