"""Options by keyword, as the words that give them to pytest."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from os import PathLike, fspath
from typing import Any

from embedgate.core.errors import GateError
from embedgate.core.options import OPTIONS, Option

# They are parameters of their own.
_OWN = ("model", "candidate", "combination", "data", "depth")
KEYWORDS = {
    option.name.replace("-", "_"): option
    for option in OPTIONS
    if option.setting is not None and option.name not in _OWN
}


def words(given: Mapping[str, Any]) -> list[str]:
    """The words that give options.

    Args:
        given: Their values, by their names with underscores; None for the default.

    Raises:
        TypeError: If there is no such option.
        GateError: If one has no such level, or its value is of no kind that it takes.
    """
    for name in given:
        if name not in KEYWORDS:
            near = get_close_matches(name, [*KEYWORDS, "candidates", *_OWN], n=1)
            raise TypeError(f"gate() has no option {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    return [word for name, value in given.items() if value is not None for word in _words(KEYWORDS[name], value)]


def _words(option: Option, value: Any) -> Iterator[str]:
    if not option.metavar:
        yield from _flag(option, value)
        return
    for each in _several(option, value) if option.repeatable else [value]:
        yield f"{option.flag}={_text(each)}"


def _flag(option: Option, value: Any) -> Iterator[str]:
    """A flag where it is on, with its level; a text is read as the ini file's is, which has more of them."""
    if option.levels and isinstance(value, str):
        level = option.parse(value, option.flag)
        if level:
            yield f"{option.flag}={level}"
    elif value not in (True, False):
        raise GateError(f"{option.flag} is on or off, not {value!r}", "give True or False")
    elif value:
        yield option.flag


def _several(option: Option, value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        if "=" not in option.metavar:
            raise GateError(f"{option.flag} takes no mapping", f"give each as {option.metavar}, in a list")
        return [f"{key}={each}" for key, each in value.items()]
    return [value] if isinstance(value, str | PathLike | int) else value


def _text(value: Any) -> str:
    if isinstance(value, PathLike):
        return str(fspath(value))
    return json.dumps(list(value)) if isinstance(value, list | tuple) else str(value)
