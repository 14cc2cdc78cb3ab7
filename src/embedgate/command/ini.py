"""The ini file that pytest reads in a folder, and lines added to it that leave every other byte as it is."""

from __future__ import annotations

import configparser
import copy
import json
import re
import shlex
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedgate.core.errors import GateError

# Of a repeatable option, several texts.
Value = str | Sequence[str]
# Where pytest looks, in its order, and the table by which it takes a file to be its own: the first counts.
OWN: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "pytest.toml": (("pytest",),),
    ".pytest.toml": (("pytest",),),
    "pytest.ini": (("pytest",),),
    ".pytest.ini": (("pytest",),),
    "pyproject.toml": (("tool", "pytest", "ini_options"), ("tool", "pytest")),
    "tox.ini": (("pytest",),),
    "setup.cfg": (("tool:pytest",),),
}
# Those that pytest takes whatever is in them.
ALWAYS = ("pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini")
# Where there is no other, this one if it is there, and else that one.
SHARED, NEW = "pyproject.toml", "pytest.ini"


@dataclass(frozen=True)
class IniFile:
    """The file in which pytest looks for its options.

    Attributes:
        path: The file; it need not be there.
        table: The keys that lead to the table of its options.
        text: What the file holds.
    """

    path: Path
    table: tuple[str, ...]
    text: str = ""

    @classmethod
    def of(cls, folder: Path) -> IniFile:
        """The one that pytest reads in a folder; where it reads none, the one to make.

        Args:
            folder: Where pytest is called.

        Raises:
            GateError: If a file on the way to it cannot be read.
        """
        shared = None
        for name in (name for name in OWN if (folder / name).is_file()):
            first, *others = (cls._read(folder / name, table) for table in OWN[name])
            if found := next((each for each in (first, *others) if each.has_table), None):
                return found
            if name in ALWAYS:
                return first
            shared = first if name == SHARED else shared
        return shared or cls(folder / NEW, OWN[NEW][0])

    @classmethod
    def _read(cls, path: Path, table: tuple[str, ...]) -> IniFile:
        try:
            text = path.read_bytes().decode()
        except (OSError, ValueError) as error:
            raise GateError(f"{path.name} cannot be read: {error}", "mend it: pytest reads it, too") from error
        found = cls(path, table, text)
        found._document(text)
        return found

    @property
    def has_table(self) -> bool:
        """Whether it has the table, even with nothing in it."""
        return self._in(self._document(self.text)) is not None

    @property
    def options(self) -> Mapping[str, Any]:
        """The options in it, by name."""
        return self._in(self._document(self.text)) or {}

    def with_lines(self, values: Mapping[str, Value]) -> bytes:
        """What it holds once lines are added below the head of the table, or the table at its end.

        Args:
            values: By option, what to write.

        Raises:
            GateError: If the table is there, but not below a line that is its head.
        """
        lines = [f"{name} = {self._written(value)}" for name, value in values.items()]
        head, end = f"[{'.'.join(self.table)}]", end_of_lines(self.text)
        if self.has_table:
            keys = r"[ \t]*\.[ \t]*".join(map(re.escape, self.table))
            pattern = rf"^[ \t]*\[[ \t]*{keys}[ \t]*\][^\r\n]*(\r?\n|\Z)"
            added = "".join(line + end for line in lines)
            text = re.sub(pattern, lambda f: f[0] + (not f[1]) * end + added, self.text, count=1, flags=re.MULTILINE)
        else:
            text = with_more(self.text, (head, *lines))
        if self._unlike(text, values):
            cause = f"{self.path.name} has its options elsewhere than below a line {head}"
            raise GateError(cause, f"add to them yourself: {'; '.join(lines)}")
        return text.encode()

    def _unlike(self, text: str, values: Mapping[str, Value]) -> bool:
        """Whether a text says anything else than what is there, and the values."""
        expected = self._document(self.text)
        inner = expected
        for key in self.table:
            inner = inner.setdefault(key, {})
            if not isinstance(inner, dict):
                return True
        inner |= {name: self._as_read(value) for name, value in values.items()}
        try:
            return self._document(text) != expected
        except GateError:
            return True

    @property
    def _is_toml(self) -> bool:
        return self.path.suffix == ".toml"

    def _written(self, value: Value) -> str:
        if not self._is_toml:
            return value if isinstance(value, str) else shlex.join(value)
        if isinstance(value, str):
            return json.dumps(value, ensure_ascii=False)
        return f"[{', '.join(map(self._written, value))}]"

    def _as_read(self, value: Value) -> Any:
        return value if isinstance(value, str) else [*value] if self._is_toml else self._written(value)

    def _in(self, document: Mapping[str, Any]) -> dict[str, Any] | None:
        found: Any = document
        for key in self.table:
            found = found.get(key) if isinstance(found, dict) else None
        return found if isinstance(found, dict) else None

    def _document(self, text: str) -> dict[str, Any]:
        """All that a text says, table by table.

        Raises:
            GateError: If it is not of the file's format.
        """
        kind = "TOML" if self._is_toml else "ini file"
        try:
            # A copy, which what is nested too deeply has none of.
            return copy.deepcopy(tomllib.loads(text)) if self._is_toml else _sections(text)
        except (tomllib.TOMLDecodeError, configparser.Error) as error:
            cause = f"{self.path.name} is no {kind}: {' '.join(str(error).split())}"
            raise GateError(cause, "mend it first") from error
        except (RecursionError, ValueError) as error:
            what = "is nested too deeply" if isinstance(error, RecursionError) else "holds a number that is too long"
            raise GateError(f"{self.path.name} is no {kind}: it {what}", "mend it first") from error
        except AttributeError as error:  # of configparser, where a line goes on a key without a value
            cause = f"{self.path.name} is no {kind}: a key without a value goes on in the next line"
            raise GateError(cause, "mend it first") from error


def end_of_lines(text: str) -> str:
    """How the lines of a text end."""
    return "\r\n" if "\r\n" in text else "\n"


def with_more(text: str, lines: Iterable[str]) -> str:
    """A text with lines at its end, apart from what is before them."""
    end = end_of_lines(text)
    between = (not text.endswith("\n")) * end + end if text else ""
    return text + between + "".join(line + end for line in lines)


def _sections(text: str) -> dict[str, Any]:
    parser = configparser.RawConfigParser(allow_no_value=True, default_section="", strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(text)
    return {name: dict(parser[name]) for name in parser.sections()}
