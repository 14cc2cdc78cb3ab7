"""Encoders of host projects: run as they are, looked into as far as possible, and held to the id they were given."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from torch import nn
from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

from embedgate.core.cache import ArtefactCache
from embedgate.core.combination import Combination
from embedgate.core.errors import GateError
from embedgate.encoders import BuildContext, Evidence, Stages
from embedgate.encoders.custom import CustomEncoder
from embedgate.encoders.evidence import contradictions
from embedgate.encoders.loading import load
from embedgate.encoders.sources import HostSource

TEXTS = ["A man is playing a guitar.", "Hi", "Nothing else."]


@pytest.fixture(scope="module")
def context(tmp_path_factory) -> BuildContext:
    return BuildContext(threads=1, cache=ArtefactCache(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def fp32(model) -> SentenceTransformer:
    """Shared: a test that changes it copies it first."""
    return load(model, "cpu", torch.float32)


@pytest.fixture
def custom(context):
    return lambda inner, name="acme-int8-cpu": CustomEncoder(inner, Combination.parse(name), context)


class Answers:
    """An encoder that gives what it was told to."""

    def __init__(self, answer) -> None:
        self.answer = answer
        self.asked = []
        self.closed = False

    def encode(self, texts, batch_size):
        self.asked.append((texts, batch_size))
        return self.answer

    def close(self) -> None:
        self.closed = True


class Shows(Answers):
    """An encoder with evidence and stages of its own."""

    def __init__(self, evidence, stages=None) -> None:
        super().__init__(np.zeros((3, 2)))
        self.evidence = lambda: evidence
        self.stages = lambda texts: stages


@pytest.mark.parametrize(
    ("name", "products", "device", "expected"),
    [
        ("x-fp32-cpu", {"float32": 37}, "cpu", ()),
        ("x-fp32-cpu", {"float32": 36, "int8": 1}, "cpu", ("named fp32, but 1 of 37 products compute in int8",)),
        ("x-fp16-cuda", {"float16": 36, "float32": 1}, "cuda:0", ()),
        ("x-fp16-cpu", {"float32": 37}, "cpu", ("named fp16, but all 37 products compute in float32",)),
        ("x-bf16-cpu", {"float16": 37}, "cpu", ("named bf16, but all 37 products compute in float16",)),
        ("x-amp-cpu", {"bfloat16": 37}, "cpu", ()),
        ("x-int8-cpu", {"float32": 37}, "cpu", ("named int8, but all 37 products compute in float32",)),
        ("x-int8-cpu", {"int8": 18, "float32": 18}, "cpu", ()),
        ("x-int8-cpu", {"int8": 17, "float32": 19}, "cpu", ("named int8, but 19 of 36 products compute in float32",)),
        (
            "x-int8static-cpu",
            {"int8": 1, "float32": 30, "bfloat16": 6},
            "cpu",
            ("named int8static, but 36 of 37 products compute in other types: 6 in bfloat16, 30 in float32",),
        ),
        ("x-q4-cpu", {"uint8": 37}, "cpu", ()),
        ("x-int8-cpu", {}, "unknown", ()),
        ("x-int8-cuda", {"int8": 37}, "cpu", ("named cuda, but it runs on cpu",)),
        ("x-int8-cuda", {"int8": 37}, "cpu and cuda:0", ("named cuda, but it runs on cpu and cuda:0",)),
    ],
)
def test_contradictions(name, products, device, expected):
    assert contradictions(Combination.parse(name), products, device) == expected


def test_a_sentence_transformer_is_looked_into(custom, fp32):
    encoder = custom(fp32, "acme-fp32-cpu")
    np.testing.assert_array_equal(encoder.encode(TEXTS, batch_size=2), fp32.encode(TEXTS, batch_size=2))
    evidence = encoder.evidence()
    assert evidence.problems == ()
    assert (evidence.products, evidence.device, evidence.threads) == ({"float32": 37}, "cpu", 1)
    stages = encoder.stages(TEXTS)
    assert stages is not None
    assert [ids[0] for ids in stages.token_ids] == [101, 101, 101]


def test_int8_that_is_really_fp32_is_reported(custom, fp32):
    assert custom(fp32).evidence().problems == ("named int8, but all 37 products compute in float32",)


def test_a_quantized_auto_model_is_seen_never_to_run(custom, fp32):
    trapped = copy.deepcopy(fp32)
    quantized = copy.deepcopy(fp32[0].model)
    quantize_(quantized, Int8DynamicActivationInt8WeightConfig())
    trapped[0].auto_model = quantized
    assert custom(trapped).evidence().problems == ("named int8, but all 37 products compute in float32",)


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated", "ignore:torch.quantize_per_tensor")
def test_a_quantized_model_is_seen_to_run(custom, fp32):
    with_torchao, with_torch = copy.deepcopy(fp32), copy.deepcopy(fp32)
    quantize_(with_torchao[0].model, Int8DynamicActivationInt8WeightConfig())
    with_torch[0].model = torch.ao.quantization.quantize_dynamic(with_torch[0].model, {nn.Linear}, dtype=torch.qint8)
    for quantized in (with_torchao, with_torch):
        evidence = custom(quantized).evidence()
        assert evidence.products == {"int8": 37}
        assert evidence.problems == ()
        assert 57_000_000 < evidence.weight_bytes < 59_000_000


def test_training_mode_is_reported_although_encoding_ends_it(custom, fp32):
    encoder = custom(copy.deepcopy(fp32).train(), "acme-fp32-cpu")
    encoder.encode(TEXTS)
    (problem,) = encoder.evidence().problems
    assert "are in training mode: call eval()" in problem


def test_an_encode_of_its_own_is_the_one_that_counts(custom, fp32):
    class Autocast(SentenceTransformer):
        def encode(self, texts, batch_size):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return super().encode(texts, batch_size=batch_size)

    encoder = custom(Autocast(modules=list(fp32), device="cpu"), "acme-amp-cpu")
    assert encoder.evidence().problems == ()
    assert encoder.evidence().products == {"bfloat16": 37}
    stages = encoder.stages(TEXTS)
    assert stages is not None
    np.testing.assert_array_equal(stages.embeddings, encoder.encode(TEXTS))


@pytest.mark.parametrize(
    "answer",
    [
        np.arange(6, dtype=np.float64).reshape(3, 2),
        np.arange(6, dtype=np.int8).reshape(3, 2),
        torch.arange(6, dtype=torch.bfloat16).reshape(3, 2),
        torch.arange(6.0, requires_grad=True).reshape(3, 2),
    ],
)
def test_arrays_and_tensors_become_float32(custom, answer):
    inner = Answers(answer)
    found = custom(inner).encode(TEXTS, batch_size=8)
    assert found.dtype == np.float32
    assert found.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert inner.asked == [(TEXTS, 8)]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (np.zeros((2, 4)), "acme-int8-cpu returned an array of shape (2, 4) for 3 texts; return one row per text"),
        (np.zeros(3), "acme-int8-cpu returned an array of shape (3,) for 3 texts; return one row per text"),
        (np.array([["a"], ["b"], ["c"]]), "acme-int8-cpu returned an array of <U1 from encode()"),
        ([[1.0], [2.0], [3.0]], "acme-int8-cpu returned list from encode()"),
        (None, "acme-int8-cpu returned NoneType from encode()"),
    ],
)
def test_anything_else_is_refused(custom, answer, message):
    with pytest.raises(GateError) as caught:
        custom(Answers(answer)).encode(TEXTS)
    assert str(caught.value).startswith(message)


def test_a_factory_that_returns_no_encoder_is_refused(custom):
    with pytest.raises(GateError, match=r"the factory of acme-int8-cpu returned dict, which has no encode\(\)"):
        custom({})


def test_what_cannot_be_known_is_said_to_be_unknown(custom):
    encoder = custom(Answers(np.zeros((3, 2))))
    evidence = encoder.evidence()
    assert (evidence.device, evidence.products, evidence.problems) == ("unknown", {}, ())
    assert evidence.library.endswith("Answers")
    assert "no evidence()" in evidence.details["unknown"]
    assert encoder.stages(TEXTS) is None


def test_its_own_evidence_and_stages_are_used_and_its_name_held_against_it(custom):
    evidence = Evidence("cuda:1", 1, 10, {"float16": 4}, "acme 1.0", problems=("slow",))
    stages = Stages([], None, None, np.zeros((0, 2), dtype=np.float32))
    encoder = custom(Shows(evidence, stages))
    assert encoder.stages(TEXTS) is stages
    assert encoder.evidence().library == "acme 1.0"
    assert encoder.evidence().problems == (
        "slow",
        "named int8, but all 4 products compute in float16",
        "named cpu, but it runs on cuda:1",
    )


def test_evidence_and_stages_of_another_type_are_refused(custom):
    with pytest.raises(GateError, match=r"evidence\(\) of acme-int8-cpu returned dict; return embedgate.Evidence"):
        custom(Shows({})).evidence()
    with pytest.raises(GateError, match=r"stages\(\) of acme-int8-cpu returned list; return embedgate.Stages"):
        custom(Shows({}, [])).stages(TEXTS)


def test_closing_closes_the_inner_encoder(custom):
    inner = Answers(None)
    custom(inner).close()
    assert inner.closed


def test_a_factory_finds_torch_with_the_sessions_threads(model, context):
    seen = []

    def factory(path, device):
        seen.append(torch.get_num_threads())
        return Answers(np.zeros((3, 2)))

    was = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        HostSource(Combination.parse("acme-int8-cpu"), factory).build(model, context)
    finally:
        torch.set_num_threads(was)
    assert seen == [context.threads]


def test_a_subclass_of_numpys_arrays_is_an_array(custom):
    found = custom(Answers(np.zeros((3, 2), np.float32).view(np.matrix))).encode(TEXTS)
    assert type(found) is np.ndarray


def test_one_that_cannot_be_closed_is_let_go_all_the_same(custom):
    inner = Answers(None)
    inner.close = lambda: 1 / 0
    encoder = custom(inner)
    with pytest.raises(ZeroDivisionError):
        encoder.close()
    encoder.close()
