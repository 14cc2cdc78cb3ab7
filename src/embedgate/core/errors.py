"""Errors a person reads: one line for the cause, and what to do about it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from errno import (
    EACCES,
    EDQUOT,
    EEXIST,
    EFBIG,
    EIO,
    EMFILE,
    ENFILE,
    ENOSPC,
    ENOTDIR,
    ENOTEMPTY,
    EPERM,
    EROFS,
)
from pathlib import Path
from typing import Self

from embedgate.core.inert import one_line_inert
from embedgate.core.secrets import without_secrets

# Characters of what an exception of another library says.
LONGEST_LINE = 600
# Characters of a cause or an action: beyond, it is what a file holds, and nobody reads it.
LONGEST = 1000
# What to do where the system refuses to write.
_TO_WRITE = {
    ENOSPC: "free some space",
    EDQUOT: "free some of your quota",
    EROFS: "mount it for writing",
    EACCES: "give write permission",
    EPERM: "give write permission",
    EMFILE: "allow more open files (ulimit -n)",
    ENFILE: "close some files",
    EFBIG: "allow larger files (ulimit -f)",
    EIO: "check the disk",
    EEXIST: "move away what is there",
    ENOTDIR: "move away what is there",
    ENOTEMPTY: "move away what is there",
}


class GateError(Exception):
    """Bad input or trouble with the surroundings, never lost quality.

    Whatever a file's words put into them, cause and action are each one line of bounded length that can be printed.
    Neither has the login or the query of a URL: logs and reports may be public.

    Args:
        cause: One line that says what is wrong, with the file and line where there is one.
        action: One line that says what to do about it; empty where the cause says it.
    """

    def __init__(self, cause: str, action: str = "") -> None:
        self.cause = in_line(without_secrets(cause))
        self.action = in_line(without_secrets(action))
        # Whoever calls from Python may see it in a traceback, which shows it as it is.
        super().__init__(one_line_inert(f"{self.cause}; {self.action}" if action else self.cause))

    def anew(self) -> Self:
        """The same error without its history: a traceback keeps alive whatever its frames hold."""
        return type(self)(self.cause, self.action)


class DataError(GateError):
    """A dataset that is malformed, missing or does not match its card."""


class ModelError(GateError):
    """A model that cannot be loaded safely, or is not the one asked for."""


class BaselineError(GateError):
    """A baseline file that is missing, corrupt, or about something else."""


class Unavailable(GateError):
    """A combination that this machine or installation cannot run."""


class BuildError(GateError):
    """A combination that should run here, but could not be built."""


class ResourceError(BuildError):
    """Memory that ran out, a CUDA context that broke, a server that is gone: nothing about what would be computed."""


class EncodeError(GateError):
    """An encoder that gave something else than one vector per text."""


class WidthError(EncodeError):
    """An encoder that gave vectors of several widths."""


class AnswerError(EncodeError):
    """A server that answered something else than one vector per text: the trouble it tells of is its own."""


class NotRecorded(GateError):
    """Texts that recorded answers say nothing of."""


def in_line(text: str, most: int = LONGEST) -> str:
    """A text on one line: what cannot be printed is spelt out, and what is too long ends in three points."""
    shown = text[: most + 1]
    if not shown.isprintable():
        shown = "".join(char if char.isprintable() else repr(char)[1:-1] for char in shown)
    return shown if len(shown) <= most else f"{shown[:most]}..."


def one_line(error: BaseException) -> str:
    """Type and first line of an exception that is none of the above, for a cause.

    A first line that ends with a colon goes on with the next. One that is very long is cut: some exceptions print the
    data that they fail on.
    """
    try:
        text = str(error)
    except Exception:  # its own __str__
        text = "(it cannot say what is wrong)"
    first, *more = f"{type(error).__name__}: {text}".splitlines()
    said = [line.strip() for line in more if line.strip()]
    return cut(f"{first} {said[0]}" if first.endswith(":") and said else first)


def cut(line: str) -> str:
    """A line of another library's, cut where it is very long."""
    return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}… ({len(line):,} characters)"


def refuses_writing(error: OSError) -> bool:
    """Whether an error is about where something is written to: no room, no permission, something else in its place."""
    return error.errno in _TO_WRITE


def unwritten(place: Path, error: OSError, elsewhere: str = "") -> tuple[str, str]:
    """Cause and action where something cannot be written.

    Args:
        place: The file or folder.
        error: What the system says.
        elsewhere: How to have it written elsewhere; empty where it cannot be.
    """
    said = os.strerror(error.errno) if error.errno else one_line(error)
    steps = (_TO_WRITE.get(error.errno or 0, "check the folder"), elsewhere)
    return f"{place} cannot be written: {said}", ", or ".join(filter(None, steps))


def counted(n: int, noun: str) -> str:
    """A number and what it counts, as in `1 text` and `2 texts`: of nouns whose plural ends in s."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def listed(names: Sequence[str], most: int = 3) -> str:
    """The first names of many, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
