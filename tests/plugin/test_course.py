"""The course of a session: what says most runs first, and a line tells how far it is."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from helpers import stub_devices

from embedgate.checks import Case, CheckRegistry, Subject
from embedgate.core.combination import Combination
from embedgate.core.settings import Settings
from embedgate.encoders.registry import Registry
from embedgate.plugin.course import Course, places, shown
from embedgate.runtime.plan import Plan

REFERENCE, BF16, FP16 = (Combination.parse(f"torch-{kind}-cpu") for kind in ("fp32", "bf16", "fp16"))
CHECKS = CheckRegistry()


def case(name: str, combination: Combination, subject: str = "") -> Case:
    return Case(CHECKS.named(name), combination, Subject(subject))


class TestOrder:
    @pytest.fixture
    def ordered(self) -> list[Case]:
        plan = Plan.of(Settings(combinations=("torch-fp32-cpu", "torch-?f16-cpu"), data=("pairs",)), Registry())
        whole = CHECKS.whole(plan)
        return sorted(random.Random(0).sample(whole, len(whole)), key=places(plan.combinations, CHECKS))

    def test_quality_of_all_comes_before_what_takes_time_and_searches(self, ordered):
        phases = list(dict.fromkeys((each.check.phase, each.combination) for each in ordered))
        assert phases == [(phase, c) for phase in ("quality", "budgets", "searches") for c in (REFERENCE, BF16)]

    def test_what_says_most_of_a_combination_comes_first(self, ordered):
        mine = [each.check.name for each in ordered if each.combination == BF16]
        assert list(dict.fromkeys(mine)) == [
            "effective",
            "golden",
            "texts",
            "agreement",
            "retention",
            "slices",
            "contract.tokens",
            "contract.odd",
            "contract.any",
            "ordering.margin",
            "ordering.similarity",
            "ordering.kept",
            "invariance",
            "size",
            "products",
            "baseline",
            "memory",
            "speed",
            "codes",
            "search.kept",
            "mixed",
        ]

    def test_what_is_of_no_row_comes_after_all_rows_and_what_asks_nothing_last(self):
        place = places([REFERENCE, BF16], CHECKS)
        assert place(case("baseline", BF16)) < place(case("upgrade", REFERENCE)) < place(case("memory", REFERENCE))
        assert place(case("search speed", REFERENCE)) < place(None)


class TestProgress:
    @pytest.fixture
    def told(self) -> list[str]:
        return []

    def follow(self, told: list[str], cases: list[Case], seconds: dict[str, float], building: float = 0.0) -> None:
        """A session that asks cases one after the other, each of which takes so long."""
        course, built = Course(cases, told.append), set()
        for each in cases:
            course.reaches(each)
            course.took(each, "setup", 0.0 if each.combination in built else building)
            built.add(each.combination)
            course.took(each, "call", seconds[each.check.name])
            course.took(each, "teardown", 0.0)

    def test_a_line_at_each_combination_says_what_is_done_and_how_long_the_rest_takes(self, told):
        cases = [case(name, c) for c in (REFERENCE, BF16, FP16) for name in ("effective", "golden")]
        self.follow(told, cases, {"effective": 10.0, "golden": 20.0}, building=30.0)
        assert told == [
            "combination 1 of 3: torch-fp32-cpu, quality",
            "combination 2 of 3: torch-bf16-cpu, quality; 2 of 6 checks done; about 2 min left",
            "combination 3 of 3: torch-fp16-cpu, quality; 4 of 6 checks done; about 60 s left",
        ]

    def test_phases_that_are_not_met_yet_are_named_and_not_guessed(self, told):
        cases = [case("effective", c) for c in (REFERENCE, BF16)]
        cases += [case("memory", c) for c in (REFERENCE, BF16)] + [case("engine", REFERENCE)]
        self.follow(told, cases, {"effective": 240.0, "memory": 600.0, "engine": 1.0})
        assert [line.partition(" done")[2] for line in told] == [
            "",
            "; about 4 min left, without budgets and searches",
            "",
            "; about 10 min left, without searches",
            "",
        ]

    def test_nothing_is_estimated_where_most_checks_are_of_kinds_not_met_yet(self, told):
        cases = [case("effective", REFERENCE), *(case("retention", BF16, f"{n}") for n in range(3))]
        self.follow(told, cases, {"effective": 60.0, "retention": 1.0})
        assert told[1] == "combination 2 of 2: torch-bf16-cpu, quality; 1 of 4 checks done"

    def test_what_cannot_run_is_no_combination_and_its_checks_are_not_left(self, told):
        cases = [case("effective", c) for c in (REFERENCE, FP16, BF16)]
        course = Course(cases, told.append)
        course.reaches(cases[0])
        for when in ("setup", "call", "teardown"):
            course.took(cases[0], when, 10.0)
        course.misses(FP16)
        course.took(cases[1], "setup", 0.0)
        course.took(cases[1], "teardown", 0.0)
        course.reaches(cases[2])
        assert told[-1] == "combination 2 of 2: torch-bf16-cpu, quality; 1 of 2 checks done; about 30 s left"

    @pytest.mark.parametrize(
        ("seconds", "told"),
        [
            (0.2, "about 10 s left"),
            (44.0, "about 40 s left"),
            (95.0, "about 2 min left"),
            (5000.0, "about 83 min left"),
            (9000.0, "about 2.5 h left"),
        ],
    )
    def test_a_time_is_told_as_roughly_as_it_is_known(self, seconds, told):
        assert shown(seconds) == told


SESSION = ("-p", "no:cacheprovider", "--pyargs", "embedgate.suites", "--benchmark-disable")


class TestSession:
    @pytest.fixture
    def built(self, monkeypatch) -> list[Combination]:
        class Liar(stub_devices.Stub):
            """Says of itself that it computes in another type."""

            def evidence(self):
                problems = ("36 products compute in float32",) if self.combination == FP16 else ()
                return replace(super().evidence(), problems=problems)

        return stub_devices.install(monkeypatch, Liar, gpu=None)

    def test_the_first_failure_is_of_quality_though_a_budget_of_another_would_fail_too(
        self, project, few, built, monkeypatch
    ):
        """`-x` ends with it; the line of each combination says which it is."""
        from embedgate.core.errors import BuildError
        from embedgate.runtime.subprocess import FreshProcesses

        def broken(*_):
            raise BuildError("no fresh process")

        monkeypatch.setattr(FreshProcesses, "footprint", broken)
        given = (f"--gate-data={few}", "--gate-combination=torch-?p16-cpu", "--gate-combination=torch-bf16-cpu")
        chosen = ("-k", "keeps_its_memory or is_what_its_id_says", "-x", "-v")
        done = project.runpytest_inprocess(*SESSION, *given, *chosen)
        done.assert_outcomes(passed=1, failed=1)
        done.stdout.fnmatch_lines(
            [
                "*combination 1 of 2: torch-bf16-cpu, quality",
                "*combination 2 of 2: torch-fp16-cpu, quality; 1 of 4 checks done*",
                "*test_is_what_its_id_says*torch-fp16-cpu* FAILED*",
            ]
        )
        quiet = project.runpytest_inprocess(*SESSION, *given, *chosen[:-1], "-q")
        assert "combination 1 of 2" not in quiet.stdout.str()
        for each in (done, quiet):
            assert "no fresh process" not in each.stdout.str()

    def test_no_other_candidate_is_open_while_one_is_timed(self, context_with, few, built):
        session = context_with(data=(str(few),), combinations=("torch-*-cpu",)).session
        run = session.run(BF16)
        session.pool.close_others(BF16)
        assert session.pool.known(run.model, BF16) is not None
        session.pool.close_others(FP16)
        assert session.pool.known(run.model, BF16) is None
        assert session.pool.known(run.model, REFERENCE) is not None, "every diagnosis needs it"
        session.close()
