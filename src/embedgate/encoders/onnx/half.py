"""A graph in mixed precision: float16, but for the nodes that must not be.

TensorRT 11 computes every node in the type the graph says, and float16 ends at 65504. Kept in float32 are what squares
and sums many values (norms), exponentials (softmax), and all that comes after the last hidden states: pooling sums over
all tokens, and normalising divides by lengths that float16 rounds to 0. So is what computes positions: float16 cannot
tell 2049 from 2048, nor the cosine of either. Inputs and outputs keep their types. Q/DQ pairs of a quantized graph get
float16 scales, since TensorRT wants them in the type of what they quantize.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from embedgate.core.errors import BuildError, one_line
from embedgate.core.machine import library_versions
from embedgate.core.model import Model
from embedgate.core.scratch import temporary_folder
from embedgate.encoders import BuildContext, FloatArray
from embedgate.encoders.onnx.export import KIND
from embedgate.encoders.onnx.graph import FILE_NAME, Graph, read_graph, save_graph
from embedgate.encoders.onnx.session import LIBRARIES as ORT
from embedgate.encoders.onnx.session import session
from embedgate.encoders.onnx.tokenizer import Tokenizer

# Part of the cache key: raise it whenever the conversion changes.
VERSION = 5
HIDDEN_STATES = "token_embeddings"
# Sums of squares, exponentials and what they are divided by, whole or in parts.
FLOAT32_OPS = (
    "Exp",
    "InstanceNormalization",
    "LayerNormalization",
    "LogSoftmax",
    "Pow",
    "RMSNormalization",
    "Reciprocal",
    "ReduceL2",
    "ReduceMean",
    "ReduceSum",
    "ReduceSumSquare",
    "SimplifiedLayerNormalization",
    "Softmax",
    "Sqrt",
)
# What these read is computed in float32 from its beginning: angles and buckets of positions.
POSITION_OPS = ("Cos", "Log", "Sin")
# What stands between two of these, as the addition of epsilon between a variance and its root, stays as well.
BETWEEN = ("Add", "Clip", "Div", "Max", "Mul", "Neg", "Sub")
# Scales of Q/DQ pairs may lose this share of themselves when they are rounded to float16.
MAX_SCALE_ERROR = 0.002
# Of a graph's embeddings to its source's own; in one that is quantized, int8 steps tip over.
LEAST_COSINE = {False: 0.999, True: 0.98}
# The long one reaches positions that float16 cannot tell apart.
PROBES = (
    "Nobody on the board had read the report, which was late again. " * 150,
    "A sentence of several words.",
    "Two.",
    "3 of 4 parcels came back, and nobody knows what became of the last one.",
    "one",
)


def half_graph(model: Model, source: Path, context: BuildContext) -> tuple[Path, dict[str, Any]]:
    """A graph's float16 version, converted if it is not in the cache yet.

    Args:
        model: The model it was exported from.
        source: The exported graph, or a quantized one that derives from it.
        context: Where it is kept.

    Returns:
        Path of `model.onnx`, and its record: the least cosine of a few texts' embeddings to the source's own, both as
        ONNX Runtime computes them on the CPU, and how many nodes stayed in float32.

    Raises:
        BuildError: If a scale of a quantized graph cannot be float16, or the result is no graph, or far off.
    """
    # The exported graph becomes `onnx-fp16-...`, a quantized one `onnx-int8static-half-...`.
    kind = source.parent.name.rpartition("-")[0]
    quantized = kind != KIND
    key = {"source": source.parent.name, "libraries": library_versions(ORT), "version": VERSION}

    def build(folder: Path) -> dict[str, Any]:
        context.progress(f"converting {kind} to float16")
        graph = _with_shapes(source)
        kept = float32_nodes(graph.proto)
        converted = converted_to_half(graph, kept)
        save_graph(converted, folder / FILE_NAME)
        _check(folder / FILE_NAME)
        cosine = _least_cosine(model, source, folder / FILE_NAME, context.threads)
        if not cosine >= LEAST_COSINE[quantized]:
            told = f"of {len(PROBES)} texts, the least cosine to before is {cosine:.4f}"
            raise BuildError(f"{model.name} cannot be float16: {told}")
        return {"cosine_to_source": cosine, "float32_nodes": len(kept)}

    folder, artefact = context.get_or_build(f"{kind}-half" if quantized else "onnx-fp16", key, build)
    return folder / FILE_NAME, artefact["record"]


def float32_nodes(graph: onnx.ModelProto) -> list[str]:
    """Names of the nodes that must stay in float32, in the order they run."""
    makes = {output: node for node in graph.graph.node for output in node.output}
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.graph.value_info, *graph.graph.input)}
    before = _before(makes, [HIDDEN_STATES])
    positions = _before(makes, [name for node in graph.graph.node if _counts(node, types) for name in node.output])
    kept: dict[str, None] = {}
    for node in graph.graph.node:
        reads = [makes[name].name for name in node.input if name in makes]
        between = node.op_type in BETWEEN and reads and kept.keys() >= set(reads)
        if node.op_type in FLOAT32_OPS or node.name not in before or node.name in positions or between:
            kept[node.name] = None
    return list(kept)


def _before(makes: Mapping[str, NodeProto], values: Sequence[str]) -> set[str]:
    """Names of the nodes that values come from."""
    found: set[str] = set()
    waiting = list(values)
    while waiting:
        node = makes.get(waiting.pop())
        if node is not None and node.name not in found:
            found.add(node.name)
            waiting.extend(node.input)
    return found


def _counts(node: NodeProto, types: Mapping[str, int]) -> bool:
    """Whether a node makes angles of numbers, or whole numbers."""
    return node.op_type in POSITION_OPS or (
        node.op_type == "Cast"
        and types.get(node.input[0]) == TensorProto.FLOAT
        and types.get(node.output[0]) in (TensorProto.INT32, TensorProto.INT64)
    )


def converted_to_half(graph: Graph, kept: Collection[str]) -> Graph:
    """Converts all but the nodes named to float16; between two of these, nothing is rounded.

    ONNX Runtime's own converter casts what passes from one node kept in float32 to the next to float16 and back, and
    so rounds sums and loses the small constants that these were kept for.

    Args:
        graph: A graph with the types of its values; it is used up.
        kept: Names of nodes that stay in float32.

    Raises:
        BuildError: If a scale of a quantized graph cannot be float16, or the graph holds another (a loop, a branch).
    """
    _check_scales(graph)
    inner = graph.proto.graph
    initializers = graph.tensors
    values = (*inner.value_info, *inner.input, *inner.output)
    floats = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    floats |= {name for name, tensor in initializers.items() if tensor.data_type == TensorProto.FLOAT}
    in_float32 = set(kept)
    in_half: set[str] = set()
    added: dict[str, TensorProto | NodeProto] = {}
    nodes: list[NodeProto] = []

    def cast(name: str, kind: int, result: str) -> str:
        if result not in added:
            added[result] = helper.make_node("Cast", [name], [result], result, to=kind)
            nodes.append(added[result])
        return result

    for node in inner.node:
        half = node.name not in in_float32
        for place, name in enumerate(node.input):
            if name not in floats:
                continue
            if name in initializers:
                if half:
                    if f"{name}/float16" not in added:
                        added[f"{name}/float16"] = _half_tensor(graph.array(initializers[name]), f"{name}/float16")
                    node.input[place] = f"{name}/float16"
            elif half and name not in in_half:
                node.input[place] = cast(name, TensorProto.FLOAT16, f"{name}/float16")
            elif not half and name in in_half:
                node.input[place] = cast(name, TensorProto.FLOAT, f"{name}/float32")
        nodes.append(node)
        if half:
            _make_half(node)
            in_half.update(name for name in node.output if name in floats)
    for output in inner.output:
        if output.name in in_half:
            inside = f"{output.name}/inside"
            for node in nodes:
                _rename(node, output.name, inside)
            cast(inside, TensorProto.FLOAT, output.name)
    del inner.node[:], inner.value_info[:]
    inner.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    tensors = [tensor for tensor in added.values() if isinstance(tensor, TensorProto)]
    remaining = [tensor for tensor in (*inner.initializer, *tensors) if tensor.name in used]
    del inner.initializer[:]
    inner.initializer.extend(remaining)
    return graph


def _make_half(node: NodeProto) -> None:
    """Changes what a node itself says of its results' type."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            raise BuildError(f"{node.name} ({node.op_type}) holds a graph of its own, which cannot become float16")
        if attribute.HasField("t") and attribute.t.data_type == TensorProto.FLOAT:
            attribute.t.CopyFrom(_half_tensor(numpy_helper.to_array(attribute.t), attribute.t.name))
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
            attribute.i = TensorProto.FLOAT16


def _half_tensor(values: FloatArray, name: str) -> TensorProto:
    """Values in float16; what lies beyond its range, such as a mask's lowest number, becomes its largest."""
    largest = np.finfo(np.float16).max
    return numpy_helper.from_array(np.clip(values, -largest, largest).astype(np.float16), name)


def _rename(node: NodeProto, old: str, new: str) -> None:
    for names in (node.input, node.output):
        names[:] = [new if name == old else name for name in names]


def _with_shapes(source: Path) -> Graph:
    """A graph with the types of all its values."""
    with temporary_folder() as folder:
        shaped = folder / FILE_NAME
        onnx.shape_inference.infer_shapes_path(source, shaped)
        return Graph(read_graph(shaped).proto, source.parent)


def _check(path: Path) -> None:
    try:
        onnx.checker.check_model(path, full_check=True)
    except Exception as error:
        raise BuildError(f"the graph cannot be converted to float16: {one_line(error)}") from error


def _check_scales(graph: Graph) -> None:
    """Refuses scales that float16 would round to something else, or to nothing."""
    tensors = graph.tensors
    for node in graph.proto.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or node.input[1] not in tensors:
            continue
        scales = graph.array(tensors[node.input[1]]).astype(np.float64)
        error = float(np.max(np.abs(scales.astype(np.float16) - scales) / scales))
        if not error <= MAX_SCALE_ERROR:
            layer = node.name.rpartition("/")[0]
            raise BuildError(f"scales of {layer} cannot be float16: they go down to {scales.min():.2g}", "use fp16")


def _least_cosine(model: Model, source: Path, converted: Path, threads: int) -> float:
    """The least cosine between the embeddings of the probes by two graphs; NaN where one is not finite."""
    (batch,) = Tokenizer(model).batches(PROBES, len(PROBES))
    rows: list[FloatArray] = [
        session(path, threads).run(["sentence_embedding"], batch.feeds)[0] for path in (source, converted)
    ]
    first, second = (row / np.linalg.norm(row, axis=1, keepdims=True) for row in rows)
    return float((first * second).sum(axis=1).min())
