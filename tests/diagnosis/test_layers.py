"""The layer of a cause: named where stages are seen, unknown where they are not."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from embedgate.core.embeddings import Embeddings
from embedgate.core.roles import Input
from embedgate.diagnosis.arm import Arm
from embedgate.diagnosis.layers import diagnose
from embedgate.encoders import Evidence, Stages

TEXTS = [f"text {i}" for i in range(8)]


def arm(moved: float = 0.0, *, states: bool = True, pooled: bool = True) -> Arm:
    random = np.random.default_rng(0)
    rows = random.standard_normal((len(TEXTS), 16)).astype(np.float32)
    hidden = [np.tile(row, (3, 1)) for row in rows]
    rows += np.float32(moved) * random.standard_normal(rows.shape).astype(np.float32)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    ids = [np.arange(3, dtype=np.int64) for _ in TEXTS]
    stages = Stages(ids, hidden if states else None, rows if pooled else None, unit)
    evidence = Evidence("cpu", 1, 0, {"float32": 6}, "acme 1")
    return Arm(Embeddings([Input(text) for text in TEXTS], unit), evidence, stages)


def test_the_layer_is_named_where_all_are_seen():
    assert diagnose(arm(0.5), arm(), TEXTS).layer == "pooling"
    assert diagnose(arm(0.001), arm(), TEXTS).layer == "scores"


@pytest.mark.parametrize(
    ("shown", "told"),
    [
        ({"states": False, "pooled": False}, "no hidden states and no pooled embeddings are shown"),
        ({"pooled": False}, "no pooled embeddings are shown"),
    ],
)
def test_what_is_not_seen_is_not_said_to_agree(shown, told):
    found = diagnose(arm(0.5, **shown), arm(), TEXTS)
    assert found.layer == "unknown"
    assert told in found.cause


def test_the_references_stages_are_needed_as_well():
    assert diagnose(arm(0.001), arm(states=False, pooled=False), TEXTS).layer == "unknown"


def test_hidden_states_of_another_size_are_told():
    narrow = arm()
    stages = dataclasses.replace(
        narrow.stages, token_embeddings=[each[:, :8] for each in narrow.stages.token_embeddings]
    )
    found = diagnose(dataclasses.replace(narrow, stages=stages), arm(), TEXTS)
    assert found.layer == "hidden states"
    assert "of 8 numbers, the reference's have 16" in found.cause


def test_one_vector_for_all_texts_is_not_put_on_pooling():
    same, reference = arm(states=False), arm(states=False)
    rows = np.tile(reference.embeddings.matrix[:1], (len(TEXTS), 1))
    found = diagnose(dataclasses.replace(same, embeddings=Embeddings(same.embeddings.inputs, rows)), reference, TEXTS)
    assert found.layer == "unknown"
    assert "have the embedding of another text" in found.cause


def with_vectors(rows: np.ndarray) -> Arm:
    """An arm whose finished vectors are others than its pooled ones come to."""
    whole = arm()
    matrix = np.asarray(rows, dtype=np.float32)
    stages = dataclasses.replace(whole.stages, embeddings=matrix)
    return dataclasses.replace(whole, embeddings=Embeddings(whole.embeddings.inputs, matrix), stages=stages)


def test_what_is_done_after_pooling_is_told_from_many_small_differences():
    found = diagnose(with_vectors(arm().embeddings.matrix[:, ::-1]), arm(), TEXTS)
    assert found.layer == "modules"
    assert "pooled embeddings agree, embeddings do not" in found.cause
    assert "other lengths" not in found.cause


def test_lengths_are_not_the_cause_where_directions_are_off_further():
    clipped = np.clip(arm().embeddings.matrix, -0.3, 0.3)
    assert diagnose(with_vectors(clipped), arm(), TEXTS).layer == "modules"
    assert diagnose(with_vectors(arm().embeddings.matrix * 0.9), arm(), TEXTS).layer == "normalisation"
    saturated = dataclasses.replace(with_vectors(np.clip(arm().embeddings.matrix, -0.45, 0.45)), stages=None)
    assert "lengths" not in diagnose(saturated, arm(), TEXTS).cause


def test_what_is_off_in_the_run_and_not_when_it_is_asked_again_is_not_called_small():
    whole = arm()
    other = whole.embeddings.matrix.copy()
    other[3] = -other[3]
    found = diagnose(dataclasses.replace(whole, embeddings=Embeddings(whole.embeddings.inputs, other)), whole, TEXTS)
    assert found.layer == "unknown"
    assert "off in the run" in found.cause


def test_what_is_not_shown_is_not_said_to_agree_before_what_follows():
    hidden = with_vectors(arm().embeddings.matrix[:, ::-1])
    unseen = dataclasses.replace(hidden, stages=dataclasses.replace(hidden.stages, token_embeddings=None))
    assert diagnose(unseen, arm(), TEXTS).layer == "unknown"
    other = dataclasses.replace(unseen, stages=dataclasses.replace(unseen.stages, pooled=-unseen.stages.pooled))
    assert diagnose(other, arm(), TEXTS).cause.startswith("tokens agree, pooled embeddings do not")


@pytest.mark.parametrize(
    ("tamper", "told"),
    [
        (lambda rows: rows * 10, "they have lengths of"),
        (lambda rows: rows[:, :8], "they have 8 numbers, the reference's 16"),
    ],
)
def test_pooled_embeddings_of_other_lengths_or_sizes_are_told(tamper, told):
    whole = with_vectors(arm().embeddings.matrix[:, ::-1])
    changed = dataclasses.replace(whole.stages, pooled=tamper(whole.stages.pooled))
    found = diagnose(dataclasses.replace(whole, stages=changed), arm(), TEXTS)
    assert found.layer == "pooling"
    assert told in found.cause


@pytest.mark.parametrize("at", [0.0, 100.0])
def test_the_length_of_one_vector_does_not_stand_for_all(at):
    turned = arm().embeddings.matrix.copy()
    turned[:, 0] += 0.3
    turned[2] = at * arm().embeddings.matrix[2]
    found = diagnose(dataclasses.replace(with_vectors(turned), stages=None), arm(), TEXTS)
    assert "directions" not in found.cause


def seen(rows: np.ndarray) -> Arm:
    """An arm that shows its vectors alone."""
    return dataclasses.replace(with_vectors(rows), stages=None)


@pytest.mark.parametrize("show", [seen, with_vectors])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_zeros_are_named_and_are_no_other_lengths(show, noise):
    rows = arm(noise).embeddings.matrix.copy()
    rows[[5, 7]] = 0
    found = diagnose(show(rows), arm(), TEXTS)
    assert found.layer == "answers"
    assert found.cause == "2 of 8 texts get zeros in the place of a vector (first 'text 5')"
    assert "Normalize" not in found.next_step


def test_zeros_do_not_hide_what_moves_all_vectors():
    rows = arm().embeddings.matrix * np.arange(2, 10, dtype=np.float32)[:, None]
    rows[5] = 0
    found = diagnose(seen(rows), arm(), TEXTS)
    assert found.layer == "normalisation"
    assert "have the reference's directions and other lengths: 2.000 to 9.000" in found.cause


def test_zeros_that_are_little_of_what_is_off_are_named_before_nothing_is():
    rows = -arm().embeddings.matrix[:, ::-1]
    rows[5] = 0
    found = diagnose(seen(rows), arm(), TEXTS)
    assert "1 of 8 texts get zeros" in found.cause


def test_raw_vectors_are_still_put_on_normalisation():
    found = diagnose(seen(arm().embeddings.matrix * np.arange(2, 10, dtype=np.float32)[:, None]), arm(), TEXTS)
    assert found.layer == "normalisation"
    assert "Normalize module" in found.next_step


@pytest.mark.parametrize(
    ("places", "told"),
    [
        ([1, 0, 3, 2, 5, 4, 7, 6], "in another order than the texts: 100% of them belong to another text"),
        (
            [1, 0, 2, 3, 4, 2, 3, 4],
            "38% of the texts have the embedding of another one, which has it as well ('text 5'",
        ),
        ([0, 1, 2, 3, 0, 1, 2, 3], "50% of the texts have the embedding of another one, which has it as well"),
    ],
)
def test_rows_that_are_given_twice_are_told_from_an_order(places, told):
    whole = arm()
    moved = dataclasses.replace(whole, embeddings=Embeddings(whole.embeddings.inputs, whole.embeddings.matrix[places]))
    found = diagnose(moved, whole, TEXTS)
    assert found.layer == "order"
    assert told in found.cause
    assert found.proof is not None
