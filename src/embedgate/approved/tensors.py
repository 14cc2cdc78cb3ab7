"""Keeps approved tensors per combination: one file per hardware profile, model and subject, beside its baseline.

`<folder>/<hardware profile>/<model>.<subject>.safetensors` holds tensors named `<combination>/<name>`. Its metadata say
which model and what content they are about, and who approved each combination when, why and with which libraries.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from embedgate.approved.baseline import RECORD, BaselineStore, locked, write_whole
from embedgate.core.errors import BaselineError
from embedgate.core.machine import HardwareProfile
from embedgate.core.model import Model

SCHEMA = 1
# One key, since safetensors writes several in any order, and equal content is to give equal bytes.
METADATA = "embedgate"

Tensors = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class TensorApproval:
    """Who approved a combination's tensors, and with what they were made.

    Attributes:
        when: Date and time in UTC, ISO 8601 to the second.
        who: Name and address from git's config; empty where git knows none.
        reason: Why, in the person's words.
        libraries: Versions of the libraries that computed, by distribution.
    """

    when: str
    who: str
    reason: str
    libraries: Mapping[str, str]


@dataclass(frozen=True)
class ApprovedTensors:
    """What was approved for one combination.

    Attributes:
        tensors: The tensors, by name.
        approval: Who approved them, and with what they were made.
        profile: Hardware profile they were taken on.
        file: The file they were read from.
    """

    tensors: Tensors
    approval: TensorApproval
    profile: str
    file: Path


@dataclass(frozen=True)
class _File:
    fingerprint: str
    about: str
    approvals: dict[str, TensorApproval]
    tensors: dict[str, npt.NDArray[Any]]

    def of(self, combination: str) -> dict[str, npt.NDArray[Any]]:
        prefix = f"{combination}/"
        return {key.removeprefix(prefix): part for key, part in self.tensors.items() if key.startswith(prefix)}


@dataclass(frozen=True)
class TensorStore:
    """Approved tensors of one subject in a folder of baselines.

    Attributes:
        folder: The folder; made when first written to.
        subject: The second word of the files' names, such as `golden`.
        called: What they are, for messages, such as `golden texts`.
    """

    folder: Path
    subject: str
    called: str

    def file(self, profile: str, model_name: str) -> Path:
        """Where the tensors of a hardware profile and model are.

        Raises:
            BaselineError: If a name could lead out of the folder.
        """
        return BaselineStore(self.folder).file(profile, model_name).with_suffix(f".{self.subject}.safetensors")

    def find(self, profile: HardwareProfile, model: Model, about: str, combination: str) -> ApprovedTensors | None:
        """What was approved for a combination, on a profile or the nearest it inherits from; None where nothing was.

        Args:
            profile: The hardware profile.
            model: The model.
            about: Hash of what they are about, hex; empty where they are about the model alone.
            combination: Id of the combination.

        Raises:
            BaselineError: If the file cannot be trusted, or is about other weights or content.
        """
        for name in profile.chain:
            file = self.file(name, model.name)
            found = _read(file)
            if found is None or combination not in found.approvals:
                continue
            if found.fingerprint != model.fingerprint:
                raise BaselineError(
                    f"{file} was recorded for another model: other weights, tokenizer or module configs",
                    f"record it anew: {RECORD}",
                )
            if found.about != about:
                raise BaselineError(f"{file} was recorded for other {self.called}", f"record it anew: {RECORD}")
            if any(part.dtype.kind == "f" and not np.isfinite(part).all() for part in found.tensors.values()):
                raise corrupt(file, "holds NaN or infinity")
            return ApprovedTensors(found.of(combination), found.approvals[combination], name, file)
        return None

    def check(self, profile: HardwareProfile, model: Model) -> None:
        """Raises what `update` would raise about the old file, before anything is written.

        Raises:
            BaselineError: If the old file cannot be trusted.
        """
        _read(self.file(profile.name, model.name))

    def update(
        self, profile: HardwareProfile, model: Model, about: str, taken: Mapping[str, Tensors], approval: TensorApproval
    ) -> dict[str, str]:
        """Approves tensors, each combination's as a whole; those of other combinations stay.

        Where the file is about other weights or content, none of it means anything for these, and all is replaced.

        Args:
            profile: The hardware profile they were taken on.
            model: The model they were taken with.
            about: Hash of what they are about, as in `find`.
            taken: The tensors by name, by combination.
            approval: Who approves, and with what they were made.

        Returns:
            What became of the combinations whose tensors changed, sorted: `recorded` or `dropped`.

        Raises:
            BaselineError: If one is not finite, the old file cannot be trusted, or it cannot be written.
        """
        for combination, tensors in taken.items():
            for name, part in tensors.items():
                if not np.isfinite(part).all():
                    cause = f"the {self.called}' {name} of {combination} are not finite"
                    raise BaselineError(cause, "find out why first")
        file = self.file(profile.name, model.name)
        with locked(file):
            old, changed = _read(file), {}
            if old is not None and (old.fingerprint != model.fingerprint or old.about != about):
                changed = dict.fromkeys(old.approvals, "dropped")
                old = None
            content = old or _File(model.fingerprint, about, {}, {})
            tensors, approvals = dict(content.tensors), dict(content.approvals)
            for combination, new in taken.items():
                before = content.of(combination)
                if before.keys() == new.keys() and all(np.array_equal(before[key], new[key]) for key in new):
                    continue
                tensors = {key: part for key, part in tensors.items() if not key.startswith(f"{combination}/")}
                tensors |= {f"{combination}/{name}": part for name, part in new.items()}
                approvals[combination] = approval
                changed[combination] = "recorded"
            if changed:
                write_whole(file, _render(_File(model.fingerprint, about, approvals, tensors)))
        return dict(sorted(changed.items()))


def _read(file: Path) -> _File | None:
    if not file.is_file():
        return None
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as content:
            head = json.loads(content.metadata()[METADATA])
            tensors = {key: content.get_tensor(key) for key in content.keys()}  # noqa: SIM118 - no mapping
        schema = int(head["schema"])
        if schema <= SCHEMA:
            approvals = {combination: TensorApproval(**record) for combination, record in head["approvals"].items()}
            return _File(str(head["fingerprint"]), str(head["texts_sha256"]), approvals, tensors)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise corrupt(file, f"is corrupt: {type(error).__name__}: {error}") from error
    raise BaselineError(
        f"{file} was written by a newer embedgate (schema {schema}, this one reads {SCHEMA})", "upgrade embedgate"
    )


def _render(content: _File) -> bytes:
    from safetensors.numpy import save

    head = {
        "schema": SCHEMA,
        "fingerprint": content.fingerprint,
        "texts_sha256": content.about,
        "approvals": {combination: asdict(approval) for combination, approval in content.approvals.items()},
    }
    tensors = {key: np.ascontiguousarray(tensor) for key, tensor in content.tensors.items()}
    return bytes(save(tensors, {METADATA: json.dumps(head, sort_keys=True)}))


def corrupt(file: Path, cause: str) -> BaselineError:
    """The error about a file that cannot be trusted."""
    return BaselineError(
        f"{file} {cause}", f"restore it (git checkout -- {file}), or delete it and record it: {RECORD}"
    )
