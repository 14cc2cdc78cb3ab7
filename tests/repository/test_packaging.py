"""What is imported is declared, and every module is installed."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions

from helpers.paths import ROOT

KNOWN = packages_distributions()
SOURCES = ("src", "suites", "fixtures")
# Distributions of modules that the tests do without.
ELSEWHERE = {"llama_cpp": ["llama-cpp-python"]}


def declared(project: dict) -> set[str]:
    """Names of all distributions that a project depends on, in any extra."""
    lists = (project["dependencies"], *project["optional-dependencies"].values())
    return {normal(re.split(r"[^\w.-]", requirement)[0]) for named in lists for requirement in named}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported(source: str) -> Iterator[str]:
    """Top-level names that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


def undeclared(source: str, names: set[str]) -> list[str]:
    """Imports of a module whose distribution is none of those named."""
    third_party = set(imported(source)) - sys.stdlib_module_names - {"embedgate"}
    return sorted(
        found
        for found in third_party
        if not names & {normal(name) for name in KNOWN.get(found, ELSEWHERE.get(found, [found]))}
    )


def test_every_import_is_declared():
    names = declared(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"])
    files = [file for folder in SOURCES for file in (ROOT / folder).rglob("*.py")]
    assert len(files) > 100
    found = {str(file.relative_to(ROOT)): undeclared(file.read_text("utf-8"), names) for file in files}
    assert {file: missing for file, missing in found.items() if missing} == {}


def test_an_import_that_is_not_declared_is_found():
    names = declared(
        {"dependencies": ["scikit-learn>=1"], "optional-dependencies": {"x": ["embedgate[y]", "Py_Arrow"]}}
    )
    assert names == {"scikit-learn", "embedgate", "py-arrow"}
    source = (
        "import os, embedgate.core\nfrom . import x\nfrom sklearn import metrics\ndef f():\n    import ml_dtypes as m\n"
    )
    assert undeclared(source, names) == ["ml_dtypes"]
    assert undeclared("import not_installed.inner", names) == ["not_installed"]


def test_every_file_of_a_mapped_folder_is_installed():
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    for package, folder in tools["package-dir"].items():
        if folder.startswith("src"):
            continue
        matched = {file for glob in tools["package-data"].get(package, ()) for file in (ROOT / folder).glob(glob)}
        files = {file for file in (ROOT / folder).rglob("*") if file.is_file() and not file.suffix.startswith(".py")}
        assert files - matched == set(), package


def test_every_folder_of_modules_is_a_package():
    """setup.py finds packages alone: modules beside no `__init__` would be left out of what is installed."""
    folders = {file.parent for file in (ROOT / "src/embedgate").rglob("*.py")}
    assert {str(folder) for folder in folders if not (folder / "__init__.py").exists()} == set()
