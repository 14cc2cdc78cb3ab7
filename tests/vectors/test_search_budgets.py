"""Searches are timed beside float32's: within budget green, beyond it red in two measurements, else said to be open."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.paths import ROOT
from helpers.timed import Timed

from embedgate.approved.baseline import Approved
from embedgate.approved.entries import Entry, Key, Provenance
from embedgate.approved.tolerances import Tolerances
from embedgate.checks import Case, Context, Subject
from embedgate.checks.budgets import ApprovedBudgets
from embedgate.checks.search_speed import SEARCH_SPEED
from embedgate.checks.stored import StoredVectors
from embedgate.core.combination import Combination
from embedgate.core.settings import Settings
from embedgate.core.similarity import normalised
from embedgate.vectors.codes import Ranges
from embedgate.vectors.collection import Collection
from embedgate.vectors.engines.base import EngineRegistry
from embedgate.vectors.loads import SearchLoad, search_loads
from embedgate.vectors.measure import Vectors
from embedgate.vectors.speed import SearchTiming
from embedgate.vectors.storage import Storage

REFERENCE = Combination.parse("torch-fp32-cpu")
COMMITTED = ROOT / "baselines" / "tolerances.toml"
LOAD = SearchLoad("faiss", "exact", Storage("int8", 4), 8)


class Budgets:
    """Approved budgets of one ratio."""

    def __init__(self, ratio: float | None) -> None:
        self.ratio, self.kept = ratio, {}

    def time(self, combination, budget, sha256, *, alike):
        assert budget.metric.startswith(alike)
        if self.ratio is None:
            return replace(budget, missing="no budget is approved for here")
        provenance = Provenance("cpu", (), None, "os", "3", 1, 32, {}, "0", "", "")
        entry = Entry(Key(combination.id, "budget", budget.metric, sha256), self.ratio, self.ratio, self.ratio, 16)
        return replace(budget, approved=Approved(entry, "here", False, provenance, Path("file")))

    def keep_time(self, entry, budget):
        self.kept[entry.key.metric] = entry


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    rng = np.random.default_rng(0)
    return Vectors(*(normalised(rng.standard_normal((n, 32)).astype(np.float32)) for n in (64, 2000)))


@pytest.fixture
def checks(vectors):
    """Asks the check of searches among random vectors, with a budget of the test's own."""
    made = []

    def make(ratio: float | None, update: bool = False):
        run = SimpleNamespace(search_speed={})
        plan = SimpleNamespace(settings=Settings(update=update, invocation=("--record",)))
        context = Context(plan, families={"time": 4})
        context.__dict__["session"] = SimpleNamespace(run=lambda _: run, close=lambda: None, libraries_of=lambda _: {})
        context.__dict__["tolerances"] = Tolerances.load(COMMITTED)
        timing = SearchTiming(vectors, Ranges.of(vectors.documents), 1)
        made.append(timing)
        budgets = Budgets(ratio)
        context.provide(ApprovedBudgets, budgets)
        collection = Collection("corpus-2000:x", "0" * 64, ("q",), ("d",), 2000)
        context.provide(StoredVectors, SimpleNamespace(timing=lambda _: timing, collection=collection))

        def ask(benchmark):
            return context.judge(Case(SEARCH_SPEED, REFERENCE, Subject.named(LOAD.id, LOAD)), benchmark=benchmark)

        return ask, budgets, run

    yield make
    for each in made:
        each.close()


def test_within_budget_is_green(checks):
    found, _, run = checks(1000.0)
    judged = found(Timed())
    assert judged.verdict == "pass", judged.message
    assert judged.metric == "faiss-exact-int8-rescore4-batch8"
    assert judged.limit == pytest.approx(1150)
    assert judged.details, "so much faster than approved is told"
    figures = run.search_speed[LOAD.id]
    assert figures.bytes_per_vector == pytest.approx(32, abs=1)
    assert figures.ratio == judged.observed
    assert figures.queries_per_second > 0


def test_beyond_budget_is_red_with_what_to_do(checks):
    found, _, _ = checks(1e-4)
    judged = found(Timed())
    assert judged.verdict == "fail"
    assert judged.diagnosis.layer == "time"
    assert "its budget is 0.000" in judged.message
    assert "with indexes built anew" in judged.explain()
    assert "--record" in judged.diagnosis.next_step


def test_what_is_not_approved_is_not_judged(checks):
    found, _, _ = checks(None)
    judged = found(Timed())
    assert judged.unjudged
    assert "no budget is approved for here" in judged.message
    assert "--record" in judged.diagnosis.next_step


def test_an_update_keeps_what_two_measurements_hold(checks):
    found, budgets, _ = checks(None, update=True)
    judged = found(Timed())
    assert judged.verdict == "pass"
    entry = budgets.kept["time_faiss-exact-int8-rescore4-batch8_vectors_2000_threads_1"]
    assert entry.low <= entry.value <= entry.high
    assert entry.n == 32


def test_disabled_benchmarks_are_told(checks):
    found, _, _ = checks(1.0)
    judged = found(Timed(disabled=True))
    assert judged.unjudged
    assert "pytest-benchmark is disabled" in judged.message


def test_both_arms_ask_the_same_queries_as_often(vectors):
    timing = SearchTiming(vectors, Ranges.of(vectors.documents), 1)
    blocks = timing.blocks(LOAD)
    blocks.take(2)
    turns = {arm: len(calls) for arm, calls in blocks.calls.items()}
    assert turns["candidate"] == 2 * turns["reference"], "the very first turn of the reference counts for nothing"
    timing.close()


def test_loads_are_of_indexes_that_are_judged():
    loads = {load.id for load in search_loads(EngineRegistry().select(()))}
    assert "usearch-exact-binary-rescore4-batch64" in loads
    assert "faiss-hnsw-int8-rescore4-batch1" in loads
    assert not search_loads(EngineRegistry().select(("faiss-exact-int8",))), "without float32, nothing to compare with"
    exact = {load.id for load in search_loads(EngineRegistry().select(("faiss-exact-*",)))}
    assert exact == {each for each in loads if each.startswith("faiss-exact")}
