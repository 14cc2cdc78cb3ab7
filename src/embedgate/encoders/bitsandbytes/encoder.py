"""Builds what bitsandbytes runs: see the package."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from bitsandbytes.nn.modules import Int8Params, Linear8bitLt, Params4bit
from torch import Tensor, nn
from transformers import BitsAndBytesConfig

from embedgate.core.combination import Combination
from embedgate.core.model import Model
from embedgate.encoders import BuildContext, Encoder, Evidence
from embedgate.encoders.loading import PROBE, load
from embedgate.encoders.sentence_transformer import SentenceTransformerEncoder, without_cuda

# What the paper and transformers use: an activation of this size makes its column an outlier.
THRESHOLD = 6.0
REST = {"cpu": torch.float32, "cuda": torch.float16}


def unavailable(combination: Combination) -> str | None:
    """Why this machine or installation cannot run the combination, in one line; None where it can."""
    if find_spec("accelerate") is None:
        return "transformers needs accelerate to load int8 weights: pip install 'embedgate[bitsandbytes]'"
    capability = torch.backends.cpu.get_cpu_capability()
    if combination.device == "cpu" and capability != "AVX512":
        return f"LLM.int8 multiplies in int8 on CPUs with AVX-512 alone, this one has {capability}"
    return without_cuda(combination)


def build(model: Model, combination: Combination, context: BuildContext) -> Encoder:
    """Builds the encoder."""
    # A line per product and batch, saying that float32 inputs are cast to float16 before they are quantized.
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    kind, rest = combination.weight_precision, REST[combination.device]
    options: dict[str, Any] = (
        {"load_in_8bit": True, "llm_int8_threshold": THRESHOLD}
        if kind == "int8"
        else {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": rest}
    )
    config = BitsAndBytesConfig(**options)  # type: ignore[no-untyped-call]
    # Without a map, transformers takes a GPU wherever there is one, for the CPU's combinations, too.
    loaded = load(model, combination.device, rest, quantization_config=config, device_map={"": combination.device})
    return BitsAndBytesEncoder(loaded, combination, threads=context.threads, library="bitsandbytes")


class BitsAndBytesEncoder(SentenceTransformerEncoder):
    """Adds the weights' scales, which are neither parameters nor buffers, and what LLM.int8 left in float."""

    def evidence(self) -> Evidence:
        """Tells what really ran; of LLM.int8 also how many columns of a short text's activations were outliers."""
        layers = [module for module in self._model.modules() if isinstance(module, Linear8bitLt)]
        self._details["layers"] = {"Linear8bitLt": len(layers)} if layers else {}
        if layers:
            outliers = _outlier_columns(layers, lambda: self.encode([PROBE]))
            self._details |= {"threshold": layers[0].state.threshold, "outlier columns": outliers}
        return super().evidence()

    def _weights(self) -> Iterator[Tensor]:
        yield from super()._weights()
        for module in self._model.modules():
            weight: Any = getattr(module, "weight", None)
            if isinstance(weight, Int8Params):
                state: Any = module.state
                # The first run moves the scales from the weights to the layer's state.
                yield weight.SCB if weight.SCB is not None else state.SCB
            elif isinstance(weight, Params4bit) and weight.quant_state is not None:
                yield from _scales(weight.quant_state)


def _scales(state: Any) -> Iterator[Tensor]:
    """Scales of the blocks, and the scales of these where they are quantized themselves."""
    yield state.absmax
    if state.nested:
        yield from _scales(state.state2)


def _outlier_columns(layers: Sequence[nn.Module], run: Callable[[], object]) -> dict[str, int]:
    """Columns of activations beyond the threshold while something is encoded, of all columns that were read."""
    found = {"beyond threshold": 0, "of": 0}

    def look(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        columns = inputs[0].detach().reshape(-1, inputs[0].shape[-1]).abs().amax(dim=0)
        found["beyond threshold"] += int((columns > THRESHOLD).sum())
        found["of"] += columns.numel()

    hooks = [layer.register_forward_pre_hook(look) for layer in layers]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return found
