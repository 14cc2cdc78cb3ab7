"""The command line: options, outcomes and reports, as a user meets them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from embedgate.encoders import Stability
from embedgate.encoders.registry import Backend, Offer, backends
from embedgate.report.summary import SCHEMA

PAIRS = [
    ("A dog runs across the yard.", "A dog runs across the garden.", 4.7),
    ("A dog runs across the yard.", "The bank raised its interest rate.", 0.1),
    ("She makes bread every Sunday.", "Every Sunday she makes bread.", 5.0),
    ("She makes bread every Sunday.", "She buys milk every Monday.", 2.5),
    ("The train leaves at nine.", "The train leaves at ten.", 4.8),
    ("The train leaves at nine.", "The museum opened last spring.", 0.8),
    ("Prices fell by three percent.", "Prices fell by two percent.", 4.9),
    ("Prices fell by three percent.", "Three men fell off the boat.", 1.5),
    ("He repaired the old car.", "The old car was repaired by him.", 4.6),
    ("He repaired the old car.", "A storm is coming tonight.", 0.0),
    ("The nurse gave him the letter.", "The nurse gave her the letter.", 4.9),
    ("The nurse gave him the letter.", "He wrote a long letter home.", 1.9),
]

# The suites of properties have tests of their own (test_property_suites.py).
SUITES = (
    "-p",
    "no:cacheprovider",
    "--pyargs",
    *(f"embedgate.suites.test_{name}" for name in ("baseline", "effective", "quality", "upgrade")),
)


@pytest.fixture
def project(project, few_cases):
    """A host project with a small dataset of its own and no baselines yet."""
    rows = [{"sentence1": a, "sentence2": b, "score": score} for a, b, score in PAIRS]
    project.path.joinpath("mine.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return project


def run(project, *options: str, combination: str = "torch-bf16-cpu"):
    return project.runpytest_inprocess(
        *SUITES,
        "--gate-data",
        "mine.jsonl",
        "--gate-combination",
        combination,
        "--gate-baselines",
        "approved",
        *options,
    )


def approve(project, *options: str, **keywords):
    return run(project, "--gate-update", "--gate-reason", "first values", *options, **keywords)


def recorded(project) -> Path:
    (file,) = project.path.joinpath("approved").glob("*/*.json")
    return file


def test_approve_then_stay_green(project):
    approve(project).assert_outcomes(passed=9)
    result = run(project, "--gate-report", "out")
    result.assert_outcomes(passed=9)
    result.stdout.fnmatch_lines(["*embedgate*", "torch-bf16-cpu*100.0%*"])
    report = json.loads(project.path.joinpath("out/report.json").read_text())
    assert report["schema"] == SCHEMA
    assert report["verdict"] in ("pass", "inconclusive")
    assert report["combinations"][0]["run"]["evidence"]["products"].keys() >= {"bfloat16"}
    assert "torch-bf16-cpu" in project.path.joinpath("out/report.md").read_text()


def test_junit_has_values_limits_and_verdicts(project):
    from xml.etree import ElementTree

    approve(project)
    run(project, "--junit-xml=junit.xml", "-k", "keeps_the_reference_quality")
    (case,) = ElementTree.parse(project.path / "junit.xml").iter("testcase")
    found = {each.get("name"): each.get("value") for each in case.iter("property")}
    assert found["gate_combination"] == "torch-bf16-cpu"
    assert (found["gate_check"], found["gate_dataset"], found["gate_metric"]) == ("retention", "mine", "spearman")
    assert found["gate_verdict"] in ("pass", "inconclusive")
    assert {"gate_value", "gate_reference_value", "gate_observed", "gate_low", "gate_limit", "gate_n"} <= found.keys()
    assert 0 < float(found["gate_value"]) <= 1


def test_missing_baseline_fails_and_names_the_command(project):
    result = run(project)
    result.assert_outcomes(passed=8, failed=1)
    result.stdout.fnmatch_lines(['*next step: approve what you see by: pytest*--gate-update --gate-reason "..."*'])


def test_drift_below_the_baseline_fails(project):
    approve(project)
    file = recorded(project)
    baseline = json.loads(file.read_text())
    for entry in baseline["entries"]:
        if entry["metric"] == "spearman":
            entry["value"] += 0.05
    baseline["approvals"][0]["provenance"]["libraries"]["tokenizers"] = "0.0.1"
    file.write_text(json.dumps(baseline))
    result = run(project)
    result.assert_outcomes(passed=8, failed=1)
    since = "*libraries since it was approved: tokenizers 0.0.1 -> *"
    result.stdout.fnmatch_lines(["*regressed from what was approved*1 of *", since, "*mine spearman: *approved*"])
    result.stdout.fnmatch_lines(["May it ship[?] No: torch-*-cpu has drifted from what was approved: *"])


def test_corrupted_baseline_fails_with_file_and_place(project):
    approve(project)
    file = recorded(project)
    file.write_text(file.read_text()[:-40])
    result = run(project)
    result.assert_outcomes(passed=8, failed=1)
    result.stdout.fnmatch_lines([f"*{file.name}:*is no JSON*", "*next step: restore it*"])


def test_baseline_of_other_weights_fails(project):
    approve(project)
    file = recorded(project)
    baseline = json.loads(file.read_text())
    baseline["model"]["fingerprint"] = "0" * 64
    file.write_text(json.dumps(baseline))
    result = run(project)
    result.assert_outcomes(passed=8, failed=1)
    result.stdout.fnmatch_lines(["*was recorded for another model*"])


def test_update_shows_the_difference(project):
    approve(project)
    file = recorded(project)
    baseline = json.loads(file.read_text())
    next(e for e in baseline["entries"] if e["metric"] == "cosine_mean")["value"] = 0.5
    file.write_text(json.dumps(baseline))
    result = run(project, "--gate-update", "--gate-reason", "restored")
    result.stdout.fnmatch_lines(["*baseline: 1 value changed*", "*cosine_mean*0.5000*+0.*"])
    approvals = json.loads(file.read_text())["approvals"]
    assert [approval["reason"] for approval in approvals] == ["first values", "restored"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--gate-update"], "--gate-update needs a reason"),
        (["--gate-reason", "why"], "--gate-reason goes with --gate-update"),
        (["--gate-combination", "torch-int3-cpu"], "no combination matches 'torch-int3-cpu'"),
        (["--gate-data", "nowhere.csv"], "no dataset 'nowhere.csv'"),
        (["--gate-model", "./nowhere"], "no model folder at './nowhere'"),
        (["--gate-incumbent", "acme/encoder"], "hub id acme/encoder is not pinned"),
        (["--gate-threads", "none"], "--gate-threads must be a whole number"),
    ],
)
def test_wrong_options_are_told_in_one_line(project, options, message):
    result = project.runpytest_inprocess(*SUITES, *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert any(message in line for line in result.errlines + result.outlines)


def test_update_is_refused_in_ci_unless_allowed(project, monkeypatch):
    monkeypatch.setenv("CI", "true")
    result = approve(project)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--gate-update is refused in CI*"])
    assert not project.path.joinpath("approved").exists()
    assert approve(project, "--gate-update-in-ci").ret == pytest.ExitCode.OK


ADDS = """
def pytest_gate_combinations(registry):
    registry.add("acme-int8-cpu", {factory})
"""


def test_infrastructure_trouble_is_an_error_not_a_failure(project):
    project.makeconftest(ADDS.format(factory="lambda path, device: 1 / 0"))
    result = run(project, combination="acme-int8-cpu")
    result.assert_outcomes(errors=9)
    result.stdout.fnmatch_lines(["*acme-int8-cpu could not be built: ZeroDivisionError: division by zero*"])


def test_out_of_memory_in_one_combination_leaves_the_others_alone(project):
    project.makeconftest("def out(path, device):\n    raise MemoryError\n" + ADDS.format(factory="out"))
    result = run(project, "--gate-combination", "acme-*", "--gate-update", "--gate-reason", "first")
    result.assert_outcomes(passed=9, errors=9)
    result.stdout.fnmatch_lines(["*acme-int8-cpu ran out of memory*"])


ACME = """
import numpy as np

class Acme:
    def encode(self, texts, batch_size=32):
        return np.ones((len(texts), 384), dtype=np.float32)

def pytest_gate_combinations(registry):
    registry.add({id!r}, lambda path, device: Acme())
"""


def test_a_host_projects_cuda_combination_is_skipped_where_its_reference_cannot_run(project):
    project.makeconftest(ACME.format(id="acme-fp16-cuda"))
    result = run(project, combination="acme-*")
    result.assert_outcomes(skipped=9)
    result.stdout.fnmatch_lines(["acme-fp16-cuda skipped: torch sees no CUDA device"])


def test_what_is_not_what_its_id_says_is_told_when_it_is_to_be_approved(project):
    project.makeconftest(ACME.format(id="acme-int8-cpu").replace("np.ones(", "np.nan * np.ones("))
    result = approve(project, "-k", "baseline", combination="acme-*")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["acme-int8-cpu is not what its id says, so nothing is approved; run test_is_what_*"])


def test_a_bad_profile_is_told_once_before_any_test(project):
    result = run(project, "--gate-profile", "NVIDIA H200")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: 'NVIDIA H200' is no name of a hardware profile; write lower-case words *"])


def test_an_ini_file_that_pytest_did_not_read_is_told(project, tmp_path, warm):
    outside = tmp_path / "reports"
    outside.mkdir()
    result = project.runpytest_subprocess(*SUITES, "--collect-only", "-q", "--gate-report", str(outside))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: pytest has not read *tox.ini, which sets the gate, since it takes * by '='*"])
    joined = project.runpytest_subprocess(*SUITES, "--collect-only", "-q", f"--gate-report={outside}")
    assert joined.ret == pytest.ExitCode.OK


def test_unavailable_is_skipped_with_the_reason_and_red_under_strict(project, monkeypatch):
    offer = Offer("int8", "int8", Stability(batch=0.4))
    absent = Backend("absent", {"cpu": (offer,)}, extras={"cpu": "absent"})
    found = (*backends(), absent)
    monkeypatch.setattr("embedgate.encoders.registry.backends", lambda: found)
    result = run(project, combination="absent-*")
    result.assert_outcomes(skipped=9)
    result.stdout.fnmatch_lines(["*absent-int8-cpu skipped: *pip install 'embedgate[[]absent[]]'*"])
    run(project, "--gate-strict", combination="absent-*").assert_outcomes(errors=9)


def test_help_needs_no_heavy_library(project):
    code = (
        "import sys, pytest; code = pytest.main(['--help']);"
        "heavy = {'torch', 'transformers', 'sentence_transformers', 'onnxruntime', 'openvino', 'sklearn', 'scipy'};"
        "print('heavy:', sorted(heavy & set(sys.modules)), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=True)
    assert "--gate-model" in done.stdout
    assert "heavy: []" in done.stderr


def test_expected_failure_needs_to_fail(project):
    approve(project)
    project.path.joinpath("approved/expected_failures.toml").write_text(
        '[[expected]]\ncombination = "torch-bf16-cpu"\ndataset = "mine"\ncheck = "retention"\n'
        'kind = "known-defect"\nreason = "was broken once"\nlink = "https://example.com/1"\n'
    )
    result = run(project)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*entry 1 *no longer fails*"])


def test_expected_failure_that_matches_nothing_is_an_error(project):
    approve(project)
    project.path.joinpath("approved/expected_failures.toml").write_text(
        '[[expected]]\ncombination = "nothing-*"\ndataset = "mine"\ncheck = "retention"\n'
        'kind = "known-defect"\nreason = "misspelt"\nlink = "https://example.com/1"\n'
    )
    result = run(project)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*entry 1 *matches nothing*"])


def test_expected_failure_does_not_fail_the_build(project):
    project.makeconftest(
        "from sentence_transformers import SentenceTransformer\n"
        "def load(path, device):\n"
        "    import torch\n"
        "    return SentenceTransformer(str(path), device=device, model_kwargs={'dtype': torch.float32})\n"
        + ADDS.format(factory="load")
    )
    approve(project, combination="acme-*")
    file = project.path.joinpath("approved/expected_failures.toml")
    file.parent.mkdir(exist_ok=True)
    file.write_text(
        '[[expected]]\ncombination = "acme-int8-cpu"\ndataset = "*"\ncheck = "effective"\n'
        'kind = "known-defect"\nreason = "is fp32 still"\nlink = "https://example.com/1"\n'
    )
    result = run(project, combination="acme-*")
    assert result.parseoutcomes().get("xfailed") == 1


@pytest.mark.slow("pytest-xdist builds each combination once and writes one report")
def test_two_processes_share_the_work_and_one_report(project, warm):
    options = ("--gate-data", "mine.jsonl", "--gate-combination", "torch-*-cpu", "--gate-baselines", "approved")
    project.makeconftest("from embedgate import sentences\n\nsentences.SIZE = 20\n")  # as here, in their processes
    project.runpytest_subprocess(*SUITES, *options, "--gate-update", "--gate-reason", "first values")
    result = project.runpytest_subprocess(*SUITES, *options, "-n", "2", "--dist", "loadgroup", "--gate-report", "out")
    assert result.ret == pytest.ExitCode.OK
    report = json.loads(project.path.joinpath("out/report.json").read_text())
    assert {row["combination"] for row in report["combinations"]} == {
        "torch-fp32-cpu",
        "torch-bf16-cpu",
        "torch-fp16-cpu",
        "torch-amp-cpu",
    }
    assert report["model"]["name"] == "small"


def test_reference_alone_can_be_chosen(project):
    approve(project, combination="torch-fp32-cpu").assert_outcomes(passed=2)


def test_upgrade_judges_task_quality_and_says_what_becomes_of_the_index(project, model):
    approve(project, combination="torch-fp32-cpu")
    result = run(project, "--gate-incumbent", str(model.path), "-m", "cpu", combination="torch-fp32-cpu")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["index: new vectors can be mixed with the incumbent's*"])


TURNS_TO_NAN = """
import os
import numpy as np

class Turning:
    def __init__(self, path):
        import torch
        from sentence_transformers import SentenceTransformer
        self.model = SentenceTransformer(str(path), device="cpu", model_kwargs={"dtype": torch.float32})

    def encode(self, texts, batch_size=32):
        rows = self.model.encode(list(texts), batch_size=batch_size).astype(np.float16).astype(np.float32)
        if "TURN_TO_NAN" in os.environ:
            rows[0] = np.nan
        return rows
"""


def test_update_keeps_what_was_approved_of_a_combination_that_now_holds_nan(project, monkeypatch):
    project.makeconftest(TURNS_TO_NAN + ADDS.format(factory="lambda path, device: Turning(path)"))
    both = ("--gate-combination", "torch-bf16-cpu")
    approve(project, *both, combination="acme-int8-cpu")
    before = json.loads(recorded(project).read_text())["entries"]
    assert {entry["combination"] for entry in before} == {"acme-int8-cpu", "torch-bf16-cpu"}
    monkeypatch.setenv("TURN_TO_NAN", "1")
    approve(project, *both, combination="acme-int8-cpu")
    assert json.loads(recorded(project).read_text())["entries"] == before


@pytest.mark.parametrize(("given", "wanted"), [((), 3), (("--gate-threads=5",), 5)])
def test_processes_of_pytest_xdist_share_the_cores(pytester, monkeypatch, given, wanted):
    from embedgate.core import machine
    from embedgate.plugin.options import settings_of

    monkeypatch.setattr(machine, "default_threads", lambda: 6)
    config = pytester.parseconfig(*given)
    assert settings_of(config).threads_here == (5 if given else 6)
    config.workerinput = {"workercount": 2}
    assert settings_of(config).threads_here == wanted
    assert settings_of(config).threads_alone == (5 if given else 6), "a fresh process has nothing of them beside it"
