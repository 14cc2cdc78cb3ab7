"""Reports of several machines and shards as one, as if one session had found all that they say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from typing import Any

from embedgate.approved.proposal import SECTION as APPROVABLE
from embedgate.core.depth import DEPTHS
from embedgate.core.errors import counted
from embedgate.core.judgement import Judgement, place_name
from embedgate.report.collector import Collector
from embedgate.report.facts import coverage, facts_together, sorted_names
from embedgate.report.receipt import CHECKSUM, SECTION, combined
from embedgate.report.records import Record, RunFacts
from embedgate.report.summary import KnownChecks, summarise
from embedgate.report.unlike import Report, differences

# The section of a report that says what it was joined from.
MERGED = "merged"
# A combination, and the name of a place of it.
Asked = tuple[str, str]
# From the worst on; what could not be judged says nothing where it was judged elsewhere.
_ORDER = ("fail", "inconclusive", "expected", "pass", "unjudged")
_STRICT_ORDER = ("fail", "inconclusive", "unjudged", "expected", "pass")


@dataclass(frozen=True)
class Part:
    """One of the reports.

    Attributes:
        report: What it says.
    """

    report: Report

    @property
    def key(self) -> tuple[str, str]:
        """What puts reports in their order, and tells one from another."""
        return self.report["created"], self.report[SECTION][CHECKSUM]

    @property
    def where(self) -> str:
        """Where it was made, in a few words."""
        machine = self.report["machine"]
        chips = ", ".join(filter(None, (machine["cpu"], machine["gpu"])))
        return f"{chips} ({self.report['profile']}) at {self.report['created']}"

    @cached_property
    def families(self) -> dict[Asked, str]:
        """The family of each check that was asked; empty where it has none."""
        of = self.report["checks"]["of"]
        return {(id_, place): family for id_, each in of.items() for place, family in each["asked"].items()}

    @property
    def ran(self) -> dict[str, str]:
        """The hardware profiles of the combinations that ran."""
        ids = (row["combination"] for row in self.report["combinations"] if row["run"])
        return {id_: self.report["profiles"][id_] for id_ in ids}

    def rows(self) -> Iterator[Record]:
        """A record per combination, of what ran."""
        for row in self.report["combinations"]:
            yield Record(row["combination"], row["reference"], run=RunFacts.from_json(row["run"]))

    def judged(self) -> Iterator[Record]:
        """A record per judgement."""
        entries = {_place_of(each): _entry(each) for each in self.report["expected_failures"]}
        for id_, judgements in self._lists("judgements", "upgrade"):
            for plain in judgements:
                judgement = Judgement.from_json(plain)
                expected = entries.get((judgement.combination, *judgement.place), "")
                yield Record(id_, judgement=judgement, expected=expected)

    def skipped(self) -> Iterator[Record]:
        """A record per check that was skipped."""
        for id_, skips in self._lists("skips", "upgrade_skips"):
            for reason, places in skips.items():
                yield from (Record(id_, skipped=reason, place=place) for place in places)

    def errors(self) -> Iterator[Record]:
        """A record per error of a check."""
        for id_, errors in self._lists("errors", "upgrade_errors"):
            yield from (Record(id_, error=error) for error in errors)

    def _lists(self, of_row: str, of_upgrade: str) -> Iterator[tuple[str, Any]]:
        yield from ((row["combination"], row[of_row]) for row in self.report["combinations"])
        yield "", self.report[of_upgrade]


def in_order(reports: Iterable[Report]) -> list[Part]:
    """Reports from the first that was made on, each once."""
    parts = {part.key: part for part in map(Part, reports)}
    return [parts[key] for key in sorted(parts)]


def unlike(parts: Sequence[Part]) -> list[str]:
    """Why reports cannot be joined: what differs between the first of them and another."""
    return list(dict.fromkeys(told for part in parts[1:] for told in differences(parts[0].report, part.report)))


def join(parts: Sequence[Part], known: KnownChecks) -> Collector:
    """Joins what reports found; see `docs/merge.md`.

    Args:
        parts: The reports, of which nothing differs that may not, in the order of `in_order`.
        known: The checks there are.
    """
    families = {asked: family for part in parts for asked, family in part.families.items()}
    whole = Counter(filter(None, families.values()))
    strict = any(part.report["strict"] for part in parts)
    found: dict[tuple[str, ...], list[tuple[Part, Record]]] = {}
    for part in parts:
        for record in part.judged():
            assert record.judgement is not None
            place = record.combination, record.judgement.combination, *record.judgement.place
            found.setdefault(place, []).append((part, _corrected(record, part, whole)))
    judged = [_worst(each, strict) for each in found.values()]
    collector = Collector(
        [record for part in parts for record in part.rows()],
        _facts(parts, known, whole),
        _changes(parts),
        list(dict.fromkeys(line for part in parts for line in _trouble(part, parts))),
        strict,
        sum(part.report["others_failed"] for part in parts),
    )
    collector.records += [*judged, *_skipped(parts, judged), *(each for part in parts for each in part.errors())]
    if len(parts) > 1:
        lines = [*_lines_of_twice(found.values()), *_lines_of_families(parts, judged, whole)]
        collector.facts[MERGED] = {"reports": [one for part in parts for one in _made_of(part)], "notes": lines}
    return collector


def _place_of(expected: Mapping[str, str]) -> tuple[str, ...]:
    return expected["combination"], expected["check"], expected["dataset"], expected["metric"]


def _entry(expected: Mapping[str, str]) -> str:
    """An entry of `expected_failures.toml`, as it says itself."""
    return "{kind}: {reason} ({link})".format(**expected) if expected["kind"] else expected["reason"]


def _corrected(record: Record, part: Part, whole: Mapping[str, int]) -> Record:
    """A record whose judgement is red only where it is so among the checks of all reports."""
    judgement = record.judgement
    assert judgement is not None
    family = part.families.get((judgement.combination, place_name(judgement.place)), "")
    most, checks = judgement.largest_family, whole.get(family, 0)
    if most is None or checks <= most:
        return record
    alone = f"that is red in a family of up to {most} checks, and all reports together ask {checks}"
    message = f"{judgement.message}; {alone}: more items may settle it"
    # What is inconclusive has no diagnosis, or it would count as what could not be judged.
    open_ = replace(judgement, verdict="inconclusive", message=message, diagnosis=None, worst=(), largest_family=None)
    return replace(record, judgement=open_, expected="")


def _worst(found: Sequence[tuple[Part, Record]], strict: bool) -> Record:
    """The record that counts of one check: the worst, which names what others say where that is something else."""
    order = _STRICT_ORDER if strict else _ORDER
    worst = min((record for _, record in found), key=lambda record: order.index(_standing(record)))
    judgement = worst.judgement
    assert judgement is not None
    if judgement.verdict == "pass" or len({_standing(record) for _, record in found}) == 1:
        return worst
    told = "; ".join(f"{_standing(record)} on {part.where}" for part, record in found)
    return replace(worst, judgement=replace(judgement, details=(*judgement.details, f"the worst of: {told}")))


def _standing(record: Record) -> str:
    judgement = record.judgement
    assert judgement is not None
    if record.expected_failure:
        return "expected"
    return "unjudged" if judgement.unjudged else judgement.verdict


def _skipped(parts: Sequence[Part], judged: Iterable[Record]) -> list[Record]:
    """What no report judged, each check once."""
    known = {(each.combination, place_name(each.judgement.place)) for each in judged if each.judgement}
    if len(parts) == 1:
        return [*parts[0].skipped()]
    found: dict[Asked, Record] = {}
    for record in (record for part in parts for record in part.skipped()):
        if (asked := (record.combination, record.place)) not in known:
            found.setdefault(asked, record)
    return [*found.values()]


def _trouble(part: Part, parts: Sequence[Part]) -> Iterator[str]:
    """A report's trouble, but for entries of expected failures that met something else in another report."""
    of_upgrade = {*part.report["upgrade_errors"]}
    own: Mapping[str, list[str]] = part.report.get("expectations", {})
    refuted = [subject for subject, met in own.items() if met in ([], ["pass"]) and _met(subject, parts) != {*met}]
    for line in part.report["trouble"]:
        if line not in of_upgrade and not any(f": {subject} " in line for subject in refuted):
            yield line


def _met(subject: str, parts: Sequence[Part]) -> set[str]:
    return {verdict for part in parts for verdict in part.report.get("expectations", {}).get(subject, ())}


def _changes(parts: Sequence[Part]) -> list[tuple[str, ...]] | None:
    found = [part.report["baseline_changes"] for part in parts]
    if all(changes is None for changes in found):
        return None
    return [tuple(row) for changes in found for row in changes or ()]


def _facts(parts: Sequence[Part], known: KnownChecks, whole: Mapping[str, int]) -> dict[str, Any]:
    """What the sessions ran on together."""
    own = summarise(Collector(), known).to_json().keys() | {MERGED}
    each = [{name: value for name, value in part.report.items() if name not in own} for part in parts]
    if len(parts) == 1:
        return each[0]
    special = {SECTION, APPROVABLE}
    found = reduce(facts_together, ({k: v for k, v in facts.items() if k not in special} for facts in each))
    of, proposals = _asked(parts), _proposals(parts)
    measured = {_named(entry) for proposal in proposals for entry in proposal["entries"]}
    not_gated = [part.report["not_gated"] for part in parts]
    return {
        **found,
        "datasets": parts[0].report["datasets"],
        "candidates": [*{each["combination"]: each for each in found["candidates"]}.values()],
        "profiles": _profiles(parts),
        "depth": min((part.report["depth"] for part in parts), key=DEPTHS.index),
        "by_night": sorted({*found["by_night"]} - {id_ for part in parts for id_ in part.ran}),
        "family": whole.get("quality", 1),
        "families": dict(whole),
        "not_gated": [name for name in not_gated[0] if all(name in names for names in not_gated)],
        "expectations": {subject: sorted(_met(subject, parts)) for subject in found.get("expectations", ())},
        "stale_baseline": [name for name in found["stale_baseline"] if name not in measured],
        "checks": coverage(of),
        **({APPROVABLE: proposals} if any(APPROVABLE in part.report for part in parts) else {}),
        SECTION: _receipt([part.report[SECTION] for part in parts], of),
    }


def _asked(parts: Sequence[Part]) -> dict[str, dict[str, Any]]:
    """What was asked of each combination, and how much there is."""
    found: dict[str, dict[str, Any]] = {}
    for part in parts:
        for id_, each in part.report["checks"]["of"].items():
            mine = found.setdefault(id_, {"whole": 0, "asked": {}})
            mine["whole"] = max(mine["whole"], each["whole"])
            mine["asked"].update(each["asked"])
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


def _made_of(part: Part) -> list[dict[str, Any]]:
    """What a report says of itself where it is one of several."""
    if MERGED in part.report:
        reports: list[dict[str, Any]] = part.report[MERGED]["reports"]
        return reports
    facts = ("created", "profile", "machine", "libraries", "threads", "depth", "seconds", "families")
    asked = part.report["checks"]["asked"]
    section = part.report[SECTION]
    own = {name: part.report[name] for name in facts}
    return [{**own, "where": part.where, "asked": asked, "commit": section["commit"], "sha256": section[CHECKSUM]}]


def _lines_of_twice(found: Iterable[Sequence[tuple[Part, Record]]]) -> Iterator[str]:
    """Which checks several reports have judged, and where."""
    together: Counter[tuple[str, tuple[str, ...]]] = Counter()
    for each in found:
        if len(each) > 1 and (judgement := each[0][1].judgement):
            together[judgement.combination, tuple(part.where for part, _ in each)] += 1
    for (id_, places), count in together.items():
        was = "was" if count == 1 else "were"
        yield f"{id_}: {counted(count, 'check')} {was} judged on {' and on '.join(places)}; the worse verdict counts"


def _lines_of_families(parts: Sequence[Part], judged: Iterable[Record], whole: Mapping[str, int]) -> Iterator[str]:
    """How many verdicts are no longer red among the checks of all reports."""
    red = {_at(record) for part in parts for record in part.judged() if _standing(record) == "fail"}
    gone = sum(_at(record) in red and _standing(record) == "inconclusive" for record in judged)
    if gone:
        checks = ", ".join(f"{count} {family}" for family, count in sorted(whole.items()))
        yield f"{counted(gone, 'verdict')} of single reports not red among the checks of all: {checks}"


def _at(record: Record) -> tuple[str, ...]:
    assert record.judgement is not None
    return record.combination, record.judgement.combination, *record.judgement.place
