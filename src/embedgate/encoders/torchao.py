"""The torchao backend: int8 weights with a scale per output row, activations quantized per token while the model runs.

It runs eagerly, as `quantize_` leaves the model: what is measured here is its quality and size. Its speed comes with
`torch.compile` alone. The same batches give the same bits. In other batches the last bits of float32 sums differ, some
activations round to the next int8 step, and an embedding moves about as far as quantization has moved it from the
reference's.
"""

from __future__ import annotations

from collections import Counter

import torch
from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

from embedgate.combination import Combination
from embedgate.encoders import BuildContext, Encoder, Stability
from embedgate.encoders.sentence_transformer import (
    SentenceTransformerEncoder,
    is_product,
    load,
    weight_of,
    without_cuda,
)
from embedgate.model import Model

# The last bits of float32 sums depend on the batch, and move activations across a step of int8.
STABILITY = Stability(batch=0.25)


def unavailable(combination: Combination) -> str | None:
    """Why this machine cannot run the combination, in one line; None where it can."""
    return without_cuda(combination)


def build(model: Model, combination: Combination, context: BuildContext) -> Encoder:
    """Builds the encoder."""
    loaded = load(model, combination.device, torch.float32)
    # The transformer is `.model`: what is set as `.auto_model` is never run.
    quantize_(loaded[0].model, Int8DynamicActivationInt8WeightConfig())
    classes = Counter(type(weight_of(module)).__name__ for module in loaded.modules() if is_product(module))
    return SentenceTransformerEncoder(
        loaded,
        combination,
        threads=context.threads,
        library="torchao",
        stability=STABILITY,
        details={"weight classes": dict(classes)},
    )
