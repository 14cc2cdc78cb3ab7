"""Keeps the approved ranges of 8-bit codes: one file per hardware profile and model, beside its baseline.

`<folder>/<hardware profile>/<model>.ranges.safetensors` holds, per combination, `ranges` (float32 `[2, dim]`, the least
and the greatest value of each dimension) and `vectors`, the number they were taken from. An index keeps the ranges it
was built with for as long as it lives: so they are approved, and what is stored later is held against them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embedgate.approved.tensors import TensorApproval, Tensors, TensorStore, corrupt
from embedgate.core.machine import HardwareProfile
from embedgate.core.model import Model
from embedgate.vectors.codes import Ranges


@dataclass(frozen=True)
class RangesStore:
    """The approved ranges in a folder of baselines.

    Attributes:
        folder: The folder; made when first written to.
    """

    folder: Path

    @property
    def _store(self) -> TensorStore:
        return TensorStore(self.folder, "ranges", "ranges")

    def file(self, profile: str, model: Model) -> Path:
        """Where the ranges of a hardware profile and model are."""
        return self._store.file(profile, model.name)

    def find(self, profile: HardwareProfile, model: Model, combination: str) -> tuple[Ranges, str] | None:
        """The ranges of a combination and the hardware profile they were taken on; None where none are approved.

        Raises:
            BaselineError: If the file cannot be trusted, or is about other weights.
        """
        found = self._store.find(profile, model, "", combination)
        if found is None:
            return None
        both, vectors = found.tensors.get("ranges"), found.tensors.get("vectors")
        if both is None or vectors is None or both.ndim != 2 or len(both) != 2 or (both[0] > both[1]).any():
            raise corrupt(found.file, f"lacks the ranges of {combination}")
        return Ranges(both[0].astype(np.float32), both[1].astype(np.float32), int(vectors[0])), found.profile

    def check(self, profile: HardwareProfile, model: Model) -> None:
        """Raises what `update` would raise about the old file, before anything is written.

        Raises:
            BaselineError: If the old file cannot be trusted.
        """
        self._store.check(profile, model)

    def update(
        self, profile: HardwareProfile, model: Model, taken: Mapping[str, Ranges], approval: TensorApproval
    ) -> dict[str, str]:
        """Approves ranges by combination; those of other combinations stay.

        Returns:
            What became of the combinations whose ranges changed, sorted: `recorded` or `dropped`.

        Raises:
            BaselineError: If one is not finite, the old file cannot be trusted, or it cannot be written.
        """
        tensors: dict[str, Tensors] = {
            combination: {"ranges": ranges.both, "vectors": np.array([ranges.vectors], dtype=np.int64)}
            for combination, ranges in taken.items()
        }
        return self._store.update(profile, model, "", tensors, approval)
