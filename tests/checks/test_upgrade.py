"""The upgrade gate: task quality against the incumbent, and what becomes of its index."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.faults import cls_pooling

from embedgate.checks.upgrade_facts import _map as fitted
from embedgate.checks.upgrade_facts import index_advice
from embedgate.core.embeddings import Embeddings
from embedgate.core.roles import Input
from embedgate.metrics.compatibility import advise

INPUTS = [Input(f"text {i}") for i in range(60)]


def vectors(seed: int, dim: int = 32) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((len(INPUTS), dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_the_same_space_can_be_mixed():
    old = vectors(0)
    new = old + np.float32(0.002) * vectors(1)
    new /= np.linalg.norm(new, axis=1, keepdims=True)
    advice = str(advise(Embeddings(INPUTS, new), Embeddings(INPUTS, old)))
    assert advice.startswith("new vectors can be mixed with the incumbent's: same dimension (32)")


@pytest.mark.parametrize(
    ("new", "reason"),
    [
        (vectors(1), "mean cosine of the same text across both"),
        (vectors(0, dim=16), "16 dimensions instead of 32"),
        (3 * vectors(0), "the new vectors are not normalised, the incumbent's normalised"),
    ],
)
def test_another_space_needs_everything_embedded_again(new, reason):
    advice = str(advise(Embeddings(INPUTS, new), Embeddings(INPUTS, vectors(0))))
    assert advice.startswith("embed everything again: ")
    assert reason in advice


@pytest.fixture(scope="module")
def worse_model(model, tmp_path_factory):
    """The model with CLS pooling."""
    folder = tmp_path_factory.mktemp("models") / "worse"
    cls_pooling(model.path, "cpu").save_pretrained(str(folder))
    return folder


@pytest.mark.slow("a worse model is red against its incumbent, and its index must be made anew")
def test_worse_model_is_red(context_with, worse_model, model):
    context = context_with(model=str(worse_model), incumbent=str(model.path), data=("triplets",), family=1)
    judgement = context.ask("upgrade", context.plan.reference, "triplets-triplet_accuracy")
    assert judgement.verdict == "fail"
    assert "of small's triplet_accuracy on triplets" in judgement.message
    assert "embed everything again" in index_advice(context)


def test_the_same_model_is_green(context_with, worse_model):
    context = context_with(model=str(worse_model), incumbent=str(worse_model), data=("triplets",))
    assert context.ask("upgrade", context.plan.reference, "triplets-triplet_accuracy").verdict == "pass"
    assert "can be mixed" in index_advice(context)


def test_without_an_incumbent_a_failure_of_it_can_still_be_expected(context_with, few):
    context = context_with(data=(str(few),), combinations=("torch-bf16-cpu",))
    (bf16,) = context.plan.combinations
    kinds = {kind for kind, _, _ in context.checks.places(context.plan, bf16)}
    assert {"upgrade", "superior"} <= kinds
    assert not [case for case in context.checks.whole(context.plan) if case.check.kind in ("upgrade", "superior")]


def test_vectors_that_hold_nan_have_no_map_and_end_no_session():
    old = vectors(0, dim=16)
    old[3] = np.nan
    assert fitted(Embeddings(INPUTS, vectors(1)), Embeddings(INPUTS, old)) == {
        "missing": "some vectors hold NaN or infinity"
    }


def test_one_text_in_two_roles_is_fitted_or_judged_once():
    twice = [Input(f"text {i // 2}", "query" if i % 2 else "document") for i in range(200)]
    rows = np.random.default_rng(0).standard_normal((200, 16)).astype(np.float32)
    found = fitted(Embeddings(twice, rows), Embeddings(twice, rows))
    assert found["fitted"] + found["judged"] == 100
