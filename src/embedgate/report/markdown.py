"""`report.md`: fit for a pull request's comment or a GitHub step summary."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from embedgate.core.judgement import Judgement, printable, shorten
from embedgate.report.stored import note as stored_note
from embedgate.report.stored import table as stored_table
from embedgate.report.summary import CHANGE_HEADINGS, COST, LARGEST_MOVE, Summary, cells, headings

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
_COMMAND = re.compile(r"\bpytest (?!.*\bpytest )(?:[^`]* )?--gate-[^`]*$")


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
    if summary.ran:
        lines += _header(headings(summary))
        for row in summary.ran:
            verdict, *values = cells(summary, row)
            lines.append("| " + " | ".join([f"`{row.combination}`", f"{ICON[row.verdict]} {verdict}", *values]) + " |")
        lines.append("")
    if summary.headlines:
        lines += ["Per dataset: share of the reference's quality that is kept.", ""]
    if summary.shows_moves:
        lines += [f"{LARGEST_MOVE.capitalize()}.", ""]
    if summary.shows_cost:
        lines += [f"{COST.capitalize()}.", ""]
    if stored := stored_table(summary):
        titles, rows = stored
        lines += ["### Stored vectors", "", *_header(titles)]
        lines += ["| " + " | ".join(cells) + " |" for cells in rows]
        lines += ["", f"{stored_note(titles).capitalize()}.", ""]
    if summary.detectable:
        shown = "; ".join(f"{dataset} {metric} {loss:.2%}" for (dataset, metric), loss in summary.detectable.items())
        lines += [f"Smallest detectable loss: {shown}.", ""]
    if facts.get("index"):
        lines += [f"Index: {escape(facts['index'])}", ""]
    for title, found in (
        ("Failures", summary.judgements("fail")),
        ("Inconclusive", [j for j in summary.judgements("inconclusive") if not j.unjudged]),
    ):
        if found:
            lines += [f"### {title}", ""]
            lines += [line for judgement in found for line in _item(judgement)]
            lines.append("")
    errors = [row for row in summary.rows if row.verdict == "error"]
    if errors or summary.skipped or summary.unjudged or summary.left_out:
        lines += ["### Not judged", ""]
        lines += [
            f"- {len(found)} checks: {escape('; '.join(filter(None, reason)))}"
            for reason, found in summary.unjudged.items()
        ]
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
    ran = [(row.combination, row.run["evidence"]) for row in summary.rows if row.run.get("evidence")]
    if ran:
        lines += [
            "### What ran",
            "",
            *_header(("combination", "library", "device", "products with weights", "weights")),
        ]
        lines += [_ran(combination, evidence) for combination, evidence in ran]
        lines.append("")
    if summary.changes is not None:
        lines += ["### Baseline changes", "", *_header(CHANGE_HEADINGS)]
        lines += ["| " + " | ".join(map(escape, change)) + " |" for change in summary.changes]
        lines.append("")
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


def _ran(combination: str, evidence: Mapping[str, Any]) -> str:
    products = ", ".join(f"{count} {kind}" for kind, count in sorted(evidence["products"].items())) or "not shown"
    size = f"{evidence['weight_bytes'] / 1e6:.1f} MB" if evidence["weight_bytes"] else ""
    cells = (f"`{combination}`", escape(evidence["library"]), escape(evidence["device"]), escape(products), size)
    return f"| {' | '.join(cells)} |"


def _header(titles: Sequence[str]) -> list[str]:
    return ["| " + " | ".join(titles) + " |", "|" + " --- |" * len(titles)]


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
