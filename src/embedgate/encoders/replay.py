"""Plays a change through on a `SentenceTransformer`: its own tokenizer, layers and modules, but for what is changed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router, Transformer
from sentence_transformers.sentence_transformer.modules import Dense, Pooling
from torch import Tensor, nn
from transformers.activations import ACT2FN

from embedgate.core.roles import Role
from embedgate.encoders import FloatArray
from embedgate.encoders.change import AS_IT_IS, ENDLESS, PADDED, Change, Unplayable
from embedgate.encoders.replayed_tokens import Tokens

Running = Callable[[], AbstractContextManager[Any]]
# The tokens of a text, and what is done otherwise beside them.
_Key = tuple[tuple[int, ...], Change]
# The list of a transformer's layers, and where it hangs.
Layers = tuple[tuple[nn.Module, str], nn.ModuleList]
# Texts of about one length that run at once.
BATCH = 16
# Bytes of hidden states that are kept.
KEPT = 256_000_000
# How near its own vectors a model must come when it is replayed.
SAME = 1e-3
# What `Change.pooling` names beside Sentence Transformers' modes and those that see padding.
PLAIN, SUM = "plain", "sum"


class TransformerReplay:
    """Replays a model of a transformer, pooling, and modules after it; see `embedgate.encoders.change.Replay`.

    What layers give is kept for the tokens of each text: another pooling, or a cut of longer texts, costs nothing.

    Args:
        model: The model, in evaluation mode.
        running: Makes the context in which it runs, such as autocast.

    Raises:
        Unplayable: If it is made of something else, or its tokenizer cannot be looked into.
    """

    def __init__(self, model: SentenceTransformer, running: Running = nullcontext) -> None:
        modules = list(model)
        if len(modules) < 2 or not isinstance(modules[0], Transformer) or not isinstance(modules[1], Pooling):
            raise Unplayable("the reference is not made of a transformer and pooling")
        if any(isinstance(module, Router) for module in modules):
            raise Unplayable("the reference has routes")
        self._model = model
        self._running = running
        self._transformer, self._pooling, self._rest = modules[0], modules[1], modules[2:]
        self._tokens = Tokens(model)
        self._layers = _layer_list(self._transformer.model)
        self._states: dict[_Key, Tensor] = {}
        self._bytes = 0
        self.pooling = _mode(self._pooling)
        self.after = tuple(type(module).__name__ for module in self._rest)
        self.layers = len(self._layers[1]) if self._layers else 0
        self.activation, self._activations = _activation(self._transformer.model, self._layers)
        self.limit = self._tokens.limit
        self.folds, self.strips = self._tokens.folds, self._tokens.strips

    def vectors(self, role: Role, texts: Sequence[str], change: Change) -> FloatArray:
        """Embeddings of texts with a change; see `Replay.vectors`."""
        prompted = role.prompted(texts)
        inputs = replace(
            change, pooling="", without=frozenset(), linear=False, width=change.width if change.pads else 0
        )
        keys = self._fill(prompted, inputs)
        skipped = 0 if self._pooling.include_prompt else self._tokens.prompt(role.prompt)
        with torch.inference_mode(), self._running():
            rows = [
                self._finished(text, self._states[key], inputs, change, skipped)
                for text, key in zip(prompted, keys, strict=True)
            ]
        return np.stack([row.float().cpu().numpy() for row in rows])

    def lengths(self, role: Role, texts: Sequence[str], change: Change = AS_IT_IS) -> list[int]:
        """Tokens of each text; see `Replay.lengths`."""
        endless = replace(change, longest=ENDLESS)
        return [len(ids) for ids, _ in self._tokens.ids(role.prompted(texts), endless)]

    def _fill(self, texts: Sequence[str], inputs: Change) -> list[_Key]:
        """Runs the layers for those of the texts that have not been run with these tokens and inputs.

        Returns:
            Where the hidden states of each text are kept.
        """
        beside = replace(inputs, specials="kept", lower=None, accents=None, longest=None, left=False)
        keys = [(tuple(ids), beside) for ids, _ in self._tokens.ids(texts, inputs)]
        for key in keys:
            if key in self._states:
                self._states[key] = self._states.pop(key)  # used last, let go last
        fresh = dict.fromkeys(key for key in keys if key not in self._states)
        missing, needed = sorted(fresh, key=lambda key: len(key[0])), {*keys}
        for start in range(0, len(missing), BATCH):
            part = missing[start : start + BATCH]
            width = inputs.width or max(len(ids) for ids, _ in part)
            hidden = self._run([ids for ids, _ in part], width, inputs)
            for key, states in zip(part, hidden, strict=True):
                self._keep(key, states[: inputs.width or len(key[0])].clone(), needed)
        return keys

    def _keep(self, key: _Key, states: Tensor, needed: Collection[_Key]) -> None:
        """Keeps hidden states, and lets those go that were not used for longest."""
        self._states[key] = states
        self._bytes += states.nbytes
        oldest = iter([each for each in self._states if each not in needed] if self._bytes > KEPT else [])
        while self._bytes > KEPT and (old := next(oldest, None)):
            self._bytes -= self._states.pop(old).nbytes

    def _run(self, ids: Sequence[Sequence[int]], width: int, inputs: Change) -> Tensor:
        """Last hidden states, `[n, width, hidden]`; padding stands on the right, whatever the tokenizer's side."""
        width = max(width, 1)
        if width > (self.limit or 0) and self._room is not None and width > self._room:
            raise Unplayable(f"the reference has no positions beyond {self._room} tokens")
        rows = [[*each[:width], *[self._tokens.pad] * (width - len(each))] for each in ids]
        mask = torch.tensor([[1] * min(len(each), width) + [0] * (width - len(each)) for each in ids])
        features: dict[str, Any] = {"input_ids": torch.tensor(rows), "attention_mask": mask, "modality": "text"}
        if inputs.types is not None:
            if getattr(self._transformer.model.config, "type_vocab_size", 0) <= inputs.types:
                raise Unplayable("the reference has no token types")
            features["token_type_ids"] = torch.full_like(mask, inputs.types)
        elif self._tokens.has_types:
            features["token_type_ids"] = torch.zeros_like(mask)
        if inputs.attention == "padding":
            features["attention_mask"] = torch.ones_like(mask)
        elif inputs.attention == "causal":
            features["attention_mask"] = (torch.tril(torch.ones(width, width)).bool() & mask.bool()[:, None, :])[
                :, None
            ]
        if inputs.shift:
            features["position_ids"] = self._positions(len(ids), width, inputs.shift)
        return self._forward(features, inputs)

    def _forward(self, features: dict[str, Any], inputs: Change) -> Tensor:
        device = self._model.device
        given = {name: value.to(device) if isinstance(value, Tensor) else value for name, value in features.items()}
        try:
            with (
                torch.inference_mode(),
                self._running(),
                self._fewer_layers(inputs.first, inputs.last),
                self._activated(inputs.activation),
            ):
                hidden: Tensor = self._transformer(given)["token_embeddings"]
        except Unplayable:
            raise
        except Exception as error:  # whatever an architecture makes of inputs that it does not take
            raise Unplayable(f"the reference does not run so ({type(error).__name__})") from error
        return hidden

    def _positions(self, count: int, width: int, shift: int) -> Tensor:
        """Positions that are off; which ones the model counts by itself is tried first."""
        most = getattr(self._transformer.model.config, "max_position_embeddings", 0) - 1
        return (torch.arange(width) + self._offset + shift).clamp(0, max(most, 0)).expand(count, -1)

    @cached_property
    def _room(self) -> int | None:
        """Tokens that its table of positions has room for; None where it has none.

        Beyond it, the table would be read past its end, which on CUDA breaks every later call.
        """
        most = getattr(self._transformer.model.config, "max_position_embeddings", None)
        try:
            return most - self._offset if most else None
        except Unplayable:
            return None

    @cached_property
    def _offset(self) -> int:
        """The position of its first token, which it counts by itself."""
        (ids,) = (found for found, _ in self._tokens.ids(["A short text."], AS_IT_IS))
        rows, mask = torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.long)
        plain = {"input_ids": rows, "attention_mask": mask, "modality": "text"}
        if self._tokens.has_types:
            plain["token_type_ids"] = torch.zeros_like(mask)
        own = self._forward(dict(plain), AS_IT_IS)
        for offset in (0, self._tokens.pad + 1):
            given = self._forward({**plain, "position_ids": torch.arange(len(ids))[None] + offset}, AS_IT_IS)
            moved = self._forward({**plain, "position_ids": torch.arange(len(ids))[None] + offset + 1}, AS_IT_IS)
            if torch.allclose(own, given, atol=1e-4) and not torch.allclose(own, moved, atol=1e-4):
                return offset
        raise Unplayable("the reference has no absolute positions")

    @contextmanager
    def _fewer_layers(self, first: int, last: int) -> Iterator[None]:
        if not first and not last:
            yield
            return
        if self._layers is None or first + last > self.layers:
            raise Unplayable("the reference's layers cannot be left out")
        (parent, name), layers = self._layers
        setattr(parent, name, layers[first : len(layers) - last])
        try:
            yield
        finally:
            setattr(parent, name, layers)

    @contextmanager
    def _activated(self, activation: str) -> Iterator[None]:
        """Runs with another activation in the layers."""
        if activation and not self._activations:
            raise Unplayable("the reference's activation cannot be changed")
        own = [getattr(parent, name) for parent, name in self._activations]
        for parent, name in self._activations if activation else ():
            setattr(parent, name, ACT2FN[activation])
        try:
            yield
        finally:
            for (parent, name), module in zip(self._activations, own, strict=True):
                setattr(parent, name, module)

    def _finished(self, text: str, states: Tensor, inputs: Change, change: Change, skipped: int) -> Tensor:
        """The embedding that becomes of a text's hidden states."""
        ((ids, special),) = self._tokens.ids([text], inputs)
        count = len(ids)
        if not len(states):  # an empty text without special tokens
            return torch.zeros(self._model.get_embedding_dimension() or states.shape[-1])
        real = torch.arange(len(states), device=states.device) < count
        mask = torch.ones_like(real) if change.pooling in PADDED else real
        if change.pooling == PLAIN:
            mask = real & ~torch.tensor([*special, *[True] * (len(states) - count)], device=states.device)
            mask = mask if mask.any() else real
        if skipped:
            mask = mask & (torch.arange(len(states), device=states.device) >= skipped)
        features: dict[str, Any] = {"token_embeddings": states[None], "attention_mask": mask.long()[None]}
        pooled = self._pooled(features, change.pooling)
        features["sentence_embedding"] = pooled
        for module, name in zip(self._rest, self.after, strict=True):
            if change.linear and isinstance(module, Dense):
                features["sentence_embedding"] = module.linear(features["sentence_embedding"])
            elif name not in change.without:
                features = module(features)
        vector: Tensor = features["sentence_embedding"][0]
        kept = self._model.truncate_dim
        return vector if kept is None else vector[:kept]

    def _pooled(self, features: dict[str, Any], pooling: str) -> Tensor:
        if pooling and not self.pooling:
            raise Unplayable("the reference pools in several ways at once")
        tokens, mask = features["token_embeddings"], features["attention_mask"]
        if pooling == SUM:
            summed: Tensor = (tokens * mask[..., None]).sum(1)
            return summed
        if pooling == "last place":
            last: Tensor = tokens[:, -1]
            return last
        mode: Any = "mean" if pooling in ("padded", PLAIN) else pooling
        module = Pooling(tokens.shape[-1], pooling_mode=mode) if pooling else self._pooling
        pooled: Tensor = module(features)["sentence_embedding"]
        return pooled


def _modes(pooling: Pooling) -> tuple[str, ...]:
    mode: Any = pooling.pooling_mode
    return (mode,) if isinstance(mode, str) else tuple(mode)


def _mode(pooling: Pooling) -> str:
    modes = _modes(pooling)
    return modes[0] if len(modes) == 1 else ""


def _layer_list(model: nn.Module) -> Layers | None:
    """The list of a transformer's layers, and where it hangs; None where none has as many as its config says."""
    count = getattr(model.config, "num_hidden_layers", 0)
    for parent in model.modules():
        for name, child in parent.named_children():
            if isinstance(child, nn.ModuleList) and len(child) == count and count:
                return (parent, name), child
    return None


def _activation(model: nn.Module, layers: Layers | None) -> tuple[str, list[tuple[nn.Module, str]]]:
    """The activation of a transformer's layers by its name in the config, and where it hangs; empty if unknown."""
    name = getattr(model.config, "hidden_act", None) or getattr(model.config, "hidden_activation", None)
    if not isinstance(name, str) or name not in ACT2FN or name == "linear" or layers is None:
        return "", []
    kind = type(ACT2FN[name])
    found = [
        (parent, child) for parent in layers[1].modules() for child, own in parent.named_children() if type(own) is kind
    ]
    return (name, found) if found else ("", [])


def replay_of(model: SentenceTransformer, running: Running = nullcontext) -> TransformerReplay:
    """The replay of a model; it must give the model's own vectors where nothing is changed.

    Args:
        model: The model.
        running: Makes the context in which it runs, such as autocast.

    Raises:
        Unplayable: If the model cannot be replayed.
    """
    found = TransformerReplay(model, running)
    texts = ["A probe of a few words.", "two"]
    own = np.asarray(model.encode(texts, prompt="", show_progress_bar=False), dtype=np.float32)
    again = found.vectors(Role(), texts, AS_IT_IS)
    if own.shape != again.shape or float(np.linalg.norm(own - again)) > SAME * float(np.linalg.norm(own)):
        raise Unplayable("the reference's own vectors could not be made anew from its parts")
    return found
