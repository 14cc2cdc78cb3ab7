"""What may import what: the contract of pyproject.toml holds, and a breach of it is found."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.paths import ROOT

LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(root / "src")}
    command = [sys.executable, "-c", LINT, "--no-cache"]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


def test_packages_import_downward_only_and_pytest_and_torch_where_they_may():
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Contracts: 3 kept, 0 broken." in done.stdout


@pytest.mark.parametrize(
    ("module", "line", "told"),
    [
        (
            "core/errors.py",
            "from embedgate.data import bundled",
            "embedgate.core is not allowed to import embedgate.data",
        ),
        ("checks/quality.py", "import pytest", "embedgate.checks is not allowed to import pytest"),
        ("metrics/triplets.py", "import torch", "embedgate.metrics is not allowed to import torch"),
    ],
)
def test_a_breach_is_found(tmp_path, module, line, told):
    shutil.copytree(ROOT / "src/embedgate", tmp_path / "src/embedgate", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    file = tmp_path / "src/embedgate" / module
    file.write_text(f"{file.read_text('utf-8')}\n\n{line}\n", "utf-8")
    done = lint(tmp_path)
    assert done.returncode == 1
    assert told in done.stdout
