"""Keeps approved tensors per combination: one file per hardware profile, model and subject, beside its baseline.

`<folder>/<hardware profile>/<model>.<subject>.safetensors` holds tensors named `<combination>/<name>`. Its metadata say
which model and what content they are about, and who approved each combination when, why and with which libraries.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from embedgate.approved.conditions import Conditions, ConditionsForm, conditions_of
from embedgate.approved.entries import is_time
from embedgate.approved.store import RECORD, Known, Store, corrupt, require_same_model, restore
from embedgate.approved.transaction import Transaction
from embedgate.core.distrust import MALFORMED
from embedgate.core.errors import BaselineError, one_line
from embedgate.core.files import parse_json, strict, to_json
from embedgate.core.machine import HardwareProfile

# 2: under what conditions golden texts were approved. Files of schema 1 are read, and do not tell.
SCHEMA = 2
# One key, since safetensors writes several in any order, and equal content is to give equal bytes.
METADATA = "embedgate"
LARGEST = np.finfo(np.float32).max

Tensors = Mapping[str, npt.NDArray[Any]]
T = TypeVar("T")


@dataclass(frozen=True)
class TensorApproval:
    """Who approved a combination's tensors, and with what they were made.

    Attributes:
        when: Date and time in UTC, ISO 8601 to the second.
        who: Name and address from git's config; empty where git knows none.
        reason: Why, in the person's words.
        libraries: Versions of the libraries that computed it, by distribution.
        conditions: What their bits depend on besides; None where that is not known, or nothing is judged by it.
    """

    when: str
    who: str
    reason: str
    libraries: Mapping[str, str]
    conditions: Conditions | None = None

    def tells_as_much_as(self, other: TensorApproval) -> bool:
        """Whether it says of what the bits depend on all that the other says."""
        return other.conditions is None or (self.conditions, self.libraries) == (other.conditions, other.libraries)


@dataclass(frozen=True)
class ApprovedTensors(Generic[T]):
    """The value that was approved for one combination.

    Attributes:
        value: What its tensors say.
        approval: Who approved them, and with what they were made.
        profile: Hardware profile they were taken on.
    """

    value: T
    approval: TensorApproval
    profile: str


@dataclass(frozen=True)
class TensorFile:
    """The content of one file.

    Attributes:
        fingerprint: SHA-256 over the weights, tokenizer and module configs of the model, hex.
        about: Hash of what the tensors are about, hex; empty where they are about the model alone.
        approvals: Who approved them, by combination.
        tensors: The tensors, by combination and name.
    """

    fingerprint: str
    about: str
    approvals: Mapping[str, TensorApproval]
    tensors: Mapping[str, npt.NDArray[Any]]

    def of(self, combination: str) -> dict[str, npt.NDArray[Any]]:
        """One combination's tensors, by name."""
        prefix = f"{combination}/"
        return {key.removeprefix(prefix): part for key, part in self.tensors.items() if key.startswith(prefix)}


class TensorStore(Store[TensorFile], Generic[T]):
    """Approved tensors of one subject in a folder of baselines.

    Attributes:
        called: What they are, for messages, such as `golden texts`.
    """

    called: ClassVar[str]

    @abstractmethod
    def pack(self, value: T) -> Tensors:
        """Tensors by name, as they are kept."""

    @abstractmethod
    def unpack(self, tensors: Tensors) -> T:
        """Returns the value that tensors hold.

        Raises:
            ValueError: If they say nothing: what the combination has instead.
        """

    def find(
        self, profile: HardwareProfile, model: Known, combination: str, about: str = ""
    ) -> ApprovedTensors[T] | None:
        """Finds a combination's approved value, on a profile or the nearest it inherits from; None where there is none.

        Args:
            profile: The hardware profile.
            model: The model.
            combination: Id of the combination.
            about: Hash of what they are about, hex; empty where they are about the model alone.

        Raises:
            BaselineError: If the file cannot be trusted, or is about other weights or content.
        """
        for name, file, found in self.chain(profile, model):
            if combination not in found.approvals:
                continue
            require_same_model(file, found.fingerprint, model)
            if found.about != about:
                raise BaselineError(f"{file} was recorded for other {self.called}", f"record it anew: {RECORD}")
            if any(part.dtype.kind == "f" and not (np.abs(part) <= LARGEST).all() for part in found.tensors.values()):
                raise corrupt(file, "holds NaN or infinity, or numbers beyond float32")
            try:
                return ApprovedTensors(self.unpack(found.of(combination)), found.approvals[combination], name)
            except ValueError as error:
                raise corrupt(file, f"is corrupt: {combination} has {error}") from error
        return None

    def update(
        self,
        profile: HardwareProfile,
        model: Known,
        taken: Mapping[str, T],
        approved: Mapping[str, TensorApproval],
        about: str = "",
        within: Transaction | None = None,
    ) -> dict[str, str]:
        """Approves tensors, each combination's as a whole; those of other combinations stay.

        What is the same under the same conditions keeps its approval. Where the file is about other weights or content,
        none of it means anything for these, and all is replaced.

        Args:
            profile: The hardware profile they were taken on.
            model: The model they were taken with.
            taken: What was taken, by combination.
            approved: Who approves each, and with what it was made, by combination.
            about: Hash of what they are about, as in `find`.
            within: The approval that this is a part of; None where it is all of it.

        Returns:
            What became of the combinations whose tensors or conditions changed, sorted: `recorded` or `dropped`.

        Raises:
            BaselineError: If one is not finite, the old file cannot be trusted, or it cannot be written.
        """
        packed = {combination: self.pack(value) for combination, value in taken.items()}
        for combination, parts in packed.items():
            for name, part in parts.items():
                if not np.isfinite(part).all():
                    cause = f"the {self.called}' {name} of {combination} are not finite"
                    raise BaselineError(cause, "find out why first")
        file = self.file(profile.name, model.name)
        with self.writing(within) as files:
            old, changed = self.read(files.current(file)), {}
            if old is not None and (old.fingerprint != model.fingerprint or old.about != about):
                changed = dict.fromkeys(old.approvals, "dropped")
                old = None
            content = old or TensorFile(model.fingerprint, about, {}, {})
            tensors, approvals = dict(content.tensors), dict(content.approvals)
            for combination, new in packed.items():
                before, own = content.of(combination), approved[combination]
                same = before.keys() == new.keys() and all(np.array_equal(before[key], new[key]) for key in new)
                known = approvals.get(combination)
                if same and known is not None and known.tells_as_much_as(own):
                    continue
                tensors = {key: part for key, part in tensors.items() if not key.startswith(f"{combination}/")}
                tensors |= {f"{combination}/{name}": part for name, part in new.items()}
                approvals[combination] = own
                changed[combination] = "recorded"
            if changed:
                files.write(file, self.render(TensorFile(model.fingerprint, about, approvals, tensors)))
        return dict(sorted(changed.items()))

    def read(self, file: Path) -> TensorFile | None:
        """A file's content; None where there is none.

        Raises:
            BaselineError: If it cannot be trusted.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(file, framework="numpy") as content:
                metadata = (content.metadata() or {}).get(METADATA, "")
                tensors = {key: content.get_tensor(key) for key in content.keys()}  # noqa: SIM118 - no mapping
        except FileNotFoundError:
            return None
        # Most of these come of a type or a size that NumPy does not know.
        except (SafetensorError, OSError, *MALFORMED) as error:
            raise corrupt(file, f"is corrupt: {one_line(error)}") from error
        if not metadata:
            raise corrupt(file, f"is corrupt: it has no metadata {METADATA!r}")
        whole = f"{file} is corrupt: metadata"
        head = parse_json(metadata, _Head, BaselineError, str(file), restore(file), SCHEMA, whole)
        if not 1 <= head.schema <= SCHEMA:
            raise corrupt(file, f"is corrupt: schema must be 1 to {SCHEMA}")
        approved: dict[str, Any] = head.approvals
        if wrong := [name for name, each in approved.items() if not is_time(each.when)]:
            told = f"is corrupt: metadata: approvals.{wrong[0]}.when"
            raise corrupt(file, f"{told} must be a date and time, as 2026-11-30T08:15:00Z")
        approvals = {name: _approval(each) for name, each in approved.items()}
        return TensorFile(head.fingerprint, head.texts_sha256, approvals, tensors)

    def render(self, content: TensorFile) -> bytes:
        """A file's bytes; equal content gives equal bytes."""
        from safetensors.numpy import save

        head = {
            "schema": SCHEMA,
            "fingerprint": content.fingerprint,
            "texts_sha256": content.about,
            "approvals": {combination: _record(approval) for combination, approval in content.approvals.items()},
        }
        tensors = {key: np.ascontiguousarray(tensor) for key, tensor in content.tensors.items()}
        return bytes(save(tensors, {METADATA: to_json(head, sort_keys=True)}))


def _record(approval: TensorApproval) -> dict[str, Any]:
    """An approval as JSON values, without conditions that it does not know."""
    return {name: value for name, value in asdict(approval).items() if value is not None}


def _approval(form: Any) -> TensorApproval:
    """The approval that JSON values say."""
    fields = msgspec.structs.asdict(form)
    return TensorApproval(**fields | {"conditions": form.conditions and conditions_of(form.conditions)})


_Approval = strict(TensorApproval, conditions=ConditionsForm | None)


class _Head(msgspec.Struct, forbid_unknown_fields=True):
    schema: int
    fingerprint: str
    texts_sha256: str
    approvals: dict[str, _Approval]  # type: ignore[valid-type]
