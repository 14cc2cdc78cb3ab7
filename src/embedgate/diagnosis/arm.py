"""One side of a comparison, and what can be asked of it beside its embeddings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from embedgate.core.embeddings import Embeddings
from embedgate.encoders import Evidence, FloatArray, Stages
from embedgate.encoders.weights import Weight

Ids: TypeAlias = npt.NDArray[np.int64]
# Of each layer by name, the hidden states of every text.
Layers: TypeAlias = Mapping[str, Sequence[FloatArray]]


@dataclass(frozen=True)
class Inside:
    """What can be asked of an encoder that shows its stages. Each gives None where it cannot tell.

    Attributes:
        read: Token ids of texts that take the places of the probe texts, and so their roles.
        spelt: Ids as text.
        layers: Hidden states after each layer, of the probe texts in some places.
        weights: Weights by name, each read when it is asked for.
    """

    read: Callable[[Sequence[str]], Sequence[Ids] | None] = lambda _: None
    spelt: Callable[[Sequence[int]], str | None] = lambda _: None
    layers: Callable[[Sequence[int]], Layers | None] = lambda _: None
    weights: Callable[[], Mapping[str, Weight] | None] = lambda: None


@dataclass(frozen=True)
class Arm:
    """One side of the comparison: its embeddings, its evidence, and its stages for the probe texts."""

    embeddings: Embeddings
    evidence: Evidence
    stages: Stages | None
    inside: Inside = field(default_factory=Inside)
