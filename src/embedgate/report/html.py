"""`report.html`: one file to open or to send, with plots in it, which asks nothing of any network."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup, escape

from embedgate.core.errors import counted
from embedgate.core.inert import inert
from embedgate.core.judgement import COMMAND, literal, megabytes, printable, shorten
from embedgate.report import bar, columns, forest, green, judged, pareto, slices, stored, trend, upgrade
from embedgate.report.columns import COMBINATION, VERDICT
from embedgate.report.decision import QUESTION, decision
from embedgate.report.drawing import Plot
from embedgate.report.facts import depth_line, lines, not_asked
from embedgate.report.findings import Finding, by_kind, findings
from embedgate.report.summary import CHANGE_HEADINGS, Summary

TEMPLATE = "report.html.jinja"
# A text longer than this is cut: an exception can have a hundred thousand characters.
LONGEST = 600
# Findings of one group that are unfolded, and judgements of one finding.
OPEN, FEW = 12, 6
_NO_ID = re.compile(r"[^A-Za-z0-9._-]+")


def render(summary: Summary) -> str:
    """The report as one HTML file that needs no other; texts from data are escaped."""
    environment = Environment(
        loader=PackageLoader("embedgate.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_inert,
    )
    environment.filters.update(
        printable=printable,
        shorten=shorten,
        literal=literal,
        counted=counted,
        megabytes=_megabytes,
        sentence=_sentence,
        told=_told,
        shows=_shows,
    )
    return environment.get_template(TEMPLATE).render(**_shown(summary))


def _shown(summary: Summary) -> dict[str, Any]:
    """What the template shows."""
    found_stored, groups = stored.table(summary), _groups(summary)
    return {
        **_assets(),
        "summary": summary,
        "facts": summary.facts,
        "question": QUESTION,
        "decision": decision(summary),
        "depth": depth_line(summary.facts),
        "remarks": [*summary.remarks, *lines(summary.facts), *bar.tolerances(summary), *green.golden(summary)],
        "by_what": bar.sections(summary),
        "table": columns.table(summary),
        "COMBINATION": COMBINATION,
        "VERDICT": VERDICT,
        "names": _names(summary),
        "not_asked": not_asked(summary.facts),
        "stored": found_stored,
        "stored_note": stored.note(found_stored) if found_stored else "",
        "plots": _plots(summary),
        "trends": trend.plots(summary),
        "trend_rows": trend.rows(summary),
        "trend_headings": trend.HEADINGS,
        "trend_missing": trend.missing(summary),
        "broken": [row for row in summary.ran if row.errors],
        "beside": upgrade.table(summary),
        "beside_title": upgrade.TITLE,
        "beside_lines": upgrade.lines(summary),
        "groups": groups,
        "is_red": lambda finding: any(map(summary.strict.is_red, finding.judgements)),
        "titles": TITLES,
        "kinds": [kind for _, of_kind in groups for kind, _ in of_kind if kind],
        "judged": judged.judgements(summary),
        "judged_headings": judged.HEADINGS,
        "slices": slices.table(summary),
        "slices_left": green.slices_left(summary),
        "change_headings": CHANGE_HEADINGS,
        "timed": [(row, *timed) for row in summary.rows if row.run for timed in row.run.speed.items()],
        "footprints": [(row, row.run.footprint) for row in summary.rows if row.run and row.run.footprint],
        "ran": [(row, row.run.evidence) for row in summary.rows if row.run],
        "OPEN": OPEN,
        "FEW": FEW,
    }


@cache
def _assets() -> dict[str, str]:
    """Style and script of the page, and the hashes by which it allows these and no others."""
    found = {name: files("embedgate.report").joinpath(f"report.{name}").read_text("utf-8") for name in ("css", "js")}
    return {**found, **{f"{name}_hash": _hash(text) for name, text in found.items()}}


def _inert(value: Any) -> Any:
    """What an expression of the template shows: a text that no reader's screen acts on; markup is of ours."""
    return inert(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _plots(summary: Summary) -> list[Plot]:
    first = pareto.plot(summary)
    return [*forest.plots(summary), *([first] if first else [])]


def _names(summary: Summary) -> dict[str, tuple[int, str]]:
    """By combination, its number, by which the page filters, and what a link to its row names; empty without a row."""
    rows = {row.combination for row in summary.ran}
    others = (j.combination for j in summary.upgrade.judgements)
    names = dict.fromkeys((*(row.combination for row in summary.ran), *others))
    return {name: (i, f"c{i}-{_NO_ID.sub('-', name)}" if name in rows else "") for i, name in enumerate(names)}


# Verdict, then kind, then findings.
_Groups = Sequence[tuple[str, Sequence[tuple[str, Sequence[Finding]]]]]
TITLES = {"fail": "Failures", "inconclusive": "Inconclusive"}


def _groups(summary: Summary) -> _Groups:
    """What failed, by its kind, and what is inconclusive, of no kind: nobody knows whether it is worse."""
    against = summary.known.against
    failed = by_kind(findings(summary.judgements("fail"), against))
    unsettled = findings(summary.unsettled, against)
    found = {"fail": [*failed.items()], "inconclusive": [("", unsettled)] if unsettled else []}
    return [(verdict, of_kind) for verdict, of_kind in found.items() if of_kind]


def _shows(finding: Finding) -> list[tuple[str, str]]:
    """What shows a finding, beside what its summary says already."""
    return [each for each in finding.messages if each[1] != finding.headline]


def _megabytes(count: float | None) -> str:
    return "" if count is None else megabytes(count)


def _told(text: str) -> Markup:
    """A text on one line, cut where nobody would read on; a command at its end as code, to be copied."""
    line = printable(text)
    if len(line) > LONGEST:
        return escape(f"{line[:LONGEST]}… ({len(line):,} characters: all of them are in report.json)")
    command = COMMAND.search(line)
    return escape(line[: command.start()]) + Markup("<code>{}</code>").format(command[0]) if command else escape(line)


def _sentence(text: str) -> str | Markup:
    """A text that ends as a sentence does."""
    ended = text if text.endswith((".", "?", "…", "</code>")) else text + "."
    return ended[:1].upper() + ended[1:]
