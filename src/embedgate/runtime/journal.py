"""A note of what is running, so that the next session can name what a native crash or a kill cut short."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil


@contextmanager
def running(root: Path, what: str) -> Iterator[None]:
    """Keeps a note under `root` while the body runs; only a process that died leaves it behind."""
    root.mkdir(parents=True, exist_ok=True)
    note = root / f"running-{os.getpid()}.json"
    started = psutil.Process().create_time()
    note.write_text(json.dumps({"pid": os.getpid(), "started": started, "what": what}), "utf-8")
    try:
        yield
    finally:
        note.unlink(missing_ok=True)


def interrupted(root: Path) -> list[str]:
    """What processes that no longer live were doing. Each is told once: its note is removed."""
    found = []
    for note in sorted(root.glob("running-*.json")):
        try:
            record = json.loads(note.read_text("utf-8"))
            alive = psutil.Process(record["pid"]).create_time() == record["started"]
        except (OSError, ValueError, KeyError):
            continue
        except psutil.Error:
            alive = False
        if not alive:
            found.append(str(record["what"]))
            note.unlink(missing_ok=True)
    return found
