"""Writes `report.json`, `report.md`, `report.html` and `pareto.svg`."""

from __future__ import annotations

from pathlib import Path

from embedgate.core.files import to_json, write_whole
from embedgate.core.plain import finite
from embedgate.report import html, json_report, markdown, pareto
from embedgate.report.receipt import seal
from embedgate.report.summary import Summary

PLOT = "pareto.svg"
# All that a session may write.
NAMES = ("report.json", "report.md", "report.html", PLOT)


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
        "report.json": to_json(seal(finite(json_report.content(summary))), indent=1) + "\n",
        "report.md": markdown.render(summary),
        "report.html": html.render(summary),
    }
    plot = pareto.plot(summary)
    if plot and plot.svg:
        contents[PLOT] = plot.svg
    else:
        (folder / PLOT).unlink(missing_ok=True)  # an earlier session's
    files = []
    for name, text in contents.items():
        write_whole(folder / name, text.encode())
        files.append(folder / name)
    return files
