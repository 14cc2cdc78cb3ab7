"""Copies of a process: whether there can be one, and how it and all that it has started are ended."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from contextlib import suppress

import psutil

# macOS has `fork` as well, and system libraries that do not outlive it.
CAN_FORK = sys.platform == "linux"


def other_threads() -> int:
    """Threads beside this one after a fork, before which OpenBLAS ends its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python's, of the very threads
        if (child := os.fork()) == 0:
            os._exit(0)
    os.waitpid(child, 0)
    return int(psutil.Process().num_threads()) - 1


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
