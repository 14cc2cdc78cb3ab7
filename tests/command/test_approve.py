"""`embedgate approve`: what a report measured is approved as the session itself would have approved it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import stub_devices

from embedgate.approved.proposal import Proposal
from embedgate.command import main
from embedgate.core.errors import BaselineError
from embedgate.core.machine import machine_id
from embedgate.report import receipt

SUITES = [f"embedgate.suites.test_{name}" for name in ("baseline", "effective", "golden")]
ASKED = ("-p", "no:cacheprovider", "--pyargs", *SUITES, "-m", "cpu", "--gate-baselines=gate")
COMBINATIONS = ("--gate-combination=torch-fp32-cpu", "--gate-combination=torch-bf16-cpu")


@pytest.fixture(autouse=True)
def stubs(monkeypatch, few_cases):
    stub_devices.install(monkeypatch, gpu=None)
    for name in ("CI", "GITHUB_ACTOR", "GITHUB_RUN_ID", "GITLAB_USER_LOGIN", "CI_JOB_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def measured(project, few, monkeypatch):
    """Runs a session that approves nothing, and gives its outcome; `approve` approves what it has measured."""
    monkeypatch.chdir(project.path)

    def run(*options: str):
        return project.runpytest_inprocess(*ASKED, f"--gate-data={few}", *COMBINATIONS, "--gate-report=out", *options)

    return run


def approve(*options: str) -> int:
    return main(["approve", "out/report.json", "--reason", "as CI measured it", *options])


def entries() -> dict[tuple[str, str, str], dict]:
    (file,) = Path("gate").glob("*/*.json")
    found = json.loads(file.read_text("utf-8"))["entries"]
    return {(each["combination"], each["dataset"], each["metric"]): each for each in found}


def approvals() -> list[dict]:
    (file,) = Path("gate").glob("*/*.json")
    return json.loads(file.read_text("utf-8"))["approvals"]


def test_what_a_report_measured_is_approved_without_a_second_run(measured, monkeypatch, capsys):
    monkeypatch.setenv("GITHUB_ACTOR", "octocat")
    for name, value in (("SERVER_URL", "https://github.com"), ("REPOSITORY", "acme/search"), ("RUN_ID", "7")):
        monkeypatch.setenv(f"GITHUB_{name}", value)
    first = measured()
    assert first.ret == pytest.ExitCode.TESTS_FAILED
    first.stdout.fnmatch_lines(['*approve what you see by: embedgate approve out/report.json --reason "..."'])
    assert '`embedgate approve out/report.json --reason "..."`' in Path("out/report.md").read_text("utf-8")
    for name in ("GITHUB_ACTOR", "GITHUB_RUN_ID"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_COUNT", "2")
    for place, (key, value) in enumerate((("user.name", "Ada"), ("user.email", "ada@example.org"))):
        monkeypatch.setenv(f"GIT_CONFIG_KEY_{place}", key)
        monkeypatch.setenv(f"GIT_CONFIG_VALUE_{place}", value)
    capsys.readouterr()
    assert approve() == 0
    told = capsys.readouterr().out
    assert "changed in gate, as measured by octocat on 20" in told
    assert "https://github.com/acme/search/actions/runs/7" in told
    (one,) = approvals()
    assert (one["who"], one["reason"]) == ("Ada <ada@example.org>", "as CI measured it")
    assert one["ran"] == {
        "who": "octocat",
        "when": one["ran"]["when"],
        "url": "https://github.com/acme/search/actions/runs/7",
    }
    assert measured().ret == pytest.ExitCode.OK


def approved_in(golden: Path) -> dict[str, dict]:
    from safetensors import safe_open

    with safe_open(golden, framework="numpy") as content:
        return json.loads(content.metadata()["embedgate"])["approvals"]


def conditions(golden: Path) -> dict[str, dict]:
    return {id_: approval["conditions"] for id_, approval in approved_in(golden).items()}


def test_it_approves_what_the_session_itself_would_have(measured, few, project, monkeypatch):
    measured()
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("embedgate.approved.entries.machine_id", lambda: "f" * 16)
        assert approve() == 0
    from_report = {place: {**each, "approval": 1} for place, each in entries().items()}
    golden = next(Path("gate").glob("*/*.golden.safetensors"))
    kept, computed = golden.read_bytes(), conditions(golden)
    assert {each["machine"] for each in computed.values()} == {machine_id()}, "where it was measured"
    for file in Path("gate").glob("*/*"):
        file.unlink()
    measured("--gate-update", "--gate-reason=by itself")
    assert entries() == from_report
    from safetensors.numpy import load

    mine, theirs = load(kept), load(golden.read_bytes())
    assert mine.keys() == theirs.keys()
    assert all((mine[name] == theirs[name]).all() for name in mine)
    assert conditions(golden) == computed
    assert computed.keys() == {"torch-fp32-cpu", "torch-bf16-cpu"}
    assert len({each["reference"] for each in computed.values()}) == 1


def test_a_profile_of_cpu_and_gpu_keeps_for_each_the_libraries_that_computed_it(measured, monkeypatch):
    stub_devices.install(monkeypatch)
    on_both = [f"--gate-combination=torch-{precision}-cuda" for precision in ("fp32", "bf16")]
    measured("--gate-profile=acme-box", "-m", "", *on_both)
    assert approve() == 0
    (golden,) = Path("gate/acme-box").glob("*.golden.safetensors")
    found = {id_: approval["libraries"] for id_, approval in approved_in(golden).items()}
    on_gpu = {id_ for id_, libraries in found.items() if {"cuda", "nvidia-driver"} & libraries.keys()}
    assert on_gpu == {"torch-fp32-cuda", "torch-bf16-cuda"}
    assert found.keys() - on_gpu == {"torch-fp32-cpu", "torch-bf16-cpu"}
    assert all("torch" in libraries for libraries in found.values())
    (one,) = json.loads(Path("out/report.json").read_text("utf-8"))["approvable"]
    first, second = (Proposal.from_json({**one, "libraries": {id_: found[id_]}}, "a.json") for id_ in sorted(on_gpu))
    assert first.with_more(second).libraries.keys() == on_gpu, "of a shard that had no CPU"
    del one["libraries"]
    assert Proposal.from_json(one, "a.json").libraries == {}, "of a report from before they were kept"


def test_a_report_from_before_conditions_were_kept_is_read(measured):
    measured()
    (proposal,) = json.loads(Path("out/report.json").read_text("utf-8"))["approvable"]
    assert Proposal.from_json(proposal, "a.json").conditions.keys() == {"torch-fp32-cpu", "torch-bf16-cpu"}
    del proposal["conditions"]
    found = Proposal.from_json(proposal, "a.json")
    assert found.conditions == {}
    assert found.golden.keys() == {"torch-fp32-cpu", "torch-bf16-cpu"}


def test_what_was_chosen_is_approved_and_nothing_else(measured):
    measured()
    assert approve("--combination", "torch-bf16-*", "--dataset", "mine") == 0
    assert {(combination, dataset) for combination, dataset, _ in entries()} == {("torch-bf16-cpu", "mine")}
    assert not [*Path("gate").glob("*/*.golden.safetensors")], "golden texts are of a combination as a whole"
    measured()
    before = entries()
    assert approve("--metric", "cosine_*") == 0
    assert entries().keys() - before.keys() == {
        ("torch-bf16-cpu", "texts:mine", f"cosine_{name}") for name in ("mean", "min", "p01")
    }
    assert all(entries()[place] == each for place, each in before.items())


def test_equal_values_keep_their_first_approval(measured, capsys):
    measured()
    assert approve() == 0
    measured()
    capsys.readouterr()
    assert approve() == 0
    assert "0 values changed in gate" in capsys.readouterr().out
    assert len(approvals()) == 1


def test_a_dry_run_shows_what_would_change_and_changes_nothing(measured, capsys):
    measured()
    capsys.readouterr()
    assert approve("--dry-run") == 0
    told = capsys.readouterr().out
    assert "would change in gate" in told
    assert "torch-bf16-cpu" in told
    assert not Path("gate").exists()


def test_a_report_that_was_edited_is_refused(measured, capsys):
    measured()
    file = Path("out/report.json")
    file.write_text(file.read_text("utf-8").replace('"value": 1.0', '"value": 2.0', 1), "utf-8")
    assert approve() == 2
    assert "out/report.json is not as it was written: its checksum is wrong" in capsys.readouterr().err
    assert not Path("gate").exists()


def test_a_report_of_another_embedgate_is_refused(measured, capsys, monkeypatch):
    measured()
    monkeypatch.setattr(receipt, "_installed", lambda: {"embedgate": "0" * 64, "suites": "1" * 64})
    assert approve() == 2
    assert "was measured by another embedgate: other embedgate, suites" in capsys.readouterr().err


def test_a_report_from_before_the_baseline_changed_is_refused(measured, capsys):
    measured()
    assert approve("--metric", "spearman") == 0
    assert approve() == 2
    (file,) = Path("gate").glob("*/*.json")
    assert f"{file} changed since out/report.json was measured" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("-k", "is_what_its_id_says"), "out/report.json holds nothing to approve; ask test_baseline.py"),
        (("--gate-update", "--gate-reason=x"), "out/report.json holds nothing to approve"),
    ],
)
def test_what_there_is_nothing_to_approve_of_is_told(measured, capsys, options, told):
    measured(*options)
    assert approve() == 2
    assert told in capsys.readouterr().err


def test_what_was_not_measured_is_told(measured, capsys):
    measured()
    assert approve("--combination", "onnxruntime-*") == 2
    assert "nothing in out/report.json is of the combinations" in capsys.readouterr().err


def test_it_is_refused_in_ci_unless_it_is_allowed(measured, capsys, monkeypatch):
    measured()
    monkeypatch.setenv("CI", "true")
    assert approve() == 2
    assert "baselines are not updated in CI" in capsys.readouterr().err
    assert approve("--in-ci") == 0


def test_a_missing_report_is_told_in_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert approve() == 2
    assert (
        capsys.readouterr().err
        == "embedgate approve: there is no report to approve at out/report.json; give a report.json, as it was written\n"
    )


def test_a_proposal_of_another_form_is_refused():
    with pytest.raises(BaselineError, match=r"a\.json holds nothing that can be approved: "):
        Proposal.from_json({"profile": "cpu"}, "a.json")


def test_an_update_approves_what_was_asked_for_alone(measured):
    """A metric that was not asked for may have lost, and nobody has looked at it."""
    quality = "embedgate.suites.test_quality"
    measured("--pyargs", quality, "-k", "cosine_mean", "--gate-update", "--gate-reason=looked at one")
    assert entries().keys() == {("torch-bf16-cpu", "texts:mine", "cosine_mean")}
    assert not [*Path("gate").glob("*/*.safetensors")]


@pytest.fixture
def other_model(model, tmp_path):
    """The small model with another of its weights."""
    from safetensors.numpy import load_file, save_file

    folder = tmp_path / "small"
    shutil.copytree(model.path, folder)
    (weights,) = folder.glob("*.safetensors")
    tensors = load_file(weights)
    name = sorted(tensors)[0]
    save_file({**tensors, name: tensors[name] + 1}, weights, {"format": "pt"})
    return folder


def test_a_model_that_changed_is_approved_as_by_an_update(measured, other_model):
    name = "--gate-name=search"
    measured(name, "--gate-update", "--gate-reason=first")
    changed = measured(name, f"--gate-model={other_model}")
    changed.stdout.fnmatch_lines(["*was recorded for another model: other weights (model.safetensors)*"])
    assert approve("--metric", "spearman") == 2, "nothing else of the file would count any more"
    assert approve() == 0
    from_report = {place: {**each, "approval": 0} for place, each in entries().items()}
    kept = sorted(file.name for file in Path("gate").glob("*/*"))
    for file in Path("gate").glob("*/*"):
        file.unlink()
    measured(name, f"--gate-model={other_model}", "--gate-update", "--gate-reason=by itself")
    assert {place: {**each, "approval": 0} for place, each in entries().items()} == from_report
    assert sorted(file.name for file in Path("gate").glob("*/*")) == kept
    assert measured(name, f"--gate-model={other_model}").ret == pytest.ExitCode.OK


def test_a_part_of_a_changed_model_is_not_approved_by_an_update(measured, other_model):
    measured("--gate-name=search", "--gate-update", "--gate-reason=first")
    before = entries()
    part = ("--pyargs", "embedgate.suites.test_quality", "-k", "cosine_mean")
    found = measured("--gate-name=search", f"--gate-model={other_model}", *part, "--gate-update", "--gate-reason=one")
    found.stdout.fnmatch_lines(
        ["*of which nothing counts for this one; approve all that was measured, not a part of it*"]
    )
    assert entries() == before


def test_processes_of_one_session_make_one_approval(measured, monkeypatch):
    measured()
    file = Path("out/report.json")
    report = json.loads(file.read_text("utf-8"))
    (one,) = report["approvable"]
    halves = [[each for each in one["entries"] if (each["metric"] < "d") == low] for low in (True, False)]
    report["approvable"] = [{**one, "entries": half} for half in halves]
    del report["receipt"]["sha256"]
    file.write_text(json.dumps(receipt.seal(report)), "utf-8")
    assert approve() == 0
    assert len(approvals()) == 1
    assert len(entries()) == len(one["entries"])


def test_a_report_that_was_made_in_another_folder_asks_for_the_folder(measured, monkeypatch, capsys, project):
    inner = project.mkdir("service")
    monkeypatch.chdir(inner)
    measured("--gate-baselines=../gate", f"--rootdir={project.path}")
    monkeypatch.chdir(project.path)
    (report,) = project.path.rglob("report.json")
    assert main(["approve", str(report), "--reason", "x"]) == 2
    assert "name the folder as seen from here: --baselines DIR" in capsys.readouterr().err
    assert main(["approve", str(report), "--reason", "x", "--baselines", "gate"]) == 0


def test_a_name_of_its_own_keeps_baselines_over_folders(measured, model, project):
    other = project.path / "v2"
    other.symlink_to(model.path, target_is_directory=True)
    measured("--gate-name=search", "--gate-update", "--gate-reason=first")
    assert [file.name for file in Path("gate").glob("*/*.json")] == ["search.json"]
    assert measured("--gate-name=search", f"--gate-model={other}").ret == pytest.ExitCode.OK
    assert measured(f"--gate-model={other}").ret == pytest.ExitCode.TESTS_FAILED
    bad = measured("--gate-name=../search")
    bad.stderr.fnmatch_lines(["*--gate-name cannot be '../search', since it names files; use letters*"])


def test_the_command_is_there_and_imports_neither_torch_nor_pytest(tmp_path):
    code = "import sys; from embedgate.command import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "assert not {'torch', 'pytest', 'sentence_transformers'} & {*sys.modules}, 'heavy'"
    environment = {**os.environ, "COLUMNS": "200"}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert found.returncode == 0, found.stderr
    assert "approve what a report measured, without a second run" in found.stdout
