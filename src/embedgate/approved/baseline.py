"""The baseline store: approved measurements per hardware profile and model. The only writer of measurements.

A file is `<folder>/<hardware profile>/<model>.json`. It is written to be reviewed as a diff: one line per entry, in a
fixed order, numbers rounded to six significant digits. Reading trusts nothing: whatever is not exactly of the form that
docs/baselines.md describes is refused, with the file and the place in it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from embedgate import __version__
from embedgate.core.cache import default_root
from embedgate.core.errors import BaselineError
from embedgate.core.machine import HardwareProfile, Machine, in_ci
from embedgate.core.model import Model
from embedgate.metrics import ALL_TEXTS, CORPUS

SCHEMA = 1
RECORD = "pytest --gate-update --gate-reason TEXT"
LOCK_SECONDS = 10.0

_PLAIN_NAME = re.compile(r"\w[\w.-]*")

Place = tuple[str, str, str]
ENTRY_KEYS = ("combination", "dataset", "metric", "value", "interval", "n", "approval", "dataset_sha256")


@dataclass(frozen=True, order=True)
class Key:
    """What a baseline is about, besides hardware profile (the folder) and model (the file).

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
    """

    key: Key
    value: float
    low: float
    high: float
    n: int
    approval: int = field(default=0, compare=False)


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
    """

    cpu: str
    flags: tuple[str, ...]
    gpu: str | None
    os: str
    python: str
    threads: int
    batch_size: int
    libraries: Mapping[str, str]
    embedgate: str
    commit: str

    @classmethod
    def of(
        cls, machine: Machine, *, threads: int, batch_size: int, libraries: Mapping[str, str], commit: str
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

    number: int
    when: str
    who: str
    reason: str
    changed: int
    provenance: Provenance


@dataclass(frozen=True)
class Change:
    """What an update did to one entry.

    Attributes:
        old: The entry before; None where it is new.
        new: The entry after; None where it was removed.
    """

    old: Entry | None
    new: Entry | None

    @property
    def key(self) -> Key:
        """What it is about, as it is now."""
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
    """

    entry: Entry
    profile: str
    inherited: bool
    provenance: Provenance
    file: Path


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

    def get(self, combination: str, dataset: str, dataset_sha256: str, metric: str) -> Approved | None:
        """The approved measurement of one metric, from the nearest file that has one; None where none has.

        Raises:
            BaselineError: If there is one, of the same dataset before it changed.
        """
        found = self.find(combination, dataset, metric)
        if found is not None and found.entry.key.dataset_sha256 != dataset_sha256:
            raise BaselineError(
                f"{found.file}: {dataset} changed since {metric} of {combination} was approved "
                f"(SHA-256 {_short(found.entry.key.dataset_sha256)}, now {_short(dataset_sha256)})",
                f"restore the dataset, or record it anew: {RECORD}",
            )
        return found

    def find(self, combination: str, dataset: str, metric: str) -> Approved | None:
        """As `get`, whatever the dataset's hash was."""
        entry = self.baseline.entries.get((combination, dataset, metric))
        if entry is None:
            return self.parent.find(combination, dataset, metric) if self.parent else None
        provenance = self.baseline.approvals[entry.approval - 1].provenance
        return Approved(entry, self.profile, self.inherited, provenance, self.file)

    def has_other_texts(self, combination: str, dataset: str) -> bool:
        """Whether what is named is of all texts together (`ALL_TEXTS`, `CORPUS`), and only others' are approved."""
        together = next((prefix for prefix in (ALL_TEXTS, CORPUS) if dataset.startswith(prefix)), None)
        if together is None:
            return False
        own = {key.dataset for key in (e.key for e in self.baseline.entries.values()) if key.combination == combination}
        approved = {name.partition("@")[0] for name in own if name.startswith(together)}
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
class BaselineStore:
    """The baselines in a folder.

    Attributes:
        folder: The folder; made when first written to.
    """

    folder: Path

    def file(self, profile: str, model_name: str) -> Path:
        """Where the baseline of a hardware profile and model is.

        Raises:
            BaselineError: If a name could lead out of the folder.
        """
        for name in (profile, model_name):
            if not _PLAIN_NAME.fullmatch(name):
                raise BaselineError(
                    f"{name!r} cannot name a baseline", "use letters, digits, '_', '-' and '.', not '.' first"
                )
        file = self.folder / profile / f"{model_name}.json"
        if not file.resolve().is_relative_to(self.folder.resolve()):
            raise BaselineError(f"{file} leads out of {self.folder}", "replace the link by a folder or file")
        return file

    def find(self, profile: HardwareProfile, model: Model) -> Found | None:
        """The baseline of a model on a hardware profile and those it inherits from; None where none of them has one.

        Raises:
            BaselineError: If a file cannot be trusted, or the nearest was recorded for other weights.
        """
        found: Found | None = None
        for name in reversed(profile.chain):
            file = self.file(name, model.name)
            baseline = read(file)
            if baseline is not None:
                # What was recorded for other weights says nothing about these.
                parent = found if found is not None and found.baseline.fingerprint == model.fingerprint else None
                found = Found(file, name, name != profile.name, baseline, parent)
        if found is not None and found.baseline.fingerprint != model.fingerprint:
            raise BaselineError(
                f"{found.file} was recorded for another model: other weights, tokenizer or module configs "
                f"(fingerprint {_short(found.baseline.fingerprint)}, this model's is {_short(model.fingerprint)})",
                f"gate the model it was recorded for, or record this one: {RECORD}",
            )
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
            old = read(file) or Baseline(model.name, model.source, model.fingerprint)
            kept = dict(old.entries) if old.fingerprint == model.fingerprint else {}
            for key in remove:
                kept.pop(_place(key), None)
            number = len(old.approvals) + 1
            entries = dict(kept)
            for place, entry in new.items():
                if kept.get(place) != entry:
                    entries[place] = replace(entry, approval=number)
            changes = _changes(old.entries, entries)
            if changes or old.fingerprint != model.fingerprint:
                approval = Approval(number, utc_now(), who, " ".join(reason.split()), len(changes), provenance)
                approvals = (*old.approvals, approval)
                new_file = Baseline(model.name, model.source, model.fingerprint, entries, approvals)
                write_whole(file, render(new_file).encode())
        return changes


def utc_now() -> str:
    """Date and time in UTC, ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


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
        return f"{number / 1e6:{sign}.2f} MB"
    return f"{number:{sign}.4f}"


def read(file: Path) -> Baseline | None:
    """Reads a baseline file; None where there is none.

    Raises:
        BaselineError: If it cannot be read, is no JSON, was written by a newer embedgate, or is not of the documented
            form.
    """
    try:
        text = file.read_text("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise _corrupt(file, f"cannot be read: {error}") from error
    try:
        content = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        place = f"{file}:{error.lineno}:{error.colno}"
        raise _corrupt(file, f"is no JSON: {error.msg}", place) from error
    except (ValueError, RecursionError) as error:
        raise _corrupt(file, f"is corrupt: {error}") from error
    if isinstance(content, dict) and type(content.get("schema")) is int and content["schema"] > SCHEMA:
        raise BaselineError(
            f"{file} was written by a newer embedgate (schema {content['schema']}, this one reads {SCHEMA})",
            "upgrade embedgate",
        )
    try:
        return _parse(_Part(content, "", ("schema", "model", "approvals", "entries")))
    except _FormError as error:
        raise _corrupt(file, f"is corrupt: {error}") from error


def render(baseline: Baseline) -> str:
    """The text of a baseline file; equal content gives equal text."""
    head = {
        "schema": SCHEMA,
        "model": {
            "name": baseline.model_name,
            "source": baseline.model_source,
            "fingerprint": baseline.fingerprint,
        },
        "approvals": [_approval_record(approval) for approval in baseline.approvals],
    }
    start = json.dumps(head, indent=1, ensure_ascii=False).removesuffix("\n}")
    lines = (json.dumps(_entry_record(entry), ensure_ascii=False) for _, entry in sorted(baseline.entries.items()))
    entries = ",".join(f"\n  {line}" for line in lines)
    return f'{start},\n "entries": [{entries}\n ]\n}}\n'


def _approval_record(approval: Approval) -> dict[str, Any]:
    record = asdict(approval)
    provenance = record["provenance"]
    # One text, so that the flags stand on one line.
    provenance["flags"] = " ".join(approval.provenance.flags)
    provenance["libraries"] = dict(sorted(approval.provenance.libraries.items()))
    return record


def _entry_record(entry: Entry) -> dict[str, Any]:
    return {
        "combination": entry.key.combination,
        "dataset": entry.key.dataset,
        "metric": entry.key.metric,
        "value": entry.value,
        "interval": [entry.low, entry.high],
        "n": entry.n,
        "approval": entry.approval,
        "dataset_sha256": entry.key.dataset_sha256,
    }


def _parse(top: _Part) -> Baseline:
    if top.whole("schema") != SCHEMA:
        raise top.error("schema", f"must be {SCHEMA}")
    model = top.part("model", ("name", "source", "fingerprint"))
    approvals = tuple(_parse_approval(part) for part in top.parts("approvals", _names(Approval)))
    for index, approval in enumerate(approvals):
        if approval.number != index + 1:
            raise top.error(f"approvals[{index}].number", f"must be {index + 1}")
    entries: dict[Place, Entry] = {}
    for part in top.parts("entries", ENTRY_KEYS):
        entry = _parse_entry(part)
        if _place(entry.key) in entries:
            raise part.error("metric", "has an entry already, for the same combination and dataset")
        if not 1 <= entry.approval <= len(approvals):
            raise part.error("approval", f"must be the number of an approval, 1 to {len(approvals)}")
        entries[_place(entry.key)] = entry
    return Baseline(model.text("name"), model.text("source"), model.text("fingerprint"), entries, approvals)


def _parse_approval(part: _Part) -> Approval:
    source = part.part("provenance", _names(Provenance))
    provenance = Provenance(
        cpu=source.text("cpu"),
        flags=tuple(source.text("flags").split()),
        gpu=source.take("gpu", "a text or null", lambda gpu: gpu is None or isinstance(gpu, str)),
        os=source.text("os"),
        python=source.text("python"),
        threads=source.whole("threads"),
        batch_size=source.whole("batch_size"),
        libraries=source.take("libraries", "texts by name", _is_texts_by_name),
        embedgate=source.text("embedgate"),
        commit=source.text("commit"),
    )
    return Approval(
        number=part.whole("number"),
        when=part.text("when"),
        who=part.text("who"),
        reason=part.text("reason"),
        changed=part.whole("changed"),
        provenance=provenance,
    )


def _parse_entry(part: _Part) -> Entry:
    low, high = part.take("interval", "two finite numbers, the lower one first", _is_interval)
    key = Key(part.text("combination"), part.text("dataset"), part.text("metric"), part.text("dataset_sha256"))
    return Entry(key, part.number("value"), float(low), float(high), part.whole("n"), part.whole("approval"))


def _names(of: type[Approval] | type[Provenance]) -> tuple[str, ...]:
    return tuple(attribute.name for attribute in fields(of))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_interval(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value)) and value[0] <= value[1]


def _is_texts_by_name(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


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
    return replace(entry, value=value, low=low, high=high)


def _changes(old: Mapping[Place, Entry], new: Mapping[Place, Entry]) -> tuple[Change, ...]:
    places = sorted({*old, *new})
    return tuple(Change(old.get(p), new.get(p)) for p in places if old.get(p) != new.get(p))


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Keeps a second update of the same file out, so that none is lost.

    The lock lives in the user's cache folder: beside the baseline it would be one more file to ignore in git.
    """
    lock = default_root() / "locks" / f"{hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:20]}.lock"
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        held = FileLock(lock, timeout=LOCK_SECONDS).acquire()
    except Timeout as error:
        raise BaselineError(f"another update of {file} is running", "wait until it ends, then try again") from error
    except OSError as error:
        raise BaselineError(
            f"{lock} cannot be locked: {error}", "check the folder, or set EMBEDGATE_CACHE to another"
        ) from error
    with held:
        yield


def write_whole(file: Path, content: bytes) -> None:
    """Replaces a file as a whole: a crash at any moment leaves the old one or the new one.

    Raises:
        BaselineError: If it cannot be written; the old file is then as it was.
    """
    # The name is fixed, so that what a killed update leaves behind is overwritten by the next; the lock is held.
    scratch = file.with_name(f".{file.name}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with scratch.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        if file.exists():
            shutil.copymode(file, scratch)
        os.replace(scratch, file)
        if os.name == "posix":
            _sync_folder(file.parent)
    except OSError as error:
        raise BaselineError(
            f"{file} cannot be written: {error}", "check the folder, or give --gate-baselines"
        ) from error
    finally:
        with suppress(OSError):
            scratch.unlink()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _corrupt(file: Path, cause: str, place: str = "") -> BaselineError:
    return BaselineError(
        f"{place or file} {cause}", f"restore it (git checkout -- {file}), or delete it and record it anew: {RECORD}"
    )


def _short(fingerprint: str) -> str:
    return f"{fingerprint[:12]}..." if len(fingerprint) > 12 else fingerprint or "none"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} stands twice in one object")
    return found


def _refuse_constant(name: str) -> float:
    raise ValueError(f"it holds {name}, which is no number")


class _FormError(Exception):
    """Something in a file is not of the documented form; the text names the place."""


class _Part:
    """An object of a file, with exactly the keys it must have."""

    def __init__(self, value: object, place: str, keys: Collection[str]) -> None:
        if not isinstance(value, dict):
            raise _FormError(f"{place.rstrip('.') or 'the whole'} must be an object")
        for key in sorted({*keys} ^ {*value}):
            raise _FormError(f"{place}{key} is {'missing' if key in keys else 'unknown'}")
        self._value = value
        self._prefix = place

    def error(self, key: str, cause: str) -> _FormError:
        return _FormError(f"{self._prefix}{key} {cause}")

    def take(self, key: str, what: str, fits: Callable[[Any], bool]) -> Any:
        if not fits(self._value[key]):
            raise self.error(key, f"must be {what}")
        return self._value[key]

    def text(self, key: str) -> str:
        return str(self.take(key, "a text", lambda value: isinstance(value, str)))

    def whole(self, key: str) -> int:
        return int(self.take(key, "a whole number, 0 or more", lambda value: type(value) is int and value >= 0))

    def number(self, key: str) -> float:
        return float(self.take(key, "a finite number", _is_number))

    def part(self, key: str, keys: Collection[str]) -> _Part:
        return _Part(self._value[key], f"{self._prefix}{key}.", keys)

    def parts(self, key: str, keys: Collection[str]) -> list[_Part]:
        values = self.take(key, "a list", lambda value: isinstance(value, list))
        return [_Part(value, f"{self._prefix}{key}[{index}].", keys) for index, value in enumerate(values)]
