"""Approved values over the commits of a baseline file: what git knows, told cheaply and without a network."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from embedgate.approved import history
from embedgate.approved.baseline import Approved, BaselineStore
from embedgate.approved.entries import Entry, Key, Provenance
from embedgate.approved.form import Identified
from embedgate.core.machine import profile

AMX = profile("cpu-x86_64-amx")
MODEL = Identified("MiniLM", "acme/MiniLM@1", "a" * 64)
PROVENANCE = Provenance("a CPU", (), None, "Linux 6", "3.12.1", 2, 32, {"torch": "2.13.0"}, "0.1.0")
KEY = Key("torch-bf16-cpu", "pairs", "spearman", "c" * 64)


def git(folder: Path, *arguments: str, when: int = 1_780_000_000) -> str:
    given = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false")
    dated = {**os.environ, "GIT_COMMITTER_DATE": f"{when} +0000", "GIT_AUTHOR_DATE": f"{when} +0000"}
    done = subprocess.run(
        ["git", *given, *arguments], cwd=folder, env=dated, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


class Project:
    """A repository whose baselines are approved and committed."""

    def __init__(self, root: Path) -> None:
        self.root, self.store, self.commits = root, BaselineStore(root / "gate base"), 0
        root.mkdir()
        git(root, "init", "-q", "-b", "main")

    def approve(
        self, value: float, reason: str, *, commit: bool = True, key: Key = KEY, model: Identified = MODEL
    ) -> str:
        entry = Entry(key, value, value - 0.01, value + 0.01, 250)
        self.store.update(AMX, model, [entry], reason=reason, who="Ada <ada@example.org>", provenance=PROVENANCE)
        return self.commit() if commit else ""

    def commit(self) -> str:
        git(self.root, "add", "-A")
        self.commits += 1
        git(self.root, "commit", "-q", "-m", "approve", when=1_780_000_000 + 86_400 * self.commits)
        return git(self.root, "rev-parse", "HEAD")

    @property
    def approved(self) -> Approved:
        served = self.store.find(AMX, MODEL).get(KEY.combination, KEY.dataset, KEY.dataset_sha256, KEY.metric)
        assert served is not None
        return served

    def trend(self) -> dict:
        return history.trend([history.row(self.approved)])

    def told(self) -> list[tuple[str, float]]:
        of = self.trend()["profiles"][AMX.name]["approvals"]
        return [
            (each["by"][KEY.combination]["reason"], each["values"][KEY.combination][KEY.dataset][KEY.metric])
            for each in of.values()
        ]


@pytest.fixture
def project(tmp_path, monkeypatch) -> Project:
    monkeypatch.setenv("EMBEDGATE_CACHE", str(tmp_path / "cache"))
    return Project(tmp_path / "a project")


def test_each_approval_is_told_with_its_commit_date_reason_and_who(project):
    first, second = project.approve(0.81, "first"), project.approve(0.80, "a new tokenizer")
    found = project.trend()
    assert found["missing"] == ""
    of = found["profiles"][AMX.name]
    assert of["file"] == "gate base/cpu-x86_64-amx/MiniLM.json"
    assert [*of["approvals"]] == [first, second]
    assert of["approvals"][second] == {
        "when": "2026-05-30T20:26:40Z",
        "model": "a" * 64,
        "values": {"torch-bf16-cpu": {"pairs": {"spearman": 0.80}}},
        "by": {"torch-bf16-cpu": {"who": "Ada <ada@example.org>", "reason": "a new tokenizer"}},
    }


def test_commits_that_change_nothing_of_it_are_not_told(project):
    project.approve(0.81, "first")
    project.root.joinpath("other").write_text("x")
    project.commit()
    project.approve(0.5, "another", key=replace(KEY, combination="torch-fp16-cpu"))
    assert project.told() == [("first", 0.81)]


def test_the_reason_is_that_of_the_values_that_are_told(project):
    project.approve(0.81, "these", commit=False)
    project.approve(0.5, "others", key=replace(KEY, combination="torch-fp16-cpu"))
    assert project.told() == [("these", 0.81)]


def test_each_combination_has_its_own_who_and_why(project):
    project.approve(0.81, "these", commit=False)
    other = replace(KEY, combination="torch-fp16-cpu")
    project.approve(0.5, "others", key=other)
    approved = project.store.find(AMX, MODEL).get(other.combination, other.dataset, other.dataset_sha256, other.metric)
    found = history.trend([history.row(project.approved), history.row(approved)])["profiles"][AMX.name]["approvals"]
    (of,) = found.values()
    assert {id_: each["reason"] for id_, each in of["by"].items()} == {
        KEY.combination: "these",
        "torch-fp16-cpu": "others",
    }


def test_another_repository_in_the_environment_ends_no_session(project, tmp_path, monkeypatch):
    project.approve(0.81, "first")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    git(elsewhere, "init", "-q")
    monkeypatch.setenv("GIT_DIR", str(elsewhere / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(elsewhere))
    assert history.trend([history.row(project.approved)]) == {}


def test_what_is_not_committed_yet_comes_last(project):
    project.approve(0.81, "first")
    project.approve(0.79, "not yet", commit=False)
    assert project.told() == [("first", 0.81), ("not yet", 0.79)]
    assert [*project.trend()["profiles"][AMX.name]["approvals"]][-1] == history.UNCOMMITTED


def test_values_of_other_texts_under_the_same_name_are_left_out(project):
    project.approve(0.6, "other texts", key=replace(KEY, dataset_sha256="d" * 64))
    project.approve(0.81, "these texts")
    assert project.told() == [("these texts", 0.81)]


def test_the_last_approvals_are_told_of_many(project, monkeypatch):
    monkeypatch.setattr(history, "MOST", 2)
    for value in (0.81, 0.82, 0.83):
        project.approve(value, f"{value}")
    assert [value for _, value in project.told()] == [0.82, 0.83]


def test_a_file_that_could_not_be_read_then_leaves_the_others(project):
    project.approve(0.81, "first")
    kept = project.approved.file.read_bytes()
    project.approved.file.write_bytes(b"<<<<<<< HEAD\n")
    project.commit()
    project.store.file(AMX.name, "MiniLM").write_bytes(kept)
    project.approve(0.82, "second")
    assert project.told() == [("first", 0.81), ("second", 0.82)]


def test_a_file_that_was_gone_for_a_while_is_told_before_and_after(project):
    project.approve(0.81, "first")
    kept = project.approved.file.read_bytes()
    project.approved.file.unlink()
    project.commit()
    project.store.file(AMX.name, "MiniLM").write_bytes(kept)
    project.approve(0.82, "second")
    assert project.told() == [("first", 0.81), ("second", 0.82)]


def test_a_shallow_clone_says_so_and_tells_what_it_has(project, tmp_path):
    project.approve(0.81, "first")
    project.approve(0.82, "second")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "--depth=1", project.root.as_uri(), str(clone))
    project.store = BaselineStore(clone / "gate base")
    assert project.told() == [("second", 0.82)]
    assert "shallow" in project.trend()["missing"]


def test_outside_git_nothing_is_told(project, monkeypatch):
    project.approve(0.81, "first")
    assert history.trend([]) == {}
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(project.root.parent))
    project.root.joinpath(".git").rename(project.root / "no longer git")
    assert project.trend() == {}


def test_what_git_never_kept_is_told_as_nothing_or_as_not_committed(project):
    project.approve(0.81, "never committed", commit=False)
    project.root.joinpath("other").write_text("x")
    git(project.root, "add", "other")
    git(project.root, "commit", "-q", "-m", "other")
    assert project.trend() == {}


def test_git_that_takes_too_long_is_told(project, monkeypatch):
    project.approve(0.81, "first")
    monkeypatch.setattr(history, "SECONDS", 0.0)
    found = project.trend()
    assert found["profiles"] == {}
    assert "the history of gate base/cpu-x86_64-amx/MiniLM.json is not known" in found["missing"]


def test_that_git_cannot_be_asked_is_told(project, monkeypatch):
    """As where it is not installed, or trusts nobody's folder but its own."""
    project.approve(0.81, "first")
    monkeypatch.setenv("PATH", "")
    assert "MiniLM.json is not known: git cannot be asked in" in project.trend()["missing"]


@pytest.mark.parametrize("left_out", ["tree:0", "blob:none"])
def test_nothing_is_fetched_for_it(project, tmp_path, left_out):
    """A clone without contents, whose git would fetch each that it is asked for, whatever its version."""
    project.approve(0.81, "first")
    project.approve(0.82, "second")
    git(project.root, "config", "uploadpack.allowFilter", "true")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", f"--filter={left_out}", project.root.as_uri(), str(clone))
    project.store = BaselineStore(clone / "gate base")
    objects = {file.name for file in (clone / ".git" / "objects").rglob("*")}
    found = project.trend()
    assert found["profiles"] == {}
    assert "this clone is partial" in found["missing"]
    assert {file.name for file in (clone / ".git" / "objects").rglob("*")} == objects


def test_every_question_has_the_same_time(project, monkeypatch):
    asked = []
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: asked.append(k.get("timeout")) or run(*a, **k))
    project.approve(0.81, "first", commit=False)
    project.commit()
    asked.clear()
    project.trend()
    assert set(asked) == {history.SECONDS}


def test_a_repository_without_a_commit_is_told(project):
    project.approve(0.81, "first", commit=False)
    assert "is not known: git rev-list failed" in project.trend()["missing"]


def test_another_model_under_the_same_name_is_told_as_what_it_was(project):
    project.approve(0.7, "before", model=msgspec.structs.replace(MODEL, fingerprint="b" * 64))
    project.approved_file = project.store.file(AMX.name, "MiniLM")
    project.approved_file.unlink()
    project.approve(0.81, "retrained")
    approvals = project.trend()["profiles"][AMX.name]["approvals"]
    assert [each["model"][0] for each in approvals.values()] == ["b", "a"]
    assert json.dumps(approvals)
