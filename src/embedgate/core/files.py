"""Files, read strictly and written whole: the one place that knows how either goes wrong.

A reader takes the type that a file's content must have, and the error to raise. Whatever else is in the file, and
whatever else the system says about it, is that error, in one line that names file and place.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import tomllib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import msgspec
from msgspec import inspect

from embedgate.core.errors import GateError, in_line
from embedgate.core.scratch import NEW_FILE, beside, hold, sweep

T = TypeVar("T")
# What makes the error of a cause and an action: `BaselineError`, for example.
Wrong = Callable[[str, str], GateError]

# No file that embedgate reads whole comes near it.
LARGEST_BYTES = 2**28
PART_BYTES = 2**18
LONGEST_CAUSE = 500
# Beyond, a number cannot be what embedgate counts, and floats skip whole numbers.
MOST = 2**53
SYNTAX = "correct it there"
_BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"
_AT = re.compile(r"(.*?)(?: - at `(?:key in )?\$(.*)`)?", re.DOTALL)
_NESTED = (inspect.StructType, inspect.LiteralType, inspect.ListType, inspect.DictType, inspect.VarTupleType)
_KEY = re.compile(r"Object (contains unknown|missing required) field `(.*)`", re.DOTALL)


def write_whole(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Replaces a file as a whole: a crash at any moment leaves the old one or the new one. Its mode is kept.

    A link in its place is replaced, and what it leads to left alone. What killed writers left in the folder is removed.

    Args:
        path: The file; folders are made where they are missing.
        content: All of it.
        durable: Whether it must be on the disk when this returns, so that it outlives the system's crash as well.

    Raises:
        OSError: If it cannot be written; the old file is then as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent)
    scratch = beside(path)
    try:
        with os.fdopen(os.open(scratch, NEW_FILE, 0o666), "wb") as stream:
            hold(stream.fileno())
            stream.write(content)
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        if path.is_file() and not path.is_symlink():
            shutil.copymode(path, scratch)
        os.replace(scratch, path)
        if durable:
            sync_folder(path.parent)
    finally:
        with suppress(OSError):
            scratch.unlink()


def sync_folder(folder: Path) -> None:
    """Has the system put on the disk which files a folder holds; on Windows it does so by itself."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refuse_no_folder(folder: Path, option: str) -> None:
    """Refuses a place for files before they are made.

    Raises:
        GateError: If it is a file, or lies below one.
    """
    nearest = next((each for each in (folder, *folder.parents) if each.exists()), folder)
    if nearest.exists() and not nearest.is_dir():
        raise GateError(f"{option} {folder}: {nearest} is a file", "name a folder")


def portable_content(file: Path) -> bytes:
    """A file's content, line endings of text as on Linux: git may have given it others.

    Raises:
        OSError: If it cannot be read.
    """
    content = file.read_bytes()
    return content if file.suffix == ".safetensors" else content.replace(b"\r\n", b"\n")


def to_json(value: Any, **options: Any) -> str:
    """JSON that every reader takes.

    Args:
        value: What to write.
        options: As `json.dumps` has them.

    Raises:
        ValueError: If a number in it is NaN or infinite, for which JSON has no word.
    """
    return json.dumps(value, allow_nan=False, **options)


def strict(of: type, **types: Any) -> Any:
    """The type of a file's object that has the fields of a dataclass, and no others.

    Args:
        of: The dataclass; what has a default there may be missing.
        types: By the name of a field, its type in the file, where that is another.
    """
    hints = get_type_hints(of, include_extras=True)
    fields = [
        (each.name, types.get(each.name, hints[each.name]), msgspec.NODEFAULT if _required(each) else _default(each))
        for each in dataclasses.fields(of)
    ]
    return msgspec.defstruct(of.__name__, fields, forbid_unknown_fields=True)


def table(name: str, of: Mapping[str, Any], required: Collection[str] = ()) -> Any:
    """The type of an object that may have some keys, and no others; `msgspec.to_builtins` leaves out what it has not.

    Args:
        name: Its name, for programmers.
        of: The types of the values, by key, whatever text that is.
        required: Keys that it must have.
    """
    keys = {f"_{place}": key for place, key in enumerate(of)}
    fields = [
        (field, of[key]) if key in required else (field, of[key] | msgspec.UnsetType, msgspec.UNSET)
        for field, key in keys.items()
    ]
    return msgspec.defstruct(name, fields, rename=keys, kw_only=True, forbid_unknown_fields=True)


def read_json(path: Path, form: type[T], wrong: Wrong, action: str = "", newest: int | None = None) -> T | None:
    """Reads a JSON file that embedgate has written.

    Args:
        path: The file.
        form: The type of its content.
        wrong: Makes the error.
        action: What to do where it is wrong.
        newest: The newest `schema` that is understood; None where there is none.

    Returns:
        The content; None where there is no such file.
    """
    content = _content(path, wrong, action)
    if content is None:
        return None
    return parse_json(content.decode(), form, wrong, str(path), action, newest, f"{path} is corrupt")


def parse_json(
    content: str, form: type[T], wrong: Wrong, where: str, action: str = "", newest: int | None = None, whole: str = ""
) -> T:
    """JSON from elsewhere than a file of its own.

    Args:
        content: The JSON.
        form: The type of its content.
        wrong: Makes the error.
        where: Where it stands: an option, or a file and a line.
        action: What to do where it is wrong.
        newest: The newest `schema` that is understood; None where there is none.
        whole: How the error begins where it is JSON, but of another form; by default as `where`.
    """
    try:
        plain = json.loads(content, object_pairs_hook=_unique, parse_constant=_refuse, parse_int=_short_int)
        schema = plain.get("schema") if isinstance(plain, dict) else None
        if newest is not None and type(schema) is int and schema > newest:
            cause = f"{where} was written by a newer embedgate (schema {schema}, this one reads {newest})"
            raise _error(wrong, cause, "upgrade embedgate")
        # The standard library finds syntax, keys that stand twice and NaN; msgspec all the rest.
        return msgspec.json.decode(content, type=form)
    except json.JSONDecodeError as error:
        place = f"{where}:{error.lineno}:{error.colno}" if whole else where
        raise _error(
            wrong, f"{place} is no JSON: {error.msg}{'' if whole else f' at column {error.colno}'}", action
        ) from error
    except msgspec.ValidationError as error:
        raise _unlike(error, form, wrong, whole or where, action) from error
    except RecursionError as error:
        raise _error(wrong, f"{whole or where}: it is nested too deeply", action) from error
    except ValueError as error:
        raise _error(wrong, f"{whole or where}: {_lower(str(error))}", action) from error


def read_jsonl(path: Path, form: type[T], wrong: Wrong, action: str = "") -> list[T] | None:
    """Reads a file that people write with JSON on each line; empty lines count for nothing, as does a BOM.

    Args:
        path: The file.
        form: The type of a line's content.
        wrong: Makes the error.
        action: What to do where a line is wrong.

    Returns:
        What the lines say; None where there is no such file.
    """
    content = _content(path, wrong, action)
    if content is None:
        return None
    # Not splitlines: JSON may hold U+2028 as it is.
    lines = enumerate(_text(content).split("\n"), start=1)
    return [parse_json(line, form, wrong, f"{path}:{number}", action) for number, line in lines if line.strip()]


def read_toml(path: Path, form: type[T], wrong: Wrong, action: str = "") -> T | None:
    """Reads a TOML file, which people write; a BOM counts for nothing.

    Args:
        path: The file.
        form: The type of its content.
        wrong: Makes the error.
        action: What to do where a value in it is wrong.

    Returns:
        The content; None where there is no such file.
    """
    content = _content(path, wrong, "")
    if content is None:
        return None
    try:
        found = tomllib.loads(_text(content))
    except tomllib.TOMLDecodeError as error:
        raise _error(wrong, f"{path} is no TOML: {error}", SYNTAX) from error
    except RecursionError as error:
        raise _error(wrong, f"{path} is no TOML: it is nested too deeply", SYNTAX) from error
    except ValueError as error:  # of Python, which reads no whole number of thousands of digits
        raise _error(wrong, f"{path} is no TOML: it holds a number that is too long", SYNTAX) from error
    return convert(found, form, wrong, str(path), action, SYNTAX)


def convert(value: Any, form: type[T], wrong: Wrong, where: str, action: str = "", otherwise: str = "") -> T:
    """Converts what was read to the type that it must have.

    Args:
        value: What was read.
        form: The type.
        wrong: Makes the error.
        where: Where it was read, for the error.
        action: What to do where it is of another type.
        otherwise: As `action`, where what is wrong does not tell what to do.
    """
    try:
        return msgspec.convert(value, form)
    except msgspec.ValidationError as error:
        found = _unlike(error, form, wrong, where, action)
        raise (found if found.action else wrong(found.cause, otherwise)) from error
    except RecursionError as error:
        raise _error(wrong, f"{where}: it is nested too deeply", action or otherwise) from error


def choose_from(word: str, known: Iterable[str]) -> str:
    """Tells what to do about an unknown word: the one probably meant, or all there are; empty where there is none."""
    names = sorted(known)
    close = get_close_matches(word[:LONGEST_CAUSE], names, n=1)
    return f"did you mean {close[0]}?" if close else f"choose from {', '.join(names)}" if names else ""


def joined(place: str, key: str) -> str:
    """The place of a key in a file, `default.floor` for example."""
    word = key if key.replace("_", "").isalnum() else f'"{key}"'
    return f"{place}.{word}" if place else word


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is field.default_factory is dataclasses.MISSING


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    factory: Any = field.default_factory
    return msgspec.field(default_factory=factory)


def _content(path: Path, wrong: Wrong, action: str) -> bytes | None:
    """A file's bytes, UTF-8 and not too many; None where there is no such file."""
    try:
        content = bytearray()
        with path.open("rb") as stream:
            # In parts: for the most that there may be, memory would be taken at once.
            while len(content) <= LARGEST_BYTES and (part := stream.read(PART_BYTES)):
                content += part
        if len(content) > LARGEST_BYTES:
            raise ValueError(f"it has more than {LARGEST_BYTES >> 20} MiB")
        content.decode()
    except FileNotFoundError:
        return None
    except IsADirectoryError as error:
        raise _error(wrong, f"{path} cannot be read: it is a folder", action or "give a file") from error
    except (OSError, ValueError) as error:
        step = "save it as UTF-8" if isinstance(error, UnicodeError) else "give a file that can be read"
        raise _error(wrong, f"{path} cannot be read: {error}", action or step) from error
    return bytes(content)


def _text(content: bytes) -> str:
    """Decodes what people write in their editors: with a BOM or without, and with any ends of lines."""
    return content.decode().removeprefix(_BOM).replace("\r\n", "\n").replace("\r", "\n")


def _unlike(error: msgspec.ValidationError, form: Any, wrong: Wrong, where: str, action: str) -> GateError:
    """The error about what is not of the type it must have, from what msgspec says of it."""
    match = _AT.fullmatch(str(error))
    assert match is not None, "it matches every text"
    what, place = match[1], (match[2] or "").removeprefix(".")
    key = _KEY.fullmatch(what)
    if key is None:
        if what.startswith("Invalid enum value"):
            action = action or choose_from(what.partition("'")[2], _choices(form, place))
        return _error(wrong, f"{where}: {place and f'{place}: '}{_lower(what)}", action)
    name = joined(place, key[2])
    if key[1] == "missing required":
        return _error(wrong, f"{where}: {name} is missing", action or "set it")
    return _error(wrong, f"{where}: unknown key {name}", action or choose_from(key[2], _choices(form, place)))


def _choices(form: Any, place: str) -> list[str]:
    """The keys that the object at a place may have, or the words that the text there can be."""
    found: Any = inspect.type_info(form)
    for step in [*re.findall(r"\[[^\]]*\]|[^.\[]+", place), None]:
        options = found.types if isinstance(found, inspect.UnionType) else (found,)
        # Of what may be missing, the other option.
        found = next((each for each in options if isinstance(each, _NESTED)), None)
        fields = {each.encode_name: each.type for each in getattr(found, "fields", ())}
        if step is None:
            return list(getattr(found, "values", fields))
        if step.startswith("["):
            found = getattr(found, "item_type", getattr(found, "value_type", None))
        else:
            found = fields.get(step)
    raise AssertionError("the last step is none")


def _error(wrong: Wrong, cause: str, action: str = "") -> GateError:
    """The error, whatever a file's words hold: they can be long, and not every character can be printed."""
    return wrong(in_line(cause, LONGEST_CAUSE), action)


def _lower(text: str) -> str:
    return text if text.startswith("JSON") else text[:1].lower() + text[1:]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"{twice!r} stands twice in one object")
    return found


def _refuse(name: str) -> float:
    raise ValueError(f"it holds {name}, which is no number")


def _short_int(text: str) -> int | None:
    """A whole number; None for one that is too long to be any of ours, and slow to read."""
    return int(text) if len(text) < 20 else None
