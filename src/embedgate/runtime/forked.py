"""A copy of this process that tells of its work through a pipe, and whose end, however it comes, is told as well."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from embedgate.runtime import deaths, forking

# How often a process that says nothing is looked at.
TICK_SECONDS = 1.0
# How long a process may take to end once it was asked to, and to say where it is.
GRACE_SECONDS, LAST_WORDS_SECONDS = 10.0, 2.0


class TimeIsUp(Exception):
    """The process took longer than it may."""


class Forked:
    """A copy of this process.

    Args:
        body: What it does, given its end of the pipe; it ends the process.
    """

    def __init__(self, body: Callable[[Connection], NoReturn]) -> None:
        self._pipe, theirs = Pipe()
        self._status: int | None = None
        self._oom = deaths.out_of_memory()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._pipe.close()
            body(theirs)
        theirs.close()

    def told(self, until: Callable[[], float | None]) -> Iterator[Any]:
        """What it tells, until it has ended.

        Args:
            until: By when it must have told more, as `time.monotonic` tells the time; None where it need not.

        Raises:
            TimeIsUp: If it has not.
        """
        while True:
            by = until()
            ended = self._has_ended()  # first, since it may tell more before it ends
            try:
                if self._pipe.poll(0 if ended else TICK_SECONDS):
                    yield self._pipe.recv()
                    continue
            except (EOFError, OSError, pickle.UnpicklingError):
                return
            if ended:
                return
            if by is not None and time.monotonic() > by:
                raise TimeIsUp

    def interrupt(self) -> Iterator[Any]:
        """Asks it to end, as Ctrl-C does; what it still tells. It is given a while."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGINT)
        by = time.monotonic() + GRACE_SECONDS
        with suppress(TimeIsUp):
            yield from self.told(lambda: by)

    def end(self, *, telling: bool = False) -> str:
        """Ends it and all that it has started, where it has not ended by itself; how it ended, see `deaths.how`.

        Args:
            telling: Whether to have it print where it is: Python's own handler of SIGABRT does, where there is one.
        """
        if telling and not self._has_ended():
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGABRT)
            by = time.monotonic() + LAST_WORDS_SECONDS
            while not self._has_ended() and time.monotonic() < by:
                time.sleep(TICK_SECONDS / 20)
        with suppress(OSError):
            self._pipe.close()
        if self._status is None:
            forking.kill(self.pid)  # before it is waited for, since its number may be another's then
            self._status = self._wait()
        return deaths.how(self._status, self._oom)

    def _has_ended(self) -> bool:
        """Whether it has ended, and leaves it to be waited for."""
        if self._status is not None:
            return True
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:  # somebody else has waited for it
            return True

    def _wait(self) -> int:
        try:
            _, status = os.waitpid(self.pid, 0)
        except ChildProcessError:
            return 0
        return os.waitstatus_to_exitcode(status)
