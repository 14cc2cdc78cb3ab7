"""The torch backend: the model as Sentence Transformers runs it, its weights in one type or under autocast.

`fp32` is the reference. `fp16` and `bf16` store all weights in that type, as `model.half()` does; Sentence Transformers
pools them with float32 sums. `amp` stores float32 weights and lets torch's autocast compute the products in half: in
bfloat16 on a CPU, in float16 on CUDA, torch's own defaults. `compile` is `fp16` through torch.compile. Every CPU can
run all of its own; only one with native instructions gains speed, which the evidence tells. Without these, one takes
several times as long as fp32, so it is left to the night (`embedgate.runtime.plan.Plan.by_night`).
"""

from __future__ import annotations

from embedgate.encoders import Stability
from embedgate.encoders.registry import Backend, Offer

# A few times what was measured (docs/properties.md): in another batch, sums differ in their last bit.
FP32, FP16, BF16 = Stability(batch=1e-5), Stability(batch=5e-3), Stability(batch=3e-2)
# Another shape may be compiled to other kernels, which sum in another order.
COMPILED = Stability(batch=1e-2)

# Instruction sets that multiply matrices of the type.
FLOATS = frozenset({"avx2", "avx512f", "asimd"})
HALVES = frozenset({"avx512_fp16", "amx_fp16", "asimdhp"})
BRAINS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})

BACKEND = Backend(
    "torch",
    offers={
        "cpu": (
            Offer("fp32", "float32", FP32, native=FLOATS),
            Offer("bf16", "bfloat16", BF16, native=BRAINS),
            Offer("fp16", "float16", FP16, native=HALVES),
            Offer("amp", "bfloat16", BF16, native=BRAINS),
        ),
        # The capability is the first with the type's own instructions.
        "cuda": (
            Offer("fp32", "float32", FP32),
            Offer("fp16", "float16", FP16, least_capability=(5, 3)),
            Offer("bf16", "bfloat16", BF16, least_capability=(8, 0)),
            Offer("amp", "float16", BF16, least_capability=(7, 0)),
            Offer("compile", "float16", COMPILED, least_capability=(7, 0)),
        ),
    },
    distributions=("sentence-transformers", "tokenizers", "torch", "transformers"),
    order=1,
)
