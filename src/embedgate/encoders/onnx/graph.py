"""ONNX graphs whose weights stay in their file.

A graph is a few hundred kilobytes of nodes, and a file of weights beside it, `<name>.data`, whatever their size: a
protobuf ends at 2 GiB, and a copy of the weights for each step of the way would be the most of a build's memory. Who
changes a graph changes nodes, and reads the weights it needs one after the other.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, external_data_helper, helper, numpy_helper

FILE_NAME = "model.onnx"
# What is smaller stays in the graph, shapes and scales among it, so that tools that look at nodes alone see it.
LEAST_BESIDE = 1024
# Of weights in their file, in bytes: what vector instructions read best.
ALIGNMENT = 64


@dataclass(frozen=True)
class Graph:
    """A graph in memory; the weights that lie in a file are read when they are asked for.

    Attributes:
        proto: The graph. Its initializers are whole, or say where in `folder` their data lie.
        folder: Where those files are.
    """

    proto: onnx.ModelProto
    folder: Path

    @property
    def tensors(self) -> dict[str, TensorProto]:
        """Its initializers by name."""
        return {tensor.name: tensor for tensor in self.proto.graph.initializer}

    def array(self, tensor: TensorProto) -> npt.NDArray[Any]:
        """The values of an initializer; of one in a file, they are mapped, and not read before they are used."""
        if not external_data_helper.uses_external_data(tensor):
            return numpy_helper.to_array(tensor)
        told = external_data_helper.ExternalDataInfo(tensor)
        return np.memmap(
            self.folder / told.location,
            dtype=helper.tensor_dtype_to_np_dtype(tensor.data_type),
            mode="r",
            offset=told.offset or 0,
            shape=tuple(tensor.dims),
        )

    def copy(self) -> Graph:
        """A graph of its own, of the same weights."""
        proto = onnx.ModelProto()
        proto.CopyFrom(self.proto)
        return Graph(proto, self.folder)


@dataclass(frozen=True)
class Product:
    """A matrix product with weights: a linear layer, whose input is not another activation's product.

    Attributes:
        name: The layer's name in the model, for example `encoder.layer.0.intermediate.dense`.
        node: The `MatMul` or `Gemm` node.
        activation: Name of the tensor it reads.
        weight: Name of its weights, an initializer of two dimensions.
        transposed: Whether the initializer is `[out, in]`.
    """

    name: str
    node: onnx.NodeProto
    activation: str
    weight: str
    transposed: bool = False


def read_graph(path: Path) -> Graph:
    """Reads a graph without its weights."""
    return Graph(onnx.load(path, load_external_data=False), path.parent)


def locations(graph: onnx.ModelProto) -> list[str]:
    """The files that tensors lie in, as the graph names them, each once: those of branches, loops and functions too."""
    tensors = [*_tensors(graph.graph), *(each for own in graph.functions for each in _constants_of(own.node))]
    outside = filter(external_data_helper.uses_external_data, tensors)
    with warnings.catch_warnings(action="ignore"):  # of what else a graph says of them
        return list(dict.fromkeys(external_data_helper.ExternalDataInfo(tensor).location for tensor in outside))


def _tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    """All tensors of a graph."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _constants_of(graph.node)


def _constants_of(nodes: Iterable[onnx.NodeProto]) -> Iterator[TensorProto]:
    """All tensors that nodes hold, and the graphs in them."""
    for attribute in (each for node in nodes for each in node.attribute):
        yield from (attribute.t, *attribute.tensors)
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            yield from (sparse.values, sparse.indices)
        for graph in (attribute.g, *attribute.graphs):
            yield from _tensors(graph)


def save_graph(graph: Graph, path: Path) -> None:
    """Writes a graph, and its weights beside it, in `<name>.data`.

    Args:
        graph: The graph; it is used up.
        path: Where it goes, in a folder that has no such file.
    """
    data = path.with_name(f"{path.name}.data")
    with data.open("xb") as stream:
        for tensor in graph.proto.graph.initializer:
            outside = external_data_helper.uses_external_data(tensor)
            if not outside and tensor_bytes(tensor) < LEAST_BESIDE:
                continue
            values = graph.array(tensor)
            for part in ("float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
                tensor.ClearField(part)
            stream.write(bytes(-stream.tell() % ALIGNMENT))
            tensor.raw_data = b""
            external_data_helper.set_external_data(tensor, data.name, stream.tell(), values.nbytes)
            tensor.ClearField("raw_data")
            values.tofile(stream)
    onnx.save(graph.proto, path)


def weight_products(graph: onnx.ModelProto) -> list[Product]:
    """Every `MatMul` and `Gemm` whose second operand is an initializer, in the order they run.

    Products of two activations (attention scores, weighted values) are none. Large weights that several layers share
    are transposed as the graph runs: the exporter folds that for one reader alone.
    """
    ranks = {tensor.name: len(tensor.dims) for tensor in graph.graph.initializer}
    turned = {
        node.output[0]: node.input[0]
        for node in graph.graph.node
        if node.op_type == "Transpose" and ranks.get(node.input[0]) == 2
    }
    found = []
    for node in graph.graph.node:
        if node.op_type not in ("MatMul", "Gemm") or not _is_plain(node, ranks):
            continue
        activation, weight = node.input[0], turned.get(node.input[1], node.input[1])
        if ranks.get(weight) == 2 and activation not in ranks and activation not in turned:
            transposed = _attribute(node, "transB", 0) != (weight != node.input[1])
            layer = node.name.removesuffix(f"/{node.op_type}")
            found.append(Product(layer, node, activation, weight, transposed))
    names = Counter(product.name for product in found)
    return [replace(each, name=each.node.name) if names[each.name] > 1 else each for each in found]


def _is_plain(node: onnx.NodeProto, initializers: Container[str]) -> bool:
    """Whether it is an activation times weights, plus a bias at most: a `Gemm` may scale and transpose, too."""
    scales = (_attribute(node, "transA", 0), _attribute(node, "alpha", 1.0), _attribute(node, "beta", 1.0))
    return scales == (0, 1.0, 1.0) and all(name in initializers for name in node.input[2:])


def _attribute(node: onnx.NodeProto, name: str, default: float) -> float:
    return next((float(helper.get_attribute_value(each)) for each in node.attribute if each.name == name), default)


def constants(graph: onnx.ModelProto) -> set[str]:
    """Names of the values that come from initializers alone: as they are, dequantized, transposed or cast."""
    found = {tensor.name for tensor in graph.graph.initializer}
    for node in graph.graph.node:
        if node.op_type in ("DequantizeLinear", "Transpose", "Cast") and node.input[0] in found:
            found.add(node.output[0])
    return found


def product_names(graph: onnx.ModelProto) -> list[str]:
    """Names of the nodes that multiply with weights, as they are or quantized; weights need not be loaded."""
    constant = constants(graph)
    return [
        node.name
        for node in graph.graph.node
        if node.op_type in ("MatMul", "Gemm") and node.input[1] in constant and node.input[0] not in constant
    ]


def weight_bytes(path: Path) -> int:
    """Bytes of all initializers of an ONNX file, data kept beside it included."""
    return sum(tensor_bytes(tensor) for tensor in read_graph(path).proto.graph.initializer)


def tensor_bytes(tensor: TensorProto) -> int:
    """Bytes of an initializer's values."""
    width: int = helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return int(math.prod(tensor.dims)) * width


def file_bytes(path: Path) -> int:
    """Bytes of a graph's files: itself, and its weights where they are kept beside it."""
    weights = [path.parent / name for name in locations(read_graph(path).proto)] if path.suffix == ".onnx" else []
    return sum(file.stat().st_size for file in (path, path.with_suffix(".bin"), *weights) if file.is_file())
