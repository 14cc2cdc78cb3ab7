"""Where encoders come from: one interface for whatever is judged, of embedgate's own making or not.

A source makes the encoder of one combination. A backend is one, a host project's factory is one, and each kind of
`--gate-candidate` has one of its own (see `embedgate.deployed`). Nothing else tells them apart.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from embedgate.core.host_code import HostCode
from embedgate.core.model import NO_MODEL
from embedgate.encoders import STORED_TYPES, WITHOUT_PRODUCTS, BuildContext, Encoder

if TYPE_CHECKING:
    from embedgate.core.combination import Combination
    from embedgate.core.model import Model
    from embedgate.encoders.custom import CustomEncoder
    from embedgate.encoders.registry import Backend

# (model folder, device) -> anything with Sentence Transformers' `encode(texts, batch_size=)`.
EncoderFactory = Callable[[Any, str], Any]
# The texts that an encoder knows the vectors of: any; those that it was asked for when its answers were recorded; or
# those of its own rows, which have checks of their own.
Answers = Literal["any text", "recorded texts", "own rows"]


class Source(ABC):
    """Makes the encoder of one combination.

    Attributes:
        combination: What it is called, and what its evidence is held against.
        proves: Whether its encoder must show what its products compute in.
        takes_threads: Whether its encoder computes with as many threads as it is told.
        answers: The texts that its encoder knows the vectors of.
        origin: Where it comes from, as a person calls it: a path or a URL; empty for what embedgate builds itself and
            for a host project's factory.
        local: Whether it runs in this process, so that its memory and bytes can be seen.
        builds_anew: Whether it can build a second encoder.
        known_afresh: Whether a fresh process, called as this one was, knows it as well.
    """

    proves: bool = True
    takes_threads: bool = True
    local: bool = True
    builds_anew: bool = True
    known_afresh: bool = True
    answers: Answers = "any text"
    origin: str = ""

    def __init__(self, combination: Combination) -> None:
        self.combination = combination

    @property
    def changes(self) -> Sequence[str]:
        """What its encoder has changed of this process, and embedgate put back, a line each."""
        return ()

    @property
    def identity(self) -> Mapping[str, str]:
        """What tells this very candidate from another of the same name, for reports and baselines: hashes of files."""
        return {}

    def unavailable(self) -> str | None:
        """Why this machine or installation cannot run it, in one line; None where it can."""
        return None

    def unfit(self, model: Model) -> str | None:
        """Why it cannot be made of a model, on whatever machine, in one line; None where it can."""
        return None

    def tokenizes_as(self, model: Model) -> Model | None:
        """The model whose tokenizer reads the texts; None where it has one of its own, or nobody here knows.

        Args:
            model: The model that it is judged as.
        """
        return None

    def prepare(self) -> None:  # noqa: B027 - most sources need nothing of weight
        """Imports what it builds with, so that building imports nothing of weight.

        Raises:
            Unavailable: If its library cannot be imported.
        """

    @abstractmethod
    def build(self, model: Model, context: BuildContext) -> Encoder:
        """Builds the encoder.

        Raises:
            Exception: Whatever goes wrong; `embedgate.encoders.build` makes one line of it.
        """


def described(source: Source) -> dict[str, Any]:
    """What tells a candidate from others, as reports have it: its id, where it comes from, and its identity."""
    return {"combination": source.combination.id, "origin": source.origin, "identity": dict(source.identity)}


class BackendSource(Source):
    """A combination that one of embedgate's backends builds of the model.

    Args:
        combination: The combination.
        backend: The backend.
    """

    def __init__(self, combination: Combination, backend: Backend) -> None:
        super().__init__(combination)
        self._backend = backend

    def unavailable(self) -> str | None:
        """Why it cannot run here; see `Source.unavailable`."""
        return self._backend.unavailable(self.combination)

    def unfit(self, model: Model) -> str | None:
        """Why it cannot be made of a model; see `Source.unfit`."""
        if not model.has_folder:
            return f"nothing can be built without the model's folder (--gate-model {NO_MODEL})"
        if self.combination.is_reference:
            return None
        kinds = model.module_kinds
        if self._backend.runs_exported and kinds[0] != "Transformer":
            return (
                f"{self._backend.name} runs exported Transformers, and {model.name} begins with the module {kinds[0]}"
            )
        if self._backend.runs_exported and not model.pools_prompts and len(model.roles.distinct) > 1:
            return f"{model.name} leaves its prompts out of the pooling, which an exported graph cannot"
        if self.combination.weight_precision not in STORED_TYPES and WITHOUT_PRODUCTS.issuperset(kinds):
            kind = self.combination.weight_precision
            return f"{model.name} is a table of embeddings, without a matrix product that could compute in {kind}"
        return None

    def tokenizes_as(self, model: Model) -> Model | None:
        """The model that it is built of; see `Source.tokenizes_as`."""
        return model

    def prepare(self) -> None:
        """Imports the backend's library; see `Source.prepare`."""
        self._backend.module(self.combination.device)

    def build(self, model: Model, context: BuildContext) -> Encoder:
        """Builds the encoder; see `Source.build`."""
        encoder: Encoder = self._backend.module(self.combination.device).build(model, self.combination, context)
        return encoder


class HostSource(Source):
    """A combination that a host project's factory builds.

    Args:
        combination: The combination.
        factory: `(model_path, device) -> encoder`.
    """

    proves = False
    takes_threads = False

    def __init__(self, combination: Combination, factory: EncoderFactory) -> None:
        super().__init__(combination)
        self._factory = factory
        self._code = HostCode(combination.id)

    @property
    def changes(self) -> Sequence[str]:
        """What its encoders have changed of this process; see `Source.changes`."""
        return self._code.changes

    def unfit(self, model: Model) -> str | None:
        """Why it cannot be made of a model; see `Source.unfit`."""
        if model.has_folder:
            return None
        return f"its factory takes the model's folder, and there is none (--gate-model {NO_MODEL})"

    def prepare(self) -> None:
        """Imports what runs any encoder of a host project; see `Source.prepare`."""
        importlib.import_module("embedgate.encoders.custom")

    def build(self, model: Model, context: BuildContext) -> Encoder:
        """Builds the encoder; see `Source.build`."""
        from embedgate.encoders.custom import CustomEncoder

        return self._built(model, context, CustomEncoder)

    def _built(self, model: Model, context: BuildContext, kind: type[CustomEncoder]) -> Encoder:
        from embedgate.encoders.custom import build

        return build(self._factory, model, self.combination, context, self._code.anew(context.progress), kind)


class GivenSource(HostSource):
    """A function of this process's own, as in a notebook, which builds an encoder."""

    known_afresh = False


class HeldSource(GivenSource):
    """An encoder that is there already, as in a notebook: it is neither built nor closed.

    Args:
        combination: The combination.
        encoder: Anything with Sentence Transformers' `encode(texts, batch_size=)`.
    """

    builds_anew = False

    def __init__(self, combination: Combination, encoder: Any) -> None:
        super().__init__(combination, lambda *_: encoder)

    def build(self, model: Model, context: BuildContext) -> Encoder:
        """Makes it an encoder of embedgate's; see `Source.build`."""
        from embedgate.encoders.custom import HeldEncoder

        return self._built(model, context, HeldEncoder)
