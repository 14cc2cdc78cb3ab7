"""How far an embedding may move: as far as its encoder declares, and no further."""

from __future__ import annotations

import pytest
from helpers.leaning import Leaning

from embedgate.encoders import Stability
from embedgate.encoders.onnx.tokenizer import Tokenizer
from embedgate.properties.batches import BATCH, as_long
from embedgate.properties.explore import Profile
from embedgate.properties.invariance import look_into
from embedgate.properties.variations import Subject

DECLARED = 1e-4
QUICK = Profile(rounds=1, cases=2, texts=2, batches=2)


@pytest.mark.parametrize(("move", "red"), [(0.9 * DECLARED, False), (1.5 * DECLARED, True)])
def test_a_move_is_red_from_what_is_declared_on(move, red):
    encoder = Leaning(move)
    subject = Subject(encoder, lambda: encoder, None)
    outcome = look_into(subject, "padding", Stability(DECLARED), QUICK, seed=0)
    assert outcome.worst == pytest.approx(move, rel=1e-3)
    assert outcome.limit == DECLARED
    assert (outcome.violation is not None) is red


def test_texts_that_have_one_embedding_have_not_received_each_others():
    encoder = Leaning(0.1)
    found = look_into(Subject(encoder, lambda: encoder, None), "padding", Stability(DECLARED), QUICK, seed=0).violation
    assert found.cause == "it moves with the length of its neighbours, that is with padding"


def test_orders_of_one_sentence_have_one_length_and_need_no_padding(minilm):
    assert len(set(as_long())) == BATCH
    assert len({len(ids) for ids in Tokenizer(minilm).ids(as_long())}) == 1
