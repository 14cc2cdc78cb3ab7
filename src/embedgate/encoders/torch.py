"""The torch backend: the model as Sentence Transformers runs it, its weights in one type or under autocast.

`fp32` is the reference. `fp16` and `bf16` store all weights in that type, as `model.half()` does; Sentence Transformers
pools them with float32 sums. `amp` stores float32 weights and lets torch's autocast compute the products in bfloat16.
Every CPU can run all four; only one with native instructions gains speed, which the evidence tells.
"""

from __future__ import annotations

import torch

from embedgate.combination import Combination
from embedgate.encoders import BuildContext, Encoder
from embedgate.encoders.sentence_transformer import SentenceTransformerEncoder, load, without_cuda
from embedgate.errors import BuildError
from embedgate.machine import this_machine
from embedgate.model import Model

STORED = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "amp": torch.float32}

# Instruction sets that multiply matrices of the type, by the names Linux gives x86-64's and aarch64's.
NATIVE: dict[str, set[str]] = {
    "fp32": {"avx2", "avx512f", "asimd"},
    "fp16": {"avx512_fp16", "amx_fp16", "asimdhp"},
    "bf16": {"avx512_bf16", "amx_bf16", "bf16"},
    "amp": {"avx512_bf16", "amx_bf16", "bf16"},
}


def unavailable(combination: Combination) -> str | None:
    """Why this machine cannot run the combination, in one line; None where it can."""
    return without_cuda(combination)


def build(model: Model, combination: Combination, context: BuildContext) -> Encoder:
    """Builds the encoder.

    Raises:
        BuildError: If the reference does not compute in float32 throughout.
    """
    kind = combination.weight_precision
    encoder = SentenceTransformerEncoder(
        load(model, combination.device, STORED[kind]),
        combination,
        threads=context.threads,
        dtype=STORED[kind],
        autocast=torch.bfloat16 if kind == "amp" else None,
        details={"native instructions": sorted(NATIVE[kind].intersection(this_machine().flags))},
    )
    if combination.is_reference and (problems := encoder.evidence().problems):
        raise BuildError(f"the reference is not float32 throughout: {problems[0]}", "restore torch's defaults")
    return encoder
