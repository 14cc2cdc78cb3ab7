"""Candidates as Python gives them: combinations, files and servers by their text, and encoders that are there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeAlias

from embedgate.core.combination import SERVED, Combination
from embedgate.core.errors import GateError
from embedgate.core.judgement import shorten
from embedgate.core.spec import DEVICES, PRECISION
from embedgate.encoders.registry import offers
from embedgate.encoders.sources import GivenSource, HeldSource, Source

# It becomes an id, which tests and files are named by.
_NAME = re.compile(r"\w[\w.-]{0,79}")
Candidate: TypeAlias = str | Path | tuple[str, Any] | Mapping[str, Any]


def sorted_out(candidates: Candidate | Iterable[Candidate]) -> tuple[list[str], list[Source]]:
    """The options that name candidates, and what makes those that are objects.

    Raises:
        GateError: If one is none.
    """
    texts: list[str] = []
    held: list[Source] = []
    for each in _each(candidates):
        if isinstance(each, Path):
            texts.append(f"--gate-candidate={each}")
        elif isinstance(each, str):
            texts.append(_option(each))
        elif isinstance(each, Mapping):
            held += [_source(name, encoder) for name, encoder in each.items()]
        elif isinstance(each, tuple) and len(each) == 2:
            held.append(_source(*each))
        else:
            cause = f"a candidate is a {type(each).__qualname__}"
            raise GateError(cause, "give a text, a path, or by its name an encoder: {'mine-int8': encoder}")
    return texts, held


def _each(candidates: Candidate | Iterable[Candidate]) -> Iterable[Any]:
    if isinstance(candidates, str | Path | Mapping):
        return [candidates]
    if isinstance(candidates, tuple) and len(candidates) == 2 and isinstance(candidates[0], str):
        name, other = candidates
        return candidates if isinstance(other, str | Path | Mapping | tuple) else [(name, other)]
    if _encodes(candidates) or not isinstance(candidates, Iterable):
        return [candidates]  # an encoder without a name is refused as one, though some hold modules
    return candidates


def _encodes(candidate: Any) -> bool:
    return callable(getattr(candidate, "encode", None))


def _option(text: str) -> str:
    """A text as the option that takes it: a combination's glob, or what `--gate-candidate` takes."""
    matches = any(fnmatchcase(each.id, text) for each in offers())
    is_there = Path(text).expanduser().exists()
    if matches and is_there:
        raise GateError(f"{text!r} is a combination and a file or folder", f"write './{text}' for the latter")
    if matches:
        return f"--gate-combination={text}"
    if not is_there and not any(sign in text for sign in "/\\.:"):
        known = ", ".join(each.id for each in offers())
        raise GateError(f"{text!r} is neither a combination nor a file or folder", f"choose from {known}")
    return f"--gate-candidate={text}"


def _source(name: Any, encoder: Any) -> Source:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        cause = f"{shorten(repr(name), 60)} is no name of a candidate"
        raise GateError(cause, "name it such as 'mine-int8': letters, digits, _ and hyphens, 80 at most")
    combination = Combination.parse(_id(name, encoder))
    if _encodes(encoder):
        return HeldSource(combination, encoder)
    if callable(encoder):
        return GivenSource(combination, encoder)
    cause = f"the candidate {name!r} is a {type(encoder).__qualname__}, which has no encode()"
    raise GateError(cause, "give an encoder with encode(texts, batch_size=), or a function that builds one")


def _id(name: str, encoder: Any) -> str:
    """The id of a name: itself where it is one; else with the weight precision and the device that it lacks."""
    *before, last = parts = name.split("-")
    if len(parts) == 3 and last in DEVICES:
        return name
    device = _device(name, encoder)
    if before and PRECISION.fullmatch(last):
        return f"{'_'.join(before)}-{last}-{device}"
    return f"{'_'.join(parts)}-{SERVED}-{device}"


def _device(name: str, encoder: Any) -> str:
    """Where an encoder computes; what says nothing of it is on the CPU."""
    found = str(getattr(encoder, "device", "cpu")).lower().partition(":")[0]
    if found in ("cpu", "none"):
        return "cpu"
    if found not in DEVICES:
        cause = f"the candidate {name!r} is on {found}, and an id says one of {', '.join(DEVICES)}"
        raise GateError(cause, "move it to one of these, or give it a whole id, such as 'mine-int8-cpu'")
    return found
