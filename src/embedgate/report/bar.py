"""What was judged by, as reports tell it: expected failures, tolerances of a project's own, the base branch's bar."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from embedgate.core.errors import counted
from embedgate.core.judgement import Judgement
from embedgate.report.records import ExpectedFailure
from embedgate.report.summary import Summary

# Told one by one in the terminal and report.md; all of them are in report.json.
FEW = 12
SHORT = 12
_GLOBS = ("combination", "dataset", "check", "metric")


def sections(summary: Summary) -> list[tuple[str, list[str]]]:
    """What is told of what was judged by, under their titles; without those of which nothing is."""
    told = (("Entries of expected_failures.toml", expectations(summary)), ("The base branch's bar", base(summary)))
    return [(title, lines) for title, lines in told if lines]


def expectations(summary: Summary) -> list[str]:
    """Every entry of expected_failures.toml, a line each, and how much failed as it expects."""
    entries = [each["entry"] for each in summary.facts.get("expectations", {}).values()]
    return [_entry(each, sum(_expects(each, failure) for failure in summary.expected)) for each in entries]


def tolerances(summary: Summary) -> list[str]:
    """Which tolerances of the project's file are not embedgate's own; nothing where all are."""
    if folder := summary.facts.get("no_baselines"):
        return [f"{folder} is not there: embedgate's own tolerances hold, and nothing is approved"]
    found = summary.facts.get("tolerances", ())
    own = counted(len(found), "tolerance")
    return [f"{own} set otherwise than embedgate's: {'; '.join(_few(found))}"] if found else []


def base(summary: Summary) -> list[str]:
    """What differs from the base branch's bar, and the verdict by that; the first line says whether anything does."""
    found = summary.base
    if not found:
        return []
    ref, commit = found["ref"], f" ({found['commit'][:SHORT]})"
    trouble = [f"note: {line}" for line in found["trouble"]]
    if found["missing"]:
        return [f"bar: not compared with {ref}: {found['missing']}", *trouble]
    if not (found["differences"] or summary.otherwise):
        return [f"bar: nothing in {found['folder']} differs from {ref}{commit}", *trouble]
    told = _few(found["differences"])
    return [f"bar: {found['folder']} differs from {ref}{commit}:", *told, *_by_other(summary, found, ref), *trouble]


def _by_other(summary: Summary, found: Mapping[str, Any], ref: str) -> Iterator[str]:
    """The verdict by the bar that does not count, and why it is another."""
    if not found["judged"]:
        return
    verdict = summary.other_verdict or summary.verdict
    other = "this checkout's own" if found["counts"] else ref
    counts = f"{ref}'s bar counts (--gate-strict); " if found["counts"] else ""
    yield f"{counts}verdict by {other}: {verdict}" + (", too" if verdict == summary.verdict else "")
    expected = {failure.judgement for failure in summary.expected}
    apart = [
        (_standing(mine, expected=mine in expected), _standing(theirs, expected=bool(entry)), theirs)
        for mine, theirs, entry in summary.otherwise
    ]
    yield from _few([f"{j.combination}: {mine}, by {other} {theirs}: {j.message}" for mine, theirs, j in apart])


def _standing(judgement: Judgement, *, expected: bool) -> str:
    return "expected failure" if expected and judgement.verdict == "fail" else judgement.verdict


def _expects(entry: Mapping[str, Any], failure: ExpectedFailure) -> bool:
    """Whether a failure is one that an entry expects."""
    if (failure.kind, failure.reason, failure.link) != (entry["kind"], entry["reason"], entry["link"]):
        return False
    return all(fnmatchcase(getattr(failure.judgement, name), entry[name]) for name in _GLOBS)


def _entry(entry: Mapping[str, Any], failed: int) -> str:
    about = " ".join(entry[name] for name in _GLOBS)
    where = f" on {entry['profile']}" if entry["profile"] != "*" else ""
    until = f", until {entry['expires']}" if entry["expires"] else ""
    met = counted(failed, "failure") if failed else "met nothing here"
    return f"{about}{where}: {entry['kind']}: {entry['reason']}{until} ({entry['link']}); {met}"


def _few(lines: list[str]) -> list[str]:
    return [*lines[:FEW], f"and {len(lines) - FEW} more (report.json)"] if len(lines) > FEW else list(lines)
