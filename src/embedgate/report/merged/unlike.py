"""Why reports cannot be joined: what they judged, and by what, must be the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from embedgate.approved.proposal import SECTION as APPROVABLE
from embedgate.report.receipt import SECTION

Report = Mapping[str, Any]


def differences(one: Report, other: Report) -> list[str]:
    """What two reports have that keeps them from being one, in a few words each; nothing where they can be joined.

    Machines, libraries and hardware profiles may differ, and with these what was approved for them.
    """
    found = [told for name, fact in _FACTS.items() if (told := _told(name, fact(one), fact(other)))]
    for others in (_other_base, _other_data, _other_files, _other_candidates):
        found += others(one, other)
    return found


def _told(name: str, one: Any, other: Any) -> str:
    return "" if one == other else f"{name} ({_shown(one)} and {_shown(other)})"


def _shown(value: Any) -> str:
    return (" ".join(value) if isinstance(value, list) else str(value or "")) or "none"


_FACTS: Mapping[str, Callable[[Report], Any]] = {
    "model": lambda report: f"{report['model']['name']} {report['model']['fingerprint'][:12]}",
    "incumbent": lambda report: (report["incumbent"] or "")[:12],
    "alpha": lambda report: report["alpha"],
    "options for stored vectors": lambda report: report[SECTION]["stored"],
}


def _other_base(one: Report, other: Report) -> Iterator[str]:
    """The commit of the base branch whose bar was compared with; not every clone holds it."""
    commits = [str(report["base"].get("commit", ""))[:12] for report in (one, other)]
    if all(commits):
        yield from filter(None, [_told("base", *commits)])


def _other_data(one: Report, other: Report) -> Iterator[str]:
    """Datasets that only one has, or that have other texts or prompts; all texts together are neighbours."""
    yield from _unequal(
        "data", *(_by(_weighted(report), "name", "sha256", "weight", "prompts") for report in (one, other))
    )


def _weighted(report: Report) -> list[Mapping[str, Any]]:
    """Datasets of a report; of an earlier one, each with the weight that all had then."""
    return [{"weight": 1, **dataset} for dataset in report["datasets"]]


def _other_files(one: Report, other: Report) -> Iterator[str]:
    """Code and human decisions; of what was approved, that for a hardware profile that both have."""
    groups = [{**report[SECTION]["files"], **_approved(report)} for report in (one, other)]
    shared = groups[0].keys() & groups[1].keys()
    yield from _unequal("code or decisions", *({name: group[name] for name in shared} for group in groups))


def _approved(report: Report) -> dict[str, Any]:
    """The approved files that proposals are about."""
    return {
        f"approved values of {each['model']['name']} for {each['profile']}": each["before"]
        for each in report.get(APPROVABLE, ())
    }


def _other_candidates(one: Report, other: Report) -> Iterator[str]:
    """What ran under one id, and was another file or server."""
    found = [_by(report["candidates"], "combination", "identity") for report in (one, other)]
    shared = found[0].keys() & found[1].keys()
    yield from _unequal("files or servers", *({name: each[name] for name in shared} for each in found))


def _by(records: Any, name: str, *keys: str) -> dict[str, Any]:
    return {record[name]: [record[key] for key in keys] for record in records}


def _unequal(what: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    if names := sorted(name for name in {*one, *other} if one.get(name) != other.get(name)):
        yield f"{what} ({', '.join(names)})"
