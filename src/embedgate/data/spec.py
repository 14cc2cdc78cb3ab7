"""How a dataset is written: `PLACE`, or `PLACE::key=value,key=value`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from embedgate.core.data_place import split_keys
from embedgate.core.errors import DataError

# A value in quotes may hold a comma, and a quote doubled. Blanks around keys and values mean nothing.
_PAIR = re.compile(
    r'\s*(?P<key>[\w-]+)\s*=(?:\s*"(?P<quoted>(?:[^"]|"")*)"\s*|(?P<plain>\s*[^,"][^,]*))(?:,|$)', re.DOTALL
)
# What a dataset may be called: it names files.
NAME = re.compile(r"\w[\w.-]*")
NAME_STEP = "use letters, digits, '_', '.' and '-'"
FORM = "PLACE::key=value,key=value; put a value that holds a comma into double quotes"


@dataclass(frozen=True)
class Spec:
    """A dataset as it was written.

    Attributes:
        place: A bundled name, a path, or a hub's or MTEB's id.
        given: Values by key: columns by their role, and options.
    """

    place: str
    given: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Spec:
        """Reads `PLACE[::key=value,...]`.

        Raises:
            DataError: If it has another form.
        """
        place, rest = split_keys(text.strip())
        if not place:
            raise DataError("the name of a dataset is empty", "give a bundled name, or the path of a file or a folder")
        given: dict[str, str] = {}
        while rest:
            pair = _PAIR.match(rest)
            if pair is None:
                raise DataError(f"{text}: {rest!r} is no key=value", f"write {FORM}")
            key = pair["key"]
            if key in given:
                raise DataError(f"{text}: gives {key} twice", f"write {FORM}")
            given[key] = _plain(pair["plain"]) if pair["quoted"] is None else pair["quoted"].replace('""', '"')
            rest = rest[pair.end() :]
        return cls(place, given)

    def refuse_unknown(self, keys: Iterable[str]) -> None:
        """Refuses keys that mean nothing to the kind of place.

        Raises:
            DataError: If there is one.
        """
        known = tuple(keys)
        if unknown := [key for key in self.given if key not in known]:
            near = get_close_matches(unknown[0], known, n=1)
            meant = f"did you mean {near[0]}? " if near else ""
            step = f"{meant}its keys are {', '.join(known) or 'none'}"
            raise DataError(f"{self.place} has no key {unknown[0]!r}", step)


def _plain(value: str) -> str:
    """A value without quotes: without blanks around it, unless it is a blank, as a delimiter may be."""
    return value.strip() or value
