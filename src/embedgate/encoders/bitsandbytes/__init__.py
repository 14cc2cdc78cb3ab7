"""The bitsandbytes backend: LLM.int8 (https://arxiv.org/abs/2208.07339) and NF4 (https://arxiv.org/abs/2305.14314).

`int8`: weights are int8 with a scale per output row, activations are quantized per token while the model runs. Columns
of activations beyond `THRESHOLD` are outliers and computed in float; which ones these are is found out per batch. The
same batches give the same bits; in other batches an embedding moves about as far as quantization has moved it from the
reference's. `nf4`: weights are 4-bit codes with a scale per block of 64, widened to the activations' type for every
product. Both save memory; they are often slower than half weights, so memory is their budget.

On CUDA all that is not quantized is float16, on the CPU float32.
"""

from __future__ import annotations

from embedgate.encoders import Stability
from embedgate.encoders.registry import Backend, Offer

# Which columns are outliers depends on the batch.
INT8 = Stability(batch=0.15)

BACKEND = Backend(
    "bitsandbytes",
    offers={
        "cpu": (Offer("int8", "int8", INT8),),
        "cuda": (
            Offer("int8", "int8", INT8, least_capability=(7, 5)),
            Offer("nf4", "nf4", Stability(batch=1e-2), least_capability=(6, 0)),
        ),
    },
    distributions=("accelerate", "bitsandbytes"),
    extras={"cpu": "bitsandbytes", "cuda": "bitsandbytes"},
    order=2,
)
