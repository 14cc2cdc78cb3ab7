"""`report.md`: fit for a pull request's comment or a GitHub step summary."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from embedgate.core.errors import counted
from embedgate.core.inert import inert
from embedgate.core.judgement import COMMAND, brief, literal, megabytes, shorten
from embedgate.encoders import Evidence
from embedgate.report import bar, columns, green, slices, stored, upgrade
from embedgate.report.columns import COMBINATION, VERDICT, Cell, Table
from embedgate.report.decision import QUESTION, decision
from embedgate.report.facts import depth_line, not_asked
from embedgate.report.facts import lines as fact_lines
from embedgate.report.findings import Finding, by_kind, findings
from embedgate.report.records import ExpectedFailure
from embedgate.report.summary import CHANGE_HEADINGS, Row, Summary

# GitHub takes a comment of 65,536 characters, and a step summary of 1 MiB.
MOST_BYTES = 60_000
# Of those, what the sections above all others may take, and characters of one line.
TABLE_ROWS = 40
LINE = 600
# Judgements, details and errors that one finding shows; findings, or rows of a table, that a section does.
FEW = 12
MOST_ITEMS = 100

ICON = {
    "pass": "✅",
    "reference": "➖",
    "inconclusive": "🟡",
    "expected failure": "🟡",
    "skipped": "⚪",
    "fail": "❌",
    "error": "❌",
}

# What Markdown, or GitHub, reads as markup wherever it stands, and what at the start of a line.
_ANYWHERE = re.compile(r"([\\`*_\[\]|~#@$])")
_AT_START = re.compile(r"^(\d*)([-+=.)])")
_IN_LINKS = ":/?#[]@!$&'()*+,;=%~"


@dataclass(frozen=True)
class Section:
    """A part of the report that can be cut short.

    Attributes:
        title: What stands above it; empty for none.
        items: Lines that stay together, such as a finding with what is beneath it.
        head: Lines before the items that make sense with them alone, such as a table's head.
    """

    title: str
    items: Sequence[Sequence[str]]
    head: Sequence[str] = ()


def render(summary: Summary) -> str:
    """The report as GitHub-flavoured Markdown; texts from data are escaped.

    It never takes more than `MOST_BYTES`: what is least needed to decide is cut, and says so.
    """
    decided = decision(summary)
    lines = [f"## embedgate: {ICON[decided.verdict]} {QUESTION} {decided.answer.capitalize()}", ""]
    lines += [line for told in (decided.why, *decided.advice) for line in (_ended(escape(told)), "")]
    lines += [*_about(summary), ""]
    sections = list(_sections(summary))
    whole = "Some sections are left out: see report.html."
    left, missing = MOST_BYTES - _size([*lines, whole, ""]), False
    for section in sections:
        told = _fitted(section, left)
        missing = missing or bool(section.items and not told)
        left -= _size(told)
        lines += told
    lines += [whole] if missing else []
    return inert("\n".join(lines)).rstrip() + "\n"


def _ended(line: str) -> str:
    """A line that ends as a sentence does; what was cut ends in its ellipsis."""
    return line if line.endswith((".", "?", "…")) else f"{line}."


def escape(text: str) -> str:
    """Text as Markdown and HTML would show it literally, on one line; a command at its end as code, to be copied."""
    line = brief(text, LINE)
    command = COMMAND.search(line)
    shown = _AT_START.sub(r"\1\\\2", _literal(line[: command.start()] if command else line))
    return f"{shown}`{command[0]}`" if command else shown


def _literal(line: str) -> str:
    """A line as Markdown and HTML would show it literally, wherever it stands but at the start."""
    return _ANYWHERE.sub(r"\\\1", line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))


def _about(summary: Summary) -> list[str]:
    facts = summary.facts
    lines = [f"Verdict: {ICON[summary.verdict]} {summary.verdict}."]
    if facts:
        lines.append(
            f"Model {escape(facts['model']['name'])} (`{facts['model']['fingerprint'][:12]}`), hardware profile "
            f"`{facts['profile']}`, {counted(facts['threads'], 'thread')}, {facts['texts']} texts."
        )
    if line := depth_line(facts):
        lines.append(f"{line.capitalize()}.")
    return lines


def _sections(summary: Summary) -> Iterator[Section]:
    """The parts of the report, what decides first."""
    facts = summary.facts
    if summary.trouble:
        yield Section("", [[f"**{escape(line)}**"] for line in summary.trouble])
    if summary.ran:
        yield _combinations(summary)
    for kind, found in by_kind(findings(summary.judgements("fail"), summary.known.against)).items():
        yield Section(kind.capitalize(), [_finding(each) for each in found])
    errors = [row for row in summary.rows if row.verdict == "error"]
    if errors:
        yield Section("Errors", [_error(row) for row in errors])
    if summary.unsettled:
        yield Section("Inconclusive", [_finding(each) for each in findings(summary.unsettled, summary.known.against)])
    if beside := upgrade.table(summary):
        yield _table(upgrade.TITLE, beside.headings, (map(_cell, row) for row in beside.rows))
        yield _listed("", [*beside.notes, *upgrade.lines(summary)])
    if found_stored := stored.table(summary):
        yield _table("Stored vectors", found_stored.headings, (map(_cell, row) for row in found_stored.rows))
        yield Section("", [[f"{stored.note(found_stored).capitalize()}."]])
    if summary.expected:
        yield Section("Expected failures", [_expected(each) for each in summary.expected])
    for title, told in bar.sections(summary):
        yield _listed(title, told)
    yield Section("Not judged", [*_listed("", summary.not_judged).items, *([line] for line in _skipped(summary))])
    yield _listed("Not asked", not_asked(facts))
    if summary.detectable:
        shown = "; ".join(f"{dataset} {metric} {loss:.2%}" for (dataset, metric), loss in summary.detectable.items())
        yield Section("", [[f"Smallest detectable loss: {shown}."]])
    if summary.verified:
        yield Section("Receipts", [_receipt(j.combination, j.message, j.details) for j in summary.verified])
    yield _listed("Better than approved", summary.stale)
    if found_slices := slices.table(summary):
        yield _table("Slices", found_slices.headings, (map(_cell, row) for row in found_slices.rows))
    yield _listed("", green.slices_left(summary))
    yield _listed("Notes", _notes(summary))
    ran = [_ran(row.combination, row.run.evidence) for row in summary.rows if row.run]
    yield _table("What ran", ("combination", "library", "device", "products with weights", "weights"), ran)
    if summary.changes is not None:
        yield _table("Baseline changes", CHANGE_HEADINGS, (map(escape, change) for change in summary.changes))


def _notes(summary: Summary) -> list[str]:
    return [*summary.remarks, *fact_lines(summary.facts), *bar.tolerances(summary), *green.golden(summary)]


def _combinations(summary: Summary) -> Section:
    """The table of combinations; where there are very many, those that are not green."""
    table = columns.table(summary)
    rows = list(_cells(table))
    order = sorted(range(len(rows)), key=lambda i: table.subjects[i].verdict in ("pass", "reference"))
    shown = sorted(order[:TABLE_ROWS])
    more = [[f"And {counted(len(rows) - TABLE_ROWS, 'combination')} more."]] if len(rows) > TABLE_ROWS else []
    notes = [["", f"{note.capitalize()}."] for note in table.notes]
    return Section("", [*([_line(rows[i])] for i in shown), *more, *notes], _head(table.headings))


def _finding(found: Finding) -> list[str]:
    """A finding: its cause, what shows it, and what to do."""
    (whose, message), *others = found.messages
    lines = [f"- `{whose}`: {escape(message)}"]
    lines += [f"  - also `{other}`: {escape(told)}" for other, told in others[:FEW]]
    lines += [f"  - and {counted(len(others) - FEW, 'other check')}"] * (len(others) > FEW)
    if found.cause and found.cause not in message:
        lines.append(f"  - cause: **{found.layer}**: {escape(found.cause)}")
    lines += [f"  - {escape(line)}" for line in found.shown_by]
    lines += [f"  - {escape(detail)}" for detail in found.details[:FEW]]
    lines += [
        f"  - {worst.reference:+.4f} → {worst.candidate:+.4f}: {escape(literal(worst.text))}" for worst in found.worst
    ]
    return [*lines, f"  - next step: {escape(found.next_step)}"] if found.next_step else lines


def _error(row: Row) -> list[str]:
    more = [f"  - and {counted(len(row.errors) - FEW, 'other error')}"] if len(row.errors) > FEW else []
    return [f"- `{row.combination}`: {escape(row.errors[0])}", *(f"  - {escape(e)}" for e in row.errors[1:FEW]), *more]


def _skipped(summary: Summary) -> Iterator[str]:
    for reason, names in summary.skipped.items():
        yield f"- {', '.join(f'`{name}`' for name in names)} (skipped): {escape(reason)}"
    for reason, count in summary.left_out.items():
        yield f"- {counted(count, 'check')} (skipped): {escape(reason)}"


def _receipt(combination: str, message: str, details: Iterable[str]) -> list[str]:
    return [f"- `{combination}` {escape(message)}", *(f"  - {escape(line)}" for line in details)]


def _ran(combination: str, evidence: Evidence) -> tuple[str, ...]:
    products = ", ".join(f"{count} {kind}" for kind, count in sorted(evidence.products.items())) or "not shown"
    size = megabytes(evidence.weight_bytes) if evidence.weight_bytes else ""
    return f"`{combination}`", escape(evidence.library), escape(evidence.device), escape(products), size


def _listed(title: str, lines: Iterable[str]) -> Section:
    return Section(title, [[f"- {escape(line)}"] for line in lines])


def _table(title: str, headings: Sequence[str], rows: Iterable[Iterable[str]]) -> Section:
    return Section(title, [[_line(row)] for row in rows], _head(headings))


def _head(headings: Sequence[str]) -> list[str]:
    return [_line(_literal(shorten(heading)) for heading in headings), "|" + " --- |" * len(headings)]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(table: Table[Row]) -> Iterator[list[str]]:
    """Rows of the table of combinations: ids as code, verdicts with their icons."""
    for row, cells in zip(table.subjects, table.rows, strict=True):
        shown = {COMBINATION: f"`{row.combination}`", VERDICT: f"{ICON[row.verdict]} {_cell(cells[1])}"}
        yield [shown.get(column) or _cell(cell) for column, cell in zip(table.columns, cells, strict=True)]


def _cell(cell: Cell) -> str:
    """A cell; one that is not green is marked, with what is required."""
    text = _literal(shorten(str(cell).replace(">=", "≥").replace("<=", "≤")))
    return f"{ICON[cell.verdict]} **{text}**" if cell.verdict else text


def _expected(failure: ExpectedFailure) -> list[str]:
    lines = [f"- `{failure.judgement.combination}`: {escape(failure.judgement.message)}", f"  - {escape(failure.why)}"]
    return [*lines, f"  - <{quote(failure.link, safe=_IN_LINKS)}>"] if failure.link else lines


def _fitted(section: Section, left: int) -> list[str]:
    """A section's lines, as many of its items as fit into so many bytes; nothing where not one does."""
    lines = [*([f"### {section.title}", ""] if section.title else []), *section.head]
    cut = "And {:,} more: see report.html."
    left -= _size([*lines, cut.format(len(section.items)), "", "", ""])
    told: list[str] = []
    for place, item in enumerate(section.items[:MOST_ITEMS]):
        left -= _size(item)
        if left < 0:
            return [*lines, *told, "", cut.format(len(section.items) - place), ""] if told else []
        told += item
    more = len(section.items) - MOST_ITEMS
    end = ["", cut.format(more), ""] if more > 0 else [""]
    return [*lines, *told, *end] if told else []


def _size(lines: Iterable[str]) -> int:
    return sum(len(inert(line).encode()) + 1 for line in lines)
