"""Looks into an encoder for a cause: its tokens, layers and weights, for texts in the roles of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from embedgate.core.model import Model
from embedgate.core.roles import Input
from embedgate.diagnosis.arm import Ids, Inside
from embedgate.encoders import Encoder, FloatArray
from embedgate.encoders.weights import Weight
from embedgate.runtime.encoding import by_role

if TYPE_CHECKING:
    from embedgate.encoders.onnx.tokenizer import Tokenizer

T = TypeVar("T")


def looked_into(
    encoder: Encoder, model: Model, inputs: Sequence[Input], tokenizer: Callable[[], Tokenizer | None]
) -> Inside:
    """What can be asked of an encoder beside its stages.

    Args:
        encoder: The encoder.
        model: The model, whose roles texts have.
        inputs: The texts that it is about. Others take their places, and so their roles.
        tokenizer: The model's tokenizer; None where it has none that can be loaded by itself.
    """
    groups = by_role(encoder, model, inputs)

    def read(texts: Sequence[str]) -> Sequence[Ids] | None:
        found: dict[int, npt.NDArray[np.int64]] = {}
        for role, rows in groups:
            ids = encoder.tokens_as(role, [texts[row] for row in rows])
            if ids is None:
                return None
            found.update(zip(rows, ids, strict=True))
        return [found[row] for row in range(len(inputs))]

    def spelt(ids: Sequence[int]) -> str | None:
        known = tokenizer()
        return known.spelt(ids) if known is not None else None

    def layers(places: Sequence[int]) -> Mapping[str, Sequence[FloatArray]] | None:
        found: dict[str, dict[int, FloatArray]] = {}
        for role, rows in groups:
            asked = [row for row in rows if row in places]
            states = encoder.layers_as(role, [inputs[row].text for row in asked]) if asked else {}
            if states is None:
                return None
            for name, each in states.items():
                found.setdefault(name, {}).update(zip(asked, each, strict=True))
        # Encoders group roles in their own ways: the places alone say which text is which.
        return {name: [rows[place] for place in places] for name, rows in found.items()}

    def weights() -> Mapping[str, Weight] | None:
        return encoder.weights()

    return Inside(
        lambda texts: _or_none(lambda: read(texts)),
        lambda ids: _or_none(lambda: spelt(ids)),
        lambda places: _or_none(lambda: layers(places)),
        lambda: _or_none(weights),
    )


def _or_none(ask: Callable[[], T | None]) -> T | None:
    """What is asked for; None where that fails: a finding is worth more than its cause."""
    try:
        return ask()
    except Exception:
        return None
