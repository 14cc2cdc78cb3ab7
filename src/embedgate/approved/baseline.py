"""The baseline store: approved measurements per hardware profile and model. The only writer of measurements.

A file is `<folder>/<hardware profile>/<model>.json`, see `embedgate.approved.form`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from embedgate.approved.entries import Approval, Baseline, Change, Entry, Key, Place, Provenance, place_of
from embedgate.approved.form import read, render
from embedgate.approved.store import RECORD, Known, Store, require_same_model, short, utc_now
from embedgate.approved.transaction import Transaction
from embedgate.core.errors import BaselineError
from embedgate.core.judgement import megabytes
from embedgate.core.machine import HardwareProfile, in_ci
from embedgate.metrics import ALL_TEXTS, CORPUS
from embedgate.performance.probe import Probe


@dataclass(frozen=True)
class Approved:
    """The approved measurement that serves one check.

    Attributes:
        entry: The measurement.
        profile: Name of the hardware profile it was recorded on.
        inherited: Whether that is another profile than the session's.
        provenance: Where the measurement comes from.
        file: The file it was read from.
        probes: What the machines of the entry's sessions computed how fast, where that was kept.
    """

    entry: Entry
    profile: str
    inherited: bool
    provenance: Provenance
    file: Path
    probes: tuple[Probe, ...] = ()


@dataclass(frozen=True)
class Found:
    """The baseline that serves a session: the nearest file, and behind it those it inherits from.

    Attributes:
        file: The file it was read from.
        profile: Name of the hardware profile it was recorded on.
        inherited: Whether that is another profile than the session's.
        baseline: Its content.
        parent: Where to look for what it lacks; None for nowhere.
    """

    file: Path
    profile: str
    inherited: bool
    baseline: Baseline
    parent: Found | None = None

    def chain(self) -> Iterator[Found]:
        """This and those it inherits from, the nearest first."""
        yield self
        if self.parent:
            yield from self.parent.chain()

    def datasets(self, combination: str) -> set[str]:
        """The datasets that a combination has values of in this very file."""
        return {entry.key.dataset for entry in self.baseline.entries.values() if entry.key.combination == combination}

    def get(self, combination: str, dataset: str, dataset_sha256: str, metric: str) -> Approved | None:
        """The approved measurement of one metric, from the nearest file that has one; None where none has.

        Raises:
            BaselineError: If there is one, of the same dataset before it changed.
        """
        found = self.find(combination, dataset, metric)
        if found is not None and found.entry.key.dataset_sha256 != dataset_sha256:
            raise BaselineError(
                f"{found.file}: {dataset} changed since {metric} of {combination} was approved "
                f"(SHA-256 {short(found.entry.key.dataset_sha256)}, now {short(dataset_sha256)})",
                f"restore the dataset, or record it anew: {RECORD}",
            )
        return found

    def find(self, combination: str, dataset: str, metric: str) -> Approved | None:
        """As `get`, whatever the dataset's hash was."""
        for each in self.chain():
            if entry := each.baseline.entries.get((combination, dataset, metric)):
                approvals = each.baseline.approvals
                provenance = approvals[entry.approval - 1].provenance
                probes = [approvals[session.approval - 1].provenance.probe for session in entry.sessions]
                known = tuple(probe for probe in probes if probe is not None)
                return Approved(entry, each.profile, each.inherited, provenance, each.file, known)
        return None

    def has_other_texts(self, combination: str, dataset: str) -> bool:
        """Whether what is named is of all texts together (`ALL_TEXTS`, `CORPUS`), and only others' are approved."""
        together = next((prefix for prefix in (ALL_TEXTS, CORPUS) if dataset.startswith(prefix)), None)
        if together is None:
            return False
        names = (name for each in self.chain() for name in each.datasets(combination))
        approved = {name.partition("@")[0] for name in names if name.startswith(together)}
        return bool(approved) and dataset.partition("@")[0] not in approved

    def stale(
        self, measured: Iterable[Key], combinations: Collection[str], datasets: Collection[str]
    ) -> tuple[Entry, ...]:
        """Approved measurements that a session should have taken again, and did not.

        Args:
            measured: What the session measured.
            combinations: Ids of the combinations it ran completely; entries of others are left alone.
            datasets: Names of the datasets it ran completely; entries of others are left alone.
        """
        taken = {place_of(key) for key in measured}
        found = {
            place: entry
            for place, entry in self.baseline.entries.items()
            if place not in taken and entry.key.combination in combinations and entry.key.dataset in datasets
        }
        return tuple(found[place] for place in sorted(found))


@dataclass(frozen=True)
class BaselineStore(Store[Baseline]):
    """The approved measurements in a folder of baselines."""

    suffix = ".json"

    def read(self, file: Path) -> Baseline | None:
        """As `read` of this module."""
        return read(file)

    def render(self, content: Baseline) -> bytes:
        """As `render` of this module, in bytes."""
        return render(content).encode()

    def find(self, profile: HardwareProfile, model: Known) -> Found | None:
        """The baseline of a model on a hardware profile and those it inherits from; None where none of them has one.

        Raises:
            BaselineError: If a file cannot be trusted, or the nearest was recorded for other weights.
        """
        found: Found | None = None
        for name, file, baseline in reversed([*self.chain(profile, model)]):
            # What was recorded for other weights says nothing about these.
            parent = found if found is not None and found.baseline.fingerprint == model.fingerprint else None
            found = Found(file, name, name != profile.name, baseline, parent)
        if found is not None:
            own = found.baseline
            require_same_model(found.file, own.fingerprint, model, own.files, own.tensors)
        return found

    def update(
        self,
        profile: HardwareProfile,
        model: Known,
        measured: Iterable[Entry],
        *,
        reason: str,
        who: str,
        provenance: Provenance,
        remove: Iterable[Key] = (),
        in_ci_allowed: bool = False,
        within: Transaction | None = None,
    ) -> tuple[Change, ...]:
        """Approves measurements as the baseline of a hardware profile and model.

        Entries that were not measured stay, unless the file was recorded for other weights: then none of its entries
        means anything for these. Where nothing differs, nothing is written.

        Args:
            profile: The hardware profile they were measured on; the one written to, never one it inherits from.
            model: The model they were measured with.
            measured: The measurements; those with the combination, dataset and metric of an entry replace it.
            reason: Why, in the approving person's words.
            who: Name and address of that person, see `embedgate.core.git.git_identity`.
            provenance: Where the measurements come from.
            remove: Entries to remove, as named by `Found.stale`.
            in_ci_allowed: Whether it may write where the environment says that this is CI.
            within: The approval that this is a part of; None where it is all of it.

        Returns:
            What changed, in the file's order.

        Raises:
            BaselineError: If there is no reason, this is CI, nothing was measured, a measurement is no finite number,
                the old file cannot be trusted, another update of it is running, or it cannot be written. The old file
                is then as it was.
        """
        require_decision(reason, in_ci_allowed=in_ci_allowed)
        new = {place_of(entry.key): _rounded(entry) for entry in measured}
        if not new:
            raise BaselineError("nothing was measured that could be approved", "see why the combinations did not run")
        file = self.file(profile.name, model.name)
        with self.writing(within) as files:
            old = self.read(files.current(file)) or Baseline(model.name, model.source, model.fingerprint)
            kept = dict(old.entries) if old.fingerprint == model.fingerprint else {}
            for key in remove:
                kept.pop(place_of(key), None)
            number = len(old.approvals) + 1
            entries = dict(kept)
            for place, entry in new.items():
                if kept.get(place) != entry:
                    entries[place] = _recorded(entry, number)
            changes = changes_between(old.entries, entries)
            if changes or old.fingerprint != model.fingerprint:
                approval = Approval(number, utc_now(), who, " ".join(reason.split()), len(changes), provenance)
                approvals = (*old.approvals, approval)
                about = model.name, model.source, model.fingerprint
                files.write(file, self.render(Baseline(*about, entries, approvals, model.files, model.tensors)))
        return changes


def require_decision(reason: str, *, in_ci_allowed: bool) -> None:
    """Checks that a person decides.

    Args:
        reason: Why, in the person's words.
        in_ci_allowed: Whether it may be where the environment says that this is CI.

    Raises:
        BaselineError: If there is no reason, or this is CI.
    """
    if not reason.strip():
        raise BaselineError("a baseline is not updated without a reason", "say why")
    if not in_ci_allowed and in_ci():
        raise BaselineError(
            "baselines are not updated in CI, where nobody sees the difference",
            "record them on your own machine and commit them, or allow it: --gate-update-in-ci, --in-ci of approve",
        )


def format_changes(
    changes: Iterable[Change],
) -> list[tuple[str, str, str, float | None, float | None, float | None]]:
    """Changes as the rows of a table: combination, dataset, metric, old value, new value, difference."""
    rows = []
    for change in changes:
        old = change.old.value if change.old else None
        new = change.new.value if change.new else None
        delta = None if old is None or new is None else new - old
        rows.append((change.key.combination, change.key.dataset, change.key.metric, old, new, delta))
    return rows


def shown(metric: str, number: float | None, sign: str = "") -> str:
    """A value of a metric as a person reads it, bytes as MB; with `sign` "+", a difference."""
    if number is None:
        return ""
    if metric.startswith("memory_") or metric.endswith("_bytes"):
        return megabytes(number, f"{sign}.2f")
    return f"{number:{sign}.4f}"


def _recorded(entry: Entry, number: int) -> Entry:
    """The entry with the number of the approval that it was recorded with, and its newest session as well."""
    sessions = tuple(replace(each, approval=each.approval or number) for each in entry.sessions)
    return replace(entry, approval=number, sessions=sessions)


def _rounded(entry: Entry) -> Entry:
    value, low, high = (float(f"{number:.6g}") for number in (entry.value, entry.low, entry.high))
    if not (math.isfinite(value) and -math.inf < low <= high < math.inf):
        key = entry.key
        raise BaselineError(
            f"{key.metric} of {key.combination} on {key.dataset} is {value} [{low}, {high}]",
            "only finite numbers can be a baseline; find out why the measurement failed",
        )
    sessions = tuple(replace(each, value=float(f"{each.value:.6g}")) for each in entry.sessions)
    return replace(entry, value=value, low=low, high=high, sessions=sessions)


def changes_between(old: Mapping[Place, Entry], new: Mapping[Place, Entry]) -> tuple[Change, ...]:
    """The changes from one file's entries to another's, in the order of a file; whoever approved them."""
    places = sorted({*old, *new})
    return tuple(Change(old.get(p), new.get(p)) for p in places if old.get(p) != new.get(p))
