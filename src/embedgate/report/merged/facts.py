"""What the sessions of several reports ran on together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

from embedgate.approved.proposal import SECTION as APPROVABLE
from embedgate.core.depth import DEPTHS
from embedgate.core.strictness import Strictness
from embedgate.report import json_report
from embedgate.report.collector import Collector
from embedgate.report.facts import MERGED, coverage, facts_together, sorted_names
from embedgate.report.merged.part import Part
from embedgate.report.receipt import CHECKSUM, SECTION, combined
from embedgate.report.summary import KnownChecks, summarise


def joined_facts(parts: Sequence[Part], known: KnownChecks, whole: Mapping[str, int]) -> dict[str, Any]:
    """What the sessions ran on together."""
    own = json_report.content(summarise(Collector(), known)).keys()
    each = [{name: value for name, value in part.report.items() if name not in own} for part in parts]
    if len(parts) == 1:
        return each[0]
    special = {SECTION, APPROVABLE, MERGED}
    found = reduce(facts_together, ({k: v for k, v in facts.items() if k not in special} for facts in each))
    of, proposals = _asked(parts), _proposals(parts)
    measured = {_named(entry) for proposal in proposals for entry in proposal["entries"]}
    not_gated = [part.report["not_gated"] for part in parts]
    return {
        **found,
        "datasets": parts[0].report["datasets"],
        "candidates": [*{each["combination"]: each for each in found["candidates"]}.values()],
        "profiles": _profiles(parts),
        "strict": strictest(parts).value,
        "depth": min((part.report["depth"] for part in parts), key=DEPTHS.index),
        "by_night": sorted({*found["by_night"]} - {id_ for part in parts for id_ in part.ran}),
        "family": whole.get("quality", 1),
        "families": dict(whole),
        "not_gated": [name for name in not_gated[0] if all(name in names for names in not_gated)],
        "expectations": {
            subject: {**each, "met": sorted(met(subject, parts))} for subject, each in found["expectations"].items()
        },
        "stale_baseline": [name for name in found["stale_baseline"] if name not in measured],
        "checks": coverage(of),
        **({APPROVABLE: proposals} if any(APPROVABLE in part.report for part in parts) else {}),
        SECTION: _receipt([part.report[SECTION] for part in parts], of),
    }


def strictest(parts: Sequence[Part]) -> Strictness:
    """How strictly all are judged: as the strictest session was."""
    return Strictness.strictest(Strictness.of(part.report["strict"]) for part in parts)


def joined_base(bases: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The base branch's bar, of those that compared with it; that the others did not is trouble."""
    compared = [base for base in bases if base and not base["missing"]]
    if not compared:
        return dict(next(filter(None, bases), {}))
    told = [base.get("missing") or ("" if base else "it named no base") for base in bases]
    apart = [f"one of the reports was not compared with it: {why}" for why in told if why]
    differences, trouble = ([line for base in compared for line in base[name]] for name in ("differences", "trouble"))
    lines = {"differences": [*dict.fromkeys(differences)], "trouble": [*dict.fromkeys((*trouble, *apart))]}
    return {**compared[0], **lines, "counts": any(base["counts"] for base in compared)}


def _asked(parts: Sequence[Part]) -> dict[str, dict[str, Any]]:
    """What was asked of each combination, and how much there is."""
    found: dict[str, dict[str, Any]] = {}
    for part in parts:
        for id_, each in part.report["checks"]["of"].items():
            mine = found.setdefault(id_, {"whole": 0, "asked": {}, "weights": {}, "left": {}})
            mine["whole"] = max(mine["whole"], each["whole"])
            for name in ("asked", "weights", "left"):
                mine[name].update(each.get(name, {}))
    for mine in found.values():
        mine["left"] = {name: left for name, left in mine["left"].items() if name not in mine["asked"]}
    return found


def _profiles(parts: Sequence[Part]) -> dict[str, str]:
    """By id, where a combination ran; where it ran nowhere, where it might have."""
    might = {id_: name for part in parts for id_, name in part.report["profiles"].items()}
    ran = {id_: sorted_names(*(part.ran.get(id_) for part in parts)) for id_ in might}
    return {id_: ran[id_] or name for id_, name in might.items()}


def _proposals(parts: Sequence[Part]) -> list[dict[str, Any]]:
    """What can be approved; nothing is stale that another report measured on the same hardware profile."""
    found = [proposal for part in parts for proposal in part.report.get(APPROVABLE, ())]
    measured = {(each["profile"], _named(entry)) for each in found for entry in each["entries"]}
    return [
        {**each, "stale": [key for key in each["stale"] if (each["profile"], _named(key)) not in measured]}
        for each in found
    ]


def _named(entry: Mapping[str, Any]) -> str:
    return f"{entry['combination']} {entry['dataset']} {entry['metric']}"


def _receipt(sections: Sequence[Mapping[str, Any]], of: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The section that makes it a receipt, without its checksum."""
    files = {name: digest for section in sections for name, digest in section["files"].items()}
    together = {
        key: sorted_names(*(section[key] for section in sections))
        for key in ("commit", "named_profile", "markers", "keywords")
    }
    asked: dict[str, dict[str, int]] = {}
    for section in sections:
        for id_, each in section["asked"].items():
            asked[id_] = _more(asked[id_], each, len(of.get(id_, {"asked": ()})["asked"])) if id_ in asked else each
    first = {name: value for name, value in sections[0].items() if name != CHECKSUM}
    return {
        **first,
        "code_sha256": combined(files),
        "files": files,
        **together,
        "update": any(section["update"] for section in sections),
        "depth": min((section["depth"] for section in sections), key=DEPTHS.index),
        "globs": sorted({glob for section in sections for glob in section["globs"]}),
        "asked": dict(sorted(asked.items())),
    }


def _more(one: Mapping[str, int], other: Mapping[str, int], selected: int) -> dict[str, int]:
    """How much of a combination two sessions were asked for together."""
    collected = max(one["collected"], other["collected"])
    return {"collected": collected, "deselected": max(0, collected - selected)}


def met(subject: str, parts: Sequence[Part]) -> set[str]:
    """The verdicts of what an entry of expected failures is about, in all reports."""
    entries = (part.report["expectations"].get(subject, {"met": ()}) for part in parts)
    return {verdict for each in entries for verdict in each["met"]}


def made_of(part: Part) -> list[dict[str, Any]]:
    """What a report says of itself where it is one of several."""
    if MERGED in part.report:
        reports: list[dict[str, Any]] = part.report[MERGED]["reports"]
        return reports
    facts = ("created", "profile", "machine", "libraries", "threads", "depth", "seconds", "families")
    asked = part.report["checks"]["asked"]
    section = part.report[SECTION]
    own = {name: part.report[name] for name in facts}
    return [{**own, "where": part.where, "asked": asked, "commit": section["commit"], "sha256": section[CHECKSUM]}]
