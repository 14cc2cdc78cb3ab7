"""The embeddings of one combination: every unique text and role once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from embedgate.core.memory import aside
from embedgate.core.roles import Input
from embedgate.core.similarity import COSINE, Similarity, normalised


class Embeddings:
    """Embeddings of a set of texts, looked up by text and role.

    Args:
        inputs: Unique texts with their roles.
        matrix: float32 `[n, dim]`, row `i` for text `i`, as the encoder gave it.
        similarity: How the model compares them.

    Attributes:
        inputs: The texts with their roles.
        matrix: The embeddings as the encoder gave them.
        similarity: How the model compares them.
    """

    def __init__(
        self, inputs: Sequence[Input], matrix: npt.NDArray[np.float32], similarity: Similarity = COSINE
    ) -> None:
        if matrix.shape[0] != len(inputs):
            raise ValueError(f"{len(inputs)} texts, but embeddings of shape {matrix.shape}")
        self.inputs = list(inputs)
        self.matrix = np.ascontiguousarray(matrix, dtype=np.float32)
        self._row = {each: row for row, each in enumerate(self.inputs)}
        self.similarity = similarity

    def __contains__(self, given: Input) -> bool:
        return given in self._row

    def row(self, given: Input) -> npt.NDArray[np.float32]:
        """The embedding of a text in a role as the encoder gave it, float32 `[dim]`."""
        return np.asarray(self.matrix[self._row[given]])

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def dim(self) -> int:
        """Number of dimensions."""
        return int(self.matrix.shape[1])

    def only(self, inputs: Sequence[Input]) -> Embeddings:
        """The embeddings of some of the texts; itself where these are all of them, in their order."""
        if len(inputs) == len(self.inputs) and list(inputs) == self.inputs:
            return self
        return Embeddings(inputs, self.matrix[self.rows(inputs)], self.similarity)

    def with_more(self, inputs: Sequence[Input], matrix: npt.NDArray[np.float32], order: Sequence[Input]) -> Embeddings:
        """The embeddings with those of other texts.

        Args:
            inputs: The other texts.
            matrix: Their embeddings, float32 `[n, dim]`.
            order: All texts there may be, in the order that the embeddings are to have.
        """
        rows = {each: row for row, each in enumerate((*self.inputs, *inputs))}
        kept = [each for each in order if each in rows]
        both = np.concatenate([self.matrix, np.asarray(matrix, dtype=np.float32)])
        return Embeddings(kept, both[[rows[each] for each in kept]], self.similarity)

    def set_aside(self, folder: Path) -> None:
        """Keeps the matrix in a file, since it will seldom be read; see `embedgate.core.memory.aside`."""
        self.matrix = aside(self.matrix, folder)

    def rows(self, inputs: Sequence[Input]) -> npt.NDArray[np.intp]:
        """Row numbers of texts in their roles."""
        return np.fromiter((self._row[each] for each in inputs), dtype=np.intp, count=len(inputs))

    @property
    def normalised(self) -> npt.NDArray[np.float32]:
        """The embeddings with length 1, float32 `[n, dim]`: made anew, since both take twice the memory."""
        return normalised(self.matrix)

    def unit(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
        """Some rows of `normalised`, float32 `[len(rows), dim]`."""
        return normalised(self.matrix[rows])

    @property
    def compared(self) -> npt.NDArray[np.float32]:
        """The vectors that the model's similarity compares, float32 `[n, dim]`: normalised ones for cosines."""
        return self.normalised if self.similarity is COSINE else self.matrix

    def of(self, texts: Sequence[str], role: str = "") -> npt.NDArray[np.float32]:
        """What is compared of texts in a role, float32 `[len(texts), dim]`."""
        return self.at([Input(text, role) for text in texts])

    def at(self, inputs: Sequence[Input]) -> npt.NDArray[np.float32]:
        """What is compared of texts in their roles, float32 `[len(inputs), dim]`."""
        rows = self.rows(inputs)
        return self.unit(rows) if self.similarity is COSINE else self.matrix[rows]
