"""What a depth does not ask is not searched for, and what it did not measure is neither missing nor stale nor removed."""

from __future__ import annotations

import pytest
from helpers import stub_devices
from helpers.search_faults import few_passages

from embedgate.approved.tolerances import Tolerances
from embedgate.checks import Case
from embedgate.checks.approvals import Approvals
from embedgate.checks.stored import StoredVectors
from embedgate.core.combination import Combination

REFERENCE, CANDIDATE = (Combination.parse(f"torch-{kind}-cpu") for kind in ("fp32", "bf16"))


@pytest.fixture
def context(context_with, tmp_path, monkeypatch, few_cases):
    """A session of a depth with stubs, over few vectors, whose baselines the test shares."""
    stub_devices.install(monkeypatch, gpu=None)
    few_passages(tmp_path / "few")
    made = []

    def make(depth: str, **options):
        common = {"data": (str(tmp_path / "few"),), "combinations": ("torch-fp32-cpu", "torch-bf16-cpu")}
        common |= {"baselines": tmp_path / "gate", "corpus_size": 1000}
        made.append(context_with(depth=depth, **common, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.mark.parametrize(
    ("depth", "searched", "mixed"),
    [("quick", [], []), ("standard", [REFERENCE], []), ("nightly", [REFERENCE, CANDIDATE], [CANDIDATE])],
)
def test_only_what_the_depth_asks_is_searched_for(context, monkeypatch, depth, searched, mixed):
    asked = {"_measure": [], "mixed": []}
    for name, found in asked.items():
        monkeypatch.setattr(StoredVectors, name, lambda self, run, found=found: found.append(run.combination))
    session = context(depth)
    for combination in (REFERENCE, CANDIDATE):
        session.of(Approvals).measure(session.session.run(combination))
    assert asked == {"_measure": searched, "mixed": mixed}


@pytest.mark.slow("what a smaller depth does not measure stays approved, and is not missing")
def test_what_nightly_approved_is_left_alone_by_a_smaller_depth(context):
    def judged(session) -> list[str]:
        return [session.ask("baseline", each).verdict for each in (REFERENCE, CANDIDATE)]

    def approved(session) -> set[tuple[str, str, str]]:
        return set(session.of(Approvals).baseline(CANDIDATE).baseline.entries)

    all_of_it = context("nightly", update=True, reason="first")
    judged(all_of_it)
    all_of_it.of(Approvals).update()
    nightly = context("nightly")
    assert judged(nightly) == ["pass", "pass"]
    assert nightly.of(Approvals).stale_keys() == []
    searches = {place for place in approved(nightly) if place[0] == CANDIDATE.id and "@" in place[1]}
    assert any("@mixed-" in dataset for _, dataset, _ in searches)

    standard = context("standard")
    assert judged(standard) == ["pass", "pass"]
    assert standard.of(Approvals).stale_keys() == []
    quick = context("quick")
    quick.session.run(CANDIDATE)
    assert quick.of(Approvals).stale_keys() == [], "approved values are none of its questions"

    again = context("standard", update=True, reason="again")
    judged(again)
    again.of(Approvals).update()
    assert approved(context("standard")) == approved(nightly)


def test_a_check_judges_by_no_other_tolerances_than_it_says(context, monkeypatch):
    """What it says decides whether it is judged once more by the base branch's bar."""
    asked: list[str] = []

    def noting(name, table):
        lookup = getattr(Tolerances, name)

        def look(self, *given, **named):
            asked.append(given[0] if table is None else table)
            return lookup(self, *given, **named)

        monkeypatch.setattr(Tolerances, name, look)

    noting("_find", None)
    for name in ("upgrade", "engine", "stored"):
        noting(name, "stored" if name == "engine" else name)
    first = context("standard", update=True, reason="first")
    for each in (REFERENCE, CANDIDATE):
        first.ask("golden", each)
        first.ask("baseline", each)
    first.of(Approvals).update()
    session = context("standard", engines=("faiss-hnsw-int8",))
    looked, unsaid = set(), set()
    within = (case for case in session.checks.whole(session.plan) if case.is_within(session.plan))
    one_of_each: dict[str, Case] = {}
    for case in within:
        if case.check.name != "codes" or case.subject.id == "int8":  # of floats, codes have no ranges
            one_of_each.setdefault(case.check.name, case)
    for case in one_of_each.values():
        if case.check.phase == "budgets" or case.check.family == "time" or case.check.name == "size":
            continue
        asked.clear()
        session.run(case)
        case.check.before(session, case)
        session.judge(case)
        looked |= {(case.check.name, table) for table in asked}
        unsaid |= {(case.check.name, table) for table in asked if table not in (case.check.tolerances or ())}
    assert unsaid == set()
    silent = {name for name, case in one_of_each.items() if case.check.tolerances} - {name for name, _ in looked}
    assert silent == {"speed", "memory", "size", "search speed"} & {*one_of_each}
