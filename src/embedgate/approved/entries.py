"""What is approved: measurements, who approved them, and where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated

import msgspec

from embedgate.approved.sessions import ApprovedSession
from embedgate.core.files import MOST
from embedgate.core.machine import Machine, machine_id
from embedgate.core.version import __version__
from embedgate.performance.probe import Probe

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
class Ran:
    """The session that measured what was approved later, from its report.

    Attributes:
        who: Name and address from git's config there, or the name that CI gives; empty where neither is known.
        when: Date and time in UTC, ISO 8601 to the second.
        url: The run in CI; empty elsewhere.
    """

    who: str
    when: str
    url: str = ""


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
        commit: Commit of the recording repository, see `embedgate.core.git.git_commit`; empty where there is none.
        machine: What tells this very machine from others, see `embedgate.core.machine.machine_id`; empty where that was
            not kept yet.
        files: SHA-256 of the file that a combination was, by its id, hex; of those alone that embedgate did not build.
        probe: What the machine computes how fast; None where no budget of time was approved.
        ran: The session that measured, where its report was approved later; None where it approved itself.
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
    commit: str = ""
    machine: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    probe: Probe | None = None
    ran: Ran | None = None

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
        ran: Ran | None = None,
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
            ran=ran,
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
        files: SHA-256 of each file that the fingerprint is over, by its path in the model's folder, hex; empty in files
            from before it was kept.
        tensors: SHA-256 over the model's weights, however they are stored, hex; empty as `files`.
    """

    model_name: str
    model_source: str
    fingerprint: str
    entries: Mapping[Place, Entry] = field(default_factory=dict)
    approvals: tuple[Approval, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    tensors: str = ""


def is_time(text: str) -> bool:
    """Whether a text is a date and time in UTC, ISO 8601 to the second, as `utc_now` gives it."""
    try:
        datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        return False
    return True


def place_of(key: Key) -> Place:
    """Where a key's entry is in a file: a dataset that changed keeps its place, and its new measurement replaces."""
    return key.combination, key.dataset, key.metric
