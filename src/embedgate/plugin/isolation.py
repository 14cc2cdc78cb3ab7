"""Whether the tests that ask checks run in a process of their own, and if not, why not."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from embedgate.core.errors import counted, listed
from embedgate.core.isolation import Isolation
from embedgate.plugin.bench import BENCH, case_of, progress
from embedgate.runtime import processes


def applies(session: pytest.Session) -> bool:
    """Whether the tests that ask checks run in a process of their own; says so where they could not.

    Raises:
        pytest.UsageError: If that was asked for, and cannot be.
    """
    config = session.config
    asked = config.stash[BENCH].settings.isolate
    builds = any((case := case_of(item)) and case.check.builds for item in session.items)
    # A process of pytest-xdist is one already; the session has refused what does not go together.
    if not builds or asked is Isolation.OFF or hasattr(config, "workerinput"):
        return False
    if asked is Isolation.AUTO and _is_called(config):
        return False
    reason = why_not(config)
    if reason and asked is Isolation.ON:
        raise pytest.UsageError(f"--gate-isolate: {reason}; leave it out, or install pytest-xdist and give -n 1")
    if reason:
        progress(config)(f"a crash would end the session, which runs the tests itself: {reason}")
    return not reason


def _is_called(config: pytest.Config) -> bool:
    """Whether pytest is but a part of this process: whoever called it keeps what they hand over."""
    given = config.invocation_params
    called = any(part == "py.test" or "pytest" in part for part in Path(sys.argv[0]).parts[-2:])
    return not called or bool(given.plugins) or [*map(str, given.args)] != sys.argv[1:]


def why_not(config: pytest.Config) -> str:
    """Why tests cannot run in a process of their own, or had better not; empty where they can."""
    if not processes.CAN_FORK:
        return f"no process can be copied on {sys.platform}"
    covers = _covers()
    if _asks(config, "usepdb", "trace") or (_is_traced() and not covers):
        return "a debugger or profiler needs the process that it is started in"
    logs = config.pluginmanager.hasplugin("logging") and config.getini("log_cli")
    if logs or _asks(config, "setupshow", "log_cli_level"):
        return "what --setup-show and live logs print would be lost"
    if covers and not _saves_in_copies(covers):
        return "coverage would be lost there, whose settings lack patch = ['_exit', 'fork']"
    if threading.current_thread() is not threading.main_thread():
        return "pytest does not run in the main thread"
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        return "it was started with SIGCHLD ignored, so that how a process ends is not told"
    try:
        others = processes.other_threads()
    except OSError as error:
        return f"the system lets no process be copied ({error})"
    if others:
        names = [each.name for each in threading.enumerate() if each is not threading.main_thread()]
        which = f" ({listed(names)})" if names else ""
        return f"{counted(others, 'thread')}{which} of this process {'is' if others == 1 else 'are'} at work already"
    return ""


def _asks(config: pytest.Config, *names: str) -> bool:
    """Whether any of pytest's options is given; it has none of a plugin that is off (`-p no:debugging`)."""
    return any(getattr(config.option, name, None) for name in names)


def _is_traced() -> bool:
    """Whether a debugger or profiler follows this process."""
    tools = getattr(sys, "monitoring", None)
    follows = [tools.get_tool(each) for each in (tools.DEBUGGER_ID, tools.PROFILER_ID)] if tools else []
    return sys.gettrace() is not None or sys.getprofile() is not None or any(follows)


def _covers() -> Any:
    """What counts coverage in this process; None where nothing does."""
    return sys.modules["coverage"].Coverage.current() if "coverage" in sys.modules else None


def _saves_in_copies(covers: Any) -> bool:
    """Whether coverage saves what a copy of this process ran, as that ends."""
    try:
        patched = covers.get_option("run:patch")
    except Exception:  # of a coverage that knows no such option
        return False
    return {"_exit", "fork"} <= {*(patched or ())}


@contextmanager
def others_alone(session: pytest.Session) -> Iterator[None]:
    """Leaves pytest the tests that ask no check."""
    items, option = session.items, session.config.option
    goes_on = option.continue_on_collection_errors
    session.items = [item for item in items if case_of(item) is None]
    option.continue_on_collection_errors = True  # or it would take what has failed for what could not be collected
    try:
        yield
    finally:
        session.items, option.continue_on_collection_errors = items, goes_on
