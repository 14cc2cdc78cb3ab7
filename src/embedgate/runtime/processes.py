"""Copies of a process: whether there can be one, and how it and all that it has started are ended."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

# macOS has `fork` as well, and system libraries that do not outlive it.
CAN_FORK = sys.platform == "linux"
# Threads of libraries that look after their locks where a process is copied: jemalloc's, which comes with pyarrow, and
# so with Sentence Transformers.
CARED_FOR = ("jemalloc_bg_thd",)


def other_threads() -> int:
    """Threads beside this one whose locks a copy of this process would have, and not them.

    They are counted after a fork: OpenBLAS ends its own before one, and makes them anew when it needs them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python's, of the very threads
        if (child := os.fork()) == 0:
            os._exit(0)
    os.waitpid(child, 0)
    return sum(_name(thread) not in CARED_FOR for thread in psutil.Process().threads()) - 1


def _name(thread: Any) -> str:
    with suppress(OSError):
        return Path(f"/proc/self/task/{thread.id}/comm").read_text("utf-8", errors="replace").strip()
    return ""


def kill(process: int, by: int = getattr(signal, "SIGKILL", signal.SIGTERM)) -> None:
    """Ends a process that leads a group, and all that it has started.

    Args:
        process: Its number.
        by: The signal.
    """
    if sys.platform == "win32":
        with suppress(OSError):
            os.kill(process, signal.SIGTERM)
        return
    # It leads none yet where it has only just started; macOS refuses to signal a group that has ended.
    for end in (os.killpg, os.kill):
        with suppress(ProcessLookupError, PermissionError):
            end(process, by)
