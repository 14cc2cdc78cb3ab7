"""What faults do within a model, and int8 as they are put on top of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from causes.fault import Change
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn


def _layers(model: SentenceTransformer) -> Any:
    return model[0].model.encoder.layer


def product(number: int, factor: float) -> Change:
    """One product of one layer has weights that are too small."""

    def change(model: SentenceTransformer) -> None:
        with torch.no_grad():
            _layers(model)[number].intermediate.dense.weight.mul_(factor)

    return change


def silent_head(number: int, head: int) -> Change:
    """One head of one layer gives zeros."""

    def change(model: SentenceTransformer) -> None:
        attention = _layers(model)[number].attention
        size = attention.self.attention_head_size
        with torch.no_grad():
            attention.output.dense.weight[:, head * size : (head + 1) * size] = 0

    return change


def softened(factor: float) -> Change:
    """Queries are shorter, so that attention is spread wider, as by another root of the head's size."""

    def change(model: SentenceTransformer) -> None:
        with torch.no_grad():
            for layer in _layers(model):
                layer.attention.self.query.weight.mul_(factor)
                layer.attention.self.query.bias.mul_(factor)

    return change


def without_biases(number: int) -> Change:
    """The products of one layer have no biases."""

    def change(model: SentenceTransformer) -> None:
        with torch.no_grad():
            for module in _layers(model)[number].modules():
                if isinstance(module, nn.Linear):
                    module.bias.zero_()

    return change


def saturated(limit: float) -> Change:
    """What leaves an activation is cut at a limit, as by ranges that calibration took too narrow."""

    def change(model: SentenceTransformer) -> None:
        def cut(_: Any, __: Any, found: Tensor) -> Tensor:
            return found.clamp(-limit, limit)

        for layer in _layers(model):
            layer.intermediate.register_forward_hook(cut)

    return change


def epsilon(value: float) -> Change:
    """Layer norms have another epsilon."""

    def change(model: SentenceTransformer) -> None:
        for module in model.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = value

    return change


def few_bits(bits: int) -> Change:
    """Weights are rounded to so many bits, a scale per row, whatever the name promises."""

    def change(model: SentenceTransformer) -> None:
        with torch.no_grad():
            for module in _layers(model).modules():
                if isinstance(module, nn.Linear):
                    module.weight.copy_(_rounded(module.weight, 2 ** (bits - 1) - 1))

    return change


def pooled_by_first(where: Callable[[Tensor], bool]) -> Change:
    """Batches of one kind are pooled by their first token.

    Args:
        where: Whether a batch is of that kind, by its attention mask `[n, tokens]`.
    """

    def change(model: SentenceTransformer) -> None:
        def masked(_: Any, given: tuple[dict[str, Any]]) -> tuple[dict[str, Any]]:
            mask = given[0]["attention_mask"]
            if not where(mask):
                return given
            first = torch.zeros_like(mask)
            first[:, 0] = 1
            return ({**given[0], "attention_mask": first},)

        model[1].register_forward_pre_hook(masked)

    return change


def is_equally_long(mask: Tensor) -> bool:
    """Whether several texts have no padding between them."""
    return len(mask) > 1 and bool(mask.all())


def is_alone(mask: Tensor) -> bool:
    """Whether a batch is one text."""
    return len(mask) == 1


def dynamic_int8(model: SentenceTransformer) -> None:
    """Products of layers as dynamic int8 has them: weights by row, activations by the range of their batch."""
    for layer in _layers(model):
        for name, module in list(layer.named_modules()):
            if isinstance(module, nn.Linear):
                layer.set_submodule(name, _Dynamic(module))


class _Dynamic(nn.Module):
    """A product in int8, computed in float32: the numbers are those of 8 bits."""

    def __init__(self, inner: nn.Linear) -> None:
        super().__init__()
        self.weight = nn.Parameter(_rounded(inner.weight.detach(), 127), requires_grad=False)
        self.bias = inner.bias

    def forward(self, given: Tensor) -> Tensor:
        """See `torch.nn.Linear`."""
        least, most = given.amin().clamp(max=0), given.amax().clamp(min=0)
        scale = ((most - least) / 255).clamp(min=1e-12)
        zero = (-least / scale).round()
        codes = ((given / scale).round() + zero).clamp(0, 255)
        return nn.functional.linear((codes - zero) * scale, self.weight, self.bias)


def _rounded(weight: Tensor, most: int) -> Tensor:
    scale = weight.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / most
    return (weight / scale).round() * scale
