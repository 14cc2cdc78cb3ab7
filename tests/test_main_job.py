"""The main job itself, on whatever CPU this is: every combination against the committed baselines."""

from __future__ import annotations

import json

from embedgate.encoders.registry import offers


def test_every_cpu_combination_is_green_or_says_why_it_is_skipped(pytester, cache, monkeypatch):
    """On the bundled pairs alone, to be quick; the main job judges all bundled data in the same way."""
    monkeypatch.setenv("EMBEDGATE_CACHE", str(cache))
    # Time and memory are of the machine, and no test depends on them.
    chosen = "not keeps_its_speed and not keeps_its_memory"
    options = ("-p", "no:cacheprovider", "-m", "cpu", "-k", chosen, "--gate-data", "pairs", "--gate-report", "out")
    result = pytester.runpytest_subprocess("--pyargs", "embedgate.suites", *options)
    report = json.loads(pytester.path.joinpath("out/report.json").read_text("utf-8"))
    rows = {row["combination"]: row for row in report["combinations"]}
    assert result.ret == 0, {name: row["verdict"] for name, row in rows.items()}
    offered = {combination.id for combination in offers() if combination.device == "cpu"}
    assert set(rows) == offered
    for row in rows.values():
        if row["verdict"] == "skipped":
            assert row["reason"]
        else:
            assert row["run"]["evidence"]["problems"] == []
            assert row["run"]["evidence"]["threads"] == report["threads"]
