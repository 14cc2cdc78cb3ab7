"""A note of what is running, so that the next session can name what a native crash or a kill cut short.

Whoever it is of holds it, so that a session on another machine or in another container, whose numbers of processes
tell nothing here, leaves it alone.
"""

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
from embedgate.core.scratch import hold, is_held

# Descriptors of this process's notes, which hold them.
_held: dict[Path, int] = {}


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
    own = _Note(os.getpid(), psutil.Process().create_time(), what)
    # Processes of other containers may have the same number.
    note, outer = root / f"running-{own.pid}-{own.started:.2f}.json", None
    with suppress(OSError):
        outer = note.read_bytes() if note.is_file() else None
        _write(note, to_json(msgspec.structs.asdict(own)).encode())
    try:
        yield
    finally:
        with suppress(OSError):
            if outer is None:
                note.unlink(missing_ok=True)
                _let_go(note)
            else:
                _write(note, outer)


def forget(root: Path, pid: int) -> None:
    """Removes the note of a process whose end somebody has told."""
    for note in root.glob(f"running-{pid}-*.json"):
        if not is_held(note):
            with suppress(OSError):
                note.unlink(missing_ok=True)


def interrupted(root: Path) -> list[str]:
    """Tells what processes that no longer live were doing, each once: the note is removed, as is a malformed one."""
    found = []
    for note in sorted(root.glob("running-*.json")):
        if is_held(note):
            continue
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


def _write(note: Path, content: bytes) -> None:
    write_whole(note, content, durable=False)
    _let_go(note)
    descriptor = os.open(note, os.O_RDONLY)
    if hold(descriptor):
        _held[note] = descriptor
    else:  # as on Windows, where no file goes that is open
        os.close(descriptor)


def _let_go(note: Path) -> None:
    with suppress(KeyError, OSError):
        os.close(_held.pop(note))
