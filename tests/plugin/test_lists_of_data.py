"""A list of datasets in the ini file: `pytest` alone judges on all of them, and weights count in their family."""

from __future__ import annotations

import json

import pytest

LIST = """\
[heavy]
path = "rows.csv"
columns = { sentence1 = "q1", sentence2 = "q2", score = "dup" }
weight = 4

[light]
path = "rows.csv"
columns = { sentence1 = "q2", sentence2 = "q1", score = "dup" }
"""
ROWS = "q1,q2,dup\n" + "".join(f"text {i},{'text' if i % 2 else 'quite another'} {i},{i % 2}\n" for i in range(14))
CALL = ("-p", "no:cacheprovider", "--pyargs", "embedgate.suites.test_quality", "-k", "keeps_the_reference_quality")


@pytest.fixture
def project(project):
    data = project.mkdir("data")
    (data / "rows.csv").write_text(ROWS, "utf-8")
    (data / "list.toml").write_text(LIST, "utf-8")
    with project.path.joinpath("tox.ini").open("a") as file:
        file.write("\ngate_data = data/list.toml\ngate_combination = torch-bf16-cpu\n")
    return project


def test_pytest_alone_judges_on_all_of_it(project):
    project.runpytest_inprocess(*CALL, "--gate-report=out").assert_outcomes(passed=2)
    report = json.loads(project.path.joinpath("out/report.json").read_text("utf-8"))
    assert [(each["name"], each["weight"]) for each in report["datasets"]] == [("heavy", 4), ("light", 1)]
    assert report["families"] == {"quality": 5}, "the level is shared as if there were five"
    assert report["checks"]["of"]["torch-bf16-cpu"]["weights"] == {"retention heavy spearman": 4}
    told = project.path.joinpath("out/report.md").read_text("utf-8")
    assert "heavy: weight 4: each check on it counts as 4 of its family" in told


def test_what_is_wrong_is_told_before_any_test(project):
    (project.path / "data/list.toml").write_text(LIST + "wieght = 2\n", "utf-8")
    result = project.runpytest_inprocess(*CALL)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*data/list.toml: [[]light]: unknown key wieght; did you mean weight?"])
