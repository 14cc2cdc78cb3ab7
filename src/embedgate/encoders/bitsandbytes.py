"""The bitsandbytes backend: LLM.int8 (https://arxiv.org/abs/2208.07339).

Weights are int8 with a scale per output row, activations are quantized per token while the model runs. Columns of
activations beyond the threshold of 6 are outliers and computed in float; which columns these are is found out per
batch. The same batches give the same bits; in other batches an embedding moves about as far as quantization has moved
it from the reference's.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import torch
from bitsandbytes.nn.modules import Int8Params
from torch import Tensor
from transformers import BitsAndBytesConfig

from embedgate.combination import Combination
from embedgate.encoders import BuildContext, Encoder, Stability
from embedgate.encoders.sentence_transformer import SentenceTransformerEncoder, load, without_cuda
from embedgate.model import Model

# Which columns are outliers depends on the batch.
STABILITY = Stability(batch=0.15)


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
    config = BitsAndBytesConfig(load_in_8bit=True)  # type: ignore[no-untyped-call]
    loaded = load(model, combination.device, torch.float32, quantization_config=config)
    return _LLMInt8Encoder(loaded, combination, threads=context.threads, library="bitsandbytes", stability=STABILITY)


class _LLMInt8Encoder(SentenceTransformerEncoder):
    """Adds the weights' scales, which are neither parameters nor buffers."""

    def _weights(self) -> Iterator[Tensor]:
        yield from super()._weights()
        for module in self._model.modules():
            weight: Any = getattr(module, "weight", None)
            if isinstance(weight, Int8Params):
                state: Any = module.state
                # The first run moves the scales from the weights to the layer's state.
                yield weight.SCB if weight.SCB is not None else state.SCB
