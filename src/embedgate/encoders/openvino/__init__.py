"""The OpenVINO backend: the one ONNX graph, compiled for this CPU.

`fp32` and `bf16` run the exported graph with the type OpenVINO is told to infer in, since it chooses bfloat16 by itself
on a CPU that has it. `int8` runs what NNCF's post-training quantization makes of the graph: SmoothQuant
(https://arxiv.org/abs/2211.10438), symmetric weights per channel, asymmetric activations with ranges from the
calibration texts, and bias correction. What it leaves in float is inferred in float32; embedding tables are int8 in the
artefact, and float32 again once OpenVINO has loaded it.
"""

from __future__ import annotations

from embedgate.encoders import Stability
from embedgate.encoders.registry import Backend, Offer

BACKEND = Backend(
    "openvino",
    # Batches of another size may run other kernels, whose sums in float32 differ in their last bits.
    offers={
        "cpu": (
            Offer("fp32", "float32", Stability(batch=1e-5)),
            Offer("bf16", "bfloat16", Stability(batch=3e-2)),
            Offer("int8", "int8", Stability(batch=0.15)),
        ),
    },
    distributions=("nncf", "onnx", "onnxscript", "openvino"),
    extras={"cpu": "openvino"},
    order=5,
    runs_exported=True,
)
