"""Runs an ONNX file that embedgate did not export; imports ONNX Runtime and torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from onnx import TensorProto

from embedgate.core.combination import Combination
from embedgate.core.errors import BuildError
from embedgate.core.model import Model
from embedgate.deployed.pipeline import Pipeline, Port, Values
from embedgate.encoders import BuildContext, Evidence, FloatArray, Stages
from embedgate.encoders.evidence import contradictions
from embedgate.encoders.onnx.graph import Graph, read_graph
from embedgate.encoders.onnxruntime.encoder import FLOAT_PRODUCTS, GraphEncoder

# Types of inputs, as ONNX Runtime calls them.
INPUT_TYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(float)": np.float32}
# Types of weights that are widened before they are multiplied, where a CPU multiplies in float32 alone.
HALVES: dict[int, str] = {TensorProto.FLOAT16: "float16", TensorProto.BFLOAT16: "bfloat16"}


class OnnxFileEncoder(GraphEncoder):
    """Any ONNX file of a transformer, followed by what is left of the model's own modules.

    Args:
        model: The model that it is a file of.
        path: The file.
        combination: What it is called.
        context: Threads to use.
        origin: The path as a person reads it.
        output: The output to use; None to choose it.

    Raises:
        BuildError: If it gives nothing that embeddings can be made of.
    """

    def __init__(
        self,
        model: Model,
        path: Path,
        combination: Combination,
        context: BuildContext,
        origin: str,
        output: str | None = None,
    ) -> None:
        super().__init__(model, path, combination, context)
        self._names = [each.name for each in self._session.get_outputs()]
        inputs: dict[str, Port] = {}
        for each in self._session.get_inputs():
            if each.type not in INPUT_TYPES:
                raise BuildError(f"{origin} has the input {each.name} of {each.type}", "export it with integer inputs")
            sizes = tuple(size if isinstance(size, int) else None for size in each.shape)
            inputs[each.name] = Port(INPUT_TYPES[each.type], sizes)
        self._pipeline = Pipeline(origin, model, inputs, self._run, output)
        self._tokenizer = self._pipeline.tokenizer
        self._names = [self._pipeline.output]
        self._details |= {"file": origin, **self._pipeline.described}

    def encode(self, texts: Sequence[str], batch_size: int = 32) -> FloatArray:
        """Embeds texts; see `Encoder.encode`."""
        return self._pipeline.encode(texts, batch_size)

    def stages(self, texts: Sequence[str]) -> Stages:
        """Intermediate results for a few texts; see `Encoder.stages`."""
        return self._pipeline.stages(texts)

    def evidence(self) -> Evidence:
        """Products by the type they compute in; of weights in float16, by the type that they are stored in.

        ONNX Runtime multiplies in float32 on most CPUs whatever float a file is in, so a float16 file is no false
        promise: its weights are what was rounded. The details tell what it computes in.
        """
        found = replace(super().evidence(), notes=self._pipeline.notes)
        stored = _stored(read_graph(self._path))
        if not stored or self._device != "cpu":
            return found
        kinds = Counter(found.products)
        halves = min(sum(stored.values()), kinds["float32"])
        kinds["float32"] -= halves
        kinds[next(iter(stored))] += halves
        products = {kind: count for kind, count in kinds.items() if count}
        own = contradictions(self._combination, found.products, found.device)
        problems = [each for each in found.problems if each not in own]
        problems += contradictions(self._combination, products, found.device)
        details = {**found.details, "computes in": "float32, as ONNX Runtime does on this CPU"}
        return replace(found, products=products, problems=tuple(problems), details=details)

    def _run(self, feeds: Mapping[str, Values]) -> dict[str, Values]:
        return dict(zip(self._names, self._session.run(self._names, dict(feeds)), strict=True))


def _stored(graph: Graph) -> Counter[str]:
    """Products whose weights are in half precision, by the type."""
    kinds = {name: HALVES[tensor.data_type] for name, tensor in graph.tensors.items() if tensor.data_type in HALVES}
    read = (
        node.input[FLOAT_PRODUCTS[node.op_type]]
        for node in graph.proto.graph.node
        if node.op_type in FLOAT_PRODUCTS and len(node.input) > FLOAT_PRODUCTS[node.op_type]
    )
    return Counter(kinds[name] for name in read if name in kinds)
