"""Looks into what torch runs: its weights by name, and the hidden states of each of its layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from embedgate.encoders import EMBEDDINGS, FloatArray
from embedgate.encoders.weights import BFLOAT16, FLOAT16, Weight, rounding_of_steps

# What Sentence Transformers calls its first module's transformer: the names of its weights begin behind that.
TRANSFORMER = ("0.model.", "0.auto_model.")
# How far storing a number in a type rounds it off.
ROUNDINGS = {torch.float32: 0.0, torch.float64: 0.0, torch.float16: FLOAT16, torch.bfloat16: BFLOAT16}
# Hidden states by layer, in the order they arose.
States: TypeAlias = list[tuple[str, Tensor]]


class ModuleWeights(Mapping[str, Weight]):
    """The weights of a model by name, each copied into float32 when it is asked for.

    Of products that torch quantized itself, they are dequantized; what other libraries pack is left out.

    Args:
        model: The model.
    """

    def __init__(self, model: nn.Module) -> None:
        self._found: dict[str, Tensor | nn.Module] = {
            plain_name(name): weight
            for name, weight in model.named_parameters()
            if weight.dtype in ROUNDINGS and not is_traceable_wrapper_subclass(weight)
        }
        self._found |= {
            f"{plain_name(name)}.weight": module for name, module in model.named_modules() if _is_packed(module)
        }

    def __getitem__(self, name: str) -> Weight:
        found: Any = self._found[name]
        if isinstance(found, nn.Module):
            return _unpacked(found)
        return Weight(found.detach().float().cpu().numpy(), ROUNDINGS[found.dtype])

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


def layers_of(
    model: nn.Module, read: Mapping[str, Any], masks: Tensor, options: Mapping[str, Any]
) -> dict[str, list[FloatArray]] | None:
    """Hidden states after each layer, as `Encoder.layers_as` gives them.

    Args:
        model: A `SentenceTransformer`.
        read: What its tokenizer makes of a batch of texts.
        masks: Where the batch has tokens and no padding, bool `[n, tokens]`.
        options: What the model's `forward` takes besides.
    """
    device = next(model.parameters()).device
    given = {name: each.to(device) if isinstance(each, Tensor) else each for name, each in read.items()}
    with torch.inference_mode(), _states_of_layers(model.eval()) as kept:
        model(given, **options)
    if not kept or any(states.shape[:2] != masks.shape for _, states in kept):
        return None
    return {name: _rows(states, masks.to(device)) for name, states in kept}


def _rows(states: Tensor, masks: Tensor) -> list[FloatArray]:
    return [row[mask].float().cpu().numpy() for row, mask in zip(states, masks, strict=True)]


@contextmanager
def _states_of_layers(model: nn.Module) -> Iterator[States]:
    """Keeps what each layer of a transformer gives while it runs, and what its first layer is given.

    Args:
        model: The model. Its layers are those that it has in a list.
    """
    kept: States = []
    hooks = []
    for name, layers in _lists(model):
        hooks.append(layers[0].register_forward_pre_hook(_keeps_input(kept), with_kwargs=True))
        hooks += [layer.register_forward_hook(_keeps(f"{name}.{i}", kept)) for i, layer in enumerate(layers)]
    try:
        yield kept
    finally:
        for hook in hooks:
            hook.remove()


def plain_name(name: str) -> str:
    """A weight's or module's name as the transformer itself has it."""
    prefix = next((each for each in TRANSFORMER if name.startswith(each)), "")
    return name.removeprefix(prefix)


def _lists(model: nn.Module) -> Iterator[tuple[str, nn.ModuleList]]:
    """The lists of layers that are in no other list, by name; those of one length with the longest."""
    lists = {name: each for name, each in model.named_modules() if isinstance(each, nn.ModuleList) and len(each)}
    outer = {name: each for name, each in lists.items() if not any(name.startswith(f"{other}.") for other in lists)}
    longest = max(map(len, outer.values()), default=0)
    yield from ((plain_name(name), each) for name, each in outer.items() if len(each) == longest)


def _keeps(name: str, kept: States) -> Any:
    def keep(_: nn.Module, __: Any, result: Any) -> None:
        first = result[0] if isinstance(result, tuple) and result else result
        if isinstance(first, Tensor):
            again = sum(each == name or each.startswith(f"{name} again") for each, _ in kept)
            kept.append((f"{name} again ({again})" if again else name, first.detach()))

    return keep


def _keeps_input(kept: States) -> Any:
    def keep(_: nn.Module, given: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        first = given[0] if given else named.get("hidden_states")
        if isinstance(first, Tensor) and not any(name == EMBEDDINGS for name, _ in kept):
            kept.append((EMBEDDINGS, first.detach()))

    return keep


def _is_packed(module: nn.Module) -> bool:
    """Whether torch itself quantized a product: its weights are a method then."""
    return hasattr(module, "in_features") and callable(getattr(module, "weight", None))


def _unpacked(module: nn.Module) -> Weight:
    packed: Any = module.weight
    tensor: Tensor = packed()
    by_channel = tensor.qscheme() in (torch.per_channel_affine, torch.per_channel_symmetric)
    steps: Any = tensor.q_per_channel_scales().numpy()[:, None] if by_channel else tensor.q_scale()
    values = tensor.dequantize().numpy()
    return Weight(values, rounding_of_steps(values, steps), may_be_scaled=True)
