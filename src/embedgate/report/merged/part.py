"""One of several reports, as the records that its session was written from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

from embedgate.core.judgement import Judgement
from embedgate.report.merged.unlike import Report
from embedgate.report.receipt import CHECKSUM, SECTION
from embedgate.report.records import Record, RunFacts

# A combination, and the name of a place of it.
Asked: TypeAlias = tuple[str, str]


@dataclass(frozen=True)
class Judged:
    """A judgement of a report.

    Attributes:
        row: Id of the combination in whose row it stands; empty where it is against an incumbent.
        judgement: The judgement.
        expected: The entry that expects the failure, as it says itself; empty where none does.
        where: Where the report was made.
        other: The judgement by the bar that does not count; None where it is the same, see `Record.other`.
        other_expected: The entry that expects that one to fail.
    """

    row: str
    judgement: Judgement
    expected: str
    where: str
    other: Judgement | None = None
    other_expected: str = ""

    @property
    def record(self) -> Record:
        """As the session recorded it."""
        return Record(
            self.row,
            judgement=self.judgement,
            expected=self.expected,
            other=self.other,
            other_expected=self.other_expected,
        )

    @property
    def by_other(self) -> Judged:
        """The finding by the bar that does not count."""
        return replace(self, judgement=self.other, expected=self.other_expected, other=None) if self.other else self

    @property
    def place(self) -> tuple[str, ...]:
        """What it is about: of all sessions, the same judgement has the same."""
        return self.row, self.judgement.combination, *self.judgement.place

    @property
    def standing(self) -> str:
        """Its verdict; `expected` where a failure was, `unjudged` where there was nothing to judge by."""
        if self.record.expected_failure:
            return "expected"
        return "unjudged" if self.judgement.unjudged else self.judgement.verdict


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

    @cached_property
    def weights(self) -> dict[Asked, int]:
        """As how many checks those count that count as several; earlier reports have no weights."""
        of = self.report["checks"]["of"]
        return {(id_, place): weight for id_, each in of.items() for place, weight in each.get("weights", {}).items()}

    @property
    def ran(self) -> dict[str, str]:
        """The hardware profiles of the combinations that ran."""
        ids = {row["combination"] for row in self.report["combinations"] if row["run"]}
        return {id_: name for id_, name in self.report["profiles"].items() if id_ in ids}

    def rows(self) -> Iterator[Record]:
        """A record per combination, of what ran."""
        for row in self.report["combinations"]:
            yield Record(row["combination"], row["reference"], run=RunFacts.from_json(row["run"]))

    def judged(self) -> Iterator[Judged]:
        """Its judgements."""
        entries = {_place_of(each): _entry(each) for each in self.report["expected_failures"]}
        others = dict(map(_other, self.report["base"].get("otherwise", ())))
        for id_, judgements in self._lists("judgements", "upgrade"):
            for plain in judgements:
                judgement = Judgement.from_json(plain)
                about = judgement.combination, *judgement.place
                yield Judged(id_, judgement, entries.get(about, ""), self.where, *others.get(about, ()))

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


def _place_of(expected: Mapping[str, str]) -> tuple[str, ...]:
    return expected["combination"], expected["check"], expected["dataset"], expected["metric"]


def _other(told: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[Judgement, str]]:
    """What a judgement was by the bar that does not count, by its combination and place."""
    judgement = Judgement.from_json(told["other"])
    return (judgement.combination, *judgement.place), (judgement, told["expected"])


def _entry(expected: Mapping[str, str]) -> str:
    """An entry of `expected_failures.toml`, as it says itself."""
    return "{kind}: {reason} ({link})".format(**expected) if expected["kind"] else expected["reason"]
