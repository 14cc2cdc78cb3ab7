"""An encoder that a host project's factory built: anything with Sentence Transformers' `encode(texts, batch_size=)`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor

from embedgate.core.combination import Combination
from embedgate.core.errors import BuildError, EncodeError, GateError
from embedgate.core.host_code import BUILDING, CLOSING, SKIP, HostCode
from embedgate.core.model import Model
from embedgate.core.plain import to_plain
from embedgate.core.roles import PLAIN, Role, Roles
from embedgate.encoders import BuildContext, Encoder, Evidence, FloatArray, Stability, Stages
from embedgate.encoders.change import Replay
from embedgate.encoders.evidence import UNKNOWN_DEVICE, contradictions
from embedgate.encoders.registry import stability_of
from embedgate.encoders.sentence_transformer import BY_ROLE, SentenceTransformerEncoder
from embedgate.encoders.sources import EncoderFactory
from embedgate.encoders.weights import Weight

T = TypeVar("T")

# An encoder that has it, and sets it to true, puts prompts before texts itself.
ADDS_PROMPTS = "adds_prompts"
# What a reader must know of an encoder that was there already.
HELD = "given as an object: nothing was asked that needs it built anew (time, memory, other threads, its history)"


class CustomEncoder(Encoder):
    """Runs a host project's encoder and shows as much of it as can be seen.

    Queries and documents are asked for by `encode_query` and `encode_document` where it has them, as they are: it puts
    its own prompts before them. By `encode`, it gets texts with the prompt of their role in front, unless it says that
    it adds prompts itself (`adds_prompts = True`).

    A `SentenceTransformer` is looked into as embedgate's own are. Anything else is asked for `evidence()`,
    `stages(texts)`, `close()` and `stability` where it has them; where it has none, the evidence says that nothing is
    known, and it is expected to be as stable as is typical of its weight precision.

    Args:
        inner: What the factory returned.
        combination: What it is to be; its evidence is held against this.
        context: The session's build context; its thread count is set where torch computes.
        code: Calls what the host project has written; None for what has no other place to tell what that changes.

    Raises:
        GateError: If `inner` has no `encode`.
    """

    def __init__(
        self, inner: Any, combination: Combination, context: BuildContext, code: HostCode | None = None
    ) -> None:
        if not callable(getattr(inner, "encode", None)):
            raise GateError(
                f"the factory of {combination} returned {_type_of(inner)}, which has no encode()",
                "return an encoder with encode(texts, batch_size=)",
            )
        own = getattr(inner, "stability", None)
        self.stability = own if isinstance(own, Stability) else stability_of(combination)
        self.by_role = any(callable(getattr(inner, method, None)) for method in BY_ROLE.values())
        self._inner = inner
        self._threads = context.threads
        self._combination = combination
        self._code = code or HostCode(combination.id, context.progress)
        self._shown = (
            _Shown(inner, combination, threads=context.threads) if isinstance(inner, SentenceTransformer) else None
        )

    def encode(self, texts: Sequence[str], batch_size: int = 32) -> FloatArray:
        """Embeds texts; see `Encoder.encode`."""
        return self.encode_as(PLAIN, texts, batch_size)

    def encode_as(self, role: Role, texts: Sequence[str], batch_size: int = 32) -> FloatArray:
        """Embeds texts as the inner encoder does in a role; see `Encoder.encode_as`.

        Raises:
            EncodeError: If what comes back is no array or tensor of numbers with one row per text.
        """
        return self._call(
            "encoding", lambda: _encode(self._inner, self._combination, role, texts, batch_size), EncodeError
        )

    def _call(self, doing: str, call: Callable[[], T], kind: type[GateError] = BuildError) -> T:
        torch.set_num_threads(self._threads)  # for an encoder that computes in torch
        return self._code.call(doing, call, kind)

    def together(self) -> AbstractContextManager[None]:
        """The context of several calls, around which the process is looked at; see `Encoder.together`."""
        torch.set_num_threads(self._threads)
        return self._code.together("encoding")

    def is_same_as(self, other: Encoder) -> bool:
        """Whether another encoder runs the very same inner one; see `Encoder.is_same_as`."""
        return isinstance(other, CustomEncoder) and other._inner is self._inner

    def evidence(self) -> Evidence:
        """Returns the evidence that the inner encoder shows, its contradictions of the combination's id added.

        Raises:
            GateError: If the inner encoder's own `evidence()` returns something else.
        """
        return self._call("showing what ran", self._evidence)

    def _evidence(self) -> Evidence:
        if callable(own := getattr(self._inner, "evidence", None)):
            evidence = own()
            if not isinstance(evidence, Evidence):
                raise GateError(
                    f"evidence() of {self._combination} returned {_type_of(evidence)}",
                    "return embedgate.Evidence",
                )
            try:
                evidence = msgspec.convert(to_plain(evidence), Evidence)  # as reports have it
            except ValueError as error:
                cause = f"evidence() of {self._combination} returned an Evidence that is none: {error}"
                raise GateError(cause, "give its attributes the types that embedgate.Evidence says") from error
            found = contradictions(self._combination, evidence.products, evidence.device)
            return replace(evidence, problems=tuple(dict.fromkeys((*evidence.problems, *found))))
        if self._shown is not None:
            return self._shown.evidence()
        return Evidence(
            device=UNKNOWN_DEVICE,
            threads=0,
            weight_bytes=0,
            products={},
            library=_type_of(self._inner),
            details={"unknown": "device, threads, weights and products: the encoder has no evidence()"},
        )

    def stages(self, texts: Sequence[str]) -> Stages | None:
        """Intermediate results for a few texts; None where the inner encoder cannot tell."""
        return self.stages_as(PLAIN, texts)

    def stages_as(self, role: Role, texts: Sequence[str]) -> Stages | None:
        """Intermediate results for a few texts in a role; see `Encoder.stages_as`.

        Raises:
            GateError: If the inner encoder's own `stages()` returns something else.
        """
        return self._call("showing its stages", lambda: self._stages(role, texts))

    def _stages(self, role: Role, texts: Sequence[str]) -> Stages | None:
        if callable(own := getattr(self._inner, "stages", None)):
            stages = own(list(texts) if getattr(self._inner, ADDS_PROMPTS, False) else role.prompted(texts))
            if stages is not None and not isinstance(stages, Stages):
                raise GateError(
                    f"stages() of {self._combination} returned {_type_of(stages)}", "return embedgate.Stages"
                )
            return stages
        return self._shown.stages_as(role, texts) if self._shown is not None else None

    def replay(self) -> Replay:
        """What plays known faults through on a `SentenceTransformer`; see `Encoder.replay`."""
        return self._call("showing its modules", self._shown.replay) if self._shown is not None else super().replay()

    def tokens_as(self, role: Role, texts: Sequence[str]) -> list[npt.NDArray[np.int64]] | None:
        """Token ids of texts in a role; see `Encoder.tokens_as`."""
        if self._shown is None or callable(getattr(self._inner, "stages", None)):
            return super().tokens_as(role, texts)
        shown = self._shown
        return self._call("showing its tokens", lambda: shown.tokens_as(role, texts))

    def layers_as(self, role: Role, texts: Sequence[str]) -> dict[str, list[FloatArray]] | None:
        """Hidden states after each layer of a `SentenceTransformer`; see `Encoder.layers_as`."""
        if (shown := self._shown) is None:
            return None
        return self._call("showing its layers", lambda: shown.layers_as(role, texts))

    def weights(self) -> Mapping[str, Weight] | None:
        """Weights of a `SentenceTransformer` by name; see `Encoder.weights`."""
        return self._call("showing its weights", self._shown.weights) if self._shown is not None else None

    def close(self) -> None:
        """Lets the inner encoder release what it holds."""
        try:
            self._code.call(CLOSING, self._close)
        finally:
            self._inner = self._shown = None

    def _close(self) -> None:
        if callable(own := getattr(self._inner, "close", None)):
            own()


class HeldEncoder(CustomEncoder):
    """Runs an encoder that its owner goes on using: it is never closed, and there is no second one of it."""

    def evidence(self) -> Evidence:
        """Its evidence, with a note of what cannot be asked of it; see `CustomEncoder.evidence`."""
        found = super().evidence()
        return replace(found, notes=(*found.notes, HELD))

    def close(self) -> None:
        """Leaves the inner encoder open."""
        self._inner = self._shown = None


def build(
    factory: EncoderFactory,
    model: Model,
    combination: Combination,
    context: BuildContext,
    code: HostCode,
    kind: type[CustomEncoder] = CustomEncoder,
) -> CustomEncoder:
    """What a factory builds, as an encoder of embedgate's.

    Args:
        factory: Builds the inner encoder.
        model: The model.
        combination: What it is to be.
        context: The session's build context; torch computes with its thread count while it is built.
        code: Calls the factory, and later on what it has built.
        kind: What runs it.

    Raises:
        BuildError: If it calls `sys.exit`, or raises anything else that would end more than its own call.
        Exception: Whatever else goes wrong.
    """
    torch.set_num_threads(context.threads)

    def built() -> CustomEncoder:
        return kind(factory(model.path, combination.device), combination, context, code)

    return code.call(BUILDING, built, passes=SKIP)


class _Shown(SentenceTransformerEncoder):
    """Looks into a host project's `SentenceTransformer`, whose `encode` may be its own."""

    def encode_as(self, role: Role, texts: Sequence[str], batch_size: int = 32) -> FloatArray:
        return _encode(self._model, self._combination, role, texts, batch_size)

    def stages_as(self, role: Role, texts: Sequence[str]) -> Stages | None:
        return super().stages_as(self._own(role), texts)

    def tokens_as(self, role: Role, texts: Sequence[str]) -> list[npt.NDArray[np.int64]] | None:
        return super().tokens_as(self._own(role), texts)

    def layers_as(self, role: Role, texts: Sequence[str]) -> dict[str, list[FloatArray]] | None:
        return super().layers_as(self._own(role), texts)

    def _own(self, role: Role) -> Role:
        return replace(role, prompt=_own_prompt(self._model, role))


def _asked(inner: Any, role: Role) -> Callable[[Sequence[str], int], Any]:
    """How an encoder is asked for embeddings of texts in a role."""
    by_role, is_own = BY_ROLE.get(role.name, ""), isinstance(inner, SentenceTransformer)
    if is_own and type(inner).encode is not SentenceTransformer.encode:
        # `encode_query` of Sentence Transformers calls it with arguments that it may not take.
        inherited = getattr(type(inner), by_role, None) is getattr(SentenceTransformer, by_role, None)
        by_role = "" if inherited else by_role
    if by_role and callable(method := getattr(inner, by_role, None)):
        chosen = {"prompt": role.prompt} if is_own and role.given else {}
        return lambda texts, size: method(list(texts), batch_size=size, **chosen)
    if is_own:
        prompt = _own_prompt(inner, role)
        if prompt == _own_prompt(inner, PLAIN):
            return lambda texts, size: inner.encode(list(texts), batch_size=size)
        if _takes_prompt(inner.encode):
            return lambda texts, size: inner.encode(list(texts), batch_size=size, prompt=prompt)
        return lambda texts, size: inner.encode([prompt + each for each in texts], batch_size=size)
    if getattr(inner, ADDS_PROMPTS, False):
        return lambda texts, size: inner.encode(list(texts), batch_size=size)
    return lambda texts, size: inner.encode(role.prompted(texts), batch_size=size)


def _own_prompt(model: SentenceTransformer, role: Role) -> str:
    """The prompt of a role as a host project's model has it, which may have lost it; a chosen one is given to it."""
    if role.given:
        return role.prompt
    return Roles("its config", model.prompts, model.default_prompt_name)[role.name].prompt


def _takes_prompt(encode: Callable[..., Any]) -> bool:
    """Whether a subclass's own `encode` takes a prompt, as Sentence Transformers' does."""
    known = inspect.signature(encode).parameters.values()
    return any(each.name == "prompt" or each.kind is each.VAR_KEYWORD for each in known)


def _encode(inner: Any, combination: Combination, role: Role, texts: Sequence[str], batch_size: int) -> FloatArray:
    found = _asked(inner, role)(texts, batch_size)
    if isinstance(found, Tensor):
        found = found.detach().float().cpu().numpy()  # numpy knows no bfloat16
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "fiu":
        got = f"an array of {found.dtype}" if isinstance(found, np.ndarray) else _type_of(found)
        raise EncodeError(f"{combination} returned {got} from encode()", "return a numeric numpy array or torch tensor")
    if found.ndim != 2 or len(found) != len(texts):
        raise EncodeError(
            f"{combination} returned an array of shape {found.shape} for {len(texts)} texts", "return one row per text"
        )
    return np.asarray(found, dtype=np.float32)  # no subclass, whose code would run later on


def _type_of(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
