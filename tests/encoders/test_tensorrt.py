"""TensorRT: engines built for real by TensorRT for RTX, and the encoder on a runtime of the tests' own."""

from __future__ import annotations

import ast
import json
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers import fake_tensorrt
from helpers.fake_tensorrt import FAULTS, HostStream
from helpers.small import LAYERS, MAX_SEQ_LENGTH
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper

from embedgate.core.cache import ArtefactCache
from embedgate.core.combination import Combination
from embedgate.core.errors import BuildError, EncodeError, Unavailable
from embedgate.core.model import Model
from embedgate.data import load_calibration
from embedgate.encoders import BuildContext, tensorrt
from embedgate.encoders.gpu.stream import Gpu
from embedgate.encoders.onnx.calibration import calibrated_graph
from embedgate.encoders.onnx.export import exported_graph
from embedgate.encoders.onnx.fp8 import fp8_graph
from embedgate.encoders.onnx.graph import product_names
from embedgate.encoders.onnx.half import half_graph
from embedgate.encoders.onnx.session import session
from embedgate.encoders.onnx.tokenizer import Tokenizer
from embedgate.encoders.tensorrt import encoder as builder
from embedgate.encoders.tensorrt import engine as engines
from embedgate.encoders.tensorrt import library as libraries
from embedgate.encoders.tensorrt import runner
from embedgate.encoders.tensorrt.buckets import BOUNDS, bucket_of, buckets
from embedgate.encoders.tensorrt.engine import build_plan, engine_of
from embedgate.encoders.tensorrt.inspection import inspect, inspect_unnamed
from embedgate.encoders.tensorrt.library import Library, installed, unsupported
from embedgate.encoders.tensorrt.runner import BATCHES_AT_ONCE, TensorRTEncoder
from embedgate.performance.workloads import BATCH_SIZES

SOURCE = Path(tensorrt.__file__).parent
NAMES_FILE = Path(__file__).parent / "tensorrt-11.4-names.txt"
H200 = Gpu("NVIDIA H200", (9, 0), "580.95.05", 150 * 2**30)
ADA = Gpu("NVIDIA GeForce RTX 4090", (8, 9), "580.95.05", 24 * 2**30)
FAKE = Library(fake_tensorrt.MODULE, "tensorrt", "11.4.0.106")
TEXTS = [
    "A man is eating food.",
    "Tea",
    "The quarterly report, 34 pages long, was late again; nobody on the board had read the one before it either. " * 2,
    "word " * 300,
    "",
]
KINDS = ("fp16", "int8", "fp8")
PRODUCTS = 6 * LAYERS


def names_of_11_4() -> dict[str, set[str]]:
    found = {}
    for line in NAMES_FILE.read_text("utf-8").splitlines():
        kind, _, rest = line.partition(" ")
        name, _, members = rest.partition(":")
        found[name] = set(re.findall(r"'(\w+)'", members)) if kind in ("ENUM", "CLASS") else set()
    return found


@pytest.fixture(autouse=True)
def _sound():
    FAULTS.clear()
    fake_tensorrt.RUNS.clear()
    fake_tensorrt.CALLS.clear()
    yield
    FAULTS.clear()


@pytest.fixture(scope="module")
def model(small) -> Model:
    return small


@pytest.fixture(scope="module")
def context(cache) -> BuildContext:
    texts, digest = load_calibration()
    short = [text for text in texts if 30 < len(text) < 120]
    return BuildContext(1, ArtefactCache(cache), short[:128], digest, batch_size=32)


@pytest.fixture(scope="module")
def graphs(model, context) -> dict[str, Path]:
    """The graph each weight precision's engine is built from."""
    sources = {
        "fp16": exported_graph(model, context),
        "int8": calibrated_graph(model, context)[0],
        "fp8": fp8_graph(model, context)[0],
    }
    return {kind: half_graph(model, source, context)[0] for kind, source in sources.items()}


@pytest.fixture(scope="module")
def tokenizer(model) -> Tokenizer:
    return Tokenizer(model)


@pytest.fixture
def encoder(graphs, context, tokenizer):
    """Makes an encoder of a weight precision on the fake."""

    def make(kind: str = "fp16", batch_size: int = 32, named: str = "") -> TensorRTEncoder:
        made = engine_of(FAKE, graphs[kind], buckets(tokenizer.max_tokens, batch_size), H200, context)
        return TensorRTEncoder(made, tokenizer, Combination("tensorrt", named or kind, "cuda"), HostStream(), 1, {})

    return make


def expected(graph: Path, tokenizer: Tokenizer, texts: list[str]) -> np.ndarray:
    runner = session(graph, 1)
    rows = np.empty((len(texts), 384), np.float32)
    for batch in tokenizer.batches(texts, 1):
        (rows[batch.rows],) = runner.run(["sentence_embedding"], batch.feeds)
    return rows


# Names


def test_the_fake_has_no_name_of_its_own():
    known = names_of_11_4()
    for name, kind in vars(fake_tensorrt.MODULE).items():
        if name in ("__version__", "HostStream", "Severity", "IHostMemory"):
            continue
        public = {member for member in vars(kind) if not member.startswith("_") and member not in dir(int)}
        own = vars(kind).get("__annotations__", {})
        assert name in known, name
        assert public - set(own) <= known[name] | {"name"}, name


def test_every_name_used_exists_in_11_4_and_in_tensorrt_for_rtx():
    rtx = pytest.importorskip("tensorrt_rtx")
    known, used = names_of_11_4(), set()
    for file in SOURCE.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Attribute):
                chain = ast.unparse(node)
                if match := re.match(r"(?:self\._)?trt\.(.+)", chain):
                    used.add(match[1])
    assert {"Builder", "BuilderFlag.TF32", "EngineStat.TOTAL_WEIGHTS_SIZE", "Runtime"} <= used
    for chain in sorted(
        used - {chain for chain in used if chain.startswith(("CudaGraphStrategy", "DynamicShapesKernel"))}
    ):
        first, *rest = chain.split(".")
        assert first in known, chain
        assert not rest or rest[0] in known[first] | {"__init__"}, chain
    for chain in used:
        found = rtx
        for part in chain.split("."):
            found = getattr(found, part)


# Engines, built for real


@pytest.mark.parametrize("kind", KINDS)
def test_an_engine_is_built_with_every_profile(kind, graphs, tokenizer, tmp_path):
    rtx = pytest.importorskip("tensorrt_rtx")
    found = Library(rtx, "tensorrt_rtx", rtx.__version__)
    told: list[str] = []
    context = BuildContext(1, ArtefactCache(tmp_path), progress=told.append)
    known = buckets(tokenizer.max_tokens, 32)
    made = engine_of(found, graphs[kind], known, ADA, context)
    assert len(made.plan) > 10e6, "the vectors of 8,000 words"
    assert len(made.plan) == made.record["plan_bytes"]
    assert made.record["buckets"] == [bucket.describe() for bucket in known]
    first, *phases = told
    assert first == f"building the engine with {found}"
    assert all(phase.startswith(f"{first}: ") for phase in phases), "on a slow machine, its phase every five seconds"
    told.clear()
    again = engine_of(found, graphs[kind], known, ADA, context)
    assert again.plan == made.plan
    assert told == [], "the second came from the cache"


def test_an_asymmetric_graph_is_refused_in_tensorrts_own_words(graphs, tokenizer, tmp_path):
    rtx = pytest.importorskip("tensorrt_rtx")
    graph = onnx.load(graphs["int8"])
    for tensor in graph.graph.initializer:
        if tensor.name.endswith("/zero"):
            tensor.CopyFrom(numpy_helper.from_array(np.array(3, np.int8), tensor.name))
    onnx.save(graph, tmp_path / "model.onnx")
    found = Library(rtx, "tensorrt_rtx", rtx.__version__)
    with pytest.raises(BuildError, match=r"tensorrt_rtx 1\.7\S* cannot parse the graph: .*zero point"):
        build_plan(found, tmp_path / "model.onnx", buckets(tokenizer.max_tokens, 32), 2**28, None, print)


def test_a_node_it_does_not_know_is_named(graphs, tokenizer, tmp_path):
    rtx = pytest.importorskip("tensorrt_rtx")
    graph = onnx.load(graphs["fp16"])
    next(node for node in graph.graph.node if node.op_type == "Gelu").op_type = "Gullu"
    onnx.save(graph, tmp_path / "model.onnx")
    found = Library(rtx, "tensorrt_rtx", rtx.__version__)
    with pytest.raises(BuildError, match=r"cannot parse the graph: .*\(Gullu node_gelu\)"):
        build_plan(found, tmp_path / "model.onnx", buckets(tokenizer.max_tokens, 32), 2**28, None, print)


# Graphs


@pytest.mark.parametrize("kind", KINDS)
def test_every_product_is_quantized_symmetrically_or_half(kind, graphs):
    graph = onnx.load(graphs[kind])
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
    makes = {name: node for node in graph.graph.node for name in node.output}
    products = product_names(graph)
    assert len(products) == PRODUCTS
    quantized = 0
    for node in graph.graph.node:
        if node.name not in products:
            continue
        weights = makes.get(node.input[1])
        if weights is None:
            assert tensors[node.input[1]].dtype == np.float16
            continue
        quantized += 1
        activation = makes[node.input[0]]
        assert (activation.op_type, weights.op_type) == ("DequantizeLinear", "DequantizeLinear")
        assert makes[activation.input[0]].op_type == "QuantizeLinear"
        for pair, stored in ((activation, None), (weights, tensors[weights.input[0]])):
            scale, zero = tensors[pair.input[1]], tensors[pair.input[2]]
            assert scale.dtype == np.float16
            assert (scale > 0).all()
            assert not zero.astype(np.float32).any()
            assert str(zero.dtype) == ("int8" if kind == "int8" else "float8_e4m3fn")
            assert stored is None or np.isfinite(stored.astype(np.float32)).all()
        assert tensors[weights.input[1]].shape == ((stored.shape[1],) if kind == "int8" else ())
    assert quantized == {"fp16": 0, "int8": quantized, "fp8": PRODUCTS}[kind]
    assert quantized > PRODUCTS / 2 or kind == "fp16"


@pytest.mark.parametrize(
    ("kind", "mean", "least"), [("fp16", 0.99999, 0.9999), ("int8", 0.99, 0.95), ("fp8", 0.99, 0.97)]
)
def test_the_graph_computes_what_the_reference_does(kind, mean, least, model, context, graphs, tokenizer):
    texts = list(load_calibration()[0][-100:])
    mine, theirs = (expected(path, tokenizer, texts) for path in (graphs[kind], exported_graph(model, context)))
    cosines = (mine * theirs).sum(axis=1) / np.linalg.norm(mine, axis=1) / np.linalg.norm(theirs, axis=1)
    assert cosines.mean() > mean
    assert cosines.min() > least


# Buckets


@given(st.integers(8, 40_000), st.integers(1, 600))
def test_buckets_take_every_length_and_no_shape_beyond_their_own(max_tokens, batch_size):
    known = buckets(max_tokens, batch_size)
    assert [bucket.shortest for bucket in known] == [1, *(bucket.longest + 1 for bucket in known[:-1])]
    assert known[-1].longest == max_tokens
    for bucket in known:
        for low, likely, high in zip(bucket.least_shape, bucket.likely_shape, bucket.largest_shape, strict=True):
            assert 1 <= low <= likely <= high
    for tokens in (1, 2, *BOUNDS, *(bound + 1 for bound in BOUNDS), max_tokens):
        if tokens <= max_tokens:
            bucket = known[bucket_of(known, tokens)]
            assert bucket.shortest <= tokens <= bucket.longest


def test_what_the_suites_ask_for_takes_one_part(tokenizer):
    """The budgets' batches and the session's own, of any length the model takes."""
    for batch_size in (*BATCH_SIZES, 200):
        for tokens in (3, *(17, 60, 100), tokenizer.max_tokens):
            known = buckets(tokenizer.max_tokens, batch_size)
            assert batch_size <= known[bucket_of(known, tokens)].most, (batch_size, tokens)


def test_a_model_without_a_limit_refuses_what_is_beyond_its_last_profile():
    known = buckets(10**30, 32)
    assert known[-1].longest == 8192
    with pytest.raises(EncodeError, match="a text of 8193 tokens is longer than the engine's largest profile of 8192"):
        bucket_of(known, 8193)


def test_a_profile_too_small_is_an_error_and_cuts_nothing(graphs, context, tokenizer):
    """An engine built for shorter texts than the model takes."""
    made = engine_of(FAKE, graphs["fp16"], buckets(64, 32), H200, context)
    encoder = TensorRTEncoder(made, tokenizer, Combination("tensorrt", "fp16", "cuda"), HostStream(), 1, {})
    assert encoder.encode(["short"]).shape == (1, 384)
    with pytest.raises(EncodeError, match="a text of 128 tokens is longer than the engine's largest profile of 64"):
        encoder.encode(["word " * 300])
    assert [shape for shape in fake_tensorrt.RUNS if shape[1] > 64] == []


def test_a_shape_that_the_engine_refuses_is_told(encoder, monkeypatch):
    made = encoder()
    monkeypatch.setattr(fake_tensorrt.IExecutionContext, "set_input_shape", lambda *_: False)
    with pytest.raises(
        EncodeError, match=r"refuses input_ids of shape \(1, 3\): its profile 0 takes \(1, 1\) to \(256, 32\)"
    ):
        made.encode(["Tea"])


# The cache


def test_an_engine_belongs_to_graph_library_gpu_driver_and_buckets(graphs, tokenizer, tmp_path):
    context = BuildContext(1, ArtefactCache(tmp_path))
    known = buckets(tokenizer.max_tokens, 32)
    other = tmp_path / "other" / "model.onnx"
    other.parent.mkdir()
    graph = onnx.load(graphs["fp16"])
    weight = next(t for t in graph.graph.initializer if t.data_type == onnx.TensorProto.FLOAT16 and len(t.dims) == 2)
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float16(0.5), weight.name))
    onnx.save(graph, other)
    for found, path, gpu, profiles in (
        (FAKE, graphs["fp16"], H200, known),
        (replace(FAKE, version="11.5.0"), graphs["fp16"], H200, known),
        (FAKE, other, H200, known),
        (FAKE, graphs["fp16"], replace(H200, name="NVIDIA H100"), known),
        (FAKE, graphs["fp16"], replace(H200, driver="590.1"), known),
        (FAKE, graphs["fp16"], H200, buckets(tokenizer.max_tokens, 300)),
    ):
        before = len(fake_tensorrt.CALLS)
        engine_of(found, path, profiles, gpu, context)
        assert len(fake_tensorrt.CALLS) == before + 1, "it was built anew"
        engine_of(found, path, profiles, gpu, context)
        assert len(fake_tensorrt.CALLS) == before + 1, "it came from the cache"


def test_an_engine_of_other_weights_in_its_place_is_found_out(graphs, tokenizer, tmp_path):
    context = BuildContext(1, ArtefactCache(tmp_path))
    known = buckets(tokenizer.max_tokens, 32)
    for kind in ("fp16", "int8"):
        engine_of(FAKE, graphs[kind], known, H200, context)
    mine, other = (
        next(
            folder
            for folder in tmp_path.glob("tensorrt-engine-*")
            if str(graphs[kind]).encode() in (folder / engines.PLAN).read_bytes()
        )
        for kind in ("fp16", "int8")
    )
    shutil.copy(other / engines.PLAN, mine / engines.PLAN)
    with pytest.raises(BuildError, match="is not the one that was built for this graph"):
        engine_of(FAKE, graphs["fp16"], known, H200, context)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / engines.PLAN).unlink(), "cannot be read: .*; delete "),
        (lambda folder: (folder / "artefact.json").write_text("{"), "artefact.json:1:2 is no JSON: .*; delete "),
        (lambda folder: (folder / "artefact.json").write_text("[]"), "artefact.json is corrupt: .*; delete "),
        (lambda folder: (folder / "artefact.json").write_bytes(b"\xff"), "artefact.json cannot be read: .*; delete "),
    ],
)
def test_a_damaged_cache_is_told_with_what_to_delete(damage, message, graphs, tmp_path):
    context = BuildContext(1, ArtefactCache(tmp_path))
    engine_of(FAKE, graphs["fp16"], buckets(MAX_SEQ_LENGTH, 32), H200, context)
    (folder,) = tmp_path.glob("tensorrt-engine-*")
    damage(folder)
    with pytest.raises(BuildError, match=message):
        engine_of(FAKE, graphs["fp16"], buckets(MAX_SEQ_LENGTH, 32), H200, context)


def test_what_the_builder_has_learnt_is_kept_and_another_versions_dropped(graphs, tokenizer, tmp_path):
    context, known = BuildContext(1, ArtefactCache(tmp_path)), buckets(tokenizer.max_tokens, 32)
    kept = tmp_path / engines.timing_cache_name(FAKE, H200)
    kept.write_bytes(b"of another version")
    engine_of(FAKE, graphs["fp16"], known, H200, context)
    assert kept.read_bytes() == b"learnt"


def test_a_build_that_fails_says_why(graphs, tokenizer, tmp_path):
    FAULTS["build"] = True
    with pytest.raises(BuildError, match=r"cannot build the engine: .*OutOfMemory"):
        engine_of(FAKE, graphs["fp16"], buckets(MAX_SEQ_LENGTH, 32), H200, BuildContext(1, ArtefactCache(tmp_path)))
    assert not list(tmp_path.glob("tensorrt-engine-*"))


def test_ctrl_c_stops_the_builder_and_leaves_nothing(graphs, tmp_path, monkeypatch):
    def interrupt(line: str) -> None:
        if "building engine" in line:
            raise KeyboardInterrupt

    monkeypatch.setattr(engines, "EVERY", 0)
    context = BuildContext(1, ArtefactCache(tmp_path), progress=interrupt)
    stopped = False
    try:
        engine_of(FAKE, graphs["fp16"], buckets(MAX_SEQ_LENGTH, 32), H200, context)
    except KeyboardInterrupt:
        stopped = True
    assert stopped
    assert not list(tmp_path.glob("*engine*"))


# The encoder


@pytest.mark.parametrize("kind", KINDS)
def test_embeddings_come_back_in_the_order_given(kind, encoder, graphs, tokenizer):
    texts = TEXTS * (BATCHES_AT_ONCE * 2)
    found = encoder(kind).encode(texts, batch_size=3)
    assert found.dtype == np.float32
    wanted = np.tile(expected(graphs[kind], tokenizer, TEXTS), (BATCHES_AT_ONCE * 2, 1))
    np.testing.assert_allclose(found, wanted, atol=2e-3)
    assert encoder(kind).encode([]).shape == (0, 384)


def test_a_batch_beyond_the_bucket_is_run_in_parts(encoder, tokenizer):
    made = encoder(batch_size=32)
    found = made.encode([f"text {i}" for i in range(400)], batch_size=400)
    sizes = [shape[0] for shape in fake_tensorrt.RUNS]
    assert sizes == [200, 200]
    assert np.isfinite(found).all()


def test_a_shape_that_repeats_becomes_a_cuda_graph_and_gives_the_same(encoder, tokenizer):
    made = encoder()
    first = made.encode(["one text"])
    for _ in range(4):
        assert made.encode(["another"]).shape == (1, 384)
        np.testing.assert_array_equal(made.encode(["one text"]), first)
    assert made._stream.captured == 2
    assert made.evidence().details["CUDA graphs"] == 2


@pytest.mark.parametrize(
    ("fault", "told"), [("capture", "not permitted"), ("refuses capture", "the engine did not run")]
)
def test_without_cuda_graphs_it_runs_and_tells(fault, told, encoder):
    FAULTS[fault] = True
    made = encoder()
    first = made.encode(["one text"])
    for _ in range(4):
        np.testing.assert_array_equal(made.encode(["one text"]), first)
    assert told in made.evidence().details["no CUDA graphs"]


def test_the_graphs_used_last_are_kept(encoder, monkeypatch):
    monkeypatch.setattr(runner, "MOST_GRAPHS", 2)
    made = encoder()
    for words in (1, 2, 3):
        for _ in range(3):
            made.encode(["word " * words])
    assert made._stream.captured == 3
    assert [tokens for _, tokens in made._graphs] == [4, 5]
    wanted = encoder().encode(["word word"])
    for _ in range(3):
        np.testing.assert_array_equal(made.encode(["word word"]), wanted)


def test_memory_to_work_in_is_what_the_shapes_need(encoder):
    made = encoder()
    made.encode(["Tea"])
    small = made._scratch.numel()
    made.encode(["word " * 100] * 32)
    assert small == 3 * 8
    assert made._scratch.numel() == 32 * 102 * 8


def test_callers_at_once_get_their_own_embeddings(encoder, graphs, tokenizer):
    made = encoder()
    wanted = expected(graphs["fp16"], tokenizer, TEXTS)
    with ThreadPoolExecutor(len(TEXTS)) as callers:
        rows = list(range(len(TEXTS))) * 5
        found = np.concatenate(list(callers.map(lambda row: made.encode([TEXTS[row]]), rows)))
    np.testing.assert_allclose(found, wanted[rows], atol=2e-3)


def test_stages_agree_with_one_another(encoder, tokenizer):
    made = encoder()
    stages = made.stages(TEXTS)
    assert [len(ids) for ids in stages.token_ids] == [len(tokens) for tokens in stages.token_embeddings]
    pooled = np.stack([tokens.mean(axis=0) for tokens in stages.token_embeddings])
    np.testing.assert_allclose(stages.pooled, pooled, atol=1e-4)
    np.testing.assert_allclose(stages.embeddings, made.encode(TEXTS), atol=2e-3)


@pytest.mark.parametrize(
    ("fault", "message"),
    [("context", "TensorRT makes no context for profile 0"), ("execute", "the engine did not run: no reason given")],
)
def test_what_goes_wrong_while_it_runs_is_told(fault, message, encoder):
    made = encoder()
    FAULTS[fault] = True
    with pytest.raises(EncodeError, match=message):
        made.encode(["Tea"])


def test_an_engine_of_another_device_is_told(encoder):
    FAULTS["load"] = True
    with pytest.raises(
        BuildError, match=r"cannot load the engine: .*of another device; it may be made for another GPU"
    ):
        encoder()


# Evidence


@pytest.mark.parametrize(("kind", "promised"), [("fp16", "float16"), ("int8", "int8"), ("fp8", "float8_e4m3fn")])
def test_evidence_of_a_sound_engine(kind, promised, encoder):
    evidence = encoder(kind).evidence()
    assert evidence.problems == ()
    assert evidence.device == "cuda"
    assert evidence.products[promised] > PRODUCTS / 2
    assert sum(evidence.products.values()) == PRODUCTS
    assert evidence.library == "tensorrt 11.4.0.106"
    assert evidence.artefact_bytes > 0
    assert len(evidence.details["profiles"]) == len(buckets(MAX_SEQ_LENGTH, 32))


def test_an_int8_engine_that_fell_back_is_found_out(encoder):
    made = encoder("int8")
    FAULTS["layers"] = dict.fromkeys(product_names(onnx.load(made._made.graph)), "Float")
    assert made.evidence().problems == ("named int8, but all 6 products compute in float32",)


def layer(kind: str, layer_type: str = "gemm", **more) -> dict:
    return {
        "Name": "a",
        "LayerType": layer_type,
        "Inputs": [{"DataType": kind}],
        "Metadata": "[ONNX Layer: dense/MatMul]\x1e[ONNX Layer: node_linear]",
        **more,
    }


def inspected(*layers: dict) -> dict[str, int]:
    return inspect([json.dumps({"Layers": layers})], ["dense/MatMul"]).products


def test_a_product_that_fell_back_in_one_profile_counts_as_fallen_back():
    told = [json.dumps({"Layers": [layer(kind)]}) for kind in ("Int8", "Half", "Int8")]
    assert inspect(told, ["dense/MatMul"]).products == {"float16": 1}


def test_of_the_layers_a_product_has_become_the_one_that_multiplies_counts():
    assert inspected(layer("Int8"), layer("Float", "kgen")) == {"int8": 1}
    assert inspected(layer("Float", "kgen")) == {"float32": 1}


@pytest.mark.parametrize(
    ("kernel", "kind"),
    [
        ("sm80_xmma_gemm_i8i8_i8i32_f32_tn_n_tilesize128x128x64_stage3", "int8"),
        ("sm80_xmma_gemm_f16f16_f16f16_f16_nn_n_tilesize32x32x64_stage6_warpsize2x2x1_tensor16x8x16", "float16"),
        ("sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n", "bfloat16"),
        ("sm90_xmma_gemm_e4m3e4m3_e4m3f32_f32_tn_n", "float8_e4m3fn"),
        ("sm80_xmma_gemm_f32f32_tf32f32_f32_nn_n", "float32"),
        ("__myl_FcMulAdd_0xf2543c36", "unknown"),
    ],
)
def test_where_a_layer_tells_no_types_its_kernels_name_does(kernel, kind):
    assert inspected(layer("N/A due to dynamic shapes", TacticName=kernel)) == {kind: 1}


class TestUnnamed:
    """Engines of whose graph no name is known: every layer that multiplies counts."""

    def found(self, *profiles: list[dict | str]) -> dict[str, int]:
        return inspect_unnamed(json.dumps({"Layers": layers}) for layers in profiles).products

    def test_layers_that_multiply_count_each_by_its_type(self):
        layers = [
            layer("Int8", Name="q", Metadata="[ONNX Layer: query/MatMul]"),
            layer("Half", "kgen", Name="norm", Metadata="[ONNX Layer: norm]"),
            layer("Half", Name="k", Metadata="[ONNX Layer: key/MatMul]"),
            layer("Int8", "kgen", Name="v", Metadata="", TacticName="sm80_xmma_gemm_i8i8_i8i32_f32_tn_n"),
            layer("Float", "Reformat", Name="gemm input", Metadata=""),
        ]
        assert self.found(layers) == {"int8": 2, "float16": 1}
        assert inspect_unnamed([json.dumps({"Layers": layers})]).wider == {"[ONNX Layer: key/MatMul]": "float16"}

    def test_a_layer_of_several_profiles_counts_once_at_its_widest(self):
        unknown = "N/A due to dynamic shapes"
        one, two = "fc", "fc [profile 1]"
        first = [layer("Int8", Name=one, Metadata=""), layer(unknown, Name=two, Metadata="")]
        second = [layer(unknown, Name=one, Metadata=""), layer("Half", Name=two, Metadata="")]
        assert self.found(first, second) == {"float16": 1}
        assert self.found(first, first) == {"int8": 1}

    def test_layers_fused_of_one_name_and_other_nodes_are_several(self):
        fused = [layer("Half", Name="__myl_Fc", Metadata=f"[ONNX Layer: {node}]") for node in ("a", "b")]
        assert self.found(fused) == {"float16": 2}

    def test_fused_attention_is_no_product_with_weights(self):
        attention = layer("Half", "kgen", Name="mha", Metadata="[x]", TacticName="_gemm_mha_v2_0x3f")
        named_so = layer("Int8", Name="encoder/attention/query/MatMul", Metadata="")
        assert self.found([attention, named_so]) == {"int8": 1}

    def test_names_alone_tell_nothing(self):
        assert self.found(["encoder/layer.0/MatMul", "norm"]) == {}


def test_a_half_engine_under_an_int8_id_is_found_out(encoder):
    problems = encoder("fp16", named="int8").evidence().problems
    assert problems == ("named int8, but all 6 products compute in float16",)


def test_an_engine_that_tells_names_alone_proves_nothing(encoder):
    FAULTS["names alone"] = True
    problems = encoder("int8").evidence().problems
    assert "none of its products with weights is known, so what they compute in is not proven" in problems


@pytest.mark.parametrize(
    ("inputs", "kind"),
    [
        ([{"Format/Datatype": "Row major Int8 format"}], "int8"),
        ([{"Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format."}], "int8"),
        ([{"Format/Datatype": "Half"}], "float16"),
        ([{"Format/Datatype": "Row major linear FP16 format"}], "float16"),
        ([{"Format/Datatype": "Row major linear FP32"}], "float32"),
        ([{"Format": "Row major linear", "DataType": "BFloat16"}], "bfloat16"),
        ([{"Format": "Row major linear", "DataType": "FP8"}], "float8_e4m3fn"),
        ([{"DataType": "Half"}, {"DataType": "Int8"}], "int8"),
        ([{"Format/Datatype": "N/A due to dynamic shapes"}], "unknown"),
        ([], "unknown"),
    ],
)
def test_types_as_tensorrt_10_and_11_tell_them(inputs, kind):
    found = {"Name": "x", "LayerType": "gemm", "Inputs": inputs, "Metadata": "[ONNX Layer: a.dense/MatMul]"}
    told = [json.dumps({"Layers": [found]})]
    assert inspect(told, ["a.dense/MatMul"]).products == {kind: 1}
    assert inspect(told, ["a.dense/MatMul_4", "a.den/MatMul"]).products == {"unknown": 2}


# Where it cannot run


def test_without_a_package_the_extras_are_named(monkeypatch):
    monkeypatch.setattr(libraries, "PACKAGES", ("no_such_tensorrt",))
    with pytest.raises(Unavailable, match=r"neither tensorrt nor .* pip install 'embedgate\[gpu,tensorrt\]'"):
        installed()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "raise ImportError('libnvinfer.so.11: cannot open shared object file')",
            "broken_trt cannot be imported .*libnvinfer",
        ),
        ("import tensorrt_libs_that_are_not_there", "broken_trt cannot be imported .*tensorrt_libs_that_are_not_there"),
        ("__version__ = '8.6.1'", "broken_trt 8.6.1 is older than 10.13"),
        ("", "broken_trt is no TensorRT"),
        ("__version__ = 'unknown'", "broken_trt is no TensorRT"),
        ("raise SystemExit(3)", "broken_trt cannot be imported"),
    ],
)
def test_a_broken_package_is_told_in_one_line(content, message, tmp_path, monkeypatch):
    (tmp_path / "broken_trt.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(libraries, "PACKAGES", ("broken_trt",))
    monkeypatch.setattr(libraries, "OLDEST", {"broken_trt": (10, 13)})
    monkeypatch.delitem(sys.modules, "broken_trt", raising=False)
    with pytest.raises(Unavailable, match=message) as told:
        installed()
    assert "\n" not in str(told.value)


def test_tensorrt_for_rtx_names_the_gpus_it_has_kernels_for():
    rtx = pytest.importorskip("tensorrt_rtx")
    found = Library(rtx, "tensorrt_rtx", rtx.__version__)
    assert unsupported(found, ADA) is None
    assert "NVIDIA H200 has 90: install tensorrt" in unsupported(found, H200)
    assert "has 75: install tensorrt" in unsupported(found, replace(ADA, capability=(7, 5)))
    assert unsupported(FAKE, H200) is None


def test_without_a_gpu_it_is_unavailable():
    for kind in KINDS:
        assert builder.unavailable(Combination("tensorrt", kind, "cuda")) == "torch sees no CUDA device"


def test_the_backend_builds_all_three(model, context, monkeypatch):
    monkeypatch.setattr(builder, "installed", lambda: FAKE)
    monkeypatch.setattr(builder, "this_gpu", lambda: H200)
    monkeypatch.setattr(builder, "CudaStream", HostStream)
    for kind in KINDS:
        built = builder.build(model, Combination("tensorrt", kind, "cuda"), context)
        assert built.evidence().problems == ()
        assert np.isfinite(built.encode(TEXTS)).all()
        built.close()
