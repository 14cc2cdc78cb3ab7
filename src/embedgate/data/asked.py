"""What a person says about a table: which column is which, how its file is written, and what to leave out."""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from embedgate.core.errors import DataError
from embedgate.core.roles import ROLES
from embedgate.data.spec import NAME, NAME_STEP, Spec
from embedgate.data.types import Kind

# Options of any table; files have more, see `embedgate.data.rows.OPTIONS`.
TABLE_OPTIONS = ("kind", "skip", "name", "role")
# What stands between the columns of one role.
BETWEEN = ";"
DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", r"\t": "\t", "pipe": "|"}
# What Python calls encodings too, and no file of texts is in.
NOT_OF_FILES = ("idna", "punycode", "unicode-escape", "raw-unicode-escape")
CHOICES: Mapping[str, tuple[str, ...]] = {
    "kind": get_args(Kind),
    "skip": ("empty",),
    "quotes": ("double", "none"),
    "header": ("first", "none"),
    "role": ROLES,
}


@dataclass(frozen=True)
class Asked:
    """What a person says about a table; empty where they leave it to the table.

    Attributes:
        columns: Names of columns by the role that they have.
        kind: The kind of dataset.
        role: How unlabelled texts are used.
        skip: `empty` to leave out rows that lack a value.
        name: What the dataset is called.
        delimiter: What stands between two cells of a text file, one character.
        encoding: How its text is encoded, as Python calls it.
        quotes: `none` where double quotes have no meaning.
        header: `none` where the first row is no header, and columns are called by their number, from 1.
    """

    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    kind: Kind | None = None
    role: str = ""
    skip: str = ""
    name: str = ""
    delimiter: str = ""
    encoding: str = ""
    quotes: str = ""
    header: str = ""

    @classmethod
    def of(cls, spec: Spec, roles: Iterable[str], options: Iterable[str]) -> Asked:
        """Reads the keys of a dataset.

        Args:
            spec: The dataset as it was written.
            roles: Keys whose value is a column, or several with semicolons between.
            options: Keys of options that mean something to the place.

        Raises:
            DataError: If a key means nothing there, or has a value that it cannot have.
        """
        named, known = tuple(roles), tuple(options)
        spec.refuse_unknown((*named, *known))
        columns = {key: _split(spec, key) for key in named if key in spec.given}
        given: dict[str, Any] = {key: _option(spec, key) for key in known if key in spec.given}
        return cls(columns, **given)


def identified(sha256: str, changes: Mapping[str, str]) -> str:
    """The hash of a dataset whose files have this one: theirs where nothing changes what is read of them.

    Args:
        sha256: Hash of the files, hex.
        changes: What a person says that does, by its key; empty where they say nothing.
    """
    said = [f"{key}={value}" for key, value in sorted(changes.items()) if value]
    return hashlib.sha256("\0".join((sha256, *said)).encode()).hexdigest() if said else sha256


def refuse_name(spec: Spec) -> None:
    """Refuses a name that is not fit for a file name.

    Raises:
        DataError: If it is not.
    """
    name = spec.given.get("name")
    if name is not None and not NAME.fullmatch(name):
        raise DataError(f"{spec.place}: name is {name!r}", NAME_STEP)


def _split(spec: Spec, key: str) -> tuple[str, ...]:
    names = tuple(name for part in spec.given[key].split(BETWEEN) if (name := part.strip()))
    if not names or len({*names}) < len(names):
        wrong = "names a column twice" if names else "names no column"
        raise DataError(f"{spec.place}: {key}={spec.given[key]} {wrong}", f"write {key}=COLUMN, or {key}=ONE;OTHER")
    return names


def _option(spec: Spec, key: str) -> str:
    value = spec.given[key]
    if key == "delimiter":
        return _delimiter(spec, value)
    if key == "encoding":
        return _encoding(spec, value)
    if key in CHOICES and value not in CHOICES[key]:
        raise DataError(f"{spec.place}: {key} is {value!r}", f"choose from {', '.join(CHOICES[key])}")
    return value


def _delimiter(spec: Spec, value: str) -> str:
    delimiter = DELIMITERS.get(value.lower(), value)
    if len(delimiter) != 1 or delimiter in '"\r\n':
        step = f"give one character, or {', '.join(name for name in DELIMITERS if name.isalpha())}"
        raise DataError(f"{spec.place}: delimiter is {value!r}", step)
    return delimiter


def _encoding(spec: Spec, value: str) -> str:
    try:
        bytes(4).decode(value, "ignore")  # of no bytes at all, Python asks no codec
        if codecs.lookup(value).name in NOT_OF_FILES:
            raise LookupError(value)
    except (LookupError, ValueError) as error:  # unknown, no encoding of text, or a name that cannot be one
        step = "give one that Python knows, such as latin-1, cp1252 or utf-16"
        raise DataError(f"{spec.place}: encoding is {value!r}", step) from error
    return value
