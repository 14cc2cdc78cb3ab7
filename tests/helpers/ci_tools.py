"""Programs that check files of CI, which come with the extra `dev`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCHEMAS = {"github": "vendor.github-workflows", "gitlab": "vendor.gitlab-ci"}


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)


def program(name: str) -> str:
    """A program that is installed with the Python of the tests."""
    found = Path(sys.executable).with_name(name)
    return str(found) if found.exists() else name


def schema(file: Path, kind: str) -> subprocess.CompletedProcess[str]:
    """Holds a file against the schema of its host, one of `SCHEMAS`."""
    return run(sys.executable, "-m", "check_jsonschema", "--builtin-schema", SCHEMAS[kind], file)


def zizmor(folder: Path) -> subprocess.CompletedProcess[str]:
    """Looks for what is unsafe in the workflows of a repository."""
    return run(program("zizmor"), "--offline", "--no-config", "--pedantic", "--collect=all", folder)
