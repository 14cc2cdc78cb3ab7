"""`embedgate init`: what a repository needs is written once, and nothing that is there is changed or lost."""

from __future__ import annotations

import os
import subprocess
import tomllib
from pathlib import Path

import pytest
from helpers.paths import ROOT

from embedgate.approved.expected_failures import Expectations
from embedgate.command import main
from embedgate.core.model import DEFAULT_MODEL
from embedgate.plugin.options import settings_of

BUNDLED = ("--model", DEFAULT_MODEL)
# Names that git gives repositories where it says that they are elsewhere.
HOSTS = {
    "https://github.com/acme/gitlab-tools.git": "github",
    "git@gitlab.acme.example:search/model.git": "gitlab",
    "ssh://git@git.example.org/github/x.git": "none",
}


@pytest.fixture
def repository(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "search"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in [*os.environ]:
        if name.startswith("GIT_"):
            monkeypatch.delenv(name)
    git("init", "-q", ".")
    return folder


def git(*arguments: str) -> None:
    subprocess.run(["git", *arguments], check=True)


def init(*arguments: str) -> int:
    return main(["init", *arguments])


def files(folder: Path) -> dict[str, bytes]:
    """What a folder holds, without git's own; folders with nothing in them, too."""
    found = {
        each.relative_to(folder): each for each in folder.rglob("*") if ".git" not in each.relative_to(folder).parts
    }
    return {str(name): b"/" if each.is_dir() else each.read_bytes() for name, each in found.items()}


def written(folder: Path) -> set[str]:
    return {name for name, content in files(folder).items() if content != b"/"}


class TestEmpty:
    def test_all_is_written_and_told_with_the_next_command(self, repository, capsys):
        assert init(*BUNDLED, "--ci", "github", "--owner", "@acme/search") == 0
        gate = {f"gate/{name}.toml" for name in ("tolerances", "expected_failures")}
        workflows = {f".github/workflows/{name}.yml" for name in ("gate", "gate-approve")}
        assert written(repository) == {*gate, *workflows, "pytest.ini", "requirements-gate.txt", ".github/CODEOWNERS"}
        told = capsys.readouterr().out
        for name in written(repository):
            assert f"wrote {name}\n" in told
        assert "next: pytest --pyargs embedgate.suites" in told

    def test_the_files_are_those_that_docs_show(self, repository):
        init(*BUNDLED, "--ci", "github", "--gpu")
        for source, path in (
            ("github/gate.yml", ".github/workflows/gate.yml"),
            ("github/gate-approve.yml", ".github/workflows/gate-approve.yml"),
            ("github/gate-gpu.yml", ".github/workflows/gate-gpu.yml"),
            ("requirements-gate.txt", "requirements-gate.txt"),
            ("requirements-gate-gpu.txt", "requirements-gate-gpu.txt"),
        ):
            assert (repository / path).read_bytes() == (ROOT / "docs/ci" / source).read_bytes()

    def test_its_files_of_decisions_decide_nothing(self, repository):
        init(*BUNDLED)
        assert tomllib.loads((repository / "gate/tolerances.toml").read_text("utf-8")) == {}
        expected = repository / "gate/expected_failures.toml"
        assert Expectations.load(expected, checks=(), metrics=()).entries == []
        assert "under-investigation" in expected.read_text("utf-8")

    def test_a_dry_run_tells_and_writes_nothing(self, repository, capsys):
        assert init(*BUNDLED, "--ci", "github", "--dry-run") == 0
        assert "would write pytest.ini\n" in capsys.readouterr().out
        assert files(repository) == {}


class TestTwice:
    def test_nothing_changes_and_all_is_told(self, repository, capsys):
        given = (*BUNDLED, "--ci", "gitlab", "--gpu", "--candidate", "a file.onnx", "--owner", "@acme/search")
        init(*given)
        before = files(repository)
        capsys.readouterr()
        for again in (given, ()):
            assert init(*again) == 0
            assert files(repository) == before
        told = capsys.readouterr().out
        assert f"left gate_model as it is in pytest.ini: {DEFAULT_MODEL}\n" in told
        assert "wrote" not in told
        assert "added" not in told

    def test_what_is_there_wins_over_what_is_given(self, repository, capsys):
        ini = "[pytest]\ngate_model = bundled:all-MiniLM-L6-v2\ngate_baselines = quality/approved\n"
        (repository / "pytest.ini").write_text(ini)
        (repository / "requirements-gate.txt").write_text("mine\n")
        assert init("--model", "none", "--combination", "torch-*", "--ci", "github", "--owner", "@acme/search") == 0
        assert (repository / "pytest.ini").read_text() == ini.replace(
            "[pytest]\n", "[pytest]\ngate_combination = 'torch-*'\n"
        )
        assert (repository / "requirements-gate.txt").read_text() == "mine\n"
        told = capsys.readouterr().out
        assert "left requirements-gate.txt, which differs from what this embedgate writes\n" in told
        assert "left gate_baselines as it is in pytest.ini: quality/approved\n" in told
        assert "quality/approved/tolerances.toml" in written(repository)
        assert "/quality/approved/tolerances.toml @acme/search\n" in (repository / ".github/CODEOWNERS").read_text()


class TestHost:
    @pytest.mark.parametrize(("origin", "host"), HOSTS.items())
    def test_the_origin_tells(self, repository, origin, host):
        git("remote", "add", "origin", origin)
        init(*BUNDLED)
        marks = {"github": ".github/workflows/gate.yml", "gitlab": ".gitlab/gate.yml"}
        assert {name for name, mark in marks.items() if mark in written(repository)} == {host} - {"none"}

    def test_files_tell_before_the_origin(self, repository):
        git("remote", "add", "origin", "https://github.com/acme/search")
        (repository / ".gitlab-ci.yml").write_text("include: []\n")
        init(*BUNDLED)
        assert ".gitlab/gate.yml" in written(repository)

    def test_a_file_of_gitlabs_is_left_and_the_line_to_add_is_told(self, repository, capsys):
        (repository / ".gitlab-ci.yml").write_text("include: []\n")
        init(*BUNDLED)
        assert (repository / ".gitlab-ci.yml").read_text() == "include: []\n"
        assert "next: include it in .gitlab-ci.yml: local: .gitlab/gate.yml\n" in capsys.readouterr().out

    def test_where_there_is_none_gitlabs_file_includes_the_others(self, repository, capsys):
        init(*BUNDLED, "--ci", "gitlab", "--gpu")
        text = (repository / ".gitlab-ci.yml").read_text()
        assert text == "include:\n  - local: .gitlab/gate.yml\n  - local: .gitlab/gate-gpu.yml\n"
        assert "include it" not in capsys.readouterr().out

    def test_without_one_and_without_an_owner_nobody_is_asked(self, repository):
        init(*BUNDLED)
        assert written(repository) == {"pytest.ini", "gate/tolerances.toml", "gate/expected_failures.toml"}


class TestOwners:
    @pytest.mark.parametrize(
        ("host", "there", "taken"),
        [
            ("github", (), ".github/CODEOWNERS"),
            ("github", ("CODEOWNERS",), "CODEOWNERS"),
            ("github", ("docs/CODEOWNERS", "CODEOWNERS"), "CODEOWNERS"),
            ("github", ("CODEOWNERS", ".github/CODEOWNERS"), ".github/CODEOWNERS"),
            ("gitlab", (), ".gitlab/CODEOWNERS"),
            ("gitlab", ("CODEOWNERS", ".gitlab/CODEOWNERS"), "CODEOWNERS"),
            ("gitlab", ("docs/CODEOWNERS", ".gitlab/CODEOWNERS"), "docs/CODEOWNERS"),
            ("none", (), "CODEOWNERS"),
        ],
    )
    def test_lines_go_where_the_host_reads(self, repository, host, there, taken):
        for name in there:
            (repository / name).parent.mkdir(exist_ok=True)
            (repository / name).write_bytes(b"* @acme/all\r\n")
        init(*BUNDLED, "--ci", host, "--owner", "@acme/search", "--owner", "ada@example.org")
        found = (repository / taken).read_bytes().decode()
        for name in ("", "tolerances.toml", "expected_failures.toml"):
            assert f"\n/gate/{name} @acme/search ada@example.org" in found
        assert found.startswith("* @acme/all\r\n\r\n#" if there else "#")
        assert found.count("\r\n") == (found.count("\n") if there else 0)
        for other in {*there} - {taken}:
            assert (repository / other).read_bytes() == b"* @acme/all\r\n"

    def test_without_an_owner_lines_are_comments_and_stay_so(self, repository):
        init(*BUNDLED, "--ci", "github")
        found = (repository / ".github/CODEOWNERS").read_text()
        assert all(line.startswith("#") for line in found.splitlines())
        assert "# /gate/tolerances.toml @your-team\n" in found
        init("--ci", "github", "--owner", "@acme/search")
        assert (repository / ".github/CODEOWNERS").read_text() == found

    def test_only_what_is_missing_is_added(self, repository):
        own = "/gate/ @acme/all\n/gate/tolerances.toml @acme/leads\n"
        (repository / "CODEOWNERS").write_text(own)
        init(*BUNDLED, "--owner", "@acme/search")
        found = (repository / "CODEOWNERS").read_text()
        assert found.startswith(own)
        assert found.endswith("\n/gate/expected_failures.toml @acme/search\n/CODEOWNERS @acme/search\n")
        assert found.count("/gate/") == 3


def test_without_a_host_it_says_that_no_workflow_was_written(repository, capsys):
    init(*BUNDLED)
    assert "no workflow was written: --ci github or --ci gitlab writes one" in capsys.readouterr().out


class TestRefused:
    @pytest.mark.parametrize(
        ("given", "told"),
        [
            ((), "no model was given; give its folder, --model ./my-model"),
            (("--model", "my-model"), "no model folder at 'my-model'; give a folder"),
            (("--model", "./no/model"), "no model folder at './no/model'; give a folder"),
            (("--model", "acme/model"), "hub id acme/model is not pinned; write it as org/name@<commit>"),
            (("--model", "empty"), "modules.json"),
            ((*BUNDLED, "--data", "my.jsonl"), "there is no dataset at 'my.jsonl'; give a file"),
            (
                (*BUNDLED, "--data", "my.csv::score=dup"),
                "there is no dataset at 'my.csv'; give a file (.csv, .jsonl, .parquet, .txt, ...), a folder, a list of "
                "datasets (.toml), hub:org/name@commit, mteb:TASK or a bundled name",
            ),
            ((*BUNDLED, "--candidate", "a.onnx::name=a,name=b"), "--candidate a.onnx::name=a,name=b gives name twice"),
            ((*BUNDLED, "--owner", "search"), "--owner 'search' is no owner; write @name"),
            ((*BUNDLED, "--gpu"), "--gpu needs a workflow to add to; say whose: --ci github or --ci gitlab"),
        ],
    )
    def test_what_means_nothing_is_told_in_a_line_and_nothing_is_written(self, repository, capsys, given, told):
        (repository / "empty").mkdir()
        before = files(repository)
        assert init(*given) == 2
        error = capsys.readouterr().err
        assert told in error
        assert error.count("\n") == 1
        assert files(repository) == before

    @pytest.mark.parametrize(
        ("there", "told"),
        [
            ({"pyproject.toml": "[tool\n"}, "pyproject.toml is no TOML: "),
            ({"pyproject.toml": b"\xff"}, "pyproject.toml cannot be read: "),
            ({"setup.cfg": "x\n"}, "setup.cfg is no ini file: "),
            ({"gate": "a file"}, "gate is a file, where gate/tolerances.toml is to lie; move it away"),
            ({".github": "a file"}, ".github is a file, where "),
            ({"gate/tolerances.toml/x": ""}, "gate/tolerances.toml is no file; move it away"),
            ({"CODEOWNERS": b"\xff"}, "CODEOWNERS cannot be read: "),
            ({"pytest.ini": "[pytest]\ngate_baselines = ../gate\n"}, "is '../gate', no folder below this one"),
            ({"pytest.ini": "[pytest]\ngate_baselines = .\n"}, "is '.', no folder below this one"),
            ({"pyproject.toml": 'tool.pytest.ini_options.x = "y"\n'}, "add to them yourself: gate_model = "),
        ],
    )
    def test_what_is_in_the_way_is_told_and_nothing_is_written(self, repository, capsys, there, told):
        for name, content in there.items():
            (repository / name).parent.mkdir(parents=True, exist_ok=True)
            (repository / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        before = files(repository)
        assert init(*BUNDLED, "--ci", "github") == 2
        error = capsys.readouterr().err
        assert told in error
        assert error.count("\n") == 1
        assert files(repository) == before

    def test_a_link_that_leads_out_is_not_followed(self, repository, capsys, tmp_path):
        (tmp_path / "elsewhere").mkdir()
        (repository / "gate").symlink_to(tmp_path / "elsewhere")
        assert init(*BUNDLED) == 2
        assert "no folder below this one" in capsys.readouterr().err
        (repository / "gate").unlink()
        (repository / ".github").symlink_to(tmp_path / "elsewhere")
        assert init(*BUNDLED, "--ci", "github") == 2
        assert "leads out of" in capsys.readouterr().err
        assert list((tmp_path / "elsewhere").iterdir()) == []

    def test_what_cannot_be_read_is_told(self, repository, capsys, monkeypatch):
        (repository / "CODEOWNERS").write_text("")

        def read(path: Path) -> bytes:
            raise PermissionError(13, "Permission denied", str(path))

        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_bytes", read)
            assert init(*BUNDLED) == 2
        assert "CODEOWNERS cannot be read: Permission denied; give read permission" in capsys.readouterr().err
        assert files(repository) == {"CODEOWNERS": b""}

    def test_a_folder_below_the_top_is_refused(self, repository, capsys, monkeypatch):
        (repository / "below").mkdir()
        monkeypatch.chdir(repository / "below")
        assert init(*BUNDLED) == 2
        assert f"is not the top of its repository; call it there: cd {repository}" in capsys.readouterr().err

    def test_what_may_not_be_written_is_told_before_anything_is(self, repository, capsys, monkeypatch):
        """By os.access, since whoever is root may write all."""
        (repository / "gate").mkdir()
        may = os.access
        monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "gate" and may(path, mode))
        before = files(repository)
        assert init(*BUNDLED) == 2
        assert "gate/tolerances.toml cannot be written; take it out of write protection" in capsys.readouterr().err
        assert files(repository) == before

    def test_where_writing_fails_midway_all_is_as_before(self, repository, capsys, monkeypatch):
        from embedgate.command import changes

        def write(path: Path, content: bytes) -> None:
            if path.name == "requirements-gate.txt":
                raise OSError(28, "No space left on device")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

        (repository / "pyproject.toml").write_text("[project]\n")
        before = files(repository)
        monkeypatch.setattr(changes, "write_whole", write)
        assert init(*BUNDLED, "--ci", "github") == 2
        told = "requirements-gate.txt cannot be written: No space left on device; nothing was changed"
        assert told in capsys.readouterr().err
        assert files(repository) == before


def test_a_link_within_the_repository_stays_one(repository):
    (repository / "config").mkdir()
    (repository / "config/pytest.ini").write_text("[pytest]\n")
    (repository / "pytest.ini").symlink_to("config/pytest.ini")
    assert init(*BUNDLED) == 0
    assert (repository / "pytest.ini").is_symlink()
    assert "gate_model" in (repository / "config/pytest.ini").read_text()


def test_pytest_reads_what_was_written(pytester):
    """A path with a blank, and more than one of what can be given several times."""
    (pytester.path / ".git").mkdir()
    (pytester.path / "a folder").mkdir()
    (pytester.path / "a folder/mine.csv").write_text("sentence1,sentence2,score\n")
    init(
        *BUNDLED,
        "--data",
        "a folder/mine.csv::score=dup",
        "--data",
        "pairs",
        "--candidate",
        "a folder/x.onnx::promise=int8",
    )
    settings = settings_of(pytester.parseconfig())
    assert settings.model == DEFAULT_MODEL
    assert settings.data == ("a folder/mine.csv::score=dup", "pairs")
    assert settings.candidates == ("a folder/x.onnx::promise=int8",)
    assert settings.baselines == Path("gate")
