"""Records of what tests found, and facts of what a session ran on: what pytest-xdist carries and joins."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from itertools import permutations
from types import SimpleNamespace

import execnet
import numpy as np
import pytest

from embedgate.checks import CheckRegistry
from embedgate.core.judgement import Diagnosis, Judgement, WorstText
from embedgate.encoders import Evidence
from embedgate.performance.figures import Latency, SpeedFigures
from embedgate.performance.footprint import Footprint
from embedgate.report import summary as summaries
from embedgate.report.collector import Collector
from embedgate.report.facts import facts_together
from embedgate.report.records import Record, RunFacts
from embedgate.vectors.figures import IndexFigures, SearchFigures

summarise = partial(summaries.summarise, known=CheckRegistry().known)

JUDGEMENT = Judgement(
    "retention",
    "acme-int8-cpu",
    "fail",
    "half of a pair: \ud83d",
    "pairs",
    "spearman",
    value=0.7,
    high=float("inf"),
    n=100,
    diagnosis=Diagnosis("pooling", "pooled by CLS", "compare the config"),
    worst=(WorstText("text", 0.9, 0.1),),
    details=("one", "two"),
    example=("a", "b"),
)
SPEED = SpeedFigures(0.5, 0.4, None, 8, 1, 500.0, 250.0, 2.0, 0.1, ("busy",), Latency(72, 1.7, 1.8), Latency(63))
RUN = RunFacts(
    Evidence("cpu", 1, 4096, {"int8": 36}, "acme 1", {"nodes": [1, 2]}, ("odd",), 4096, 1024),
    0.1,
    0.2,
    9,
    16,
    {"batch_1_medium": SPEED},
    Footprint(1, 2, 3, None, None, 0.1, 0.2, ("not idle",)),
    {"faiss-exact-int8": IndexFigures(16.0, 0.1, 1.0)},
    {"faiss-exact-int8-batch1": SearchFigures(0.25, 400.0, 100.0, 16.0, 0.1, 8, 1)},
)


def test_a_record_survives_the_way_through_pytest_xdist():
    sent = Record("acme-int8-cpu", True, JUDGEMENT, expected="known: why (http://x)", run=RUN)
    # What execnet carries, as pytest-xdist has it; a lone surrogate it would refuse, as it always has.
    execnet.dumps(replace(sent, judgement=replace(JUDGEMENT, message="")).to_builtins())
    received = Collector()
    received.pytest_runtest_logreport(SimpleNamespace(when="call", gate=sent.to_builtins()))
    (record,) = received.records
    assert record.judgement == JUDGEMENT
    assert record == sent
    assert Record.from_builtins(json.loads(json.dumps(sent.to_builtins()))).judgement == JUDGEMENT


def test_reports_without_a_record_are_no_trouble():
    received = Collector()
    received.pytest_runtest_logreport(SimpleNamespace(when="call"))
    assert received.records == []


def ends(when: str, *, failed: bool = True, nodeid: str = "test_a.py::test_a") -> SimpleNamespace:
    gate = Record("acme-int8-cpu", error="aborted").to_builtins() if failed else None
    return SimpleNamespace(when=when, failed=failed, nodeid=nodeid, gate=gate)


@pytest.mark.parametrize(
    ("reports", "is_of_others"),
    [
        ([ends("call", failed=False), ends("teardown")], True),
        ([ends("teardown", failed=False), ends("teardown", nodeid="test_a.py::test_b")], True),
        ([ends("teardown", failed=False), ends("setup", failed=False), ends("teardown")], True),
        ([ends("teardown", failed=False), ends("teardown")], False),
        ([ends("call")], False),
    ],
    ids=["torn down", "another test", "run again", "closed", "called"],
)
def test_a_crash_as_an_encoder_is_closed_is_no_failure_of_the_hosts(reports, is_of_others):
    received = Collector()
    for report in reports:
        received.pytest_runtest_logreport(report)
    assert received.lost_nothing is not is_of_others


@pytest.mark.parametrize("wrong", [{"verdict": "maybe"}, {"n": "many"}, {"worst": [{"text": "x"}]}])
def test_what_is_no_judgement_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Judgement.from_json({**JUDGEMENT.to_json(), **wrong})


def test_what_a_host_projects_evidence_holds_never_breaks_a_report():
    class Odd:
        def __str__(self):
            return "odd"

    evidence = Evidence("cpu", 1, 0, {"int8": np.int64(3)}, "acme 1", {"scale": np.float32(0.5), "kind": Odd()})
    told = RunFacts(evidence, 0.1, 0.1, 1, 1).to_json()["evidence"]
    assert (told["products"], told["details"]) == ({"int8": 3}, {"scale": 0.5, "kind": "odd"})


@pytest.mark.parametrize("order", [*permutations(range(3))])
def test_figures_of_one_combination_are_joined_whatever_the_order(order):
    bare = replace(RUN, speed={}, footprint=None, indexes={}, search_speed={})
    parts = (
        replace(bare, speed={"batch_1_medium": SPEED}, footprint=RUN.footprint),
        replace(bare, speed={"batch_32_medium": SPEED}, search_speed=RUN.search_speed),
        replace(bare, indexes=RUN.indexes),
    )
    (row,) = summarise(Collector([Record("acme-int8-cpu", run=parts[place]) for place in order])).rows
    assert set(row.run.speed) == {"batch_1_medium", "batch_32_medium"}
    assert (row.run.footprint, row.run.indexes, row.run.search_speed) == (RUN.footprint, RUN.indexes, RUN.search_speed)


def facts(**changed):
    same = {
        "created": "2026-01-01T00:00:00+00:00",
        "model": {"name": "m", "source": "m", "fingerprint": "f"},
        "threads": 2,
        "strict": False,
        "datasets": [{"name": "pairs", "sha256": "s", "notes": []}],
        "texts": 9,
        "index": None,
        "asked": {"a-int8-cpu": {"collected": 3, "deselected": 0}},
        "stale_baseline": [],
        "profile": "cpu",
        "profiles": {},
        "libraries": {"numpy": "2"},
        "machine": {"cpu": "a CPU", "gpu": None},
        "seconds": {"total": 1.0, "build": 0.25, "encode": 0.25, "judge_and_rest": 0.5},
    }
    return {**same, **changed}


@pytest.mark.parametrize("order", [*permutations(range(3))])
def test_facts_are_the_same_whichever_process_ends_last(order):
    machine = {"cpu": "a CPU"}
    parts = (
        facts(
            index="embed everything again", created="2026-01-01T00:00:09+00:00", profiles={"torch-fp32-cpu": "cpu"},
            seconds={"total": 9.0, "build": 4.0, "encode": 3.0, "judge_and_rest": 2.0},
        ),
        facts(
            profile="cpu + nvidia-l4", profiles={"torch-fp16-cuda": "nvidia-l4"}, machine={**machine, "gpu": "NVIDIA L4"},
            libraries={"numpy": "2", "cuda": "13.0"}, stale_baseline=["a pairs v_measure", "b"],
        ),
        facts(
            profile="nvidia-t4", profiles={"acme-int8-cuda": "nvidia-t4"}, machine={**machine, "gpu": "Tesla T4"},
            stale_baseline=["b"],
        ),
    )  # fmt: skip
    joined = {}
    for place in order:
        joined = facts_together(joined, parts[place])
    assert joined == facts(
        index="embed everything again",
        created="2026-01-01T00:00:09+00:00",
        profile="cpu + nvidia-l4 + nvidia-t4",
        profiles={"torch-fp32-cpu": "cpu", "torch-fp16-cuda": "nvidia-l4", "acme-int8-cuda": "nvidia-t4"},
        machine={**machine, "gpu": "NVIDIA L4 + Tesla T4"},
        libraries={"numpy": "2", "cuda": "13.0"},
        stale_baseline=["a pairs v_measure", "b"],
        seconds={"total": 9.0, "build": 4.5, "encode": 3.5, "judge_and_rest": 3.0},
    )


def test_one_combination_on_two_gpus_has_one_profile_whichever_process_ends_last():
    one, other = (facts(profiles={"torch-fp16-cuda": name}) for name in ("nvidia-l4", "nvidia-t4"))
    assert facts_together(one, other) == facts_together(other, one)
    assert facts_together({}, one) == one == facts_together(one, {})


def test_approved_values_over_time_are_those_of_all_processes():
    def trend(by, missing="", **values):
        approval = {"when": "2026-01-01T00:00:00Z", "values": values, "by": by}
        return {"missing": missing, "profiles": {"cpu": {"file": "gate/cpu/m.json", "approvals": {"ab": approval}}}}

    mine, theirs = {"pairs": {"spearman": 0.8}}, {"pairs": {"spearman": 0.7}}
    zoe, ann = {"who": "Zoe", "reason": "a first"}, {"who": "Ann", "reason": "z second"}
    one, other = (
        facts(trend=trend({"a": zoe}, a=mine)),
        facts(trend=trend({"b": ann}, "this clone is shallow", b=theirs)),
    )
    joined = trend({"a": zoe, "b": ann}, "this clone is shallow", a=mine, b=theirs)
    assert facts_together(one, other)["trend"] == joined
    assert facts_together(facts(trend={}), other)["trend"] == other["trend"]
    one, other = facts(trend=trend({"a": zoe}, a=mine)), facts(trend=trend({"a": ann}, a=mine))
    for joined in (facts_together(one, other), facts_together(other, one)):
        assert joined["trend"]["profiles"]["cpu"]["approvals"]["ab"]["by"]["a"] in (zoe, ann)  # and of no third
