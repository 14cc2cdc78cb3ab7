"""The encoders that run as a `SentenceTransformer`: what they compute, and what they tell about it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch._inductor.config
from torchao.quantization import Float8WeightOnlyConfig, quantize_
from torchao.utils import get_model_size_in_bytes

from embedgate.core.cache import ArtefactCache
from embedgate.core.combination import Combination
from embedgate.core.errors import BuildError, EncodeError
from embedgate.core.model import Model
from embedgate.encoders import BuildContext, Encoder
from embedgate.encoders.bitsandbytes import encoder as bitsandbytes
from embedgate.encoders.loading import load
from embedgate.encoders.sentence_transformer import (
    SentenceTransformerEncoder,
    _computes_wider,
    _kept_in_float32,
    plain_tensors,
    products_of,
    reduced_float32,
    reduced_products,
)
from embedgate.encoders.torch import encoder as torch_backend
from embedgate.encoders.torchao import encoder as torchao

TEXTS = [
    "A man is playing a guitar.",
    "Hi",
    "The invoice of 12 March was paid twice, so please return 49.90 euros to the customer's account.",
    "Someone plays an instrument on the street.",
    "¿Dónde está la biblioteca? 图书馆",
    "",
]
PRODUCTS = 37  # six per layer, and the pooler of BERT
EMBEDDING_TABLES = (30522 + 512 + 2) * 384
BUILDERS = {
    "torch-fp32-cpu": torch_backend.build,
    "torch-bf16-cpu": torch_backend.build,
    "torch-fp16-cpu": torch_backend.build,
    "torch-amp-cpu": torch_backend.build,
    "bitsandbytes-int8-cpu": bitsandbytes.build,
    "torchao-int8-cpu": torchao.build,
}


@pytest.fixture(scope="module")
def context(tmp_path_factory) -> BuildContext:
    return BuildContext(threads=1, cache=ArtefactCache(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def built(model, context) -> Callable[[str], Encoder]:
    encoders: dict[str, Encoder] = {}

    def get(name: str) -> Encoder:
        if name not in encoders:
            encoders[name] = BUILDERS[name](model, Combination.parse(name), context)
        return encoders[name]

    return get


@pytest.fixture
def loaded(model):
    return load(model, "cpu", torch.float32)


def named(name: str, loaded, **options) -> SentenceTransformerEncoder:
    return SentenceTransformerEncoder(loaded, Combination.parse(name), threads=1, **options)


@pytest.mark.parametrize(
    ("name", "product_type", "parameter_bytes"),
    [
        ("torch-fp32-cpu", "float32", 4),
        ("torch-bf16-cpu", "bfloat16", 2),
        ("torch-fp16-cpu", "float16", 2),
        ("torch-amp-cpu", "bfloat16", 4),
        ("bitsandbytes-int8-cpu", "int8", None),
        ("torchao-int8-cpu", "int8", None),
    ],
)
def test_evidence_tells_what_ran(built, name, product_type, parameter_bytes):
    evidence = built(name).evidence()
    assert evidence.problems == ()
    assert evidence.products == {product_type: PRODUCTS}
    assert (evidence.device, evidence.threads) == ("cpu", 1)
    assert evidence.library.split()[0] == name.partition("-")[0]
    if parameter_bytes is None:
        # int8 weights with a float32 scale per row; embedding tables, biases and layer norms stay float32.
        weights = 6 * (4 * 384 * 384 + 2 * 384 * 1536) + 384 * 384
        assert evidence.weight_bytes == pytest.approx(weights + 4 * EMBEDDING_TABLES, rel=5e-3)
        assert evidence.weight_bytes > weights + 4 * EMBEDDING_TABLES
    else:
        assert evidence.weight_bytes == pytest.approx(22_713_216 * parameter_bytes, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "least_cosine"),
    [
        ("torch-bf16-cpu", 0.999),
        ("torch-fp16-cpu", 0.99999),
        ("torch-amp-cpu", 0.999),
        ("bitsandbytes-int8-cpu", 0.99),
        ("torchao-int8-cpu", 0.98),
    ],
)
def test_embeddings_are_near_the_reference_and_not_it(built, name, least_cosine):
    reference, found = built("torch-fp32-cpu").encode(TEXTS), built(name).encode(TEXTS)
    assert (found.dtype, found.shape) == (np.float32, (len(TEXTS), 384))
    assert not np.array_equal(found, reference)
    cosines = (found * reference).sum(axis=1) / np.linalg.norm(found, axis=1)
    assert cosines.min() > least_cosine


def test_embeddings_are_those_of_sentence_transformers_in_the_order_given(built, loaded):
    encoder = built("torch-fp32-cpu")
    np.testing.assert_array_equal(encoder.encode(TEXTS), loaded.encode(TEXTS))
    np.testing.assert_allclose(encoder.encode(TEXTS[::-1], batch_size=2)[::-1], encoder.encode(TEXTS), atol=1e-6)
    assert encoder.encode([]).shape == (0, 384)


@pytest.mark.parametrize("name", BUILDERS)
def test_stages_lead_to_the_embeddings(built, name):
    encoder = built(name)
    stages = encoder.stages(TEXTS)
    assert stages is not None
    assert stages.token_embeddings is not None
    assert stages.pooled is not None
    for ids, states in zip(stages.token_ids, stages.token_embeddings, strict=True):
        assert (ids[0], ids[-1]) == (101, 102)
        assert 0 not in ids
        assert (states.dtype, states.shape) == (np.float32, (len(ids), 384))
    means = np.stack([states.mean(axis=0) for states in stages.token_embeddings])
    np.testing.assert_allclose(stages.pooled, means, rtol=1e-2, atol=5e-3)
    normalised = stages.pooled / np.linalg.norm(stages.pooled, axis=1, keepdims=True)
    np.testing.assert_allclose(stages.embeddings, normalised, atol=2e-3)
    np.testing.assert_array_equal(stages.embeddings, encoder.encode(TEXTS))


def test_the_size_torchao_tells_is_the_same(built):
    encoder = built("torchao-int8-cpu")
    assert isinstance(encoder, SentenceTransformerEncoder)
    own = get_model_size_in_bytes(encoder._model)
    assert encoder.evidence().weight_bytes == own


def test_bitsandbytes_is_quiet(model, context, caplog, capfd):
    with caplog.at_level(logging.WARNING):
        bitsandbytes.build(model, Combination.parse("bitsandbytes-int8-cpu"), context).encode(TEXTS)
    assert [record for record in caplog.records if record.name.startswith("bitsandbytes")] == []
    assert "Loading weights" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("backend", "name", "reason"),
    [
        (
            bitsandbytes,
            "bitsandbytes-int8-cpu",
            "LLM.int8 multiplies in int8 on CPUs with AVX-512 alone, this one has AVX2",
        ),
        (torchao, "torchao-int8-cpu", None),
        (torch_backend, "torch-fp16-cpu", None),
        (torch_backend, "torch-fp16-cuda", "torch sees no CUDA device"),
    ],
)
def test_unavailable_gives_the_reason(monkeypatch, backend, name, reason):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert backend.unavailable(Combination.parse(name)) == reason


def test_bitsandbytes_is_available_with_avx512_and_accelerate(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    combination = Combination.parse("bitsandbytes-int8-cpu")
    assert bitsandbytes.unavailable(combination) is None
    monkeypatch.setattr(bitsandbytes, "find_spec", lambda _: None)
    assert "needs accelerate" in str(bitsandbytes.unavailable(combination))


def test_a_reference_with_narrowed_products_is_refused(model, context, monkeypatch):
    reference = Combination.parse("torch-fp32-cpu")
    monkeypatch.setenv("ONEDNN_DEFAULT_FPMATH_MODE", "BF16")
    with pytest.raises(BuildError, match="not float32 throughout: ONEDNN_DEFAULT_FPMATH_MODE is 'BF16'"):
        torch_backend.build(model, reference, context)
    monkeypatch.delenv("ONEDNN_DEFAULT_FPMATH_MODE")
    set_before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with pytest.raises(BuildError, match=r"not float32 throughout: torch\.backends\.mkldnn\.matmul.*'bf16'"):
            torch_backend.build(model, reference, context)
    finally:
        torch.set_float32_matmul_precision(set_before)


def test_bfloat16_weights_in_the_name_of_fp32_are_reported(model):
    encoder = named("torch-fp32-cpu", load(model, "cpu", torch.bfloat16), dtype=torch.float32)
    assert encoder.evidence().problems == (
        "named fp32, but all 37 products compute in bfloat16",
        "103 of 103 parameters are stored in bfloat16, not in float32",
    )


def test_autocast_that_does_not_happen_is_reported(loaded):
    encoder = named("torch-amp-cpu", loaded, dtype=torch.float32)
    assert encoder.evidence().problems == ("named amp, but all 37 products compute in float32",)


def test_mixed_weights_are_reported(loaded):
    loaded[0].model.encoder.layer[0].intermediate.dense.to(torch.bfloat16)
    encoder = named("torch-amp-cpu", loaded, dtype=torch.float32, autocast=torch.bfloat16)
    assert encoder.evidence().problems == ("2 of 103 parameters are stored in bfloat16, not in float32",)


def test_int8_that_quantized_nothing_is_reported(loaded):
    assert named("torchao-int8-cpu", loaded).evidence().problems == (
        "named int8, but all 37 products compute in float32",
    )


def test_another_device_is_reported(loaded):
    assert named("torch-fp32-cuda", loaded).evidence().problems == ("named cuda, but it runs on cpu",)


def test_training_mode_is_reported(loaded):
    assert named("torch-fp32-cpu", loaded).evidence().problems == ()
    encoder = named("torch-fp32-cpu", loaded.train())
    encoder.encode(TEXTS)
    (problem,) = encoder.evidence().problems
    assert problem.endswith("dropout or batch norm modules are in training mode: call eval()")


def test_shared_weights_count_once(loaded):
    alone = named("torch-fp32-cpu", loaded).evidence()
    layers = loaded[0].model.encoder.layer
    layers[1].attention.self.query.weight = layers[0].attention.self.query.weight
    shared = named("torch-fp32-cpu", loaded).evidence()
    assert shared.weight_bytes == alone.weight_bytes - 4 * 384 * 384
    assert shared.products == alone.products


def test_dense_layers_after_the_transformer_take_the_dtype(tmp_path, loaded, model, context):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense

    with_dense = SentenceTransformer(modules=[loaded[0], loaded[1], Dense(384, 16)], device="cpu")
    with_dense.save_pretrained(str(tmp_path))
    half = torch_backend.build(replace(model, path=Path(tmp_path)), Combination.parse("torch-fp16-cpu"), context)
    assert half.encode(TEXTS).shape == (len(TEXTS), 16)
    assert half.evidence().products == {"float16": PRODUCTS + 1}
    assert half.evidence().problems == ()


def test_a_vector_per_token_is_refused(loaded):
    encoder = named("torch-fp32-cpu", loaded)
    loaded.encode = lambda texts, **_: np.zeros((len(texts), 3, 384))
    with pytest.raises(EncodeError, match=r"torch-fp32-cpu gave an array of shape \(6, 3, 384\) for 6 texts"):
        encoder.encode(TEXTS)


def test_closing_releases_the_model(model: Model, context: BuildContext):
    encoder = torch_backend.build(model, Combination.parse("torch-fp16-cpu"), context)
    encoder.close()
    with pytest.raises(AttributeError):
        encoder.encode(TEXTS)


# CUDA, as far as it can be proven without one


@pytest.mark.parametrize(
    ("backend", "name", "capability", "reason"),
    [
        (torch_backend, "torch-fp32-cuda", (5, 0), None),
        (torch_backend, "torch-bf16-cuda", (7, 5), "bf16 needs a GPU of compute capability 8.0, Tesla T4 has 7.5"),
        (torch_backend, "torch-compile-cuda", (7, 0), None),
        (torchao, "torchao-fp8-cuda", (8, 6), "fp8 needs a GPU of compute capability 8.9, Tesla T4 has 8.6"),
        (torchao, "torchao-fp8-cuda", (9, 0), None),
        (bitsandbytes, "bitsandbytes-nf4-cuda", (7, 5), None),
        (
            bitsandbytes,
            "bitsandbytes-int8-cuda",
            (7, 0),
            "int8 needs a GPU of compute capability 7.5, Tesla T4 has 7.0",
        ),
    ],
)
def test_a_gpu_without_the_instructions_is_named(backend, name, capability, reason, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    monkeypatch.setattr(torch_backend, "has_triton", lambda: True)
    assert backend.unavailable(Combination.parse(name)) == reason


def test_torch_compile_on_cuda_asks_for_triton(monkeypatch):
    monkeypatch.setattr(torch_backend, "without_cuda", lambda *_: None)
    monkeypatch.setattr(torch_backend, "has_triton", lambda: False)
    assert "needs Triton" in torch_backend.unavailable(Combination.parse("torch-compile-cuda"))
    assert torch_backend.unavailable(Combination.parse("torch-fp16-cuda")) is None


def test_weights_that_the_architecture_keeps_in_float32_are_no_contradiction(loaded):
    half = loaded.half()
    half[0].model.encoder.layer[0].output.dense.float()
    encoder = named("torch-fp16-cpu", half, dtype=torch.float16)
    assert list(encoder._unexpected({"float16": 101, "float32": 2})) != []
    half[0].model._keep_in_fp32_modules = {"output"}
    assert _kept_in_float32(half).search("0.model.encoder.layer.0.output.dense.weight")
    assert not _kept_in_float32(half).search("0.model.encoder.layer.0.intermediate.dense.weight")


def test_an_encoder_on_the_cpu_under_a_cuda_id_is_reported(loaded):
    assert named("torch-fp32-cuda", loaded, dtype=torch.float32).evidence().problems == (
        "named cuda, but it runs on cpu",
    )


def test_autocast_promises_float16_on_cuda_and_bfloat16_on_the_cpu(loaded):
    bfloat16 = named("torch-amp-cuda", loaded, dtype=torch.float32, autocast=torch.bfloat16).evidence()
    assert "named amp, but all 37 products compute in bfloat16" in bfloat16.problems
    float16 = named("torch-amp-cuda", loaded, dtype=torch.float32, autocast=torch.float16).evidence()
    assert float16.products == {"float16": 37}
    assert float16.problems == ("named cuda, but it runs on cpu",)


@pytest.mark.parametrize(
    ("leave", "message"),
    [
        (
            lambda: setattr(torch.backends.cuda.matmul, "fp32_precision", "tf32"),
            r"cuda\.matmul\.fp32_precision is 'tf32'",
        ),
        (lambda: setattr(torch.backends.cuda.matmul, "allow_tf32", True), r"cuda\.matmul\.fp32_precision is 'tf32'"),
        (lambda: torch.set_float32_matmul_precision("high"), r"fp32_precision is 'tf32'"),
    ],
)
def test_a_reference_with_tf32_left_on_is_refused(model, context, leave, message):
    before = torch.get_float32_matmul_precision()
    try:
        leave()
        with pytest.raises(
            BuildError, match=rf"not float32 throughout: .*{message}, not 'ieee'; restore torch's defaults"
        ):
            torch_backend.build(model, Combination.parse("torch-fp32-cpu"), context)
    finally:
        torch.backends.cuda.matmul.fp32_precision = "none"
        torch.set_float32_matmul_precision(before)
    assert reduced_float32() == []


def test_tf32_forced_by_the_environment_is_told(monkeypatch):
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    assert reduced_float32() == ["NVIDIA_TF32_OVERRIDE is '1', not '0'"]


def test_products_that_lose_bits_are_measured(monkeypatch):
    """What TF32 does to a factor, done by hand: 10 bits of its fraction are kept."""

    def tf32(self: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        kept = [(factor.view(torch.int32) & ~0x1FFF).view(torch.float32) for factor in (self, other)]
        return torch.mm(*kept)

    assert reduced_products("cpu") == []
    monkeypatch.setattr(torch.Tensor, "__matmul__", tf32)
    (told,) = reduced_products("cpu")
    assert told.startswith("float32 products lose bits on cpu: ")


def test_nf4_is_told_by_its_own_name_and_half_the_bits_of_int8(model, context, built):
    found = bitsandbytes.build(model, Combination.parse("bitsandbytes-nf4-cpu"), context).evidence()
    assert found.products == {"nf4": PRODUCTS}
    assert found.problems == ()
    assert found.product_bytes < 0.51 * built("bitsandbytes-int8-cpu").evidence().product_bytes
    # A scale per block of 64: float32, or bfloat16 where the CPU's own kernel has repacked them.
    scales = 6 * (4 * 384 * 384 + 2 * 384 * 1536) / 64 * 2
    assert found.weight_bytes > found.product_bytes + 4 * EMBEDDING_TABLES + scales


def test_outliers_of_llm_int8_are_counted(built, loaded):
    details = built("bitsandbytes-int8-cpu").evidence().details
    assert details["layers"] == {"Linear8bitLt": PRODUCTS}
    assert details["threshold"] == 6.0
    beyond, total = details["outlier columns"].values()
    assert total == 6 * (5 * 384 + 1536) + 384
    assert 0 < beyond < total / 50


def test_torchao_that_falls_back_to_float_is_found_out(built, monkeypatch):
    """What its `safe_int_mm` does by itself where a kernel refuses, here for all but the first."""
    encoder = built("torchao-int8-cpu")
    sound = encoder.evidence()
    assert sound.details["8-bit kernels"] == {"one short text": PRODUCTS, "a batch": PRODUCTS, "of": PRODUCTS}
    assert sound.problems == ()
    own, calls = torch._int_mm, []

    def refusing(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        calls.append(first.shape)
        if len(calls) % PRODUCTS == 1:
            return own(first, second)
        with pytest.raises(RuntimeError):
            own(first, second[:-1])  # the operator is called, and raises
        return (first.float() @ second.float()).to(torch.int32)

    monkeypatch.setattr(torch, "_int_mm", refusing)
    problem = "an 8-bit kernel ran for 1 of 37 products: torchao computed the others in float"
    assert encoder.evidence().problems == (problem,)


def test_torchao_leaves_inductor_as_it_is(model, context):
    before = torch._inductor.config.coordinate_descent_tuning
    torchao.build(model, Combination.parse("torchao-int8-cpu"), context)
    assert torch._inductor.config.coordinate_descent_tuning == before


def test_weights_in_fp8_whose_activations_are_not_quantized_compute_wider(monkeypatch):
    """torchao's weight-only configuration, which multiplies in the type of the activations."""
    linear = torch.nn.Linear(32, 16, bias=False, dtype=torch.bfloat16)
    quantize_(linear, Float8WeightOnlyConfig())
    run = lambda: linear(torch.ones(4, 32, dtype=torch.bfloat16))  # noqa: E731
    assert products_of(linear, run) == {"bfloat16": 1}
    # With quantized activations it multiplies on a GPU alone, so only what it says of itself is looked at here.
    linear.weight.act_quant_kwargs = object()
    stored = max(plain_tensors(linear.weight), key=lambda tensor: tensor.nbytes)
    assert not _computes_wider(linear.weight, stored)


class TestCompile:
    """A small transformer, since the compiler takes its time."""

    @pytest.fixture
    def small(self, model, tmp_path) -> Model:
        whole = load(model, "cpu", torch.float32)
        whole[0].model.encoder.layer = whole[0].model.encoder.layer[:1]
        whole[0].model.config.num_hidden_layers = 1
        whole.save(str(tmp_path))
        return replace(model, path=tmp_path)

    def test_what_is_compiled_is_counted(self, small, context):
        encoder = torch_backend.build(small, Combination.parse("torch-compile-cpu"), context)
        half = torch_backend.build(small, Combination.parse("torch-fp16-cpu"), context)
        cosines = (encoder.encode(TEXTS) * half.encode(TEXTS)).sum(axis=1)
        assert cosines.min() > 0.999
        evidence = encoder.evidence()
        assert evidence.problems == ()
        assert evidence.products == {"float16": 7}
        assert evidence.details["compiled graphs"] >= 1

    def test_compiling_what_is_never_called_is_reported(self, small, context, monkeypatch):
        """`model.compile()` compiles what `__call__` runs, and Sentence Transformers calls `forward`."""
        monkeypatch.setattr(torch, "compile", lambda forward, **_: forward)
        encoder = torch_backend.build(small, Combination.parse("torch-compile-cpu"), context)
        encoder._model[0].model.compile(dynamic=True)
        encoder.encode(TEXTS)
        assert encoder.evidence().problems == ("named compile, but torch.compile has compiled nothing",)
