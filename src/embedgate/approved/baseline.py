"""The baseline store: approved measurements per hardware profile and model. The only writer of measurements.

A file is `<folder>/<hardware profile>/<model>.json`. It is written to be reviewed as a diff: one line per entry, in a
fixed order, numbers rounded to six significant digits. Reading trusts nothing: whatever is not exactly of the form that
docs/baselines.md describes is refused, with the file and the place in it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import msgspec

from embedgate.approved.sessions import ApprovedSession
from embedgate.approved.store import RECORD, Store, corrupt, locked, require_same_model, restore, short, utc_now
from embedgate.core.errors import BaselineError
from embedgate.core.files import MOST, read_json, strict, to_json
from embedgate.core.judgement import megabytes
from embedgate.core.machine import HardwareProfile, Machine, in_ci, machine_id
from embedgate.core.model import Model
from embedgate.core.version import __version__
from embedgate.metrics import ALL_TEXTS, CORPUS
from embedgate.performance.probe import Probe

SCHEMA = 2

Whole = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
Place = tuple[str, str, str]


@dataclass(frozen=True, order=True)
class Key:
    """The subject of a baseline, besides hardware profile (the folder) and model (the file).

    Attributes:
        combination: Id of the combination.
        dataset: Name of the dataset; empty where the metric is about none.
        metric: Name of the metric.
        dataset_sha256: Hash of the dataset, hex; empty where the metric is about none.
    """

    combination: str
    dataset: str
    metric: str
    dataset_sha256: str


@dataclass(frozen=True)
class Entry:
    """One approved measurement.

    Attributes:
        key: What it is about.
        value: The metric's value.
        low: Lower end of its confidence interval.
        high: Upper end of its confidence interval.
        n: Number of items.
        approval: Number of the approval it was recorded with; 0 before it is recorded.
        sessions: Of a budget of time, what each session measured that approved it, oldest first; `value` is then their
            geometric mean, and the interval holds all of theirs.
    """

    key: Key
    value: float
    low: float
    high: float
    n: int
    approval: int = field(default=0, compare=False)
    sessions: tuple[ApprovedSession, ...] = ()


@dataclass(frozen=True)
class Provenance:
    """Where recorded measurements come from.

    Attributes:
        cpu: Name of the CPU model.
        flags: Its instruction sets of interest.
        gpu: Name of the GPU; None where none was used, empty where one was that did not tell.
        os: Name and release of the operating system.
        python: Version of Python.
        threads: Threads every backend used.
        batch_size: Texts per batch.
        libraries: Versions of the libraries that computed, by distribution; `cuda` and `nvidia-driver` on a GPU.
        embedgate: Version of embedgate.
        commit: Commit of the recording repository, see `embedgate.core.machine.git_commit`; empty where there is none.
        machine: What tells this very machine from others, see `embedgate.core.machine.machine_id`; empty where that was
            not kept yet.
        files: SHA-256 of the file that a combination was, by its id, hex; of those alone that embedgate did not build.
        probe: What the machine computes how fast; None where no budget of time was approved.
    """

    cpu: str
    flags: tuple[str, ...]
    gpu: str | None
    os: str
    python: str
    threads: Whole
    batch_size: Whole
    libraries: Mapping[str, str]
    embedgate: str
    commit: str
    machine: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    probe: Probe | None = None

    @classmethod
    def of(
        cls,
        machine: Machine,
        *,
        threads: int,
        batch_size: int,
        libraries: Mapping[str, str],
        commit: str,
        files: Mapping[str, str] | None = None,
        probe: Probe | None = None,
    ) -> Provenance:
        """The provenance of measurements taken on a machine with this embedgate."""
        return cls(
            cpu=machine.cpu,
            flags=machine.flags,
            gpu=machine.gpu,
            os=machine.os,
            python=machine.python,
            threads=threads,
            batch_size=batch_size,
            libraries=dict(libraries),
            embedgate=__version__,
            commit=commit,
            machine=machine_id(),
            files=dict(files or {}),
            probe=probe,
        )


@dataclass(frozen=True)
class Approval:
    """One update of a baseline file: a person's decision, and what it was based on.

    Attributes:
        number: Its number in the file, from 1.
        when: Date and time in UTC, ISO 8601 to the second.
        who: Name and address from git's config; empty where git knows none.
        reason: Why, in the person's words.
        changed: How many entries it added, changed or removed.
        provenance: Where the measurements come from.
    """

    number: Whole
    when: str
    who: str
    reason: str
    changed: Whole
    provenance: Provenance


@dataclass(frozen=True)
class Change:
    """An update's change of one entry.

    Attributes:
        old: The entry before; None where it is new.
        new: The entry after; None where it was removed.
    """

    old: Entry | None
    new: Entry | None

    @property
    def key(self) -> Key:
        """The key of the entry, as it is now."""
        entry = self.new or self.old
        assert entry is not None, "a change has an old or a new side"
        return entry.key


@dataclass(frozen=True)
class Baseline:
    """The content of one baseline file.

    Attributes:
        model_name: Short name of the model.
        model_source: As the model was asked for when it was last recorded.
        fingerprint: SHA-256 over the model's weights, tokenizer and module configs, hex.
        entries: The approved measurements, by combination, dataset and metric.
        approvals: The updates of this file, oldest first.
    """

    model_name: str
    model_source: str
    fingerprint: str
    entries: Mapping[Place, Entry] = field(default_factory=dict)
    approvals: tuple[Approval, ...] = ()


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
        taken = {_place(key) for key in measured}
        return tuple(
            entry
            for place, entry in sorted(self.baseline.entries.items())
            if place not in taken and entry.key.combination in combinations and entry.key.dataset in datasets
        )


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

    def find(self, profile: HardwareProfile, model: Model) -> Found | None:
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
            require_same_model(found.file, found.baseline.fingerprint, model)
        return found

    def update(
        self,
        profile: HardwareProfile,
        model: Model,
        measured: Iterable[Entry],
        *,
        reason: str,
        who: str,
        provenance: Provenance,
        remove: Iterable[Key] = (),
        in_ci_allowed: bool = False,
    ) -> tuple[Change, ...]:
        """Approves measurements as the baseline of a hardware profile and model.

        Entries that were not measured stay, unless the file was recorded for other weights: then none of its entries
        means anything for these. Where nothing differs, nothing is written.

        Args:
            profile: The hardware profile they were measured on; the one written to, never one it inherits from.
            model: The model they were measured with.
            measured: The measurements; those with the combination, dataset and metric of an entry replace it.
            reason: Why, in the approving person's words.
            who: Name and address of that person, see `embedgate.core.machine.git_identity`.
            provenance: Where the measurements come from.
            remove: Entries to remove, as named by `Found.stale`.
            in_ci_allowed: Whether it may write where the environment says that this is CI.

        Returns:
            What changed, in the file's order.

        Raises:
            BaselineError: If there is no reason, this is CI, nothing was measured, a measurement is no finite number,
                the old file cannot be trusted, another update of it is running, or it cannot be written. The old file
                is then as it was.
        """
        if not reason.strip():
            raise BaselineError("a baseline is not updated without a reason", "say why: --gate-reason TEXT")
        if not in_ci_allowed and in_ci():
            raise BaselineError(
                "baselines are not updated in CI, where nobody sees the difference",
                "record them on your own machine and commit them, or allow it: --gate-update-in-ci",
            )
        new = {_place(entry.key): _rounded(entry) for entry in measured}
        if not new:
            raise BaselineError("nothing was measured that could be approved", "see why the combinations did not run")
        file = self.file(profile.name, model.name)
        with locked(file):
            old = self.read(file) or Baseline(model.name, model.source, model.fingerprint)
            kept = dict(old.entries) if old.fingerprint == model.fingerprint else {}
            for key in remove:
                kept.pop(_place(key), None)
            number = len(old.approvals) + 1
            entries = dict(kept)
            for place, entry in new.items():
                if kept.get(place) != entry:
                    entries[place] = _recorded(entry, number)
            changes = _changes(old.entries, entries)
            if changes or old.fingerprint != model.fingerprint:
                approval = Approval(number, utc_now(), who, " ".join(reason.split()), len(changes), provenance)
                approvals = (*old.approvals, approval)
                new_file = Baseline(model.name, model.source, model.fingerprint, entries, approvals)
                self.write(file, new_file)
        return changes


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


def read(file: Path) -> Baseline | None:
    """Reads a baseline file; None where there is none.

    Raises:
        BaselineError: If it cannot be read, is no JSON, was written by a newer embedgate, or is not of the documented
            form.
    """
    form = read_json(file, _File, BaselineError, restore(file), newest=SCHEMA)
    if form is None:
        return None
    if not 1 <= form.schema <= SCHEMA:
        raise corrupt(file, f"is corrupt: schema must be 1 to {SCHEMA}")
    approvals = tuple(map(_approval, form.approvals))
    for index, approval in enumerate(approvals, start=1):
        if approval.number != index:
            raise corrupt(file, f"is corrupt: approvals[{index - 1}].number must be {index}")
    entries: dict[Place, Entry] = {}
    for index, each in enumerate(form.entries):
        entry, where = each.entry(), f"is corrupt: entries[{index}]"
        if not entry.low <= entry.high:
            raise corrupt(file, f"{where}.interval must have the lower end first")
        if _place(entry.key) in entries:
            raise corrupt(file, f"{where}.metric has an entry already, for the same combination and dataset")
        if not 1 <= entry.approval <= len(approvals):
            raise corrupt(file, f"{where}.approval must be the number of an approval, 1 to {len(approvals)}")
        for place, session in enumerate(entry.sessions):
            if not 1 <= session.approval <= len(approvals):
                numbers = f"an approval's number, 1 to {len(approvals)}"
                raise corrupt(file, f"{where}.sessions[{place}] must begin with {numbers}")
            if not 0 < session.value < math.inf:
                raise corrupt(file, f"{where}.sessions[{place}] must have a positive value")
        entries[_place(entry.key)] = entry
    return Baseline(form.model.name, form.model.source, form.model.fingerprint, entries, approvals)


def render(baseline: Baseline) -> str:
    """The text of a baseline file; equal content gives equal text."""
    head = {
        "schema": _schema(baseline),
        "model": msgspec.structs.asdict(_Model(baseline.model_name, baseline.model_source, baseline.fingerprint)),
        "approvals": [_approval_record(approval) for approval in baseline.approvals],
    }
    start = to_json(head, indent=1, ensure_ascii=False).removesuffix("\n}")
    records = (msgspec.to_builtins(_Entry.of(entry)) for _, entry in sorted(baseline.entries.items()))
    lines = (to_json(record, ensure_ascii=False) for record in records)
    entries = ",".join(f"\n  {line}" for line in lines)
    return f'{start},\n "entries": [{entries}\n ]\n}}\n'


def _approval_record(approval: Approval) -> dict[str, Any]:
    record = asdict(approval)
    provenance = record["provenance"]
    # One text, so that the flags stand on one line.
    provenance["flags"] = " ".join(approval.provenance.flags)
    provenance["libraries"] = dict(sorted(approval.provenance.libraries.items()))
    for later in ("machine", "files", "probe"):
        if not provenance[later]:
            del provenance[later]  # files from before it was kept stay as they are
    return record


def _schema(baseline: Baseline) -> int:
    """The oldest schema that holds it, so that files of portable values stay as they are."""
    probed = any(approval.provenance.probe for approval in baseline.approvals)
    return SCHEMA if probed or any(entry.sessions for entry in baseline.entries.values()) else 1


def _recorded(entry: Entry, number: int) -> Entry:
    """The entry with the number of the approval that it was recorded with, and its newest session as well."""
    sessions = tuple(replace(each, approval=each.approval or number) for each in entry.sessions)
    return replace(entry, approval=number, sessions=sessions)


def _approval(form: Any) -> Approval:
    fields = msgspec.structs.asdict(form)
    provenance = msgspec.structs.asdict(form.provenance)
    provenance["flags"] = tuple(provenance["flags"].split())
    if form.provenance.probe is not None:
        provenance["probe"] = Probe(**msgspec.structs.asdict(form.provenance.probe))
    return Approval(**{**fields, "provenance": Provenance(**provenance)})


def _place(key: Key) -> Place:
    """A dataset that changed keeps its place in the file, so its new measurement replaces the old one."""
    return key.combination, key.dataset, key.metric


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


def _changes(old: Mapping[Place, Entry], new: Mapping[Place, Entry]) -> tuple[Change, ...]:
    places = sorted({*old, *new})
    return tuple(Change(old.get(p), new.get(p)) for p in places if old.get(p) != new.get(p))


# The form of a file, see docs/baselines.md.


class _Model(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    source: str
    fingerprint: str


class _Entry(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    combination: str
    dataset: str
    metric: str
    value: float
    interval: tuple[float, float]
    n: Whole
    approval: Whole
    dataset_sha256: str
    sessions: tuple[tuple[Whole, float], ...] = ()

    @classmethod
    def of(cls, entry: Entry) -> _Entry:
        key, interval = entry.key, (entry.low, entry.high)
        return cls(
            key.combination,
            key.dataset,
            key.metric,
            entry.value,
            interval,
            entry.n,
            entry.approval,
            key.dataset_sha256,
            tuple((each.approval, each.value) for each in entry.sessions),
        )

    def entry(self) -> Entry:
        key = Key(self.combination, self.dataset, self.metric, self.dataset_sha256)
        sessions = tuple(ApprovedSession(*each) for each in self.sessions)
        return Entry(key, self.value, *self.interval, self.n, self.approval, sessions)


_Approval = strict(Approval, provenance=strict(Provenance, flags=str, probe=strict(Probe) | None))


class _File(msgspec.Struct, forbid_unknown_fields=True):
    schema: Whole
    model: _Model
    approvals: list[_Approval]  # type: ignore[valid-type]
    entries: list[_Entry]
