"""Docs stay true: links lead somewhere, names name what is there, and every command was run, here or as the list says.

`docs/commands.toml` lists the commands that README.md, CONTRIBUTING.md and docs/ tell to type. Those that take seconds
run here. Of all others that call pytest, pytest collects the tests here: it takes the options, and selects at least one
test.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import indexes, reports, shipped
from helpers.docs import FOLDERS, Names, Page, broken_links, pages, unlisted
from helpers.paths import ROOT, TESTS

import embedgate
from embedgate.data import bundled, load

PAGES = pages(ROOT)
GROUPS = tomllib.loads((ROOT / "docs/commands.toml").read_text("utf-8"))["group"]
LISTED = [command for group in GROUPS for command in group["commands"]]
# What pages have their readers make, or a GPU writes.
MADE = (
    "baselines/nvidia-.../",
    "embedgate.encoders.toy",
    "src/embedgate/checks/extent.py",
    "tests/encoders/test_toy.py",
)
# Of the clone below, what commands may write to; the rest is linked.
WRITTEN_TO = ("README.md", "docs", "tests", "tools")
PYTEST = re.compile(r"(?:^|&& |do )(?:python (?:-X \w+ )?-m )?pytest ([^;]*)")


def page(folder: Path, text: str, name: str = "README.md") -> Page:
    file = folder / name
    file.write_text(text, "utf-8")
    return Page(file, folder)


class TestLinks:
    def test_all_lead_somewhere(self):
        assert sum(1 for page in PAGES for _ in page.links()) > 200
        assert list(broken_links(PAGES)) == []

    @pytest.mark.parametrize(
        ("link", "told"),
        [
            ("other.md", None),
            ("other.md#a-heading-and-code", None),
            ("#twice-1", None),
            ("https://example.org/none.md", None),
            ("none.md", "README.md:5: none.md leads to no file"),
            ("../outside.md", "README.md:5: ../outside.md leads to no file"),
            ("other.md#a-heading", "README.md:5: other.md#a-heading leads to no heading"),
            ("#twice-2", "README.md:5: #twice-2 leads to no heading"),
        ],
    )
    def test_one_that_leads_nowhere_is_found(self, tmp_path, link, told):
        other = page(tmp_path, "# A heading, and `code`!\n", "other.md")
        first = page(tmp_path, f"# Twice\n# Twice\n\nA line\nand [a link]({link}).\n\n    [code](none.md)\n")
        assert list(broken_links([first, other])) == ([told] if told else [])


class TestNames:
    def test_all_are_there(self):
        assert list(Names(ROOT, MADE).unknown(PAGES)) == []

    def test_what_readers_make_is_named(self):
        """An exception that no page needs any longer goes."""
        assert [each for each in MADE if not any(each in page.text for page in PAGES)] == []

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("`--gate-model m`", None),
            ("`--gate-modle m`", "there is no option --gate-modle"),
            ("    gate_model = 'm'", None),
            ("`gate_modle`", "there is no ini key gate_modle"),
            ("`pytest_gate_checks`", None),
            ("`pytest_gate_check`", "there is no hook pytest_gate_check"),
            ("`tox run -e cpu`", None),
            ("`tox -e cpus`", "tox has no environment cpus"),
            ("`pip install 'embedgate[cpu,hub]'`", None),
            ("`pip install -e '.[cpu,hbu]'`", "there is no extra [hbu]"),
            ("`[onxn]`", "there is no extra [onxn]"),
            ("`baselines/<profile>/<model>.json`", None),
            ("`tests/repository/test_doc.py`", "there is no tests/repository/test_doc.py"),
            ("    python benchmarks/none.py", "there is no benchmarks/none.py"),
            ("`embedgate.Check`", None),
            ("`embedgate.metrics.statistics`", None),
            ("`embedgate.core.options.Option.flag`", None),
            ("`embedgate.Chekc`", "there is no embedgate.Chekc"),
            ("`embedgate.metrics.none`", "there is no embedgate.metrics.none"),
            ("`embedgate.core.options.Option.flags`", "there is no embedgate.core.options.Option.flags"),
            ("```python\nfrom embedgate import Check\n```", None),
            ("```python\nfrom embedgate.checks import Chekc\n```", "there is no embedgate.checks.Chekc"),
            ("`test_keeps_its_memory`", None),
            ("`test_keeps_its_memroy`", "there is no test test_keeps_its_memroy"),
        ],
    )
    def test_one_that_is_not_there_is_found(self, tmp_path, text, told):
        found = list(Names(ROOT).unknown([page(tmp_path, f"# A page\n\n{text}\n")]))
        assert [each.split(": ", 1)[1] for each in found] == ([told] if told else [])
        assert all(re.match(r"README\.md:[34]: ", each) for each in found)


def test_the_api_page_has_every_name_that_host_projects_import_and_every_hook():
    shown = re.findall(r"^::: (\S+)$", (ROOT / "docs/api.md").read_text("utf-8"), re.MULTILINE)
    names = {f"embedgate.{name}" for name in embedgate.__all__ if name != "__version__"}
    hooks = {f"embedgate.plugin.hookspecs.{name}" for name in Names(ROOT).hooks}
    assert set(shown) == names | hooks
    assert len(shown) == len(set(shown))


class TestCommands:
    def test_all_are_listed_and_no_other(self):
        assert list(unlisted(PAGES, LISTED)) == []

    def test_each_is_run_here_or_says_when_it_was_or_why_not(self):
        assert len(LISTED) == len(set(LISTED))
        for group in GROUPS:
            assert set(group) in ({"commands", "exit"}, {"commands", "last_run", "saw"}, {"commands", "why"}), group
            assert isinstance(group.get("last_run", datetime.date.min), datetime.date)

    def test_one_that_is_not_listed_is_found(self, tmp_path):
        text = (
            "A `pytest -x`, `pytest` and `tox`.\n\n```sh\npytest -m cpu   # one\nls\n```\n\n    x\n    pip install y\n"
        )
        found = list(unlisted([page(tmp_path, text)], ["pytest -m cpu", "git log"]))
        assert found == [
            "README.md:1: not in docs/commands.toml: pytest -x",
            "README.md:5: not in docs/commands.toml: ls",
            "README.md:9: not in docs/commands.toml: pip install y",
            "docs/commands.toml: on no page: git log",
        ]


@pytest.fixture(scope="module")
def clone(tmp_path_factory, minilm) -> Path:
    """A clone as its reader has it, with the files that pages call their reader's own."""
    folder = tmp_path_factory.mktemp("clone")
    # By name, since a checkout may hold what pages have its owner make, which tests must not write to.
    files = [file for kind in ("*.ini", "*.md", "*.py", "*.toml", "*.txt", "*.yml") for file in ROOT.glob(kind)]
    for entry in (*files, *(ROOT / name for name in FOLDERS)):
        if entry.name in WRITTEN_TO:
            (shutil.copytree if entry.is_dir() else shutil.copy)(entry, folder / entry.name)
        else:
            (folder / entry.name).symlink_to(entry)
    for name in ("my-model", "my-new-model", "old", "new"):
        (folder / name).symlink_to(minilm.path)
    rows = [(f"text {i}", f"other {i}", i % 6) for i in range(12)]
    names = ("sentence1", "sentence2", "score")
    table = "".join(",".join(map(str, row)) + "\n" for row in (names, *rows))
    lines = "".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows)
    for name in ("my/pairs.csv", "stsb/test.csv", "few.jsonl", "my.jsonl"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(table if name.endswith("csv") else lines, "utf-8")
    (folder / "my/tickets.csv").write_text(table.replace(",".join(names), "q1,q2,dup"), "utf-8")
    indexes.parquet(folder / "index.parquet", ["a text"], np.ones((1, 384), np.float32))
    (folder / "november").mkdir()
    reports.written(folder / "november/report.json", reports.earlier(minilm, [load(name) for name in bundled()]))
    answer = json.dumps({"text": "a text", "vector": [1.0] * 384})
    (folder / "november/my_model-served-cpu.answers.jsonl").write_text(answer, "utf-8")
    (folder / "onnx").mkdir()
    for name in ("model.onnx", "model_int8.onnx", "model_qint8_avx512_vnni.onnx"):
        shipped.no_embedding(folder / "onnx" / name)
    (folder / "cranfield").symlink_to(ROOT / "fixtures/data/passages")
    (folder / "out").mkdir()
    (folder / "out/report.json").write_text('{"libraries": {"torch": "0"}}', "utf-8")
    (folder / "test_extent.py").write_text("def test_extent(): ...\n", "utf-8")
    return folder


def pytest_calls() -> dict[tuple[str, ...], tuple[bool, int]]:
    """Of each call of pytest in the list, whether it is only collected, and the exit status expected."""
    calls = {}
    for group in GROUPS:
        for command in group["commands"]:
            # --gate-noise runs no test, and <...> stands for what its reader knows.
            if (found := PYTEST.search(command)) and "--gate-noise" not in command and "<" not in command:
                words = tuple(shlex.split(found[1].replace("$seed", "1")))
                calls[words] = ("exit" not in group, group.get("exit", 0))
    return calls


def fewer(words: tuple[str, ...]) -> list[str]:
    """Options with which pytest collects a call's tests, but no more than show that it selects any."""
    combinations = ["torch-fp32-cpu", "torch-fp16-cuda" if {"gpu", "--gate-receipt"} & {*words} else "torch-bf16-cpu"]
    usual = [("--gate-combination", each) for each in combinations] + [("--gate-data", "pairs")]
    return ["--collect-only", "-q", *(f"{option}={value}" for option, value in usual if option not in words)]


def called(python: Path, clone: Path, calls) -> list[SimpleNamespace]:
    """What pytest does with each, in one process."""
    given = [[*words, *fewer(words)] if only else words for words, (only, _) in calls.items()]
    done = subprocess.run(
        [python, "-m", "helpers.collect_each"],
        input=json.dumps(given),
        cwd=clone,
        env={**os.environ, "PYTHONPATH": str(TESTS), "EMBEDGATE_CACHE": str(clone / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [
        SimpleNamespace(words=words, status=status, tests=tests, told=told, only=only, expected=expected)
        for (words, (only, expected)), (status, tests, told) in zip(calls.items(), json.loads(done.stdout), strict=True)
    ]


def failed(done: list[SimpleNamespace]) -> list[str]:
    return [
        f"pytest {shlex.join(each.words)}: exit {each.status}, {each.tests} tests: {each.told[-500:]}"
        for each in done
        if each.status != each.expected or (each.only and not each.tests)
    ]


@pytest.mark.slow("pytest takes every call of it that docs tell to type, and each selects a test")
def test_pytest_takes_every_call_of_it(clone, warm_python):
    calls = pytest_calls()
    assert len(calls) > 40
    assert failed(called(warm_python, clone, calls)) == []


def test_a_call_that_pytest_does_not_take_is_found(clone, warm_python):
    calls = {
        ("-k", "test_is_what_its_id_says"): (True, 0),
        ("-k", "test_is_what_its_id_sais"): (True, 0),
        ("--gate-modle", "m"): (True, 0),
        ("--gate-update",): (False, 0),
    }
    found = failed(called(warm_python, clone, calls))
    assert [each.partition(", ")[0] for each in found] == [
        "pytest -k test_is_what_its_id_sais: exit 5",
        "pytest --gate-modle m: exit 4",
        "pytest --gate-update: exit 4",
    ]
    assert "needs a reason" in found[2]


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (command, group["exit"])
        for group in GROUPS
        if "exit" in group
        for command in group["commands"]
        if not PYTEST.search(command)
    ],
)
def test_a_command_of_seconds_does_what_its_page_says(clone, command, status):
    paths = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    done = subprocess.run(
        ["bash", "-ec", command],
        cwd=clone,
        env={**os.environ, "PATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    for name in ("README.md", "docs/options.md", "docs/checks.md", "tests/slow.md"):
        assert (clone / name).read_text("utf-8") == (ROOT / name).read_text("utf-8"), f"{command} changes {name}"
