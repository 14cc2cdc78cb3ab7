"""The table a person decides from, below it each failure's cause and next step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from io import StringIO
from typing import Any, Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from embedgate.core.judgement import Judgement
from embedgate.report.stored import note as stored_note
from embedgate.report.stored import table as stored_table
from embedgate.report.summary import CHANGE_HEADINGS, COST, LARGEST_MOVE, Summary, cells, headings

# Logs are often given 80 columns, in which no table fits; they scroll.
LEAST_WIDTH = 130
COST_WIDTH = 30
# Checks against one file that all combinations share.
ONE_FILE = ("baseline", "receipt")

STYLE = {
    "pass": "green",
    "reference": "bold",
    "inconclusive": "yellow",
    "expected failure": "yellow",
    "skipped": "dim",
    "fail": "bold red",
    "error": "bold red",
}


def render(summary: Summary, *, width: int = 120, colour: bool = False) -> str:
    """The final section of a session, as text.

    Args:
        summary: The session.
        width: Columns of the terminal.
        colour: Whether to write ANSI colours.
    """
    out = StringIO()
    colours: Literal["standard"] | None = "standard" if colour else None
    least = LEAST_WIDTH + (COST_WIDTH if summary.shows_cost else 0)
    console = Console(file=out, width=max(width, least), force_terminal=colour, color_system=colours, highlight=False)
    _head(console, summary)
    if summary.ran:
        console.print(_table(summary))
        if summary.headlines:
            console.print(Text("per dataset: share of the reference's quality that is kept", style="dim"))
        if summary.shows_moves:
            console.print(Text(LARGEST_MOVE, style="dim"))
        if summary.shows_cost:
            console.print(Text(COST, style="dim"), soft_wrap=True)
    if stored := stored_table(summary):
        console.print()
        console.print(_stored(*stored))
        console.print(Text(stored_note(stored[0]), style="dim"), soft_wrap=True)
    for note in _notes(summary):
        console.print(note, soft_wrap=True)
    for judgement in _once_per_cause(summary.judgements("fail")):
        console.print(Text(judgement.explain(), style="red"), soft_wrap=True)
    for row in summary.rows:
        if row.verdict == "error":
            console.print(Text(f"{row.combination}: {row.reason.splitlines()[0]}", style="red"), soft_wrap=True)
    for line in summary.trouble:
        console.print(Text(line, style="bold red"), soft_wrap=True)
    if summary.changes is not None:
        console.print(_changes(summary.changes))
    console.print(Text(f"verdict: {summary.verdict}", style=STYLE[summary.verdict]))
    return out.getvalue()


def _head(console: Console, summary: Summary) -> None:
    facts = summary.facts
    if not facts:
        return
    model, machine = facts["model"], facts["machine"]
    console.print(
        escape(
            f"{model['name']} ({model['fingerprint'][:12]}) on {facts['profile']} ({_chips(machine)}), "
            f"{facts['threads']} threads, {facts['texts']} texts"
        ),
        soft_wrap=True,
    )


def _chips(machine: Mapping[str, Any]) -> str:
    return ", ".join(filter(None, (machine["cpu"], machine["gpu"])))


def _table(summary: Summary) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, heading in enumerate(headings(summary)):
        stacked = heading.replace(" ", "\n", 1) if place >= 2 else heading
        table.add_column(stacked, justify="left" if place < 2 else "right", no_wrap=True)
    for row in summary.ran:
        verdict, *values = cells(summary, row)
        table.add_row(row.combination, Text(verdict, style=STYLE[row.verdict]), *values)
    if summary.detectable:
        losses = [summary.detectable.get(key) for key in summary.headlines]
        shown = [f"{loss:.2%}" if loss is not None else "" for loss in losses]
        table.add_row("smallest detectable loss", "", *shown, style="dim")
    return table


def _stored(headings: list[str], rows: list[list[str]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, heading in enumerate(headings):
        stacked = heading.replace(" ", "\n", 1) if place >= 2 else heading
        table.add_column(stacked, justify="right" if place else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def _notes(summary: Summary) -> list[Text]:
    lines = [Text(f"{', '.join(names)} skipped: {reason}", style="dim") for reason, names in summary.skipped.items()]
    lines += [
        Text(f"{j.combination}: {j.message}", style="yellow")
        for j in summary.judgements("inconclusive")
        if not j.unjudged
    ]
    for reason, count in summary.left_out.items():
        lines.append(Text(f"{_checks(count)} skipped: {reason}", style="dim"))
    for (cause, step), found in summary.unjudged.items():
        lines.append(
            Text(f"{_checks(len(found))} not judged: {'; '.join(filter(None, (cause, step)))}", style="yellow")
        )
    for j in summary.verified:
        lines.append(Text(f"{j.combination} {j.message}", style="green"))
        lines += [Text(f"  {line}") for line in j.details]
    lines += [Text(line, style="yellow") for line in summary.stale]
    if summary.facts.get("index"):
        lines.append(Text(f"index: {summary.facts['index']}"))
    lines += [Text(f"stale baseline entry: {name}", style="yellow") for name in summary.facts.get("stale_baseline", ())]
    return lines


def _checks(count: int) -> str:
    return "1 check" if count == 1 else f"{count} checks"


def _once_per_cause(judgements: list[Judgement]) -> list[Judgement]:
    """The failures; those with one cause are told once, with the others' findings below."""
    grouped: dict[tuple[str, str], list[Judgement]] = {}
    for judgement in judgements:
        cause = judgement.diagnosis.cause if judgement.diagnosis else judgement.message
        # A missing or unreadable baseline or receipt is one trouble, however many combinations it concerns.
        whose = "" if judgement.check in ONE_FILE else judgement.combination
        grouped.setdefault((whose, cause), []).append(judgement)
    told = []
    for first, *others in grouped.values():
        if first.check in ONE_FILE:
            also = [f"also {', '.join(j.combination for j in others)}"] if others else []
        else:
            also = [f"also {j.message}" for j in others]
        told.append(replace(first, details=(*first.details, *also)))
    return told


def _changes(changes: list[tuple[str, ...]]) -> Table:
    table = Table(title=f"baseline: {len(changes)} values changed", box=None, pad_edge=False, title_justify="left")
    for heading in CHANGE_HEADINGS:
        table.add_column(heading)
    for row in changes:
        table.add_row(*row)
    return table
