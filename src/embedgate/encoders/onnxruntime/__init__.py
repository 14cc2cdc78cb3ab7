"""ONNX Runtime: the exported graph as it is, dynamically quantized, or calibrated; on CUDA in mixed float16.

`int8` quantizes weights per channel and each batch's activations as it comes, so its embeddings depend a little on the
batch, by design. `int8static` is calibrated (see `embedgate.encoders.onnx.calibration`) and depends on the text alone.
`fp16` is the graph of `embedgate.encoders.onnx.half`, run by the CUDA provider.
"""

from __future__ import annotations

from embedgate.encoders import Stability
from embedgate.encoders.registry import Backend, Offer

BACKEND = Backend(
    "onnxruntime",
    offers={
        "cpu": (
            Offer("fp32", "float32", Stability(batch=1e-5)),
            # One scale for a batch's activations, so that each text's steps depend on its neighbours: by design, as
            # ONNX Runtime's maintainers say (microsoft/onnxruntime 10111). Fixed scales leave nothing to the batch.
            Offer("int8", "int8", Stability(batch=0.4)),
            Offer("int8static", "int8", Stability(batch=1e-5)),
        ),
        "cuda": (Offer("fp16", "float16", Stability(batch=5e-3)),),
    },
    distributions=("onnx", "onnxruntime", "onnxruntime-gpu", "onnxscript"),
    extras={"cpu": "onnx", "cuda": "gpu"},
    order=4,
    runs_exported=True,
)
