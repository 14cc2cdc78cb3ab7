"""A note of what is running, so that the next session can name what a native crash or a kill cut short."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import msgspec
import psutil

from embedgate.core.errors import GateError
from embedgate.core.files import read_json, to_json, write_whole


class _Note(msgspec.Struct, forbid_unknown_fields=True):
    pid: Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
    started: float
    what: str


@contextmanager
def running(root: Path, what: str) -> Iterator[None]:
    """Keeps a note under `root` while the body runs; only a process that died leaves it behind.

    Inside another one, its note stands in the place of the outer one's, which is put back. Where none can be written,
    the body runs all the same: what needs no artefact needs no cache.
    """
    note, outer = _note(root, os.getpid()), None
    own = _Note(os.getpid(), psutil.Process().create_time(), what)
    with suppress(OSError):
        outer = note.read_bytes() if note.is_file() else None
        write_whole(note, to_json(msgspec.structs.asdict(own)).encode(), durable=False)
    try:
        yield
    finally:
        with suppress(OSError):
            if outer is None:
                note.unlink(missing_ok=True)
            else:
                write_whole(note, outer, durable=False)


def forget(root: Path, pid: int) -> None:
    """Removes the note of a process whose end somebody has told."""
    with suppress(OSError):
        _note(root, pid).unlink(missing_ok=True)


def interrupted(root: Path) -> list[str]:
    """Tells what processes that no longer live were doing, each once: the note is removed, as is a malformed one."""
    found = []
    for note in sorted(root.glob("running-*.json")):
        try:
            record = read_json(note, _Note, GateError)
            if record is not None and psutil.Process(record.pid).create_time() == record.started:
                continue
        except psutil.Error:
            pass
        except GateError:
            record = None
        if record is not None:
            found.append(record.what)
        with suppress(OSError):
            note.unlink(missing_ok=True)
    return found


def _note(root: Path, pid: int) -> Path:
    return root / f"running-{pid}.json"
