"""What a fault is, and the two forms in which it is met: a black box, and a model that can be looked into."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from sentence_transformers import SentenceTransformer

Form: TypeAlias = Literal["inside", "black box"]
Kind: TypeAlias = Literal["single", "pair", "sound"]
Outcome: TypeAlias = Literal["named", "partly", "layer", "unknown", "wrong"]

Rows: TypeAlias = npt.NDArray[np.float32]
# Texts and a batch size to embeddings, float32 `[n, dim]`.
Encode: TypeAlias = Callable[[list[str], int], Rows]
# Changes a loaded model in its place.
Change: TypeAlias = Callable[[SentenceTransformer], None]
# Makes of how a model encodes how it is encoded with.
Around: TypeAlias = Callable[[Encode], Encode]

FORMS: tuple[Form, ...] = ("inside", "black box")
# Layers that name no cause.
NO_CAUSE = ("unknown", "scores")
# What is said where products compute in 8 bits: how it was built, and no cause.
NOTHING_ELSE = "nothing else is known to differ"


# What joins two faults; "one and the same vector" is one.
AND = re.compile(r" and (?!the same )")


@dataclass(frozen=True)
class Fault:
    """A fault, two at once, or none.

    Attributes:
        name: As it is called on the command line.
        says: What happened, as the page says it.
        names: Of each fault, a regular expression of the causes that name it, `layer: cause`; none of what is sound.
        model: The model that it happens to, see `models`.
        change: What is done to the model.
        around: What is done around it.
        boxed: What is done around a black box in the place of `change`, which gets texts with their prompts.
        forms: In which it is met.
        kind: Whether it is one fault, two, or none.
        promise: The weight precision that a black box of it promises.
        built: The id of a combination that embedgate builds itself, in the place of all these.
        incumbent: The model that is in use today, for a session that has one.
        layers: The layers at which embeddings depart, where no more than that is said of the cause.
        is_general: Whether what names it is true of every fault of its layers.
    """

    name: str
    says: str
    names: tuple[str, ...] = ()
    model: str = "minilm"
    change: Change | None = None
    around: Around | None = None
    boxed: Around | None = None
    forms: tuple[Form, ...] = FORMS
    kind: Kind = "single"
    promise: str = "fp16"
    built: str = ""
    incumbent: str = ""
    layers: tuple[str, ...] = ()
    is_general: bool = False

    def combination(self, form: Form) -> str:
        """The id of a form of it in a session."""
        if self.built:
            return self.built
        backend = f"{self.name}-{'box' if form == 'black box' else 'st'}".replace("-", "_")
        return f"{backend}-{self.promise if form == 'black box' else 'fp32'}-cpu"

    def encoder(self, model: SentenceTransformer, form: Form) -> Any:
        """An encoder with it, made of a loaded model, which it changes."""
        if form == "black box" and self.boxed is not None:
            return BlackBox(model, self.boxed, self.promise)
        if self.change is not None:
            self.change(model)
        if form == "black box":
            return BlackBox(model, self.around or untouched, self.promise)
        return model if self.around is None else surrounded(model, self.around)

    def outcome(self, layer: str, cause: str, others: Sequence[Fault] = ()) -> Outcome:
        """What a diagnosis of it is worth.

        Args:
            layer: The layer that was named.
            cause: The cause.
            others: Further faults: a cause that names one of these beside a true one is wrong.
        """
        if layer in NO_CAUSE or NOTHING_ELSE in cause:
            return "unknown"
        said = f"{layer}: {cause}"
        true = [_says(each, said) for each in self.names]
        # That rows stand in another order is true of every order.
        false = {name for other in others if not self._is_a_kind_of(other) for name in other.names} - set(self.names)
        if true and all(true):
            # One of several that are joined by "or" may be true; of two that are joined by "and", both must be.
            first, *more = AND.split(re.split(r", or ", said)[0])
            return "wrong" if more and any(self._is_foreign(part, false) for part in (first, *more)) else "named"
        if any(_says(each, said) for each in false):
            return "wrong"
        return "partly" if any(true) else "layer" if layer in self.layers else "wrong"

    def _is_a_kind_of(self, other: Fault) -> bool:
        """Whether what names the other fault is true of this one, too."""
        return other.is_general and bool({*other.layers} & {*self.layers})

    def _is_foreign(self, part: str, false: Collection[str]) -> bool:
        """Whether a part of a cause names another fault, and not this one."""
        return not any(_says(each, part) for each in self.names) and any(_says(each, part) for each in false)


def _says(name: str, said: str) -> bool:
    return re.search(name, said, re.IGNORECASE) is not None


def both(first: Fault, second: Fault, **settings: Any) -> Fault:
    """Two faults at once; of what both do around a model, the first's comes first."""
    assert first.model == second.model, f"{first.name} and {second.name} happen to different models"
    return Fault(
        f"{first.name}+{second.name}",
        f"{first.says}; {second.says}",
        (*first.names, *second.names),
        first.model,
        _in_turn(first.change, second.change),
        _nested(first.around, second.around),
        kind="pair",
        layers=(*first.layers, *second.layers),
        **settings,
    )


def _in_turn(first: Change | None, second: Change | None) -> Change | None:
    if first is None or second is None:
        return first or second

    def change(model: SentenceTransformer) -> None:
        first(model)
        second(model)

    return change


def _nested(outer: Around | None, inner: Around | None) -> Around | None:
    if outer is None or inner is None:
        return outer or inner
    return lambda encode: outer(inner(encode))


def untouched(encode: Encode) -> Encode:
    """A model is encoded with as it is."""
    return encode


class BlackBox:
    """An encoder that has `encode` alone, and answers as a server does: with the digits of its weight precision."""

    def __init__(self, model: SentenceTransformer, around: Around, promise: str) -> None:
        self._encode = around(lambda texts, size: model.encode(texts, batch_size=size, prompt=""))
        self._type = np.float16 if promise == "fp16" else np.float32

    def encode(self, texts: Sequence[str], batch_size: int = 32) -> Rows:
        """Embeddings, float32 `[n, dim]`."""
        rows: Rows = self._encode(list(texts), batch_size).astype(self._type).astype(np.float32)
        return rows


class Surrounded(SentenceTransformer):
    """A model whose `encode` is a project's own."""

    _around: Encode
    _given: dict[str, Any]

    def encode(self, sentences: Any, batch_size: int = 32, **given: Any) -> Any:
        """Embeddings, float32 `[n, dim]`; of what stages are made of, as Sentence Transformers has it."""
        if given.get("output_value", "sentence_embedding") != "sentence_embedding":
            return super().encode(sentences, batch_size=batch_size, **given)
        self._given = given
        return self._around(list(sentences), batch_size)

    def as_it_is(self, texts: list[str], batch_size: int) -> Rows:
        """Embeddings as the model itself has them."""
        found: Rows = super().encode(texts, batch_size=batch_size, **self._given)
        return found


def surrounded(model: SentenceTransformer, around: Around) -> Surrounded:
    """The model, encoded with in a project's own way."""
    model.__class__ = Surrounded
    assert isinstance(model, Surrounded)
    model._around = around(model.as_it_is)
    return model


def load(folder: Path) -> SentenceTransformer:
    """A model in float32, on the CPU."""
    import torch

    return SentenceTransformer(str(folder), device="cpu", local_files_only=True, model_kwargs={"dtype": torch.float32})
