"""ONNX Runtime on the CPU: the exported graph as it is, dynamically quantized, or calibrated.

`int8` quantizes weights per channel and each batch's activations as it comes, so its embeddings depend a little on the
batch, by design. `int8static` is calibrated (see `embedgate.encoders.calibration`) and depends on the text alone.
"""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime.quantization import QuantType, quantize_dynamic

from embedgate.combination import Combination
from embedgate.encoders import (
    BuildContext,
    Encoder,
    Evidence,
    FloatArray,
    Stability,
    Stages,
    ort_session,
    typical_stability,
)
from embedgate.encoders.calibration import calibrated_graph
from embedgate.encoders.evidence import UNPROVEN, contradictions
from embedgate.encoders.graph import FILE_NAME, exported_graph, file_bytes, quiet_logging, weight_bytes
from embedgate.encoders.ort_session import PROVIDER, session
from embedgate.encoders.tokenize import Tokenizer
from embedgate.errors import BuildError
from embedgate.machine import library_versions
from embedgate.model import Model

# Raise these whenever the graphs derived here change; they are part of the cache keys.
DYNAMIC_VERSION = 1

# One scale for a batch's activations, so that each text's steps depend on its neighbours: by design, as ONNX Runtime's
# maintainers say (microsoft/onnxruntime 10111). Fixed scales leave nothing to the batch.
STABILITY = {
    "fp32": Stability(batch=1e-5),
    "int8": Stability(batch=0.4),
    "int8static": Stability(batch=1e-5),
}

# Which input of a node holds a product's weights.
INTEGER_PRODUCTS = {
    "DynamicQuantizeMatMul": 1,
    "MatMulInteger": 1,
    "MatMulIntegerToFloat": 1,
    "QGemm": 3,
    "QLinearMatMul": 3,
}
# The last one reads small weights and multiplies in float32.
FLOAT_PRODUCTS = {"FusedGemm": 1, "FusedMatMul": 1, "Gemm": 1, "MatMul": 1, "MatMulNBits": 1}


def unavailable(combination: Combination) -> str | None:
    """Why ONNX Runtime cannot run a combination here; None where it can."""
    if combination.device != "cpu":
        return f"embedgate runs ONNX Runtime on the CPU only, not on {combination.device}"
    if PROVIDER not in ort.get_available_providers():
        return f"this onnxruntime has no {PROVIDER}"
    return None


def build(model: Model, combination: Combination, context: BuildContext) -> Encoder:
    """Builds `fp32`, `int8` (dynamic) or `int8static` (calibrated) from the one exported graph.

    Raises:
        BuildError: If the model cannot be exported, quantized or calibrated.
    """
    exported = exported_graph(model, context)
    match combination.weight_precision:
        case "fp32":
            return GraphEncoder(model, exported, combination, context)
        case "int8":
            return GraphEncoder(model, _dynamic_graph(model, exported, context), combination, context)
        case "int8static":
            path, record = calibrated_graph(model, context)
            return GraphEncoder(model, path, combination, context, details={"calibration": record})
    raise BuildError(f"ONNX Runtime builds no {combination.weight_precision}")


class GraphEncoder(Encoder):
    """Any ONNX graph with the inputs and outputs of `embedgate.encoders.graph`, run by ONNX Runtime.

    Args:
        model: The model whose tokenizer feeds the graph.
        path: The graph.
        combination: What the graph is said to be; `evidence` holds it against what really runs.
        context: Threads to use.
        details: What the evidence tells besides, for example how the graph was calibrated.
    """

    def __init__(
        self,
        model: Model,
        path: Path,
        combination: Combination,
        context: BuildContext,
        details: dict[str, Any] | None = None,
    ) -> None:
        kind = combination.weight_precision
        self.stability = STABILITY.get(kind) or typical_stability(kind)
        self._combination = combination
        self._path = path
        self._threads = context.threads
        self._details = details or {}
        self._tokenizer = Tokenizer(model)
        with tempfile.TemporaryDirectory(prefix="embedgate-") as folder:
            optimized = Path(folder) / FILE_NAME
            self._session = session(path, context.threads, optimized)
            # Only what the nodes are is read: weights of any size stay in their own file, and go with the folder.
            self._optimized = onnx.load(optimized, load_external_data=False)

    def encode(self, texts: Sequence[str], batch_size: int = 32) -> FloatArray:
        """See `Encoder.encode`."""
        dim = self._session.get_outputs()[0].shape[1]
        embeddings = np.empty((len(texts), dim), dtype=np.float32)
        for batch in self._tokenizer.batches(texts, batch_size):
            (embeddings[batch.rows],) = self._session.run(["sentence_embedding"], batch.feeds)
        return embeddings

    def evidence(self) -> Evidence:
        """Products by the type they compute in, counted in the graph that ONNX Runtime made of the file it loaded."""
        products, kept = self._products
        providers = self._session.get_providers()
        problems = contradictions(self._combination, products, "cpu" if providers == [PROVIDER] else providers[0])
        if not products:
            problems = (*problems, UNPROVEN)
        return Evidence(
            device="cpu",
            threads=self._session.get_session_options().intra_op_num_threads,
            weight_bytes=weight_bytes(self._path),
            products=products,
            library=f"onnxruntime {ort.__version__}",
            details={
                "provider": providers[0],
                "nodes": dict(sorted(Counter(node.op_type for node in self._optimized.graph.node).items())),
                **({"float_products": kept} if "int8" in products else {}),
                "u8u8_kernels": ort_session.needs_u8u8(),
                **self._details,
            },
            problems=problems,
            artefact_bytes=file_bytes(self._path),
        )

    def stages(self, texts: Sequence[str]) -> Stages:
        """See `Encoder.stages`; the graph gives all of them."""
        names = [output.name for output in self._session.get_outputs()]
        rows: list[dict[str, FloatArray]] = [{} for _ in texts]
        for batch in self._tokenizer.batches(texts, 32):
            outputs = dict(zip(names, self._session.run(names, batch.feeds), strict=True))
            for position, row in enumerate(batch.rows):
                rows[row] = {name: output[position] for name, output in outputs.items()}
                real = batch.attention_mask[position].astype(bool)
                rows[row]["token_embeddings"] = rows[row]["token_embeddings"][real]
        return Stages(
            token_ids=self._tokenizer.ids(texts),
            token_embeddings=[row["token_embeddings"] for row in rows],
            pooled=np.stack([row["pooled"] for row in rows]) if "pooled" in names else None,
            embeddings=np.stack([row["sentence_embedding"] for row in rows]),
        )

    def close(self) -> None:
        """Releases the session, and with it memory and threads."""
        del self._session

    @cached_property
    def _products(self) -> tuple[dict[str, int], list[str]]:
        """Products with weights by type, and the names of those in float."""
        graph = self._optimized.graph
        constant = {tensor.name for tensor in graph.initializer}
        for node in graph.node:
            # Weights that are dequantized before a product make it one in float, however they are stored.
            if node.op_type in ("DequantizeLinear", "Transpose", "Cast") and node.input[0] in constant:
                constant.add(node.output[0])
        counts: Counter[str] = Counter()
        kept = []
        for node in graph.node:
            if node.op_type in INTEGER_PRODUCTS and node.input[INTEGER_PRODUCTS[node.op_type]] in constant:
                counts["int8"] += 1
            elif node.op_type in FLOAT_PRODUCTS and node.input[FLOAT_PRODUCTS[node.op_type]] in constant:
                counts["float32"] += 1
                kept.append(node.name.rpartition("/")[0] or node.name)
        return dict(counts), kept


def _dynamic_graph(model: Model, exported: Path, context: BuildContext) -> Path:
    key = {
        "exported": exported.parent.name,
        "libraries": library_versions(("onnx", "onnxruntime")),
        "version": DYNAMIC_VERSION,
    }

    def make(folder: Path) -> None:
        context.progress(f"quantizing {model.name} for ONNX Runtime")
        # The quantizer advises, on the root logger, to do what the exporter did already.
        with quiet_logging(logging.WARNING):
            quantize_dynamic(
                exported,
                folder / FILE_NAME,
                op_types_to_quantize=["MatMul", "Gemm"],
                per_channel=True,
                weight_type=QuantType.QInt8,
                use_external_data_format=exported.with_name(f"{FILE_NAME}.data").exists(),
            )

    folder, _ = context.cache.get_or_build("onnx-int8", key, make)
    return folder / FILE_NAME
