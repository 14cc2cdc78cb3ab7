"""Keeps the golden texts' approved tokens and embeddings: one file per hardware profile and model, beside its baseline.

`<folder>/<hardware profile>/<model>.golden.safetensors` holds, per combination, `embeddings` and `hidden` (float16),
`token_ids` of all texts one after the other and their `lengths` (int32). See `embedgate.approved.tensors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from embedgate.approved.tensors import ApprovedTensors, TensorApproval, TensorStore, corrupt
from embedgate.core.machine import HardwareProfile
from embedgate.core.model import Model
from embedgate.diagnosis.golden import Golden


@dataclass(frozen=True)
class Approved:
    """What was approved for one combination.

    Attributes:
        golden: Tokens and embeddings.
        approval: Who approved them, and with what they were made.
        profile: Hardware profile they were taken on.
    """

    golden: Golden
    approval: TensorApproval
    profile: str


@dataclass(frozen=True)
class GoldenStore:
    """The golden texts in a folder of baselines.

    Attributes:
        folder: The folder; made when first written to.
    """

    folder: Path

    @property
    def _store(self) -> TensorStore:
        return TensorStore(self.folder, "golden", "golden texts")

    def file(self, profile: str, model_name: str) -> Path:
        """Where the golden texts of a hardware profile and model are.

        Raises:
            BaselineError: If a name could lead out of the folder.
        """
        return self._store.file(profile, model_name)

    def find(self, profile: HardwareProfile, model: Model, texts_sha256: str, combination: str) -> Approved | None:
        """What was approved for a combination, on a profile or the nearest it inherits from; None where nothing was.

        Raises:
            BaselineError: If the file cannot be trusted, or is about other weights or texts.
        """
        found = self._store.find(profile, model, texts_sha256, combination)
        return Approved(_golden(found, combination), found.approval, found.profile) if found is not None else None

    def check(self, profile: HardwareProfile, model: Model) -> None:
        """Raises what `update` would raise about the old file, before anything is written.

        Raises:
            BaselineError: If the old file cannot be trusted.
        """
        self._store.check(profile, model)

    def update(
        self,
        profile: HardwareProfile,
        model: Model,
        texts_sha256: str,
        taken: Mapping[str, Golden],
        approval: TensorApproval,
    ) -> dict[str, str]:
        """Approves golden texts, each combination's as a whole; those of other combinations stay.

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
        tensors = {combination: _tensors(golden) for combination, golden in taken.items()}
        return self._store.update(profile, model, texts_sha256, tensors, approval)


def _tensors(golden: Golden) -> dict[str, npt.NDArray[Any]]:
    parts: dict[str, npt.NDArray[Any]] = {"embeddings": golden.embeddings.astype(np.float16)}
    if golden.hidden is not None:
        parts["hidden"] = golden.hidden.astype(np.float16)
    if golden.token_ids is not None:
        parts["token_ids"] = np.concatenate(golden.token_ids).astype(np.int32)
        parts["lengths"] = np.array([len(ids) for ids in golden.token_ids], dtype=np.int32)
    return parts


def _golden(found: ApprovedTensors, combination: str) -> Golden:
    embeddings, hidden, token_ids, lengths = map(found.tensors.get, ("embeddings", "hidden", "token_ids", "lengths"))
    if embeddings is None or (token_ids is None) != (lengths is None):
        raise corrupt(found.file, f"lacks tensors of {combination}")
    ids = None
    if token_ids is not None and lengths is not None:
        if len(lengths) != len(embeddings) or int(lengths.sum()) != len(token_ids):
            raise corrupt(found.file, f"has token ids of {combination} that do not fit its texts")
        ids = tuple(np.split(token_ids.astype(np.int64), np.cumsum(lengths)[:-1]))
    return Golden(embeddings.astype(np.float32), ids, None if hidden is None else hidden.astype(np.float32))
