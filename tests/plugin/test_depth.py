"""Depths: what each asks, and what a session says of how much it was asked."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from helpers import stub_devices
from helpers.paths import TESTS

from embedgate.checks import Case, CheckRegistry
from embedgate.core.combination import Combination
from embedgate.core.depth import DEPTHS, Depth
from embedgate.core.machine import this_machine
from embedgate.core.settings import Settings
from embedgate.encoders import registry as registry_module
from embedgate.encoders.registry import Registry
from embedgate.encoders.sources import HostSource
from embedgate.performance.footprint import Footprint
from embedgate.performance.workloads import USUAL, WORKLOADS, workloads
from embedgate.runtime.plan import Plan
from embedgate.runtime.subprocess import FreshProcesses

CHECKS = CheckRegistry()
REFERENCE, OWN, GIVEN = (Combination.parse(id_) for id_ in ("torch-fp32-cpu", "torch-bf16-cpu", "mine-int8-cpu"))
SESSION = ("-p", "no:cacheprovider", "--pyargs", "embedgate.suites", "--benchmark-disable", "-m", "cpu")


class File(HostSource):
    """A file that embedgate did not build."""

    origin = "model_int8.onnx"


@pytest.fixture(scope="module")
def plan() -> Plan:
    registry = Registry()
    registry.add_source(File(GIVEN, lambda *_: None))
    ids = (str(REFERENCE), str(OWN), str(GIVEN))
    return Plan.of(Settings(combinations=ids, data=("pairs", "passages")), registry)


def asked(plan: Plan, depth: Depth, combination: Combination) -> dict[str, list[Case]]:
    """What a depth asks of a combination, by the check."""
    found: dict[str, list[Case]] = {}
    for case in CHECKS.whole(plan):
        if case.combination == combination and case.is_within(plan, depth):
            found.setdefault(case.check.name, []).append(case)
    return found


QUICK = {"effective", "golden", "contract.odd", "contract.tokens", "invariance", "agreement", "retention", "texts"}
QUICK |= {"size", "products"}
STANDARD = QUICK | {"ordering.margin", "ordering.similarity", "ordering.kept", "contract.any", "baseline", "slices"}
STANDARD |= {"speed", "memory"}
SEARCHES = {"codes", "search.kept", "search.ranks"}


class TestWhatIsAsked:
    def test_quick_asks_what_ran_and_how_good_and_small_it_is(self, plan):
        assert asked(plan, "quick", OWN).keys() == QUICK
        assert asked(plan, "quick", REFERENCE).keys() == QUICK - {
            "contract.odd",
            "invariance",
            "contract.tokens",
            "agreement",
            "retention",
            "products",
            "texts",
        }
        variations = {case.subject.id for case in asked(plan, "quick", OWN)["invariance"]}
        assert variations == {"batch_size", "unpadded", "kept", "alone_again", "order", "padding", "neighbours"}

    def test_standard_asks_no_search_of_what_embedgate_builds_itself(self, plan):
        assert asked(plan, "standard", OWN).keys() == STANDARD
        assert asked(plan, "standard", GIVEN).keys() == STANDARD | SEARCHES
        mine = asked(plan, "standard", REFERENCE)
        assert mine.keys() >= SEARCHES | {"engine"}
        assert {case.subject.about.kind for case in mine["engine"]} == {"exact"}
        assert "search speed" not in mine

    def test_standard_asks_of_engines_whatever_was_asked_for(self, plan):
        chosen = replace(plan, settings=replace(plan.settings, engines=("faiss-*",)))
        mine = asked(chosen, "standard", REFERENCE)
        assert {case.subject.about.kind for case in mine["engine"]} == {"exact", "hnsw"}
        assert mine["search speed"]

    def test_nightly_asks_all_there_is(self, plan):
        assert asked(plan, "nightly", OWN).keys() == STANDARD | SEARCHES | {"mixed"}
        every = [
            case for found in map(asked, [plan] * 3, ["nightly"] * 3, plan.combinations) for case in found.values()
        ]
        assert sum(map(len, every)) == len(CHECKS.whole(plan))

    def test_only_the_night_times_all_workloads(self, plan):
        timed = {depth: [c.subject.id for c in asked(plan, depth, OWN).get("speed", ())] for depth in DEPTHS}
        assert timed["quick"] == []
        assert {*timed["standard"]} == {*USUAL}
        assert {*timed["nightly"]} == {*WORKLOADS}
        assert [load.id for load in workloads("standard")] == [*USUAL]
        assert len(workloads("nightly")) == 12

    def test_each_depth_asks_all_that_the_one_before_asks(self, plan):
        found = [
            {(c.combination, c.id, c.check.name) for c in CHECKS.whole(plan) if c.is_within(plan, d)} for d in DEPTHS
        ]
        assert found[0] < found[1] < found[2]

    def test_receipts_and_upgrades_are_asked_at_any_depth(self):
        assert CHECKS.named("receipt").depth == "quick"

    def test_a_receipt_must_hold_what_standard_asks_whatever_the_session_asks(self, plan):
        wanted = {kind for kind, _, _ in CHECKS.places(plan, OWN, of_receipts=True)}
        assert "search" not in wanted
        assert {"speed", "baseline", "ordering"} < wanted
        assert {metric for kind, _, metric in CHECKS.places(plan, OWN, of_receipts=True) if kind == "speed"} == {*USUAL}
        assert "mixed" in {kind for kind, _, _ in CHECKS.places(plan, OWN)}, "a failure of it can be expected"


AVX2 = ("avx2", "f16c", "fma")


@pytest.fixture
def cpu(monkeypatch):
    """Gives this machine's CPU other instruction sets."""

    def has(*flags: str) -> None:
        monkeypatch.setattr(registry_module, "this_machine", lambda: replace(this_machine(), flags=flags))

    return has


class TestEmulated:
    """Combinations whose types the CPU has no instructions for."""

    @pytest.fixture
    def all_there_is(self) -> Plan:
        return Plan.of(Settings(data=("pairs",)), Registry())

    @pytest.mark.parametrize(
        ("flags", "left"),
        [
            (AVX2, ["torch-bf16-cpu", "torch-fp16-cpu", "torch-amp-cpu", "torchao-int8-cpu"]),
            ((*AVX2, "avx512_bf16", "avx512_vnni"), ["torch-fp16-cpu"]),
            ((*AVX2, "amx_bf16", "amx_int8", "avx512_fp16"), []),
            (("asimd", "asimddp", "asimdhp", "bf16"), []),
            (("asimd",), ["torch-bf16-cpu", "torch-fp16-cpu", "torch-amp-cpu", "torchao-int8-cpu"]),
            ((), []),  # the system does not tell
        ],
    )
    def test_are_left_to_the_night(self, all_there_is, cpu, flags, left):
        cpu(*flags)
        assert [combination.id for combination in all_there_is.by_night] == left
        for combination in all_there_is.by_night:
            assert asked(all_there_is, "quick", combination) == asked(all_there_is, "standard", combination) == {}
            assert asked(all_there_is, "nightly", combination)["retention"]
        assert asked(all_there_is, "quick", REFERENCE)

    def test_are_asked_where_they_were_named(self, all_there_is, cpu, plan):
        cpu(*AVX2)
        assert plan.by_night == ()
        assert asked(plan, "standard", OWN).keys() == STANDARD

    def test_the_reference_is_always_asked(self, all_there_is, cpu):
        cpu("sse4_2")
        assert REFERENCE not in all_there_is.by_night


@pytest.fixture
def stubs(monkeypatch):
    return stub_devices.install(monkeypatch, gpu=None)


def given(few) -> tuple[str, ...]:
    return (*SESSION, f"--gate-data={few}", "--gate-combination=torch-fp32-cpu", "--gate-combination=torch-bf16-cpu")


def said(result) -> tuple[str, int, int]:
    """The depth that a session says, how many checks were asked, and how many there are."""
    found = re.findall(r"^depth: (\w+), partial: (\d+) of (\d+) checks$", result.stdout.str(), re.MULTILINE)
    ((depth, some, whole),) = found
    return depth, int(some), int(whole)


@pytest.mark.usefixtures("stubs", "few_cases")
class TestSession:
    def test_what_the_depth_does_not_ask_counts_as_left_out(self, project, few):
        timed, chosen = {}, []
        for depth in DEPTHS:
            result = project.runpytest_inprocess(*given(few), f"--gate-depth={depth}", "--collect-only", "-q")
            timed[depth] = sum("test_keeps_its_speed" in line for line in result.outlines)
            told = r"(\d+)(?:/(\d+))? tests collected(?: \((\d+) des)?"
            ((some, whole, left_out),) = re.findall(told, result.stdout.str())
            chosen.append(int(some))
            assert int(some) + int(left_out or 0) == int(whole or some)
        assert timed == {"quick": 0, "standard": 2, "nightly": 12}
        assert chosen == sorted({*chosen})

    def test_every_report_says_the_depth_and_how_much_of_the_whole_was_asked(self, project, few):
        """The whole is the same whatever -k, the depth or the suites left out."""
        chosen = (*given(few), "-k", "reads_the_same_tokens or is_what_its_id_says")
        result = project.runpytest_inprocess(*chosen, "--gate-depth=quick", "--gate-report=out")
        assert said(result)[:2] == ("quick", 3)
        whole = said(result)[2]
        report = json.loads(project.path.joinpath("out/report.json").read_text("utf-8"))
        checks = report["checks"]
        assert (report["depth"], checks["asked"], checks["whole"]) == ("quick", 3, whole)
        assert sum(each["whole"] for each in checks["of"].values()) == whole
        assert report["receipt"]["depth"] == "quick"
        for kind in ("md", "html"):
            assert (
                f"Depth: quick, partial: 3 of {whole} checks."
                in project.path.joinpath(f"out/report.{kind}").read_text()
            )
        one = [word if word != "embedgate.suites" else "embedgate.suites.test_effective" for word in given(few)]
        assert said(project.runpytest_inprocess(*one)) == ("standard", 2, whole)
        alone = [word for word in one if "bf16" not in word]
        assert said(project.runpytest_inprocess(*alone))[1:] < (2, whole), "those of other combinations do not count"

    def test_what_no_chosen_test_asks_at_this_depth_is_told(self, project, few):
        result = project.runpytest_inprocess(*given(few), "--gate-depth=quick", "-k", "keeps_its_speed")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(
            ["ERROR: nothing that was chosen is asked at the depth quick; give a greater one *"]
        )

    def test_what_the_cpu_emulates_is_left_out_and_named(self, project, few, cpu):
        cpu(*AVX2, "avx512_bf16", "avx512_vnni")
        every = [word for word in given(few) if "combination" not in word]
        chosen = (*every, "--gate-depth=quick", "-k", "is_what_its_id_says and torch")
        result = project.runpytest_inprocess(*chosen, "--gate-report=out")
        line = "left to the night, since this CPU has no instructions for their types: torch-fp16-cpu; "
        assert f"{line}--gate-combination asks for them at any depth" in result.stdout.str()
        report = json.loads(project.path.joinpath("out/report.json").read_text("utf-8"))
        assert report["by_night"] == ["torch-fp16-cpu"]
        ran = {row["combination"] for row in report["combinations"]}
        assert {"torch-fp32-cpu", "torch-bf16-cpu"} <= ran
        assert "torch-fp16-cpu" not in ran
        for more in ("--gate-depth=nightly", "--gate-combination=torch-*-cpu"):
            result = project.runpytest_inprocess(*chosen, more, "--gate-report=out")
            assert "left to the night" not in result.stdout.str()
            report = json.loads(project.path.joinpath("out/report.json").read_text("utf-8"))
            assert "torch-fp16-cpu" in {row["combination"] for row in report["combinations"]}

    def test_where_only_what_the_cpu_emulates_was_chosen_the_way_to_ask_it_is_told(self, project, few, cpu):
        cpu(*AVX2)
        every = [word for word in given(few) if "combination" not in word]
        result = project.runpytest_inprocess(*every, "-k", "torch-fp16-cpu")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        told = (
            "*at the depth standard, since this CPU has no instructions for the types of torch-fp16-cpu; name them by *"
        )
        result.stderr.fnmatch_lines([told])

    def test_without_pytest_benchmark_the_way_to_leave_budgets_out_is_told(self, project, few):
        chosen = [word for word in given(few) if word != "--benchmark-disable"]
        result = project.runpytest_subprocess(*chosen, "-p", "no:benchmark", "-k", "keeps_its_speed")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["*timed by pytest-benchmark, whose plugin is not loaded; leave out -p no:bench*"])

    def test_stepwise_leaves_out_what_ran_before_the_failure_alone(self, project, few):
        """Its order is that of the session, and not that of the suites' files."""
        chosen = [word for word in given(few) if word not in ("-p", "no:cacheprovider")]
        chosen += ["-k", "is_what_its_id_says or is_what_was_approved", "--gate-baselines=gate", "--stepwise", "-q"]
        first = project.runpytest_inprocess(*chosen, "--collect-only")
        order = [line.partition("::")[2] for line in first.outlines if "::" in line]
        assert [name.partition("[")[0] for name in order] == [
            *["test_is_what_its_id_says", "test_is_what_was_approved"] * 2
        ]
        project.runpytest_inprocess(*chosen).assert_outcomes(passed=1, failed=1)
        again = project.runpytest_inprocess(*chosen, "--collect-only")
        assert [line.partition("::")[2] for line in again.outlines if "::" in line] == order[1:]

    def test_the_ini_file_says_the_depth_and_the_command_line_has_the_last_word(self, project, few):
        with project.path.joinpath("tox.ini").open("a") as file:
            file.write("\ngate_depth = quick\n")
        chosen = (*given(few), "-k", "is_what_its_id_says")
        assert said(project.runpytest_inprocess(*chosen))[0] == "quick"
        assert said(project.runpytest_inprocess(*chosen, "--gate-depth=standard"))[0] == "standard"

    def test_the_option_that_this_one_replaced_is_not_known(self, project, few):
        result = project.runpytest_inprocess(*given(few), "--gate-exploration=nightly")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["*unrecognized arguments: --gate-exploration=nightly"])


@pytest.mark.slow("processes of pytest-xdist count checks once")
def test_processes_count_the_same_checks_once(project, few, warm):
    install = f"import sys\nsys.path.insert(0, {str(TESTS)!r})\nimport pytest\nfrom helpers import stub_devices\n"
    project.makeconftest(install + "stub_devices.install(pytest.MonkeyPatch(), gpu=None)\n")
    chosen = (*given(few), "--gate-depth=quick", "-k", "reads_the_same_tokens or is_what_its_id_says")
    together = project.runpytest_subprocess(*chosen, "-n", "2")
    assert said(together)[:2] == ("quick", 3)


@pytest.mark.usefixtures("stubs", "few_cases")
class TestFirstRun:
    """On a machine that approved no budget."""

    BUDGETS = ("-k", "what_was_approved or its_size or its_products or its_memory", "--gate-baselines=gate")

    @pytest.fixture(autouse=True)
    def footprint(self, monkeypatch):
        found = Footprint(1000, 2000, 0, None, None, 0.1, 0.1)
        monkeypatch.setattr(FreshProcesses, "footprint", lambda *_: found)

    def test_it_is_green_and_one_line_says_how_many_budgets_were_not_judged_and_why(self, project, few):
        first = ("-k", "what_was_approved", "--gate-baselines=gate", "--gate-update", "--gate-reason=first")
        assert project.runpytest_inprocess(*given(few), *first).ret == 0
        result = project.runpytest_inprocess(*given(few), *self.BUDGETS)
        assert result.ret == 0
        lines = [line for line in result.outlines if "not judged" in line]
        assert len(lines) == 1
        assert re.match(r"5 budgets were not judged: no budget is approved for .*; approve it by: pytest ", lines[0])

    def test_where_nothing_at_all_is_approved_it_fails_and_says_how_to(self, project, few):
        result = project.runpytest_inprocess(*given(few), *self.BUDGETS)
        assert {"failed": 4, "passed": 5}.items() < result.parseoutcomes().items()
        result.stdout.fnmatch_lines(["*next step: approve what you see by: pytest*", "5 budgets were not judged: *"])
