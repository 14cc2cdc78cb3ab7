"""git is asked with names that others chose: none is taken for an option, and none is asked of a person."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from embedgate.approved.base import _fetched
from embedgate.core import git
from embedgate.core.errors import GateError
from embedgate.core.git import Repository

HOSTILE = (
    "--upload-pack=touch ran",
    "-h",
    "--output=ran",
    "HEAD --output=ran",
    "$(touch ran)",
    "a;touch ran",
    "\n",
)


@pytest.fixture
def repository(tmp_path, monkeypatch) -> Repository:
    for name in ("GIT_DIR", "GIT_WORK_TREE"):
        monkeypatch.delenv(name, raising=False)
    user = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    for words in (("init", "-q"), (*user, "commit", "-q", "--allow-empty", "-m", "first")):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    return Repository(tmp_path.resolve())


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_that_looks_like_an_option_is_a_name(repository, name):
    assert repository.commit(name) is None
    with pytest.raises(GateError):
        repository.content("0" * 40, name)
    assert repository.versions(name, 3) == []
    assert not (repository.root / "ran").exists()


def test_a_name_that_no_program_can_be_given_is_told(repository):
    assert repository.commit("a\0b") is None
    with pytest.raises(GateError, match=r"git cannot be asked in .*: ValueError: embedded null byte"):
        repository.versions("a\0b", 3)


@pytest.mark.parametrize("name", ["a;touch ran", "$(touch ran)", "`touch ran`"])
def test_the_command_that_fetches_a_branch_runs_nothing_else(repository, name, tmp_path):
    """A shell is given what a person would copy; git here is a program that prints what it is given."""
    (tmp_path / "git").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n', "utf-8")
    (tmp_path / "git").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = f"git fetch {_fetched(name, repository)}"
    done = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["fetch", "origin", name]
    assert not Path(tmp_path, "ran").exists()


def test_git_asks_nobody_for_a_password(repository, monkeypatch):
    asked = {}
    run = subprocess.run

    def noting(*arguments, **given):
        asked.update(given["env"])
        return run(*arguments, **given)

    monkeypatch.setattr(git.subprocess, "run", noting)
    assert repository.commit("HEAD")
    assert asked["GIT_TERMINAL_PROMPT"] == "0"
