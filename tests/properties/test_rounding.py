"""What moves by less than rounding is called that, and sends nobody looking for a fault; the verdict stays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from helpers.buffers import one_buffer
from helpers.leaning import Leaning

from embedgate.diagnosis.golden import Golden, drifted
from embedgate.encoders import Stability
from embedgate.properties import Violation
from embedgate.properties.contract import BESIDE, Contract
from embedgate.properties.explore import Profile
from embedgate.properties.invariance import look_into
from embedgate.properties.ordering import Ordering
from embedgate.properties.variations import Subject
from embedgate.sentences import Case

QUICK = Profile(rounds=1, cases=2, texts=2, batches=2)
ROUNDS = pytest.mark.parametrize(("move", "rounds"), [(5e-5, True), (5e-4, False)])
CASE = Case("pinned", "anchor", "nearer", "farther")


def told(found: Violation, rounds: bool, tolerance: str) -> None:
    assert ("rounding" in found.message) is rounds
    assert (found.layer == "rounding") is (not found.explained_by and bool(found.layer)) is rounds
    assert (
        f"look for no fault: where such moves are normal here, allow them by {tolerance}" in found.next_step
    ) is rounds


@ROUNDS
def test_of_a_text_beside_others(move, rounds):
    encoder = Leaning(move)
    found = look_into(Subject(encoder, lambda: encoder, None), "padding", Stability(1e-5), QUICK, seed=0).violation
    told(found, rounds, "stability.batch")
    assert f"moves by {move:.2g} beside a longer text" in found.message


@ROUNDS
def test_of_a_neighbour_of_an_odd_text(move, rounds):
    def embed(texts: Sequence[str]) -> np.ndarray:
        rows = np.eye(4, dtype=np.float32)[[0] * len(texts)]
        if "odd" in texts and len(texts) > 1:
            rows[[text in BESIDE for text in texts], 1] = move
        return rows

    found = Contract(embed, embed, 4, unit_norm=True, move=1e-5).holds_for("odd").violation
    told(found, rounds, "stability.batch")


def test_of_a_neighbour_in_an_array_that_is_used_again():
    reused = one_buffer(4)

    def embed(texts: Sequence[str]) -> np.ndarray:
        rows = np.eye(4, dtype=np.float32)[[0] * len(texts)]
        return reused(rows[:, ::-1] if "odd" in texts and len(texts) > 1 else rows, list(texts))

    found = Contract(embed, embed, 4, unit_norm=True, move=1e-5).holds_for("odd").violation
    assert "moves the embedding of its neighbour by 1.4" in found.message


def similar(first: float, second: float):
    """Embeds the case so that its two similarities are as given."""

    def embed(texts: Sequence[str]) -> np.ndarray:
        cosines = {CASE.anchor: 1.0, CASE.texts[1]: first, CASE.texts[2]: second}
        return np.array([[cosines[text], np.sqrt(1 - cosines[text] ** 2)] for text in texts], np.float32)

    return embed


@ROUNDS
def test_of_a_similarity(move, rounds):
    ordering = Ordering(similar(0.5 + move, 0.4), similar(0.5, 0.4))
    told(ordering.keeps_similarity(1e-5, QUICK, 0, [CASE]).violation, rounds, "order.similarity")


@ROUNDS
def test_of_an_order(move, rounds):
    ordering = Ordering(similar(0.5, 0.5 + move), similar(0.5 + move / 2, 0.5 + move / 4))
    told(ordering.keeps_order(1e-5, QUICK, 0, [CASE]).violation, rounds, "order.margin")


@ROUNDS
def test_of_golden_texts(move, rounds):
    before, now = (Golden(np.array([[1, each]], np.float32)) for each in (0, move))
    assert (", which is rounding" in drifted(now, before, ["a text"], 1e-5).cause) is rounds


def test_figures_are_told_with_what_they_show():
    small, large = (Ordering(similar(0.5 + move, 0.4), similar(0.5, 0.4)) for move in (5e-5, 0.0312))
    found = [each.keeps_similarity(1e-5, QUICK, 0, [CASE]).violation.message for each in (small, large)]
    assert [message.split()[4] for message in found] == ["5e-05", "0.0312"]


def test_zeros_are_no_matter_of_lengths_and_are_put_on_the_text_that_has_them():
    """The texts that are asked for beside it may have them as well, alone as in a batch."""

    def embed(texts: Sequence[str]) -> np.ndarray:
        rows = np.tile(np.eye(4, dtype=np.float32)[:1], (len(texts), 1))
        return np.where([[len(text) < 40] for text in texts], np.float32(0), rows)

    contract = Contract(embed, lambda texts: embed(texts) + 1, 4, unit_norm=True, move=1e-5)
    for text in ("short", "A text of more than forty characters in all."):
        found = contract.holds_for(text).violation
        assert found is not None
        assert found.layer == "answers"
        assert found.cause == "zeros come in the place of a vector"
        assert "in a batch" not in found.message
