"""One session of pytest in this process, which leaves it as it was."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from importlib import resources
from io import StringIO
from pathlib import Path
from threading import Lock

import pytest
from hypothesis import configuration

from embedgate.core.errors import GateError
from embedgate.encoders.registry import Registry
from embedgate.encoders.sources import Source
from embedgate.plugin.bench import BENCH, PROGRESS
from embedgate.plugin.options import CALLED
from embedgate.report.collector import NOT_JUDGED
from embedgate.report.summary import Summary, summarise

# What judges by approved values alone, so that without any it would be red whatever was measured.
APPROVED_ALONE = ("test_baseline.py", "test_golden.py")
# Other plugins of this environment may reorder, repeat or measure tests.
PLUGINS = ("embedgate.plugin", "benchmark")
VARIABLES = ("PYTEST_ADDOPTS", "PYTEST_PLUGINS")
_ENDED = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, NOT_JUDGED)
_running = Lock()


@dataclass(frozen=True)
class Asked:
    """A session that is asked for.

    Attributes:
        words: Options of pytest and of embedgate.
        held: What makes the candidates that are objects.
        approved: Whether approved values are held against, too.
    """

    words: Sequence[str]
    held: Sequence[Source] = ()
    approved: bool = False


@dataclass(frozen=True)
class Found:
    """What a session came to.

    Attributes:
        summary: Its findings; None where nothing had been judged.
        interrupted: Whether somebody interrupted it.
    """

    summary: Summary | None
    interrupted: bool = False


def run(asked: Asked, scratch: Path, show: Callable[[str], None] | None) -> Found:
    """Runs a session.

    Args:
        asked: What is asked for.
        scratch: An empty folder of its own.
        show: Shows a line of progress; None where pytest shows its own.

    Raises:
        GateError: If what is asked for means nothing, or pytest does not run to its end.
    """
    if not _running.acquire(blocking=False):
        raise GateError("another gate is running in this process", "call gate() again once that has ended")
    caller = _Caller(asked.held, show)
    try:
        with _restored(scratch), _silenced(show is not None) as told:
            status = pytest.main(_arguments(asked, scratch), plugins=[caller])
    finally:
        _running.release()
    if caller.trouble is not None:
        raise caller.trouble
    if status == pytest.ExitCode.INTERRUPTED:
        return Found(caller.summary, interrupted=True)
    if status not in _ENDED or caller.summary is None:
        raise _failed(int(status), told.getvalue())
    return Found(caller.summary)


def _arguments(asked: Asked, scratch: Path) -> list[str]:
    """All that pytest is given: the suites, and nothing of a project around."""
    ini = scratch / "pytest.ini"
    ini.write_text("[pytest]\n", "utf-8")
    suites = Path(str(resources.files("embedgate.suites")))
    ignored = () if asked.approved else APPROVED_ALONE
    return [
        *(f"-p{name}" for name in (*PLUGINS, "no:cacheprovider", "no:faulthandler")),
        f"-c{ini}",
        f"--rootdir={scratch}",
        "--noconftest",
        "--capture=sys",
        "--no-header",
        "--no-summary",
        f"--benchmark-storage=file://{scratch}",
        *(f"--ignore={suites / name}" for name in ignored),
        *asked.words,
        "--pyargs",
        "embedgate.suites",
    ]


@dataclass(eq=False)  # pytest keeps plugins in sets
class _Caller:
    """The plugin that brings in what was given, and takes out what was found."""

    held: Sequence[Source]
    show: Callable[[str], None] | None
    summary: Summary | None = None
    trouble: GateError | None = field(default=None, repr=False)

    def pytest_gate_combinations(self, registry: Registry) -> None:
        """Adds the candidates that are objects."""
        for source in self.held:
            registry.add_source(source, asked=True)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_cmdline_main(self, config: pytest.Config) -> Generator[None, int | None, int | None]:
        """Shows progress as the caller wants it, and keeps what pytest would print as misuse."""
        config.stash[CALLED] = True
        if self.show is not None:
            config.stash[PROGRESS] = self.show
        try:
            return (yield)
        except pytest.UsageError as error:
            cause = error.__cause__
            self.trouble = cause.anew() if isinstance(cause, GateError) else GateError(str(error))
            return pytest.ExitCode.USAGE_ERROR

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None]:
        """Takes the findings, once the plugin has gathered them all."""
        yield
        bench = session.config.stash[BENCH]
        if bench.collector.records or bench.collector.trouble:
            self.summary = summarise(bench.collector, bench.checks.known)


@contextmanager
def _silenced(silent: bool) -> Iterator[StringIO]:
    """Keeps what pytest prints, where somebody else shows progress; what is kept is for trouble."""
    told = StringIO()
    with ExitStack() as stack:
        if silent:
            stack.enter_context(redirect_stdout(told))
            stack.enter_context(redirect_stderr(told))
        yield told


@contextmanager
def _restored(scratch: Path) -> Iterator[None]:
    """Leaves what is of the whole process as it was; what libraries would keep in the working folder goes elsewhere."""
    root, environment, folder = logging.getLogger(), dict(os.environ), Path.cwd()
    handlers, level, argv, path = [*root.handlers], root.level, [*sys.argv], [*sys.path]
    threads = _torch_threads()
    kept_examples = vars(configuration).get("__hypothesis_home_directory")
    try:
        configuration.set_hypothesis_home_dir(scratch)
        for name in VARIABLES:
            os.environ.pop(name, None)
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        with warnings.catch_warnings():
            yield
    finally:
        configuration.set_hypothesis_home_dir(kept_examples)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        root.handlers[:], sys.argv[:], sys.path[:] = handlers, argv, path
        root.setLevel(level)
        if threads is not None:
            sys.modules["torch"].set_num_threads(threads)


def _torch_threads() -> int | None:
    """The threads that torch computes with; None where nobody has imported it."""
    torch = sys.modules.get("torch")
    return torch.get_num_threads() if torch is not None else None


def _failed(status: int, told: str) -> GateError:
    if status == pytest.ExitCode.NO_TESTS_COLLECTED:
        return GateError("nothing was asked: no check is left", "give fewer options of pytest")
    lines = [line for line in reversed(told.splitlines()) if line.strip()]
    last = next((line for line in lines if "error:" in line.lower()), lines[0] if lines else "")
    cause = f"pytest ended with status {status} before anything was judged" + (f": {last.strip()}" if last else "")
    return GateError(cause, "call it with quiet=False, in a terminal, to see what it says")
