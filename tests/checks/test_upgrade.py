"""The upgrade gate: task quality against the incumbent, and what becomes of its index."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from helpers.faults import cls_pooling
from sentence_transformers import SentenceTransformer

from embedgate.checks.upgrade import _settled, _verdict
from embedgate.checks.upgrade_facts import UpgradeFacts
from embedgate.checks.upgrade_facts import _map as fitted
from embedgate.core.embeddings import Embeddings
from embedgate.core.roles import Input
from embedgate.encoders.onnx.tokenizer import Tokenizer
from embedgate.metrics.compatibility import advise, normalises

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
    assert "embed everything again" in context.of(UpgradeFacts).index


def test_the_same_model_is_green(context_with, worse_model):
    context = context_with(model=str(worse_model), incumbent=str(worse_model), data=("triplets",))
    assert context.ask("upgrade", context.plan.reference, "triplets-triplet_accuracy").verdict == "pass"
    assert "can be mixed" in context.of(UpgradeFacts).index


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


def test_a_run_without_embeddings_ends_no_session():
    """As where timing alone was asked beside an older report."""
    assert normalises(Embeddings([], np.zeros((0, 32), dtype=np.float32))) in (True, False)


@pytest.mark.parametrize(
    ("share", "beyond", "verdict", "beyond_the_limit"),
    [
        (1 - 1e-9, False, "pass", False),
        (1 - 1e-4, False, "fail", True),
        (1 - 1e-9, True, "inconclusive", False),
        (1 + 1e-9, True, "inconclusive", False),
        (1 + 1e-4, True, "pass", False),
    ],
)
def test_by_values_what_rounding_alone_tells_apart_is_equal(share, beyond, verdict, beyond_the_limit):
    """Beyond the limit is what `--gate-strict=estimate` would make red."""
    settled = _settled(share, 1.0)
    assert _verdict(settled, 1.0, beyond=beyond) == verdict
    assert (settled < 1.0) == beyond_the_limit


def test_tokens_are_told_of_what_reads_by_a_known_tokenizer_alone(context_with, model, few, tmp_path):
    """Of a folder by its own tokenizer; of what a host project builds, nobody knows what it reads."""
    folder = tmp_path / "other"
    shutil.copytree(model.path, folder)
    config = json.loads((folder / "sentence_bert_config.json").read_text())
    (folder / "sentence_bert_config.json").write_text(json.dumps({**config, "max_seq_length": 16}))
    options = {"data": (str(few),), "incumbent": "torch-fp32-cpu", "candidates": (f"{folder}::name=other",)}
    factories = {"acme-bf16-cpu": lambda path, _: SentenceTransformer(str(path), device="cpu")}
    context = context_with(factories, combinations=("acme-bf16-cpu",), **options)
    for case in context.checks.named("upgrade").cases(context.plan):
        context.judge(case)
    found = context.of(UpgradeFacts).to_json()["combinations"]
    (acme, other) = (next(of for id_, of in found.items() if id_.startswith(name)) for name in ("acme", "other"))
    assert (acme["new"]["max_tokens"], acme["new"]["tokens_per_text"], acme["tokens"]) == (None, None, {})
    assert other["new"]["max_tokens"] == 16
    assert other["old"]["max_tokens"] == Tokenizer.known(model).max_tokens > 16
