"""An OpenVINO IR, as OpenVINO serves it: from the model's folder, or from anywhere."""

from __future__ import annotations

import threading
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from embedgate.core.combination import Combination
from embedgate.core.distrust import distrusting
from embedgate.core.errors import BuildError, GateError
from embedgate.core.model import Model
from embedgate.core.spec import Spec
from embedgate.deployed import files
from embedgate.deployed.pipeline import Pipeline, Port, Values
from embedgate.encoders import BuildContext, Encoder, Evidence, FloatArray, Stages
from embedgate.encoders.openvino.encoder import OpenVINOEncoder, compiled, core
from embedgate.encoders.sources import Source

ANEW = "fetch or convert it anew"
OUTPUT, INFERS_IN = "output", "infers_in"
# As its properties name types; without the key, OpenVINO chooses, as it does where it is deployed.
TYPES = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}
INTEGERS = {"i64": np.int64, "i32": np.int32}


def source(spec: Spec, model: Model) -> Source:
    """What runs an OpenVINO IR.

    Raises:
        GateError: If there is no such file, or it is no IR, or lacks its weights.
    """
    spec.refuse_unknown((OUTPUT, INFERS_IN))
    path = files.find(spec, model)
    weights, origin = path.with_suffix(".bin"), files.shown(path, model)
    if not weights.is_file():
        raise GateError(f"{origin} keeps its weights in {weights.name}, which is missing", "fetch that file, too")
    files.refuse_pointer(weights)
    if not files.first_bytes(path).removeprefix(BOM_UTF8).lstrip().startswith(b"<"):
        # OpenVINO would try it as a graph of other libraries.
        raise GateError(f"{origin} is no OpenVINO IR: it is no XML", ANEW)
    with distrusting(GateError, f"{origin} is no OpenVINO IR", ANEW, RuntimeError):
        graph = core().read_model(path)
        kind = _stored_in(graph)
    combination = spec.combination(files.name_of(path), files.promise_of(path) or kind)
    if combination.device != "cpu":
        raise GateError(f"{origin}: embedgate runs OpenVINO on the CPU alone", "leave out device=cuda")
    infers_in = spec.one_of(INFERS_IN, TYPES, "fp32") if INFERS_IN in spec.given else None
    return OpenVINOFile(path, combination, origin, spec.given.get(OUTPUT), infers_in)


def beside(path: Path) -> list[str]:
    """The file of its weights."""
    return [path.with_suffix(".bin").name]


def _stored_in(graph: ov.Model) -> str:
    """The weight precision that a graph tells, where its file's name promises none."""
    nodes = graph.get_ops()
    kinds = Counter(node.get_type_name() for node in nodes)
    if kinds["FakeQuantize"]:
        return "int8"
    size: Counter[str] = Counter()
    for node in nodes:
        if node.get_type_name() == "Constant":
            size[node.get_element_type().get_type_name()] += int(np.prod(node.get_output_shape(0)))
    most = max(size, key=size.__getitem__, default="f32")
    # Files are often kept in half the size, and computed with in float32.
    return {"i8": "int8wo", "u8": "int8wo", "i4": "int4", "u4": "int4", "f16": "fp32", "bf16": "bf16"}.get(most, "fp32")


class OpenVINOFile(Source):
    """Runs an OpenVINO IR.

    Args:
        path: The graph's file.
        combination: What it is called.
        origin: The path as a person reads it.
        output: The output to use; None to choose it.
        infers_in: The type to infer in, one of `TYPES`; None to let OpenVINO choose.
    """

    def __init__(
        self, path: Path, combination: Combination, origin: str, output: str | None, infers_in: str | None
    ) -> None:
        super().__init__(combination)
        self.origin = origin
        self._path = path
        self._output = output
        self._infers_in = infers_in

    @cached_property
    def identity(self) -> Mapping[str, str]:
        """The hash of graph and weights; see `Source.identity`."""
        return {"sha256": files.sha256_of_all([self._path, self._path.with_suffix(".bin")])}

    def unfit(self, model: Model) -> str | None:
        """Why it cannot be this model's; see `Source.unfit`."""
        return files.unfit(model)

    def tokenizes_as(self, model: Model) -> Model | None:
        """The model that it was made of; see `Source.tokenizes_as`."""
        return model

    def build(self, model: Model, context: BuildContext) -> Encoder:
        """Compiles the graph; see `Source.build`."""
        hint = TYPES[self._infers_in] if self._infers_in else None
        runs = compiled(self._path, context.threads, hint)
        details: dict[str, Any] = {"file": self.origin}
        size = files.bytes_of([self._path, self._path.with_suffix(".bin")])
        return OpenVINOFileEncoder(model, runs, self.combination, details, size, self.origin, self._output)


class OpenVINOFileEncoder(OpenVINOEncoder):
    """Any OpenVINO IR of a transformer, followed by what is left of the model's own modules.

    Args:
        model: The model that it is a file of.
        runs: The compiled graph.
        combination: What it is called.
        details: Put into the evidence as they are.
        size: Bytes of its files.
        origin: The path as a person reads it.
        output: The output to use; None to choose it.

    Raises:
        BuildError: If it gives nothing that embeddings can be made of.
    """

    def __init__(
        self,
        model: Model,
        runs: ov.CompiledModel,
        combination: Combination,
        details: dict[str, Any],
        size: int,
        origin: str,
        output: str | None,
    ) -> None:
        self._free = threading.Lock()
        self._names = [port.any_name if port.names else str(place) for place, port in enumerate(runs.outputs)]
        inputs: dict[str, Port] = {}
        for port in runs.inputs:
            kind = port.get_element_type().get_type_name()
            if kind not in INTEGERS:
                raise BuildError(f"{origin} has the input {port.any_name} of {kind}", "convert it with integer inputs")
            shape = port.get_partial_shape()
            sizes = tuple(None if size.is_dynamic else size.get_length() for size in shape)
            inputs[port.any_name] = Port(INTEGERS[kind], sizes)
        asks = runs.create_infer_request()

        def run(feeds: Mapping[str, Values]) -> dict[str, Values]:
            with self._free:
                asks.infer(dict(feeds))
                # Copies: the request reuses its tensors.
                return {name: asks.get_output_tensor(place).data.copy() for place, name in enumerate(self._names)}

        self._pipeline = Pipeline(origin, model, inputs, run, output)
        super().__init__(runs, self._pipeline.tokenizer, combination, {**details, **self._pipeline.described}, size)

    def encode(self, texts: Sequence[str], batch_size: int = 32) -> FloatArray:
        """Embeds texts; see `Encoder.encode`."""
        return self._pipeline.encode(texts, batch_size)

    def stages(self, texts: Sequence[str]) -> Stages | None:
        """Intermediate results for a few texts; see `Encoder.stages`."""
        return self._pipeline.stages(texts)

    def evidence(self) -> Evidence:
        """Tells what really ran; of a type that OpenVINO has chosen, what to do about it."""
        found, id_ = replace(super().evidence(), notes=self._pipeline.notes), self._combination
        if not found.problems or id_.weight_precision != "fp32" or "bfloat16" not in found.products:
            return found
        advice = "OpenVINO infers in bfloat16 where a CPU has it: write ::infers_in=fp32 and serve it so (INFERENCE_"
        advice += "PRECISION_HINT), or expect it by ::promise=bf16"
        return replace(found, problems=(*found.problems, advice))
