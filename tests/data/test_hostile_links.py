"""A repository whose files are links out of it: what they lead to is not read as data, so it stands in no report."""

from __future__ import annotations

import json
import subprocess
from functools import partial
from pathlib import Path

import pytest

from embedgate.core.errors import DataError, GateError
from embedgate.core.spec import Spec
from embedgate.data import load
from embedgate.deployed import recorded, stored

SECRET = "s3cret"


@pytest.fixture
def secret(tmp_path) -> Path:
    """A file of the machine that no repository should show."""
    file = tmp_path / "home" / "environ"
    file.parent.mkdir()
    file.write_text(f"TOKEN={SECRET}\nPATH=/usr/bin\nHOME=/root\n", "utf-8")
    return file


@pytest.fixture
def repository(tmp_path) -> Path:
    found = tmp_path / "repository"
    (found / ".git").mkdir(parents=True)
    (found / "data").mkdir()
    return found


def refused(reads, message: str = "a link out of its repository; name what it leads to, or put that there") -> None:
    with pytest.raises(GateError) as told:
        reads()
    assert message in str(told.value)
    assert SECRET not in str(told.value)


@pytest.mark.parametrize("name", ["queries.txt", "rows.csv", "rows.tsv", "rows.jsonl", "rows.json"])
@pytest.mark.parametrize("relative", [False, True])
def test_a_file_of_data_is_refused(name, relative, repository, secret):
    link = repository / "data" / name
    link.symlink_to(Path("../../home/environ") if relative else secret)
    refused(lambda: load(str(link)))


def test_a_folder_of_the_repository_that_leads_out_is_refused(repository, secret):
    secret.rename(secret.with_name("queries.txt"))
    (repository / "more").symlink_to(secret.parent)
    refused(lambda: load(str(repository / "more" / "queries.txt")))


def test_so_are_stored_vectors_their_texts_and_recorded_answers(repository, secret):
    for name in ("index.jsonl", "mine.answers.jsonl", "texts.txt"):
        (repository / name).symlink_to(secret)
    (repository / "index.npy").write_bytes(b"")
    refused(lambda: stored.source(Spec.parse(str(repository / "index.jsonl")), None))
    refused(lambda: stored.source(Spec.parse(f"{repository}/index.npy::texts={repository}/texts.txt"), None))
    refused(lambda: recorded.source(Spec.parse(str(repository / "mine.answers.jsonl")), None))


@pytest.mark.parametrize("is_kept", [False, True])
@pytest.mark.parametrize("of_folder", [False, True])
def test_a_link_that_git_does_not_keep_is_a_persons_own(is_kept, of_folder, tmp_path):
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "all.txt").write_text("one\ntwo\nthree\n", "utf-8")
    repository = tmp_path / "repository"
    subprocess.run(["git", "init", "-q", repository], check=True)
    link = repository / "data" if of_folder else repository / "all.txt"
    link.symlink_to(tmp_path / "large" if of_folder else tmp_path / "large" / "all.txt")
    if is_kept:
        subprocess.run(["git", "add", "."], cwd=repository, check=True)
    read = partial(load, str(link / "all.txt" if of_folder else link))
    if is_kept:
        refused(read)
    else:
        assert read().kind == "texts"


def test_a_link_within_the_repository_is_followed(repository):
    (repository / "data" / "all.txt").write_text("one\ntwo\nthree\n", "utf-8")
    (repository / "few.txt").symlink_to("data/all.txt")
    assert load(str(repository / "few.txt")).kind == "texts"


def test_so_is_one_of_a_person_outside_any_repository(tmp_path):
    (tmp_path / "a").mkdir()
    rows = [{"text": f"text {row}", "label": "ab"[row % 2]} for row in range(6)]
    (tmp_path / "a" / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    (tmp_path / "rows.jsonl").symlink_to(tmp_path / "a" / "rows.jsonl")
    assert load(str(tmp_path / "rows.jsonl")).kind == "labelled"


def test_a_repository_that_is_called_by_a_link_is_its_own(repository, tmp_path):
    (repository / "data" / "all.txt").write_text("one\ntwo\nthree\n", "utf-8")
    (tmp_path / "called").symlink_to(repository)
    assert load(str(tmp_path / "called" / "data" / "all.txt")).kind == "texts"


def test_what_a_link_leads_to_may_be_named_itself(secret):
    with pytest.raises(DataError, match="unknown kind of file"):
        load(str(secret))
    named = secret.rename(secret.with_name("queries.txt"))
    assert load(str(named)).kind == "texts"
