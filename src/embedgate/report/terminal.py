"""The table a person decides from, below it each failure's cause and next step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from io import StringIO
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from embedgate.core.errors import counted
from embedgate.core.judgement import printable, shorten
from embedgate.report import bar, columns, facts, stored, upgrade
from embedgate.report.columns import VERDICT, Cell, Column, Table
from embedgate.report.console import console, told, told_in_lines
from embedgate.report.decision import decision
from embedgate.report.facts import not_asked
from embedgate.report.findings import Finding, by_kind, findings
from embedgate.report.summary import CHANGE_HEADINGS, Row, Summary

# Logs are often given 80 columns, in which no table fits; they scroll.
LEAST_WIDTH = 400

# Checks and details told of one cause, and characters of an error.
MOST = 12
LONGEST = 600

STYLE = {
    "": "",
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
    shown = console(out, width=max(width, LEAST_WIDTH), colour=colour)
    _head(shown, summary)
    if summary.ran:
        table = columns.table(summary)
        shown.print(_combinations(table))
        for note in table.notes:
            shown.print(told(note, style="dim"), soft_wrap=True)
    if found := stored.table(summary):
        shown.print()
        shown.print(_plain(found))
        shown.print(told(stored.note(found), style="dim"), soft_wrap=True)
    _beside(shown, summary)
    for line in _notes(summary):
        shown.print(line, soft_wrap=True)
    for kind, group in by_kind(findings(summary.judgements("fail"), summary.known.against)).items():
        shown.print(told(f"{kind}:", style="bold red"))
        for each in group:
            shown.print(told_in_lines(_explained(each), style="red"), soft_wrap=True)
    for row in summary.rows:
        if row.verdict == "error":
            first = shorten(row.reason.splitlines()[0], LONGEST)
            shown.print(told(f"{row.combination}: {first}", style="red"), soft_wrap=True)
    for trouble in summary.trouble:
        shown.print(told(shorten(trouble, LONGEST), style="bold red"), soft_wrap=True)
    if summary.changes is not None:
        shown.print(_changes(summary.changes, f"baseline: {counted(len(summary.changes), 'value')} changed"))
    _by_what(shown, summary)
    decided = decision(summary)
    for said in (*decided.advice, decided.line):
        shown.print(told(printable(said), style=STYLE[decided.verdict]), soft_wrap=True)
    shown.print(told(f"verdict: {summary.verdict}", style=STYLE[summary.verdict]))
    return out.getvalue()


def changes(rows: Sequence[tuple[str, ...]], title: str, width: int = LEAST_WIDTH) -> str:
    """Changes of baselines, as text.

    Args:
        rows: As `embedgate.approved.proposal.approve` returns them.
        title: What stands above them.
        width: Columns of the terminal.
    """
    out = StringIO()
    shown = console(out, width=max(width, LEAST_WIDTH))
    shown.print(told(title), soft_wrap=True)
    if rows:
        shown.print(_changes(rows, ""))
    return out.getvalue().rstrip("\n")


def _head(out: Console, summary: Summary) -> None:
    known = summary.facts
    if not known:
        return
    model, machine = known["model"], known["machine"]
    out.print(
        told(
            f"{model['name']} ({model['fingerprint'][:12]}) on {known['profile']} ({_chips(machine)}), "
            f"{counted(known['threads'], 'thread')}, {known['texts']} texts"
        ),
        soft_wrap=True,
    )
    if line := facts.depth_line(known):
        out.print(told(line), soft_wrap=True)


def _beside(out: Console, summary: Summary) -> None:
    """What is new beside the incumbent."""
    if found := upgrade.table(summary):
        out.print()
        out.print(_plain(found))
        for line in (*found.notes, *upgrade.lines(summary)):
            out.print(told(printable(line), style="dim"), soft_wrap=True)


def _by_what(out: Console, summary: Summary) -> None:
    """Which failures are expected, and what differs from the base branch's bar."""
    if found := bar.expectations(summary):
        out.print(told("entries of expected_failures.toml:", style="yellow"))
        for line in found:
            out.print(told(f"  {printable(line)}", style="yellow"), soft_wrap=True)
    first, *more = bar.base(summary) or [""]
    if first:
        out.print(told(printable(first), style="yellow" if more else "dim"), soft_wrap=True)
    for line in more:
        out.print(told(f"  {printable(line)}", style="yellow"), soft_wrap=True)


def _chips(machine: Mapping[str, Any]) -> str:
    return ", ".join(filter(None, (machine["cpu"], machine["gpu"])))


def _combinations(table: Table[Row]) -> RichTable:
    shown = _headed(table)
    for row, cells in zip(table.subjects, table.rows, strict=True):
        styles = (STYLE[row.verdict if column is VERDICT else cell.verdict] for column, cell in _placed(table, cells))
        shown.add_row(*(told(printable(str(cell)), style) for cell, style in zip(cells, styles, strict=True)))
    _, *feet = (column.foot for column in table.columns)
    if any(feet):
        shown.add_row("smallest detectable loss", *map(told, feet), style="dim")
    return shown


def _placed(table: Table[Row], cells: Sequence[Cell]) -> Iterator[tuple[Column[Row], Cell]]:
    return zip(table.columns, cells, strict=True)


def _plain(table: Table[Any]) -> RichTable:
    shown = _headed(table)
    for cells in table.rows:
        shown.add_row(*(told(printable(str(cell))) for cell in cells))
    return shown


def _headed(table: Table[Any]) -> RichTable:
    shown = RichTable(box=None, pad_edge=False, header_style="bold")
    for column in table.columns:
        heading = printable(column.heading).replace(" ", "\n", 1)
        shown.add_column(told_in_lines(heading), justify=column.align, no_wrap=True)
    return shown


def _notes(summary: Summary) -> list[Text]:
    lines = [told(f"{', '.join(names)} skipped: {reason}", style="dim") for reason, names in summary.skipped.items()]
    lines += [told(f"{j.combination}: {j.message}", style="yellow") for j in summary.unsettled]
    if summary.expected:
        lines.append(told("expected failures:", style="yellow"))
    for failure in summary.expected:
        lines.append(told(f"  {failure.judgement.combination}: {printable(failure.judgement.message)}", style="yellow"))
        lines.append(told(f"    {printable(f'{failure.why} {failure.link}')}", style="yellow"))
    for reason, count in summary.left_out.items():
        lines.append(told(f"{_checks(count)} skipped: {reason}", style="dim"))
    lines += [told(line, style="yellow") for line in summary.not_judged]
    for j in summary.verified:
        lines.append(told(f"{j.combination} {j.message}", style="green"))
        lines += [told(f"  {line}") for line in j.details]
    lines += [told(line, style="yellow") for line in summary.stale]
    notes = (*summary.remarks, *facts.lines(summary.facts), *bar.tolerances(summary))
    lines += [told(printable(line), style="dim") for line in notes]
    lines += [told(line, style="dim") for line in not_asked(summary.facts)]
    lines += [told(f"stale baseline entry: {name}", style="yellow") for name in summary.facts.get("stale_baseline", ())]
    return lines


def _checks(count: int) -> str:
    return "1 check" if count == 1 else f"{count} checks"


def _explained(found: Finding) -> str:
    """A finding as text: what shows it, its cause, the worst texts and the next step."""
    (whose, _), *others = found.messages
    also = [f"also {what}" if other == whose else f"also {other}: {what}" for other, what in others[:MOST]]
    more = [f"and {counted(len(others) - MOST, 'other check')}"] if len(others) > MOST else []
    # Where all are told the same, such as of one missing file, their names say it all.
    if len(found.combinations) > 1 and len({what for _, what in found.messages}) == 1:
        also, more = [f"also {', '.join(found.combinations[1:])}"], []
    first = found.judgements[0]
    return replace(first, details=(*found.details[:MOST], *also, *more), worst=found.worst).explain()


def _changes(changes: Sequence[tuple[str, ...]], title: str) -> RichTable:
    table = RichTable(title=told(title) if title else None, box=None, pad_edge=False, title_justify="left")
    for heading in CHANGE_HEADINGS:
        table.add_column(heading)
    for row in changes:
        table.add_row(*map(told, map(printable, row)))
    return table
