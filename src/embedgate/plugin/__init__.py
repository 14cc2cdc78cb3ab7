"""The pytest plugin: parametrisation, judging, and the session's report. The only module that imports pytest."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from embedgate.core.combination import Combination, Registry
from embedgate.core.errors import GateError, ResourceError
from embedgate.core.settings import FRESH_OPTION
from embedgate.plugin import hookspecs as hooks
from embedgate.plugin.options import (
    declare,
    refuse_bad_files,
    refuse_bad_models,
    refuse_misfits,
    refuse_misuse,
    settings_of,
)
from embedgate.plugin.xdist import VARIABLE, gpu_for_next, gpus, shared
from embedgate.report.collector import Collector

if TYPE_CHECKING:
    from embedgate.approved.expected_failures import Expected
    from embedgate.checks.judge import Judge
    from embedgate.checks.receipt import ReceiptChecks
    from embedgate.core.judgement import Judgement
    from embedgate.report.receipt import Invocation
    from embedgate.runtime.plan import Plan

pytest_plugins = ("embedgate.fixtures.gate",)

MARKERS = {
    "cpu": "runs on the CPU",
    "gpu": "needs CUDA",
    "quality": "judges task quality or agreement with the reference",
    "ordering": "judges the order of similarities of generated sentences",
    "budget": "judges speed and memory",
    "search": "judges what stored vectors find",
    "slow": "takes minutes",
}
# Checks judged statistically: red verdicts are corrected for their number.
FAMILY = ("gate_measure", "gate_agreement", "gate_ordering", "gate_upgrade")
# The same of stored vectors, a family of its own: there are many, and whoever stores float32 needs none of them.
SEARCH_FAMILY = ("gate_precision", "gate_storage", "gate_stored_measure", "gate_mixture")
# What is asked of every index of an engine, over the reference's vectors.
ENGINE = "gate_engine"
SEARCH_LOAD = "gate_search_load"
ENGINES = (ENGINE, SEARCH_LOAD)
COMBINATION_FIXTURES = ("gate_combination", "gate_candidate", "gate_reference")
RECEIPT = "gate_receipt"


class Bench:
    """What one pytest session works with; heavy parts are made when a test first needs them."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.settings = settings_of(config)
        self.collector = Collector(strict=self.settings.strict)
        self.family = 1
        self.search_family = 1
        self.budget_family = 1
        self.selected: Counter[str] = Counter()
        self.deselected: Counter[str] = Counter()
        self.misuse = ""
        self.gpus: list[str] = []
        self.gpu_of: dict[str, str] = {}

    @cached_property
    def plan(self) -> Plan:
        """Combinations and datasets of the session."""
        from embedgate.runtime.plan import Plan
        from embedgate.vectors.engines.base import EngineRegistry

        registry = Registry()
        self.config.hook.pytest_gate_combinations(registry=registry)
        engines = EngineRegistry()
        self.config.hook.pytest_gate_engines(registry=engines)
        return Plan.of(self.settings, registry, engines)

    @cached_property
    def judge(self) -> Judge:
        """The judge of the session."""
        from embedgate.checks.judge import Judge
        from embedgate.runtime.journal import interrupted
        from embedgate.runtime.session import Session

        progress = _progress(self.config)
        session = Session(self.plan, progress)
        for what in interrupted(session.cache.root):
            progress(f"an earlier session ended abruptly (native crash or kill) in {what}; run that combination alone")
        return Judge(session, self.family, self.budget_family, self.search_family)

    @cached_property
    def receipts(self) -> ReceiptChecks:
        """The checks of receipts; unlike the judge, they load nothing that computes."""
        from embedgate.checks.receipt import ReceiptChecks

        return ReceiptChecks(self.plan, self.invocation, _command(self.config))

    @property
    def invocation(self) -> Invocation:
        """How pytest was called, as far as it matters to a receipt."""
        from embedgate.report.receipt import Invocation

        config, option = self.config, self.config.option
        return Invocation(config.invocation_params.dir, config.rootpath, config.args, option.markexpr, option.keyword)

    def seal_facts(self) -> None:
        """Makes the report a receipt, once all of pytest-xdist's processes have told what they ran."""
        from embedgate.report.receipt import on_gpu, section

        facts = self.collector.facts
        if facts:
            name, profiles = facts["model"]["name"], on_gpu(facts["profiles"])
            facts["receipt"] = section(self.settings, name, profiles, self.invocation, facts.pop("asked"))

    def expected(self, judgement: Judgement) -> Expected | None:
        """The entry that expects a judgement to fail; that a receipt does not hold is no defect of a combination."""
        return None if judgement.check == "receipt" else self.judge.expected(judgement)

    def complaints(self) -> list[str]:
        """Expected failures that match nothing or no longer fail; each is an error in their file."""
        from embedgate.approved.expected_failures import Expectations
        from embedgate.core.judgement import Judgement
        from embedgate.core.machine import profile
        from embedgate.metrics import ORDERING

        plan = self.plan
        judged = [Judgement.from_json(record["judgement"]) for record in self.collector.records if record["judgement"]]
        judged = [judgement for judgement in judged if judgement.check != "receipt"]
        return Expectations.load(self.settings.baselines_folder / "expected_failures.toml").complaints(
            judged,
            known=[combination.id for combination in plan.registry],
            subjects={combination.id: plan.subjects(combination) for combination in plan.combinations},
            datasets=sorted(
                {"", ORDERING, plan.texts_name}
                | {dataset.name for dataset in plan.datasets}
                | {dataset for combination in plan.combinations for _, dataset, _ in plan.subjects(combination)}
            ),
            all_datasets=not self.settings.data,
            profiles={id_: profile(name) for id_, name in self.collector.facts["profiles"].items()},
        )

    @property
    def made(self) -> bool:
        """Whether a test has needed the judge."""
        return "judge" in self.__dict__


BENCH = pytest.StashKey[Bench]()
JUDGEMENT: pytest.StashKey[Judgement] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options `--gate-*` and their ini twins `gate_*`."""
    declare(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declares `pytest_gate_combinations` and `pytest_gate_engines`."""
    pluginmanager.add_hookspecs(hooks)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Registers the markers and checks the options; a process of pytest-xdist turns to its GPU before all else."""
    if gpu := getattr(config, "workerinput", {}).get("gate_gpu"):
        os.environ[VARIABLE] = gpu
    for marker, about in MARKERS.items():
        config.addinivalue_line("markers", f"{marker}: {about}")
    with _misuse():
        config.stash[BENCH] = bench = Bench(config)
        config.pluginmanager.register(bench.collector, "embedgate-collector")
        refuse_misuse(config, bench.settings)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Measures instead of testing: noise where a person asks for it, anything where another process does."""
    request = config.getoption(FRESH_OPTION)
    if request is None and not config.getoption("--gate-noise"):
        return None
    config._do_configure()
    bench = config.stash[BENCH]
    try:
        with _misuse():
            if request is not None:
                from embedgate.runtime.subprocess import answer

                answer(bench.plan, Path(request))
            else:
                from embedgate.plugin.noise import tell

                tell(bench.plan, _progress(config))
    finally:
        config._ensure_unconfigure()
    return int(pytest.ExitCode.OK)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrises a test by the combinations, and by what is measured of each."""
    wanted = set(metafunc.fixturenames)
    parameters = {*COMBINATION_FIXTURES, *FAMILY, *SEARCH_FAMILY, *ENGINES, RECEIPT}
    if not wanted & {*parameters, "gate_variation", "gate_canary", "gate_workload"}:
        return
    try:
        plan = metafunc.config.stash[BENCH].plan
    except GateError as error:
        # Raised here, it would be told once per module, with a traceback.
        metafunc.config.stash[BENCH].misuse = str(error)
        return
    from embedgate.metrics import metrics_of

    for name in COMBINATION_FIXTURES:
        if name in wanted:
            chosen = [c for c in plan.combinations if name == "gate_combination" or not c.is_reference]
            if name == "gate_reference":
                chosen = [c for c in plan.combinations if c == plan.reference]
            marked = [pytest.param(c, id=c.id, marks=[_device_mark(c), *_group(c, metafunc.config)]) for c in chosen]
            metafunc.parametrize(name, marked, indirect=True, scope="session")
    if RECEIPT in wanted:
        from embedgate.checks.receipt import demanded

        chosen = list(demanded(plan))
        if metafunc.config.getoption("gate_receipt") and not chosen:
            metafunc.config.stash[BENCH].misuse = (
                "--gate-receipt proves nothing here: no combination asked for runs on CUDA; "
                "leave it out, or ask for one by --gate-combination"
            )
        metafunc.parametrize(RECEIPT, [pytest.param(c, id=c.id) for c in chosen])
    measures = [(dataset, metric) for dataset in plan.datasets for metric in metrics_of(dataset.kind)]
    if "gate_upgrade" in wanted and plan.settings.incumbent is None:
        measures = []
    # The upgrade is judged on the device of the first combination, so it has that device's marker.
    marks = {"gate_measure": (), "gate_upgrade": (_device_mark(plan.combinations[0]),)}
    for name, mark in marks.items():
        if name in wanted:
            pairs = [
                pytest.param((dataset, metric), id=f"{dataset.name}-{metric}", marks=mark)
                for dataset, metric in measures
            ]
            metafunc.parametrize(name, pairs, indirect=name == "gate_upgrade")
    for name, kind in (("gate_agreement", "agreement"), ("gate_ordering", "ordering")):
        if name in wanted:
            metafunc.parametrize(name, metrics_of(kind))
    if wanted & {*SEARCH_FAMILY, *ENGINES}:
        try:
            asked = _of_stored(plan)
        except GateError as error:
            metafunc.config.stash[BENCH].misuse = str(error)
            return
        for name in wanted & asked.keys():
            metafunc.parametrize(name, asked[name], indirect=name in ENGINES)
    if "gate_variation" in wanted:
        from embedgate.properties.invariance import VARIATIONS

        metafunc.parametrize("gate_variation", tuple(VARIATIONS))
    if "gate_workload" in wanted:
        from embedgate.performance.workloads import workloads

        metafunc.parametrize("gate_workload", [load.id for load in workloads(plan.settings.exploration)])
    if "gate_canary" in wanted:
        from embedgate.properties.contract import CANARIES

        metafunc.parametrize("gate_canary", tuple(CANARIES))


def _of_stored(plan: Plan) -> dict[str, list[Any]]:
    """What is asked of stored vectors, by the fixture; nothing where the data hold too few texts to search among."""
    from embedgate.vectors.storage import EMBEDDING_PRECISIONS, FLOAT32, MIXTURES

    if plan.collection is None:
        return {name: [] for name in (*SEARCH_FAMILY, *ENGINES)}
    return {
        SEARCH_LOAD: [pytest.param(load, id=load.id) for load in plan.search_loads],
        ENGINE: [pytest.param(case, id=case.id) for case in plan.engine_cases],
        "gate_precision": [precision for precision in EMBEDDING_PRECISIONS if precision != FLOAT32.precision],
        "gate_storage": [pytest.param(storage, id=storage.id) for storage in plan.storages],
        "gate_stored_measure": [
            pytest.param((storage, dataset, metric), id=f"{storage}-{dataset.name}-{metric}")
            for storage, dataset, metric in plan.stored_measures
        ],
        "gate_mixture": list(MIXTURES),
    }


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Counts what a session was not asked for, since a receipt must tell."""
    for item in items:
        asks = RECEIPT not in _parameters(item) and not _asks_nothing(item)
        if asks and (combination := _combination(item)):
            item.config.stash[BENCH].deselected[combination.id] += 1


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Runs combination after combination, each built once, the reference first."""
    if misuse := config.stash[BENCH].misuse:
        raise pytest.UsageError(misuse)
    # What there is nothing to ask of, such as an upgrade without an incumbent, is no skipped test but no test.
    items[:] = [item for item in items if not _asks_nothing(item)]
    if config.getoption("gate_receipt") and items and not any(RECEIPT in _parameters(item) for item in items):
        raise pytest.UsageError("--gate-receipt verifies nothing here: its tests are deselected; give -m cpu, or no -m")
    if any(_combination(item) for item in items):
        plan = config.stash[BENCH].plan
        with _misuse():
            refuse_bad_models(plan)
            refuse_bad_files(plan)
            if any({*SEARCH_FAMILY, *ENGINES} & set(_parameters(item)) for item in items):
                refuse_misfits(plan)
        order = {combination: place for place, combination in enumerate(plan.combinations)}
        items.sort(key=lambda item: order.get(_combination(item), len(order)))  # type: ignore[arg-type]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Counts the family of checks that red verdicts are corrected for."""
    bench = session.config.stash[BENCH]
    judged = [item for item in session.items if set(FAMILY) & set(_parameters(item))]
    bench.family = max(1, len(judged))
    bench.search_family = max(1, sum(bool({*SEARCH_FAMILY, ENGINE} & set(_parameters(item))) for item in session.items))
    bench.budget_family = max(
        1, sum(bool({"gate_workload", SEARCH_LOAD} & set(_parameters(item))) for item in session.items)
    )
    judging = [item for item in session.items if RECEIPT not in _parameters(item)]
    bench.selected = Counter(combination.id for item in judging if (combination := _combination(item)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Shows cause and action of trouble in a check instead of a traceback."""
    bench, combination = item.config.stash[BENCH], _combination(item)
    if combination is None or not (bench.made or RECEIPT in _parameters(item)):
        return (yield)
    from embedgate.runtime.journal import running
    from embedgate.runtime.resources import forget

    # The check of a receipt needs no judge, and makes none.
    session = bench.judge.session if bench.made else None
    try:
        with running(session.cache.root, f"{combination}: {item.name}") if session else nullcontext():
            return (yield)
    except Exception as error:
        told = error if isinstance(error, GateError) else None
        if told is None and session is not None:
            told = session.guard.told(error, combination, "being judged")
        if told is None:
            raise
        trouble = told.anew()
        if isinstance(trouble, ResourceError):
            forget(error)
    if session is not None and isinstance(trouble, ResourceError):
        session.guard.give_back(combination)
    raise pytest.fail.Exception(str(trouble), pytrace=False)


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """Counts trouble in a check as an error: no quality was lost."""
    if report.when == "call" and report.failed and getattr(report, "gate", {}).get("error"):
        return "error", "E", "ERROR"
    return None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Hangs what a test found on its report, on which it also reaches the controller of pytest-xdist."""
    report = yield
    combination = _combination(item)
    if combination is None and not set(FAMILY) & set(_parameters(item)):
        return report
    if report.passed and report.when != "call":
        return report  # nothing was found
    from embedgate.report.summary import record_of

    bench = item.config.stash[BENCH]
    what = (str(call.excinfo.value) or call.excinfo.typename) if call.excinfo else ""
    expected = str(getattr(report, "wasxfail", ""))
    report.gate = record_of(  # type: ignore[attr-defined]
        combination,
        item.stash.get(JUDGEMENT, None) if report.when == "call" else None,
        reference=bool(combination and combination.is_reference and RECEIPT not in _parameters(item)),
        skipped=what if report.skipped and not expected else "",
        error=what if report.failed and (report.when != "call" or JUDGEMENT not in item.stash) else "",
        expected=expected,
        run=bench.judge.session.finished_run(combination) if bench.made and combination else None,
    )
    return report


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, None, None]:
    """Records the baseline where asked to, releases the encoders, and finds expected failures that are none."""
    bench = session.config.stash[BENCH]
    if bench.made:
        _finish(bench, session)
    yield  # under pytest-xdist, the controller gathers what its workers found
    collector = bench.collector
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["gate_facts"] = collector.facts
        return
    bench.seal_facts()
    if session.exitstatus == pytest.ExitCode.INTERRUPTED and collector.records:
        collector.trouble.append("interrupted: what is told here is of the tests that had run by then")
    if collector.facts and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        collector.trouble += bench.complaints()
    if collector.trouble and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _finish(bench: Bench, session: pytest.Session) -> None:
    from embedgate.report.receipt import Asked
    from embedgate.report.summary import facts_of

    judge = bench.judge
    try:
        asked = Asked(bench.selected, bench.deselected).to_json()
        bench.collector.facts = {**facts_of(judge), "asked": asked}
        if bench.settings.update and session.exitstatus == pytest.ExitCode.INTERRUPTED:
            bench.collector.trouble.append("nothing was approved: run --gate-update again, to its end")
        elif bench.settings.update:
            bench.collector.changes = judge.drift.update()
    except GateError as error:
        bench.collector.trouble.append(str(error))
    finally:
        judge.close()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: list[Any]) -> None:
    """Finds the GPUs once for all processes of pytest-xdist, and says where several share one."""
    bench = config.stash[BENCH]
    bench.gpus = gpus(os.environ)
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and (line := shared(len(specs), bench.gpus)):
        reporter.write_line(line)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tells a process of pytest-xdist on this machine which GPU is its own."""
    bench = node.config.stash[BENCH]
    if node.gateway.spec.popen and (gpu := gpu_for_next(bench.gpus, bench.gpu_of.values())):
        node.workerinput["gate_gpu"] = bench.gpu_of[node.gateway.id] = gpu


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Takes a pytest-xdist worker's facts over to the controller."""
    bench = node.config.stash[BENCH]
    bench.gpu_of.pop(node.gateway.id, None)  # free for the process that replaces one that crashed
    facts = getattr(node, "workeroutput", {}).get("gate_facts")
    if facts:
        from embedgate.report.summary import facts_together

        collector = bench.collector
        collector.facts = facts_together(collector.facts, facts)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Prints the table a person decides from, and writes the report files."""
    collector = config.stash[BENCH].collector
    if not collector.records and not collector.trouble:
        return
    from embedgate.report import terminal
    from embedgate.report.summary import summarise

    summary = summarise(collector)
    writer = terminalreporter._tw
    terminalreporter.section("embedgate", sep="=", bold=True)
    terminalreporter.write(terminal.render(summary, width=writer.fullwidth, colour=writer.hasmarkup))
    folder = config.stash[BENCH].settings.report
    if folder is not None:
        from embedgate.report.files import write

        for file in write(summary, folder):
            terminalreporter.write_line(f"wrote {file}")


@contextmanager
def _misuse() -> Iterator[None]:
    """Tells an error as pytest tells misuse: in a line, and before any test."""
    try:
        yield
    except GateError as error:
        raise pytest.UsageError(str(error)) from error


def _command(config: pytest.Config) -> list[str]:
    """The words that call pytest for the same places, all suites where it is the suite of receipts alone."""
    words = ["pytest"]
    if config.args_source is pytest.Config.ArgsSource.ARGS:
        words += ["--pyargs"] if config.option.pyargs else []
        words += dict.fromkeys(re.sub(r"([/\\.])test_receipt\b.*", "", place) for place in config.args)
    return words


def _progress(config: pytest.Config) -> Callable[[str], None]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or config.get_verbosity() < 0:
        return lambda _: None

    capture = config.pluginmanager.get_plugin("capturemanager")

    def show(line: str) -> None:
        with capture.global_and_fixture_disabled() if capture else nullcontext():
            reporter.ensure_newline()
            reporter.write_line(f"  {line}", cyan=True)
            reporter.flush()

    return show


def _parameters(item: pytest.Item) -> dict[str, Any]:
    callspec = getattr(item, "callspec", None)
    return dict(callspec.params) if callspec is not None else {}


def _combination(item: pytest.Item) -> Combination | None:
    parameters = _parameters(item)
    found = next((parameters[name] for name in (*COMBINATION_FIXTURES, RECEIPT) if name in parameters), None)
    return found if isinstance(found, Combination) else None  # pytest fills in a marker where nothing was chosen


def _group(combination: Combination, config: pytest.Config) -> list[pytest.MarkDecorator]:
    """Keeps a combination in one process under pytest-xdist's `--dist loadgroup`."""
    return [pytest.mark.xdist_group(combination.id)] if config.pluginmanager.has_plugin("xdist") else []


def _asks_nothing(item: pytest.Item) -> bool:
    from embedgate.vectors.engines.base import EngineCase
    from embedgate.vectors.loads import SearchLoad
    from embedgate.vectors.storage import Storage

    parameters = _parameters(item)
    combinations = [parameters[name] for name in (*COMBINATION_FIXTURES, RECEIPT) if name in parameters]
    if any(not isinstance(combination, Combination) for combination in combinations):
        return True
    asked = (parameters[name] for name in (*SEARCH_FAMILY, *ENGINES) if name in parameters)
    if any(not isinstance(subject, str | tuple | Storage | EngineCase | SearchLoad) for subject in asked):
        return True
    return "gate_upgrade" in parameters and not isinstance(parameters["gate_upgrade"], tuple)


def _device_mark(combination: Combination) -> pytest.MarkDecorator:
    return pytest.mark.gpu if combination.device == "cuda" else pytest.mark.cpu
