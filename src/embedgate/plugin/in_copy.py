"""The inside of the process that tests run in: it tells the one that began it all that pytest tells its plugins."""

from __future__ import annotations

import copy
import os
import signal
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from embedgate.plugin.bench import BENCH, PROGRESS
from embedgate.plugin.ending import finish
from embedgate.runtime.forked import Teller

if TYPE_CHECKING:
    import warnings


# The hooks that tell of a report, and of a warning.
REPORTED, WARNED = "pytest_runtest_logreport", "pytest_warning_recorded"


@dataclass(frozen=True)
class At:
    """A test is next, told by its place in the session."""

    place: int


@dataclass(frozen=True)
class Of:
    """What goes on is of a combination, told by its id, that need not be the test's: of its reference, for example."""

    combination: str


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


def become(session: pytest.Session, places: Sequence[int], tell: Teller) -> None:
    """Runs tests, and tells what comes of them.

    Args:
        session: The session, of which this process is a copy.
        places: Which tests to run, in this order.
        tell: Tells the process that it is a copy of.
    """
    config = session.config
    bench = config.stash[BENCH]
    config.stash[PROGRESS] = lambda line: tell(Line(line))
    bench.is_copy, bench.collector.facts = True, {}
    bench.collector.journal = None  # the parent keeps it
    bench.tell = lambda facts: tell(Facts(facts))
    bench.at = lambda combination: tell(Of(combination.id))
    _silence(config)
    telling = _Telling(config, tell)
    config.pluginmanager.register(telling, "embedgate-telling")  # which tells it of warnings that were told above
    telling.begins = True
    tell(_run(session, places, tell))


class _Telling:
    """The plugin that tells of tests, once it is to begin; in plain values, which need no module to be read."""

    def __init__(self, config: pytest.Config, tell: Teller) -> None:
        self.begins = False
        self._config = config
        self._tell_parent = tell

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
        category = warning_message.category
        known = next(each for each in category.__mro__ if each.__module__ == "builtins")
        text = str(warning_message.message)
        plain = {
            "message": text if known is category else f"{category.__name__}: {text}",
            "category": known.__name__,
            "filename": warning_message.filename,
            "lineno": warning_message.lineno,
            "line": warning_message.line,
        }
        self._tell(WARNED, warning_message=plain, when=when, nodeid=nodeid, location=location)

    def _tell(self, name: str, **given: Any) -> None:
        if self.begins:
            self._tell_parent(Hook(name, _plain(given)))


def _plain(value: Any) -> Any:
    """A value as Python's own types; whatever a host project or another plugin has put there besides, as text."""
    if isinstance(value, dict):
        return {_plain(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_plain, value)) if type(value) in (list, tuple) else [*map(_plain, value)]
    return value if value is None or type(value) in (bool, int, float, str, bytes) else str(value)


def _run(session: pytest.Session, places: Sequence[int], tell: Teller) -> End:
    """Runs the tests; what is to be told at the end."""
    known = len(session.config.stash[BENCH].collector.trouble)
    ended, interrupted, internal = None, False, ""
    try:
        _run_each(session, places, tell)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is sent again to who has not heard it
        interrupted = True
    except pytest.exit.Exception as error:
        ended = error.msg, error.returncode
    except BaseException:
        internal = traceback.format_exc()
    failed = pytest.ExitCode.TESTS_FAILED if session.testsfailed else pytest.ExitCode.OK
    cut_short = interrupted or ended or internal or session.shouldstop
    session.exitstatus = pytest.ExitCode.INTERRUPTED if cut_short else failed
    return _end(session, known, interrupted=interrupted, ended=ended, internal=internal)


def _run_each(session: pytest.Session, places: Sequence[int], tell: Teller) -> None:
    made: list[Any] = getattr(getattr(session.config, "_benchmarksession", None), "benchmarks", [])
    for place, after in zip(places, [*places[1:], None], strict=True):
        known = len(made)
        tell(At(place))
        following = None if after is None else session.items[after]
        session.config.hook.pytest_runtest_protocol(item=session.items[place], nextitem=following)
        if made[known:]:
            with suppress(Exception):  # a timer or option of a host project's own, which no pipe can carry
                tell(Measured([*map(_plain_benchmark, made[known:])]))
        session.config.stash[BENCH].release_for(following)
        tell(Done(place))
        if session.shouldfail or session.shouldstop:
            return


def _end(session: pytest.Session, known: int, **how: Any) -> End:
    """Releases what the tests have opened, approves where asked to, and gathers the facts.

    Args:
        session: The session.
        known: How many lines of trouble the parent knows.
        how: How the tests ended.
    """
    bench = session.config.stash[BENCH]
    collector = bench.collector
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
