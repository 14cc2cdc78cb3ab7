"""A pull request cannot lower its own bar unseen: reports name what differs from the base branch's, and judge by both."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import stub_devices
from helpers.paths import ROOT

from embedgate.approved.base import VARIABLES, base_of, expected_lines
from embedgate.approved.expected_failures import Expected
from embedgate.checks import CHECKS, Case
from embedgate.checks.base import BaseBar
from embedgate.checks.receipt import Receipts
from embedgate.command import main
from embedgate.core.combination import Combination
from embedgate.core.errors import GateError
from embedgate.core.git import Repository
from embedgate.core.settings import Settings
from embedgate.core.strictness import Strictness

SUITES = [f"embedgate.suites.test_{name}" for name in ("baseline", "effective", "golden", "quality")]
ASKED = (
    "-p",
    "no:cacheprovider",
    "--pyargs",
    *SUITES,
    "-m",
    "cpu",
    "--gate-baselines=gate",
    "-k",
    "not keeps_the and not p01",
)
COMBINATIONS = ("--gate-combination=torch-fp32-cpu", "--gate-combination=torch-bf16-cpu")
STRICT_FLOOR = "[combination.torch-bf16-cpu.floor]\ncosine_min = 0.99999999\n"
EXCEPTION = """
[[expected]]
combination = "torch-bf16-cpu"
dataset = "*"
check = "agreement"
metric = "cosine_min"
kind = "known-defect"
reason = "rounded once more"
link = "https://github.com/acme/search/issues/12"
expires = 2999-12-31
"""


def git(*arguments: str) -> str:
    given = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *given, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit(message: str) -> None:
    git("add", "gate")
    git("commit", "-q", "-m", message)


@pytest.fixture(autouse=True)
def stubs(monkeypatch, few_cases):
    stub_devices.install(monkeypatch, gpu=None)
    for name in ("CI", *VARIABLES):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def host(project, few, monkeypatch):
    """Runs sessions in a repository whose branch `main` has approved all, on a branch `change`."""
    monkeypatch.chdir(project.path)
    git("init", "-q", "-b", "main")

    def run(*options: str, base: str = "main"):
        given = (f"--gate-base={base}",) if base else ()
        return project.runpytest_inprocess(*ASKED, f"--gate-data={few}", *COMBINATIONS, *given, *options)

    assert run("--gate-update", "--gate-reason=first", base="").ret == 0
    tolerances(STRICT_FLOOR)
    commit("first")
    git("switch", "-q", "-c", "change")
    return run


def tolerances(text: str) -> None:
    Path("gate/tolerances.toml").write_text(text)


def approved() -> Path:
    (file,) = Path("gate").glob("*/*.json")
    return file


def told(folder: str = "out") -> dict:
    return json.loads(Path(folder, "report.json").read_text("utf-8"))


class TestSession:
    def test_a_lowered_bar_is_named_with_the_verdict_by_the_bases(self, host, monkeypatch):
        tolerances("")
        monkeypatch.setenv("GITHUB_BASE_REF", "main")
        git("update-ref", "refs/remotes/origin/main", "main")
        done = host("--gate-report=out", base="")
        assert done.ret == 0, done.stdout.str()
        commit_ = git("rev-parse", "main")
        done.stdout.fnmatch_lines(
            [
                f"bar: gate differs from origin/main ({commit_[:12]}):",
                "  tolerance combination.torch-bf16-cpu.floor.cosine_min: 0.99999999 -> unset (0.99 holds) (looser)",
                "  verdict by origin/main: fail",
                "  torch-bf16-cpu: pass, by origin/main fail: *cosine_min*is required*",
                "verdict: pass",
            ]
        )
        report = told()
        assert (report["verdict"], report["base"]["other_verdict"], report["base"]["counts"]) == ("pass", "fail", False)
        (other,) = report["base"]["otherwise"]
        assert (other["verdict"], other["other"]["metric"], other["other"]["verdict"]) == ("pass", "cosine_min", "fail")
        assert main(["merge", "out/report.json", "--out", "joined"]) == 0
        assert told("joined")["base"] == report["base"]
        # What was approved on `main` is all that git knows of it.
        (of,) = report["trend"]["profiles"].values()
        (approval,) = of["approvals"].items()
        assert (approval[0], approval[1]["by"]["torch-bf16-cpu"]["reason"]) == (
            git("log", "-1", "--format=%H", "--", of["file"]),
            "first",
        )
        assert approval[1]["values"]["torch-bf16-cpu"]["mine"].keys() == {"spearman"}
        assert told("joined")["trend"] == report["trend"]
        assert "### The base branch's bar" in Path("out/report.md").read_text("utf-8")
        assert "The base branch&#39;s bar" in Path("out/report.html").read_text("utf-8")

    def test_shards_tell_the_verdict_by_the_bases_together(self, host, capsys):
        tolerances("")
        for name in ("cosine_min", "cosine_mean"):
            assert host(f"--gate-report={name}", "-k", name).ret == 0
        capsys.readouterr()
        assert main(["merge", "cosine_min/report.json", "cosine_mean/report.json", "--out", "out"]) == 0
        base = told()["base"]
        assert (base["other_verdict"], [each["other"]["metric"] for each in base["otherwise"]]) == (
            "fail",
            ["cosine_min"],
        )
        assert "  verdict by main: fail\n" in capsys.readouterr().out

    def test_strict_judges_by_the_bases(self, host):
        tolerances("")
        done = host("--gate-strict", "--gate-report=out", "-k", "cosine_min")
        assert done.ret == pytest.ExitCode.TESTS_FAILED
        done.stdout.fnmatch_lines(
            [
                "  main's bar counts (--gate-strict); verdict by this checkout's own: pass",
                "  torch-bf16-cpu: fail, by this checkout's own pass: *cosine_min*",
                "verdict: fail",
            ]
        )
        assert told()["base"]["counts"]

    def test_between_strict_and_not_the_checkouts_own_bar_counts(self, host):
        tolerances("")
        done = host("--gate-strict=estimate", "--gate-report=out", "-k", "cosine_min")
        assert done.ret == 0
        assert (told()["base"]["counts"], told()["base"]["other_verdict"]) == (False, "fail")

    def test_a_new_exception_excuses_nothing_by_the_bases(self, host):
        Path("gate/expected_failures.toml").write_text(EXCEPTION)
        done = host("--gate-report=out")
        assert done.ret == 0, done.stdout.str()
        done.stdout.fnmatch_lines(
            [
                "entries of expected_failures.toml:",
                "  torch-bf16-cpu * agreement cosine_min: known-defect: rounded once more, until 2999-12-31 "
                "(https://github.com/acme/search/issues/12); 1 failure",
                "  expected failure new: torch-bf16-cpu * agreement cosine_min *: known-defect: rounded once more *",
                "  verdict by main: fail",
                "  torch-bf16-cpu: expected failure, by main fail: *cosine_min*",
            ]
        )
        (each,) = told()["expectations"].values()
        assert (each["entry"]["expires"], each["met"]) == ("2999-12-31", ["fail"])

    def test_strict_holds_entries_against_what_this_branch_comes_to(self, host):
        tolerances("")
        commit("no floor")
        git("branch", "-f", "main")
        tolerances(STRICT_FLOOR)
        Path("gate/expected_failures.toml").write_text(EXCEPTION)
        done = host("--gate-strict", "-k", "cosine_min")
        assert done.ret == 0, "the base's counts, and the entry is about what fails here"
        done.stdout.no_fnmatch_line("*no longer fails*")

    def test_strict_needs_a_bar(self, host):
        git("mv", "gate", "gate2")
        done = host("--gate-strict", "--gate-baselines=gate2", "-k", "cosine_min")
        assert done.ret == pytest.ExitCode.USAGE_ERROR
        done.stderr.fnmatch_lines(
            ["ERROR: the bar of main cannot be compared with: main has no gate2, so there is no bar; *"]
        )

    def test_an_approved_value_that_moved_is_named(self, host):
        tolerances("")
        commit("no floor")
        git("branch", "-f", "main")
        content = json.loads(approved().read_text("utf-8"))
        (entry,) = [
            e for e in content["entries"] if e["combination"] == "torch-bf16-cpu" and e["metric"] == "cosine_mean"
        ]
        now, entry["value"] = entry["value"], entry["value"] - 0.2
        original = approved().read_text("utf-8")
        approved().write_text(json.dumps(content))
        commit("a value that was approved wrongly")
        git("branch", "-f", "main")
        approved().write_text(original)
        done = host("--gate-report=out")
        assert done.ret == 0, done.stdout.str()
        (difference,) = told()["base"]["differences"]
        assert "1 value changed: torch-bf16-cpu texts:mine cosine_mean" in difference
        assert f"-> {now:.4f}" in difference
        done.stdout.fnmatch_lines(["  verdict by main: pass, too"])

    def test_a_bar_that_is_the_same_is_said_so(self, host):
        tolerances("")
        commit("no floor")
        git("branch", "-f", "main")
        done = host("-k", "is_what")
        done.stdout.fnmatch_lines(["bar: nothing in gate differs from main (*)"])
        done.stdout.no_fnmatch_line("*verdict by*")

    def test_what_the_base_holds_and_nobody_can_read_is_told(self, host):
        tolerances("[default.flor]\n")
        commit("misspelt")
        git("branch", "-f", "main")
        tolerances("")
        done = host("-k", "cosine_min")
        assert done.ret == 0, done.stdout.str()
        done.stdout.fnmatch_lines(["bar: gate differs from main (*):", "  tolerances.toml: changed"])
        done.stdout.fnmatch_lines(["  note: main:gate/tolerances.toml: unknown key default.flor*"])
        assert host("--gate-strict", "-k", "cosine_min").ret != 0

    def test_receipts_alone_tell_what_differs(self, host):
        assert host("--gate-report=out", "-k", "cosine_mean").ret == 0
        tolerances("alpha = 0.1\n")
        done = host(
            "--gate-receipt=out/report.json", "embedgate.suites.test_receipt", "-k", "receipt", "--gate-report=own"
        )
        done.stdout.fnmatch_lines(["bar: gate differs from main (*):", "  tolerance alpha: 0.05 -> 0.1 (looser)"])
        done.stdout.no_fnmatch_line("*verdict by main*")
        assert told("own")["base"]["judged"] is False


class TestReceipts:
    """What a receipt proves, where the base branch's bar is another than this checkout's."""

    def told(self, there: dict, changed: tuple[str, ...] = ("tolerances.toml",)) -> list[str]:
        receipts = object.__new__(Receipts)
        receipts._plan = SimpleNamespace(base=SimpleNamespace(changed=changed, commit="c", ref="main"))
        return receipts._by_base(Combination.parse("torch-bf16-cpu"), {"base": there})

    def other(self, **said) -> dict:
        about = {"combination": "torch-bf16-cpu", "verdict": "fail", "message": "cosine_min 0.8"}
        return {"commit": "c", "otherwise": [{"other": about, "expected": "", **said}]}

    def test_what_failed_there_by_it_is_told(self):
        assert self.told(self.other()) == ["by main's bar it failed there: cosine_min 0.8"]

    def test_what_was_expected_or_is_the_same_is_not(self):
        assert self.told(self.other(expected="known-defect")) == []
        assert self.told({"commit": "c", "otherwise": []}) == []
        assert self.told({}, changed=()) == []

    def test_one_that_was_not_judged_by_it_says_nothing_of_it(self):
        told = ["it was not judged by main's bar, which is another one than this checkout's"]
        assert self.told({}) == self.told({"commit": "d", "otherwise": []}) == told


class TestEntries:
    def entry(self, **changed) -> Expected:
        given = {"combination": "a", "dataset": "*", "check": "agreement", "kind": "known-defect", "reason": "why"}
        return Expected(**{**given, "link": "https://a.example/1", **changed})

    def test_what_is_new_or_gone_is_named(self):
        was, now = self.entry(), self.entry(expires=date(2999, 1, 1))
        assert expected_lines([was], [now]) == [
            "gone: a * agreement * *: known-defect: why (https://a.example/1)",
            "new: a * agreement * *: known-defect: why (https://a.example/1), until 2999-01-01",
        ]
        assert expected_lines([was], [was]) == []

    def test_a_second_entry_about_the_same_is_new(self):
        expired = self.entry(expires=date(2000, 1, 1))
        (line,) = expected_lines([expired], [self.entry(), expired])
        assert line.startswith("new: a * agreement")

    def test_another_order_is_told(self):
        one, other = self.entry(), self.entry(reason="else")
        assert expected_lines([one, other], [other, one]) == ["entries in another order: the first that matches counts"]


def test_a_pinned_example_that_is_gone_concerns_what_tries_it():
    base = SimpleNamespace(changed=["pinned_examples.jsonl"], folder=None, note="")
    same = SimpleNamespace(tables_apart=lambda *_: set())
    bar = BaseBar(SimpleNamespace(plan=SimpleNamespace(base=base, model=SimpleNamespace(name="m")), tolerances=same,
                                  profile_of=lambda _: SimpleNamespace(chain=("cpu",))))  # fmt: skip
    bar.__dict__["_context"] = SimpleNamespace(tolerances=same)
    concerned = {check.name for check in CHECKS if bar._concerns(Case(check, Combination.parse("torch-bf16-cpu")))}
    assert concerned >= {"ordering.margin", "ordering.similarity", "invariance", "contract.any"}
    assert concerned.isdisjoint({"retention", "agreement", "baseline", "speed", "search.kept"})


class TestBaseOf:
    @pytest.fixture(autouse=True)
    def repository(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        git("init", "-q", "-b", "main")
        Path("gate").mkdir()
        tolerances("alpha = 0.05\n")
        commit("first")

    def settings(self, **given) -> Settings:
        return Settings(baselines=Path("gate").resolve(), folder=Path.cwd(), **given)

    def test_a_file_is_as_it_was_there(self):
        git("switch", "-q", "-c", "change")
        tolerances("alpha = 0.1\n")
        found = base_of(self.settings(base="main"), {})
        assert found.folder.joinpath("tolerances.toml").read_text() == "alpha = 0.05\n"
        assert found.changed == ["tolerances.toml"]
        assert found.named(f"{found.folder}/tolerances.toml is odd") == "main:gate/tolerances.toml is odd"

    def test_it_is_where_the_change_began_not_where_the_branch_is_now(self):
        git("switch", "-q", "-c", "change")
        git("switch", "-q", "main")
        tolerances("alpha = 0.01\n")
        commit("later")
        git("switch", "-q", "change")
        assert base_of(self.settings(base="main"), {}).changed == []

    @pytest.mark.parametrize("variable", VARIABLES)
    def test_ci_names_it(self, variable):
        git("update-ref", "refs/remotes/origin/main", "HEAD")
        found = base_of(self.settings(), {variable: f"{VARIABLES[variable]}main"})
        assert (found.ref, found.commit) == ("origin/main", git("rev-parse", "HEAD"))

    def test_nothing_names_it(self):
        assert base_of(self.settings(), {}) is None
        assert base_of(self.settings(base="none"), {}) is None
        assert base_of(self.settings(base="none"), {"GITHUB_BASE_REF": "main"}).missing == "--gate-base=none"
        assert base_of(self.settings(base="main", update=True, reason="x"), {}) is None

    def test_one_that_ci_names_and_this_clone_lacks_is_told(self):
        found = base_of(self.settings(), {"GITHUB_BASE_REF": "main"})
        assert found.folder is None
        step = "fetch it: git fetch origin main:refs/remotes/origin/main"
        assert found.missing == f"origin/main is not in this clone; {step}"
        with pytest.raises(GateError, match="the bar of origin/main cannot be compared with: origin/main is not in"):
            base_of(self.settings(strict=Strictness.FULL), {"GITHUB_BASE_REF": "main"})

    def test_a_tag_of_its_name_is_not_the_branch(self):
        git("update-ref", "refs/remotes/origin/main", "HEAD")
        git("switch", "-q", "-c", "change")
        tolerances("alpha = 0.1\n")
        commit("looser")
        git("tag", "origin/main")
        assert base_of(self.settings(), {"GITHUB_BASE_REF": "main"}).changed == ["tolerances.toml"]

    def test_what_git_refuses_to_tell_is_told(self, monkeypatch):
        monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        found = base_of(self.settings(), {"GITHUB_BASE_REF": "main"})
        assert "dubious ownership" in found.missing or "safe.directory" in found.missing
        with pytest.raises(GateError, match="the bar of origin/main cannot be compared with"):
            base_of(self.settings(strict=Strictness.FULL), {"GITHUB_BASE_REF": "main"})

    def test_a_submodule_is_told(self):
        git("rm", "-q", "-r", "--cached", "gate")
        git("update-index", "--add", "--cacheinfo", f"160000,{git('rev-parse', 'HEAD')},gate")
        git("commit", "-q", "-m", "elsewhere")
        git("update-ref", "refs/remotes/origin/main", "HEAD")
        assert "gate is a submodule" in base_of(self.settings(), {"GITHUB_BASE_REF": "main"}).missing

    def test_an_attribute_of_this_branch_does_not_decide_what_a_file_was(self):
        git("switch", "-q", "-c", "change")
        Path(".gitattributes").write_text("gate/tolerances.toml working-tree-encoding=UTF-16\n")
        found = base_of(self.settings(base="main"), {})
        assert found.folder.joinpath("tolerances.toml").read_text() == "alpha = 0.05\n"

    def test_a_folder_behind_a_link_is_compared_with_what_the_link_was(self):
        git("switch", "-q", "-c", "change")
        git("mv", "gate", "bars")
        Path("gate").symlink_to("bars")
        Path("bars/tolerances.toml").write_text("alpha = 0.1\n")
        settings = Settings(baselines=Path("gate").absolute(), folder=Path.cwd(), base="main")
        assert base_of(settings, {}).changed == ["tolerances.toml"]

    def test_another_than_ci_names_is_told(self):
        found = base_of(self.settings(base="HEAD"), {"GITHUB_BASE_REF": "main"})
        assert found.note == "HEAD was given by --gate-base, and CI names origin/main"

    def test_a_link_is_what_it_leads_to(self):
        Path("shared.toml").write_text("alpha = 0.05\n")
        Path("gate/tolerances.toml").unlink()
        Path("gate/tolerances.toml").symlink_to("../shared.toml")
        git("add", "--all")
        git("commit", "-q", "-m", "shared")
        found = base_of(self.settings(base="main"), {})
        assert found.changed == []
        Path("shared.toml").write_text("alpha = 0.1\n")
        assert base_of(self.settings(base="main"), {}).changed == ["tolerances.toml"]

    def test_what_lies_beside_is_not_judged_by(self):
        Path("gate/h200.json").write_text("{}")
        assert base_of(self.settings(base="main"), {}).changed == []

    def test_one_that_was_asked_for_is_refused(self):
        with pytest.raises(GateError, match="the bar of mian cannot be compared with: mian is not in this clone"):
            base_of(self.settings(base="mian"), {})

    def test_a_folder_outside_the_repository_has_no_base(self, tmp_path_factory):
        elsewhere = Settings(baselines=tmp_path_factory.mktemp("elsewhere"), folder=Path.cwd(), base="main")
        with pytest.raises(GateError, match="is not in the repository"):
            base_of(elsewhere, {})

    def test_a_base_without_the_folder_has_no_bar(self):
        git("rm", "-q", "-r", "gate")
        git("commit", "-q", "-m", "none")
        git("update-ref", "refs/remotes/origin/main", "HEAD")
        git("switch", "-q", "-c", "change")
        Path("gate").mkdir()
        tolerances("")
        found = base_of(self.settings(), {"GITHUB_BASE_REF": "main"})
        assert (found.folder, found.changed) == (None, [])
        assert found.missing.startswith("origin/main has no gate, so there is no bar")

    def test_no_repository_is_told(self, tmp_path_factory):
        with pytest.raises(GateError, match="not a git repository"):
            Repository.around(tmp_path_factory.mktemp("bare"))
        elsewhere = tmp_path_factory.mktemp("elsewhere")
        bundled = Settings(folder=elsewhere)
        assert base_of(bundled, {"GITHUB_BASE_REF": "main"}) is None, "what an installation brings along"

    def test_embedgates_own_file_is_compared_whole(self, monkeypatch, context_with, few):
        """In a checkout of embedgate, its tolerances lie over nothing."""
        monkeypatch.setattr("embedgate.core.settings.bundled_baselines", lambda: Path("gate").resolve())
        monkeypatch.setattr("embedgate.checks.context.bundled_baselines", lambda: Path("gate").resolve())
        own = (ROOT / "baselines/tolerances.toml").read_text("utf-8")
        tolerances(own)
        commit("whole")
        tolerances(own + "\n[combination.torch-bf16-cpu.floor]\ncosine_min = 0.5\n")
        context = context_with(data=(str(few),), combinations=("torch-bf16-cpu",), base="main", folder=Path.cwd())
        assert BaseBar(context).facts()["differences"] == [
            "tolerance combination.torch-bf16-cpu.floor.cosine_min: unset (0.99 holds) -> 0.5 (looser)"
        ]
        context.close()
