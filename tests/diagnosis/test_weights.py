"""Where hidden states depart: weights that differ are named, and told from inputs that do."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from copy import deepcopy

import numpy as np
import pytest
import torch
from helpers.faults import load
from sentence_transformers import SentenceTransformer
from torch import nn

from embedgate.core.combination import Combination
from embedgate.core.embeddings import Embeddings
from embedgate.core.judgement import Diagnosis
from embedgate.core.roles import PLAIN, Input
from embedgate.diagnosis.arm import Arm, Inside
from embedgate.diagnosis.hidden import Departure, first_departure
from embedgate.diagnosis.layers import diagnose
from embedgate.diagnosis.weights import compared, matched
from embedgate.encoders.sentence_transformer import SentenceTransformerEncoder
from embedgate.encoders.weights import Weight, rounding_of_steps
from embedgate.runtime.inside import looked_into

FP32 = Combination.parse("torch-fp32-cpu")
TEXTS = [
    "The parcel arrives on Thursday.",
    "It rained all night.",
    "A much longer text, so that the others are padded to its length, and padding is there to be seen.",
]
INPUTS = [Input(text) for text in TEXTS]
DENSE = "encoder.layer.1.output.dense.weight"


@pytest.fixture(scope="module")
def whole(minilm) -> SentenceTransformer:
    """The bundled model with three of its layers."""
    model = load(minilm.path)
    bert = model[0].model
    bert.encoder.layer = bert.encoder.layer[:3]
    return model


@pytest.fixture(scope="module")
def arm_of(minilm) -> Callable[[SentenceTransformer], Arm]:
    def make(model: SentenceTransformer) -> Arm:
        encoder = SentenceTransformerEncoder(model, FP32, threads=1)
        inside = looked_into(encoder, minilm, INPUTS, lambda: None)
        stages = encoder.stages_as(PLAIN, TEXTS)
        return Arm(Embeddings(INPUTS, encoder.encode(TEXTS)), encoder.evidence(), stages, inside)

    return make


@pytest.fixture(scope="module")
def diagnosed(whole, arm_of) -> Callable[[Callable[[SentenceTransformer], object]], Diagnosis]:
    reference = arm_of(whole)

    def look(change: Callable[[SentenceTransformer], object]) -> Diagnosis:
        model = deepcopy(whole)
        with torch.no_grad():
            change(model)
        return diagnose(arm_of(model), reference, TEXTS)

    return look


def weight(model: SentenceTransformer, name: str) -> nn.Parameter:
    return model[0].model.get_parameter(name)


def noisy(model: SentenceTransformer, name: str, share: float) -> None:
    noise = torch.randn(weight(model, name).shape, generator=torch.Generator().manual_seed(0))
    weight(model, name).add_(share * weight(model, name).std() * noise)


def given(**inputs: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[SentenceTransformer], object]:
    """Has the transformer be given something else than the tokenizer says."""

    def change(model: SentenceTransformer) -> None:
        forward = model[0].model.forward  # Sentence Transformers calls it itself, past any hook

        def changed(input_ids: torch.Tensor, **named: object) -> object:
            return forward(input_ids=input_ids, **named | {name: make(input_ids) for name, make in inputs.items()})

        model[0].model.forward = changed

    return change


def relu(model: SentenceTransformer) -> None:
    model[0].model.encoder.layer[1].intermediate.intermediate_act_fn = nn.ReLU()


def dropped(model: SentenceTransformer) -> None:
    model[0].model.encoder.layer = model[0].model.encoder.layer[:2]


def gelu_by_tanh(model: SentenceTransformer) -> None:
    for layer in model[0].model.encoder.layer:
        layer.intermediate.intermediate_act_fn = nn.GELU(approximate="tanh")


def larger_epsilon(model: SentenceTransformer) -> None:
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-5


def rounded(dtype: torch.dtype) -> Callable[[SentenceTransformer], object]:
    return lambda model: model.to(dtype).to(torch.float32)


# What of the cause is told, and what is not.
WEIGHTS = {
    "scaled": (
        lambda model: weight(model, DENSE).mul_(0.9),
        "encoder.layer.1 (by ",
        f"the weights differ: {DENSE} by 0.1 of its length (0.9 times the reference's)",
    ),
    "noisy": (
        lambda model: noisy(model, "encoder.layer.2.attention.self.value.weight", 0.3),
        "encoder.layer.2 (by ",
        "the weights differ: encoder.layer.2.attention.self.value.weight by 0.3 of its length (cosine 0.95",
    ),
    "embeddings": (
        lambda model: weight(model, "embeddings.word_embeddings.weight").mul_(1.2),
        "the embedding layer (by ",
        "the weights differ: embeddings.word_embeddings.weight by 0.2 of its length (1.2 times",
    ),
    "lengths": (
        lambda model: [
            weight(model, f"encoder.layer.2.output.LayerNorm.{kind}").mul_(0.8) for kind in ("weight", "bias")
        ],
        "encoder.layer.2 (by 0.2 of their length, after encoder.layer.1 within rounding)",
        "encoder.layer.2.output.LayerNorm.weight by 0.2 of its length (0.8 times the reference's)",
    ),
    "all": (
        lambda model: [noisy(model, name, 0.05) for name, each in model[0].model.named_parameters() if each.ndim == 2],
        "the embedding layer (by ",
        "tensors of weights differ: ",
    ),
}
OTHERWISE = {
    "mask": (
        given(attention_mask=torch.ones_like),
        "encoder.layer.0 (by ",
        "equal the reference's: it is given other attention masks, or computes otherwise there",
    ),
    "positions": (
        given(position_ids=lambda ids: torch.arange(2, ids.shape[1] + 2)[None]),
        "the embedding layer (by ",
        "equal the reference's: it is given other positions or token types, or computes otherwise there",
    ),
    "token types": (given(token_type_ids=torch.ones_like), "the embedding layer (by ", "positions or token types"),
    "activation": (relu, "encoder.layer.1 (by ", "or computes otherwise there"),
}
SOUND = {
    "bf16": rounded(torch.bfloat16),
    "fp16": rounded(torch.float16),
    "tanh": gelu_by_tanh,
    "epsilon": larger_epsilon,
    "same": lambda model: None,
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_that_differ_are_named(diagnosed, name):
    change, where, told = WEIGHTS[name]
    found = diagnosed(change)
    assert found.layer == "hidden states"
    assert f"; the first that departs is {where}" in found.cause
    assert told in found.cause
    assert found.proof.found == "read"
    assert found.proof.texts == len(TEXTS)


def test_other_lengths_of_hidden_states_are_told(diagnosed):
    found = diagnosed(WEIGHTS["lengths"][0])
    assert "(mean cosine 1.00000 to the reference's, 0.8 times their length)" in found.cause


@pytest.mark.parametrize("name", OTHERWISE)
def test_what_weights_do_not_explain_is_not_put_on_them(diagnosed, name):
    change, where, told = OTHERWISE[name]
    found = diagnosed(change)
    assert found.layer == "hidden states"
    assert f"; the first that departs is {where}" in found.cause
    assert "; all 55 tensors of weights equal the reference's: " in found.cause
    assert told in found.cause
    assert "differ:" not in found.cause


def in_type(arm: Arm, products: Mapping[str, int], inside: Inside | None = None) -> Arm:
    evidence = dataclasses.replace(arm.evidence, products=products)
    return dataclasses.replace(arm, evidence=evidence, inside=inside or arm.inside)


def masked(whole: SentenceTransformer) -> SentenceTransformer:
    model = deepcopy(whole)
    given(attention_mask=torch.ones_like)(model)
    return model


def test_half_types_are_not_blamed_for_what_they_do_not_make(whole, arm_of):
    found = diagnose(in_type(arm_of(masked(whole)), {"float16": 19}), arm_of(whole), TEXTS)
    assert "attention masks" in found.cause
    assert "too coarse" not in found.cause


def test_eight_bits_are_told_and_not_blamed(whole, arm_of):
    found = diagnose(in_type(arm_of(masked(whole)), {"int8": 19}), arm_of(whole), TEXTS)
    assert found.cause.endswith("of 19 products with weights, 19 in int8, and nothing else is known to differ")
    assert not found.is_shown


def test_where_nothing_is_shown_inside_nothing_is_said_of_it(whole, arm_of):
    hidden = in_type(arm_of(masked(whole)), {"float32": 18}, Inside())
    assert diagnose(hidden, arm_of(whole), TEXTS).cause.endswith("to the reference's); its weights are not shown")
    fewer = in_type(arm_of(masked(whole)), {"float32": 12}, Inside())
    told = "; it runs 12 products with weights, the reference 19: layers are missing"
    assert diagnose(fewer, arm_of(whole), TEXTS).cause.endswith(told)


def test_tensors_that_a_layer_lacks_are_named(diagnosed):
    def without_norm(model: SentenceTransformer) -> None:
        model[0].model.encoder.layer[1].output.LayerNorm = nn.Identity()

    found = diagnosed(without_norm)
    assert "; the first that departs is encoder.layer.1 (by " in found.cause
    lacking = "encoder.layer.1.output.LayerNorm.weight, encoder.layer.1.output.LayerNorm.bias"
    assert f"; 2 tensors of weights not found there: {lacking}" in found.cause


def test_missing_layers_are_told_from_weights_and_inputs(diagnosed):
    found = diagnosed(dropped)
    assert "; it runs 2 layers, the reference 3: layers are missing" in found.cause
    assert "tensors" not in found.cause


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_encoder_is_given_no_cause_of_weights(diagnosed, name):
    found = diagnosed(SOUND[name])
    assert "differ:" not in found.cause
    assert "it is given other" not in found.cause


def test_what_departs_before_the_weights_that_differ_is_said(diagnosed):
    def both(model: SentenceTransformer) -> None:
        given(token_type_ids=torch.ones_like)(model)
        weight(model, DENSE).mul_(0.5)

    found = diagnosed(both)
    assert "the embedding layer (by " in found.cause
    assert f"none of whose weights differ; the weights differ: {DENSE} by 0.5" in found.cause


NAMES = [
    "embeddings.word_embeddings.weight",
    "encoder.layer.0.output.dense.weight",
    "encoder.layer.0.output.dense.bias",
]


@pytest.mark.parametrize("before", ["", "bert.", "0.model.", "stages.0.model."])
def test_tensors_are_matched_whatever_stands_before_their_names(before):
    mine = [f"{before}{name}" for name in NAMES]
    assert matched(mine, NAMES) == dict(zip(NAMES, mine, strict=True))
    assert matched(NAMES, mine) == dict(zip(mine, NAMES, strict=True))


def test_names_that_may_be_several_tensors_are_not_matched():
    both = ["query.encoder.0.weight", "document.encoder.0.weight"]
    assert matched(both, ["encoder.0.weight"]) == {}
    assert matched(["encoder.0.weight"], both) == {}
    assert matched(["onnx::MatMul_7"], NAMES) == {}


VALUES = np.random.default_rng(0).standard_normal((24, 16)).astype(np.float32)


def departs(mine: Weight, tolerance: float = 5e-3) -> bool:
    (found,) = compared({"a.weight": mine}, {"a.weight": Weight(VALUES)}).differences
    return found.is_beyond(tolerance)


def test_tensors_without_a_name_are_matched_by_what_they_hold():
    others = np.random.default_rng(1).standard_normal((3, 24, 16)).astype(np.float32)
    theirs = {f"layer.{i}.weight": Weight(each) for i, each in enumerate(others)} | {"bias": Weight(VALUES[0])}
    mine = {
        "val_7": Weight(others[2]),
        "val_8": Weight(others[0].T.copy()),
        "val_9": Weight(0.8 * others[1]),
        "b": theirs["bias"],
    }
    found = compared(mine, theirs)
    assert [each.name for each in found.differences] == ["layer.0.weight", "layer.1.weight", "layer.2.weight"]
    assert found.told() == "the weights differ: layer.1.weight by 0.2 of its length (0.8 times the reference's)"
    assert compared({"val_7": Weight(VALUES)}, theirs).differences == ()


def test_what_rounding_makes_is_no_difference():
    step = np.abs(VALUES).max(axis=1, keepdims=True) / 127
    codes = np.round(VALUES / step)
    rounding = rounding_of_steps(codes * step, step)
    assert 0 < rounding < 0.05
    assert not departs(Weight(codes * step, rounding), tolerance=0)
    assert departs(Weight(codes * step), tolerance=1e-4)
    assert departs(Weight(codes * step * 1.2, rounding), tolerance=0)
    assert not departs(Weight(VALUES.astype(np.float16).astype(np.float32), 2.0**-11), tolerance=0)


def test_channels_that_were_scaled_before_quantization_are_no_difference():
    scaled = VALUES * np.linspace(0.5, 2, 16, dtype=np.float32)
    assert not departs(Weight(scaled, may_be_scaled=True))
    assert departs(Weight(scaled))
    assert departs(Weight(np.roll(scaled, 1, axis=0), may_be_scaled=True))


def test_nan_in_weights_is_told():
    broken = VALUES.copy()
    broken[3, 3] = np.nan
    found = compared({"a.weight": Weight(broken)}, {"a.weight": Weight(VALUES)})
    assert found.told() == "the weights differ: a.weight, which holds NaN or infinity"


def test_of_many_tensors_the_furthest_are_told():
    mine = {f"layer.{i}.weight": Weight(VALUES * np.float32(1 + i / 10)) for i in range(6)}
    theirs = {name: Weight(VALUES) for name in mine}
    found = compared(mine, theirs).told()
    assert found.startswith("5 of 6 tensors of weights differ: layer.5.weight by 0.5 of its length (1.5 times")
    assert found.endswith(" and 2 more")


def test_other_shapes_are_not_compared():
    found = compared({"a.weight": Weight(VALUES[:8])}, {"a.weight": Weight(VALUES)})
    assert found.differences == ()
    assert not found.is_whole


def test_a_weight_of_no_layer_may_be_of_any():
    found = Departure("embeddings", 0.1, "", ("layers.0", "layers.1"))
    assert found.may_have("embed_tokens.weight")
    assert found.may_have("layers.10.mlp.weight")
    assert not found.may_have("layers.1.mlp.weight")


def states(*moves: float) -> dict[str, list[np.ndarray]]:
    return {f"layer.{i}": [VALUES * np.float32(1 + move)] for i, move in enumerate(moves)}


def test_the_first_layer_that_departs_is_named():
    same, tenth = states(0, 0, 0), pytest.approx(0.1)
    last = Departure("layer.2", tenth, "layer.1", ("layer.0", "layer.1"))
    assert first_departure(states(0, 0, 0.1), same, 1e-3) == last
    assert first_departure(states(0.1, 0, 0), same, 1e-3) == Departure("layer.0", tenth, "", ("layer.1", "layer.2"))
    assert first_departure(states(1e-4, 1e-4, 1e-4), same, 1e-3) is None
    assert first_departure(states(0, 0), same, 1e-3) is None
    assert first_departure(states(0, np.nan, 0), same, 1e-3).layer == "layer.1"
