"""Calibration of the static int8 graph: good where plain calibration is bad, and its choice measured and recorded."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from helpers import families
from helpers.paths import ROOT
from onnx import TensorProto, helper, numpy_helper

from embedgate.core.cache import ArtefactCache
from embedgate.core.combination import Combination
from embedgate.core.errors import BuildError
from embedgate.core.model import resolve
from embedgate.encoders import BuildContext
from embedgate.encoders.onnx import calibration, qdq, sensitivity
from embedgate.encoders.onnx.calibration import Trial, calibrate, calibrated_graph, minmax_int8_graph, smoothing_factors
from embedgate.encoders.onnx.export import exported_graph
from embedgate.encoders.onnx.graph import Graph, read_graph, save_graph
from embedgate.encoders.onnx.qdq import Treatment
from embedgate.encoders.onnx.session import session
from embedgate.encoders.onnx.tokenizer import Tokenizer
from embedgate.encoders.onnxruntime.encoder import GraphEncoder

INT8STATIC = Combination("onnxruntime", "int8static", "cpu")
DATA = ROOT / "fixtures" / "data" / "calibration" / "texts.jsonl"
# Short ones, for speed, and many kinds of them: calibration is as good as its texts are varied.
TEXTS = tuple(
    text for line in DATA.read_text("utf-8").splitlines() if 30 < len(text := json.loads(line)["text"]) < 120
)[:128]
JUDGED = (
    "Interest rates rose for the second month in a row.",
    "How do I reset the password of my router?",
    "Two dogs chase a ball across the beach.",
    "The enzyme splits the molecule into three parts, of which one is toxic to fish.",
)


@pytest.fixture(scope="module")
def context(cache) -> BuildContext:
    return BuildContext(
        threads=1, cache=ArtefactCache(cache), calibration_texts=TEXTS, calibration_sha256="of the texts"
    )


@pytest.fixture(scope="module")
def exported(model, context) -> Path:
    return exported_graph(model, context)


@pytest.fixture(scope="module")
def small(exported, tmp_path_factory) -> Path:
    """The model's graph, cut after two of its six layers: the method is the same, and the tests quick."""
    path = tmp_path_factory.mktemp("small") / "model.onnx"
    graph = onnx.load(exported)
    tail = next(node for node in graph.graph.node if node.output[0] == "token_embeddings")
    second = [node for node in graph.graph.node if node.op_type == "LayerNormalization"][4]
    for node in graph.graph.node:
        for position, name in enumerate(node.input):
            if name == "token_embeddings":
                node.input[position] = second.output[0]
    graph.graph.node.remove(tail)
    for value in list(graph.graph.output):
        if value.name == "token_embeddings":
            graph.graph.output.remove(value)
    onnx.save(
        onnx.utils.Extractor(graph).extract_model([value.name for value in graph.graph.input], ["sentence_embedding"]),
        path,
    )
    return path


@pytest.fixture(scope="module")
def calibrated(model, small, context):
    return calibrate(small, Tokenizer(model), TEXTS, context)


def cosines(model, context, path: Path, other: Path) -> np.ndarray:
    first, second = (GraphEncoder(model, file, INT8STATIC, context).encode(JUDGED) for file in (path, other))
    return (first * second).sum(axis=1)


@pytest.mark.slow("calibrated static int8 of the real model is nearer to fp32 than plain calibration")
class TestCalibrated:
    def test_is_nearer_to_fp32_than_plain_calibration(self, model, small, calibrated, context, tmp_path):
        chosen, _ = calibrated
        save_graph(qdq.quantized_graph(read_graph(small), chosen), tmp_path / "good.onnx")
        minmax_int8_graph(small, tmp_path / "plain.onnx", list(Tokenizer(model).batches(TEXTS, 8)))
        good = 1 - cosines(model, context, small, tmp_path / "good.onnx")
        plain = 1 - cosines(model, context, small, tmp_path / "plain.onnx")
        assert good.max() < 0.01
        assert plain.mean() > 3 * good.mean()

    def test_every_product_runs_in_int8(self, model, small, calibrated, context, tmp_path):
        chosen, record = calibrated
        save_graph(qdq.quantized_graph(read_graph(small), chosen), tmp_path / "model.onnx")
        evidence = GraphEncoder(model, tmp_path / "model.onnx", INT8STATIC, context).evidence()
        assert evidence.products == {"int8": 12}
        assert evidence.problems == ()
        assert record["float_products"] == []

    def test_second_feed_forward_product_is_the_most_sensitive_and_is_smoothed(self, calibrated):
        _, record = calibrated
        plain = {site["products"][0]: site["trials"][0]["sensitivity"] for site in record["sites"]}
        assert max(plain, key=plain.__getitem__).endswith("output.dense")
        smoothed = [site["products"][0] for site in record["sites"] if site["chosen"] == "smooth"]
        assert {"encoder.layer.0.output.dense", "encoder.layer.1.output.dense"} <= set(smoothed)

    def test_record_tells_what_was_tried_and_measured(self, calibrated):
        _, record = calibrated
        assert record["texts"] == len(TEXTS)
        assert record["joint_error"]["mean"] <= record["joint_error"]["target"]
        assert sum(record["treatments"].values()) == len(record["sites"]) == 8
        for site in record["sites"]:
            assert {"minmax", "smooth"} <= {trial["treatment"] for trial in site["trials"]}
            assert all(np.isfinite(trial["sensitivity"]) for trial in site["trials"])


@pytest.mark.slow("the sensitivity of a site is that of the graph in which it alone is quantized")
def test_sensitivity_is_that_of_a_graph_of_its_own(model, small, calibrated):
    graph = read_graph(small)
    texts = list(Tokenizer(model).batches(TEXTS[:16], 8))
    treatments = {activation: [treatment] for activation, treatment in calibrated[0].items()}
    told: list[str] = []
    found = sensitivity.sensitivities(graph, qdq.sites(graph), treatments, texts, 1, told.append)
    exact = calibration._embeddings(session(graph, 1), texts)
    for activation, (treatment,) in treatments.items():
        quantized = calibration._quantized_embeddings(graph, {activation: treatment}, texts, 1)
        assert found[activation] == [pytest.approx(sensitivity.errors_to(exact, quantized).mean(), rel=0.05)]
    assert told == [f"calibrating int8: sensitivity of site 1 of 8, batch {number} of 2" for number in (1, 2)]


class TestTarget:
    @pytest.fixture
    def picked(self, small, calibrated) -> dict[str, Trial]:
        chosen, record = calibrated
        return {
            site.activation: Trial(
                chosen[site.activation],
                0.0,
                next(trial["sensitivity"] for trial in told["trials"] if trial["treatment"] == told["chosen"]),
            )
            for site, told in zip(qdq.sites(read_graph(small)), record["sites"], strict=True)
        }

    @pytest.fixture
    def judging(self, model):
        return list(Tokenizer(model).batches(TEXTS[::4], 32))

    def test_sensitive_sites_go_back_to_float_until_it_is_met(self, small, calibrated, picked, judging, monkeypatch):
        target = calibrated[1]["joint_error"]["mean"] / 2
        monkeypatch.setattr(calibration, "MAX_JOINT_ERROR", target)
        chosen, joint = calibration._within_target(read_graph(small), picked, judging, 1)
        assert joint["mean"] <= joint["target"] == target
        kept = picked.keys() - chosen.keys()
        assert 0 < len(kept) < len(picked)
        assert min(picked[name].sensitivity for name in kept) >= max(picked[name].sensitivity for name in chosen)

    def test_target_that_nothing_meets_is_an_error(self, small, picked, judging, monkeypatch):
        monkeypatch.setattr(calibration, "MAX_JOINT_ERROR", 1e-12)
        with pytest.raises(BuildError, match="no product can be int8"):
            calibration._within_target(read_graph(small), picked, judging, 1)

    def test_simpler_treatment_wins_where_the_difference_is_slight(self):
        minmax, smooth = Treatment("minmax", 1.0), Treatment("smooth", 1.0)
        near = [Trial(minmax, 0.0, 1.2e-4), Trial(smooth, 0.0, 1.0e-4)]
        far = [Trial(minmax, 0.0, 1.4e-4), Trial(smooth, 0.0, 1.0e-4)]
        assert calibration._pick(near).treatment is minmax
        assert calibration._pick(far).treatment is smooth

    def test_nan_counts_as_worse_than_anything(self):
        sound = np.eye(2, 3, dtype=np.float32)
        broken = sound.copy()
        broken[1] = np.nan
        np.testing.assert_allclose(sensitivity.errors_to(sound, broken), [0.0, 2.0])


@pytest.mark.slow("what comes after pooling is calibrated on every text held out, however few tokens are sampled")
def test_a_layer_after_pooling_is_calibrated_on_every_text(tmp_path):
    families.t5(tmp_path)
    dense = resolve(str(tmp_path))
    graph = read_graph(exported_graph(dense, BuildContext(threads=1, cache=ArtefactCache(tmp_path / "cache"))))
    found = qdq.sites(graph)
    batches = list(Tokenizer(dense).batches([f"{text} " * 6 for text in TEXTS], 8))
    seen = calibration.statistics_of(graph, found, batches, batches, 1)
    assert len(seen[found[-1].activation].rows) == len(TEXTS)
    assert 0.8 < len(seen[found[0].activation].rows) / calibration.SAMPLED_ROWS < 1.2


def test_too_few_texts_are_refused(model, context):
    few = BuildContext(threads=1, cache=context.cache, calibration_texts=("one", "two"))
    with pytest.raises(BuildError, match="2 calibration texts are too few; give at least 64"):
        calibrated_graph(model, few)


def test_graph_is_cached_by_its_texts_and_exposes_its_record(model, context, exported, tmp_path, monkeypatch):
    # In a cache of its own: what is kept here was not calibrated.
    shutil.copytree(exported.parent, tmp_path / exported.parent.name)
    context = replace(context, cache=ArtefactCache(tmp_path))
    calls = []

    def quick(exported, tokenizer, texts, context):
        calls.append(list(texts))
        graph = read_graph(exported)
        return {qdq.sites(graph)[0].activation: Treatment("minmax", 0.05)}, {"texts": len(texts)}

    monkeypatch.setattr(calibration, "calibrate", quick)
    path, record = calibrated_graph(model, context)
    assert record == {"calibration_sha256": "of the texts", "texts": len(TEXTS)}
    assert calibrated_graph(model, context) == (path, record)
    other = BuildContext(threads=1, cache=context.cache, calibration_texts=TEXTS[:64])
    assert calibrated_graph(model, other)[0] != path
    assert list(map(len, calls)) == [len(TEXTS), 64]


class TestQuantizedGraph:
    @pytest.fixture
    def dense(self) -> onnx.ModelProto:
        """A layer as a dense module after pooling makes it: a Gemm with transposed weights and a bias."""
        generator = np.random.default_rng(0)
        weights = generator.normal(size=(3, 4)).astype(np.float32)
        bias = generator.normal(size=3).astype(np.float32)
        return helper.make_model(
            helper.make_graph(
                [helper.make_node("Gemm", ["x", "w", "b"], ["y"], "dense/Gemm", transB=1)],
                "dense",
                [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
                [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
                [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(bias, "b")],
            ),
            opset_imports=[helper.make_opsetid("", 20)],
        )

    @pytest.mark.parametrize("smoothing", [None, np.array([0.5, 1.0, 2.0, 4.0], dtype=np.float32)])
    def test_computes_what_the_float_graph_does(self, dense, smoothing):
        treatment = Treatment("smooth", 8.0 / 127, smoothing)
        quantized = qdq.quantized_graph(Graph(dense, Path()), {"x": treatment}).proto
        onnx.checker.check_model(quantized)
        x = np.random.default_rng(1).uniform(-2, 2, size=(5, 4)).astype(np.float32)
        expected, found = (
            onnx.reference.ReferenceEvaluator(graph).run(None, {"x": x})[0] for graph in (dense, quantized)
        )
        assert 0 < np.abs(found - expected).max() < 0.3

    def test_sensitivity_has_the_bias_too(self, dense):
        """One text, whose embedding is what the layer gives: its error is that of the quantized product."""
        weights = numpy_helper.to_array(dense.graph.initializer[0])
        x = np.random.default_rng(1).uniform(-2, 2, size=(1, 4)).astype(np.float32)
        bias = numpy_helper.to_array(dense.graph.initializer[1])
        treatment = Treatment("minmax", 2 / 127)
        rounded = sensitivity.product_of(x, weights.T, treatment) + bias
        dense.graph.node[0].output[0] = dense.graph.output[0].name = sensitivity.EMBEDDING
        graph = Graph(dense, Path())
        batch = SimpleNamespace(feeds={"x": x})
        (found,) = sensitivity.sensitivities(graph, qdq.sites(graph), {"x": [treatment]}, [batch], 1, print)["x"]
        assert 0 < found == pytest.approx(float(sensitivity.errors_to(x @ weights.T + bias, rounded)[0]), rel=1e-3)

    def test_is_symmetric_int8_throughout(self, dense):
        quantized = qdq.quantized_graph(Graph(dense, Path()), {"x": Treatment("minmax", 0.01)}).proto
        tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in quantized.graph.initializer}
        zeros = [tensor for name, tensor in tensors.items() if name.endswith("zero")]
        assert len(zeros) == 2
        assert all(tensor.dtype == np.int8 and not tensor.any() for tensor in zeros)
        assert tensors["dense/weight_int8"].dtype == np.int8
        assert tensors["dense/weight_int8"].min() >= -127
        assert tensors["dense/weight_scale"].shape == (3,)
        assert "w" not in tensors

    def test_leaves_the_given_graph_alone(self, dense):
        before = dense.SerializeToString()
        qdq.quantized_graph(Graph(dense, Path()), {"x": Treatment("minmax", 0.01)})
        assert dense.SerializeToString() == before

    def test_site_that_is_not_there_is_refused(self, dense):
        with pytest.raises(BuildError, match="no product reads 'z'"):
            qdq.quantized_graph(Graph(dense, Path()), {"z": Treatment("minmax", 0.01)})

    def test_products_of_two_activations_stay_in_float(self, exported):
        graph = read_graph(exported)
        found = qdq.sites(graph)
        assert len(found) == 24
        assert [len(site.products) for site in found[:4]] == [3, 1, 1, 1]
        quantized = qdq.quantized_graph(graph, {site.activation: Treatment("minmax", 0.05) for site in found})
        kinds = [node.op_type for node in quantized.proto.graph.node]
        assert kinds.count("QuantizeLinear") == 36
        assert kinds.count("DequantizeLinear") == 72


def test_smoothing_factors_are_smoothquants():
    largest = np.array([4.0, 1.0], dtype=np.float32)
    weights = np.array([[1.0, -0.5], [0.25, 0.0]], dtype=np.float32)
    np.testing.assert_allclose(smoothing_factors(largest, weights, 0.5), [2.0, 2.0])
    np.testing.assert_allclose(smoothing_factors(largest, weights, 1.0), [4.0, 1.0])
    assert np.isfinite(smoothing_factors(np.zeros(2, np.float32), np.zeros((2, 2), np.float32), 0.5)).all()
