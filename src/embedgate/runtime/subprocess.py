"""Measures in fresh processes, one for each combination: what a session has done before, and keeps, disturbs nothing.

Where the system can fork (Linux), one process imports what all need, once in a session, and each fresh process is a
copy of it. Elsewhere, and for what computes on a GPU, each is started anew. `embedgate.runtime.worker` is what runs
inside.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import Pipe, reduction
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any, TypeVar

import msgspec

from embedgate.core.combination import Combination
from embedgate.core.errors import BuildError, GateError
from embedgate.core.settings import FRESH_OPTION
from embedgate.performance.footprint import Footprint
from embedgate.performance.paired import Aim, Blocks, Row
from embedgate.performance.workloads import Workload
from embedgate.runtime.messages import Answer, Arm, ArmsBuilt, ArmsOf, FootprintOf, Request, RowsOf, TurnOf
from embedgate.runtime.processes import CAN_FORK, kill
from embedgate.runtime.worker import ALONE, END, FORK, FORKS, READY, WORKER

# For starting and building, and again for each workload.
TIMEOUT_SECONDS = 600
# What a process may take to release what it holds.
ENDING_SECONDS = 10
# Keeps the allocator of pyarrow, which transformers imports, from starting a thread as it is imported: it needs none.
WITHOUT_THREADS = {"JE_ARROW_MALLOC_CONF": "background_thread:false"}

T = TypeVar("T")


@dataclass
class _Process:
    """A process that was started, and the pipe to it.

    Attributes:
        pid: Its number.
        pipe: This end of the pipe.
        log: What it prints.
        wait: Waits until it has ended; its exit status, or less than zero where a signal killed it.
        leave: Waits a while for it to end by itself, where closing its end of the pipe is not the last that it does.
    """

    pid: int
    pipe: Connection
    log: IO[bytes]
    wait: Callable[[], int]
    leave: Callable[[], object] = lambda: None

    def said(self) -> str:
        """The line that tells an error, or else the last one."""
        self.log.seek(0)
        printed = self.log.read().decode("utf-8", errors="replace")
        lines = [line.strip() for line in printed.splitlines() if line.strip()]
        told = [line for line in lines if "error:" in line.lower() and "usage:" not in line]
        return (told or lines or ["it printed nothing"])[-1]

    def end(self) -> None:
        """Has it release what it holds, and ends it."""
        with suppress(OSError, EOFError):
            self.pipe.send_bytes(END)
            if self.pipe.poll(ENDING_SECONDS):
                self.pipe.recv_bytes()  # raises, since the other end is closed
        self.leave()
        self.kill()

    def kill(self) -> int:
        """Ends it at once; its exit status."""
        with suppress(OSError):
            self.pipe.close()
        kill(self.pid)
        status = self.wait()
        self.log.close()
        return status


class Worker:
    """A fresh process that serves one combination.

    Args:
        combination: The combination.
        process: The process.

    Attributes:
        pid: Its number.
        used: Whether it has measured anything.
        closed: Whether it has ended.
    """

    def __init__(self, combination: Combination, process: _Process) -> None:
        self.combination = combination
        self.pid = process.pid
        self.used = False
        self.closed = False
        self._process = process

    def footprint(self) -> Footprint:
        """Memory and cold start of the combination; to be asked before anything else.

        Raises:
            GateError: If it cannot be measured.
        """
        return self._ask(FootprintOf(self.combination.id), Footprint)

    def rows(self, workloads: Mapping[str, Aim]) -> dict[str, list[Row]]:
        """Turns of the combination and its reference, by workload.

        Args:
            workloads: By the id of a workload, what is asked about it.

        Raises:
            GateError: If it cannot be measured.
        """
        request = RowsOf(self.combination.id, dict(workloads))
        return self._ask(request, dict[str, list[Row]], 1 + len(workloads))

    def arms(self, load: Workload) -> Arms:
        """The combination and its reference, built and warm, to take turns on a workload.

        Raises:
            GateError: If one of them cannot be built or does not encode.
        """
        built = self._ask(ArmsOf(self.combination.id, load.id), ArmsBuilt, 2)
        blocks = Blocks(lambda: self._turn("reference"), lambda: self._turn("candidate"), elsewhere=True)
        return Arms(blocks, built.threads, built.other_threads, built.tokenise_seconds, self.pid)

    def close(self) -> None:
        """Ends it."""
        if not self.closed:
            self.closed = True
            self._process.end()

    def _turn(self, arm: Arm) -> list[float]:
        return self._ask(TurnOf(arm), list[float])

    def _ask(self, request: Request, form: type[T], times: int = 1) -> T:
        self.used = True
        try:
            answer: Answer[T] = msgspec.json.decode(self._answer(request, TIMEOUT_SECONDS * times), type=Answer[form])  # type: ignore[valid-type]
            if answer.found is None:
                raise GateError(answer.cause, answer.action)
        except GateError:
            self.close()  # what it has built is of no known state
            raise
        except BaseException:  # what it would still say belongs to nothing that is asked later
            self._kill()
            raise
        return answer.found

    def _answer(self, request: Request, timeout: float) -> bytes:
        process = self._process
        try:
            process.pipe.send_bytes(msgspec.json.encode(request))
            if process.pipe.poll(timeout):
                return process.pipe.recv_bytes()
        except (EOFError, OSError) as error:
            raise self._ended() from error
        self._kill()
        raise BuildError(f"{self.combination} took more than {timeout // 60:.0f} minutes in a fresh process", ALONE)

    def _ended(self) -> BuildError:
        self._process.leave()  # its pipe may be closed before it has ended: killed now, it would seem to have crashed
        said = self._process.said()
        return died(self.combination, self._kill(), said)

    def _kill(self) -> int:
        self.closed = True
        return self._process.kill()


@dataclass(frozen=True)
class Arms:
    """A combination and its reference in a fresh process, built and warm.

    Attributes:
        blocks: Takes their turns.
        threads: Threads that both were built with.
        other_threads: Threads that the candidate tells of, where it was to have others; else None.
        tokenise_seconds: What tokenising the texts of a turn takes; None where the model's tokenizer is not known.
        pid: The process, whose time is this session's own.
    """

    blocks: Blocks
    threads: int
    other_threads: int | None = None
    tokenise_seconds: float | None = None
    pid: int | None = None


@dataclass
class FreshProcesses:
    """The fresh processes of a session, of which one is kept: the one that serves the combination at hand.

    Attributes:
        arguments: What pytest was called with.
        folder: Where it was called.
        forks: Whether processes are copies of one that was started before, where nothing speaks against it.
    """

    arguments: Sequence[str]
    folder: Path
    forks: bool = CAN_FORK
    _kept: Worker | None = field(default=None, init=False)
    _source: _Process | None = field(default=None, init=False)
    _arms: tuple[Worker, Workload, Arms] | None = field(default=None, init=False)

    def footprint(self, combination: Combination) -> Footprint:
        """Memory and cold start of a combination, in a process that has built nothing before.

        Raises:
            GateError: If it cannot be measured.
        """
        return self._of(combination, unused=True).footprint()

    def arms(self, combination: Combination, load: Workload) -> Arms:
        """A combination and its reference, built and warm, to take turns on a workload.

        Asked again for the last one, it gives the same with the turns that they have taken.

        Raises:
            GateError: If one of them cannot be built or does not encode.
        """
        worker = self._of(combination)
        if self._arms is None or self._arms[:2] != (worker, load):
            self._arms = worker, load, worker.arms(load)
        return self._arms[2]

    @contextmanager
    def another(self, combination: Combination) -> Iterator[Worker]:
        """A process that shares nothing with the one that is kept, and ends with the context.

        Raises:
            GateError: If none can be started.
        """
        worker = self._open(combination)
        try:
            yield worker
        finally:
            worker.close()

    def close(self) -> None:
        """Ends all of them."""
        if self._kept is not None:
            self._kept.close()
        if self._source is not None:
            self._source.end()
        self._kept = self._source = self._arms = None

    def _of(self, combination: Combination, *, unused: bool = False) -> Worker:
        kept = self._kept
        if kept is not None and kept.combination == combination and not kept.closed and not (unused and kept.used):
            return kept
        if kept is not None:
            kept.close()
        self._kept = None  # where no other can be opened, either
        self._kept = self._open(combination)
        return self._kept

    def _open(self, combination: Combination) -> Worker:
        if self.forks and combination.device != "cuda":
            process = self._forked(combination)
            if process is not None:
                return Worker(combination, process)
        process = self._started(WORKER, combination)
        _first_word(process, combination)
        return Worker(combination, process)

    def _forked(self, combination: Combination) -> _Process | None:
        """A copy of the process that forks, which is started where there is none; None where it had better not."""
        if self._source is None:
            source = self._started(FORKS, combination)
            if _first_word(source, combination) != READY:
                self.forks = False
                source.kill()
                return None
            self._source = source
        source, log = self._source, _log()
        mine, theirs = Pipe()
        try:
            source.pipe.send_bytes(FORK)
            for handle in (theirs.fileno(), log.fileno()):
                reduction.send_handle(source.pipe, handle, source.pid)
            pid = int(source.pipe.recv_bytes())
        except (EOFError, OSError) as error:
            self._source = None
            source.leave()
            said = source.said()
            raise died(combination, source.kill(), said) from error
        except BaseException:  # whose copy the next answer is about would not be known
            self._source = None
            source.kill()
            raise
        finally:
            theirs.close()

        def wait() -> int:
            with suppress(EOFError, OSError):
                source.pipe.send_bytes(str(pid).encode())
                return int(source.pipe.recv_bytes())
            return -1  # it ended with the process that forked it

        process = _Process(pid, mine, log, wait)
        _first_word(process, combination)
        return process

    def _started(self, kind: str, combination: Combination) -> _Process:
        """Pytest once more, with the same arguments."""
        mine, theirs = Pipe()
        log = _log()
        handle = theirs.fileno()
        # First, since whatever comes after a `--` of the user's is a path.
        command = [sys.executable, "-m", "pytest", f"{FRESH_OPTION}={kind}:{handle}", *self.arguments]
        environment = {**(WITHOUT_THREADS if kind == FORKS else {}), **os.environ}
        given: dict[str, Any] = {"pass_fds": [handle], "start_new_session": True}
        if os.name == "nt":
            os.set_handle_inheritable(handle, True)  # type: ignore[attr-defined]
            given = {"close_fds": False}
        try:
            started = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **given
            )
        except OSError as error:
            mine.close()
            raise BuildError(f"no fresh process could be started: {error}") from error
        finally:
            theirs.close()

        def leave() -> None:
            with suppress(subprocess.TimeoutExpired):
                started.wait(ENDING_SECONDS)

        return _Process(started.pid, mine, log, started.wait, leave)


def _log() -> IO[bytes]:
    """A file for what a process prints, gone once it is closed."""
    return tempfile.TemporaryFile()


def _first_word(process: _Process, combination: Combination) -> bytes:
    """What a process says once it is ready."""
    try:
        if process.pipe.poll(TIMEOUT_SECONDS):
            return process.pipe.recv_bytes()
    except (EOFError, OSError) as error:
        process.leave()
        said = process.said()
        raise died(combination, process.kill(), said) from error
    process.kill()
    raise BuildError(f"{combination} took more than {TIMEOUT_SECONDS // 60} minutes in a fresh process", ALONE)


def died(combination: Combination, status: int, said: str) -> BuildError:
    """The error of a process that ended early.

    Args:
        combination: What it was to measure.
        status: Its exit status; less than zero where a signal killed it.
        said: The last that it printed.
    """
    how = f"was killed by signal {-status}" if status < 0 else "ended without an answer"
    return BuildError(f"the fresh process of {combination} {how}: {said}", ALONE)
