"""Lists of datasets: a TOML file with a table for each, so that what a project judges on is written down once."""

from __future__ import annotations

import json
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import msgspec

from embedgate.core.data_place import ELSEWHERE
from embedgate.core.errors import DataError
from embedgate.core.files import choose_from, convert, read_toml, table
from embedgate.data.asked import BETWEEN
from embedgate.data.beir import SAID
from embedgate.data.cards import bundled
from embedgate.data.columns import KEYS
from embedgate.data.files import refuse_odd
from embedgate.data.parts import SLICES
from embedgate.data.readers import load
from embedgate.data.spec import NAME, NAME_STEP, Spec
from embedgate.data.types import Dataset

SUFFIX = ".toml"
# The key behind a list that picks some of its datasets: `gate-data.toml::only=tickets;faq`.
ONLY = "only"
# What stands in a table as it stands behind a place: `kind = "triplets"` for `::kind=triplets`.
WORDS = ("kind", "split", "subset", "role", "header", "delimiter", "encoding", "quotes", "skip")
SWITCHES = ("ignore_identical_ids",)
# What has a column; slices have a list of their own.
ROLES = tuple(key for key in KEYS if key != SLICES)
OPTIONS = (*WORDS, *SWITCHES)
HEAVIEST = 100
Word = Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]
FORM = table(
    "Listed",
    {
        "path": Word,
        "columns": dict[str, Word | Annotated[list[Word], msgspec.Meta(min_length=1)]],
        SLICES: list[Word],
        "weight": Annotated[int, msgspec.Meta(ge=1, le=HEAVIEST)],
        **dict.fromkeys(WORDS, Word),
        **dict.fromkeys(SWITCHES, bool),
    },
    required=("path",),
)
_TABLE = '[name], and below it path = "data.csv"'
HOW = f"write {_TABLE}"
FETCHED = "fetch the file and give its path, or a dataset of the hub by hub:org/name@<40-digit commit>"
SETTINGS = "pyproject.toml"
# What types are called in TOML.
TYPES = {
    "int": "a whole number",
    "float": "a decimal",
    "str": "a text",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
}
# How what a key holds is written.
_SHAPES = {
    "path": 'path = "data.csv"',
    "columns": 'columns = { sentence1 = "q1", negative = ["n1", "n2"] }',
    SLICES: f'{SLICES} = ["language"]',
    "weight": f"weight = 2, a whole number from 1 to {HEAVIEST}",
    **{key: f'{key} = "..."' for key in WORDS},
    **{key: f"{key} = true, or false" for key in SWITCHES},
}


class Named(ABC):
    """A dataset that was named; it is read once it is loaded.

    Attributes:
        told: What a person calls it: as it was given, or its list and its name there.
    """

    told: str

    @abstractmethod
    def load(self) -> Dataset:
        """Reads the dataset.

        Raises:
            DataError: If it is malformed, or what its list says of it.
        """


@dataclass(frozen=True)
class Single(Named):
    """A dataset that was named by itself.

    Attributes:
        told: How it was given.
        spec: What that says.
    """

    told: str
    spec: Spec

    def load(self) -> Dataset:
        """Reads the dataset, see `Named`."""
        return load(self.spec)

    def entry(self, name: str) -> tuple[str, ...]:
        """The lines of a list that say the same.

        Args:
            name: What the dataset is called.
        """
        given = dict(self.spec.given)
        given.pop("name", None)
        slices = [column.strip() for column in given.pop(SLICES, "").split(BETWEEN) if column.strip()]
        options = [f"{key} = {_quoted(given.pop(key))}" for key in WORDS if key in given]
        options += [f"{key} = {_switch(given.pop(key))}" for key in SWITCHES if key in given]
        columns = ", ".join(f"{_quoted_key(role)} = {_quoted(column)}" for role, column in given.items())
        return (
            f"[{_quoted_key(name)}]",
            f"path = {_quoted(self.spec.place)}",
            *([f"columns = {{ {columns} }}"] if columns else []),
            *([f"slices = [{', '.join(map(_quoted, slices))}]"] if slices else []),
            *options,
            "",
        )


@dataclass(frozen=True)
class Listed(Named):
    """A dataset of a list.

    Attributes:
        told: Its list, and its name there.
        name: That name, which is the dataset's.
        folder: The folder of its list.
        content: What the list says of it.
    """

    told: str
    name: str
    folder: Path
    content: object

    def load(self) -> Dataset:
        """Reads the dataset, see `Named`; its name and its weight are those of the list."""
        given = self._checked()
        weight = given.pop("weight", 1)
        try:
            dataset = load(_spec(given, self.folder))
        except DataError as error:
            raise DataError(f"{self.told}: {error.cause}", error.action) from error
        return replace(dataset, name=self.name, weight=weight, notes=(*dataset.notes, *_noted(weight)))

    def _checked(self) -> dict[str, Any]:
        """What the list says of it.

        Raises:
            DataError: If that is not what a table can hold.
        """
        if not isinstance(self.content, dict):
            raise DataError(f"{self.told} is no table", HOW)
        if not NAME.fullmatch(self.name):
            raise DataError(f"{self.told}: its name names files", NAME_STEP)
        keys = FORM.__struct_encode_fields__
        for key in (key for key, inner in self.content.items() if isinstance(inner, dict) and key not in keys):
            meant = choose_from(key, keys)
            step = meant if "mean" in meant else f'quote a name with a point: ["{self.name}.{key}"]'
            raise DataError(f"{self.told}: unknown table {key}", step)
        try:
            found: dict[str, Any] = msgspec.to_builtins(convert(self.content, FORM, DataError, self.told))
        except DataError as error:
            shapes = (shape for key, shape in _SHAPES.items() if error.cause.startswith(f"{self.told}: {key}"))
            raise DataError(_in_toml(error.cause), error.action or f"write {next(shapes, _TABLE)}") from error
        self._refuse_no_roles(found.get("columns", {}))
        self._refuse_keys(found["path"])
        return found

    def _refuse_no_roles(self, columns: Mapping[str, object]) -> None:
        """Refuses what stands among the columns and is no role of one."""
        for key in (key for key in columns if key not in ROLES):
            keys = FORM.__struct_encode_fields__
            step = f"write {key} = ... beside columns" if key in keys else choose_from(key, ROLES)
            step = "the name of its table is the dataset's" if key == "name" else step
            raise DataError(f"{self.told}: columns: {key} is no role", step)

    def _refuse_keys(self, place: str) -> None:
        """Refuses keys behind a path: in a list, they stand in its table. Refuses an address as well."""
        if re.match(r"https?://", place):
            raise DataError(f"{self.told}: path: {place!r} is an address", FETCHED)
        try:
            spec = Spec.parse(place)
        except DataError as error:
            raise DataError(f"{self.told}: path: {error.cause}", "give a place alone; its table holds keys") from error
        if spec.given:
            step = "; ".join(filter(None, Single(place, spec).entry(self.name)[1:]))
            raise DataError(f"{self.told}: path: {place!r} holds keys", f"write them into the table: {step}")


def named(text: str) -> tuple[Named, ...]:
    """The datasets that a text names: those of a list, or one by itself.

    Args:
        text: `LIST.toml`, `LIST.toml::only=NAME;NAME`, or whatever `embedgate.data.load` takes.

    Raises:
        DataError: If there is no such list, or it is no TOML; what is wrong with one of its datasets is told once that
            is loaded.
    """
    spec = Spec.parse(text)
    path = Path(spec.place).expanduser()
    if path.suffix.lower() != SUFFIX or spec.place.startswith(ELSEWHERE):
        return (Single(text, spec),)
    spec.refuse_unknown((ONLY,))
    tables = _tables(path)
    picked = spec.given.get(ONLY, "").rstrip(f"{BETWEEN} ")
    wanted = [name.strip() for name in picked.split(BETWEEN)] if ONLY in spec.given else list(tables)
    for name in wanted:
        if name not in tables:
            raise DataError(f"{path} lists no dataset {name!r}", choose_from(name, tables))
    return tuple(Listed(f"{path}: [{name}]", name, path.parent, tables[name]) for name in wanted)


def _tables(path: Path) -> Mapping[str, Any]:
    refuse_odd(path)
    form: type[dict[str, Any]] = dict[str, Any]
    try:
        found = read_toml(path, form, DataError)
    except DataError as error:
        raise DataError(error.cause, _mend(error.cause)) from error
    if found is None:
        raise DataError(f"there is no list of datasets {path}", f"make it, or correct its path: {HOW}")
    if not found:
        raise DataError(f"{path} lists no dataset", HOW)
    if path.name == SETTINGS:
        step = "write the list into a file of its own, and name it there: gate_data = gate-data.toml"
        raise DataError(f"{path} holds a project's settings, and no list of datasets", step)
    return found


def _mend(cause: str) -> str:
    """What to do about a file that is no TOML, by what is wrong with it."""
    if "Unescaped '\\'" in cause:
        return "write paths with /, as data/pairs.csv"
    if " codec " in cause:
        return "save it as UTF-8"
    return f"correct it, or name another file: {HOW}"


def _in_toml(cause: str) -> str:
    """What is wrong with a value, with types as people call them in TOML."""
    return re.sub(r"`(\w+)`", lambda named: TYPES.get(named[1], named[0]), cause)


def _spec(given: Mapping[str, Any], folder: Path) -> Spec:
    """A table as what stands on a command line."""
    columns = {**given.get("columns", {}), **({SLICES: given[SLICES]} if given.get(SLICES) else {})}
    named = {role: names if isinstance(names, str) else BETWEEN.join(names) for role, names in columns.items()}
    options = {key: given[key] for key in WORDS if key in given}
    switches = {key: str(given[key]).lower() for key in SWITCHES if key in given}
    return Spec(_placed(given["path"], folder), named | options | switches)


def _placed(place: str, folder: Path) -> str:
    """A place as seen from here: the paths of a list are seen from its folder.

    A bundled dataset is named as such, as on a command line; whatever else is a path, also `./pairs`.
    """
    if place in bundled() or place.startswith(ELSEWHERE):
        return place
    path = str(folder / Path(place).expanduser())  # which has no `./` any more
    return os.path.join(os.curdir, path) if path in bundled() or path.startswith(ELSEWHERE) else path


def _switch(given: str) -> str:
    """A truth value as TOML has it; what is none stays as it is, and is refused as on the command line."""
    said = SAID.get(given.lower())
    return _quoted(given) if said is None else str(said).lower()


def _noted(weight: int) -> tuple[str, ...]:
    return (f"weight {weight}: each check on it counts as {weight} of its family",) if weight > 1 else ()


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _quoted_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _quoted(key)
