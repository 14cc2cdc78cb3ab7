"""The main job itself, on whatever CPU this is: every combination against the committed baselines."""

from __future__ import annotations

import json
from typing import Any

import pytest
from helpers.emulated import emulated

from embedgate.core.combination import Combination
from embedgate.data.cards import bundled_folder
from embedgate.encoders.registry import offers

ON_CPU = tuple(combination for combination in offers() if combination.device == "cpu")
EMULATED = tuple(combination for combination in ON_CPU if emulated(combination))


@pytest.fixture
def judged(pytester, cache, monkeypatch):
    """Runs the suites in a process of their own, and gives what the report says of each combination."""
    monkeypatch.setenv("EMBEDGATE_CACHE", str(cache))

    def run(combinations: tuple[Combination, ...], *options: str) -> dict[str, dict[str, Any]]:
        chosen = [word for combination in combinations for word in ("--gate-combination", str(combination))]
        usual = ("-p", "no:cacheprovider", "-m", "cpu and not budget", "--gate-report", "out")
        result = pytester.runpytest_subprocess("--pyargs", "embedgate.suites", *usual, *chosen, *options)
        report = json.loads(pytester.path.joinpath("out/report.json").read_text("utf-8"))
        rows = {row["combination"]: row for row in report["combinations"]}
        assert result.ret == 0, {name: row["verdict"] for name, row in rows.items()}
        for row in rows.values():
            if row["verdict"] == "skipped":
                assert row["reason"]
            else:
                assert row["run"]["evidence"]["problems"] == []
                assert row["run"]["evidence"]["threads"] == report["threads"]
        return rows

    return run


def test_every_cpu_combination_is_green_or_says_why_it_is_skipped(judged):
    """On the bundled pairs alone, to be quick; the main job judges all bundled data in the same way."""
    chosen = tuple(combination for combination in ON_CPU if combination not in EMULATED)
    rows = judged(chosen, "--gate-data", "pairs")
    assert set(rows) == {str(combination) for combination in chosen}


@pytest.mark.skipif(not EMULATED, reason="this CPU computes in every type that is offered")
def test_combinations_that_this_cpu_emulates_are_green(judged, pytester):
    """On a part of the pairs and the golden texts: judged in full, they would take longer than all other tests."""
    pairs = bundled_folder().joinpath("pairs/pairs.jsonl").read_text("utf-8").splitlines(keepends=True)
    pytester.path.joinpath("pairs.jsonl").write_text("".join(pairs[::16]), "utf-8")
    rows = judged(EMULATED, "--gate-data", "pairs.jsonl", "-k", "test_quality or test_effective or test_golden")
    assert set(rows) == {str(combination) for combination in EMULATED}
