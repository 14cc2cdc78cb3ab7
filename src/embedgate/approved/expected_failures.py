"""Expected failures: known defects with a kind, a reason and a link, read from `expected_failures.toml`."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec

from embedgate.core.errors import GateError
from embedgate.core.files import SYNTAX, choose_from, convert, read_toml
from embedgate.core.judgement import Judgement, Verdict
from embedgate.core.machine import HardwareProfile

Kind = Literal["known-defect", "not-supported", "under-investigation"]
KINDS = get_args(Kind)

# Check, dataset and metric, as a judgement has them.
Subject = tuple[str, str, str]

Words = Annotated[str, msgspec.Meta(pattern=r"\S")]
_LINK = re.compile(r"https?://[\w.-]\S*")


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    combination: Words
    dataset: Words
    check: Words
    kind: Kind
    reason: Words
    link: Words
    metric: Words = "*"
    profile: Words = "*"
    expires: date | None = None


class Expected(_Record, frozen=True):
    """One entry: what is expected to fail, and why.

    Attributes:
        combination: Glob over combination ids.
        dataset: Glob over names of datasets.
        check: Glob over checks, for example `retention`.
        kind: One of `KINDS`.
        reason: Why it fails, in one line.
        link: Where this is followed, http or https.
        metric: Glob over metrics.
        profile: Glob over hardware profiles; a profile that inherits from a matching one matches too.
        expires: The last day on which it holds; None for no end. What is under investigation has one.
        position: Place in the file, from 1.
    """

    position: int = 0

    def __str__(self) -> str:
        return f"{self.kind}: {self.reason} ({self.link})"

    @property
    def subject(self) -> str:
        """The entry's subject, in a few words, for messages."""
        return f"entry {self.position} ({self.combination}, {self.dataset}, {self.check} {self.metric})"

    def to_json(self) -> dict[str, Any]:
        """As JSON values, as the file has them."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        del found["position"]
        return found

    def on(self, profile: HardwareProfile) -> bool:
        """Whether it is about a hardware profile."""
        return any(fnmatchcase(name, self.profile) for name in profile.chain)

    def matches(self, combination: str, dataset: str, check: str, metric: str, profile: HardwareProfile) -> bool:
        """Whether it is about one check."""
        return (
            fnmatchcase(combination, self.combination)
            and fnmatchcase(dataset, self.dataset)
            and fnmatchcase(check, self.check)
            and fnmatchcase(metric, self.metric)
            and self.on(profile)
        )


@dataclass
class Expectations:
    """The expected failures of a session; remembers what each of them met.

    Attributes:
        path: The file they were read from.
        entries: Its entries, in its order.
        today: The day, in UTC: an entry that has expired expects nothing.
    """

    path: Path
    entries: Sequence[Expected] = ()
    today: date = field(default_factory=lambda: datetime.now(UTC).date())
    _met: dict[Expected, set[Verdict]] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path, *, checks: Collection[str], metrics: Collection[str]) -> Expectations:
        """Reads a file of expected failures and checks every entry; a missing file holds none.

        Args:
            path: The TOML file.
            checks: Names of all checks there can be, whatever is installed or set.
            metrics: Names of all that their judgements can be about, likewise.

        Raises:
            GateError: If it is no TOML, or an entry lacks a key, has an unknown one, or a value that means nothing.
        """
        found = read_toml(path, _File, GateError, "write each entry as [[expected]]")
        records = enumerate(found.expected if found else (), start=1)
        return cls(path, [_entry(path, place, record, checks, metrics) for place, record in records])

    def match(
        self, combination: str, dataset: str, check: str, metric: str, profile: HardwareProfile, verdict: Verdict
    ) -> Expected | None:
        """The first entry about a check, and remembers the verdict for every entry about it.

        Call it for every judgement, whatever its verdict, so that entries that no longer fail are found.

        Args:
            combination: Id of the combination.
            dataset: Name of the dataset; empty where the check is about none.
            check: Kind of the check, as its judgements name it.
            metric: Name of the metric; empty where the check is about none.
            profile: The combination's hardware profile.
            verdict: What came of it.
        """
        found = [e for e in self.entries if e.matches(combination, dataset, check, metric, profile)]
        for entry in found:
            self._met.setdefault(entry, set()).add(verdict)
        return next((entry for entry in found if not self._has_expired(entry)), None)

    def _has_expired(self, entry: Expected) -> bool:
        return entry.expires is not None and entry.expires < self.today

    def unmatched(
        self, combinations: Collection[str], datasets: Collection[str], profiles: Mapping[str, HardwareProfile]
    ) -> list[Expected]:
        """Entries about what this session ran that were about no check of it; each is an error in the file.

        An entry about other combinations, datasets or hardware profiles than the session's is left alone.

        Args:
            combinations: Ids of the session's combinations.
            datasets: Names of its datasets.
            profiles: By the id of a combination, its hardware profile; those without one did not run.
        """
        return [
            entry
            for entry in self.entries
            if entry not in self._met
            and any(
                fnmatchcase(combination, entry.combination) and entry.on(profiles[combination])
                for combination in combinations
                if combination in profiles
            )
            and any(fnmatchcase(dataset, entry.dataset) for dataset in datasets)
        ]

    def without_effect(self, known: Collection[str]) -> list[Expected]:
        """Entries whose combination is none of those there are, whatever the session ran; each is an error."""
        return [e for e in self.entries if not any(fnmatchcase(combination, e.combination) for combination in known)]

    def no_longer_failing(self) -> list[Expected]:
        """Entries about checks that all passed; each is to be removed."""
        return [entry for entry in self.entries if self._met.get(entry) == {"pass"}]

    def expired(self) -> list[Expected]:
        """Entries that no longer hold, about checks that still fail."""
        return [entry for entry in self.entries if self._has_expired(entry) and "fail" in self._met.get(entry, ())]

    def complaints(
        self,
        judgements: Iterable[Judgement],
        *,
        known: Collection[str],
        subjects: Mapping[str, Collection[Subject]],
        datasets: Collection[str],
        all_datasets: bool,
        profiles: Mapping[str, HardwareProfile],
    ) -> list[str]:
        """Entries that match nothing or no longer fail, after a session; one line each.

        Args:
            judgements: Everything the session judged.
            known: Ids of all combinations there are.
            subjects: Everything there is to judge of each combination the session was asked for.
            datasets: Names of the session's datasets, and `""` for checks about none.
            all_datasets: Whether these are all that an entry may be about.
            profiles: By the id of a combination, its hardware profile; those without one did not run.
        """
        judged = set()
        for j in judgements:
            judged.add((j.combination, j.check, j.dataset, j.metric))
            if j.combination in profiles:
                self.match(j.combination, j.dataset, j.check, j.metric, profiles[j.combination], j.verdict)
        open_ = [(id_, *subject) for id_, found in subjects.items() for subject in found]
        open_ = [subject for subject in open_ if subject not in judged]

        def settled(entry: Expected) -> bool:
            """Whether the session judged everything the entry is about: of what it left out nothing can be said."""
            return not any(
                entry.matches(id_, dataset, check, metric, profiles[id_])
                for id_, check, dataset, metric in open_
                if id_ in profiles
            )

        wrong = self.without_effect(known)
        if all_datasets:
            wrong += [e for e in self.entries if not any(fnmatchcase(dataset, e.dataset) for dataset in datasets)]
        wrong += filter(settled, (*self.unmatched(subjects, datasets, profiles), *self.no_longer_failing()))
        wrong += self.expired()
        return [str(self.complaint(entry)) for entry in dict.fromkeys(wrong)]

    def to_json(self) -> dict[str, dict[str, Any]]:
        """By entry's subject, the `entry` as the file has it, and the verdicts that it `met` in this session."""
        return {
            entry.subject: {"entry": entry.to_json(), "met": sorted(self._met.get(entry, ()))} for entry in self.entries
        }

    def complaint(self, entry: Expected) -> GateError:
        """The error for an entry of `unmatched`, `without_effect`, `no_longer_failing` or `expired`."""
        what, step = "matches nothing", "remove it, or correct its globs"
        if self._met.get(entry) == {"pass"}:
            what = "no longer fails"
        elif entry in self._met:
            what, step = f"has expired after {entry.expires}", "mend the cause, or decide anew: give it a later day"
        return GateError(f"{self.path}: {entry.subject} {what}", step)


class _File(msgspec.Struct, forbid_unknown_fields=True):
    expected: list[dict[str, Any]] = []


def _entry(
    path: Path, position: int, record: dict[str, Any], checks: Collection[str], metrics: Collection[str]
) -> Expected:
    where = f"{path}: entry {position}"
    found = convert(record, _Record, GateError, where, otherwise=SYNTAX)
    for key, glob, known in (("check", found.check, checks), ("metric", found.metric, metrics)):
        if not any(fnmatchcase(name, glob) for name in known):
            raise GateError(f"{where}: {key} {glob!r} matches nothing", choose_from(glob, known))
    if not _LINK.fullmatch(found.link):
        raise GateError(f"{where}: {found.link!r} is no link", "give the address of the issue that follows it")
    if found.kind == "under-investigation" and found.expires is None:
        raise GateError(
            f"{where}: what is under investigation needs a last day", "set expires = 2026-12-31, for example"
        )
    return Expected(**msgspec.structs.asdict(found), position=position)
