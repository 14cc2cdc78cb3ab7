"""Keeps the approved ranges of 8-bit codes: one file per hardware profile and model, beside its baseline.

`<folder>/<hardware profile>/<model>.ranges.safetensors` holds, per combination, `ranges` (float32 `[2, dim]`, the least
and the greatest value of each dimension) and `vectors`, the number they were taken from. An index keeps the ranges it
was built with for as long as it lives: so they are approved, and what is stored later is held against them.
"""

from __future__ import annotations

import numpy as np

from embedgate.approved.tensors import Tensors, TensorStore
from embedgate.vectors.codes import Ranges


class RangesStore(TensorStore[Ranges]):
    """The approved ranges in a folder of baselines."""

    suffix = ".ranges.safetensors"
    called = "ranges"

    def pack(self, value: Ranges) -> Tensors:
        """Tensors by name, as they are kept."""
        return {"ranges": value.both, "vectors": np.array([value.vectors], dtype=np.int64)}

    def unpack(self, tensors: Tensors) -> Ranges:
        """Returns the ranges that tensors hold.

        Raises:
            ValueError: If they are no ranges.
        """
        both, vectors = tensors.get("ranges"), tensors.get("vectors")
        if both is None or vectors is None or len(tensors) > 2:
            raise ValueError("other tensors than ranges")
        if both.dtype.kind != "f" or both.ndim != 2 or len(both) != 2 or not both.size or (both[0] > both[1]).any():
            raise ValueError("no ranges: the lower ends in row 0, the higher ones in row 1")
        if vectors.dtype.kind != "i" or vectors.shape != (1,) or vectors[0] < 0:
            raise ValueError("no number of vectors")
        return Ranges(both[0].astype(np.float32), both[1].astype(np.float32), int(vectors[0]))
