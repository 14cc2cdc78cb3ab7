"""The tables of docs/causes.md: what is said of each fault, and what that is worth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

import pages

from causes.fault import FORMS, Fault, Form, Kind

Found = Mapping[str, Mapping[str, dict[str, Any]]]

SHOWN = 150
TITLES: dict[Kind, str] = {"single": "one fault", "pair": "two faults at once", "sound": "none: sound and unusual"}
OUTCOMES = ("named", "partly", "layer", "unknown", "wrong", "error")


def verdict(fault: Fault, cell: Mapping[str, Any], known: Mapping[str, Fault]) -> str:
    """What a cell is worth, see `Fault.outcome`; `error` where the encoder did not run."""
    if cell["layer"] == "error":
        return "error"
    others = [other for other in known.values() if other.kind == "single"]
    return fault.outcome(cell["layer"], cell["cause"], others)


def is_right(fault: Fault, cell: Mapping[str, Any], known: Mapping[str, Fault]) -> bool:
    """Whether a fault is named, or nothing is said against a sound encoder."""
    return verdict(fault, cell, known) == ("unknown" if fault.kind == "sound" else "named")


def evidence(cell: Mapping[str, Any]) -> str:
    """How a cause was found, in a few words; empty where nothing is said of that."""
    if cell.get("found") == "read":
        return "read"
    if cell.get("cosine") is None:
        return ""
    return f"cosine {cell['cosine']:.4f} on {cell['texts']} texts"


def with_tables(page: str, known: Mapping[str, Fault], found: Found) -> str:
    """The page with its tables as they are now, each between its two marks."""
    return pages.with_tables(page, "causes.py", tables(known, found))


def tables(known: Mapping[str, Fault], found: Found) -> dict[str, str]:
    """By its mark on the page, each table."""
    kinds: tuple[Kind, ...] = ("single", "pair", "sound")
    return {
        "totals": totals(known, found),
        **{kind: pages.table(["", *_columns()], list(_rows(kind, known, found))) for kind in kinds},
    }


def _columns() -> list[str]:
    return [title for form in FORMS for title in (f"{form}: what is said", "evidence", "CPU s")]


def _rows(kind: Kind, known: Mapping[str, Fault], found: Found) -> Iterable[list[str]]:
    for fault in known.values():
        if fault.kind == kind:
            yield [fault.says, *(part for form in FORMS for part in _cells(fault, form, known, found))]


def _cells(fault: Fault, form: Form, known: Mapping[str, Fault], found: Found) -> tuple[str, str, str]:
    if form not in fault.forms:
        return "", "", ""
    cell = found.get(form, {}).get(fault.name)
    if cell is None:
        return "not run", "", ""
    outcome = verdict(fault, cell, known)
    said = f"{cell['layer']}: {cell['cause']}"
    short = said if len(said) <= SHOWN else f"{said[:SHOWN]}..."
    marked = {
        "named": short,
        "partly": f"partly: {short}",
        "layer": f"layer alone: {short}",
        "unknown": cell["layer"],
        "error": f"error: {short}",
    }
    shown = marked.get(outcome, f"**wrong**: {short}")
    return _escaped(shown), evidence(cell) if outcome != "unknown" else "", f"{cell['cpu_seconds']:.1f}"


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def totals(known: Mapping[str, Fault], found: Found) -> str:
    """How many are named, unknown and wrong, of each kind and form."""
    rows = []
    for kind, title in TITLES.items():
        for form in FORMS:
            asked = [
                (fault, cell)
                for fault in known.values()
                if fault.kind == kind and (cell := found.get(form, {}).get(fault.name)) and form in fault.forms
            ]
            if asked:
                rows.append([title, form, *_sums(asked, known)])
    return pages.table(["", "form", "asked", *OUTCOMES, "CPU seconds, median and most"], rows)


def _sums(asked: list[tuple[Fault, dict[str, Any]]], known: Mapping[str, Fault]) -> list[str]:
    counts = Counter(verdict(fault, cell, known) for fault, cell in asked)
    seconds = [cell["cpu_seconds"] for _, cell in asked]
    return [
        str(len(asked)),
        *(str(counts[outcome]) for outcome in OUTCOMES),
        f"{median(seconds):.1f}, {max(seconds):.1f}",
    ]
