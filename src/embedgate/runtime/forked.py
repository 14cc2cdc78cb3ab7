"""A copy of this process that tells of its work through a pipe, and whose end, however it comes, is told as well."""

from __future__ import annotations

import ctypes
import gc
import os
import pickle
import signal
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

from embedgate.runtime import deaths, processes

# How often a process that says nothing is looked at.
TICK_SECONDS = 1.0
# How long a process may take to end once it was asked to, or has said all, and to say where it is.
GRACE_SECONDS, LAST_WORDS_SECONDS = 10.0, 2.0
# How long it may say nothing once it is interrupted, before it is interrupted again.
AGAIN_SECONDS = 2.0
# Of Linux's `prctl`: the signal that a process gets once its parent has ended.
_PR_SET_PDEATHSIG = 1
_HELD_BACK = (signal.SIGINT, signal.SIGTERM)


# What stands before each message: its length in bytes. The most that it can be, and what is read at once.
_LENGTH, _LONGEST, _PART = struct.Struct("!Q"), 2**32, 2**20

# How a copy ends that finds its pipe closed, and what it is then told to have done.
_MUTE, CLOSED = 87, "closed the pipe by which it tells what it finds"


class TimeIsUp(Exception):
    """The process took longer than it may."""


class Unreadable(Exception):
    """What the process told is none of its messages."""


class Teller:
    """The end of the pipe that a copy tells through: from any thread, and each message whole, whatever interrupts it.

    Args:
        pipe: Its end of the pipe.
    """

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def __call__(self, message: Any) -> None:
        """Tells; where the pipe is closed, nothing can be told any more, and this process ends.

        Raises:
            Exception: Whatever pickle raises where it cannot tell that.
        """
        packed = pickle.dumps(message)
        with _signals_held_back(), self._lock:
            try:
                for part in (_LENGTH.pack(len(packed)), packed):
                    _write(self._pipe.fileno(), part)
            except OSError:
                os._exit(_MUTE)


class Forked:
    """A copy of this process. It leads a group, so that no Ctrl-C reaches it, and ends with this process.

    Args:
        body: What it does. Once that returns, it ends, without what Python does at exit.
    """

    def __init__(self, body: Callable[[Teller], object]) -> None:
        self._pipe, theirs = Pipe()
        self._unread = bytearray()
        self._status: int | None = None
        self._oom = deaths.out_of_memory()
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        try:
            with _signals_held_back():  # or Ctrl-C would unwind the copy as this process
                self.pid = os.fork()
                if self.pid == 0:
                    self._pipe.close()
                    _become(parent, lambda: body(Teller(theirs)))
                theirs.close()
        except BaseException:
            if hasattr(self, "pid"):
                self.end()
            raise

    def told(self, until: Callable[[], float | None]) -> Iterator[Any]:
        """What it tells, until it has ended.

        Args:
            until: By when it must have told more, as `time.monotonic` tells the time; None where it need not.

        Raises:
            TimeIsUp: If it has not, or still tells then.
            Unreadable: If it tells what cannot be read.
        """
        while True:
            by = until()
            ended = self._has_ended()  # first, since it may tell more before it ends
            if not ended and by is not None and time.monotonic() > by:
                raise TimeIsUp
            packed = self._whole()
            if packed is not None:
                try:
                    message = pickle.loads(packed)
                except Exception as error:
                    raise Unreadable(str(error)) from error
                yield message
                continue
            try:
                if self._pipe.poll(0 if ended else TICK_SECONDS):
                    part = os.read(self._pipe.fileno(), _PART)
                    if not part:
                        return
                    self._unread += part
                elif ended:
                    return
            except OSError:
                return

    def _whole(self) -> bytes | None:
        """The next message of what was read; None where it is not there, or not all of it.

        It is read in parts, since it may be cut short, and what the process has started may keep the pipe open then.

        Raises:
            Unreadable: If something else than a `Teller` has written to the pipe.
        """
        begins = _LENGTH.size
        if len(self._unread) < begins:
            return None
        (length,) = _LENGTH.unpack_from(self._unread)
        if length > _LONGEST:
            raise Unreadable(f"a message of {length:,} bytes")
        ends = begins + length
        if len(self._unread) < ends:
            return None
        packed = bytes(self._unread[begins:ends])
        del self._unread[:ends]
        return packed

    def interrupt(self) -> Iterator[Any]:
        """Asks it to end, as Ctrl-C does; what it still tells. It is given a while.

        It is asked again where it says nothing: Python forgets what is raised in a `__del__`, or by what is called as
        garbage is collected, and sleeps through a signal that comes just before. Who has heard it ignores SIGINT.
        """
        end, heard = time.monotonic() + GRACE_SECONDS, False
        while not heard and not self._has_ended() and (now := time.monotonic()) < end:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGINT)
            with suppress(TimeIsUp, Unreadable):
                for said in self._told_by(now + AGAIN_SECONDS, end):
                    heard = True
                    yield said
                heard = True  # of its end
        self._ends_by(end)

    def _told_by(self, first: float, last: float) -> Iterator[Any]:
        """What it tells, as `told`, the first of it by a time of its own."""
        by = [first]
        for said in self.told(lambda: by[0]):
            by[0] = last
            yield said

    def rest(self) -> Iterator[Any]:
        """What it still tells before it ends by itself. It is given a while."""
        by = time.monotonic() + GRACE_SECONDS
        with suppress(TimeIsUp, Unreadable):
            yield from self.told(lambda: by)
        self._ends_by(by)  # it closes the pipe a moment before

    def lives_on(self) -> bool:
        """Whether it goes on although it can tell no more: something in it has closed the pipe."""
        return not self._ends_by(time.monotonic() + LAST_WORDS_SECONDS)

    def end(self, *, telling: bool = False) -> str:
        """Ends it and its group, where it has not ended by itself; how it ended, see `deaths.how`.

        What leads a group of its own, as fresh processes do, ends with its pipe.

        Args:
            telling: Whether to have it print where it is: Python's own handler of SIGABRT does, where there is one.
        """
        if telling and not self._has_ended():
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGABRT)
            self._ends_by(time.monotonic() + LAST_WORDS_SECONDS)
        with suppress(OSError):
            self._pipe.close()
        if self._status is None:
            processes.kill(self.pid)  # before it is waited for, since its number may be another's then
            self._status = self._wait()
        return CLOSED if self._status == _MUTE else deaths.how(self._status, self._oom)

    def _ends_by(self, by: float) -> bool:
        """Waits; whether it has ended by then, as `time.monotonic` tells the time."""
        while not (ended := self._has_ended()) and time.monotonic() < by:
            time.sleep(TICK_SECONDS / 100)
        return ended

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


def _write(descriptor: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]


def _become(parent: int, body: Callable[[], object]) -> None:
    """What a copy does. It never returns to the frames below, which are the parent's."""
    status = 1
    try:
        os.setsid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:  # else it has ended meanwhile
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD_BACK)
            gc.freeze()  # or each collection would copy, page by page, what the parent holds
            body()
            status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Holds back what would end this process, until it cannot tear anything."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_BACK)  # which may raise what came just before
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
