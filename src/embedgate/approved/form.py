"""The form of a baseline file: JSON that is written to be reviewed as a diff.

One line per entry, its value first, in a fixed order, numbers rounded to six significant digits. What approvals share,
such as the versions of libraries, stands once. Reading trusts nothing: whatever is not exactly of the form that
docs/baselines.md describes is refused, with the file and the place in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from embedgate.approved.entries import Approval, Baseline, Entry, Key, Place, Provenance, Ran, Whole, is_time, place_of
from embedgate.approved.sessions import ApprovedSession
from embedgate.approved.store import corrupt, restore
from embedgate.core.errors import BaselineError
from embedgate.core.files import parse_json, read_json, strict, to_json
from embedgate.performance.probe import Probe

SCHEMA = 3
# What differs from one approval to the next, and stands in each.
OWN = ("commit", "probe", "ran")
# What files from before it was kept do not have, and leave out where it says nothing.
LATER = ("machine", "files")

T = TypeVar("T")


def read(file: Path) -> Baseline | None:
    """Reads a baseline file; None where there is none.

    Raises:
        BaselineError: If it cannot be read, is no JSON, was written by a newer embedgate, or is not of the documented
            form.
    """
    form = read_json(file, _File, BaselineError, restore(file), newest=SCHEMA)
    return _checked(form, file) if form else None


def parse(content: bytes, file: Path) -> Baseline:
    """Reads what a baseline file was at another time.

    Args:
        content: What it was.
        file: The file, for errors.

    Raises:
        BaselineError: As `read`.
    """
    text = content.decode(errors="replace")
    return _checked(
        parse_json(text, _File, BaselineError, str(file), restore(file), SCHEMA, f"{file} was corrupt"), file
    )


def _checked(form: _File, file: Path) -> Baseline:
    if not 1 <= form.schema <= SCHEMA:
        raise corrupt(file, f"is corrupt: schema must be 1 to {SCHEMA}")
    approvals: list[Approval] = []
    for index, each in enumerate(form.approvals, start=1):
        where = f"is corrupt: approvals[{index - 1}]"
        if each.number != index:
            raise corrupt(file, f"{where}.number must be {index}")
        if not is_time(each.when):
            raise corrupt(file, f"{where}.when must be a date and time, as 2026-11-30T08:15:00Z")
        if isinstance(each.provenance, int) and not 1 <= each.provenance < index:
            raise corrupt(file, f"{where}.provenance must be the number of an approval before it")
        approvals.append(_approval(each, approvals))
    entries: dict[Place, Entry] = {}
    for index, row in enumerate(form.entries):
        entry, where = row.entry(), f"is corrupt: entries[{index}]"
        if wrong := nonsense(entry):
            raise corrupt(file, f"{where}.{wrong}")
        if place_of(entry.key) in entries:
            raise corrupt(file, f"{where}.metric has an entry already, for the same combination and dataset")
        if not 1 <= entry.approval <= len(approvals):
            raise corrupt(file, f"{where}.approval must be the number of an approval, 1 to {len(approvals)}")
        for place, session in enumerate(entry.sessions):
            if not 1 <= session.approval <= len(approvals):
                numbers = f"an approval's number, 1 to {len(approvals)}"
                raise corrupt(file, f"{where}.sessions[{place}] must begin with {numbers}")
        entries[place_of(entry.key)] = entry
    model = form.model
    return Baseline(model.name, model.source, model.fingerprint, entries, tuple(approvals), model.files, model.tensors)


def nonsense(entry: Entry) -> str:
    """What of an entry cannot be, whatever else is in its file; empty where all can."""
    if not entry.low <= entry.high:
        return "interval must have the lower end first"
    place = next((place for place, session in enumerate(entry.sessions) if not 0 < session.value < math.inf), None)
    return "" if place is None else f"sessions[{place}] must have a positive value"


def render(baseline: Baseline) -> str:
    """The text of a baseline file; equal content gives equal text."""
    model = Identified(
        baseline.model_name, baseline.model_source, baseline.fingerprint, baseline.tensors, dict(baseline.files)
    )
    head = {"schema": SCHEMA, "model": msgspec.to_builtins(model), "approvals": _approval_records(baseline.approvals)}
    start = to_json(head, indent=1, ensure_ascii=False).removesuffix("\n}")
    records = (msgspec.to_builtins(EntryForm.of(entry)) for _, entry in sorted(baseline.entries.items()))
    lines = (to_json(record, ensure_ascii=False) for record in records)
    entries = ",".join(f"\n  {line}" for line in lines)
    return f'{start},\n "entries": [{entries}\n ]\n}}\n'


def provenance_record(provenance: Provenance) -> dict[str, Any]:
    """A provenance as JSON values, without what it does not know."""
    record = asdict(provenance)
    # One text, so that the flags stand on one line.
    record["flags"] = " ".join(provenance.flags)
    record["libraries"] = dict(sorted(provenance.libraries.items()))
    return {name: value for name, value in record.items() if value or name not in (*LATER, *OWN)}


def provenance_of(form: Any, **own: Any) -> Provenance:
    """The provenance that JSON values say.

    Args:
        form: A `ProvenanceForm`.
        **own: What stands beside it, see `OWN`.
    """
    fields = msgspec.structs.asdict(form)
    fields |= {"flags": tuple(form.flags.split()), "probe": _as(Probe, form.probe), "ran": _as(Ran, form.ran)}
    return Provenance(**fields | {name: value for name, value in own.items() if value})


def _as(of: type[T], form: Any) -> T | None:
    return None if form is None else of(**msgspec.structs.asdict(form))


def _approval_records(approvals: Sequence[Approval]) -> list[dict[str, Any]]:
    """Approvals as JSON values; a provenance that an earlier one has is that one's number."""
    known: list[dict[str, Any]] = []
    records = []
    for approval in approvals:
        shared = provenance_record(approval.provenance)
        own = {name: shared.pop(name) for name in OWN if name in shared}
        known.append(shared)
        first = known.index(shared) + 1
        told = {name: getattr(approval, name) for name in ("number", "when", "who", "reason", "changed")}
        records.append({**told, **own, "provenance": shared if first == approval.number else first})
    return records


def _approval(form: Any, earlier: Sequence[Approval]) -> Approval:
    own = {"commit": form.commit, "probe": _as(Probe, form.probe), "ran": _as(Ran, form.ran)}
    if isinstance(form.provenance, int):
        provenance = replace(earlier[form.provenance - 1].provenance, **own)
    else:
        provenance = provenance_of(form.provenance, **own)
    return Approval(form.number, form.when, form.who, form.reason, form.changed, provenance)


class Identified(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A model, as far as it decides what approved values are about.

    Attributes:
        name: Its short name, which names the files of its baselines.
        source: As it was asked for.
        fingerprint: SHA-256 over what its embeddings depend on, hex.
        tensors: SHA-256 over its weights, however they are stored, hex; empty where that is not known.
        files: SHA-256 of the files that the fingerprint is over, hex, by their paths; empty where that is not known.
    """

    name: str
    source: str
    fingerprint: str
    tensors: str = ""
    files: dict[str, str] = {}


class EntryForm(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """An entry, what a reader of a diff looks for first."""

    value: float
    interval: tuple[float, float]
    n: Whole
    combination: str
    dataset: str
    metric: str
    dataset_sha256: str
    approval: Whole = 0
    sessions: tuple[tuple[Whole, float], ...] = ()

    @classmethod
    def of(cls, entry: Entry) -> EntryForm:
        """The form of an entry."""
        key = entry.key
        return cls(
            entry.value,
            (entry.low, entry.high),
            entry.n,
            key.combination,
            key.dataset,
            key.metric,
            key.dataset_sha256,
            entry.approval,
            tuple((each.approval, each.value) for each in entry.sessions),
        )

    def entry(self) -> Entry:
        """The entry."""
        key = Key(self.combination, self.dataset, self.metric, self.dataset_sha256)
        sessions = tuple(ApprovedSession(*each) for each in self.sessions)
        return Entry(key, self.value, *self.interval, self.n, self.approval, sessions)


_Probe, _Ran = strict(Probe), strict(Ran)
ProvenanceForm = strict(Provenance, flags=str, probe=_Probe | None, ran=_Ran | None)


class _Approval(msgspec.Struct, forbid_unknown_fields=True):
    number: Whole
    when: str
    who: str
    reason: str
    changed: Whole
    # In files of the schemas 1 and 2, each has its own, with the commit and the probe in it.
    provenance: ProvenanceForm | Whole  # type: ignore[valid-type]
    commit: str = ""
    probe: _Probe | None = None  # type: ignore[valid-type]
    ran: _Ran | None = None  # type: ignore[valid-type]


class _File(msgspec.Struct, forbid_unknown_fields=True):
    schema: Whole
    model: Identified
    approvals: list[_Approval]
    entries: list[EntryForm]
