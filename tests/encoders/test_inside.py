"""What encoders show when a cause is looked for: tokens of any text, layers, weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from embedgate.core.cache import ArtefactCache
from embedgate.core.combination import Combination
from embedgate.core.model import Model
from embedgate.core.roles import PLAIN, Input, Role
from embedgate.diagnosis.weights import compared
from embedgate.encoders import EMBEDDINGS, BuildContext, Encoder, Evidence, Stages
from embedgate.encoders.custom import CustomEncoder
from embedgate.encoders.inside import ModuleWeights
from embedgate.encoders.loading import load
from embedgate.encoders.onnx.export import exported_graph
from embedgate.encoders.onnxruntime.encoder import GraphEncoder
from embedgate.encoders.sentence_transformer import SentenceTransformerEncoder
from embedgate.runtime.guard import Guard
from embedgate.runtime.inside import looked_into

FP32 = Combination.parse("torch-fp32-cpu")
TEXTS = ["A man is eating.", "", "Ünïcode, CAPITALS & 3.14", "word " * 400]
QUERY = Role("query", "query: ")


@pytest.fixture(scope="module")
def loaded(small: Model) -> SentenceTransformer:
    return load(small, "cpu", torch.float32)


@pytest.fixture(scope="module")
def context(cache) -> BuildContext:
    return BuildContext(1, ArtefactCache(cache))


@pytest.fixture(scope="module")
def encoders(small, loaded, context) -> dict[str, Encoder]:
    own = SentenceTransformerEncoder(loaded, FP32, threads=1)
    return {
        "torch": own,
        "custom": CustomEncoder(loaded, FP32, context),
        "guarded": Guard(lambda _: None).encoder(own, FP32),
        "onnx": GraphEncoder(small, exported_graph(small, context), Combination.parse("onnxruntime-fp32-cpu"), context),
    }


@pytest.mark.parametrize("name", ["torch", "custom", "guarded", "onnx"])
@pytest.mark.parametrize("role", [PLAIN, QUERY], ids=["plain", "query"])
def test_tokens_are_those_of_the_stages(encoders, name, role):
    stages = encoders[name].stages_as(role, TEXTS)
    for ids, expected in zip(encoders[name].tokens_as(role, TEXTS), stages.token_ids, strict=True):
        np.testing.assert_array_equal(ids, expected)


@pytest.mark.parametrize("name", ["torch", "custom", "guarded"])
def test_layers_end_with_the_hidden_states(encoders, name):
    layers = encoders[name].layers_as(PLAIN, TEXTS)
    assert [*layers] == [EMBEDDINGS, "encoder.layer.0"]
    for states, expected in zip(
        layers["encoder.layer.0"], encoders[name].stages_as(PLAIN, TEXTS).token_embeddings, strict=True
    ):
        np.testing.assert_allclose(states, expected, atol=1e-5)


@pytest.mark.parametrize("name", ["torch", "custom", "guarded", "onnx"])
def test_weights_are_those_of_the_model(encoders, loaded, name):
    found = compared(encoders[name].weights(), ModuleWeights(loaded))
    assert found.largest == 0
    assert len(found.differences) >= found.of - 2  # an exported graph has no pooler


@pytest.mark.filterwarnings("ignore:torch")
def test_weights_of_other_types_are_the_models_but_for_rounding(small, loaded):
    half = load(small, "cpu", torch.bfloat16)
    packed = torch.ao.quantization.quantize_dynamic(load(small, "cpu", torch.float32), {torch.nn.Linear})
    for model in (half, packed):
        found = compared(ModuleWeights(model), ModuleWeights(loaded))
        assert found.largest > 1e-3
        assert found.departed == []
    names = {each.name for each in found.differences}
    assert "encoder.layer.0.output.dense.weight" in names


class ShowsTokens:
    """A host's encoder with stages of its own."""

    def encode(self, texts: list[str], batch_size: int = 32) -> np.ndarray:
        return np.ones((len(texts), 4), dtype=np.float32)

    def stages(self, texts: list[str]) -> Stages:
        return Stages([np.array([len(text)]) for text in texts], None, None, self.encode(texts))


def test_a_hosts_own_stages_show_its_tokens(context):
    custom = CustomEncoder(ShowsTokens(), Combination.parse("acme-fp32-cpu"), context)
    assert [ids.tolist() for ids in custom.tokens_as(QUERY, ["ab", "c"])] == [[9], [8]]
    assert custom.layers_as(QUERY, ["ab"]) is None
    assert custom.weights() is None


class Failing(Encoder):
    """Shows nothing, and fails when it is asked."""

    def encode(self, texts, batch_size=32):
        raise RuntimeError

    def evidence(self) -> Evidence:
        raise RuntimeError

    def stages(self, texts):
        raise RuntimeError


def test_what_fails_when_it_is_asked_shows_nothing(small):
    inside = looked_into(Failing(), small, [Input("a")], lambda: None)
    assert inside.read(["a"]) is None
    assert inside.layers([0]) is None
    assert inside.weights() is None
    assert inside.spelt([1]) is None


def test_texts_take_the_places_and_roles_of_those_that_are_there(small, encoders):
    inputs = [Input("one"), Input("two", "query"), Input("three")]
    inside = looked_into(encoders["torch"], small, inputs, lambda: None)
    expected = encoders["torch"].tokens_as(PLAIN, ["x", "y", "z"])
    assert [ids.tolist() for ids in inside.read(["x", "y", "z"])] == [ids.tolist() for ids in expected]
    layers = inside.layers([2])
    assert [len(states) for states in layers.values()] == [1, 1]
