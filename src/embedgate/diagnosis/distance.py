"""How far vectors lie from others, row by row."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from embedgate.encoders import FloatArray


def distances(mine: FloatArray, theirs: FloatArray) -> FloatArray:
    """Distance of each vector to another, as a share of the other's length, float32 `[n]`."""
    lengths = np.linalg.norm(theirs, axis=1)
    lengths = np.where(lengths > 0, lengths, np.maximum(np.linalg.norm(mine, axis=1), np.float32(1e-12)))
    return np.asarray(np.linalg.norm(mine - theirs, axis=1) / lengths, dtype=np.float32)


def row_cosines(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Cosine of each row to the other's, float64 `[n]`."""
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return np.asarray((a * b).sum(axis=-1) / np.maximum(norms, 1e-12))


def root_mean_square(values: FloatArray) -> float:
    """Root of the mean square of numbers."""
    return float(np.sqrt(np.square(values, dtype=np.float64).mean()))
