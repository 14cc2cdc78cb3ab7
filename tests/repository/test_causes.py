"""The page about causes says what was measured; what is called a fault is one, and what is called sound is."""

from __future__ import annotations

import json
from copy import deepcopy

import pytest
from helpers.scripts import benchmark

# One of each way in which a fault is made, and of each in which an encoder is unusual.
MET = (
    "cls",
    "mean-inner",
    "raw",
    "own-prompt",
    "no-first",
    "case-kept",
    "cut-32",
    "misread",
    "positions-2",
    "causal-alone",
)
MET += (
    "layer-weights",
    "zeros",
    "zero-point",
    "by-length",
    "cls+own-prompt",
    "float64",
    "padded-left",
    "json",
    "sorted",
)
# Short ones, in which these show.
ASKED = (
    "Zoë's café in SÃO PAULO serves crème brûlée.",
    "one",
    " ".join(["The council has decided to repair the old bridge over the river in spring."] * 3),
)


@pytest.fixture(scope="module")
def causes():
    with benchmark("causes") as module:
        yield module


@pytest.fixture(scope="module")
def zoo(causes):
    return causes.faults()


@pytest.fixture(scope="module")
def loaded(causes, minilm):
    return causes.load(minilm.path)


def test_the_page_has_the_tables_of_what_was_found(causes, zoo):
    text = causes.PAGE.read_text("utf-8")
    assert causes.tables.with_tables(text, zoo, causes.kept()) == text, "run: python benchmarks/causes.py --write"


def test_another_cause_changes_the_page(causes, zoo):
    text, found = causes.PAGE.read_text("utf-8"), causes.kept()
    cell = {"layer": "pooling", "cause": "something else", "cpu_seconds": 1.0}
    found.setdefault("black box", {})["cls"] = cell
    assert "pooling: something else" in causes.tables.with_tables(text, zoo, found)


def test_what_was_found_is_of_faults_and_forms_that_there_are(causes, zoo):
    for form, cells in causes.kept().items():
        assert all(form in zoo[name].forms for name in cells)


def test_there_are_as_many_as_the_page_promises(zoo):
    counts = [sum(fault.kind == kind for fault in zoo.values()) for kind in ("single", "pair", "sound")]
    assert counts[0] >= 44
    assert min(counts[1:]) >= 20
    assert len({fault.combination(form) for fault in zoo.values() for form in fault.forms}) == sum(
        len(fault.forms) for fault in zoo.values()
    )


@pytest.mark.parametrize(
    ("name", "layer", "cause", "outcome"),
    [
        ("cls", "pooling", "these are the reference's vectors with CLS pooling: cosine 1.0000 on 64 texts", "named"),
        ("cls", "pooling", "these are the reference's vectors with max pooling, or with CLS pooling", "named"),
        ("cls", "pooling", "these are the reference's vectors with max pooling", "wrong"),
        ("cls", "pooling", "tokens and hidden states agree, pooled embeddings do not", "layer"),
        ("cls", "pooling", "these are the reference's vectors with CLS pooling and no prompt: cosine", "wrong"),
        ("first-for-all", "order", "in another order in 3 of 4: every text gets one and the same vector", "named"),
        ("cls", "prompt", "these are the reference's vectors with no prompt", "wrong"),
        ("cls", "tokens", "something else", "wrong"),
        ("cls", "unknown", "", "unknown"),
        ("cut-64", "tokens", "these are the reference's vectors with texts cut to 60 tokens: on 64 texts", "wrong"),
        ("cut-64", "tokens", "these are the reference's vectors with texts cut to 64 tokens from the left", "wrong"),
        ("cls+raw", "pooling", "these are the reference's vectors with CLS pooling and no normalisation", "named"),
        ("cls+raw", "pooling", "these are the reference's vectors with CLS pooling", "partly"),
        ("cls+raw", "pooling", "these are the reference's vectors with CLS pooling and no prompt", "wrong"),
        ("bf16", "scores", "many small differences add up", "unknown"),
        ("bf16", "hidden states", "the weights themselves differ", "wrong"),
    ],
)
def test_a_cause_is_worth_what_is_true_of_it(causes, zoo, name, layer, cause, outcome):
    cell = {"layer": layer, "cause": cause}
    assert causes.tables.verdict(zoo[name], cell, zoo) == outcome
    right = "unknown" if zoo[name].kind == "sound" else "named"
    assert causes.tables.is_right(zoo[name], cell, zoo) == (outcome == right)


def test_words_that_name_nothing_are_the_name_of_no_fault(causes, zoo):
    said = "tokens, hidden states, pooling and normalisation agree; many small differences add up"
    for fault in zoo.values():
        assert fault.outcome("hidden states", said) in ("wrong", "layer")


@pytest.mark.parametrize("name", MET)
def test_a_fault_moves_embeddings_and_a_sound_encoder_hardly(causes, zoo, loaded, minilm, name):
    for form in zoo[name].forms:
        encoder = zoo[name].encoder(deepcopy(loaded), form)
        move = causes.farthest(zoo[name], form, encoder, loaded, minilm, ASKED)
        assert not causes.complaint(zoo[name], move)


def test_a_fault_that_is_none_and_a_sound_encoder_that_is_not_are_told(causes, zoo):
    assert "it is no fault" in causes.complaint(zoo["cls"], 0.0)
    assert "not sound" in causes.complaint(zoo["bf16"], 0.5)


@pytest.mark.slow(
    "faults that docs/causes.md asks about move embeddings, and no sound encoder does; all of them by --check"
)
def test_some_of_the_faults_are_faults(causes, zoo, tmp_path):
    chosen = [(fault, form) for fault in zoo.values() for form in fault.forms][::16]
    folders = causes.models.build(tmp_path)
    assert not causes.check(chosen, folders)


def test_the_texts_hold_what_faults_need(causes, tmp_path):
    pairs, passages = causes.models.data(tmp_path)
    texts = [json.loads(line)["sentence1"] for line in pairs.read_text("utf-8").splitlines()]
    assert any("\n" in text for text in texts)
    assert any(not text.isascii() for text in texts)
    assert max(len(text.split()) for text in texts) > 400
    queries = (passages / "queries.jsonl").read_text("utf-8").splitlines()
    assert len(queries) == causes.models.QUERIES
