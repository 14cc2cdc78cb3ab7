"""Writes what a person can be told, as tests made it, for reading it through as a whole.

EMBEDGATE_MESSAGES=told tox run -e tests && python tools/messages.py told > messages.md
"""

from __future__ import annotations

import json
import sys
from itertools import groupby
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path.insert(0, str(TESTS))

from helpers.messages import Messages  # noqa: E402


def page(folder: Path) -> str:
    """Messages of all processes of a test run, by kind."""
    messages = Messages()
    for file in sorted(folder.glob("*.jsonl")):
        for line in file.read_text("utf-8").splitlines():
            messages.keep(**json.loads(line))
    found = sorted((kind, message) for (kind, _), message in messages.kept.items())
    sections = [
        f"## {kind}\n\n" + "".join(f"- {message}\n" for _, message in group)
        for kind, group in groupby(found, key=lambda each: each[0])
    ]
    return f"# Messages\n\n{len(found)} differ in more than numbers, paths and quoted texts.\n\n" + "\n".join(sections)


if __name__ == "__main__":
    told = Path(sys.argv[1] if len(sys.argv) > 1 else "told")
    if not any(told.glob("*.jsonl")):
        raise SystemExit(f"{told} holds no messages: run the tests with EMBEDGATE_MESSAGES={told} first")
    print(page(told))
