"""The tables of docs/faults.md: which checks see which fault."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import pages

from eyes.zoo import PROMISES, Case, Promise

# By tree (`before`, `after`), depth and case, what was found; under `sessions`, a list of sessions of what is sound.
Cells: TypeAlias = Mapping[str, Mapping[str, Any]]
Cell: TypeAlias = Mapping[str, Any]

TREES = ("before", "after")
DEPTHS = ("quick", "standard")
GOLDEN = "golden"
KINDS = ("effective", "contract", "prompt", "agreement", "retention", "ordering", "invariance")
RED, RED_LATER, UNSURE, GREEN = "R", "r", "?", "·"
CAUSE = 90


def with_tables(page: str, known: Mapping[str, Case], found: Cells) -> str:
    """The page with its tables as they are now."""
    return pages.with_tables(page, "eyes.py", tables(known, found))


def tables(known: Mapping[str, Case], found: Cells) -> dict[str, str]:
    """By its mark on the page, each table."""
    of = {"sums": sums(known, found), "missed": missed(known, found), "sessions": sessions(found)}
    harmful = [case for case in known.values() if not case.is_sound]
    for promise in PROMISES:
        of[promise] = by_check([case for case in harmful if case.promise == promise], found)
    of["sound"] = by_check([case for case in known.values() if case.is_sound], found, with_promise=True)
    return of


def cell_of(found: Cells, tree: str, depth: str, case: Case) -> Cell | None:
    """What was found of a case at a depth; None where it was not asked."""
    cell: Cell | None = found.get(tree, {}).get(depth, {}).get(case.name)
    return cell


def best(found: Cells, tree: str, case: Case) -> tuple[str, Cell] | None:
    """The greatest depth that was asked, and what was found at it."""
    for depth in reversed(DEPTHS):
        if cell := cell_of(found, tree, depth, case):
            return depth, cell
    return None


def _best(found: Cells, case: Case) -> list[Cell]:
    """What was found of a case at best, tree by tree."""
    return [known[1] for tree in TREES if (known := best(found, tree, case))]


def is_seen(cell: Cell) -> bool:
    """Whether a build would be red."""
    return bool(cell["red"] or cell["errors"])


def seen_alone(cell: Cell) -> bool:
    """Whether one check alone sees it."""
    return len(cell["red"]) + len(cell["errors"]) == 1


def sums(known: Mapping[str, Case], found: Cells) -> str:
    """How many faults are seen, by how many checks, and how much that is sound is red."""
    titles = ["tree", "depth", "promise", "faults", "red", "by one check alone", "green", "of these touch no text"]
    asked = ((tree, depth, promise) for tree in TREES for depth in DEPTHS for promise in PROMISES)
    rows = [row for where in asked for row in _sum(known, found, *where)]
    return pages.table([*titles, "sound", "red", "inconclusive"], rows)


def _sum(known: Mapping[str, Case], found: Cells, tree: str, depth: str, promise: Promise) -> Iterable[list[str]]:
    own = [case for case in known.values() if case.promise == promise]
    asked = [(case, cell) for case in own if (cell := cell_of(found, tree, depth, case))]
    harmful = [cell for case, cell in asked if not case.is_sound]
    sound = [cell for case, cell in asked if case.is_sound]
    if asked:
        yield [tree, f"`{depth}`", promise, *map(str, (*_seen(harmful), *_alarms(sound)))]


def _seen(harmful: Sequence[Cell]) -> tuple[int, ...]:
    green = [cell for cell in harmful if not is_seen(cell)]
    alone = sum(map(seen_alone, harmful))
    return len(harmful), len(harmful) - len(green), alone, len(green), sum(map(_touches_nothing, green))


def _alarms(sound: Sequence[Cell]) -> tuple[int, ...]:
    return len(sound), sum(map(is_seen, sound)), sum(bool(cell["inconclusive"]) for cell in sound)


def _touches_nothing(cell: Cell) -> bool:
    return "harm" in cell and cell["harm"]["touched"] == 0


def sessions(found: Cells) -> str:
    """What sessions of embedgate's own combinations found, all of which are sound."""
    how = ("seed", "batch_size", "threads")
    titles = [
        "tree",
        "depth",
        "tests",
        "seed",
        "batch size",
        "threads",
        "combinations",
        "judged",
        "red",
        "inconclusive",
    ]
    rows = [
        [tree, f"`{each['depth']}`", each.get("names", "all"), *(str(each[key]) for key in how), *_found_in(each)]
        for tree in TREES
        for each in found.get(tree, {}).get("sessions", ())
    ]
    return pages.table(titles, rows)


def _found_in(session: Mapping[str, Any]) -> list[str]:
    red = "; ".join((*session["red"], *session["errors"]))
    return [str(session["combinations"]), str(session["judged"]), red or "0", str(len(session["inconclusive"]))]


def missed(known: Mapping[str, Case], found: Cells) -> str:
    """The faults that are green, or red by one check alone, in one tree or the other."""
    rows = [
        [case.fault.says, case.promise, *(_verdict(best(found, tree, case)) for tree in TREES)]
        for case in known.values()
        if not case.is_sound and any(not is_seen(cell) or seen_alone(cell) for cell in _best(found, case))
    ]
    return pages.table(["", "promise", *TREES], rows)


def _verdict(known: tuple[str, Cell] | None) -> str:
    if known is None:
        return "not run"
    depth, cell = known
    if not is_seen(cell):
        unsure = f", {len(cell['inconclusive'])} inconclusive" if cell["inconclusive"] else ""
        nothing = ", touches no text" if _touches_nothing(cell) else ""
        return f"**green** at `{depth}`{unsure}{nothing}"
    seen = cell["red"] or ["error"]
    return f"one check: {seen[0]}" if seen_alone(cell) else f"{len(seen)} checks: {', '.join(_kinds(seen))}"


def _kinds(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(_kind(name) for name in names))


def _kind(name: str) -> str:
    return name.split(" ")[0]


def by_check(chosen: Sequence[Case], found: Cells, *, with_promise: bool = False) -> str:
    """Faults by kinds of checks."""
    kinds = _columns(chosen, found)
    titles = ["", *(["promise"] if with_promise else []), "texts touched", "cosine: mean, least", *kinds]
    rows = []
    for case in chosen:
        if _best(found, case):
            name = [case.fault.says, *([case.promise] if with_promise else [])]
            rows.append(
                [*name, *_harm(case, found), *(_marks(case, found, kind) for kind in kinds), *_told(case, found)]
            )
    return pages.table([*titles, "red checks", "golden", "cause"], rows)


def _columns(chosen: Sequence[Case], found: Cells) -> list[str]:
    """The kinds of checks that are red or inconclusive somewhere, after those that there always are."""
    cells = [cell for case in chosen for cell in _best(found, case)]
    met = {_kind(name) for cell in cells for name in (*cell["red"], *cell["inconclusive"])}
    return [*KINDS, *sorted(met - set(KINDS))]


def _harm(case: Case, found: Cells) -> list[str]:
    harm = next((cell["harm"] for cell in _best(found, case) if "harm" in cell), None)
    return [f"{harm['touched']:.2%}", f"{harm['mean']:.4f}, {harm['least']:.4f}"] if harm else ["", ""]


def _changed(told: Iterable[str]) -> str:
    """What is told of one tree and of the other, once where it is the same."""
    return " → ".join(dict.fromkeys(told))


def _marks(case: Case, found: Cells, kind: str) -> str:
    return _changed(_mark(case, found, tree, kind) for tree in TREES if best(found, tree, case))


def _mark(case: Case, found: Cells, tree: str, kind: str) -> str:
    cells = [(cell_of(found, tree, depth, case), sign) for depth, sign in zip(DEPTHS, (RED, RED_LATER), strict=True)]
    sign = next((sign for cell, sign in cells if cell and kind in _kinds(cell["red"])), None)
    known = best(found, tree, case)
    unsure = known is not None and kind in _kinds(known[1]["inconclusive"])
    return sign or (UNSURE if unsure else GREEN)


def _told(case: Case, found: Cells) -> list[str]:
    """How many checks are red, what golden texts say, and the cause."""
    golden = [cell for tree in TREES if (cell := cell_of(found, tree, GOLDEN, case))]
    return [_changed(map(_count, _best(found, case))), _changed(map(_of_golden, golden)), _cause(_best(found, case))]


def _count(cell: Cell) -> str:
    if cell["errors"]:
        return f"{len(cell['red'])} and an error"
    return "1 alone" if seen_alone(cell) else str(len(cell["red"]))


def _of_golden(cell: Cell) -> str:
    return RED if is_seen(cell) else GREEN


def _cause(cells: Sequence[Cell]) -> str:
    """The most frequent cause, as the latest tree says it."""
    said: str = next((cell["causes"][0] for cell in reversed(cells) if cell["causes"]), "")
    short = said if len(said) <= CAUSE else f"{said[:CAUSE]}..."
    return " ".join(short.split()).replace("|", "\\|").replace("<", "&lt;")
