"""Facts about what a session ran on, as several of pytest-xdist's processes know them together."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from embedgate.core.depth import DEPTHS
from embedgate.core.errors import counted

# Sections of a report: which ones it was joined from; what is new beside the incumbent, what becomes of the index by
# what is told first, and approved values over time.
MERGED = "merged"
UPGRADE, INDEX, TREND = "upgrade_facts", "index", "trend"
# By what stands above it: what each name below holds is one value, of which parts of two make no third.
_WHOLE = ("combinations", "by")
# What becomes of an index, from what is to be known first on: it cannot be mixed, nobody knows, it can.
_MIXED = (False, None, True)
_BOTH = " + "
# What reports call texts that are encoded as by plain `encode`.
NO_ROLE = "without a role"
NO_LABELS = (
    "no data has labels: judged is how near embeddings and nearest texts stay to the reference's, and not how good "
    "they are"
)
_NOTHING: tuple[object, ...] = (None, "", [], {})


def names_together(names: Iterable[str | None]) -> str:
    """Names that stand for one thing, such as hardware profiles, each once."""
    return _BOTH.join(dict.fromkeys(filter(None, names)))


def coverage(of: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """How many checks were asked, and how many there are.

    Args:
        of: By combination, how many there are (`whole`); the family of each that was `asked`, by its name, empty where
            it has none; the weight of those that count as several (`weights`); and of each that was `left`, by its
            name, its kind and the depth that asks it, empty where this one does.
    """
    asked, whole = sum(len(each["asked"]) for each in of.values()), sum(each["whole"] for each in of.values())
    return {"asked": asked, "whole": whole, "of": of}


def is_partial(facts: Mapping[str, Any]) -> bool:
    """Whether there are checks of what ran that were not asked."""
    checks = facts.get("checks", {})
    return bool(checks.get("asked") != checks.get("whole"))


def depth_line(facts: dict[str, Any]) -> str:
    """How much was asked, of how much; empty where that is not known."""
    if not (checks := facts.get("checks")):
        return ""
    whole = counted(checks["whole"], "check")
    share = f"all {whole}" if not is_partial(facts) else f"partial: {checks['asked']} of {whole}"
    return f"depth: {facts['depth']}, {share}"


def not_asked(facts: dict[str, Any]) -> list[str]:
    """What there is to ask of the combinations that ran and was not asked, by what would ask it, a line each."""
    left: dict[str, Counter[str]] = {}
    for of in facts.get("checks", {}).get("of", {}).values():
        for check, depth in of.get("left", {}).values():
            left.setdefault(depth, Counter())[check] += 1
    told = []
    for depth in (*DEPTHS, ""):
        if kinds := left.get(depth):
            shown = ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))
            who = f"--gate-depth={depth} asks" if depth else "left out by -k, -m or the places that were given:"
            told.append(f"{who} {counted(kinds.total(), 'more check' if depth else 'check')}: {shown}")
    return told


def lines(facts: dict[str, Any]) -> list[str]:
    """What a person is to know of a session beside its verdicts: what it left out, its candidates, and prompts."""
    told = (_merged_lines, _night_lines, _data_lines, _candidate_lines, _prompt_lines)
    return [*(line for each in told for line in each(facts)), *facts.get("changed", ())]


def _merged_lines(facts: dict[str, Any]) -> list[str]:
    """Which reports these were, and what several of them have judged."""
    if not (merged := facts.get(MERGED)):
        return []
    reports = [f"joined: {each['where']}, {counted(each['asked'], 'check')}" for each in merged["reports"]]
    return [*reports, *merged["notes"]]


def _night_lines(facts: dict[str, Any]) -> list[str]:
    """Which combinations were left out, since the CPU emulates them."""
    if not (left := facts.get("by_night")):
        return []
    cause = "since this CPU has no instructions for their types"
    return [f"left to the night, {cause}: {', '.join(left)}; --gate-combination asks for them at any depth"]


def _data_lines(facts: dict[str, Any]) -> list[str]:
    """What is noted of the datasets, and which were left out for the model's sake."""
    told = [f"{each['name']}: {note}" for each in facts.get("datasets", ()) for note in each.get("notes", ())]
    left = facts.get("left_data", {}).items()
    kinds = {each["kind"] for each in facts.get("datasets", ())}
    told += [NO_LABELS] * (kinds == {"texts"})
    return told + [f"not judged on {name}: {why}; --gate-data={shlex.quote(name)} judges on it" for name, why in left]


def _candidate_lines(facts: dict[str, Any]) -> list[str]:
    """Where the candidates come from, and which files in the model's folder were not gated."""
    told = [
        f"{each['combination']} is {each['origin']}"
        + (f" (SHA-256 {each['identity']['sha256'][:12]})" if "sha256" in each["identity"] else "")
        + (f", {each['identity']['recorded']}" if "recorded" in each["identity"] else "")
        for each in facts.get("candidates", ())
    ]
    if left := facts.get("not_gated"):
        told.append(f"not gated, in the model's folder: {', '.join(left)}; --gate-shipped gates these files, too")
    for file, count in facts.get("recorded", {}).items():
        told.append(f"{count:,} answers are recorded: --gate-candidate={shlex.quote(str(file))} judges them later")
    return told


def _prompt_lines(facts: dict[str, Any]) -> list[str]:
    """Which prompt the texts of each dataset were encoded with; nothing of a model that has none."""
    told = []
    for dataset in facts.get("datasets", ()):
        prompts = dataset.get("prompts", {})
        if any(prompt["text"] or prompt["given"] for prompt in prompts.values()):
            shown = ", ".join(f"{role or NO_ROLE} {_shown(prompt)}" for role, prompt in prompts.items())
            told.append(f"prompts of {dataset['name']}: {shown}")
    if unused := facts.get("unused_prompt"):
        told.append(
            f"documents have no prompt: encode_document looks up 'document', and the model has {unused!r}; "
            f"--gate-prompt=document={unused} uses that"
        )
    return told


def _shown(prompt: dict[str, Any]) -> str:
    if not prompt["text"]:
        return "none (--gate-prompt)" if prompt["given"] else "none"
    return f"{prompt['text']!r} ({'--gate-prompt' if prompt['given'] else prompt['name']})"


def facts_together(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Joins what two processes ran on: each knows the GPU, the profiles and the incumbent of what it ran itself.

    The order makes no difference. Who knows something wins over who does not; hardware profiles, CPUs, GPUs and
    versions are named side by side; the session took as long as the longer of the two, and as much work as both.
    """
    if not (one and other):
        return one or other
    seconds = {name: round(one["seconds"][name] + other["seconds"][name], 2) for name in one["seconds"]}
    joined = _together(one, other)
    return {
        **joined,
        **_told_first(joined, one, other),
        "profile": sorted_names(one["profile"], other["profile"]),
        "libraries": {
            name: sorted_names(one["libraries"].get(name), other["libraries"].get(name))
            for name in dict.fromkeys((*one["libraries"], *other["libraries"]))
        },
        "machine": {
            **_together(one["machine"], other["machine"]),
            "cpu": sorted_names(one["machine"]["cpu"], other["machine"]["cpu"]),
            "gpu": sorted_names(one["machine"]["gpu"], other["machine"]["gpu"]) or None,
        },
        "seconds": {**seconds, "total": max(one["seconds"]["total"], other["seconds"]["total"])},
    }


def sorted_names(*joined: str | None) -> str:
    """Names side by side, each once, in their order; each may be several names already."""
    return names_together(sorted({name for names in joined for name in names_in(names)}))


def names_in(joined: str | None) -> list[str]:
    """The names that stand side by side."""
    return [name for name in (joined or "").split(_BOTH) if name]


def _told_first(joined: Mapping[str, Any], *parts: Mapping[str, Any]) -> dict[str, Any]:
    """What is told first of an upgrade, and what becomes of its index: of several, one that cannot be mixed."""
    upgrade = joined.get(UPGRADE) or {}
    known: Mapping[str, Any] = upgrade.get("combinations", {})
    named = sorted({part[UPGRADE]["first"] for part in parts if (part.get(UPGRADE) or {}).get("first")})
    if not (told := [name for name in named if name in known] or named):
        return {}
    first = min(told, key=lambda name: _MIXED.index(known[name]["index"]["mixed"] if name in known else None))
    advice = known[first]["index"]["advice"] if joined.get(INDEX) and first in known else None
    return {UPGRADE: {**upgrade, "first": first}, INDEX: advice}


def _together(one: Any, other: Any) -> Any:
    """Two values of one fact: their union, or the greater of two that differ."""
    if one == other or other in _NOTHING:
        return one
    if one in _NOTHING:
        return other
    if isinstance(one, dict) and isinstance(other, dict):
        return {
            name: (_wholes if name in _WHOLE else _together)(one.get(name), other.get(name))
            for name in dict.fromkeys((*one, *other))
        }
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        union = {json.dumps(value, sort_keys=True): value for value in (*one, *other)}
        return [union[key] for key in sorted(union)]
    return max(one, other, key=lambda value: (isinstance(value, str), value))


def _wholes(one: Any, other: Any) -> Any:
    """Values by their names, each from where more is known of it: figures before why there are none."""
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return _together(one, other)
    return {
        name: max((part[name] for part in (one, other) if name in part), key=_known)
        for name in dict.fromkeys((*one, *other))
    }


def _known(value: Any) -> tuple[int, str]:
    """How many facts a value holds, and what puts two that hold as many in an order."""
    plain = json.dumps(value, sort_keys=True)
    return _count(value), plain


def _count(value: Any) -> int:
    if isinstance(value, dict):
        return sum(map(_count, value.values()))
    return value not in _NOTHING
