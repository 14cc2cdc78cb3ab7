"""The inside of a fresh process: pytest once more with the same arguments, which measures instead of testing.

Conftests and plugins are loaded as in the process that asks, so a host project's own combinations are there as well.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from embedgate import encoders
from embedgate.core.combination import Combination
from embedgate.core.errors import GateError, Unavailable, counted, one_line
from embedgate.core.settings import FRESH_OPTION
from embedgate.performance import footprint
from embedgate.performance.paired import Blocks, undisturbed
from embedgate.performance.timing import Timing
from embedgate.performance.workloads import LENGTHS, WORKLOADS, texts_of
from embedgate.runtime import resources
from embedgate.runtime.messages import Answer, ArmsBuilt, ArmsOf, FootprintOf, Request, RowsOf, TurnOf
from embedgate.runtime.processes import kill, other_threads

if TYPE_CHECKING:
    from embedgate.runtime.plan import Plan
    from embedgate.runtime.session import Session

ALONE = "run this combination alone; it may need more memory or time than there is"
# What a fresh process is: one that measures, or one that forks copies of itself that do.
WORKER, FORKS = "worker", "forks"
# What a process says once it can serve; what one that forks is asked, and what one that measures is told at its end.
READY, FORK, END = b"ready", b"fork", b"end"


def answer(plan: Plan, told: str) -> None:
    """Does the work of a fresh process, until the pipe to the session is closed.

    Args:
        plan: What the session was asked for.
        told: What it is to be, and the handle of its end of the pipe: `worker:5` or `forks:5`.

    Raises:
        GateError: If nobody holds the other end.
    """
    from embedgate.runtime.session import Session

    kind, _, handle = told.partition(":")
    try:
        if os.name == "posix":
            os.set_inheritable(int(handle), False)
        pipe = _end_of_pipe(int(handle))
    except (ValueError, OSError) as error:
        step = f"leave {FRESH_OPTION} to embedgate, which starts itself by it"
        raise GateError(f"there is no session at {told}", step) from error
    with closing(Session(plan)) as session:
        if kind == FORKS:
            _fork_as_asked(session, pipe)
        else:
            pipe.send_bytes(READY)
            _serve(session, pipe, _watched(pipe))


def _end_of_pipe(handle: int) -> Connection:
    if sys.platform == "win32":
        from multiprocessing.connection import PipeConnection

        return PipeConnection(handle)  # type: ignore[return-value]
    return Connection(handle)


def _fork_as_asked(session: Session, pipe: Connection) -> None:
    """Imports what every combination needs, and forks a process for each that is asked for.

    Where threads are at work, whose locks a copy would inherit without the threads, it says how many instead.
    """
    _prepare(session)
    if others := other_threads():
        pipe.send_bytes(f"{counted(others, 'thread')} at work".encode())
        return
    pipe.send_bytes(READY)
    children: set[int] = set()
    try:
        for asked in _received(pipe):
            if asked == FORK:
                handles = reduction.recv_handle(pipe), reduction.recv_handle(pipe)
                if (child := os.fork()) == 0:
                    pipe.close()
                    _become(session, *handles)
                for handle in handles:
                    os.close(handle)
                children.add(child)
                pipe.send_bytes(str(child).encode())
            else:
                child = int(asked)
                _, status = os.waitpid(child, 0)
                children.discard(child)
                pipe.send_bytes(str(os.waitstatus_to_exitcode(status)).encode())
    finally:
        for child in children:
            kill(child)


def _prepare(session: Session) -> None:
    """Imports and reads what every combination needs; builds nothing, and starts no thread."""
    plan = session.plan
    with suppress(Unavailable):
        encoders.import_library(plan.reference, plan.registry)
    for length in LENGTHS:
        texts_of(length)
    _ = session.context
    gc.collect()
    gc.freeze()  # or each copy would write to all that was imported, as soon as it looks for garbage


def _become(session: Session, handle: int, log: int) -> NoReturn:
    """What a copy does: it has streams and a group of its own, and leaves the frames below it alone."""
    status = 1
    try:
        os.setsid()  # no Ctrl-C reaches it: the session ends it
        nothing = os.open(os.devnull, os.O_RDONLY)
        for own, stream in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(own, stream)
        if faulthandler.is_enabled():
            faulthandler.enable(2)
        pipe = Connection(handle)
        pipe.send_bytes(READY)
        with closing(session):
            _serve(session, pipe, _received(pipe))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _received(pipe: Connection) -> Iterator[bytes]:
    """What is asked, until the end is told or the pipe is closed."""
    with suppress(EOFError, OSError):
        yield from iter(pipe.recv_bytes, END)


def _watched(pipe: Connection) -> Iterator[bytes]:
    """As `_received`, but the process ends with the pipe whatever it is at: nobody else would end it."""
    asked: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def receive() -> None:
        with suppress(EOFError, OSError):
            while True:
                asked.put(pipe.recv_bytes())
        os._exit(1)

    threading.Thread(target=receive, name="embedgate-pipe", daemon=True).start()
    yield from iter(asked.get, END)


def _serve(session: Session, pipe: Connection, requests: Iterator[bytes]) -> None:
    """Answers one request after the other."""
    measuring = Measuring(session)
    for asked in requests:
        found = measuring.answer(msgspec.json.decode(asked, type=Request))
        with suppress(OSError):  # the session has ended
            pipe.send_bytes(msgspec.json.encode(found))


class Measuring:
    """Measures as asked.

    Args:
        session: Builds; nothing was built yet.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._timing: Timing | None = None
        self._blocks: Blocks | None = None
        self._doing = ""

    def answer(self, request: Request) -> Answer[Any]:
        """Returns what was found, or the trouble there was, memory that ran out told as such."""
        self._doing = self._doing if isinstance(request, TurnOf) else request.combination
        try:
            return Answer(self._measure(request))
        except Exception as error:
            combination = Combination.parse(self._doing)
            told: GateError | None = resources.told(error, combination, "being measured in a fresh process")
            if told is None:
                known = error if isinstance(error, GateError) else None
                told = known or GateError(f"{combination} failed in a fresh process: {one_line(error)}", ALONE)
            return Answer(None, told.cause, told.action)

    def _measure(self, request: Request) -> Any:
        if isinstance(request, TurnOf):
            assert self._blocks is not None, "its arms are asked for before"
            turn = self._blocks.reference if request.arm == "reference" else self._blocks.candidate
            return _undisturbed_turn(turn)
        combination = self._known(request.combination)
        if isinstance(request, FootprintOf):
            return footprint.measure(self._session.pool, combination)
        self._timing = self._timing or Timing(self._session.pool)
        if isinstance(request, RowsOf):
            aims = request.workloads.items()
            return {name: self._timing.rows(combination, WORKLOADS[name], aim) for name, aim in aims}
        return self._arms(self._timing, combination, request)

    def _arms(self, timing: Timing, combination: Combination, request: ArmsOf) -> ArmsBuilt:
        load = WORKLOADS[request.workload]
        tokenise = timing.tokenise_seconds(load)
        self._blocks = timing.blocks(combination, load)
        threads = timing.other_threads(combination)
        gc.collect()
        return ArmsBuilt(timing.threads, threads, tokenise)

    def _known(self, id_: str) -> Combination:
        combination = self._session.plan.registry.find(id_)
        if combination is None:
            raise GateError(
                f"{id_} is not known in a fresh process",
                "add it in the conftest.py of the folder that pytest is called in, or in a plugin",
            )
        return combination


def _undisturbed_turn(turn: Callable[[], Sequence[float]]) -> list[float]:
    with undisturbed(collect=False):
        return [*turn()]
