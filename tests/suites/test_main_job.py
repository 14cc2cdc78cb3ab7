"""The main job itself, on whatever CPU this is: the real model against the committed baselines."""

from __future__ import annotations

import json
from typing import Any

import pytest

from embedgate.core.combination import Combination
from embedgate.core.model import DEFAULT_MODEL
from embedgate.data.cards import bundled_folder
from embedgate.encoders.registry import is_emulated, offers

ON_CPU = tuple(combination for combination in offers() if combination.device == "cpu")
EMULATED = tuple(combination for combination in ON_CPU if is_emulated(combination))
# Exported fp32 is judged in tests/encoders, and below by every suite on the small model.
REAL = tuple(c for c in ON_CPU if c not in EMULATED and (c.is_reference or c.weight_precision != "fp32"))


@pytest.fixture
def judged(project, warm):
    """Runs the suites in a process of their own, and gives what the report says of each combination."""

    def run(combinations: tuple[Combination, ...], *options: str) -> dict[str, dict[str, Any]]:
        chosen = [f"--gate-combination={combination}" for combination in combinations]
        usual = ("-p", "no:cacheprovider", "-m", "cpu and not budget", "--gate-report=out")
        result = project.runpytest_subprocess("--pyargs", "embedgate.suites", *usual, *chosen, *options)
        report = json.loads(project.path.joinpath("out/report.json").read_text("utf-8"))
        rows = {row["combination"]: row for row in report["combinations"]}
        assert result.ret == 0, {name: row["verdict"] for name, row in rows.items()}
        assert set(rows) == {str(combination) for combination in combinations}
        for row in rows.values():
            if row["verdict"] == "skipped":
                assert row["reason"]
            else:
                assert row["run"]["evidence"]["problems"] == []
                assert row["run"]["evidence"]["threads"] == report["threads"]
        return rows

    return run


@pytest.mark.slow("committed baselines hold for every quantized combination on a CPU they were not approved on")
def test_every_quantized_combination_is_green_or_says_why_it_is_skipped(judged):
    """On the topics alone, to be quick; the main job judges all bundled data in the same way."""
    suites = "test_baseline or test_quality or test_effective or test_golden or test_ordering"
    judged(REAL, f"--gate-model={DEFAULT_MODEL}", "--gate-data=topics", "-k", suites)


@pytest.mark.slow("every suite is green for every combination that this CPU computes natively")
def test_every_suite_is_green_on_a_model_that_nothing_was_approved_of(judged, few):
    natively = tuple(combination for combination in ON_CPU if combination not in EMULATED)
    # The small model's int8 loses what real models' does not.
    judged(natively, f"--gate-data={few}", "-k", "not test_baseline and not test_golden and not test_quality")


@pytest.mark.slow("combinations that this CPU computes by way of float32 keep the quality")
@pytest.mark.skipif(not EMULATED, reason="this CPU computes in every type that is offered")
def test_combinations_that_this_cpu_emulates_are_green(judged, project):
    """On a part of the pairs: on all bundled data, they would take longer than all other tests."""
    pairs = bundled_folder().joinpath("pairs/pairs.jsonl").read_text("utf-8").splitlines(keepends=True)
    project.path.joinpath("pairs.jsonl").write_text("".join(pairs[::32]), "utf-8")
    judged(EMULATED, f"--gate-model={DEFAULT_MODEL}", "--gate-data=pairs.jsonl", "-k", "test_quality or test_effective")
