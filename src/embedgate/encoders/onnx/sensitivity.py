"""What quantizing one site alone does to the finished embeddings, for every site and treatment of a graph.

One session runs them all. Each product with weights stands in the branch of an `If`: where a run names its site, the
other branch gives what the run brings instead, the site's products computed from the activation and weights that the
treatment has rounded. A graph and a session for each site and treatment would compile the whole model every time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from embedgate.encoders import FloatArray
from embedgate.encoders.onnx.graph import Graph, Product
from embedgate.encoders.onnx.qdq import LEVELS, Site, Treatment, quantize_weights, weights_of
from embedgate.encoders.onnx.session import session
from embedgate.encoders.onnx.tokenizer import Batch

EMBEDDING = "sentence_embedding"
# The input that names the site of a run, and the ones that bring its products.
SITE = "embedgate/site"
PRODUCT = "embedgate/product"


def sensitivities(
    graph: Graph,
    found: Sequence[Site],
    treatments: Mapping[str, Sequence[Treatment]],
    batches: Sequence[Batch],
    threads: int,
    progress: Callable[[str], None],
) -> dict[str, list[float]]:
    """Mean of 1 - cosine of embeddings with one site quantized to those without.

    Args:
        graph: The exported graph.
        found: Its sites.
        treatments: What is tried at each site, by its activation.
        batches: The texts.
        threads: Threads to use.
        progress: Told where it is.

    Returns:
        A value for each treatment, in their order, by the site's activation.
    """
    most = max(len(site.products) for site in found)
    runner = session(_switched(graph, found, most), threads)
    names = [EMBEDDING, *(site.activation for site in found)]
    errors: dict[str, list[list[npt.NDArray[np.float64]]]] = {
        site.activation: [[] for _ in treatments[site.activation]] for site in found
    }
    for number, batch in enumerate(batches, start=1):
        reference, *activations = runner.run(names, {**batch.feeds, **_brought(-1, (), most)})
        for place, site in enumerate(found):
            if place % 16 == 0:
                texts = f"batch {number} of {len(batches)}"
                progress(f"calibrating int8: sensitivity of site {place + 1} of {len(found)}, {texts}")
            weights = [weights_of(graph, product) for product in site.products]
            biases = [_bias(graph, product) for product in site.products]
            for tried, treatment in enumerate(treatments[site.activation]):
                products = [
                    product_of(activations[place], each, treatment) + bias
                    for each, bias in zip(weights, biases, strict=True)
                ]
                (embeddings,) = runner.run([EMBEDDING], {**batch.feeds, **_brought(place, products, most)})
                errors[site.activation][tried].append(errors_to(reference, embeddings))
    return {
        activation: [float(np.concatenate(parts).mean()) for parts in tried] for activation, tried in errors.items()
    }


def _brought(site: int, products: Sequence[FloatArray], most: int) -> dict[str, npt.NDArray[Any]]:
    """The inputs that name a run's site, -1 for none, and bring its products; the places that it has not are empty."""
    nothing = [np.empty(0, dtype=np.float32)] * (most - len(products))
    brought = {f"{PRODUCT}{place}": values for place, values in enumerate((*products, *nothing))}
    return {SITE: np.array(site, dtype=np.int64), **brought}


def product_of(activation: FloatArray, weights: FloatArray, treatment: Treatment) -> FloatArray:
    """An activation times weights, both as a treatment rounds them.

    Args:
        activation: float32 `[..., in]`.
        weights: float32 `[in, out]`.
        treatment: How they are rounded.

    Returns:
        float32 `[..., out]`.
    """
    smoothing = treatment.smoothing
    smoothed = activation if smoothing is None else activation / smoothing
    steps = np.clip(np.rint(smoothed / np.float32(treatment.scale)), -LEVELS, LEVELS)
    values, scales = quantize_weights(weights if smoothing is None else weights * smoothing[:, None])
    product: FloatArray = (steps @ values.astype(np.float32)) * (scales * np.float32(treatment.scale))
    return product


def errors_to(reference: FloatArray, embeddings: FloatArray) -> npt.NDArray[np.float64]:
    """1 - cosine of each row, float64 `[n]`; 2 where it is not finite, worse than any."""
    first, second = reference.astype(np.float64), embeddings.astype(np.float64)
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    errors = 1 - (first * second).sum(axis=1) / norms
    return np.where(np.isfinite(errors), errors, 2.0)


def _switched(graph: Graph, found: Sequence[Site], most: int) -> Graph:
    """The graph with its products in branches, and the activations they read among its outputs."""
    switched = graph.copy()
    inner = switched.proto.graph
    places = {
        product.node.name: (number, place)
        for number, site in enumerate(found)
        for place, product in enumerate(site.products)
    }
    nodes: list[onnx.NodeProto] = []
    for node in inner.node:
        if node.name not in places:
            nodes.append(node)
            continue
        number, place = places[node.name]
        wanted = f"{node.name}/number"
        nodes.append(helper.make_node("Constant", [], [wanted], wanted, value_int=number))
        nodes.append(helper.make_node("Equal", [SITE, wanted], [f"{node.name}/chosen"], f"{node.name}/Equal"))
        nodes.append(
            helper.make_node(
                "If",
                [f"{node.name}/chosen"],
                list(node.output),
                f"{node.name}/If",
                then_branch=_branch(
                    helper.make_node("Identity", [f"{PRODUCT}{place}"], [f"{node.name}/brought"]),
                ),
                else_branch=_branch(
                    helper.make_node(
                        node.op_type,
                        list(node.input),
                        [f"{node.name}/own"],
                        **{attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute},
                    )
                ),
            )
        )
    del inner.node[:]
    inner.node.extend(nodes)
    inner.input.append(helper.make_tensor_value_info(SITE, TensorProto.INT64, []))
    inner.input.extend(
        helper.make_tensor_value_info(f"{PRODUCT}{place}", TensorProto.FLOAT, None) for place in range(most)
    )
    inner.output.extend(helper.make_tensor_value_info(site.activation, TensorProto.FLOAT, None) for site in found)
    return switched


def _branch(node: onnx.NodeProto) -> onnx.GraphProto:
    (output,) = node.output
    return helper.make_graph([node], output, [], [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)])


def _bias(graph: Graph, product: Product) -> FloatArray | float:
    """What a `Gemm` adds to its product."""
    if len(product.node.input) < 3:
        return 0.0
    bias: FloatArray = graph.array(graph.tensors[product.node.input[2]])
    return bias
