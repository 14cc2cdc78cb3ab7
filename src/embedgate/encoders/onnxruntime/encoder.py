"""Builds and runs graphs with ONNX Runtime: see the package."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from embedgate.core.combination import Combination
from embedgate.core.errors import BuildError
from embedgate.core.machine import library_versions
from embedgate.core.model import Model
from embedgate.core.roles import Role
from embedgate.core.scratch import temporary_folder
from embedgate.encoders import BuildContext, Encoder, Evidence, FloatArray, Stages
from embedgate.encoders.evidence import UNPROVEN, contradictions
from embedgate.encoders.loading import PROBE
from embedgate.encoders.onnx import session as ort_session
from embedgate.encoders.onnx.calibration import calibrated_graph
from embedgate.encoders.onnx.export import exported_graph, graph_stages
from embedgate.encoders.onnx.graph import FILE_NAME, constants, file_bytes, read_graph, save_graph, weight_bytes
from embedgate.encoders.onnx.half import half_graph
from embedgate.encoders.onnx.qdq import dynamic_graph
from embedgate.encoders.onnx.session import PROVIDERS, session
from embedgate.encoders.onnx.tokenizer import Tokenizer
from embedgate.encoders.onnx.weights import GraphWeights
from embedgate.encoders.registry import stability_of
from embedgate.encoders.sentence_transformer import without_cuda
from embedgate.encoders.weights import Weight

# Raise these whenever the graphs derived here change; they are part of the cache keys.
DYNAMIC_VERSION = 2

# Types as ONNX Runtime's profile calls them.
TYPE_NAMES = {"float": "float32", "float16": "float16", "bfloat16": "bfloat16", "int8": "int8", "uint8": "int8"}

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
    if reason := without_cuda(combination):
        return reason
    provider = PROVIDERS[combination.device]
    if provider in ort.get_available_providers():
        return None
    step = ": install onnxruntime-gpu in the place of onnxruntime" if combination.device == "cuda" else ""
    return f"this onnxruntime has no {provider}{step}"


def build(model: Model, combination: Combination, context: BuildContext) -> Encoder:
    """Builds `fp32`, `fp16`, `int8` (dynamic) or `int8static` (calibrated) from the one exported graph.

    Raises:
        BuildError: If the model cannot be exported, quantized or calibrated.
    """
    exported = exported_graph(model, context)
    match combination.weight_precision:
        case "fp32":
            return GraphEncoder(model, exported, combination, context)
        case "fp16":
            path, record = half_graph(model, exported, context)
            return GraphEncoder(model, path, combination, context, details={"graph": record})
        case "int8":
            return GraphEncoder(model, _dynamic_graph(model, exported, context), combination, context)
        case "int8static":
            path, record = calibrated_graph(model, context)
            return GraphEncoder(model, path, combination, context, details={"calibration": record})
    raise BuildError(f"ONNX Runtime builds no {combination.weight_precision}")


class GraphEncoder(Encoder):
    """Any ONNX graph with the inputs and outputs of `embedgate.encoders.onnx.export`, run by ONNX Runtime.

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
        self.stability = stability_of(combination)
        self._combination = combination
        self._path = path
        self._threads = context.threads
        self._details = details or {}
        self._tokenizer = Tokenizer(model)
        self._device = combination.device
        with temporary_folder() as folder:
            optimized = folder / FILE_NAME
            self._session = session(path, context.threads, optimized, self._device)
            # Only what the nodes are is read: weights of any size stay in their own file, and go with the folder.
            self._optimized = read_graph(optimized).proto

    def encode(self, texts: Sequence[str], batch_size: int = 32) -> FloatArray:
        """See `Encoder.encode`."""
        dim = self._session.get_outputs()[0].shape[1]
        embeddings = np.empty((len(texts), dim), dtype=np.float32)
        for batch in self._tokenizer.batches(texts, batch_size):
            (embeddings[batch.rows],) = self._session.run(["sentence_embedding"], batch.feeds)
        return embeddings

    def evidence(self) -> Evidence:
        """Products by the type they compute in, counted in the graph that ONNX Runtime made of the file it loaded."""
        kinds = self._products
        problems = []
        # ONNX Runtime leaves out a provider that it cannot load, and goes on without it.
        provider = self._session.get_providers()[0]
        device = next((name for name, known in PROVIDERS.items() if known == provider), provider)
        if self._device == "cuda" == device:
            kinds, elsewhere = _measured(kinds, self._profiled())
            if elsewhere:
                problems.append(f"{len(elsewhere)} of {len(kinds)} products ran elsewhere: {elsewhere[0]}")
        products = dict(Counter(kinds.values()))
        problems += contradictions(self._combination, products, device)
        if not products:
            problems.append(UNPROVEN)
        kept = [name.rpartition("/")[0] or name for name, kind in kinds.items() if kind == "float32"]
        return Evidence(
            device=device,
            threads=self._session.get_session_options().intra_op_num_threads,
            weight_bytes=weight_bytes(self._path),
            products=products,
            library=f"onnxruntime {ort.__version__}",
            details={
                "provider": provider,
                "nodes": dict(sorted(Counter(node.op_type for node in self._optimized.graph.node).items())),
                **({"float_products": kept} if "int8" in products else {}),
                "u8u8_kernels": ort_session.needs_u8u8(),
                **self._details,
            },
            problems=tuple(problems),
            artefact_bytes=file_bytes(self._path),
        )

    def stages(self, texts: Sequence[str]) -> Stages:
        """See `Encoder.stages`; the graph gives all of them."""
        names = [output.name for output in self._session.get_outputs()]
        return graph_stages(self._tokenizer, texts, names, lambda batch: self._session.run(names, batch.feeds))

    def tokens_as(self, role: Role, texts: Sequence[str]) -> list[npt.NDArray[np.int64]] | None:
        """Token ids of texts with the prompt of a role; see `Encoder.tokens_as`."""
        return self._tokenizer.ids(role.prompted(texts))

    def weights(self) -> Mapping[str, Weight]:
        """The file's weights; see `Encoder.weights`."""
        return GraphWeights(read_graph(self._path))

    def close(self) -> None:
        """Releases the session, and with it memory and threads."""
        del self._session

    @cached_property
    def _products(self) -> dict[str, str]:
        """Products with weights by the node's name, and the type they compute in, as the graph says."""
        # Weights that are dequantized before a product make it one in float, however they are stored.
        constant = constants(self._optimized)
        kinds = {}
        for node in self._optimized.graph.node:
            if node.op_type in INTEGER_PRODUCTS and node.input[INTEGER_PRODUCTS[node.op_type]] in constant:
                kinds[node.name] = "int8"
            elif node.op_type in FLOAT_PRODUCTS and node.input[FLOAT_PRODUCTS[node.op_type]] in constant:
                kinds[node.name] = "float32"
        return kinds

    def _profiled(self) -> list[Mapping[str, Any]]:
        """Profiles the encoding of a short text in a session of its own, and returns what every node said of itself."""
        (batch,) = self._tokenizer.batches([PROBE], 1)
        with temporary_folder() as folder:
            runner = session(self._path, self._threads, device=self._device, profile=folder / "profile")
            runner.run(["sentence_embedding"], batch.feeds)
            events: list[Mapping[str, Any]] = json.loads(Path(runner.end_profiling()).read_text("utf-8"))
        return events


def _measured(named: Mapping[str, str], events: Sequence[Mapping[str, Any]]) -> tuple[dict[str, str], list[str]]:
    """Tells what products really computed in, and those that did not run on CUDA.

    Args:
        named: The products by the node's name, as the graph has them.
        events: A profile of ONNX Runtime's.

    Returns:
        The type each product read its activations in, `unknown` where the profile does not name it; and a line for each
        product of another provider than CUDA's.
    """
    kinds, elsewhere = dict.fromkeys(named, "unknown"), []
    for event in events:
        name = str(event.get("name", "")).removesuffix("_kernel_time")
        said = event.get("args", {})
        if event.get("cat") != "Node" or name not in named or "provider" not in said:
            continue
        (read, *_), *_ = said["input_type_shape"]
        kinds[name] = TYPE_NAMES.get(read, read)
        if said["provider"] != PROVIDERS["cuda"]:
            elsewhere.append(f"{name} on {said['provider']}")
    return kinds, elsewhere


def _dynamic_graph(model: Model, exported: Path, context: BuildContext) -> Path:
    key = {
        "exported": exported.parent.name,
        "libraries": library_versions(ort_session.LIBRARIES),
        "version": DYNAMIC_VERSION,
    }

    def make(folder: Path) -> None:
        context.progress(f"quantizing {model.name} for ONNX Runtime")
        save_graph(dynamic_graph(read_graph(exported)), folder / FILE_NAME)

    folder, _ = context.get_or_build("onnx-int8", key, make)
    return folder / FILE_NAME
