"""The torchao backend: weights in 8 bits with a scale per output row, activations quantized per token while it runs.

`int8` anywhere; `fp8` (E4M3) on GPUs with its instructions (compute capability 8.9 and newer). On CUDA all that is not
quantized is bfloat16, the type torchao's kernels give, on the CPU float32. It runs eagerly, as `quantize_` leaves the
model: what is measured here is its quality and size. Its speed comes with `torch.compile` alone. The same batches give
the same bits. In other batches the last bits of float sums differ, some activations round to the next step, and an
embedding moves about as far as quantization has moved it from the reference's.
"""

from __future__ import annotations

from embedgate.encoders import Stability
from embedgate.encoders.registry import Backend, Offer

# The last bits of float32 sums depend on the batch, and move activations across a step of int8.
STEPS = Stability(batch=0.25)
# Instruction sets that multiply bytes.
BYTES = frozenset({"avx512_vnni", "amx_int8", "asimddp"})

BACKEND = Backend(
    "torchao",
    offers={
        "cpu": (Offer("int8", "int8", STEPS, native=BYTES),),
        "cuda": (
            Offer("int8", "int8", STEPS, least_capability=(7, 5)),
            Offer("fp8", "float8_e4m3fn", STEPS, least_capability=(8, 9)),
        ),
    },
    distributions=("torchao",),
    extras={"cpu": "torchao", "cuda": "torchao"},
    order=3,
)
