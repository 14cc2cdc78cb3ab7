"""Keeps the golden texts' approved tokens and embeddings: one file per hardware profile and model, beside its baseline.

`<folder>/<hardware profile>/<model>.golden.safetensors` holds, per combination, `embeddings` and `hidden` (float16),
`token_ids` of all texts one after the other and their `lengths` (int32). Its metadata say which model and texts they
are about, and who approved each combination when, why and with which libraries.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from embedgate.errors import BaselineError
from embedgate.golden import Golden
from embedgate.machine import HardwareProfile
from embedgate.model import Model
from embedgate.store import RECORD, BaselineStore, locked, write_whole

SCHEMA = 1
# One key, since safetensors writes several in any order, and equal content is to give equal bytes.
METADATA = "embedgate"


@dataclass(frozen=True)
class GoldenApproval:
    """Who approved a combination's golden texts, and with what they were made.

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
class Approved:
    """What was approved for one combination.

    Attributes:
        golden: Tokens and embeddings.
        approval: Who approved them, and with what they were made.
        profile: Hardware profile they were taken on.
    """

    golden: Golden
    approval: GoldenApproval
    profile: str


@dataclass(frozen=True)
class _File:
    fingerprint: str
    texts_sha256: str
    approvals: dict[str, GoldenApproval]
    tensors: dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class GoldenStore:
    """The golden texts in a folder of baselines.

    Attributes:
        folder: The folder; made when first written to.
    """

    folder: Path

    def file(self, profile: str, model_name: str) -> Path:
        """Where the golden texts of a hardware profile and model are.

        Raises:
            BaselineError: If a name could lead out of the folder.
        """
        return BaselineStore(self.folder).file(profile, model_name).with_suffix(".golden.safetensors")

    def find(self, profile: HardwareProfile, model: Model, texts_sha256: str, combination: str) -> Approved | None:
        """What was approved for a combination, on a profile or the nearest it inherits from; None where nothing was.

        Raises:
            BaselineError: If the file cannot be trusted, or is about other weights or texts.
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
            if found.texts_sha256 != texts_sha256:
                raise BaselineError(f"{file} was recorded for other golden texts", f"record it anew: {RECORD}")
            return Approved(_golden(file, found, combination), found.approvals[combination], name)
        return None

    def check(self, profile: HardwareProfile, model: Model) -> None:
        """Raises what `update` would raise about the old file, before anything is written.

        Raises:
            BaselineError: If the old file cannot be trusted.
        """
        _read(self.file(profile.name, model.name))

    def update(
        self,
        profile: HardwareProfile,
        model: Model,
        texts_sha256: str,
        taken: Mapping[str, Golden],
        approval: GoldenApproval,
    ) -> dict[str, str]:
        """Approves golden texts, each combination's as a whole; those of other combinations stay.

        Where the file is about other weights or texts, none of it means anything for these, and all of it is replaced.

        Args:
            profile: The hardware profile they were taken on.
            model: The model they were taken with.
            texts_sha256: Hash of the texts.
            taken: What became of them, by combination.
            approval: Who approves, and with what they were made.

        Returns:
            What became of the combinations whose golden texts changed, sorted: `recorded` or `dropped`.

        Raises:
            BaselineError: If one is not finite, the old file cannot be trusted, or it cannot be written.
        """
        file = self.file(profile.name, model.name)
        with locked(file):
            old, changed = _read(file), {}
            if old is not None and (old.fingerprint != model.fingerprint or old.texts_sha256 != texts_sha256):
                changed = dict.fromkeys(old.approvals, "dropped")
                old = None
            tensors, approvals = (dict(old.tensors), dict(old.approvals)) if old is not None else ({}, {})
            for combination, golden in taken.items():
                new = _tensors(combination, golden)
                before = {key: value for key, value in tensors.items() if key.startswith(f"{combination}/")}
                if before.keys() == new.keys() and all(np.array_equal(before[key], new[key]) for key in new):
                    continue
                tensors = {key: value for key, value in tensors.items() if key not in before} | new
                approvals[combination] = approval
                changed[combination] = "recorded"
            if changed:
                write_whole(file, _render(_File(model.fingerprint, texts_sha256, approvals, tensors)))
        return dict(sorted(changed.items()))


def _tensors(combination: str, golden: Golden) -> dict[str, npt.NDArray[Any]]:
    parts: dict[str, npt.NDArray[Any]] = {"embeddings": golden.embeddings.astype(np.float16)}
    if golden.hidden is not None:
        parts["hidden"] = golden.hidden.astype(np.float16)
    if golden.token_ids is not None:
        parts["token_ids"] = np.concatenate(golden.token_ids).astype(np.int32)
        parts["lengths"] = np.array([len(ids) for ids in golden.token_ids], dtype=np.int32)
    for name, part in parts.items():
        if not np.isfinite(part).all():
            raise BaselineError(f"the golden texts' {name} of {combination} are not finite", "find out why first")
    return {f"{combination}/{name}": part for name, part in parts.items()}


def _golden(file: Path, found: _File, combination: str) -> Golden:
    def part(name: str) -> npt.NDArray[Any] | None:
        return found.tensors.get(f"{combination}/{name}")

    if any(tensor.dtype.kind == "f" and not np.isfinite(tensor).all() for tensor in found.tensors.values()):
        raise _corrupt(file, "holds NaN or infinity")
    embeddings, hidden, token_ids, lengths = (part(name) for name in ("embeddings", "hidden", "token_ids", "lengths"))
    if embeddings is None or (token_ids is None) != (lengths is None):
        raise _corrupt(file, f"lacks tensors of {combination}")
    ids = None
    if token_ids is not None and lengths is not None:
        if len(lengths) != len(embeddings) or int(lengths.sum()) != len(token_ids):
            raise _corrupt(file, f"has token ids of {combination} that do not fit its texts")
        ids = tuple(np.split(token_ids.astype(np.int64), np.cumsum(lengths)[:-1]))
    return Golden(embeddings.astype(np.float32), ids, None if hidden is None else hidden.astype(np.float32))


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
            approvals = {combination: GoldenApproval(**record) for combination, record in head["approvals"].items()}
            return _File(str(head["fingerprint"]), str(head["texts_sha256"]), approvals, tensors)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _corrupt(file, f"is corrupt: {type(error).__name__}: {error}") from error
    raise BaselineError(
        f"{file} was written by a newer embedgate (schema {schema}, this one reads {SCHEMA})", "upgrade embedgate"
    )


def _render(content: _File) -> bytes:
    from safetensors.numpy import save

    head = {
        "schema": SCHEMA,
        "fingerprint": content.fingerprint,
        "texts_sha256": content.texts_sha256,
        "approvals": {combination: asdict(approval) for combination, approval in content.approvals.items()},
    }
    tensors = {key: np.ascontiguousarray(tensor) for key, tensor in content.tensors.items()}
    return bytes(save(tensors, {METADATA: json.dumps(head, sort_keys=True)}))


def _corrupt(file: Path, cause: str) -> BaselineError:
    return BaselineError(
        f"{file} {cause}", f"restore it (git checkout -- {file}), or delete it and record it: {RECORD}"
    )
