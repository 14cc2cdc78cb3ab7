"""Reports of several machines and shards as one, as if one session had found all that they say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from embedgate.core.errors import counted
from embedgate.core.judgement import Judgement, place_name
from embedgate.core.strictness import Strictness
from embedgate.report.collector import Collector
from embedgate.report.facts import MERGED
from embedgate.report.merged.facts import joined_base, joined_facts, made_of, met, strictest
from embedgate.report.merged.part import Asked, Judged, Part
from embedgate.report.merged.unlike import Report
from embedgate.report.records import Record
from embedgate.report.summary import KnownChecks

# From the worst on; what could not be judged says nothing where it was judged elsewhere.
_ORDER = ("fail", "inconclusive", "expected", "pass", "unjudged")
_STRICT_ORDER = ("fail", "inconclusive", "unjudged", "expected", "pass")


def in_order(reports: Iterable[Report]) -> list[Part]:
    """Reports from the first that was made on, each once."""
    parts = {part.key: part for part in map(Part, reports)}
    return [parts[key] for key in sorted(parts)]


def join(parts: Sequence[Part], known: KnownChecks) -> Collector:
    """Joins what reports found; see `docs/merge.md`.

    Args:
        parts: The reports, of which nothing differs that may not, in the order of `in_order`.
        known: The checks there are.
    """
    families = {asked: family for part in parts for asked, family in part.families.items()}
    weights = {asked: weight for part in parts for asked, weight in part.weights.items()}
    whole = Counter[str]()
    for asked, family in families.items():
        if family:
            whole[family] += weights.get(asked, 1)
    strict = strictest(parts)
    found: dict[tuple[str, ...], list[Judged]] = {}
    for part in parts:
        for finding in part.judged():
            found.setdefault(finding.place, []).append(_corrected(finding, part, whole))
    judged = [_told(_worst(each, strict), strict) for each in found.values()]
    collector = Collector(
        [record for part in parts for record in part.rows()],
        joined_facts(parts, known, whole),
        _changes(parts),
        list(dict.fromkeys(line for part in parts for line in _trouble(part))),
        list(dict.fromkeys(line for part in parts for line in _complaints(part, parts))),
        base=joined_base([part.report["base"] for part in parts]),
        strict=strict,
        others_failed=sum(part.report["others_failed"] for part in parts),
    )
    collector.records += (finding.record for finding in judged)
    collector.records += [*_skipped(parts, judged), *(each for part in parts for each in part.errors())]
    if len(parts) > 1:
        before = (line for part in parts for line in part.report.get(MERGED, {"notes": ()})["notes"])
        lines = dict.fromkeys([*before, *_lines_of_twice(found.values()), *_lines_of_families(parts, judged, whole)])
        collector.facts[MERGED] = {"reports": [one for part in parts for one in made_of(part)], "notes": [*lines]}
    return collector


def _corrected(finding: Judged, part: Part, whole: Mapping[str, int]) -> Judged:
    """A finding whose judgement is red only where it is so among the checks of all reports.

    More checks only ever make it harder to be red, so nothing becomes so by being joined.
    """
    family = part.families.get((finding.judgement.combination, place_name(finding.judgement.place)), "")
    checks = whole.get(family, 0)
    judgement, other = (_among(each, checks) if each else None for each in (finding.judgement, finding.other))
    assert judgement is not None, "a finding has a judgement"
    expected = finding.expected if judgement == finding.judgement else ""
    other_expected = finding.other_expected if other == finding.other else ""
    return replace(finding, judgement=judgement, expected=expected, other=other, other_expected=other_expected)


def _among(judgement: Judgement, checks: int) -> Judgement:
    """A judgement among so many checks of its family."""
    most = judgement.largest_family
    if most is None or checks <= most:
        return judgement
    alone = f"that is red in a family of up to {most} checks, and all reports together ask {checks}"
    message = f"{judgement.message}; {alone}: more items may settle it"
    # What is inconclusive has no diagnosis, or it would count as what could not be judged.
    return replace(judgement, verdict="inconclusive", message=message, diagnosis=None, worst=(), largest_family=None)


def _worst(found: Sequence[Judged], strict: Strictness) -> Judged:
    """The finding that counts of one check: the worst, which names what others say where that is something else."""
    order = _STRICT_ORDER if strict.is_full else _ORDER

    def badness(finding: Judged) -> tuple[int, bool]:
        return order.index(finding.standing), not strict.is_red(finding.judgement)

    worst = _with_other(min(found, key=badness), found, badness)
    if worst.standing == "pass" or len({finding.standing for finding in found}) == 1:
        return worst
    told = "; ".join(f"{finding.standing} on {finding.where}" for finding in found)
    details = (*worst.judgement.details, f"the worst of: {told}")
    return replace(worst, judgement=replace(worst.judgement, details=details))


def _told(finding: Judged, strict: Strictness) -> Judged:
    """A finding that says so where it is red by its estimate alone, for which its own session may not have asked."""
    other = strict.told(finding.other) if finding.other else None
    return replace(finding, judgement=strict.told(finding.judgement), other=other)


def _with_other(counts: Judged, found: Sequence[Judged], badness: Callable[[Judged], Any]) -> Judged:
    """A finding with the worst that all came to by the bar that does not count; see `Record.other`."""
    if all(finding.other is None for finding in found):
        return counts
    other = min((finding.by_other for finding in found), key=badness)
    if (other.judgement, other.expected) == (counts.judgement, counts.expected):
        return replace(counts, other=None, other_expected="")
    return replace(counts, other=other.judgement, other_expected=other.expected)


def _skipped(parts: Sequence[Part], judged: Iterable[Judged]) -> list[Record]:
    """What no report judged, each check once."""
    if len(parts) == 1:
        return [*parts[0].skipped()]
    known = {(finding.row, place_name(finding.judgement.place)) for finding in judged}
    found: dict[Asked, Record] = {}
    for record in (record for part in parts for record in part.skipped()):
        if (asked := (record.combination, record.place)) not in known:
            found.setdefault(asked, record)
    return [*found.values()]


def _trouble(part: Part) -> Iterator[str]:
    """A report's trouble, apart from errors of its checks."""
    of_upgrade = {*part.report["upgrade_errors"]}
    yield from (line for line in part.report["trouble"] if line not in of_upgrade)


def _complaints(part: Part, parts: Sequence[Part]) -> Iterator[str]:
    """A report's complaints, but those about entries of expected failures that met something in another report."""
    own = {subject: each["met"] for subject, each in part.report["expectations"].items()}
    idle = [subject for subject, verdicts in own.items() if verdicts in ([], ["pass"])]
    refuted = [subject for subject in idle if met(subject, parts) != {*own[subject]}]
    for line in part.report["complaints"]:
        if not any(f": {subject} " in line for subject in refuted):
            yield line


def _changes(parts: Sequence[Part]) -> list[tuple[str, ...]] | None:
    found = [part.report["baseline_changes"] for part in parts]
    if all(changes is None for changes in found):
        return None
    return [tuple(row) for changes in found for row in changes or ()]


def _lines_of_twice(found: Iterable[Sequence[Judged]]) -> Iterator[str]:
    """Which checks several reports have judged, and where."""
    several = [each for each in found if len(each) > 1]
    together = Counter((each[0].judgement.combination, *(finding.where for finding in each)) for each in several)
    for (id_, *places), count in together.items():
        was = "was" if count == 1 else "were"
        yield f"{id_}: {counted(count, 'check')} {was} judged on {' and on '.join(places)}; the worse verdict counts"


def _lines_of_families(parts: Sequence[Part], judged: Iterable[Judged], whole: Mapping[str, int]) -> Iterator[str]:
    """How many verdicts are no longer red among the checks of all reports."""
    red = {finding.place for part in parts for finding in part.judged() if finding.standing == "fail"}
    gone = sum(finding.place in red and finding.standing == "inconclusive" for finding in judged)
    if gone:
        checks = ", ".join(f"{count} {family}" for family, count in sorted(whole.items()))
        yield f"{counted(gone, 'verdict')} of single reports not red among the checks of all: {checks}"
