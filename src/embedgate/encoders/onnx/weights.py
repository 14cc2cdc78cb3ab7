"""The weights of an ONNX file by the names that the model has for them, dequantized."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto

from embedgate.encoders.onnx.graph import Graph, weight_products
from embedgate.encoders.weights import BFLOAT16, FLOAT16, Weight, rounding_of_steps

# How far storing a number in a type rounds it off.
ROUNDINGS: dict[int, float] = {TensorProto.FLOAT: 0.0, TensorProto.FLOAT16: FLOAT16, TensorProto.BFLOAT16: BFLOAT16}
QUANTIZED = (TensorProto.INT8, TensorProto.UINT8)
# How embedgate and ONNX Runtime call a quantized tensor, its scale and its zero point, behind the name of the tensor.
SUFFIXES = {"_int8": ("_scale", "_zero"), "_quantized": ("_scale", "_zero_point")}
INTEGER_PRODUCTS = ("MatMulInteger", "DynamicQuantizeMatMul")
PRODUCTS = ("MatMul", "Gemm", *INTEGER_PRODUCTS)


class _Codes(NamedTuple):
    """A quantized tensor, and what it is dequantized by.

    Attributes:
        codes: Name of the initializer of whole numbers.
        scale: Name of that of their steps.
        zero: Name of that of their zero points; empty where they are 0.
        axis: The dimension that has a step each, where there are several.
    """

    codes: str
    scale: str
    zero: str
    axis: int


class GraphWeights(Mapping[str, Weight]):
    """The weights of a graph by name, each read when it is asked for.

    A product's weights are called after the product, since exporters fold them into tensors without a name.

    Args:
        graph: The graph.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._tensors = graph.tensors
        codes = {each.codes: each for each in self._quantized()}
        self._is_quantized = bool(codes)
        self._found: dict[str, Callable[[], Weight]] = {}
        products = self._products(codes)
        for name, (tensor, turned) in products.items():
            self._found[name] = self._reader(tensor, codes, turned=turned)
        folded = {tensor for tensor, _ in products.values()} | {each.scale for each in codes.values()}
        for tensor in self._tensors:
            if tensor not in folded and (tensor in codes or self._is_float(tensor)):
                self._found[_stem(tensor)] = self._reader(tensor, codes, turned=False)

    def __getitem__(self, name: str) -> Weight:
        return self._found[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def _is_float(self, tensor: str) -> bool:
        return self._tensors[tensor].data_type in ROUNDINGS and bool(self._tensors[tensor].dims)

    def _reader(self, tensor: str, codes: Mapping[str, _Codes], *, turned: bool) -> Callable[[], Weight]:
        return lambda: self._dequantized(codes[tensor], turned) if tensor in codes else self._plain(tensor, turned)

    def _plain(self, tensor: str, turned: bool) -> Weight:
        values = np.asarray(self._graph.array(self._tensors[tensor]), dtype=np.float32)
        return Weight(values.T if turned else values, ROUNDINGS[self._tensors[tensor].data_type], self._is_quantized)

    def _dequantized(self, found: _Codes, turned: bool) -> Weight:
        codes = self._array(found.codes)
        steps = self._along(found, self._array(found.scale), codes.ndim)
        zero = self._along(found, self._array(found.zero), codes.ndim) if found.zero else np.float32(0)
        values = (codes - zero) * steps
        rounding = rounding_of_steps(values, steps)
        return Weight(values.T if turned else values, rounding, may_be_scaled=True)

    def _array(self, tensor: str) -> npt.NDArray[np.float32]:
        return np.asarray(self._graph.array(self._tensors[tensor]), dtype=np.float32)

    def _along(self, found: _Codes, values: npt.NDArray[np.float32], dimensions: int) -> npt.NDArray[np.float32]:
        """One value for all, or one for each place along the axis."""
        if values.size == 1:
            return values.reshape(())
        return values.reshape([-1 if axis == found.axis % dimensions else 1 for axis in range(dimensions)])

    def _quantized(self) -> Iterator[_Codes]:
        """Tensors of whole numbers that a node dequantizes, or that an integer product reads."""
        for node in self._graph.proto.graph.node:
            if node.op_type == "DequantizeLinear" and self._is_codes(node.input[0]) and node.input[1] in self._tensors:
                zero = node.input[2] if len(node.input) > 2 else ""
                yield _Codes(node.input[0], node.input[1], zero, _axis(node))
            elif node.op_type in INTEGER_PRODUCTS and self._is_codes(node.input[1]):
                yield from self._by_name(node.input[1])

    def _by_name(self, codes: str) -> Iterator[_Codes]:
        for suffix, (scale, zero) in SUFFIXES.items():
            stem = codes.removesuffix(suffix)
            if stem != codes and f"{stem}{scale}" in self._tensors:
                yield _Codes(codes, f"{stem}{scale}", f"{stem}{zero}" if f"{stem}{zero}" in self._tensors else "", -1)

    def _is_codes(self, tensor: str) -> bool:
        return tensor in self._tensors and self._tensors[tensor].data_type in QUANTIZED

    def _products(self, codes: Mapping[str, _Codes]) -> dict[str, tuple[str, bool]]:
        """The tensor of each product's weights, and whether it is `[in, out]`, by the name of the weights."""
        proto = self._graph.proto
        found = {_called(each.name): (each.weight, not each.transposed) for each in weight_products(proto)}
        dequantized = {
            node.output[0]: node.input[0]
            for node in proto.graph.node
            if node.op_type == "DequantizeLinear" and node.input[0] in codes
        }
        for node in proto.graph.node:
            if node.op_type in PRODUCTS:
                tensor = dequantized.get(node.input[1], node.input[1])
                if tensor in codes:
                    found[_called(node.name)] = tensor, not _reads_turned(node)
        return {name: each for name, each in found.items() if len(self._tensors[each[0]].dims) == 2}


def _called(product: str) -> str:
    """The name of a product's weights, as the model has it, by that of its node."""
    name = product.removesuffix("_quant")
    for kind in PRODUCTS:
        name = name.removesuffix(f"/{kind}")
    return f"{name.strip('/').replace('/', '.')}.weight"


def _stem(tensor: str) -> str:
    """A tensor's name without what quantizing or rounding puts behind it."""
    name = tensor.partition("/")[0]
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def _axis(node: NodeProto) -> int:
    return next((each.i for each in node.attribute if each.name == "axis"), 1)


def _reads_turned(node: NodeProto) -> bool:
    return any(each.name == "transB" and each.i for each in node.attribute)
