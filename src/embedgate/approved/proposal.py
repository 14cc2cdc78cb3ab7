"""What a session measured of one hardware profile, ready to be approved: by itself, or from its report.

A report carries proposals as JSON values, so that what CI measured can be approved elsewhere without a second run.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from embedgate.approved.baseline import BaselineStore, format_changes, require_decision, shown
from embedgate.approved.conditions import Conditions, ConditionsForm, conditions_of
from embedgate.approved.entries import Change, Entry, Key, Provenance
from embedgate.approved.form import (
    EntryForm,
    Identified,
    ProvenanceForm,
    nonsense,
    provenance_of,
    provenance_record,
)
from embedgate.approved.golden import GoldenStore
from embedgate.approved.ranges import RangesStore
from embedgate.approved.store import can_name, utc_now
from embedgate.approved.tensors import TensorApproval, TensorFile, TensorStore
from embedgate.approved.transaction import Transaction, settle, transaction
from embedgate.core.distrust import distrusting
from embedgate.core.errors import BaselineError
from embedgate.core.files import portable_content
from embedgate.core.machine import profile as profile_named
from embedgate.diagnosis.golden import Golden
from embedgate.vectors.codes import Ranges

# The section of a report that holds proposals.
SECTION = "approvable"
# What is approved of a model on a hardware profile, by the end of its file's name.
SUFFIXES = (BaselineStore.suffix, GoldenStore.suffix, RangesStore.suffix)
Choice = Callable[[Key], bool]
T = TypeVar("T")


@dataclass(frozen=True)
class Proposal:
    """What was measured of a model on one hardware profile.

    Attributes:
        profile: Name of the hardware profile.
        model: The model.
        provenance: Where it was measured.
        entries: The measurements.
        stale: Entries that should have been measured again, and were not: approving removes them.
        golden: What became of the golden texts, by combination.
        golden_sha256: Hash of the golden texts, hex.
        ranges: Ranges of 8-bit codes, by combination.
        before: SHA-256 of the approved files when it was measured, hex, by the ends of their names; those that were not
            there are left out.
        whole: Whether it has all that its combinations measure.
        conditions: What the bits of golden texts depend on, by combination, where that is known.
        libraries: Versions of the libraries that computed a combination, by its id; of those left out, they are those
            of `provenance`. On a profile with CPU and GPU, they are not the same for all.
    """

    profile: str
    model: Identified
    provenance: Provenance
    entries: tuple[Entry, ...]
    stale: tuple[Key, ...] = ()
    golden: Mapping[str, Golden] = field(default_factory=dict)
    golden_sha256: str = ""
    ranges: Mapping[str, Ranges] = field(default_factory=dict)
    before: Mapping[str, str] = field(default_factory=dict)
    whole: bool = True
    conditions: Mapping[str, Conditions] = field(default_factory=dict)
    libraries: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it to approve."""
        return not (self.entries or self.golden or self.ranges)

    def only(self, chosen: Choice | None, combination: Callable[[str], bool]) -> Proposal:
        """What a person chose of it.

        Args:
            chosen: Which entries; None for all of the combinations.
            combination: Whether a combination was chosen, by its id. Golden texts and ranges are of a combination as a
                whole, and are left out where only some of its entries were chosen.
        """

        def of(key: Key) -> bool:
            return combination(key.combination) and (chosen is None or chosen(key))

        def whole(found: Mapping[str, T]) -> dict[str, T]:
            return {id_: each for id_, each in found.items() if chosen is None and combination(id_)}

        entries = tuple(entry for entry in self.entries if of(entry.key))
        stale = tuple(filter(of, self.stale))
        golden, ranges = whole(self.golden), whole(self.ranges)
        kept = self.whole and len(entries) == len(self.entries)
        return replace(self, entries=entries, stale=stale, golden=golden, ranges=ranges, whole=kept)

    def with_more(self, other: Proposal) -> Proposal:
        """With what another process of the same session measured on the same hardware profile."""
        files = {**self.provenance.files, **other.provenance.files}
        return replace(
            self,
            provenance=replace(self.provenance, files=files),
            entries=(*self.entries, *other.entries),
            stale=(*self.stale, *other.stale),
            golden={**self.golden, **other.golden},
            ranges={**self.ranges, **other.ranges},
            whole=self.whole and other.whole,
            conditions={**self.conditions, **other.conditions},
            libraries={**self.libraries, **other.libraries},
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "profile": self.profile,
            "model": msgspec.to_builtins(self.model),
            "provenance": provenance_record(self.provenance),
            "entries": [msgspec.to_builtins(EntryForm.of(entry)) for entry in self.entries],
            "stale": [asdict(key) for key in self.stale],
            "golden": _packed(GoldenStore(Path()), self.golden),
            "golden_sha256": self.golden_sha256,
            "ranges": _packed(RangesStore(Path()), self.ranges),
            "before": dict(self.before),
            "whole": self.whole,
            "conditions": {id_: asdict(each) for id_, each in self.conditions.items()},
            "libraries": {id_: dict(each) for id_, each in self.libraries.items()},
        }

    @classmethod
    def from_json(cls, value: Any, where: str) -> Proposal:
        """What a report says.

        Args:
            value: The JSON values.
            where: Where they stand, for the error.

        Raises:
            BaselineError: If they are no proposal.
        """
        step = "give a report.json as embedgate wrote it"
        with distrusting(BaselineError, f"{where} holds nothing that can be approved", step, SafetensorError):
            form = msgspec.convert(value, _Form)
            stale = tuple(Key(**key) for key in form.stale)
            golden = _unpacked(GoldenStore(Path()), form.golden)
            ranges = _unpacked(RangesStore(Path()), form.ranges)
            entries = tuple(each.entry() for each in form.entries)
            if wrong := next(filter(None, map(nonsense, entries)), ""):
                raise ValueError(wrong)
            for name in (form.profile, form.model.name):
                if not can_name(name):
                    raise ValueError(f"{name[:60]!r} cannot name a baseline")
        provenance = provenance_of(form.provenance)
        return cls(
            form.profile,
            form.model,
            provenance,
            entries,
            stale,
            golden,
            form.golden_sha256,
            ranges,
            form.before,
            form.whole,
            {id_: conditions_of(each) for id_, each in form.conditions.items()},
            form.libraries,
        )


class _Form(msgspec.Struct, forbid_unknown_fields=True):
    profile: str
    model: Identified
    provenance: ProvenanceForm  # type: ignore[valid-type]
    entries: list[EntryForm]
    stale: list[dict[str, str]]
    golden: str
    golden_sha256: str
    ranges: str
    before: dict[str, str]
    whole: bool
    conditions: dict[str, ConditionsForm] = {}  # type: ignore[valid-type]
    libraries: dict[str, dict[str, str]] = {}


def files_of(folder: Path, profile: str, model: str) -> dict[str, str]:
    """SHA-256 of what is approved of a model on a hardware profile, hex, by the ends of the files' names."""
    settle(folder)
    found = {}
    for suffix in SUFFIXES:
        file = folder / profile / f"{model}{suffix}"
        if file.is_file():
            found[suffix] = hashlib.sha256(portable_content(file)).hexdigest()
    return found


def approve(
    proposals: Sequence[Proposal], folder: Path, *, reason: str, who: str, in_ci_allowed: bool = False
) -> list[tuple[str, ...]]:
    """Approves what was measured, as the baselines of its hardware profiles.

    Args:
        proposals: What was measured.
        folder: The folder of baselines.
        reason: Why, in the approving person's words.
        who: Name and address of that person, see `embedgate.core.git.git_identity`.
        in_ci_allowed: Whether it may write where the environment says that this is CI.

    Returns:
        What changed, as rows of a table: combination, dataset, metric, old value, new value, difference.

    Raises:
        BaselineError: If it cannot be recorded; all files are then as they were.
    """
    require_decision(reason, in_ci_allowed=in_ci_allowed)
    _refuse_unfit(proposals, folder)
    rows: list[tuple[str, ...]] = []
    with transaction(folder) as files:
        for each in proposals:
            rows += _approved(each, folder, files, reason=reason, who=who, in_ci_allowed=in_ci_allowed)
    return rows


def _refuse_unfit(proposals: Sequence[Proposal], folder: Path) -> None:
    """Refuses to approve where an old file cannot be trusted, or a part of a model where another one's values stand.

    Raises:
        BaselineError: If it is so.
    """
    settle(folder)
    baselines = BaselineStore(folder)
    for each in proposals:
        file = baselines.file(each.profile, each.model.name)
        old = baselines.read(file)
        for store in (GoldenStore(folder), RangesStore(folder)):
            store.read(store.file(each.profile, each.model.name))
        if old is not None and old.fingerprint != each.model.fingerprint and not each.whole:
            cause = f"{file} was recorded for another model, of which nothing counts for this one"
            raise BaselineError(cause, "approve all that was measured, not a part of it")


def _approved(
    each: Proposal, folder: Path, files: Transaction, *, reason: str, who: str, in_ci_allowed: bool
) -> list[tuple[str, ...]]:
    """Approves a proposal as a part of an approval; what changed, as `approve` returns it.

    Raises:
        BaselineError: If it cannot be recorded.
    """
    baselines, golden, ranges = BaselineStore(folder), GoldenStore(folder), RangesStore(folder)
    profile, model = profile_named(each.profile), each.model
    old = baselines.read(files.current(baselines.file(each.profile, model.name)))
    changed = old is not None and old.fingerprint != model.fingerprint
    changes: tuple[Change, ...] = ()
    if each.entries:
        changes = baselines.update(
            profile,
            model,
            each.entries,
            reason=reason,
            who=who,
            provenance=each.provenance,
            remove=each.stale,
            in_ci_allowed=in_ci_allowed,
            within=files,
        )
    shared = TensorApproval(utc_now(), who, reason, each.provenance.libraries)
    own = {id_: replace(shared, libraries=libraries) for id_, libraries in each.libraries.items()}
    kept, taken = {}, {}
    if each.golden or changed:
        known = {id_: replace(own.get(id_, shared), conditions=each.conditions.get(id_)) for id_ in each.golden}
        kept = golden.update(profile, model, each.golden, known, each.golden_sha256, files)
    if each.ranges or changed:
        approvals = {id_: own.get(id_, shared) for id_ in each.ranges}
        taken = ranges.update(profile, model, each.ranges, approvals, within=files)
    rows = [
        (combination, dataset, metric, shown(metric, before), shown(metric, after), shown(metric, delta, "+"))
        for combination, dataset, metric, before, after, delta in format_changes(changes)
    ]
    return [*rows, *_told(kept, "golden", "tokens and embeddings"), *_told(taken, "ranges", "of 8-bit codes")]


def _told(changed: Mapping[str, str], subject: str, about: str) -> list[tuple[str, ...]]:
    return [(combination, subject, about, "", what, "") for combination, what in changed.items()]


def _packed(store: TensorStore[Any], values: Mapping[str, Any]) -> str:
    """Tensors as text; empty where there are none."""
    if not values:
        return ""
    tensors = {f"{id_}/{name}": part for id_, value in values.items() for name, part in store.pack(value).items()}
    return base64.b64encode(save({name: np.ascontiguousarray(part) for name, part in tensors.items()})).decode()


def _unpacked(store: TensorStore[Any], text: str) -> dict[str, Any]:
    """What tensors as text say, by combination.

    Raises:
        ValueError: If they are none of the store's.
    """
    if not text:
        return {}
    content = TensorFile("", "", {}, load(base64.b64decode(text, validate=True)))
    ids = dict.fromkeys(key.partition("/")[0] for key in content.tensors)
    return {id_: store.unpack(content.of(id_)) for id_ in ids}
