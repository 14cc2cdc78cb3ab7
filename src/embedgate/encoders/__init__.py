"""Encoders: what a combination builds. Texts in, float32 embeddings out, and evidence of what really ran.

Every backend is one folder of this package, with its facts in `__init__.py` and its library behind `encoder.py`: see
`embedgate.encoders.registry`. `custom` runs an encoder of a host project. Several backends share `sentence_transformer`
and `onnx`. `gpu` is all that knows of CUDA and the driver.
"""

from __future__ import annotations

import hashlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from embedgate.core.errors import BuildError, EncodeError, ModelError, Unavailable, one_line
from embedgate.core.roles import Input, Role
from embedgate.encoders.change import Replay, Unplayable
from embedgate.encoders.weights import Weight

if TYPE_CHECKING:
    from pathlib import Path

    from embedgate.core.cache import ArtefactCache, Build
    from embedgate.core.combination import Combination
    from embedgate.core.model import Model
    from embedgate.encoders.registry import Registry

FloatArray = npt.NDArray[np.float32]

# Weight precisions that a model without matrix products can have, since all weights are stored in them.
STORED_TYPES = ("fp32", "fp16", "bf16")
# Modules without matrix products.
WITHOUT_PRODUCTS = frozenset({"StaticEmbedding", "Normalize"})
# What these say while they are imported is about hardware and versions that no combination here uses.
for _name in ("torchao", "torch.utils._pytree", "bitsandbytes"):
    logging.getLogger(_name).setLevel(logging.ERROR)


@dataclass(frozen=True)
class Evidence:
    """Evidence of what really ran, as read from the built encoder, never from what was asked for.

    Attributes:
        device: Where the weights are or the provider runs, for example `cpu`.
        threads: Threads of the backend's own pool.
        weight_bytes: Bytes of the weights as stored in memory or in the artefact, scales included.
        products: Matrix products with weights (linear layers) by the type they compute in, for example
            `{"int8": 36, "float32": 1}`. Types are named `float32`, `float16`, `bfloat16`, `int8`, ...
        details: Whatever else a person would want to see (provider, layer class, node counts, fallbacks).
        library: Name and version of the backend's library, for example `onnxruntime 1.32.0`.
        problems: What contradicts the combination's id, one line each; empty for a sound encoder.
        artefact_bytes: Bytes of the files that a deployment ships in place of the model's weights; None where it ships
            those, or where the encoder cannot tell.
        product_bytes: Bytes of the weights of the products alone, the part that int8 stores in a quarter; None where
            the encoder cannot tell.
        notes: What a reader of the verdict must know of how it was asked, one line each.
    """

    device: str
    threads: int
    weight_bytes: int
    products: Mapping[str, int]
    library: str
    details: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    artefact_bytes: int | None = None
    product_bytes: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stages:
    """Intermediate results for a few texts, to name the layer at which a combination departs from the reference.

    Attributes:
        token_ids: Per text, the token ids without padding, int64 `[tokens]`.
        token_embeddings: Per text, the transformer's last hidden states without padding, float32 `[tokens, hidden]`.
        pooled: After pooling and before normalisation, float32 `[n, dim]`; None where the backend cannot tell.
        embeddings: Finished embeddings, float32 `[n, dim]`.
    """

    token_ids: list[npt.NDArray[np.int64]]
    token_embeddings: list[FloatArray] | None
    pooled: FloatArray | None
    embeddings: FloatArray

    def of(self, row: int) -> Stages:
        """The results of one of the texts."""
        return Stages(
            [self.token_ids[row]],
            None if self.token_embeddings is None else [self.token_embeddings[row]],
            None if self.pooled is None else self.pooled[row : row + 1],
            self.embeddings[row : row + 1],
        )


def joined(parts: Sequence[tuple[Sequence[int], Stages]]) -> Stages:
    """Stages of texts that were shown in parts.

    Args:
        parts: Of each part, the place of each of its texts, and its stages. Together, they have every place once.
    """
    at = [(row, shown.of(place)) for rows, shown in parts for place, row in enumerate(rows)]
    shown = [stages for _, stages in sorted(at, key=lambda each: each[0])]
    hidden = [stages.token_embeddings for stages in shown]
    pooled = [stages.pooled for stages in shown]
    return Stages(
        [stages.token_ids[0] for stages in shown],
        None if any(found is None for found in hidden) else [found[0] for found in hidden if found is not None],
        None if any(found is None for found in pooled) else np.concatenate([p for p in pooled if p is not None]),
        np.concatenate([stages.embeddings for stages in shown]),
    )


@dataclass(frozen=True)
class Stability:
    """How far one text's embedding may move while the text stays the same, as its encoder declares.

    A move is the distance between the two embeddings divided by the length of the first. The cosine between two unit
    vectors is 1 - move^2 / 2.

    Attributes:
        batch: Largest move where the text is encoded in another batch: of another size, in another place, beside other
            texts, with more padding; with another number of threads; or while other threads use the encoder, too.
        repetition: Largest move where the very same batch is encoded again, by the same encoder.
    """

    batch: float
    repetition: float = 0.0


# What `Encoder.layers_as` calls the embedding layer, whose result the first layer of the transformer is given.
EMBEDDINGS = "embeddings"
# Threads that call an encoder at once, where it is tried how it takes that.
CALLERS = 4
# What an encoder may move of which nothing better is known: as far as int8 whose scales depend on the batch.
LEAST_STABILITY = Stability(batch=0.4)


class Encoder(ABC):
    """A built combination, safe to use from several threads at once.

    Attributes:
        stability: How far a text's embedding may move while the text stays the same.
        by_role: Whether it treats queries and documents in its own way, beyond the prompt and the route of their role.
        callers: Threads to call it from at once, where it is tried how it takes that.
        inputs: The texts in their roles that it knows, where it takes no others; None where it takes any.
    """

    stability: Stability = LEAST_STABILITY
    by_role: bool = False
    callers: int = CALLERS
    inputs: Sequence[Input] | None = None

    @abstractmethod
    def encode(self, texts: Sequence[str], batch_size: int = 32) -> FloatArray:
        """Embeds texts as they are, without a prompt.

        Args:
            texts: Any number of texts. They may be sorted by length inside, the result is in the order given.
            batch_size: Texts per batch.

        Returns:
            float32 `[n, dim]`, as the model's own pipeline ends (normalised where the model normalises).
        """

    @abstractmethod
    def evidence(self) -> Evidence:
        """Tells what really ran. Called after `encode`."""

    def stages(self, texts: Sequence[str]) -> Stages | None:
        """Intermediate results for a few texts; None where the backend cannot tell."""
        return None

    def encode_as(self, role: Role, texts: Sequence[str], batch_size: int = 32) -> FloatArray:
        """Embeds texts as they are used: by default, with the role's prompt in front; see `encode`."""
        return self.encode(role.prompted(texts), batch_size=batch_size)

    def stages_as(self, role: Role, texts: Sequence[str]) -> Stages | None:
        """Intermediate results for a few texts as they are used; see `stages`."""
        return self.stages(role.prompted(texts))

    def replay(self) -> Replay:
        """What plays known faults through on its model, to see whether they give another encoder's vectors.

        Raises:
            embedgate.encoders.change.Unplayable: If it shows no model, or one that cannot be made to do otherwise.
        """
        raise Unplayable("the reference shows no modules, only vectors")

    def tokens_as(self, role: Role, texts: Sequence[str]) -> list[npt.NDArray[np.int64]] | None:
        """Token ids of texts as they are used, as `Stages.token_ids`; None where the backend cannot tell."""
        shown = self.stages_as(role, texts)
        return None if shown is None else shown.token_ids

    def layers_as(self, role: Role, texts: Sequence[str]) -> dict[str, list[FloatArray]] | None:
        """Hidden states of a few texts as they are used after each layer; None where the backend cannot tell.

        Returns:
            Per layer, in the order they run, each text's hidden states without padding, float32 `[tokens, hidden]`. The
            first is the embedding layer, `EMBEDDINGS`.
        """
        return None

    def weights(self) -> Mapping[str, Weight] | None:
        """Weights by name, each read when it is asked for; None where the backend cannot tell."""
        return None

    def is_same_as(self, other: Encoder) -> bool:
        """Whether another encoder shares its state with this one."""
        return other is self

    def together(self) -> AbstractContextManager[None]:
        """The context of several calls that are timed: what is to be done before and after calls, is done around it."""
        return nullcontext()

    def close(self) -> None:  # noqa: B027 - most encoders have nothing to release
        """Releases memory, threads and files."""


class InRole(Encoder):
    """An encoder of texts that are all used in one way.

    Args:
        inner: The encoder.
        role: How they are used.
    """

    def __init__(self, inner: Encoder, role: Role) -> None:
        self.stability = inner.stability
        self.by_role = inner.by_role
        self.callers = inner.callers
        self._inner = inner
        self._role = role

    def encode(self, texts: Sequence[str], batch_size: int = 32) -> FloatArray:
        """Embeds texts in the role; see `Encoder.encode`."""
        return self._inner.encode_as(self._role, texts, batch_size)

    def evidence(self) -> Evidence:
        """Tells what really ran; see `Encoder.evidence`."""
        return self._inner.evidence()

    def stages(self, texts: Sequence[str]) -> Stages | None:
        """Intermediate results in the role; see `Encoder.stages`."""
        return self._inner.stages_as(self._role, texts)

    def is_same_as(self, other: Encoder) -> bool:
        """Whether another encoder shares its state with this one."""
        return self._inner.is_same_as(other._inner if isinstance(other, InRole) else other)

    def together(self) -> AbstractContextManager[None]:
        """The context of several calls; see `Encoder.together`."""
        return self._inner.together()

    def close(self) -> None:
        """Releases the encoder."""
        self._inner.close()


@dataclass(frozen=True)
class BuildContext:
    """The resources that a backend may use while it builds.

    Attributes:
        threads: Threads every backend must use, equal for all.
        cache: Where built artefacts are kept.
        calibration_texts: Texts to calibrate static quantization on, with the model's prompts in front; never an
            evaluation text.
        calibration_sha256: Hash of these texts, part of a calibrated artefact's key and record.
        progress: Called with a short line at each long step.
        batch_size: The batch size the session encodes with.
    """

    threads: int
    cache: ArtefactCache
    calibration_texts: Sequence[str] = ()
    calibration_sha256: str = ""
    progress: Callable[[str], None] = lambda _: None
    batch_size: int = 32

    def get_or_build(self, kind: str, key: Mapping[str, Any], build: Build) -> tuple[Path, dict[str, Any]]:
        """The folder of an artefact and its record, as `ArtefactCache.get_or_build`; where that waits, it says so."""
        return self.cache.get_or_build(kind, key, build, self.progress)

    @property
    def texts_sha256(self) -> str:
        """SHA-256 of the calibration texts as the model reads them, hex."""
        return hashlib.sha256("\0".join(self.calibration_texts).encode("utf-8", "surrogatepass")).hexdigest()


def unavailable(combination: Combination, registry: Registry) -> str | None:
    """Why a combination cannot run here, in one line; None where it can."""
    return registry.source(combination).unavailable()


def unfit(model: Model, combination: Combination, registry: Registry) -> str | None:
    """Why a combination cannot be made of a model, on whatever machine, in one line; None where it can."""
    return registry.source(combination).unfit(model)


def import_library(combination: Combination, registry: Registry) -> None:
    """Imports what builds a combination, so that building it imports nothing of weight.

    Raises:
        Unavailable: If its library cannot be imported.
    """
    registry.source(combination).prepare()


def build(model: Model, combination: Combination, context: BuildContext, registry: Registry) -> Encoder:
    """Builds a combination's encoder.

    Raises:
        Unavailable: If this machine or installation cannot run it.
        BuildError: If it should run here, but did not build.
        EncodeError: If it was tried with a text, and gave something else than a vector.
    """
    source = registry.source(combination)
    try:
        if reason := source.unavailable():
            raise Unavailable(f"{combination} cannot run here: {reason}")
        return source.build(model, context)
    except (Unavailable, BuildError, EncodeError):
        raise
    except ModelError as error:
        raise BuildError(error.cause, error.action) from error
    except MemoryError as error:
        raise BuildError(
            f"{combination} ran out of memory while building", "free memory or use a smaller model"
        ) from error
    except Exception as error:
        raise BuildError(f"{combination} could not be built: {one_line(error)}") from error
