"""docs/security.md is held by tests that are there, and this repository's own workflows install and do what it says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from helpers.ci_tools import schema, zizmor
from helpers.paths import ROOT
from packaging.requirements import Requirement

PAGE = (ROOT / "docs/security.md").read_text("utf-8")
PROVEN = re.compile(r"`(tests/[\w/]+\.py)((?:::\w+)+)`")
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
REQUIREMENTS = ROOT / "requirements"
HASHED = [REQUIREMENTS / "ci.txt", REQUIREMENTS / "tools.txt"]
# Pinned by its version alone, as docs/security.md says.
UNHASHED = {"torch"}
USES = re.compile(r"uses: ([\w./-]+)@([0-9a-f]{40}) # (v[\d.]+)")
# Below this heading, tables name what shows each row.
SHOWN = "| shown by |"


def rows(page: str) -> Iterator[str]:
    """The rows of tables whose last column names what shows them."""
    inside = False
    for line in page.splitlines():
        inside = line.endswith(SHOWN) or (inside and line.startswith("|"))
        if inside and not line.endswith(SHOWN) and not line.startswith("| ---"):
            yield line


def missing(page: str) -> Iterator[str]:
    """Tests that a page names and that are not there."""
    for file, path in PROVEN.findall(page):
        body: list[ast.stmt] = ast.parse((ROOT / file).read_text("utf-8")).body if (ROOT / file).exists() else []
        for name in path.removeprefix("::").split("::"):
            kinds = ast.ClassDef | ast.FunctionDef
            found = next((each for each in body if isinstance(each, kinds) and each.name == name), None)
            if found is None:
                yield f"{file}{path}"
                break
            body = found.body


def pins(file: Path) -> dict[str, tuple[str, list[str]]]:
    """The version and hashes of each package of a file of requirements, by its name."""
    text = re.sub(r"(?m)\s*#.*$", "", file.read_text("utf-8")).replace("\\\n", " ")
    found = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        words, *hashes = re.split(r"\s+--hash=", line)
        each = Requirement(words)
        found[re.sub(r"[-_.]+", "-", each.name).lower()] = (str(each.specifier).removeprefix("=="), hashes)
    return found


class TestPage:
    def test_every_row_names_a_test(self):
        assert len(list(rows(PAGE))) > 40
        assert [row for row in rows(PAGE) if not PROVEN.search(row.rsplit("|", 2)[1])] == []

    def test_every_test_is_there(self):
        assert len(PROVEN.findall(PAGE)) > 40
        assert list(missing(PAGE)) == []

    @pytest.mark.parametrize(
        "name", ["tests/none.py::test_a", f"tests/repository/{Path(__file__).name}::TestPage::test_none"]
    )
    def test_one_that_is_not_there_is_found(self, name):
        assert list(missing(f"| a | b | `{name}` |")) == [name]


class TestRequirements:
    @pytest.mark.parametrize("file", HASHED, ids=lambda file: file.name)
    def test_each_package_has_a_version_and_hashes(self, file):
        for name, (version, hashes) in pins(file).items():
            assert re.fullmatch(r"[\w.+!]+", version), name
            assert hashes, name
            assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for each in hashes), name

    def test_versions_are_those_that_tox_installs(self):
        tested = {name: version for name, (version, _) in pins(ROOT / "constraints.txt").items()}
        ours = {name: version for name, (version, _) in pins(REQUIREMENTS / "ci.txt").items() if name in tested}
        assert ours == {name: tested[name] for name in ours}
        assert len(ours) > 100
        torch = {name: version for name, (version, _) in pins(REQUIREMENTS / "torch.txt").items()}
        assert torch == {name: tested[name] for name in UNHASHED}
        assert not UNHASHED & {*pins(REQUIREMENTS / "ci.txt")}

    @pytest.mark.parametrize("file", sorted(REQUIREMENTS.glob("*.txt")), ids=lambda file: file.name)
    def test_no_file_names_where_packages_come_from(self, file):
        """An index that a file names would be asked by whoever installs by it."""
        assert not re.search(
            r"(?m)^\s*(-i|-f|--index-url|--extra-index-url|--find-links|--trusted-host)|://", file.read_text("utf-8")
        )


class TestWorkflows:
    def test_there_are_some(self):
        assert {file.stem for file in WORKFLOWS} == {"ci", "security"}

    @pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
    def test_it_is_of_its_schema(self, file):
        done = schema(file, "github")
        assert done.returncode == 0, done.stdout

    def test_zizmor_finds_nothing(self):
        done = zizmor(ROOT / ".github/workflows")
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stderr.count("completed") >= len(WORKFLOWS)

    @pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
    def test_it_may_read_and_nothing_else(self, file):
        found = yaml.safe_load(file.read_text("utf-8"))
        assert found["permissions"] == {}
        assert [job["permissions"] for job in found["jobs"].values()] == [{"contents": "read"}] * len(found["jobs"])
        assert "pull_request_target" not in file.read_text("utf-8")
        assert "secrets." not in file.read_text("utf-8")

    def test_an_action_is_of_one_commit_everywhere(self):
        texts = [file.read_text("utf-8") for file in (*WORKFLOWS, *(ROOT / "docs/ci/github").glob("*.yml"))]
        found = {use for text in texts for use in USES.findall(text)}
        assert len(found) == len({action for action, _, _ in found})
        assert sum(text.count("uses: ") for text in texts) == sum(len(USES.findall(text)) for text in texts)

    @pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
    def test_every_install_is_by_hash_but_torchs_and_embedgates_own(self, file):
        jobs = yaml.safe_load(file.read_text("utf-8"))["jobs"].values()
        scripts = [step["run"] for job in jobs for step in job["steps"] if "run" in step]
        installs = [line for script in scripts for line in script.splitlines() if "pip install" in line]
        others = [line for line in installs if "--require-hashes" not in line]
        assert len(installs) > len(others)
        assert [line.split()[-1] for line in others] == (["requirements/torch.txt", "."] if file.stem == "ci" else [])
