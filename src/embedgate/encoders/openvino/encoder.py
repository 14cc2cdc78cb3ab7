"""Builds and runs graphs with OpenVINO: see the package."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov

from embedgate.core.combination import Combination
from embedgate.core.errors import BuildError
from embedgate.core.machine import library_versions
from embedgate.core.model import Model
from embedgate.core.roles import Role
from embedgate.encoders import BuildContext, Encoder, Evidence, FloatArray, Stages
from embedgate.encoders.evidence import contradictions
from embedgate.encoders.onnx.export import exported_graph
from embedgate.encoders.onnx.graph import file_bytes
from embedgate.encoders.onnx.tokenizer import Tokenizer
from embedgate.encoders.registry import stability_of

DEVICE = "CPU"
KIND = "openvino-int8"
FILE_NAME = "model.xml"
QUANTIZATION = {"model_type": "transformer", "preset": "mixed"}

INFERS_IN = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
PRODUCT_LAYERS = {"FullyConnected", "MatMul"}
TYPE_NAMES = {"f32": "float32", "bf16": "bfloat16", "f16": "float16", "i8": "int8", "u8": "int8"}


# By process: a copy of one lacks the threads of its core.
_cores: dict[int, ov.Core] = {}


def core() -> ov.Core:
    """This process's core of OpenVINO, which stays.

    On CPUs with AMX, a core sets the stack that signals are handled on as it first compiles, and puts back the one
    before as it goes (`SigAltStackSetup` in its CPU plugin). Of two cores that go as they came, the second leaves the
    first one's memory, which is gone: the next signal, such as Ctrl-C, would end the process.
    """
    process = os.getpid()
    if process not in _cores:
        _cores[process] = ov.Core()
    return _cores[process]


def unavailable(combination: Combination) -> str | None:
    """Why this machine or installation cannot run the combination, in one line; None where it can."""
    if combination.weight_precision == "bf16":
        if "BF16" not in core().get_property(DEVICE, "OPTIMIZATION_CAPABILITIES"):
            return "this CPU has no bfloat16 instructions (avx512_bf16 or amx_bf16)"
    elif combination.weight_precision == "int8" and find_spec("nncf") is None:
        return "nncf, which quantizes for OpenVINO, is not installed: pip install 'embedgate[openvino]'"
    return None


def build(model: Model, combination: Combination, context: BuildContext) -> Encoder:
    """Builds the encoder, and the quantized graph if it is not in the cache yet.

    Raises:
        BuildError: If the model cannot be exported, or there are no texts to calibrate on.
    """
    graph = exported_graph(model, context)
    tokenizer = Tokenizer(model)
    details: dict[str, Any] = {}
    if combination.weight_precision == "int8":
        graph, details["quantization"] = _quantized(graph, tokenizer, context)
    runs = compiled(graph, context.threads, INFERS_IN[combination.weight_precision])
    return OpenVINOEncoder(runs, tokenizer, combination, details, file_bytes(graph))


def compiled(graph: Path, threads: int, infers_in: str | None) -> ov.CompiledModel:
    """A graph, compiled for this CPU.

    Args:
        graph: The graph's file.
        threads: Threads of its own pool.
        infers_in: The type to infer in, as OpenVINO names it; None to let OpenVINO choose.
    """
    properties: dict[str, Any] = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,  # no other backend pins its threads to cores
    }
    if infers_in is not None:
        properties["INFERENCE_PRECISION_HINT"] = infers_in
    return core().compile_model(core().read_model(graph), DEVICE, properties)


class OpenVINOEncoder(Encoder):
    """Runs a compiled model.

    Args:
        compiled: The model, compiled with the outputs of `embedgate.encoders.onnx.export`.
        tokenizer: The model's tokenizer.
        combination: What it is to be; its evidence is held against this.
        details: Put into the evidence as they are.
        artefact_bytes: Bytes of the graph's files.
    """

    def __init__(
        self,
        compiled: ov.CompiledModel,
        tokenizer: Tokenizer,
        combination: Combination,
        details: dict[str, Any],
        artefact_bytes: int | None = None,
    ) -> None:
        self._artefact_bytes = artefact_bytes
        self.stability = stability_of(combination)
        self._compiled = compiled
        self._request = compiled.create_infer_request()
        self._request_free = threading.Lock()  # a request runs one batch at a time, and keeps its results
        self._tokenizer = tokenizer
        self._combination = combination
        self._details = details

    def encode(self, texts: Sequence[str], batch_size: int = 32) -> FloatArray:
        """Embeds texts; see `Encoder.encode`."""
        dim = self._compiled.output("sentence_embedding").partial_shape[1].get_length()
        matrix = np.empty((len(texts), dim), dtype=np.float32)
        for batch in self._tokenizer.batches(texts, batch_size):
            with self._request_free:
                self._request.infer(batch.feeds)
                matrix[batch.rows] = self._request.get_tensor("sentence_embedding").data
        return matrix

    def stages(self, texts: Sequence[str]) -> Stages | None:
        """Intermediate results for a few texts; see `Stages`."""
        hidden: dict[int, FloatArray] = {}
        pooled: dict[int, FloatArray] = {}
        shows_pooled = any("pooled" in output.names for output in self._compiled.outputs)
        for batch in self._tokenizer.batches(texts, len(texts)):
            with self._request_free:
                self._request.infer(batch.feeds)
                # Copies: the request reuses its tensors.
                states = self._request.get_tensor("token_embeddings").data.copy()
                final = self._request.get_tensor("pooled" if shows_pooled else "sentence_embedding").data.copy()
            for i, row in enumerate(batch.rows):
                hidden[int(row)] = states[i][batch.attention_mask[i].astype(bool)]
                pooled[int(row)] = final[i]
        return Stages(
            token_ids=self._tokenizer.ids(texts),
            token_embeddings=[hidden[row] for row in range(len(texts))],
            pooled=np.stack([pooled[row] for row in range(len(texts))]) if texts else None,
            embeddings=self.encode(texts),
        )

    def tokens_as(self, role: Role, texts: Sequence[str]) -> list[npt.NDArray[np.int64]] | None:
        """Token ids of texts with the prompt of a role; see `Encoder.tokens_as`."""
        return self._tokenizer.ids(role.prompted(texts))

    def evidence(self) -> Evidence:
        """Tells what really ran, from the graph that OpenVINO compiled for execution."""
        nodes = self._compiled.get_runtime_model().get_ordered_ops()
        executed = [node for node in nodes if _says(node, "layerType") in PRODUCT_LAYERS and _has_weights(node)]
        # Not its runtimePrecision, which of weights in 16 or 8 bits that are widened first is the weights'.
        kinds = Counter(node.input(0).get_element_type().get_type_name() for node in executed)
        products: Counter[str] = Counter()
        for kind, count in kinds.items():
            products[TYPE_NAMES.get(kind, kind)] += count
        device = "+".join(self._compiled.get_property("EXECUTION_DEVICES")).lower()
        return Evidence(
            device=device,
            threads=int(self._compiled.get_property("INFERENCE_NUM_THREADS")),
            weight_bytes=sum(_constant_bytes(node) for node in nodes),
            products=dict(products),
            library=f"openvino {version('openvino')}",
            details={
                "kernels": dict(Counter(_says(node, "primitiveType") for node in executed)),
                "infers in": self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name(),
                **self._details,
            },
            problems=contradictions(self._combination, products, device),
            artefact_bytes=self._artefact_bytes,
        )

    def close(self) -> None:
        """Releases the compiled model."""
        del self._request, self._compiled


def _quantized(graph: Path, tokenizer: Tokenizer, context: BuildContext) -> tuple[Path, dict[str, Any]]:
    """The path of the quantized graph, and the record of how it was made."""
    if not context.calibration_texts:
        raise BuildError("openvino int8 needs calibration texts, and there are none")
    key = {
        "graph": graph.parent.name,  # holds the digest of the fingerprint and of what exported it
        "libraries": library_versions(("nncf", "openvino")),
        "calibration_sha256": context.calibration_sha256,
        "texts": context.texts_sha256,
        "options": QUANTIZATION,
    }

    def build(folder: Path) -> dict[str, Any]:
        context.progress(f"quantizing for OpenVINO on {len(context.calibration_texts)} calibration texts")
        batches = tokenizer.batches(context.calibration_texts, 1)  # one by one: padding would enter the ranges
        quantized = _quantize(graph, [batch.feeds for batch in batches])
        ov.save_model(quantized, folder / FILE_NAME, compress_to_fp16=False)
        return {**QUANTIZATION, "texts": len(context.calibration_texts), "libraries": key["libraries"]}

    folder, artefact = context.get_or_build(KIND, key, build)
    return folder / FILE_NAME, artefact["record"]


def _quantize(graph: Path, inputs: list[dict[str, Any]]) -> ov.Model:
    os.environ.setdefault("NNCF_CI", "1")  # read when nncf is imported: no telemetry
    import nncf

    nncf.set_log_level(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()):  # progress bars
        return nncf.quantize(
            core().read_model(graph),
            nncf.Dataset(inputs),
            model_type=nncf.ModelType(QUANTIZATION["model_type"]),
            preset=nncf.QuantizationPreset(QUANTIZATION["preset"]),
            subset_size=len(inputs),
        )


def _says(node: ov.Node, name: str) -> str:
    return str(node.get_rt_info()[name].astype(str))


def _has_weights(product: ov.Node) -> bool:
    """Whether a product's second operand comes from constants alone."""
    return all(_says(source, "layerType") == "Const" for source in _roots(product.input_value(1).get_node()))


def _roots(node: ov.Node) -> Iterator[ov.Node]:
    values = node.input_values()
    if not values:
        yield node
    for value in values:
        yield from _roots(value.get_node())


def _constant_bytes(node: ov.Node) -> int:
    if _says(node, "layerType") != "Const" or node.get_output_element_type(0).is_dynamic():
        return 0
    shape = node.output(0).partial_shape.to_shape()
    return int(np.prod(shape)) * int(node.get_output_element_type(0).size)
