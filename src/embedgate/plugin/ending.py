"""How a session ends: what it approves, tells and releases, and what ends it early."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from embedgate.core.errors import unwritten
from embedgate.plugin.bench import BENCH, progress
from embedgate.plugin.options import gives_out
from embedgate.report.collector import NOT_JUDGED, Collector, told

if TYPE_CHECKING:
    from embedgate.checks import Case
    from embedgate.core.judgement import Judgement
    from embedgate.plugin.bench import Bench
    from embedgate.report.records import Measured

# How often a combination may end the process of the tests: each time, what is left needs all encoded anew.
MOST_ENDS = 2
# Options by which pytest judges nothing: it tells of itself, or embedgate measures.
_TELLING = (
    *("help", "version", "collectonly", "markers", "showfixtures", "show_fixtures_per_test", "cacheshow", "setupplan"),
    *("gate_noise", "gate_fresh"),
)
# What a process of pytest-xdist has, to which the one that gives out tests hands on its options.
ELSEWHERE = "PYTEST_XDIST_WORKER"


def finish(bench: Bench, session: pytest.Session) -> None:
    """Approves where asked to, gathers the facts, and releases what was opened; nothing where nothing was judged."""
    if not bench.has_context:
        return
    from embedgate.approved.proposal import SECTION
    from embedgate.checks.approvals import Approvals
    from embedgate.checks.base import BaseBar

    context, collector = bench.context, bench.collector
    try:
        if bench.follows and not bench.is_copy:
            return  # what was judged was in another process; here, a host project's test has asked for a fixture
        if bench.session is None:
            with told(collector):
                collector.base = context.of(BaseBar).facts()
            return
        # First, since the facts name what is stale, for which everything there is to measure is measured.
        if bench.settings.update and session.exitstatus == pytest.ExitCode.INTERRUPTED:
            collector.trouble.append("nothing was approved: run --gate-update again, to its end")
        elif bench.settings.update and not bench.lost_some:
            with told(collector):
                collector.changes = context.of(Approvals).update()
        with told(collector):
            collector.knows(bench.facts(ended=True))
        reports = bench.settings.report is not None and not bench.settings.update
        if reports and not bench.lost_some and session.exitstatus != pytest.ExitCode.INTERRUPTED:
            with told(collector):
                collector.facts[SECTION] = [each.to_json() for each in context.of(Approvals).proposals()]
    finally:
        with told(collector):
            context.close()
        collector.trouble += context.unclosed


def cut_short(session: pytest.Session, collector: Collector) -> Iterator[str]:
    """Lines that say that not all was judged, or kept as it came."""
    if session.exitstatus == pytest.ExitCode.INTERRUPTED and collector.records:
        yield "interrupted: this covers the tests that had run by then"
    if session.exitstatus == pytest.ExitCode.INTERNAL_ERROR:
        yield "pytest ended by an internal error: this covers the tests that had run by then"
    if collector.journal is not None and collector.journal.trouble:
        yield collector.journal.trouble


def write_report(bench: Bench) -> None:
    """Sums up what was found, and writes the report where one is asked for."""
    collector, folder = bench.collector, bench.settings.report
    if not (collector.records or collector.trouble or collector.complaints):
        if collector.journal is not None:
            collector.journal.end(reported=False)
        return
    from embedgate.report.summary import summarise

    bench.summary = summarise(collector, bench.checks.known)
    if folder is None:
        return
    from embedgate.report.files import write

    try:
        bench.written = write(bench.summary, folder)
    except OSError as error:
        bench.unwritten = "; ".join(unwritten(folder, error, "name another folder by --gate-report"))
    else:
        if collector.journal is not None:
            collector.journal.end()


def withdraw_report(config: pytest.Config) -> None:
    """Takes an earlier report away where the command line names its folder: it would stand for a session that fails.

    Where an ini file names it, that waits for the first test that asks a check, since a session may ask none.
    """
    asked = config.known_args_namespace
    folder = getattr(asked, "gate_report", None)
    named = any(str(each).startswith("--gate-report") for each in config.invocation_params.args)  # not by addopts
    only_tells = any(getattr(asked, name, None) for name in _TELLING)
    if not folder or not named or only_tells or ELSEWHERE in os.environ:
        return
    from embedgate.report.journal import withdraw

    with suppress(OSError):  # what cannot be removed is told where it cannot be written
        withdraw(Path(folder))


def keeps_journal(bench: Bench) -> None:
    """Has what tests find kept as it comes, where a report is to be written, and takes an earlier report away."""
    folder, config = bench.settings.report, bench.config
    if folder is None or hasattr(config, "workerinput"):
        return
    from embedgate.report.journal import Journal

    bench.collector.journal = Journal(folder)
    if bench.selected:  # else with the first finding: an ini file may name the folder, and no test ask a check
        bench.collector.journal.begin()


def record_of(
    case: Case,
    judgement: Judgement | None = None,
    *,
    skipped: str = "",
    error: str = "",
    expected: str = "",
    other: Judgement | None = None,
    other_expected: str = "",
    run: Measured | None = None,
) -> dict[str, Any]:
    """What one test has found, as the plain values of a `Record`."""
    from embedgate.core.judgement import place_name
    from embedgate.report.records import Record, run_facts

    in_rows, combination = case.check.in_rows, case.combination
    return Record(
        combination.id if in_rows else "",
        in_rows and case.check.builds and combination.is_reference,
        judgement,
        skipped,
        error,
        expected,
        run_facts(run) if run else None,
        other,
        other_expected,
        place_name(case.place) if skipped else "",
    ).to_builtins()


@contextmanager
def never_green(session: pytest.Session) -> Iterator[None]:
    """Has `os._exit(0)` end this process with another exit code, where no other process follows the tests.

    Copies that tests make of this process end as they ask to.
    """
    config, own, ends = session.config, os.getpid(), os._exit
    if not config.stash[BENCH].selected:
        yield
        return

    def end(status: int) -> NoReturn:
        if not status and os.getpid() == own:
            status = NOT_JUDGED
            progress(config)(f"os._exit(0) ended the session, so nothing is judged: exit code {NOT_JUDGED}")
        ends(status)

    os._exit = end
    try:
        yield
    finally:
        os._exit = ends


@contextmanager
def terminable(session: pytest.Session) -> Iterator[None]:
    """Has SIGTERM end a session that judges as Ctrl-C does, where nobody else listens to it."""

    def stop(*_: object) -> NoReturn:
        raise session.Interrupted("SIGTERM")

    bench, config = session.config.stash[BENCH], session.config
    # Under pytest-xdist, the processes that judge collect, and not the one that is terminated.
    judges = gives_out(config) or (bench.selected and not hasattr(config, "workerinput"))
    is_main = threading.current_thread() is threading.main_thread()
    listens = judges and is_main and not bench.settings.is_call
    if not listens or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
