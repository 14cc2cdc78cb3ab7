"""What was judged by, as reports tell it: exceptions, tolerances of a project's own, and the base branch's bar."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from embedgate.core.errors import counted
from embedgate.report.summary import Summary

# Told one by one in the terminal and report.md; all of them are in report.json.
FEW = 12
SHORT = 12


def exceptions(summary: Summary) -> list[str]:
    """Every entry of expected_failures.toml, a line each, and how much failed as it expects."""
    met = [(failure.kind, failure.reason, failure.link) for failure in summary.expected]
    return [
        _entry(each, met.count((each["kind"], each["reason"], each["link"])))
        for each in summary.facts.get("exceptions", ())
    ]


def tolerances(summary: Summary) -> list[str]:
    """Which tolerances of the project's file are not embedgate's own; nothing where all are."""
    found = summary.facts.get("tolerances", ())
    return (
        [f"{counted(len(found), 'tolerance')} set otherwise than embedgate's: {'; '.join(_few(found))}"]
        if found
        else []
    )


def base(summary: Summary) -> list[str]:
    """What differs from the base branch's bar, and the verdict by that; the first line says whether anything does."""
    found = summary.facts.get("base")
    if not found:
        return []
    ref, commit = found["ref"], f" ({found['commit'][:SHORT]})"
    trouble = [f"not judged by {ref}: {line}" for line in found["trouble"]]
    if found["missing"]:
        return [f"bar: not compared with {ref}: {found['missing']}", *trouble]
    if not found["differences"]:
        return [f"bar: nothing in {found['folder']} differs from {ref}{commit}", *trouble]
    told = _few(found["differences"])
    return [f"bar: {found['folder']} differs from {ref}{commit}:", *told, *_by_other(summary, found, ref), *trouble]


def _by_other(summary: Summary, found: Mapping[str, Any], ref: str) -> Iterator[str]:
    """The verdict by the bar that does not count, and why it is another."""
    verdict = summary.other_verdict or summary.verdict
    other = "this checkout's own" if found["counts"] else ref
    counts = f"{ref}'s bar counts (--gate-strict); " if found["counts"] else ""
    yield f"{counts}verdict by {other}: {verdict}" + (", too" if verdict == summary.verdict else "")
    apart = [(mine, theirs) for mine, theirs, _ in summary.otherwise if mine.verdict != theirs.verdict]
    yield from _few([f"{j.combination}: {own.verdict}, by {other} {j.verdict}: {j.message}" for own, j in apart])


def _entry(entry: Mapping[str, Any], failed: int) -> str:
    about = " ".join(entry[name] for name in ("combination", "dataset", "check", "metric"))
    where = f" on {entry['profile']}" if entry["profile"] != "*" else ""
    until = f", until {entry['expires']}" if entry["expires"] else ""
    met = counted(failed, "failure") if failed else "met nothing here"
    return f"{about}{where}: {entry['kind']}: {entry['reason']}{until} ({entry['link']}); {met}"


def _few(lines: list[str]) -> list[str]:
    return [*lines[:FEW], f"and {len(lines) - FEW} more (report.json)"] if len(lines) > FEW else list(lines)
