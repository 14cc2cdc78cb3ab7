"""`report.html`: one file to open or to send, with the plot in it."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader

from embedgate.core.judgement import megabytes, printable, shorten
from embedgate.report import bar, columns, pareto, stored, upgrade
from embedgate.report.columns import COMBINATION, VERDICT
from embedgate.report.facts import depth_line, lines
from embedgate.report.summary import CHANGE_HEADINGS, Summary

TEMPLATE = "report.html.jinja"


def render(summary: Summary) -> str:
    """The report as one HTML file that needs no other; texts from data are escaped."""
    environment = Environment(
        loader=PackageLoader("embedgate.report", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(printable=printable, shorten=shorten, megabytes=_megabytes, sentence=_sentence)
    template = environment.get_template(TEMPLATE)
    found_stored = stored.table(summary)
    return template.render(
        summary=summary,
        facts=summary.facts,
        depth=depth_line(summary.facts),
        remarks=[*summary.remarks, *lines(summary.facts), *bar.tolerances(summary)],
        by_what=[
            ("Entries of expected_failures.toml", bar.expectations(summary)),
            ("The base branch's bar", bar.base(summary)),
        ],
        table=columns.table(summary),
        COMBINATION=COMBINATION,
        VERDICT=VERDICT,
        stored=found_stored,
        stored_note=stored.note(found_stored) if found_stored else "",
        beside=upgrade.table(summary),
        beside_title=upgrade.TITLE,
        beside_lines=upgrade.lines(summary),
        plot=pareto.render(summary),
        front=pareto.front(pareto.points(summary)),
        change_headings=CHANGE_HEADINGS,
        timed=[(row, *timed) for row in summary.rows if row.run for timed in row.run.speed.items()],
        footprints=[(row, row.run.footprint) for row in summary.rows if row.run and row.run.footprint],
        ran=[(row, row.run.evidence) for row in summary.rows if row.run],
    )


def _megabytes(count: float | None) -> str:
    return "" if count is None else megabytes(count)


def _sentence(text: str) -> str:
    return f"{text.capitalize()}."
