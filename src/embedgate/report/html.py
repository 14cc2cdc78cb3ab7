"""`report.html`: one file to open or to send, with the plot in it."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader

from embedgate.core.judgement import printable, shorten
from embedgate.report import pareto, stored
from embedgate.report.summary import CHANGE_HEADINGS, COST, LARGEST_MOVE, Summary, cells, headings

TEMPLATE = "report.html.jinja"


def render(summary: Summary) -> str:
    """The report as one HTML file that needs no other; texts from data are escaped."""
    environment = Environment(
        loader=PackageLoader("embedgate.report", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(printable=printable, shorten=shorten, megabytes=_megabytes)
    template = environment.get_template(TEMPLATE)
    notes = ["Per dataset: share of the reference's quality that is kept."] if summary.headlines else []
    notes += [f"{LARGEST_MOVE.capitalize()}."] if summary.shows_moves else []
    notes += [f"{COST.capitalize()}."] if summary.shows_cost else []
    table = stored.table(summary)
    return template.render(
        summary=summary,
        facts=summary.facts,
        headings=headings(summary),
        rows=[(row, cells(summary, row)) for row in summary.ran],
        notes=notes,
        stored=table,
        stored_note=f"{stored.note(table[0]).capitalize()}." if table else "",
        plot=pareto.render(summary),
        front=pareto.front(pareto.points(summary)),
        change_headings=CHANGE_HEADINGS,
        sections=[
            (title, found)
            for title, found in (
                ("Failures", summary.judgements("fail")),
                ("Inconclusive", [j for j in summary.judgements("inconclusive") if not j.unjudged]),
            )
            if found
        ],
        timed=[(row, name, figures) for row in summary.rows for name, figures in row.run.get("speed", {}).items()],
        footprints=[(row, row.run["footprint"]) for row in summary.rows if row.run.get("footprint")],
        ran=[(row, row.run["evidence"]) for row in summary.rows if row.run.get("evidence")],
    )


def _megabytes(count: Any) -> str:
    return "" if count is None else f"{count / 1e6:.1f} MB"
