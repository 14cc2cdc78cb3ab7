"""What a model can be made to do otherwise than it does, so that a known fault is played through on the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from embedgate.core.roles import Role

# Tokens that no text reaches: nothing is cut.
ENDLESS = 1_000_000

Specials = Literal["kept", "missing", "first missing", "last missing", "twice"]
Attention = Literal["own", "padding", "causal"]
# Poolings that see padding.
PADDED = ("padded", "last place")


@dataclass(frozen=True)
class Change:
    """What is done otherwise; each attribute's default is what the model does.

    Attributes:
        specials: The special tokens around a text.
        lower: Whether the tokenizer folds case.
        accents: Whether the tokenizer keeps accents.
        longest: Tokens that a text is cut to, special ones included.
        left: Whether it loses its beginning where it is cut.
        types: The token type of every token.
        shift: How far every position is off.
        attention: `padding` where tokens attend to padding, `causal` where they attend to what stands before them.
        first: Layers that are left out at the start.
        last: Layers that are left out at the end.
        activation: The activation of its layers, in Transformers' names.
        pooling: How tokens are pooled, in Sentence Transformers' names; `padded` is the mean with padding, `plain` the
            mean without special tokens, `sum` the sum, `last place` what stands last in a batch, padding or not.
        without: Modules after pooling that are left out, by the names of their classes.
        linear: Whether Dense modules have no activation.
        width: Tokens that each text is filled up to, where padding counts; 0 for none.
    """

    specials: Specials = "kept"
    lower: bool | None = None
    accents: bool | None = None
    longest: int | None = None
    left: bool = False
    types: int | None = None
    shift: int = 0
    attention: Attention = "own"
    first: int = 0
    last: int = 0
    activation: str = ""
    pooling: str = ""
    without: frozenset[str] = frozenset()
    linear: bool = False
    width: int = 0

    @property
    def pads(self) -> bool:
        """Whether what a text becomes depends on how far it is filled up."""
        return self.attention == "padding" or self.pooling in PADDED


AS_IT_IS = Change()


class Unplayable(Exception):
    """A change that a model cannot be made to do; its text says why."""


class Replay(Protocol):
    """Runs a model's own modules with a change.

    Attributes:
        pooling: How it pools, in Sentence Transformers' names; empty where it does in another way.
        after: The modules after pooling, by the names of their classes.
        layers: How many layers it has; 0 where that is not known.
        activation: The activation of its layers, in Transformers' names; empty where it cannot be changed.
        limit: Tokens that a text is cut to, special ones included; None where it is not cut.
        folds: Whether its tokenizer folds case; None where it has no such switch.
        strips: Whether its tokenizer strips accents; None where it has no such switch.
    """

    pooling: str
    after: tuple[str, ...]
    layers: int
    activation: str
    limit: int | None
    folds: bool | None
    strips: bool | None

    def vectors(self, role: Role, texts: Sequence[str], change: Change) -> npt.NDArray[np.float32]:
        """Embeddings of texts, float32 `[n, dim]`.

        Args:
            role: How they are used: its prompt stands in front.
            texts: The texts.
            change: What is done otherwise.

        Raises:
            Unplayable: If the model cannot be made to do so.
        """

    def lengths(self, role: Role, texts: Sequence[str], change: Change = AS_IT_IS) -> list[int]:
        """Tokens of each text with a change, special ones and those of the prompt included, before anything is cut."""
