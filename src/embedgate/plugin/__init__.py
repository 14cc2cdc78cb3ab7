"""The pytest plugin: parametrisation, judging, and the session's report. No other package imports pytest."""

from __future__ import annotations

import os
import warnings
from collections.abc import Generator, Sequence
from contextlib import nullcontext

import pytest

from embedgate.core.errors import GateError, ResourceError
from embedgate.core.inert import inert, one_line_inert
from embedgate.core.settings import FRESH_OPTION
from embedgate.plugin import hookspecs as hooks
from embedgate.plugin.bench import BENCH, CASE, FOUND, Bench, case_of, is_empty, progress
from embedgate.plugin.course import places
from embedgate.plugin.ending import (
    cut_short,
    finish,
    keeps_journal,
    never_green,
    record_of,
    terminable,
    withdraw_report,
    write_report,
)
from embedgate.plugin.inert_reports import make_inert, make_warning_inert
from embedgate.plugin.options import (
    declare,
    gives_out,
    misuse,
    refuse_bad_files,
    refuse_bad_models,
    refuse_misfits,
    refuse_misuse,
    refuse_overwriting,
    refuse_without_benchmark,
)
from embedgate.plugin.xdist import GivenTests, GivesOut
from embedgate.report.collector import CRASHED, NOT_JUDGED, told

pytest_plugins = ("embedgate.fixtures.gate",)

MARKERS = {
    "gate(check)": "asks a check of embedgate's, by its name, of every combination that it is about",
    "cpu": "runs on the CPU",
    "gpu": "needs CUDA",
    "quality": "judges task quality or agreement with the reference",
    "ordering": "judges the order of similarities of generated sentences",
    "budget": "judges speed and memory",
    "search": "judges what stored vectors find",
    "slow": "takes minutes",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options `--gate-*` and their ini twins `gate_*`."""
    declare(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declares `pytest_gate_combinations`, `pytest_gate_engines` and `pytest_gate_checks`."""
    pluginmanager.add_hookspecs(hooks)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Takes an earlier report away before anything can end this session, as a `conftest.py` may that is imported."""
    withdraw_report(early_config)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Registers the markers and checks the options; a process of pytest-xdist turns to its GPU before all else."""
    if gpu := getattr(config, "workerinput", {}).get("gate_gpu"):
        from embedgate.encoders.gpu.listing import VARIABLE

        os.environ[VARIABLE] = gpu
    for marker, about in MARKERS.items():
        config.addinivalue_line("markers", f"{marker}: {about}")
    with misuse():
        config.stash[BENCH] = bench = Bench(config)
        config.pluginmanager.register(bench.collector, "embedgate-collector")
        if gives_out(config):
            config.pluginmanager.register(GivesOut(config, bench), "embedgate-gives-out")
        if hasattr(config, "workerinput"):
            config.pluginmanager.register(GivenTests(bench), "embedgate-given-tests")
        refuse_misuse(config, bench.settings)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Measures instead of testing: noise where a person asks for it, anything where another process does."""
    request = config.getoption(FRESH_OPTION)
    if request is None and not config.getoption("--gate-noise"):
        return None
    if request is not None:
        config.option.log_file = os.devnull  # or a fresh process would empty the host's
    config._do_configure()
    bench = config.stash[BENCH]
    try:
        with misuse():
            if request is not None:
                from embedgate.runtime.worker import answer

                answer(bench.plan, request)
            else:
                from embedgate.plugin.noise import tell

                tell(bench.plan, progress(config))
    finally:
        config._ensure_unconfigure()
    return int(pytest.ExitCode.OK)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrises a test by the cases of the check that it asks."""
    asks, marks = CASE in metafunc.fixturenames, [*metafunc.definition.iter_markers("gate")]
    if not asks and not marks:
        return
    bench, test = metafunc.config.stash[BENCH], metafunc.definition.nodeid
    try:
        if not asks:
            cause = f"{test} is marked with a check and never asks it"
            raise GateError(cause, "give it the fixture uphold, and call that")
        if len(marks) != 1 or len(marks[0].args) != 1 or not isinstance(marks[0].args[0], str):
            step = 'mark it @pytest.mark.gate("<check>"), once; docs/checks.md lists them'
            raise GateError(f"{test} does not name the one check that uphold is to ask", step)
        cases = bench.checks.named(marks[0].args[0]).cases(bench.plan)
    except GateError as error:
        # Raised here, it would be told once per module, with a traceback.
        bench.misuse = bench.misuse or str(error)
        return
    found = []
    for case in cases:
        mark = pytest.mark.gpu if case.combination.device == "cuda" else pytest.mark.cpu
        # What runs no combination, such as the check of a receipt, does not need its device.
        found.append(pytest.param(case, id=case.id, marks=[mark] if case.check.builds else []))
    metafunc.parametrize(CASE, found, indirect=True)


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Counts what a session was not asked for, since a receipt must tell."""
    for item in items:
        if case := case_of(item):
            item.config.stash[BENCH].deselected.append(case)


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None, None, None]:
    """Leaves out what the depth does not ask, and runs what matters first first: see `embedgate.plugin.course`.

    The order is there before other plugins see the tests, since `--stepwise` leaves out those before the last failure,
    and after them, since `-k`, `-m` and the depth decide which combinations there are.
    """
    bench = config.stash[BENCH]
    if bench.misuse:
        raise pytest.UsageError(inert(bench.misuse))
    # What there is nothing to ask of is no skipped test but no test.
    items[:] = [item for item in items if not is_empty(item)]
    _in_order(bench, items)
    yield
    cases = [case for item in items if (case := case_of(item))]
    if bench.settings.receipts and items and all(case.check.name != "receipt" for case in cases):
        raise pytest.UsageError("--gate-receipt verifies nothing here: its tests are deselected; give -m cpu, or no -m")
    if cases:
        with misuse():
            refuse_bad_models(bench.plan)
            refuse_bad_files(bench.plan, bench.checks)
            refuse_overwriting(bench.plan)
            _leave_out(config, items)
            if any(case.check.searches for item in items if (case := case_of(item))):
                refuse_misfits(bench.plan)
            if any(case.check.family == "time" for item in items if (case := case_of(item))):
                refuse_without_benchmark(config)
        _in_order(bench, items)


def _in_order(bench: Bench, items: list[pytest.Item]) -> None:
    if any(case_of(item) for item in items):
        with misuse():
            place = places(bench.plan.combinations, bench.checks)
        items.sort(key=lambda item: place(case_of(item)))


def _leave_out(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselects what is asked at greater depths alone.

    Raises:
        GateError: If that is all there was.
    """
    bench = config.stash[BENCH]
    beyond = [item for item in items if (case := case_of(item)) and not case.is_within(bench.plan)]
    if not beyond:
        return
    if len(beyond) == len(items):
        cause = f"nothing that was chosen is asked at the depth {bench.settings.depth}"
        emulated = dict.fromkeys(
            c.combination for item in beyond if (c := case_of(item)) and c.waits_for_its_type(bench.plan)
        )
        if emulated:
            cause += f", since this CPU has no instructions for the types of {', '.join(map(str, emulated))}"
            raise GateError(cause, "name them by --gate-combination, or give --gate-depth=nightly")
        raise GateError(cause, "give a greater one by --gate-depth; docs/checks.md says which check is asked at which")
    config.hook.pytest_deselected(items=beyond)
    left = {*map(id, beyond)}
    items[:] = [item for item in items if id(item) not in left]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Remembers what is asked, since red verdicts are corrected for how many checks there are."""
    session.config.stash[BENCH].selected = [case for item in session.items if (case := case_of(item))]


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Runs the tests that ask checks in a process of their own where that costs nothing, the others as pytest does.

    SIGTERM ends a session as Ctrl-C does: with a report.
    """
    bench, config = session.config.stash[BENCH], session.config
    if config.option.collectonly or _is_cut_short(session):
        return (yield)
    from embedgate.plugin import isolation
    from embedgate.plugin.supervisor import Supervisor

    isolated = isolation.applies(session)
    keeps_journal(bench)
    with terminable(session):
        if not isolated:
            with never_green(session):
                return (yield)
        Supervisor(session).run()
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
        with isolation.others_alone(session):
            return (yield)


def _is_cut_short(session: pytest.Session) -> bool:
    """Whether nothing is to run, since something could not be collected."""
    return bool(session.testsfailed and not session.config.option.continue_on_collection_errors)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Shows cause and action of trouble in a check instead of a traceback."""
    bench, case = item.config.stash[BENCH], case_of(item)
    if case is None:
        return (yield)
    from embedgate.runtime.crash_notes import running
    from embedgate.runtime.resources import forget

    session, combination = bench.session, case.combination
    try:
        with running(session.cache.root, f"{combination}: {item.name}") if session else nullcontext():
            return (yield)
    except Exception as error:
        told = error if isinstance(error, GateError) else None
        if told is None and session is not None:
            told = session.pool.guard.told(error, combination, "being judged")
        if told is None:
            raise
        trouble = told.anew()
        if isinstance(trouble, ResourceError):
            forget(error)
    if session is not None and isinstance(trouble, ResourceError):
        session.pool.give_back(combination)
    raise pytest.fail.Exception(one_line_inert(str(trouble)), pytrace=False)


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """Counts trouble in a check as an error: no quality was lost."""
    if report.when in ("call", CRASHED) and report.failed and getattr(report, "gate", {}).get("error"):
        return "error", "E", "ERROR"
    return None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Hangs what a test found on its report, on which it also reaches the controller of pytest-xdist."""
    report = yield
    case, bench = case_of(item), item.config.stash[BENCH]
    if case is not None:
        bench.course.took(case, call.when, call.duration)
        if call.when == "setup":
            bench.meets(case)
    if case is None or (report.passed and report.when != "call"):
        return report  # nothing was asked, or nothing was found
    make_inert(report)
    run = bench.session.finished_run(case.combination) if bench.session and case.check.in_rows else None
    what = (str(call.excinfo.value) or call.excinfo.typename) if call.excinfo else str(report.longrepr)
    found = item.stash.get(FOUND, None) if report.when == "call" else None
    judgement = found.judgement if found else None
    red = judgement is not None and bench.settings.strict.is_red(judgement)
    expected = str(getattr(report, "wasxfail", ""))
    report.gate = record_of(  # type: ignore[attr-defined]
        case,
        judgement,
        skipped=what if report.skipped and not expected else "",
        # A test may fail for more than what it judged.
        error=what if report.failed and not red else "",
        expected=expected,
        other=found.other if found else None,
        other_expected=found.other_expected if found else "",
        run=run,
    )
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_warning_recorded(warning_message: warnings.WarningMessage) -> None:
    """Has a warning say nothing that a terminal acts on."""
    make_warning_inert(warning_message)


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, None, None]:
    """Records the baseline where asked to, releases the encoders, and finds expected failures that are none."""
    bench = session.config.stash[BENCH]
    with never_green(session):
        finish(bench, session)
    yield  # under pytest-xdist, the controller gathers what its workers found
    collector = bench.collector
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["gate_facts"] = collector.facts
        session.config.workeroutput["gate_trouble"] = collector.trouble
        return
    bench.seal_facts()
    collector.trouble += cut_short(session, collector)
    if collector.facts and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        with told(collector):
            collector.complaints += bench.complaints()
    if (collector.trouble or collector.complaints) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if session.exitstatus == pytest.ExitCode.TESTS_FAILED and collector.lost_nothing:
        session.exitstatus = NOT_JUDGED
    if not session.config.option.collectonly:
        write_report(bench)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Prints the table a person decides from, and which files were written."""
    bench = config.stash[BENCH]
    if bench.summary is None:
        return
    from embedgate.report import terminal

    writer = terminalreporter._tw
    terminalreporter.section("embedgate", sep="=", bold=True)
    terminalreporter.write(terminal.render(bench.summary, width=writer.fullwidth, colour=writer.hasmarkup))
    for file in bench.written:
        terminalreporter.write_line(inert(f"wrote {file}"))
    if bench.unwritten:
        terminalreporter.write_line(inert(bench.unwritten), red=True)
