"""Writes `report.json`, `report.md`, `report.html` and `pareto.svg`."""

from __future__ import annotations

import json
import os
from pathlib import Path

from embedgate.report import html, markdown, pareto
from embedgate.report.receipt import seal
from embedgate.report.summary import Summary

PLOT = "pareto.svg"


def write(summary: Summary, folder: Path) -> list[Path]:
    """Writes the reports, each complete or not at all; the plot only where speed and quality are known.

    Args:
        summary: The session.
        folder: Where to; made if it is not there.

    Returns:
        The files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        "report.json": json.dumps(seal(summary.to_json()), indent=1, ensure_ascii=True) + "\n",
        "report.md": markdown.render(summary),
        "report.html": html.render(summary),
    }
    plot = pareto.render(summary)
    if plot is None:
        (folder / PLOT).unlink(missing_ok=True)  # an earlier session's
    else:
        contents[PLOT] = plot
    files = []
    for name, text in contents.items():
        file, scratch = folder / name, folder / f".{name}.{os.getpid()}"
        scratch.write_text(text, "utf-8")
        scratch.replace(file)
        files.append(file)
    return files
