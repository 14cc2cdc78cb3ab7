"""Expected failures: known defects with a kind, a reason and a link, read from `expected_failures.toml`."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from embedgate.approved.tolerances import choose_from, read_toml
from embedgate.core.errors import GateError
from embedgate.core.judgement import Judgement, Verdict
from embedgate.core.machine import HardwareProfile

KINDS = ("known-defect", "not-supported", "under-investigation")

# Check, dataset and metric, as a judgement has them.
Subject = tuple[str, str, str]

_REQUIRED = ("combination", "dataset", "check", "kind", "reason", "link")
_OPTIONAL = ("metric", "profile")
_LINK = re.compile(r"https?://[\w.-]+\S*")


@dataclass(frozen=True)
class Expected:
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
        position: Place in the file, from 1.
    """

    combination: str
    dataset: str
    check: str
    kind: str
    reason: str
    link: str
    metric: str = "*"
    profile: str = "*"
    position: int = 0

    def __str__(self) -> str:
        return f"{self.kind}: {self.reason} ({self.link})"

    @property
    def subject(self) -> str:
        """What it is about, in a few words, for messages."""
        return f"entry {self.position} ({self.combination}, {self.dataset}, {self.check} {self.metric})"

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
    """

    path: Path
    entries: Sequence[Expected] = ()
    _met: dict[Expected, set[Verdict]] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path, *, checks: Collection[str], metrics: Collection[str]) -> Expectations:
        """Reads a file of expected failures and checks every entry; a missing file holds none.

        Raises:
            GateError: If it is no TOML, or an entry lacks a key, has an unknown one, or a value that means nothing.
        """
        if not path.exists():
            return cls(path)
        top = read_toml(path, "")
        for key in top:
            if key != "expected":
                raise GateError(f"{path}: unknown key {key}", "write each entry as [[expected]]")
        records = top.get("expected", [])
        if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
            raise GateError(f"{path}: expected must be a list of tables", "write each entry as [[expected]]")
        entries = [_entry(f"{path}: entry {position}", position, r, checks, metrics) for position, r in enumerate(records, start=1)]
        return cls(path, entries)

    def match(
        self, combination: str, dataset: str, check: str, metric: str, profile: HardwareProfile, verdict: Verdict
    ) -> Expected | None:
        """The first entry about a check, and remembers the verdict for every entry about it.

        Call it for every judgement, whatever its verdict, so that entries that no longer fail are found.

        Args:
            combination: Id of the combination.
            dataset: Name of the dataset; empty where the check is about none.
            check: Name of the check, see `embedgate.core.judgement.Check`.
            metric: Name of the metric; empty where the check is about none.
            profile: The combination's hardware profile.
            verdict: What came of it.
        """
        found = [e for e in self.entries if e.matches(combination, dataset, check, metric, profile)]
        for entry in found:
            self._met.setdefault(entry, set()).add(verdict)
        return found[0] if found else None

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
        return [str(self.complaint(entry)) for entry in dict.fromkeys(wrong)]

    def complaint(self, entry: Expected) -> GateError:
        """The error for an entry of `unmatched`, `without_effect` or `no_longer_failing`."""
        what = "no longer fails" if entry in self._met else "matches nothing"
        return GateError(f"{self.path}: {entry.subject} {what}", "remove it, or correct its globs")


def _entry(
    where: str, position: int, record: dict[str, Any], checks: Collection[str], metrics: Collection[str]
) -> Expected:
    for key, value in record.items():
        if key not in (*_REQUIRED, *_OPTIONAL):
            raise GateError(f"{where}: unknown key {key}", choose_from(key, (*_REQUIRED, *_OPTIONAL)))
        if not isinstance(value, str) or not value.strip():
            raise GateError(f"{where}: {key} must be a text, not {value!r}")
    for key in _REQUIRED:
        if key not in record:
            raise GateError(f"{where}: {key} is missing", f"every entry needs {', '.join(_REQUIRED)}")
    if record["kind"] not in KINDS:
        raise GateError(f"{where}: unknown kind {record['kind']!r}", f"choose from {', '.join(KINDS)}")
    for key, known in (("check", checks), ("metric", metrics)):
        glob = record.get(key, "*")
        if not any(fnmatchcase(name, glob) for name in known):
            raise GateError(f"{where}: {key} {glob!r} matches nothing", choose_from(glob, known))
    if not _LINK.fullmatch(record["link"]):
        raise GateError(f"{where}: {record['link']!r} is no link", "give the address of the issue that follows it")
    return Expected(**record, position=position)
