"""Files to write in a folder: all of them, or none where one cannot be written."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from embedgate.core.errors import GateError, unwritten
from embedgate.core.files import write_whole

_PAST = {"write": "wrote", "add": "added", "leave": "left"}


@dataclass(frozen=True)
class Change:
    """What becomes of a file.

    Attributes:
        path: Where it lies, as seen from the folder.
        content: What it will hold; None where it is left as it is.
        verb: What is done to it: `write`, for example.
        note: What is said of it besides.
    """

    path: str
    content: bytes | None
    verb: str
    note: str = ""

    def told(self, *, done: bool) -> str:
        """It in a line, as something that was done or would be."""
        verb, _, more = self.verb.partition(" ")
        words = (_PAST[verb] if done else f"would {verb}", more, self.path)
        return " ".join(filter(None, words)) + self.note


def refuse_unwritable(folder: Path, changes: Sequence[Change]) -> None:
    """Refuses changes of which one cannot be made, before any is.

    Raises:
        GateError: If something else than a file or folder is in the way, it lies outside, or may not be written.
    """
    for change in changes:
        path = folder / change.path
        for above in _above(folder, path):
            if (above.exists() or above.is_symlink()) and not above.is_dir():
                step = "move it away: a folder of that name is needed"
                raise GateError(f"{above.relative_to(folder)} is a file, where {change.path} is to lie", step)
        if path.is_dir() or (path.is_symlink() and not path.exists()):
            raise GateError(f"{change.path} is no file", "move it away: a file of that name is needed")
        if not path.resolve().is_relative_to(folder.resolve()):
            raise GateError(
                f"{change.path} leads out of {folder.resolve()} by a link", "make it a part of the repository"
            )
        if change.content is not None and not _may_write(folder, path):
            raise GateError(f"{change.path} cannot be written", "take it out of write protection")


def make(folder: Path, changes: Sequence[Change]) -> None:
    """Makes changes; where one fails, all that were made are taken back.

    Raises:
        GateError: If one fails.
    """
    before = {each.path: _content(folder / each.path) for each in changes if each.content is not None}
    new = [above for each in before for above in _above(folder, folder / each) if not above.exists()]
    made: list[str] = []
    try:
        for change in changes:
            if change.content is not None:
                made.append(change.path)
                # A link is left one.
                write_whole((folder / change.path).resolve(), change.content)
    except OSError as error:
        for path in made:
            _restore(folder / path, before[path])
        for above in reversed(new):
            with suppress(OSError):
                above.rmdir()
        cause, step = unwritten(Path(made[-1]), error)
        raise GateError(f"{cause}; nothing was changed", step) from error


def _above(folder: Path, path: Path) -> Iterator[Path]:
    """The folders between one and a file in it, from the top."""
    for parent in reversed(path.relative_to(folder).parents[:-1]):
        yield folder / parent


def _may_write(folder: Path, path: Path) -> bool:
    nearest = next((each for each in (path, *path.parents) if each.exists()), folder)
    beside = nearest.parent if nearest == path else nearest  # where the new file is written before it takes its place
    return os.access(nearest, os.W_OK) and os.access(beside, os.W_OK)


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _restore(path: Path, content: bytes | None) -> None:
    with suppress(OSError):
        if content is None:
            path.unlink(missing_ok=True)
        elif path.read_bytes() != content:
            write_whole(path.resolve(), content)
