"""Encoding texts in their roles: what an encoder does alike goes together, in chunks between lines of progress."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from embedgate.core.errors import BuildError, GateError, one_line
from embedgate.core.model import Model
from embedgate.core.roles import Input, Role
from embedgate.encoders import Encoder, FloatArray, InRole

# Texts encoded between two lines of progress.
CHUNK = 4096


def by_role(encoder: Encoder, model: Model, inputs: Sequence[Input]) -> list[tuple[Role, list[int]]]:
    """Places of the texts by role; roles in which an encoder does the same go together, in one batch."""
    found: list[tuple[Role, list[str]]] = []
    for name in dict.fromkeys(each.role for each in inputs):
        role = model.roles[name]
        names = next((names for other, names in found if role.same_as(other) and not encoder.by_role), None)
        if names is None:
            found.append((role, [name]))
        else:
            names.append(name)
    return [(role, [row for row, each in enumerate(inputs) if each.role in names]) for role, names in found]


class Encoding:
    """Encodes with any encoder of a session.

    Args:
        batch_size: Texts per batch.
        progress: Called with a short line after each chunk but the last.
    """

    def __init__(self, batch_size: int, progress: Callable[[str], None]) -> None:
        self._batch_size = batch_size
        self._progress = progress

    def of(self, encoder: Encoder, model: Model, inputs: Sequence[Input], label: str) -> FloatArray:
        """Embeddings of texts in their roles, float32 `[n, dim]`; a text is encoded once in roles that are alike.

        Args:
            encoder: The encoder.
            model: The model, whose roles they are.
            inputs: The texts, at least one.
            label: What is encoded with, for messages.

        Raises:
            GateError: If they cannot be encoded.
        """
        found: FloatArray | None = None
        for role, rows in by_role(encoder, model, inputs):
            place = {text: row for row, text in enumerate(dict.fromkeys(inputs[row].text for row in rows))}
            encoded = self.in_one_role(encoder, role, list(place), label)
            if found is None:
                found = np.empty((len(inputs), *encoded.shape[1:]), dtype=encoded.dtype)
            if encoded.shape[1:] != found.shape[1:]:
                shapes = [list(found.shape[1:]), list(encoded.shape[1:])]
                raise BuildError(f"{label} gave embeddings of shapes {shapes[0]} and {shapes[1]}, by role")
            found[rows] = encoded[[place[inputs[row].text] for row in rows]]
        assert found is not None, "there is always something to encode"
        return found

    def in_one_role(self, encoder: Encoder, role: Role, texts: Sequence[str], label: str) -> FloatArray:
        """Embeddings of texts that are all used in one way, float32 `[n, dim]`.

        Raises:
            GateError: If they cannot be encoded.
        """
        some, chunks = InRole(encoder, role), []
        try:
            for start in range(0, len(texts), CHUNK):
                # A copy, since some give the same array each time.
                chunks.append(np.array(some.encode(texts[start : start + CHUNK], batch_size=self._batch_size)))
                if start + CHUNK < len(texts):
                    self._progress(f"{label}: {start + CHUNK} of {len(texts)} texts")
        except GateError:
            raise
        except Exception as error:
            raise BuildError(f"{label} failed while encoding: {one_line(error)}") from error
        shapes = {chunk.shape[1:] for chunk in chunks}
        if len(shapes) != 1 or sum(len(chunk) for chunk in chunks) != len(texts):
            raise BuildError(f"{label} gave embeddings of shapes {[chunk.shape for chunk in chunks]}")
        return np.concatenate(chunks)
