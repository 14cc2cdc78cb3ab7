"""The inside of the process that tests run in: it tells the one that began it all that pytest tells its plugins."""

from __future__ import annotations

import copy
import os
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from embedgate.plugin.bench import BENCH, PROGRESS, case_of
from embedgate.plugin.ending import finish

if TYPE_CHECKING:
    import warnings

    from embedgate.plugin.bench import Bench

# Of Linux's `prctl`: the signal that a process gets once its parent has ended.
_PR_SET_PDEATHSIG = 1
# The hooks that tell of a report, and of a warning.
REPORTED, WARNED = "pytest_runtest_logreport", "pytest_warning_recorded"


@dataclass(frozen=True)
class At:
    """A test is next, told by its place in the session."""

    place: int


@dataclass(frozen=True)
class Done:
    """A test has ended, told by its place in the session."""

    place: int


@dataclass(frozen=True)
class Hook:
    """A hook of pytest was called that tells of tests; a report is one in plain values."""

    name: str
    given: Mapping[str, Any]


@dataclass(frozen=True)
class Line:
    """A line of progress."""

    text: str


@dataclass(frozen=True)
class Facts:
    """What the session ran on, as far as it is known by now."""

    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Measured:
    """Benchmarks of pytest-benchmark that a test has made."""

    benchmarks: Sequence[Any]


@dataclass(frozen=True)
class End:
    """Nothing is left to run.

    Attributes:
        facts: What the session ran on; empty where nothing was judged.
        changes: Rows of baseline changes, where a baseline was recorded.
        base: What is told of the base branch's bar where no combination ran.
        trouble: Lines about what went wrong outside any test.
        interrupted: Whether Ctrl-C ended it.
        ended: Message and exit status of a `pytest.exit`; None where there was none.
        internal: The traceback of what no test is to blame for; empty where there was nothing.
    """

    facts: Mapping[str, Any] = field(default_factory=dict)
    changes: list[tuple[str, ...]] | None = None
    base: Mapping[str, Any] = field(default_factory=dict)
    trouble: Sequence[str] = ()
    interrupted: bool = False
    ended: tuple[str, int | None] | None = None
    internal: str = ""


def become(session: pytest.Session, places: Sequence[int], pipe: Connection) -> NoReturn:
    """Runs tests, tells what comes of them, and ends the process.

    Args:
        session: The session, of which this process is a copy.
        places: Which tests to run, in this order.
        pipe: This process's end of the pipe.
    """
    status = 1
    try:
        os.setsid()  # no Ctrl-C reaches it but through its parent, which ends all that it has started
        _end_with_parent()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        config = session.config
        config.stash[PROGRESS] = lambda line: pipe.send(Line(line))
        bench = config.stash[BENCH]
        bench.collector.journal = None  # the parent keeps it
        bench.tell = lambda facts: pipe.send(Facts(facts))
        _silence(config)
        telling = _Telling(config, pipe)
        config.pluginmanager.register(telling, "embedgate-telling")  # which tells it of warnings that were told above
        telling.begins = True
        pipe.send(_run(session, places, pipe))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


class _Telling:
    """The plugin that tells of tests, once it is to begin."""

    def __init__(self, config: pytest.Config, pipe: Connection) -> None:
        self.begins = False
        self._config = config
        self._pipe = pipe

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, nodeid: str, location: tuple[str, int | None, str]) -> None:
        self._tell("pytest_runtest_logstart", nodeid=nodeid, location=location)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        plain = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._tell(REPORTED, report=plain)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logfinish(self, nodeid: str, location: tuple[str, int | None, str]) -> None:
        self._tell("pytest_runtest_logfinish", nodeid=nodeid, location=location)

    @pytest.hookimpl(tryfirst=True)
    def pytest_warning_recorded(
        self, warning_message: warnings.WarningMessage, when: str, nodeid: str, location: Any
    ) -> None:
        plain = copy.copy(warning_message)
        plain.source = None
        # A warning of a host project's own class may hold what no pipe can carry.
        plain.message = str(warning_message.message)
        self._tell(WARNED, warning_message=plain, when=when, nodeid=nodeid, location=location)

    def _tell(self, name: str, **given: Any) -> None:
        if self.begins:
            self._pipe.send(Hook(name, given))


def _run(session: pytest.Session, places: Sequence[int], pipe: Connection) -> End:
    """Runs the tests; what is to be told at the end."""
    ended, interrupted, internal = None, False, ""
    try:
        _run_each(session, places, pipe)
    except KeyboardInterrupt:
        interrupted = True
    except pytest.exit.Exception as error:
        ended = error.msg, error.returncode
    except BaseException:
        internal = traceback.format_exc()
    failed = pytest.ExitCode.TESTS_FAILED if session.testsfailed else pytest.ExitCode.OK
    session.exitstatus = pytest.ExitCode.INTERRUPTED if interrupted or ended or internal else failed
    return _end(session, interrupted=interrupted, ended=ended, internal=internal)


def _run_each(session: pytest.Session, places: Sequence[int], pipe: Connection) -> None:
    made: list[Any] = getattr(getattr(session.config, "_benchmarksession", None), "benchmarks", [])
    for place, after in zip(places, [*places[1:], None], strict=True):
        known = len(made)
        pipe.send(At(place))
        following = None if after is None else session.items[after]
        session.config.hook.pytest_runtest_protocol(item=session.items[place], nextitem=following)
        if made[known:]:
            pipe.send(Measured([*map(_plain_benchmark, made[known:])]))
        if following is not None:
            _release(session.config.stash[BENCH], following)
        pipe.send(Done(place))
        if session.shouldfail or session.shouldstop:
            return


def _release(bench: Bench, following: pytest.Item) -> None:
    """Closes what the next test does not need, while the process is still at the one that needed it.

    A crash as it is closed is then an error of its own combination.
    """
    case = case_of(following)
    if case is not None and bench.session is not None:
        bench.session.pool.close_others(case.combination)


def _end(session: pytest.Session, **how: Any) -> End:
    """Releases what the tests have opened, approves where asked to, and gathers the facts."""
    bench = session.config.stash[BENCH]
    collector = bench.collector
    known = len(collector.trouble)
    try:
        session._setupstate.teardown_exact(None)
        finish(bench, session)
    except Exception:
        how["internal"] = how["internal"] or traceback.format_exc()
    return End(collector.facts, collector.changes, collector.base, collector.trouble[known:], **how)


def _silence(config: pytest.Config) -> None:
    """Leaves it to the parent to show what is told: the reporter stays, since plugins look for it."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter._tw._file = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def _plain_benchmark(benchmark: Any) -> Any:
    """A benchmark without the fixture that made it, and without its test's parameters, which the parent has as well."""
    plain = copy.copy(benchmark)
    plain.fixture = SimpleNamespace(has_error=benchmark.has_error)
    plain.params = plain.param = None
    return plain


def _end_with_parent() -> None:
    """Has the kernel end this process once its parent has ended, however that ends."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
