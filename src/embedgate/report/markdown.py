"""`report.md`: fit for a pull request's comment or a GitHub step summary."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import quote

from embedgate.core.judgement import Judgement, megabytes, printable, shorten
from embedgate.encoders import Evidence
from embedgate.report import bar, columns, stored
from embedgate.report.columns import COMBINATION, VERDICT, Table
from embedgate.report.facts import depth_line
from embedgate.report.facts import lines as fact_lines
from embedgate.report.records import ExpectedFailure
from embedgate.report.summary import CHANGE_HEADINGS, Row, Summary

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
_COMMAND = re.compile(r"\b(?:pytest (?!.*\bpytest )(?:[^`]* )?--gate-[^`]*|embedgate [a-z]+ [^`]*--[^`]*)$")


def render(summary: Summary) -> str:
    """The report as GitHub-flavoured Markdown; texts from data are escaped."""
    facts = summary.facts
    lines = [f"## embedgate: {ICON[summary.verdict]} {summary.verdict}", ""]
    if facts:
        lines += [
            f"Model {escape(facts['model']['name'])} (`{facts['model']['fingerprint'][:12]}`), hardware profile "
            f"`{facts['profile']}`, {facts['threads']} threads, {facts['texts']} texts.",
            "",
        ]
    if line := depth_line(facts):
        lines += [f"{line.capitalize()}.", ""]
    if summary.ran:
        table = columns.table(summary)
        lines += _table(table.headings, _cells(table))
        lines += [line for note in table.notes for line in (f"{note.capitalize()}.", "")]
    if found_stored := stored.table(summary):
        lines += ["### Stored vectors", "", *_table(found_stored.headings, found_stored.rows)]
        lines += [f"{stored.note(found_stored).capitalize()}.", ""]
    if summary.detectable:
        shown = "; ".join(f"{dataset} {metric} {loss:.2%}" for (dataset, metric), loss in summary.detectable.items())
        lines += [f"Smallest detectable loss: {shown}.", ""]
    if told := [*summary.remarks, *fact_lines(facts), *bar.tolerances(summary)]:
        lines += [*(f"- {escape(line)}" for line in told), ""]
    if facts.get("index"):
        lines += [f"Index: {escape(facts['index'])}", ""]
    for title, found in summary.sections:
        lines += [f"### {title}", "", *(line for judgement in found for line in _item(judgement)), ""]
    if summary.expected:
        lines += [
            "### Expected failures",
            "",
            *(line for each in summary.expected for line in _expected(each)),
            "",
        ]
    for title, told in bar.sections(summary):
        lines += [f"### {title}", "", *(f"- {escape(line)}" for line in told), ""]
    errors = [row for row in summary.rows if row.verdict == "error"]
    if errors or summary.skipped or summary.not_judged or summary.left_out:
        lines += ["### Not judged", ""]
        lines += [f"- {escape(line)}" for line in summary.not_judged]
        lines += [f"- `{row.combination}` ({row.verdict}): {escape(row.reason)}" for row in errors]
        for reason, names in summary.skipped.items():
            lines.append(f"- {', '.join(f'`{name}`' for name in names)} (skipped): {escape(reason)}")
        lines += [f"- {count} checks (skipped): {escape(reason)}" for reason, count in summary.left_out.items()]
        lines.append("")
    if summary.verified:
        lines += ["### Receipts", ""]
        for j in summary.verified:
            lines += [f"- `{j.combination}` {escape(j.message)}", *(f"  - {escape(line)}" for line in j.details)]
        lines.append("")
    if summary.stale:
        lines += ["### Better than approved", "", *(f"- {escape(line)}" for line in summary.stale), ""]
    ran = [_ran(row.combination, row.run.evidence) for row in summary.rows if row.run]
    if ran:
        titles = ("combination", "library", "device", "products with weights", "weights")
        lines += ["### What ran", "", *_table(titles, ran)]
    if summary.changes is not None:
        changes = (map(escape, change) for change in summary.changes)
        lines += ["### Baseline changes", "", *_table(CHANGE_HEADINGS, changes)]
    lines += [f"**{escape(line)}**" for line in summary.trouble]
    return "\n".join(lines).rstrip() + "\n"


def escape(text: str) -> str:
    """Text as Markdown and HTML would show it literally, on one line; a command at its end as code, to be copied."""
    line = printable(text)
    command = _COMMAND.search(line)
    shown = line[: command.start()] if command else line
    shown = shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    shown = _AT_START.sub(r"\1\\\2", _ANYWHERE.sub(r"\\\1", shown))
    return f"{shown}`{command[0]}`" if command else shown


def _ran(combination: str, evidence: Evidence) -> tuple[str, ...]:
    products = ", ".join(f"{count} {kind}" for kind, count in sorted(evidence.products.items())) or "not shown"
    size = megabytes(evidence.weight_bytes) if evidence.weight_bytes else ""
    return f"`{combination}`", escape(evidence.library), escape(evidence.device), escape(products), size


def _table(titles: Sequence[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """A table and the empty line that ends it."""
    return [_line(titles), "|" + " --- |" * len(titles), *map(_line, rows), ""]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(table: Table[Row]) -> Iterator[list[str]]:
    """Rows of the table of combinations: ids as code, verdicts with their icons."""
    for row, cells in zip(table.subjects, table.rows, strict=True):
        shown = {COMBINATION: "`{}`", VERDICT: f"{ICON[row.verdict]} {{}}"}
        yield [shown.get(column, "{}").format(cell) for column, cell in zip(table.columns, cells, strict=True)]


def _expected(failure: ExpectedFailure) -> list[str]:
    lines = [f"- `{failure.judgement.combination}`: {escape(failure.judgement.message)}", f"  - {escape(failure.why)}"]
    return [*lines, f"  - <{quote(failure.link, safe=_IN_LINKS)}>"] if failure.link else lines


def _item(judgement: Judgement) -> list[str]:
    lines = [f"- `{judgement.combination}`: {escape(judgement.message)}"]
    if judgement.diagnosis:
        lines.append(f"  - cause: **{judgement.diagnosis.layer}**: {escape(judgement.diagnosis.cause)}")
        if judgement.diagnosis.next_step:
            lines.append(f"  - next step: {escape(judgement.diagnosis.next_step)}")
    lines += [f"  - {escape(detail)}" for detail in judgement.details]
    lines += [
        f"  - {worst.reference:+.4f} → {worst.candidate:+.4f}: {escape(shorten(worst.text))}"
        for worst in judgement.worst
    ]
    return lines
