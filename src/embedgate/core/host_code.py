"""Calls of code that a host project has written: whatever it does, it hurts nobody else in this process.

What would end a session, such as `sys.exit`, is an error of whoever raised it. What a call changes of the process (see
`embedgate.core.surroundings`) is put back after it, and told once. A copy of the process that it forks ends with the
call.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn, TypeVar

from embedgate.core.errors import BuildError, GateError, cut, one_line
from embedgate.core.surroundings import THINGS, Thing

T = TypeVar("T")

# What pytest raises to end a session, which is an Exception; a test, by a skip; and either, whatever it comes to.
EXIT, SKIP, OUTCOMES = ("Exit",), ("Skipped",), ("OutcomeException", "Exit")
BUILDING, CLOSING = "building", "closing"
MEND_CLOSE = "mend its close()"


def told(
    error: BaseException,
    owner: str,
    doing: str,
    kind: type[GateError] = BuildError,
    passes: Collection[str] = (),
) -> GateError | None:
    """What would end the session, such as `SystemExit`, as an error of whoever raised it; None for what passes.

    Args:
        error: What was raised.
        owner: Who raised it, as messages name it.
        doing: What it was doing, as in "while encoding".
        kind: What it is to become.
        passes: What passes beside Ctrl-C and any other `Exception`, of pytest's outcomes.
    """
    ends_nothing = isinstance(error, Exception) and not _is_outcome(error, EXIT)
    if ends_nothing or isinstance(error, KeyboardInterrupt) or _is_outcome(error, passes):
        return None
    step = MEND_CLOSE if doing == CLOSING else "have it raise an Exception that says what is wrong"
    return kind(f"{owner} {_how(error)} while {doing}", step)


def _how(error: BaseException) -> str:
    if not isinstance(error, SystemExit):
        return f"raised {one_line(error).rstrip(': ')}"
    code = "" if error.code is None else cut(" ".join(repr(error.code).split()))
    return f"called sys.exit({code})"


def _is_outcome(error: BaseException, names: Collection[str]) -> bool:
    outcomes = sys.modules.get("_pytest.outcomes")  # where it is not imported, nobody can have raised any
    return outcomes is not None and any(isinstance(error, getattr(outcomes, name)) for name in names)


@dataclass(frozen=True)
class Change:
    """A thing that a call has changed.

    Attributes:
        thing: The thing.
        before: Its state before.
        after: Its state after.
        trouble: Why it cannot be put back; empty where it was.
    """

    thing: Thing
    before: Any
    after: Any
    trouble: str = ""


@dataclass(frozen=True)
class Taken:
    """The state of things, as it was before a call."""

    things: Sequence[Thing]
    state: list[Any]


class Surroundings:
    """Keeps the process's state apart from what one owner makes of it.

    Several threads may be inside at once. What all threads share is put back by the last of them to leave.

    Args:
        things: What is looked after.
    """

    def __init__(self, things: Sequence[Thing] = THINGS) -> None:
        self._things = {
            (per_thread, with_torch): [
                each for each in things if each.per_thread is per_thread and (with_torch or not each.of_torch)
            ]
            for per_thread in (False, True)
            for with_torch in (False, True)
        }
        self._own: dict[Thing, Any] = {}
        self._lock = threading.Lock()
        self._inside = 0
        self._shared = Taken((), [])

    def enter(self) -> Taken:
        """Puts in place what the owner has made of things; what `leave` is to be called with."""
        with self._lock:
            if not self._inside:
                self._shared = self._take(per_thread=False)
            self._inside += 1
            return self._take(per_thread=True)

    def leave(self, taken: Taken) -> list[Change]:
        """Puts back what was there before the owner's call; what that has changed."""
        with self._lock:
            self._inside -= 1
            changes = self._put_back(taken)
            return changes if self._inside else changes + self._put_back(self._shared)

    def _take(self, *, per_thread: bool) -> Taken:
        things = self._things[per_thread, _has_torch()]
        taken = Taken(things, _states(things))
        if self._own:
            for thing, state in zip(things, taken.state, strict=True):
                if thing in self._own:
                    _restored(thing, thing.with_own(state, self._own[thing]))
        return taken

    def _put_back(self, taken: Taken) -> list[Change]:
        now = _states(taken.things)
        if now == taken.state and not self._own:
            return []
        return [
            change
            for thing, before, after in zip(taken.things, taken.state, now, strict=True)
            if (change := self._settled(thing, before, after)) is not None
        ]

    def _settled(self, thing: Thing, before: Any, after: Any) -> Change | None:
        if before == after:
            self._own.pop(thing, None)
            return None
        if thing.kept:
            self._own[thing] = thing.own(before, after)
        return Change(thing, before, after, _restored(thing, before))


def _states(things: Sequence[Thing]) -> list[Any]:
    try:
        return [thing.read() for thing in things]
    except Exception:  # of one that this version of a library does not have, or that is past being read
        return [_state(thing) for thing in things]


def _state(thing: Thing) -> Any:
    try:
        return thing.read()
    except Exception:
        return None


def _has_torch() -> bool:
    """Whether torch has been imported, to its end."""
    return hasattr(sys.modules.get("torch"), "set_default_device")


def _restored(thing: Thing, state: Any) -> str:
    """Puts something back; why it cannot be, in one line."""
    if state is None:
        return "it was not known before"
    try:
        thing.restore(state)
    except Exception as error:
        return one_line(error)
    return ""


@dataclass(eq=False)
class HostCode:
    """Code of one owner, such as a combination, that a host project has written.

    Attributes:
        owner: Whose it is, as messages name it.
        progress: Called with a short line where it has changed something of the process.
        things: What of the process is looked after.
        changes: What it has changed so far, a line each.
        known: What of that is told.
    """

    owner: str
    progress: Callable[[str], None] = lambda _: None
    things: Sequence[Thing] = THINGS
    changes: list[str] = field(default_factory=list)
    known: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._surroundings = Surroundings(self.things)
        self._here = threading.local()

    def anew(self, progress: Callable[[str], None]) -> HostCode:
        """The same owner's, that finds the process as it is: what is built a second time is to be built alike."""
        return replace(self, progress=progress)

    def call(
        self, doing: str, call: Callable[[], T], kind: type[GateError] = BuildError, passes: Collection[str] = ()
    ) -> T:
        """Calls it.

        Args:
            doing: What it does, as in "while encoding".
            call: Calls it.
            kind: What becomes of what would end the session.
            passes: What passes beside Ctrl-C, of pytest's outcomes.

        Raises:
            GateError: If it calls `sys.exit`, or raises anything else that would end more than its own call.
            Exception: As it raises it.
        """
        process = os.getpid()
        try:
            with nullcontext() if self._is_inside else self.together(doing):
                try:
                    return call()
                finally:
                    if os.getpid() != process:
                        self._end_copy(doing)
        except BaseException as error:
            trouble = told(error, self.owner, doing, kind, passes)
            if trouble is None:
                raise
        # No earlier, since an exception that is being handled keeps its frames, and they what they hold.
        raise trouble

    @contextmanager
    def together(self, doing: str) -> Iterator[None]:
        """Several calls, between which the process stays as their owner has it: it is looked at before and after them.

        Looking takes some microseconds, and ten times that between two calls that compute, which have filled the
        caches. So calls that are timed are made together.

        Args:
            doing: What they do, as in "while encoding".
        """
        if self._is_inside:
            yield
            return
        taken, self._here.inside = self._surroundings.enter(), True
        try:
            yield
        finally:
            self._here.inside = False
            self._tell(self._surroundings.leave(taken), doing)

    @property
    def _is_inside(self) -> bool:
        return getattr(self._here, "inside", False)

    def _tell(self, changes: Sequence[Change], doing: str) -> None:
        for each in changes:
            what = each.thing.told(each.before, each.after, self.known)
            if not what and each.trouble and each.thing.name not in self.known:
                self.known.add(each.thing.name)
                what = each.thing.name
            if what:
                line = f"{self.owner} changed {what} while {doing}; {self._became_of(each)}"
                self.changes.append(line)
                self.progress(line)

    def _became_of(self, change: Change) -> str:
        if change.trouble:
            return f"it cannot be put back ({change.trouble}), so all that comes after has it, too"
        if change.thing.then:
            return f"embedgate put it back: {change.thing.then}"
        alone = f", and sets it for {self.owner} alone" if change.thing.kept else ""
        return f"embedgate put it back{alone}"

    def _end_copy(self, doing: str) -> NoReturn:
        """Ends a copy of this process that came back from where it was forked: it would go on as a second session."""
        error = sys.exc_info()[1]
        if isinstance(error, SystemExit) and (error.code is None or isinstance(error.code, int)):
            os._exit((error.code or 0) & 0xFF)  # as it meant to
        line = f"embedgate: {self.owner} forked this process while {doing}, and the copy came back, so it ends here"
        with suppress(OSError):  # without what is in the buffers, which the process has that forked it
            os.write(2, f"{line}; call os._exit() in the copy\n".encode())
        os._exit(1)
