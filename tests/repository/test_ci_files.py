"""The files of docs/ci/, which `embedgate init` writes: sound by the tools that check such files, and by what they promise.

zizmor and check-jsonschema come with the extra `dev`. actionlint is a program of its own; where there is none, what it
would see is not checked here: `tox run -e ci-files` installs it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from helpers.ci_tools import program, run, schema, zizmor
from helpers.paths import ROOT

from embedgate.command.init import FILES, ON_GPU
from embedgate.core.options import OPTIONS
from embedgate.core.version import __version__
from embedgate.plugin import NOT_JUDGED

FOLDER = ROOT / "docs/ci"
GITHUB = sorted((FOLDER / "github").glob("*.yml"))
GITLAB = sorted((FOLDER / "gitlab").glob("*.yml"))
ALL = [*GITHUB, *GITLAB]
# A runner of one's own has labels of one's own.
LABELS = "self-hosted-runner:\n  labels: [gpu]\n"


def actionlint(folder: Path) -> subprocess.CompletedProcess[str]:
    found = shutil.which(program("actionlint"))
    if found is None:
        pytest.skip("actionlint is not installed: tox run -e ci-files")
    config = folder / "actionlint.yaml"
    config.write_text(LABELS, "utf-8")
    return run(found, "-config-file", config, *workflows(folder).glob("*.yml"))


def workflows(folder: Path) -> Path:
    return folder / ".github/workflows"


@pytest.fixture
def repository(tmp_path) -> Path:
    """One that has the workflows."""
    workflows(tmp_path).mkdir(parents=True)
    for file in GITHUB:
        shutil.copy(file, workflows(tmp_path))
    return tmp_path


def step(workflow: str, name: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the script of a step as GitHub does, where programs of the folder come first."""
    jobs = yaml.safe_load((FOLDER / f"github/{workflow}.yml").read_text("utf-8"))["jobs"].values()
    (script,) = (step["run"] for job in jobs for step in job["steps"] if step.get("name") == name)
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=folder,
        env={"PATH": f"{folder}:{os.environ['PATH']}", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def fakes(folder: Path, **scripts: str) -> None:
    """Puts programs into a folder, by their names."""
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n", "utf-8")
        (folder / name).chmod(0o755)


def named(file: Path) -> str:
    return f"{file.parent.name}/{file.name}"


def test_every_file_is_one_that_init_writes():
    there = {str(file.relative_to(FOLDER)) for file in FOLDER.rglob("*") if file.suffix in (".yml", ".txt")}
    assert there == {source for of in (FILES, ON_GPU) for files in of.values() for source in files}


class TestTools:
    @pytest.mark.parametrize("file", ALL, ids=named)
    def test_it_is_of_its_schema(self, file):
        done = schema(file, file.parent.name)
        assert done.returncode == 0, done.stdout

    def test_zizmor_finds_nothing_in_the_workflows(self, repository):
        done = zizmor(repository)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stderr.count("completed") >= len(GITHUB)

    def test_actionlint_finds_nothing_in_the_workflows(self, repository):
        done = actionlint(repository)
        assert done.returncode == 0, done.stdout + done.stderr

    @pytest.mark.parametrize(
        ("kind", "old", "new"), [("github", "runs-on:", "run-on:"), ("gitlab", "script:", "scrip:")]
    )
    def test_what_is_not_of_the_schema_is_found(self, tmp_path, kind, old, new):
        text = (FOLDER / kind / "gate.yml").read_text("utf-8")
        (tmp_path / "gate.yml").write_text(text.replace(old, new), "utf-8")
        assert schema(tmp_path / "gate.yml", kind).returncode == 1

    @pytest.mark.parametrize(
        ("old", "new", "told"),
        [
            ('--reason "$REASON"', "--reason '${{ inputs.reason }}'", "template-injection"),
            (r"@3d3c42e\w+ # v7.0.1", "@v7", "unpinned-uses"),
            ("persist-credentials: false", "clean: true", "artipacked"),
            ("permissions: {}", "permissions: write-all", "excessive-permissions"),
        ],
    )
    def test_what_zizmor_is_there_for_is_found(self, repository, old, new, told):
        file = workflows(repository) / "gate-approve.yml"
        text = file.read_text("utf-8")
        broken = re.sub(old if "\\" in old else re.escape(old), new, text)
        assert broken != text
        file.write_text(broken, "utf-8")
        done = zizmor(repository)
        assert done.returncode != 0
        assert told in done.stdout

    def test_what_actionlint_is_there_for_is_found(self, repository):
        file = workflows(repository) / "gate.yml"
        file.write_text(file.read_text("utf-8").replace("steps.gate.outputs", "steps.gates.outputs"), "utf-8")
        assert "gates" in actionlint(repository).stdout


class TestPromises:
    """What docs/ci.md says of them."""

    @pytest.mark.parametrize("file", GITHUB, ids=named)
    def test_every_action_is_pinned_to_a_commit_and_the_same_everywhere(self, file):
        used = re.findall(r"uses: (.*)", file.read_text("utf-8"))
        assert used
        assert all(re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each) for each in used)
        everywhere = {each for other in GITHUB for each in re.findall(r"uses: (.*)", other.read_text("utf-8"))}
        assert len(everywhere) == len({each.partition("@")[0] for each in everywhere})

    def test_nobody_has_a_right_that_is_not_asked_for(self):
        asked = {
            (file.stem, name): job["permissions"]
            for file in GITHUB
            for name, job in yaml.safe_load(file.read_text("utf-8"))["jobs"].items()
        }
        writes = {"actions": "read", "contents": "write", "pull-requests": "write"}
        assert asked.pop(("gate-approve", "approve")) == writes
        assert all(permissions == {"contents": "read"} for permissions in asked.values())

    @pytest.mark.parametrize("file", ALL, ids=named)
    def test_every_option_is_one_of_embedgates(self, file):
        known = {option.flag for option in OPTIONS}
        assert {*re.findall(r"--gate-[a-z-]+", file.read_text("utf-8"))} <= known

    @pytest.mark.parametrize("file", [FOLDER / "github/gate.yml", FOLDER / "gitlab/gate.yml"], ids=named)
    def test_what_could_not_be_judged_is_told_apart(self, file):
        assert re.search(rf"\b{NOT_JUDGED}\b[):\]]", file.read_text("utf-8"))

    def test_what_ci_installs_is_this_version(self):
        found = [file.read_text("utf-8") for file in FOLDER.glob("requirements-*.txt")]
        assert len(found) == 2
        assert all(re.findall(r"^embedgate\[\w+\]==(.*)$", text, re.MULTILINE) == [__version__] for text in found)

    @pytest.mark.parametrize(
        ("status", "outcome", "told"),
        [
            (0, "pass", ""),
            (1, "quality", "title=The gate is red"),
            (10, "infrastructure", "title=The gate could not judge"),
            (4, "misuse", "title=The gate did not run::pytest ended with 4"),
        ],
    )
    def test_the_step_tells_outcomes_apart_and_keeps_the_exit_status(self, tmp_path, status, outcome, told):
        job = yaml.safe_load((FOLDER / "github/gate.yml").read_text("utf-8"))["jobs"]["gate"]
        (script,) = (step["run"] for step in job["steps"] if step.get("id") == "gate")
        fake = tmp_path / "pytest"
        fake.write_text(f"#!/bin/sh\nexit {status}\n", "utf-8")
        fake.chmod(0o755)
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "GITHUB_OUTPUT": str(tmp_path / "out"), "DEPTH": "quick"}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == status
        assert (tmp_path / "out").read_text("utf-8") == f"outcome={outcome}\n"
        assert told in done.stdout
        assert bool(done.stdout) == bool(told)

    @pytest.mark.parametrize(("size", "is_cut"), [(100, False), (1_000_001, True)])
    def test_the_summary_is_no_longer_than_github_takes(self, tmp_path, size, is_cut):
        (tmp_path / "out").mkdir()
        (tmp_path / "out/report.md").write_text("x" * size, "utf-8")
        assert step("gate", "Summary", tmp_path, GITHUB_STEP_SUMMARY="summary").returncode == 0
        summary = (tmp_path / "summary").read_text("utf-8")
        assert len(summary) < 2**20
        assert summary.startswith("x" * min(size, 1_000_000))
        assert ("The rest is in the artefact" in summary) == is_cut


class TestApproval:
    """The scripts of the job that approves, with programs in the place of GitHub's."""

    OWN = "acme/search .github/workflows/gate.yml"

    @pytest.mark.parametrize(
        ("run_id", "found", "status"),
        [
            ("7", OWN, 0),
            ("7", "fork/search .github/workflows/gate.yml", 1),
            ("7", "acme/search .github/workflows/other.yml", 1),
            ("7/../8", OWN, 1),
            ("", OWN, 1),
        ],
    )
    def test_a_run_of_a_fork_or_of_another_workflow_is_refused(self, tmp_path, run_id, found, status):
        fakes(tmp_path, gh=f"echo '{found}'")
        done = step("gate-approve", "Is it a run of this repository's gate?", tmp_path, RUN_ID=run_id, GITHUB_REPOSITORY="acme/search")  # fmt: skip
        assert done.returncode == status, done.stdout
        assert ("::error" in done.stdout) == bool(status)

    def test_what_was_approved_is_pushed_and_a_pull_request_opened(self, tmp_path):
        folder, origin = tmp_path / "search", tmp_path / "origin.git"
        subprocess.run(["git", "init", "-q", "--bare", origin], check=True)
        subprocess.run(["git", "init", "-q", "-b", "main", folder], check=True)
        subprocess.run(["git", "remote", "add", "origin", origin], cwd=folder, check=True)
        (folder / ".git/info/exclude").write_text("/gh\n/embedgate\n", "utf-8")
        fakes(
            folder,
            gh="""test "$1" = auth || printf "%s\\n" "$@" > "$RUNNER_TEMP/asked\"""",
            embedgate='''mkdir -p gate; printf "%s" "$4" > gate/values.json; echo "0.5 -> 0.6"''',
        )
        reason = """$(touch hacked) 'said' "so"; `touch hacked`"""
        environment = {
            "REASON": reason, "RUN_ID": "7", "GITHUB_RUN_ID": "9", "GITHUB_ACTOR": "ada", "GITHUB_ACTOR_ID": "1",
            "GITHUB_REF_NAME": "better", "RUNNER_TEMP": str(tmp_path), "HOME": str(tmp_path),
        }  # fmt: skip
        for name in ("Approve", "Open a pull request"):
            done = step("gate-approve", name, folder, **environment)
            assert done.returncode == 0, done.stdout + done.stderr
        log = ["git", "log", "-1", "--format=%an <%ae>%n%B", "--name-only", "gate-approve/7-9"]
        told = subprocess.run(log, cwd=origin, capture_output=True, text=True, check=True).stdout
        assert told.startswith("ada <1+ada@users.noreply.github.com>\nApprove what run 7 measured\n\n" + reason)
        assert told.endswith("\ngate/values.json\n")
        assert (folder / "gate/values.json").read_text("utf-8") == reason
        assert not (folder / "hacked").exists()
        asked = (tmp_path / "asked").read_text("utf-8").split("\n")
        assert asked[:6] == ["pr", "create", "--base", "better", "--head", "gate-approve/7-9"]
        assert "    0.5 -> 0.6" in (tmp_path / "body.md").read_text("utf-8")

    def test_a_report_that_is_refused_ends_the_job(self, tmp_path):
        fakes(tmp_path, git="exit 0", embedgate="echo refused; exit 2")
        done = step("gate-approve", "Approve", tmp_path, REASON="x", RUNNER_TEMP=str(tmp_path), GITHUB_ACTOR="a", GITHUB_ACTOR_ID="1")  # fmt: skip
        assert done.returncode == 2
