"""Writes requirements/ci.txt and requirements/tools.txt: every package that CI installs, with the hashes of its files.

    pip install uv && python tools/lock.py

ci.txt has what `embedgate[dev]` needs, in the versions of constraints.txt; whatever that leaves open is the newest.
Left out are torch, which requirements/torch.txt has, and CUDA's libraries, which PyPI's build of torch alone needs.
Both files are for Linux on x86-64 and Python 3.11, as the workflows of .github are.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "requirements"
SOURCES = {
    "ci.txt": ("pyproject.toml", "--extra", "dev", "--constraints", "constraints.txt"),
    "tools.txt": ("requirements/tools.in",),
}
USUAL = ("--generate-hashes", "--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28")
QUIET = ("--quiet", "--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links")
HEADER = "# By tools/lock.py, for Linux on x86-64 and Python 3.11. See docs/security.md.\n"
LEFT_OUT = re.compile(r"torch|triton|cuda-.+|nvidia-(?!ml-py).+")


def kept(locked: str) -> Iterator[str]:
    """The packages of a file, each with its hashes, but for those that are left out."""
    for package in re.split(r"\n(?=\S)", locked.strip()):
        if not LEFT_OUT.fullmatch(package.partition("==")[0]):
            yield f"{package}\n"


def main() -> None:
    for name, sources in SOURCES.items():
        command = ["uv", "pip", "compile", *sources, *USUAL, *QUIET]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stderr)
        (OUT / name).write_text(HEADER + "".join(kept(done.stdout)), "utf-8")


if __name__ == "__main__":
    main()
