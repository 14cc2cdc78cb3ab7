"""The OpenVINO encoders: what they compute, what they tell about it, and the quantized graph they keep."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest

from embedgate.core.cache import ArtefactCache
from embedgate.core.combination import Combination
from embedgate.core.errors import BuildError
from embedgate.encoders import BuildContext
from embedgate.encoders.onnx.export import exported_graph
from embedgate.encoders.openvino import encoder as openvino
from embedgate.encoders.openvino.encoder import OpenVINOEncoder
from embedgate.encoders.torch import encoder as torch_backend

TEXTS = [
    "A man is playing a guitar.",
    "Hi",
    "The invoice of 12 March was paid twice, so please return 49.90 euros to the customer's account.",
    "Someone plays an instrument on the street.",
    "¿Dónde está la biblioteca? 图书馆",
    "",
]
CALIBRATION = [
    "The old baker sold three loaves of bread before sunrise.",
    "Sit down!",
    "Why was the 14:30 train to Vienna cancelled on 3 May 2021?",
    "password reset does not work",
    "A woman slices an onion while her brother washes the dishes, and nobody talks about the letter.",
    "Der Zug fährt heute leider nicht.",
    "東京は雨です。",
    "Shares of Norvik Energy fell 4.8% to $112.06 after the company warned of lower profits.",
    "She is not unhappy with the result, but she would not call it a success either.",
    "x = sum(value ** 2 for value in values)",
    "https://example.org/help?topic=returns",
    "Photosynthesis turns light, water and carbon dioxide into sugar and oxygen.",
    "two dogs run along the beach",
    "THE MEETING IS MOVED TO ROOM 7",
    "I'd like to return the blue jacket (size M); it's too small.",
    "No.",
]
PRODUCTS = 36  # six per layer; the exported graph leaves the unused pooler out
IDS = ("openvino-fp32-cpu", "openvino-bf16-cpu", "openvino-int8-cpu")


@pytest.fixture(scope="module")
def context(cache) -> BuildContext:
    return BuildContext(
        threads=1, cache=ArtefactCache(cache), calibration_texts=CALIBRATION, calibration_sha256="of these tests"
    )


class Built(NamedTuple):
    encoder: OpenVINOEncoder
    progress: list[str]
    printed: str


@pytest.fixture(scope="module")
def quantized(model, context) -> Built:
    """The int8 encoder, and what was to be seen while it was built."""
    progress: list[str] = []
    with redirect_stdout(io.StringIO()) as printed, redirect_stderr(printed):
        encoder = openvino.build(
            model, Combination.parse("openvino-int8-cpu"), replace(context, progress=progress.append)
        )
    return Built(encoder, progress, printed.getvalue())


@pytest.fixture(scope="module")
def built(model, context, quantized) -> Callable[[str], OpenVINOEncoder]:
    encoders = {"openvino-int8-cpu": quantized.encoder}

    def get(name: str) -> OpenVINOEncoder:
        if name not in encoders:
            encoders[name] = openvino.build(model, Combination.parse(name), context)
        return encoders[name]

    return get


@pytest.fixture(scope="module")
def reference(model, context):
    return torch_backend.build(model, Combination.parse("torch-fp32-cpu"), context)


def test_fp32_is_the_reference_within_rounding(built, reference):
    encoder = built("openvino-fp32-cpu")
    np.testing.assert_allclose(encoder.encode(TEXTS, batch_size=4), reference.encode(TEXTS), atol=2e-6)
    np.testing.assert_allclose(encoder.encode(TEXTS[::-1], batch_size=1)[::-1], reference.encode(TEXTS), atol=2e-6)
    assert encoder.encode([]).shape == (0, 384)
    evidence = encoder.evidence()
    assert evidence.problems == ()
    assert evidence.products == {"float32": PRODUCTS}
    assert (evidence.device, evidence.threads) == ("cpu", 1)
    assert evidence.details["infers in"] == "f32"
    assert evidence.weight_bytes == pytest.approx(4 * 22_565_376, rel=1e-3)


def test_bf16_computes_in_bfloat16_or_says_that_it_does_not(built, reference):
    combination = Combination.parse("openvino-bf16-cpu")
    encoder = built("openvino-bf16-cpu")
    cosines = (encoder.encode(TEXTS) * reference.encode(TEXTS)).sum(axis=1)
    assert cosines.min() > 0.999
    evidence = encoder.evidence()
    has_bf16 = openvino.unavailable(combination) is None
    assert evidence.products == {"bfloat16" if has_bf16 else "float32": PRODUCTS}
    assert bool(evidence.problems) is not has_bf16


def test_int8_is_quantized_and_near_the_reference(built, reference):
    encoder = built("openvino-int8-cpu")
    cosines = (encoder.encode(TEXTS) * reference.encode(TEXTS)).sum(axis=1)
    assert 0.9 < cosines.min() < 0.99999
    evidence = encoder.evidence()
    assert evidence.problems == ()
    assert evidence.products == {"int8": PRODUCTS}
    assert evidence.weight_bytes < 60_000_000
    assert evidence.details["quantization"]["texts"] == len(CALIBRATION)
    assert set(evidence.details["quantization"]["libraries"]) == {"nncf", "openvino"}


@pytest.mark.parametrize("name", IDS)
def test_stages_lead_to_the_embeddings(built, reference, name):
    stages, expected = built(name).stages(TEXTS), reference.stages(TEXTS)
    for ids, expected_ids, states in zip(stages.token_ids, expected.token_ids, stages.token_embeddings, strict=True):
        np.testing.assert_array_equal(ids, expected_ids)
        assert states.shape == (len(ids), 384)
    means = np.stack([states.mean(axis=0) for states in stages.token_embeddings])
    np.testing.assert_allclose(stages.pooled, means, atol=2e-2)
    normalised = stages.pooled / np.linalg.norm(stages.pooled, axis=1, keepdims=True)
    np.testing.assert_allclose(stages.embeddings, normalised, atol=1e-5)


def test_the_quantized_graph_is_kept(built, model, context, monkeypatch):
    first = built("openvino-int8-cpu")

    def again(*_):
        raise AssertionError("quantized again")

    monkeypatch.setattr(openvino, "_quantize", again)
    second = openvino.build(model, Combination.parse("openvino-int8-cpu"), context)
    np.testing.assert_array_equal(first.encode(TEXTS), second.encode(TEXTS))
    with pytest.raises(AssertionError, match="quantized again"):
        openvino.build(
            model, Combination.parse("openvino-int8-cpu"), replace(context, calibration_sha256="of other texts")
        )


def test_quantizing_is_quiet_and_shows_one_line(quantized):
    assert quantized.progress[-1:] == [f"quantizing for OpenVINO on {len(CALIBRATION)} calibration texts"]
    assert quantized.printed == ""


def test_int8_without_calibration_texts_is_refused(model, context):
    with pytest.raises(BuildError, match="openvino int8 needs calibration texts, and there are none"):
        openvino.build(model, Combination.parse("openvino-int8-cpu"), replace(context, calibration_texts=()))


def test_a_graph_that_is_not_what_its_name_says_is_reported(built):
    int8_named_fp32 = built("openvino-int8-cpu")
    fp32_named_int8 = built("openvino-fp32-cpu")
    for encoder, name, problem in (
        (int8_named_fp32, "openvino-fp32-cpu", "named fp32, but all 36 products compute in int8"),
        (fp32_named_int8, "openvino-int8-cpu", "named int8, but all 36 products compute in float32"),
    ):
        renamed = OpenVINOEncoder(encoder._compiled, encoder._tokenizer, Combination.parse(name), {})
        renamed.encode(TEXTS)
        assert renamed.evidence().problems == (problem,)


def test_unavailable_gives_the_reason(monkeypatch):
    assert openvino.unavailable(Combination.parse("openvino-fp32-cpu")) is None
    assert openvino.unavailable(Combination.parse("openvino-int8-cpu")) is None
    monkeypatch.setattr(openvino, "find_spec", lambda _: None)
    assert "nncf" in str(openvino.unavailable(Combination.parse("openvino-int8-cpu")))
    bf16 = Combination.parse("openvino-bf16-cpu")
    for capabilities, reason in (
        (["FP32", "INT8"], "this CPU has no bfloat16 instructions (avx512_bf16 or amx_bf16)"),
        (["FP32", "BF16"], None),
    ):
        core = SimpleNamespace(get_property=lambda *_, found=capabilities: found)
        monkeypatch.setattr(openvino, "core", lambda core=core: core)
        assert openvino.unavailable(bf16) == reason


def test_closing_releases_the_model(model, context):
    encoder = openvino.build(model, Combination.parse("openvino-fp32-cpu"), context)
    encoder.close()
    with pytest.raises(AttributeError):
        encoder.encode(TEXTS)


# In a process of its own: OpenVINO's threads are not in a copy, and a crash would end these tests.
COMES_AND_GOES = """
import gc, signal, sys
from pathlib import Path
from embedgate.encoders.openvino.encoder import compiled

graphs = [compiled(Path(sys.argv[1]), 1, "f32") for _ in range(2)]
while graphs:
    del graphs[0]  # in the order they came
    gc.collect()
signal.signal(signal.SIGINT, signal.default_int_handler)  # which is ignored in the background
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("heard")
"""


def test_an_interrupt_is_heard_after_graphs_have_come_and_gone(model, context):
    """OpenVINO sets the stack that signals are handled on, on CPUs with AMX, and frees it."""
    command = [sys.executable, "-c", COMES_AND_GOES, str(exported_graph(model, context))]
    run = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert (run.returncode, run.stdout) == (0, "heard\n"), run.stderr
