"""Writes `report.json` and `report.md`."""

from __future__ import annotations

import json
import os
from pathlib import Path

from embedgate.report import markdown
from embedgate.report.summary import Summary


def write(summary: Summary, folder: Path) -> list[Path]:
    """Writes both reports, each complete or not at all.

    Args:
        summary: The session.
        folder: Where to; made if it is not there.

    Returns:
        The files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        "report.json": json.dumps(summary.to_json(), indent=1, ensure_ascii=True) + "\n",
        "report.md": markdown.render(summary),
    }
    files = []
    for name, text in contents.items():
        file, scratch = folder / name, folder / f".{name}.{os.getpid()}"
        scratch.write_text(text, "utf-8")
        scratch.replace(file)
        files.append(file)
    return files
