"""From rows to datasets: which columns mean what."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from embedgate.core.errors import DataError, counted
from embedgate.core.roles import DOCUMENT, QUERY
from embedgate.data import conversions
from embedgate.data.asked import BETWEEN, Asked, identified
from embedgate.data.cells import is_empty
from embedgate.data.column_roles import (
    DOCUMENTS,
    NOTHING,
    QUERIES,
    ROLES,
    SKIPPED,
    TEXT,
    TEXTS,
    TRIED,
    Found,
    Nothing,
    Parser,
    Role,
    Tabular,
)
from embedgate.data.grades import Grades, are_numbers
from embedgate.data.parts import CLUSTER, SLICES, Parts, find, plain, value
from embedgate.data.rows import Row, Table, shown
from embedgate.data.types import Dataset, Kind, Origin

# The roles that columns of any kind may have.
PARTS = (SLICES, CLUSTER)
# What a person calls a column: the keys of a dataset whose value is one.
KEYS = (*dict.fromkeys(key for roles in ROLES.values() for role in roles for key in role.keys), *PARTS)
SKIP = "correct the row, or leave out rows that lack a value by the key skip=empty"
# Words of a column's name; one of more is a text, where a header is missing.
LONGEST_NAME = 3
# Columns of pairs of which a number says entailment in one set and contradiction in another.
_INFERENCE, _INFERRED = ("premise", "hypothesis"), ("label", "labels", "goldlabel")


def find_kind(names: Sequence[str], asked: Asked, kind: Kind | None = None) -> tuple[Tabular, Found] | None:
    """The kind of dataset that columns fit, and which column is which; None if they fit none.

    Args:
        names: The columns.
        asked: What a person says about them.
        kind: The kind that it must be; None for any.
    """
    for candidate in TRIED:
        if kind in (None, candidate):
            found = _fit(names, ROLES[candidate], asked)
            if found is not None and (candidate != "texts" or kind or _is_alone(found["text"], names, asked)):
                return candidate, found
    return None


def fits(names: Sequence[str], asked: Asked, kind: Kind | None = None) -> bool:
    """Whether columns fit a kind of dataset; see `find_kind`."""
    return find_kind(names, asked, asked.kind or kind) is not None


def _is_alone(column: Sequence[str], names: Sequence[str], asked: Asked) -> bool:
    """Whether a column of texts is all there is, but for slices and clusters, or was asked for."""
    said = {name for key in PARTS for name in asked.columns.get(key, ())}
    others = [name for name in names if name not in (*column, *said) and plain(name) not in PARTS]
    return not others or column in asked.columns.values()


def _fit(names: Sequence[str], roles: Sequence[Role], asked: Asked) -> Found | None:
    """The columns of each role; None if one that is needed has none, or one is asked for that is not among them."""
    given = {key: columns for key, columns in asked.columns.items() if key not in PARTS}
    if not given.keys() <= {key for role in roles for key in role.keys}:
        return None
    taken = {column for columns in given.values() for column in columns}
    found: dict[str, tuple[str, ...]] = {}
    for role in roles:
        asked_for = [given[key] for key in role.keys if key in given]
        columns = asked_for[0] if asked_for else _usual(role, names, taken)
        if len(asked_for) > 1:
            return None
        if columns:
            taken.update(columns)
            found[role.name] = columns
        elif not role.optional:
            return None
    return found if all(column in names for columns in found.values() for column in columns) else None


def _usual(role: Role, names: Sequence[str], taken: Container[str]) -> tuple[str, ...]:
    """The columns that a role usually has: the first of the best name, and numbered ones where there may be many."""
    by_name = {plain(column): column for column in reversed(names) if column not in taken}
    for name in role.names:
        if not role.many or name[-1].isdigit():
            fitting = tuple(column for found, column in by_name.items() if found == name)
        else:
            numbered = {column for found, column in by_name.items() if re.fullmatch(f"{name}[0-9]*", found)}
            fitting = tuple(column for column in names if column in numbered)
        if fitting:
            return fitting
    return ()


def read(table: Table, origin: Origin, kind: Kind | None = None, asked: Asked | None = None) -> Dataset:
    """Reads a table as the dataset its columns say.

    Args:
        table: Its rows.
        origin: What identifies it, by the hash of its files.
        kind: The kind its card states; None to infer it from the columns.
        asked: What a person says about it; None where nothing.

    Returns:
        Similarity, triplets, labelled texts, retrieval or unlabelled texts.

    Raises:
        DataError: With the row's place if one is malformed; if a column is not there that was asked for, or is there
            twice; or if the columns fit no kind.
    """
    said = asked or Asked()
    _refuse_columns(table, said)
    fitting = find_kind(table.columns, said, said.kind or kind)
    if fitting is None:
        raise _no_kind(table, said, said.kind or kind)
    if said.role and fitting[0] != "texts":
        cause = f"{table.source}: role is {said.role!r}, and {fitting[0]} data have roles of their own"
        raise DataError(cause, "leave it out, or give kind=texts")
    table.refuse_doubled(column for columns in (*said.columns.values(), *fitting[1].values()) for column in columns)
    changes = _changes(table, find_kind(table.columns, Asked(), kind), fitting, said)
    return _read(table, origin, *fitting, said, changes, tells_clusters=kind is None)


def _changes(
    table: Table, plain: tuple[Tabular, Found] | None, fitting: tuple[Tabular, Found], asked: Asked
) -> dict[str, str]:
    """What a person says that changes what is read, by its key: slices do not, nor does what would be found anyway.

    Args:
        table: The table.
        plain: The kind and the columns that would be found anyway; None where the table would be refused.
        fitting: Those that are.
        asked: What a person says.
    """
    understood = _understood(table, fitting, asked)
    same = plain is not None and understood == _understood(table, plain, Asked())
    return {**table.said, **({} if same else understood)}


def _understood(table: Table, fitting: tuple[Tabular, Found], asked: Asked) -> dict[str, str]:
    kind, found = fitting
    by_role = {**found, CLUSTER: asked.columns.get(CLUSTER) or find(table, (CLUSTER,)) or ()}
    role = _role(found["text"][0], asked)[0] if kind == "texts" else ""
    return {"kind": kind, "role": role} | {f"column {key}": BETWEEN.join(names) for key, names in by_role.items()}


def _refuse_columns(table: Table, asked: Asked) -> None:
    """Refuses columns that are asked for and not there, and several where there can be one."""
    one = {key for roles in ROLES.values() for role in roles if not role.many for key in role.keys} | {CLUSTER}
    for key, columns in asked.columns.items():
        if len(columns) > 1 and key in one:
            raise DataError(f"{table.source}: {key} is {len(columns)} columns", f"name one: {key}=COLUMN")
        if missing := [column for column in columns if column not in table.columns]:
            has = f"it has {shown(table.columns)}"
            raise DataError(f"{table.at(table.first)}: no column {missing[0]!r}, asked for as {key}", has)
    roles = [(column, key) for key, columns in asked.columns.items() if key not in PARTS for column in columns]
    for column, key in roles:
        if others := [other for same, other in roles if same == column and other != key]:
            cause = f"{table.source}: column {column!r} is asked for as {key} and {others[0]}"
            raise DataError(cause, "give each a column of its own")


def _no_kind(table: Table, asked: Asked, kind: Kind | None) -> DataError:
    wanted = "; ".join(_needs(candidate) for candidate in ROLES if kind in (None, candidate))
    given = f", asked for as {', '.join(asked.columns)}," if asked.columns else ""
    fits = f"are not those of a {kind} dataset" if kind else "fit no kind of dataset"
    say = "say which column is which by keys such as ::sentence1=COLUMN"
    if any(len(column.split()) > LONGEST_NAME for column in table.columns):
        say += "; where the first row is no header, by ::header=none,sentence1=1"
    return DataError(f"{table.at(table.first)}: columns {shown(table.columns)}{given} {fits}", f"{wanted}; {say}")


def _needs(kind: Tabular) -> str:
    if kind == "texts":
        return "texts without labels need ::text=COLUMN"
    return f"{kind} needs {', '.join(role.name for role in ROLES[kind] if not role.optional)}"


def _read(
    table: Table,
    origin: Origin,
    kind: Tabular,
    found: Found,
    asked: Asked,
    changes: Mapping[str, str],
    *,
    tells_clusters: bool,  # who wrote a card knows of them
) -> Dataset:
    cells = [_Cell(table, role, found[role.name], _parser(role, found)) for role in ROLES[kind] if role.name in found]
    values = conversions.Values(table, origin, Parts(table, asked.columns), {each.role.name: [] for each in cells})
    skipped = 0
    for line, row in table.rows:
        if asked.skip and any(each.lacks(row, SKIPPED) for each in cells):
            skipped += 1
            continue
        for each in cells:
            values.by_role[each.role.name].append(each.of(line, row))
        values.lines.append(line)
        values.parts.add(line, row)
    for each in cells:
        each.refuse_unclear(values.lines)
    notes = [
        *table.notes,
        *_columns_told(found),
        *(values.parts.notes(kind == "texts") if tells_clusters else ()),
        *(note for each in cells for note in each.notes()),
    ]
    sha256 = identified(origin.sha256, {**changes, "skip": asked.skip * bool(skipped)})
    values.origin = replace(origin, sha256=sha256)
    if skipped:
        lack = "lacks" if skipped == 1 else "lack"
        notes.append(f"left out {counted(skipped, 'row')} of {skipped + len(values.lines):,} that {lack} a value")
    notes += [f"all texts of {shown(each.columns)} are numbers" for each in cells if each.is_numeric(values)]
    if kind == "texts":
        return conversions.plain_texts(values, notes, *_role(found["text"][0], asked))
    return BUILD[kind](values, [*notes, *values.repeated()])


def _role(column: str, asked: Asked) -> tuple[str, str]:
    """How unlabelled texts are used, and by what: as a person says, else as their column is called."""
    if asked.role:
        return asked.role, "as given"
    named = plain("query" if "query" in asked.columns else column)
    role = QUERY if named in QUERIES else DOCUMENT if named in DOCUMENTS else ""
    return role, f"by the name of the column {column!r}" if role else ""


BUILD: Mapping[str, Callable[[conversions.Values, Sequence[str]], Dataset]] = {
    "similarity": conversions.similarity,
    "triplets": conversions.triplets,
    "labelled": conversions.labelled,
    "retrieval": conversions.retrieval,
}


def _parser(role: Role, found: Found) -> Parser:
    if role.parse is not Grades:
        return role.parse()
    (column,) = found[role.name]
    pair = {plain(column) for name in ("sentence1", "sentence2") for column in found.get(name, ())}
    label = column if pair and plain(column) in _INFERRED else ""
    return Grades(words=bool(label) and not pair.isdisjoint(_INFERENCE), label=label)


def _columns_told(found: Found) -> Iterator[str]:
    """A note of which column is which, where one is not called what it is."""
    if any(len(columns) > 1 or plain(columns[0]) != role for role, columns in found.items()):
        yield "columns: " + ", ".join(f"{role} is {shown(columns)}" for role, columns in found.items())


@dataclass(frozen=True)
class _Cell:
    """Reads what each row of a table has for one role."""

    table: Table
    role: Role
    columns: tuple[str, ...]
    parse: Parser

    def of(self, line: int, row: Row) -> Any:
        """The value of a row: one, or a list where there may be many.

        Raises:
            DataError: With the row's place, if it has none that fits.
        """
        if self.role.many:
            return self._all_of(line, row)
        try:
            return value(self.table, line, row, self.columns[0], self.parse)
        except DataError as error:
            raise DataError(error.cause, SKIP if self.lacks(row) else error.action) from error

    def _all_of(self, line: int, row: Row) -> list[Any]:
        if self.lacks(row):
            are = "are empty" if len(self.columns) > 1 else "is empty"
            raise DataError(f"{self.table.at(line)}: {shown(self.columns)} {are}", SKIP)
        filled = [column for column in self.columns if not is_empty(row.get(column))]
        return [text for column in filled for text in value(self.table, line, row, column, self.parse)]

    def lacks(self, row: Row, nothing: Nothing = NOTHING) -> bool:
        """Whether a row has nothing where it must have something."""
        if self.role.many and self.role.optional:
            return False
        is_nothing = nothing.get(self.role.parse, is_empty)
        return all(is_nothing(row.get(column)) for column in self.columns)

    def is_numeric(self, values: conversions.Values) -> bool:
        """Whether its texts are numbers alone, as where ids stand in the place of texts."""
        return self.role.parse in (TEXT, TEXTS) and are_numbers(values.texts(self.role.name))

    def refuse_unclear(self, lines: Sequence[int]) -> None:
        """Refuses a grade that no other grade makes clear, with the place of its row among those read."""
        if isinstance(self.parse, Grades) and self.parse.unclear:
            place, error = self.parse.unclear
            raise DataError(f"{self.table.at(lines[place])}: {self.columns[0]!r} {error}", error.action)

    def notes(self) -> tuple[str, ...]:
        """What a reader of a report should know about how the values are written."""
        return self.parse.notes if isinstance(self.parse, Grades) else ()
