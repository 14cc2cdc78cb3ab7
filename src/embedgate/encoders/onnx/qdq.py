"""Symmetric quantization of an ONNX graph to 8 bits, written as explicit `QuantizeLinear`/`DequantizeLinear` pairs.

Zero points are 0, activations have one scale, weights one per output channel (int8) or one in all (fp8), and products
keep their float output: what ONNX Runtime fuses to integer kernels, and TensorRT takes as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from embedgate.core.errors import BuildError
from embedgate.encoders import FloatArray
from embedgate.encoders.onnx.graph import Graph, Product, weight_products

LEVELS = 127
# The largest number of E4M3 without infinities (Micikevicius et al. 2022, https://arxiv.org/abs/2209.05433).
LARGEST_FP8 = 448.0
STORED: dict[str, npt.DTypeLike] = {"int8": np.int8, "fp8": ml_dtypes.float8_e4m3fn}


@dataclass(frozen=True)
class Site:
    """An activation and the products that read it; they share its quantization.

    Attributes:
        activation: Name of the tensor.
        products: The products, in the order they run.
    """

    activation: str
    products: tuple[Product, ...]

    @property
    def name(self) -> str:
        """Name of its first product's layer."""
        return self.products[0].name


@dataclass(frozen=True)
class Treatment:
    """How the products of a site are quantized.

    Attributes:
        name: `minmax`, `clip` or `smooth`.
        scale: Size of one int8 step of the activation, after smoothing.
        smoothing: What each input channel is divided by, float32 `[in]`; the weights' rows are multiplied by it. None
            for no smoothing.
        alpha: How much of the activation's range smoothing moves to the weights, 0 to 1.
        clip: The largest value kept, as a share of the largest seen.
    """

    name: str
    scale: float
    smoothing: FloatArray | None = None
    alpha: float = 0.0
    clip: float = 1.0

    def describe(self) -> dict[str, Any]:
        """Describes the treatment as the artefact's record keeps it."""
        return {"treatment": self.name, "scale": self.scale, "alpha": self.alpha, "clip": self.clip}


def sites(graph: Graph) -> list[Site]:
    """Activations that products with weights read, in the order they run."""
    readers: dict[str, list[Product]] = {}
    for product in weight_products(graph.proto):
        readers.setdefault(product.activation, []).append(product)
    return [Site(activation, tuple(products)) for activation, products in readers.items()]


def weights_of(graph: Graph, product: Product) -> FloatArray:
    """A product's weights, float32 `[in, out]`; mapped from their file, where they are not transposed."""
    matrix = graph.array(graph.tensors[product.weight]).astype(np.float32, copy=False)
    return matrix.T if product.transposed else matrix


def quantize_weights(
    weights: FloatArray, per_channel: bool = True
) -> tuple[np.ndarray[Any, np.dtype[np.int8]], FloatArray]:
    """Rounds weights to int8.

    Args:
        weights: float32 `[in, out]`.
        per_channel: Whether each output channel has a scale of its own, or all have the largest.

    Returns:
        int8 `[in, out]`, and the scales, float32 `[out]`.
    """
    largest = np.abs(weights).max(axis=0)
    if not per_channel:
        largest = np.full_like(largest, largest.max())
    scales = np.where(largest > 0, largest / LEVELS, 1.0).astype(np.float32)
    return np.clip(np.rint(weights / scales), -LEVELS, LEVELS).astype(np.int8), scales


def fp8_weights(weights: FloatArray) -> tuple[npt.NDArray[Any], FloatArray]:
    """Rounds weights to fp8 (E4M3), one scale in all.

    Args:
        weights: float32 `[in, out]`.

    Returns:
        float8_e4m3fn `[in, out]`, and the scale, float32 `[]`.
    """
    largest = float(np.abs(weights).max())
    scale = np.array(largest / LARGEST_FP8 if largest > 0 else 1.0, dtype=np.float32)
    # What rounding to float32 has carried beyond the largest would become NaN.
    return np.clip(weights / scale, -LARGEST_FP8, LARGEST_FP8).astype(STORED["fp8"]), scale


def quantized_graph(
    graph: Graph, treatments: Mapping[str, Treatment], per_channel: bool = True, kind: str = "int8"
) -> Graph:
    """Quantizes the products of the sites that have a treatment; the others stay in float.

    A smoothed activation is multiplied by an explicit `Mul`: after a layer norm that a residual reads too, and after
    GELU, the factor cannot be folded away.

    Args:
        graph: The exported graph; it is left as it is.
        treatments: By the site's activation.
        per_channel: Whether each output channel of int8 weights has a scale of its own.
        kind: `int8` or `fp8`.

    Raises:
        BuildError: If a treatment names no site.
    """
    quantized = graph.copy()
    inner = quantized.proto.graph
    products = {id(product.node): product for product in weight_products(quantized.proto)}
    unknown = set(treatments) - {product.activation for product in products.values()}
    if unknown:
        raise BuildError(f"no product reads {sorted(unknown)[0]!r}")
    rewritten: list[onnx.NodeProto] = []
    added: list[TensorProto] = []
    smoothed: set[str] = set()
    for node in inner.node:
        product = products.get(id(node))
        if product is None or product.activation not in treatments:
            rewritten.append(node)
            continue
        treatment = treatments[product.activation]
        if treatment.smoothing is not None and product.activation not in smoothed:
            smoothed.add(product.activation)
            multiplication, factors = _smoothed(product.activation, treatment.smoothing)
            rewritten.append(multiplication)
            added.append(factors)
        nodes, tensors = _quantized_product(product, weights_of(graph, product), treatment, per_channel, kind)
        rewritten += nodes
        added += tensors
    _replace(inner, rewritten, added)
    return quantized


def dynamic_graph(graph: Graph) -> Graph:
    """Quantizes every product with weights; activations are quantized as they come, with a scale for each batch.

    As ONNX Runtime's `quantize_dynamic` does, per channel and symmetric, to the same bits. That holds all weights three
    times while it works, this one product's.

    Args:
        graph: The exported graph; it is left as it is.
    """
    quantized = graph.copy()
    inner = quantized.proto.graph
    products = {product.node.name: product for product in weight_products(quantized.proto)}
    rewritten: list[onnx.NodeProto] = []
    added: list[TensorProto] = []
    known: set[str] = set()
    for node in inner.node:
        if node.name not in products:
            rewritten.append(node)
            continue
        product = products[node.name]
        activation, name = product.activation, product.name
        read = [f"{activation}/uint8", f"{activation}/scale", f"{activation}/zero"]
        if read[0] not in known:
            quantize = f"{activation}/DynamicQuantizeLinear"
            rewritten.append(helper.make_node("DynamicQuantizeLinear", [activation], read, quantize))
        known.add(read[0])
        values, scales = quantize_weights(weights_of(graph, product))
        # Of its own, even where layers share their weights: ONNX Runtime's kernels for AVX2 refuse a shared one.
        tensors = [
            numpy_helper.from_array(values, f"{name}/weight_int8"),
            numpy_helper.from_array(np.zeros(scales.shape, dtype=np.int8), f"{name}/weight_zero"),
            numpy_helper.from_array(scales, f"{name}/weight_scale"),
        ]
        added += tensors
        weight, zero, scale = (tensor.name for tensor in tensors)
        result = f"{name}/product" if _biased(node) else node.output[0]
        rewritten += [
            helper.make_node("MatMulInteger", [read[0], weight, read[2], zero], [f"{name}/int32"], node.name),
            helper.make_node("Cast", [f"{name}/int32"], [f"{name}/sums"], f"{name}/Cast", to=TensorProto.FLOAT),
            helper.make_node("Mul", [read[1], scale], [f"{name}/steps"], f"{name}/Steps"),
            helper.make_node("Mul", [f"{name}/sums", f"{name}/steps"], [result], f"{name}/Mul"),
            *_addition(product, result),
        ]
    _replace(inner, rewritten, added)
    return quantized


def _replace(inner: onnx.GraphProto, nodes: list[onnx.NodeProto], added: list[TensorProto]) -> None:
    """Puts nodes in the place of a graph's own, and leaves out what none of them reads: weights, turned or not."""
    read = {name for node in nodes for name in node.input}
    nodes = [node for node in nodes if node.op_type != "Transpose" or node.output[0] in read]
    del inner.node[:]
    inner.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in inner.initializer if tensor.name in used]
    del inner.initializer[:]
    inner.initializer.extend([*kept, *added])


def _biased(node: onnx.NodeProto) -> bool:
    return node.op_type == "Gemm" and len(node.input) == 3


def _addition(product: Product, result: str) -> list[onnx.NodeProto]:
    """A `Gemm`'s bias, added to its product: within it, it would have to be quantized, too."""
    node = product.node
    if not _biased(node):
        return []
    return [helper.make_node("Add", [result, node.input[2]], list(node.output), f"{product.name}/Add")]


def _smoothed(activation: str, smoothing: FloatArray) -> tuple[onnx.NodeProto, TensorProto]:
    factors = numpy_helper.from_array((1 / smoothing).astype(np.float32), f"{activation}/smoothing")
    return (
        helper.make_node("Mul", [activation, factors.name], [f"{activation}/smoothed"], f"{activation}/Smooth"),
        factors,
    )


def _quantized_product(
    product: Product, weights: FloatArray, treatment: Treatment, per_channel: bool, kind: str
) -> tuple[list[onnx.NodeProto], list[TensorProto]]:
    name, node, activation = product.name, product.node, product.activation
    if treatment.smoothing is not None:
        weights = weights * treatment.smoothing[:, None]
        activation = f"{activation}/smoothed"
    values, scales = fp8_weights(weights) if kind == "fp8" else quantize_weights(weights, per_channel)
    # Every product has a pair of its own, even of a shared activation: ONNX Runtime fuses no other.
    tensors = [
        numpy_helper.from_array(np.array(treatment.scale, dtype=np.float32), f"{name}/scale"),
        numpy_helper.from_array(np.zeros((), dtype=STORED[kind]), f"{name}/zero"),
        numpy_helper.from_array(values, f"{name}/weight_{kind}"),
        numpy_helper.from_array(scales, f"{name}/weight_scale"),
        numpy_helper.from_array(np.zeros(scales.shape, dtype=STORED[kind]), f"{name}/weight_zero"),
    ]
    step = [tensor.name for tensor in tensors[:2]]
    inputs = [tensor.name for tensor in tensors[2:]]
    result = f"{name}/product" if _biased(node) else node.output[0]
    nodes = [
        helper.make_node("QuantizeLinear", [activation, *step], [f"{name}/{kind}"], f"{name}/QuantizeLinear"),
        helper.make_node(
            "DequantizeLinear", [f"{name}/{kind}", *step], [f"{name}/activation"], f"{name}/DequantizeLinear"
        ),
        helper.make_node("DequantizeLinear", inputs, [f"{name}/weight"], f"{name}/DequantizeWeight", axis=1),
        helper.make_node("MatMul", [f"{name}/activation", f"{name}/weight"], [result], f"{name}/MatMul"),
        *_addition(product, result),
    ]
    return nodes, tensors
