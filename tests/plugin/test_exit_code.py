"""What pytest's exit code says and what the report says agree, whatever the tests come to."""

from __future__ import annotations

import json

import pytest

from embedgate.plugin import NOT_JUDGED

CONFTEST = """
import pytest

@pytest.fixture
def gate_case(request):  # nothing is built: the tests bring their judgements along
    return request.param
"""
TESTS = """
import os
import pytest
from embedgate.core.errors import GateError
from embedgate.core.judgement import Diagnosis, Judgement

FOUND = {found!r}

@pytest.mark.gate("golden")
@pytest.mark.parametrize("what", FOUND)
def test_check(gate_case, uphold, what):
    if what == "error":
        raise GateError("no such file")
    if what == "crash":
        os._exit(1)
    if what == "skipped":
        pytest.skip("not today")
    check = "agreement" if what == "expected" else "golden"
    verdict = {{"expected": "fail", "unjudged": "inconclusive", "broken": "pass"}}.get(what, what)
    why = Diagnosis("baseline", "nothing is approved", "approve it") if what == "unjudged" else None
    uphold(Judgement(check, gate_case.combination.id, verdict, f"is {{what}}", diagnosis=why))
    assert what != "broken", "failed after its judgement"
"""
EXPECTED = (
    '[[expected]]\ncombination = "torch-bf16-cpu"\ndataset = "*"\ncheck = "agreement"\n'
    'kind = "known-defect"\nreason = "rounds"\nlink = "https://example.com/1"\n'
)


def written(project, few, found):
    """Writes the files of a session that comes to what is found, and gives its arguments."""
    project.makeconftest(CONFTEST)
    project.makepyfile(TESTS.format(found=found))
    project.mkdir("approved").joinpath("expected_failures.toml").write_text(EXPECTED if "expected" in found else "")
    arguments = ["--gate-combination", "torch-bf16-cpu", f"--gate-data={few}", "--gate-baselines", "approved"]
    return ["-p", "no:cacheprovider", *arguments, "--gate-report=out"]


@pytest.mark.parametrize(
    ("found", "verdict", "under_strict"),
    [
        (["pass"], "pass", "pass"),
        (["pass", "fail"], "fail", "fail"),
        (["pass", "inconclusive"], "inconclusive", "fail"),
        (["pass", "unjudged"], "pass", "fail"),
        (["pass", "error"], "fail", "fail"),
        (["fail", "error"], "fail", "fail"),
        (["pass", "broken"], "fail", "fail"),
        (["pass", "skipped"], "pass", "pass"),
        (["skipped"], "skipped", "skipped"),
        (["expected"], "pass", "pass"),
        (["pass", "expected"], "pass", "pass"),
        (["expected", "inconclusive"], "inconclusive", "fail"),
        (["expected", "unjudged"], "inconclusive", "fail"),
        (["expected", "fail"], "fail", "fail"),
    ],
)
@pytest.mark.parametrize("strict", [False, True])
def test_the_report_is_red_where_pytest_is(project, few, found, verdict, under_strict, strict):
    arguments = written(project, few, found)
    result = project.runpytest(*arguments, *(["--gate-strict"] if strict else []))
    report = json.loads(project.path.joinpath("out/report.json").read_text())
    assert report["verdict"] == (under_strict if strict else verdict)
    infrastructure = NOT_JUDGED if found == ["pass", "error"] and not strict else pytest.ExitCode.TESTS_FAILED
    assert result.ret == (infrastructure if report["verdict"] == "fail" else pytest.ExitCode.OK)
    assert len(report["expected_failures"]) == found.count("expected")


def test_a_test_of_the_hosts_own_that_fails_is_no_infrastructure(project, few):
    arguments = written(project, few, ["pass", "error"])
    project.makepyfile(test_own="def test_own():\n    assert False\n")
    assert project.runpytest(*arguments).ret == pytest.ExitCode.TESTS_FAILED


@pytest.mark.slow("a crashed process is red in the report too")
def test_a_crash_of_a_process_is_red_in_the_report_too(project, few, warm):
    result = project.runpytest_subprocess(*written(project, few, ["pass", "crash"]), "-n", "1")
    report = json.loads(project.path.joinpath("out/report.json").read_text())
    assert (result.ret, report["verdict"]) == (NOT_JUDGED, "fail")
    (row,) = report["combinations"]
    (line,) = row["errors"]
    assert "ended a process of pytest-xdist" in line
    assert line.endswith("--gate-combination torch-bf16-cpu")
