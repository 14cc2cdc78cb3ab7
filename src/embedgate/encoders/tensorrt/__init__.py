"""The TensorRT backend: the exported graph as a strongly typed engine, in `fp16`, `int8` or `fp8`.

Every node computes in the type the graph says (TensorRT 11 knows nothing else; TensorRT 10 does so where it is asked):
`fp16` is the exported graph in mixed precision (`embedgate.encoders.onnx.half`), `int8` and `fp8` are the calibrated
Q/DQ graphs of the other backends, what is not quantized in float16. Where things are:

    library      which package there is: `tensorrt`, or `tensorrt_rtx` for RTX cards
    buckets      the lengths and batches an engine is made for
    engine       builds an engine, or takes it from the cache
    inspection   which type every product of an engine computes in
    encoder      whether it can run here, and what is built of which graph
    loaded       loads an engine, whoever has built it
    runner       runs an engine of embedgate's own

The build half has run with `tensorrt_rtx`, which needs no GPU for it. The rest has not yet run on hardware.
"""

from __future__ import annotations

from embedgate.encoders import Stability
from embedgate.encoders.registry import Backend, Offer

# Scales are fixed, so nothing depends on the batch but which kernel was chosen for its shape, and so how sums round. A
# step of 8 bits may tip over by that.
STEPS = Stability(batch=0.15)

BACKEND = Backend(
    "tensorrt",
    offers={
        "cuda": (
            Offer("fp16", "float16", Stability(batch=1e-2), least_capability=(7, 5)),
            Offer("int8", "int8", STEPS, least_capability=(7, 5)),
            Offer("fp8", "float8_e4m3fn", STEPS, least_capability=(8, 9)),
        ),
    },
    distributions=("onnx", "onnxscript", "tensorrt", "tensorrt-rtx"),
    extras={"cuda": "gpu,tensorrt"},
    order=6,
    runs_exported=True,
)
