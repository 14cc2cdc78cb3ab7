"""The encoders of a session that are open: each is built once, and closed where another combination takes over."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from embedgate import encoders
from embedgate.core import memory
from embedgate.core.cache import ArtefactCache
from embedgate.core.combination import Combination
from embedgate.core.errors import BuildError
from embedgate.core.host_code import BUILDING
from embedgate.core.model import Model
from embedgate.core.roles import STS
from embedgate.encoders import BuildContext, Encoder, InRole, gpu
from embedgate.encoders.lengths import has_limit, of_length
from embedgate.encoders.registry import Registry
from embedgate.properties.variations import Subject
from embedgate.runtime.guard import Guard

if TYPE_CHECKING:
    from embedgate.encoders.onnx.tokenizer import Tokenizer

# A combination of a model: the model's fingerprint tells it.
Key = tuple[str, Combination]


class EncoderPool:
    """Builds encoders and keeps them open.

    References stay open, since every diagnosis needs their stages; who opens a candidate closes the one before it.

    Args:
        model: The model to gate.
        registry: Every combination there is.
        context: What encoders of a model are built with; called when one is built.
        tokenizer: The model's tokenizer, where it has one of its own; called when it is first needed.
        threads: Threads that every backend uses.
        cache: Where built artefacts are kept.
        progress: Called with a line about an encoder that could not be closed.

    Attributes:
        registry: Every combination there is.
        threads: Threads that every backend uses.
        cache: Where built artefacts are kept.
        guard: Keeps trouble to the combination that has it.
    """

    def __init__(
        self,
        model: Callable[[], Model],
        registry: Registry,
        context: Callable[[Model], BuildContext],
        tokenizer: Callable[[], Tokenizer | None],
        threads: int,
        cache: ArtefactCache,
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._model = model
        self._context = context
        self._tokenizer = tokenizer
        self.registry = registry
        self.threads = threads
        self.cache = cache
        self.guard = Guard(self.give_back, progress)
        self._open: dict[Key, Encoder] = {}
        self._timed: dict[str, tuple[tuple[Combination, int], Encoder]] = {}
        self._subject: Subject | None = None
        self._subject_of: Encoder | None = None

    @property
    def model(self) -> Model:
        """The model to gate."""
        return self._model()

    @property
    def context(self) -> BuildContext:
        """The context that encoders of the model to gate are built with."""
        return self._context(self.model)

    @property
    def tokenizer(self) -> Tokenizer | None:
        """The model's tokenizer; None where the model has none that can be loaded by itself."""
        return self._tokenizer()

    def known(self, model: Model, combination: Combination) -> Encoder | None:
        """The encoder of a combination, where it is open."""
        return self._open.get((model.fingerprint, combination))

    def open(self, model: Model, combination: Combination) -> Encoder:
        """The encoder of a combination; it is built where it is not open.

        Raises:
            GateError: If it cannot be built.
        """
        key = (model.fingerprint, combination)
        if key not in self._open:
            self._open[key] = self._build(model, combination, self._context(model))
        return self._open[key]

    def subject(self, model: Model, combination: Combination) -> Subject:
        """An encoder with what invariance needs: a second one, built with another number of threads."""
        encoder = self.open(model, combination)
        if self._subject is None or self._subject_of is not encoder:
            self._close_subject()
            role = model.roles[STS]
            other = replace(self.context, threads=1 if self.threads > 1 else 2)

            def second() -> Encoder:
                built = self._build(model, combination, other)
                if encoder.is_same_as(built):
                    raise _same_twice(combination)
                return InRole(built, role)

            tokenizer = self.tokenizer
            beyond = of_length(tokenizer, 8) if has_limit(tokenizer) else None
            self._subject, self._subject_of = Subject(InRole(encoder, role), second, beyond), encoder
        return self._subject

    def timed(self, arm: str, combination: Combination, threads: int) -> Encoder:
        """An encoder of the model to gate built to be timed, and kept until another takes its place.

        Args:
            arm: `reference` or `candidate`; a reference timed against itself is built twice.
            combination: What to build.
            threads: Threads to build it with.

        Raises:
            GateError: If it cannot be built.
        """
        if arm not in self._timed or self._timed[arm][0] != (combination, threads):
            self._close_timed(arm)
            built = self._build(self.model, combination, replace(self.context, threads=threads))
            others = (*self._open.values(), *(encoder for _, encoder in self._timed.values()))
            if any(built.is_same_as(other) for other in others):
                raise _same_twice(combination)
            self._timed[arm] = (combination, threads), built
        return self._timed[arm][1]

    @property
    def candidates(self) -> list[Key]:
        """The candidates that are open."""
        return [key for key in self._open if not key[1].is_reference]

    def close_candidates(self) -> None:
        """Closes all but references."""
        self._close_subject()
        self._close_timed("candidate")
        self._close(self.candidates)
        _free()

    def close_others(self, combination: Combination) -> None:
        """Closes the candidates that are open, where another one is among them: it would take a share of the cores."""
        if any(key[1] != combination for key in self.candidates):
            self.close_candidates()

    def give_back(self, combination: Combination) -> None:
        """Closes what a combination holds, and what is only there to be timed; all of it is built again when needed."""
        self._close_subject()
        for arm in tuple(self._timed):
            self._close_timed(arm)
        self._close([key for key in self._open if key[1] == combination])
        _free()

    def close(self) -> None:
        """Releases every encoder."""
        self._close_subject()
        for arm in tuple(self._timed):
            self._close_timed(arm)
        self._close([*self._open])

    def _build(self, model: Model, combination: Combination, context: BuildContext) -> Encoder:
        def build() -> Encoder:
            return encoders.build(model, combination, context, self.registry)

        return self.guard.encoder(self.guard.attempt(combination, BUILDING, build), combination)

    def _close(self, keys: list[Key]) -> None:
        for key in keys:
            self._open.pop(key).close()

    def _close_timed(self, arm: str) -> None:
        if arm in self._timed:
            self._timed.pop(arm)[1].close()

    def _close_subject(self) -> None:
        if self._subject is not None:
            self._subject.close()
        self._subject = self._subject_of = None


def _same_twice(combination: Combination) -> BuildError:
    return BuildError(f"the factory of {combination} returned the same encoder twice", "build anew")


def _free() -> None:
    """Frees what was closed: encoders' cycles, and memory that torch and the C library would keep from others."""
    gc.collect()
    gpu.release()
    memory.give_back()
