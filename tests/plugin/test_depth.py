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
from embedgate.core.settings import Settings
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


QUICK = {"effective", "golden", "contract.odd", "contract.tokens", "invariance", "agreement", "retention"}
QUICK |= {"size", "products"}
STANDARD = QUICK | {"ordering.margin", "ordering.similarity", "ordering.kept", "contract.any", "baseline"}
STANDARD |= {"speed", "memory"}
SEARCHES = {"codes", "search.kept", "search.ranks"}


class TestWhatIsAsked:
    def test_quick_asks_what_ran_and_how_good_and_small_it_is(self, plan):
        assert asked(plan, "quick", OWN).keys() == QUICK
        assert asked(plan, "quick", REFERENCE).keys() == QUICK - {
            "contract.tokens",
            "agreement",
            "retention",
            "products",
        }
        variations = {case.subject.id for case in asked(plan, "quick", OWN)["invariance"]}
        assert variations == {"batch_size", "order", "padding", "neighbours"}

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
        assert CHECKS.named("receipt").depth == CHECKS.named("upgrade").depth == "quick"

    def test_a_receipt_must_hold_what_standard_asks_whatever_the_session_asks(self, plan):
        wanted = {kind for kind, _, _ in CHECKS.places(plan, OWN, of_receipts=True)}
        assert "search" not in wanted
        assert {"speed", "baseline", "ordering"} < wanted
        assert {metric for kind, _, metric in CHECKS.places(plan, OWN, of_receipts=True) if kind == "speed"} == {*USUAL}
        assert "mixed" in {kind for kind, _, _ in CHECKS.places(plan, OWN)}, "a failure of it can be expected"


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
            (some, whole, left_out) = re.findall(r"(\d+)/(\d+) tests collected \((\d+) des", result.stdout.str())[0]
            chosen.append(int(some))
            assert int(some) + int(left_out) == int(whole)
        assert timed == {"quick": 0, "standard": 4, "nightly": 12}
        assert chosen == sorted({*chosen})

    def test_every_report_says_the_depth_and_how_much_of_the_whole_was_asked(self, project, few):
        """The whole is the same whatever -k, the depth or the suites left out."""
        chosen = (*given(few), "-k", "reads_the_same_tokens or is_what_its_id_says")
        result = project.runpytest_inprocess(*chosen, "--gate-depth=quick", "--gate-report=out")
        assert said(result)[:2] == ("quick", 3)
        whole = said(result)[2]
        report = json.loads(project.path.joinpath("out/report.json").read_text("utf-8"))
        assert (report["depth"], report["checks"]) == ("quick", {"asked": 3, "whole": whole})
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
