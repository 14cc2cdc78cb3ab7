"""Keeps the golden texts' approved tokens and embeddings: one file per hardware profile and model, beside its baseline.

`<folder>/<hardware profile>/<model>.golden.safetensors` holds, per combination, `embeddings` and `hidden` (float32;
float16 in files of schema 1), `token_ids` of all texts one after the other and their `lengths` (int32). See
`embedgate.approved.tensors`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from embedgate.approved.store import Known, corrupt
from embedgate.approved.tensors import ApprovedTensors, Tensors, TensorStore
from embedgate.core.machine import HardwareProfile
from embedgate.diagnosis.golden import Golden

PARTS: dict[str, tuple[int, str]] = {
    "embeddings": (2, "f"),
    "hidden": (2, "f"),
    "token_ids": (1, "i"),
    "lengths": (1, "i"),
}


class GoldenStore(TensorStore[Golden]):
    """The golden texts in a folder of baselines; they are about their texts, by their hash."""

    suffix = ".golden.safetensors"
    called = "golden texts"

    def find_all(
        self, profile: HardwareProfile, model: Known, combination: str, about: str, texts: int
    ) -> ApprovedTensors[Golden] | None:
        """As `find`, of as many texts as there are.

        Raises:
            BaselineError: As `find`; if it holds another number of texts.
        """
        found = self.find(profile, model, combination, about)
        if found is not None and (count := len(found.value.embeddings)) != texts:
            file = self.file(found.profile, model.name)
            raise corrupt(file, f"is corrupt: {combination} has {count} golden texts, and there are {texts}")
        return found

    def pack(self, value: Golden) -> Tensors:
        """Tensors by name, as they are kept."""
        parts: dict[str, npt.NDArray[Any]] = {"embeddings": value.embeddings.astype(np.float32)}
        if value.hidden is not None:
            parts["hidden"] = value.hidden.astype(np.float32)
        if value.token_ids is None:
            return parts
        lengths = np.array([len(ids) for ids in value.token_ids], dtype=np.int32)
        return {**parts, "token_ids": np.concatenate(value.token_ids).astype(np.int32), "lengths": lengths}

    def unpack(self, tensors: Tensors) -> Golden:
        """Returns the golden texts' results that tensors hold.

        Raises:
            ValueError: If they are not those of golden texts.
        """
        for name, part in tensors.items():
            if name not in PARTS or (part.ndim, part.dtype.kind) != PARTS[name]:
                raise ValueError(f"a tensor {name} that is none of golden texts")
        embeddings, hidden, token_ids, lengths = map(tensors.get, PARTS)
        if embeddings is None or not embeddings.size or (token_ids is None) != (lengths is None):
            raise ValueError("too few tensors")
        if hidden is not None and len(hidden) != len(embeddings):
            raise ValueError("hidden states that do not fit its texts")
        ids = None
        if token_ids is not None and lengths is not None:
            # Each by itself first: a sum may overflow.
            fit = ((lengths >= 0) & (lengths <= len(token_ids))).all() and lengths.sum() == len(token_ids)
            if len(lengths) != len(embeddings) or not fit or (token_ids < 0).any():
                raise ValueError("token ids that do not fit its texts")
            ids = tuple(np.split(token_ids.astype(np.int64), np.cumsum(lengths)[:-1]))
        return Golden(embeddings.astype(np.float32), ids, None if hidden is None else hidden.astype(np.float32))
