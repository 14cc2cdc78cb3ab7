"""The weights of ONNX files: found under the model's names, whoever exported or quantized the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from embedgate.core.cache import ArtefactCache
from embedgate.core.model import Model
from embedgate.diagnosis.weights import compared
from embedgate.encoders import BuildContext
from embedgate.encoders.inside import ModuleWeights
from embedgate.encoders.loading import load
from embedgate.encoders.onnx.export import exported_graph
from embedgate.encoders.onnx.graph import Graph, read_graph, save_graph
from embedgate.encoders.onnx.half import half_graph
from embedgate.encoders.onnx.qdq import dynamic_graph
from embedgate.encoders.onnx.weights import GraphWeights
from embedgate.encoders.weights import Weight

WEIGHTS = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)  # [out, in]
REFERENCE = {"encoder.layer.0.output.dense.weight": Weight(WEIGHTS)}
PRODUCT = "/encoder/layer.0/output/dense/MatMul"
STEPS = np.abs(WEIGHTS).max(axis=1) / 127
CODES = np.round(WEIGHTS / STEPS[:, None]).astype(np.int8)


def graph(nodes: list[onnx.NodeProto], **tensors: np.ndarray) -> Graph:
    """A graph whose tensors are called as given, `__` for `::`."""
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 6])
    initializers = [numpy_helper.from_array(each, name.replace("__", "::")) for name, each in tensors.items()]
    return Graph(helper.make_model(helper.make_graph(nodes, "g", [given], [result], initializers)), Path())


def node(kind: str, inputs: list[str], name: str = PRODUCT, output: str = "y", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, [output], name, **attributes)


FILES = {
    "TorchScript": graph([node("MatMul", ["x", "onnx::MatMul_7"])], onnx__MatMul_7=WEIGHTS.T.copy()),
    "Gemm": graph([node("Gemm", ["x", "w"], "/encoder/layer.0/output/dense/Gemm", transB=1)], w=WEIGHTS),
    "float16": graph([node("MatMul", ["x", "w"])], w=WEIGHTS.T.astype(np.float16)),
    "dequantized": graph(
        [node("DequantizeLinear", ["w", "s", "z"], "d", "f", axis=1), node("MatMul", ["x", "f"])],
        w=CODES.T.copy(),
        s=STEPS,
        z=np.zeros(6, np.int8),
    ),
    "zero points": graph(
        [node("DequantizeLinear", ["w", "s", "z"], "d", "f", axis=1), node("MatMul", ["x", "f"])],
        w=(CODES.T.astype(np.int16) + 128).astype(np.uint8),
        s=STEPS,
        z=np.full(6, 128, np.uint8),
    ),
    "integer product": graph(
        [node("MatMulInteger", ["x", "w_quantized"], f"{PRODUCT}_quant")],
        w_quantized=CODES.T.copy(),
        w_scale=STEPS,
        w_zero_point=np.zeros(6, np.int8),
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_product_is_called_as_in_the_model_and_dequantized(name):
    found = compared(GraphWeights(FILES[name]), REFERENCE)
    assert found.is_whole
    assert found.departed == []
    assert found.largest < 0.02
    doubled = {name: Weight(2 * each.values) for name, each in REFERENCE.items()}
    assert bool(compared(GraphWeights(FILES[name]), doubled).departed) == (name in ("TorchScript", "Gemm", "float16"))


def test_of_quantized_files_a_tensor_of_other_values_departs():
    other = {"encoder.layer.0.output.dense.weight": Weight(WEIGHTS[::-1].copy())}
    (found,) = compared(GraphWeights(FILES["dequantized"]), other).departed
    assert found.distance > 0.5


@pytest.fixture(scope="module")
def context(cache) -> BuildContext:
    return BuildContext(1, ArtefactCache(cache))


@pytest.fixture(scope="module")
def exported(small: Model, context: BuildContext) -> Graph:
    return read_graph(exported_graph(small, context))


@pytest.fixture(scope="module")
def reference(small: Model) -> ModuleWeights:
    return ModuleWeights(load(small, "cpu", torch.float32))


def test_embedgates_own_graphs_have_the_models_weights(small, context, exported, reference, tmp_path):
    whole = compared(GraphWeights(exported), reference)
    assert {each.name for each in whole.differences} == {name for name in reference if "pooler" not in name}
    assert whole.largest == 0
    half, _ = half_graph(small, exported_graph(small, context), context)
    halves = compared(GraphWeights(read_graph(half)), reference)
    assert len(halves.differences) == len(whole.differences)
    assert 0 < halves.largest < 5e-4
    save_graph(dynamic_graph(exported.copy()), tmp_path / "int8.onnx")
    int8 = compared(GraphWeights(read_graph(tmp_path / "int8.onnx")), reference)
    assert sum("dense.weight" in each.name for each in int8.differences) == 3
    assert int8.departed == []
    assert int8.largest > 1e-3


def test_a_tensor_that_was_changed_in_a_file_is_named(exported, reference):
    changed = exported.copy()
    for tensor in changed.proto.graph.initializer:
        if tensor.name.endswith("layer.0.output.LayerNorm.weight"):
            tensor.CopyFrom(numpy_helper.from_array(exported.array(tensor) * np.float32(0.9), tensor.name))
    found = compared(GraphWeights(changed), reference)
    assert found.told() == (
        "the weights differ: encoder.layer.0.output.LayerNorm.weight by 0.1 of its length (0.9 times the reference's)"
    )
