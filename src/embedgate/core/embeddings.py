"""The embeddings of one combination: every unique text once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def normalised(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Vectors of length 1, float32 `[n, dim]`; one of length 0 stays."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, np.float32(1e-12)), dtype=np.float32)


class Embeddings:
    """Embeddings of a set of texts, looked up by text.

    Args:
        texts: Unique texts.
        matrix: float32 `[n, dim]`, row `i` for text `i`, as the encoder gave it.
    """

    def __init__(self, texts: Sequence[str], matrix: npt.NDArray[np.float32]) -> None:
        if matrix.shape[0] != len(texts):
            raise ValueError(f"{len(texts)} texts, but embeddings of shape {matrix.shape}")
        self.texts = list(texts)
        self.matrix = np.ascontiguousarray(matrix, dtype=np.float32)
        self._row = {text: row for row, text in enumerate(self.texts)}
        self.normalised = normalised(self.matrix)

    def __contains__(self, text: str) -> bool:
        return text in self._row

    def row(self, text: str) -> npt.NDArray[np.float32]:
        """The embedding of a text as the encoder gave it, float32 `[dim]`."""
        return np.asarray(self.matrix[self._row[text]])

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def dim(self) -> int:
        """Number of dimensions."""
        return int(self.matrix.shape[1])

    def rows(self, texts: Sequence[str]) -> npt.NDArray[np.intp]:
        """Row numbers of texts."""
        return np.fromiter((self._row[text] for text in texts), dtype=np.intp, count=len(texts))

    def of(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Normalised embeddings of texts, float32 `[len(texts), dim]`. Similarities are computed from these."""
        return self.normalised[self.rows(texts)]
