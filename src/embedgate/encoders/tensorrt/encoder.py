"""Says whether TensorRT can run here, and builds what it runs: see the package."""

from __future__ import annotations

from typing import Any

from embedgate.core.combination import Combination
from embedgate.core.errors import BuildError, Unavailable
from embedgate.core.model import Model
from embedgate.encoders import BuildContext, Encoder
from embedgate.encoders.gpu.stream import CudaStream, this_gpu
from embedgate.encoders.onnx.calibration import calibrated_graph
from embedgate.encoders.onnx.export import exported_graph
from embedgate.encoders.onnx.fp8 import fp8_graph
from embedgate.encoders.onnx.half import half_graph
from embedgate.encoders.onnx.tokenizer import Tokenizer
from embedgate.encoders.sentence_transformer import without_cuda
from embedgate.encoders.tensorrt.buckets import buckets
from embedgate.encoders.tensorrt.engine import engine_of
from embedgate.encoders.tensorrt.library import installed, unsupported
from embedgate.encoders.tensorrt.runner import TensorRTEncoder


def unavailable(combination: Combination) -> str | None:
    """Why this machine or installation cannot run the combination, in one line; None where it can."""
    try:
        found = installed()
    except Unavailable as error:
        return str(error)
    return without_cuda(combination) or unsupported(found, this_gpu())


def build(model: Model, combination: Combination, context: BuildContext) -> Encoder:
    """Builds the engine, or takes it from the cache, and loads it.

    Raises:
        BuildError: If the graph cannot be made, parsed or built, or the engine cannot be loaded.
    """
    record: dict[str, Any] = {}
    match combination.weight_precision:
        case "fp16":
            source = exported_graph(model, context)
        case "int8":
            source, record = calibrated_graph(model, context)
        case "fp8":
            source, record = fp8_graph(model, context)
        case other:
            raise BuildError(f"TensorRT builds no {other}")
    graph, conversion = half_graph(model, source, context)
    tokenizer = Tokenizer(model)
    gpu = this_gpu()
    made = engine_of(installed(), graph, buckets(tokenizer.max_tokens, context.batch_size), gpu, context)
    details = {"graph": conversion, **({"calibration": record} if record else {})}
    return TensorRTEncoder(made, tokenizer, combination, CudaStream(), context.threads, details)
