"""Graphs in mixed float16: what must stay in float32 does, and nothing is rounded in between."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
from transformers import AutoTokenizer, MPNetConfig, MPNetModel

from embedgate.core.cache import ArtefactCache
from embedgate.core.errors import BuildError
from embedgate.core.model import resolve
from embedgate.encoders import BuildContext
from embedgate.encoders.onnx import half
from embedgate.encoders.onnx.export import exported_graph
from embedgate.encoders.onnx.graph import Graph, file_bytes
from embedgate.encoders.onnx.half import _check_scales, converted_to_half, float32_nodes, half_graph
from embedgate.encoders.onnx.session import session
from embedgate.encoders.onnx.tokenizer import Tokenizer

FEEDS = {"input_ids": np.array([[5, 9, 2], [7, 1, 0]]), "attention_mask": np.array([[1, 1, 1], [1, 1, 0]])}
HIDDEN = 8


def value(name: str, kind: int, *shape: str | int):
    return helper.make_tensor_value_info(name, kind, list(shape))


def tensor(name: str, array: np.ndarray):
    return numpy_helper.from_array(array, name)


def small(scale: float = 1.0) -> onnx.ModelProto:
    """A layer with a layer norm in parts, and pooling: `scale` is the size of its hidden states before the norm."""
    generator = np.random.default_rng(0)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["embedded"], "embed"),
        helper.make_node("MatMul", ["embedded", "weight"], ["projected"], "dense/MatMul"),
        helper.make_node("Mul", ["projected", "scale"], ["scaled"], "scaled"),
        helper.make_node("ReduceMean", ["scaled", "last"], ["mean"], "mean"),
        helper.make_node("Sub", ["scaled", "mean"], ["centred"], "centred"),
        helper.make_node("Pow", ["centred", "two"], ["squared"], "squared"),
        helper.make_node("ReduceMean", ["squared", "last"], ["variance"], "variance"),
        helper.make_node("Add", ["variance", "epsilon"], ["shifted"], "shifted"),
        helper.make_node("Sqrt", ["shifted"], ["deviation"], "deviation"),
        helper.make_node("Div", ["centred", "deviation"], ["token_embeddings"], "normed"),
        helper.make_node("Cast", ["attention_mask"], ["mask"], "mask", to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["wide"], "wide"),
        helper.make_node("Mul", ["token_embeddings", "wide"], ["masked"], "masked"),
        helper.make_node("ReduceSum", ["masked", "tokens"], ["summed"], "summed", keepdims=0),
        helper.make_node("ReduceL2", ["summed", "last"], ["length"], "length"),
        helper.make_node("Clip", ["length", "least"], ["clipped"], "clipped"),
        helper.make_node("Div", ["summed", "clipped"], ["sentence_embedding"], "normalised"),
    ]
    initializers = [
        tensor("table", generator.normal(size=(10, HIDDEN)).astype(np.float32)),
        tensor("weight", generator.normal(size=(HIDDEN, HIDDEN)).astype(np.float32)),
        tensor("scale", np.array(scale, np.float32)),
        tensor("two", np.array(2, np.float32)),
        tensor("epsilon", np.array(1e-12, np.float32)),
        tensor("least", np.array(1e-12, np.float32)),
        tensor("last", np.array([-1])),
        tensor("tokens", np.array([1])),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [value(name, TensorProto.INT64, "batch", "sequence") for name in FEEDS],
        [
            value("sentence_embedding", TensorProto.FLOAT, "batch", HIDDEN),
            value("token_embeddings", TensorProto.FLOAT, "batch", "sequence", HIDDEN),
        ],
        initializers,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(made)
    return made


def run(graph: onnx.ModelProto) -> np.ndarray:
    """The embeddings, every node computed in the very type the graph says."""
    onnx.checker.check_model(graph, full_check=True)
    with np.errstate(all="ignore"):
        (found,) = ReferenceEvaluator(graph).run(["sentence_embedding"], FEEDS)
    return np.asarray(found)


def converted(graph: onnx.ModelProto, kept: list[str] | None = None) -> onnx.ModelProto:
    shaped = onnx.shape_inference.infer_shapes(graph)
    return converted_to_half(Graph(shaped, Path()), float32_nodes(shaped) if kept is None else kept).proto


def test_norms_softmax_and_all_after_the_hidden_states_stay():
    kept = float32_nodes(small())
    assert {
        "mean",
        "squared",
        "variance",
        "shifted",
        "deviation",
        "masked",
        "summed",
        "length",
        "clipped",
        "normalised",
    } <= set(kept)
    assert not {"embed", "dense/MatMul", "scaled"} & set(kept)


def test_outputs_inputs_and_small_constants_keep_their_types():
    made = converted(small())
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
    assert tensors["weight/float16"].dtype == np.float16
    assert "weight" not in tensors
    assert tensors["least"] == np.float32(1e-12)
    assert [output.type.tensor_type.elem_type for output in made.graph.output] == [TensorProto.FLOAT] * 2
    found = run(made)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, run(small()), atol=2e-3)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


def test_a_layer_norm_in_float16_overflows_and_one_kept_in_float32_does_not():
    """Hidden states of some hundreds, whose squares are beyond 65504."""
    wanted = run(small(400.0))
    assert not np.isfinite(run(converted(small(400.0), kept=[]))).all()
    np.testing.assert_allclose(run(converted(small(400.0))), wanted, atol=2e-3)


def test_between_two_nodes_that_stay_nothing_is_cast():
    made = converted(small()).graph
    makes = {name: node for node in made.node for name in node.output}
    for node in made.node:
        if node.name in ("shifted", "deviation", "summed", "length", "clipped"):
            assert [makes[name].op_type for name in node.input if name in makes].count("Cast") == 0


def test_nodes_are_in_the_order_they_run(model, cache):
    context = BuildContext(1, ArtefactCache(cache))
    path, record = half_graph(model, exported_graph(model, context), context)
    onnx.checker.check_model(path, full_check=True)
    assert record["cosine_to_source"] > 0.9999
    assert file_bytes(path) < 0.52 * file_bytes(exported_graph(model, context))


def test_positions_are_told_apart_at_any_length(model, tmp_path):
    """MPNet makes buckets of positions by a logarithm: in float16, its neighbours fall into other ones."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(str(model.path))
    config = MPNetConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=514,
        pad_token_id=0,
    )
    MPNetModel(config).save_pretrained(tmp_path / "hf")
    tokenizer.save_pretrained(tmp_path / "hf")
    transformer = Transformer(str(tmp_path / "hf"), max_seq_length=256)
    SentenceTransformer(modules=[transformer, Pooling(32), Normalize()], device="cpu").save(str(tmp_path / "st"))
    mpnet = resolve(str(tmp_path / "st"))
    context = BuildContext(1, ArtefactCache(tmp_path / "cache"))
    source = exported_graph(mpnet, context)
    path, _ = half_graph(mpnet, source, context)
    (batch,) = Tokenizer(mpnet).batches(["every word of it counts " * 60], 1)
    mine, theirs = (session(file, 1).run(["token_embeddings"], batch.feeds)[0][0] for file in (path, source))
    cosines = (mine * theirs).sum(axis=1) / np.linalg.norm(mine, axis=1) / np.linalg.norm(theirs, axis=1)
    assert len(cosines) == 256
    assert cosines.min() > 0.999


def test_a_graph_that_float16_ruins_is_refused(model, cache, monkeypatch):
    context = BuildContext(1, ArtefactCache(cache))
    monkeypatch.setattr(half, "VERSION", -1)
    monkeypatch.setattr(half, "_least_cosine", lambda *_: float("nan"))
    with pytest.raises(
        BuildError, match="all-MiniLM-L6-v2 cannot be float16: of 5 texts, the least cosine to before is nan"
    ):
        half_graph(model, exported_graph(model, context), context)


def test_scales_that_float16_cannot_hold_are_refused():
    graph = small()
    graph.graph.initializer.append(tensor("tiny", np.array([1e-3, 3e-9], np.float32)))
    graph.graph.node.append(helper.make_node("DequantizeLinear", ["q", "tiny"], ["w"], "dense/DequantizeWeight"))
    with pytest.raises(BuildError, match="scales of dense cannot be float16: they go down to 3e-09; use fp16"):
        _check_scales(Graph(graph, Path()))


def test_a_graph_within_the_graph_is_refused():
    graph = small()
    inner = helper.make_graph([], "inner", [], [])
    graph.graph.node.append(helper.make_node("If", ["b"], ["c"], "branch", then_branch=inner, else_branch=inner))
    with pytest.raises(BuildError, match=r"branch \(If\) holds a graph of its own"):
        converted_to_half(Graph(graph, Path()), [])
