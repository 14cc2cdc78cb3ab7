"""ONNX Runtime's encoders: right results, and evidence that cannot be fooled."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from helpers.families import bert, t5
from sentence_transformers import SentenceTransformer

from embedgate.core.cache import ArtefactCache
from embedgate.core.combination import Combination
from embedgate.core.errors import BuildError
from embedgate.core.machine import this_machine
from embedgate.core.model import resolve
from embedgate.encoders import BuildContext
from embedgate.encoders.onnx import session as ort_session
from embedgate.encoders.onnx.export import exported_graph
from embedgate.encoders.onnx.session import session
from embedgate.encoders.onnx.tokenizer import Tokenizer
from embedgate.encoders.onnxruntime import encoder as onnxruntime
from embedgate.encoders.onnxruntime.encoder import GraphEncoder, build, unavailable

FP32 = Combination("onnxruntime", "fp32", "cpu")
INT8 = Combination("onnxruntime", "int8", "cpu")
FP16_CUDA = Combination("onnxruntime", "fp16", "cuda")
TEXTS = [
    "A man is eating food.",
    "Tea",
    "The quarterly report, 34 pages long, was late again; nobody on the board had read the one before it either.",
    "A woman is playing the violin.",
    "",
]


@pytest.fixture(scope="module")
def context(cache) -> BuildContext:
    return BuildContext(threads=1, cache=ArtefactCache(cache))


@pytest.fixture(scope="module")
def exported(model, context) -> Path:
    return exported_graph(model, context)


@pytest.fixture(scope="module")
def fp32(model, context) -> GraphEncoder:
    return build(model, FP32, context)


@pytest.fixture(scope="module")
def int8(model, context) -> GraphEncoder:
    return build(model, INT8, context)


@pytest.fixture(scope="module")
def expected(model) -> np.ndarray:
    loaded = SentenceTransformer(str(model.path), device="cpu", model_kwargs={"dtype": torch.float32})
    return loaded.encode(TEXTS, batch_size=1)


def test_fp32_is_the_reference_in_the_order_given(fp32, expected):
    embeddings = fp32.encode(TEXTS, batch_size=2)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(embeddings, expected, atol=2e-6)
    np.testing.assert_allclose(fp32.encode(TEXTS[::-1], batch_size=3), expected[::-1], atol=2e-6)


def test_int8_is_near_the_reference_but_not_it(int8, expected):
    cosines = (int8.encode(TEXTS) * expected).sum(axis=1)
    assert 0.95 < cosines.min() < cosines.max() < 0.99999


def test_no_texts_give_no_rows(fp32):
    assert fp32.encode([]).shape == (0, 384)


def test_evidence_of_sound_encoders(fp32, int8):
    full, reduced = fp32.evidence(), int8.evidence()
    assert (full.products, full.problems) == ({"float32": 36}, ())
    assert (reduced.products, reduced.problems) == ({"int8": 36}, ())
    assert reduced.weight_bytes < 0.66 * full.weight_bytes
    assert full.device == "cpu"
    assert full.threads == 1
    assert full.details["provider"] == "CPUExecutionProvider"
    assert full.library.startswith("onnxruntime ")


def test_fp32_graph_named_int8_is_found_out(model, exported, context):
    problems = GraphEncoder(model, exported, INT8, context).evidence().problems
    assert problems == ("named int8, but all 36 products compute in float32",)


def test_int8_graph_named_fp32_is_found_out(model, int8, context):
    problems = GraphEncoder(model, int8._path, FP32, context).evidence().problems
    assert problems == ("named fp32, but all 36 products compute in int8",)


def test_int8_weights_that_compute_in_float_are_found_out(model, exported, context, tmp_path):
    """Weights stored in int8 and dequantized before a float product: small, and no int8."""
    from embedgate.encoders.onnx import qdq
    from embedgate.encoders.onnx.graph import read_graph, save_graph

    graph = read_graph(exported)
    treatments = {site.activation: qdq.Treatment("minmax", 0.05) for site in qdq.sites(graph)}
    stored = qdq.quantized_graph(graph, treatments)
    sources = {
        f"{product.name}/activation": product.activation for site in qdq.sites(graph) for product in site.products
    }
    for node in stored.proto.graph.node:
        if node.op_type == "MatMul":
            node.input[0] = sources.get(node.input[0], node.input[0])
    save_graph(stored, tmp_path / "model.onnx")
    evidence = GraphEncoder(model, tmp_path / "model.onnx", INT8, context).evidence()
    assert evidence.weight_bytes < 60e6
    assert evidence.problems == ("named int8, but all 36 products compute in float32",)


def test_products_of_an_unknown_kind_prove_nothing(model, exported, context, monkeypatch):
    monkeypatch.setattr(onnxruntime, "FLOAT_PRODUCTS", {})
    problems = GraphEncoder(model, exported, FP32, context).evidence().problems
    assert problems == ("none of its products with weights is known, so what they compute in is not proven",)


def test_another_provider_is_found_out(fp32, monkeypatch):
    class Elsewhere:
        def get_providers(self):
            return ["CUDAExecutionProvider", "CPUExecutionProvider"]

        def get_session_options(self):
            return fp32_session.get_session_options()

    fp32_session = fp32._session
    monkeypatch.setattr(fp32, "_session", Elsewhere())
    assert fp32.evidence().problems == ("named cpu, but it runs on cuda",)


def test_stages_agree_with_one_another(fp32):
    stages = fp32.stages(TEXTS)
    assert [len(ids) for ids in stages.token_ids] == [len(tokens) for tokens in stages.token_embeddings]
    pooled = np.stack([tokens.mean(axis=0) for tokens in stages.token_embeddings])
    np.testing.assert_allclose(stages.pooled, pooled, atol=1e-5)
    normalised = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
    np.testing.assert_allclose(stages.embeddings, normalised, atol=1e-5)


def test_without_cuda_or_its_provider_the_reason_is_told(monkeypatch):
    assert unavailable(FP32) is None
    assert unavailable(FP16_CUDA) == "torch sees no CUDA device"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert unavailable(FP16_CUDA) == (
        "this onnxruntime has no CUDAExecutionProvider: install onnxruntime-gpu in the place of onnxruntime"
    )


class OnCuda:
    """A session as it would say it is on CUDA; it runs on the CPU, where no float16 product is."""

    def __init__(self, inner, providers=("CUDAExecutionProvider", "CPUExecutionProvider")) -> None:
        self._inner, self._providers = inner, list(providers)

    def get_providers(self):
        return self._providers

    def __getattr__(self, name):
        return getattr(self._inner, name)


@pytest.fixture
def on_cuda(model, exported, context, monkeypatch):
    """Makes the encoder of `onnxruntime-fp16-cuda` on the CPU, with a profile as CUDA's would be."""

    def make(change=lambda event: event, providers=("CUDAExecutionProvider", "CPUExecutionProvider")):
        def session_of(path, threads, optimized=None, device="cpu", profile=None):
            assert device == "cuda"
            return OnCuda(ort_session.session(path, threads, optimized, "cpu", profile), providers)

        monkeypatch.setattr(onnxruntime, "session", session_of)
        encoder = build(model, FP16_CUDA, context)
        own = encoder._profiled()
        assert sum(event["args"].get("op_name") == "MatMul" for event in own if event.get("cat") == "Node") == 48
        for event in own:
            if event.get("cat") == "Node" and "provider" in event["args"]:
                event["args"]["provider"] = "CUDAExecutionProvider"
                shapes = event["args"]["input_type_shape"]
                event["args"]["input_type_shape"] = [{"float16": shape} for kind in shapes for shape in kind.values()]
        monkeypatch.setattr(encoder, "_profiled", lambda: [change(event) for event in own])
        return encoder

    return make


def test_fp16_on_cuda_is_proven_by_what_every_product_read(on_cuda):
    evidence = on_cuda().evidence()
    assert (evidence.device, evidence.products, evidence.problems) == ("cuda", {"float16": 36}, ())
    assert evidence.details["graph"]["cosine_to_source"] > 0.9999


def test_falling_back_to_the_cpu_provider_is_found_out(on_cuda):
    """What ONNX Runtime does by itself where it cannot load CUDA's libraries."""
    problems = on_cuda(providers=["CPUExecutionProvider"]).evidence().problems
    assert "named cuda, but it runs on cpu" in problems


def test_products_that_ran_elsewhere_are_found_out(on_cuda):
    def moved(event):
        if "layer.3" in str(event.get("name")) and "provider" in event["args"]:
            return {**event, "args": {**event["args"], "provider": "CPUExecutionProvider"}}
        return event

    (problem,) = on_cuda(moved).evidence().problems
    assert problem.startswith("6 of 36 products ran elsewhere: encoder.layer.3.")
    assert problem.endswith("on CPUExecutionProvider")


def test_float32_products_under_an_fp16_id_are_found_out(on_cuda):
    def widened(event):
        if event.get("cat") == "Node" and "provider" in event["args"]:
            return {**event, "args": {**event["args"], "input_type_shape": [{"float": [1, 3, 384]}]}}
        return event

    assert on_cuda(widened).evidence().problems == ("named fp16, but all 36 products compute in float32",)


def test_an_unknown_weight_precision_is_refused(model, context):
    with pytest.raises(BuildError, match="ONNX Runtime builds no int4"):
        build(model, Combination("onnxruntime", "int4", "cpu"), context)


@pytest.mark.parametrize(
    ("architecture", "flags", "needed"),
    [
        ("x86_64", ("avx2", "fma"), True),
        ("x86_64", ("avx2", "avx512f"), True),
        ("x86_64", ("avx2", "avx512_vnni", "avx512f"), False),
        ("x86_64", ("avx2", "avx_vnni"), False),
        ("aarch64", ("asimddp",), False),
    ],
)
def test_exact_kernels_where_int8_would_saturate(monkeypatch, architecture, flags, needed):
    machine = dataclasses.replace(this_machine(), architecture=architecture, flags=flags)
    monkeypatch.setattr(ort_session, "this_machine", lambda: machine)
    assert ort_session.needs_u8u8() is needed


def test_exact_kernels_give_the_same_embeddings(model, int8, context, monkeypatch):
    monkeypatch.setattr(ort_session, "needs_u8u8", lambda: True)
    exact = GraphEncoder(model, int8._path, INT8, context)
    assert exact.evidence().details["u8u8_kernels"] is True
    assert exact.evidence().problems == ()
    np.testing.assert_allclose(exact.encode(TEXTS), int8.encode(TEXTS), atol=1e-4)


@pytest.mark.slow("dynamic int8 is onnxruntime's own, to the bits")
@pytest.mark.parametrize("family", [bert, t5], ids=["tokens", "dense"])
def test_int8_is_what_quantize_dynamic_makes_to_the_bits(family, tmp_path):
    """The library holds all weights three times meanwhile; of a large model, that is gigabytes."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    from embedgate.encoders.onnx.graph import product_names, read_graph, save_graph
    from embedgate.encoders.onnx.qdq import dynamic_graph

    family(tmp_path)
    other = resolve(str(tmp_path))
    source = exported_graph(other, BuildContext(threads=1, cache=ArtefactCache(tmp_path / "cache")))
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
    ours, theirs = tmp_path / "ours" / "model.onnx", tmp_path / "theirs" / "model.onnx"
    save_graph(dynamic_graph(read_graph(source)), ours)
    quantize_dynamic(
        source, theirs, op_types_to_quantize=["MatMul", "Gemm"], per_channel=True, weight_type=QuantType.QInt8
    )
    assert product_names(read_graph(ours).proto) == []
    for batch in Tokenizer(other).batches(TEXTS, 4):
        for mine, expected in zip(*(session(path, 1).run(None, batch.feeds) for path in (ours, theirs)), strict=True):
            np.testing.assert_array_equal(mine, expected)
