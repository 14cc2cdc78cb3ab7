"""Encoding in parts, and what becomes of embeddings later."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from helpers.buffers import one_buffer

from embedgate.core import memory
from embedgate.core.combination import Combination
from embedgate.core.roles import PLAIN, Input
from embedgate.encoders import Encoder
from embedgate.runtime import encoding, recording

TEXTS = ["a", "bb", "ccc", "dddd", "eeeee"]
LENGTHS = np.array([[len(text)] * 4 for text in TEXTS], np.float32)


class Reusing(Encoder):
    """Gives the lengths of texts, each part in the array of the one before."""

    def __init__(self) -> None:
        self.reused = one_buffer(4)

    def encode(self, texts: Sequence[str], batch_size: int = 32) -> np.ndarray:
        return self.reused(np.array([[len(text)] * 4 for text in texts], np.float32), list(texts))

    def evidence(self):
        raise NotImplementedError


@pytest.fixture(autouse=True)
def parts_of_two(monkeypatch):
    monkeypatch.setattr(encoding, "CHUNK", 2)
    monkeypatch.setattr(recording, "PART", 2)


def test_texts_of_one_part_keep_their_rows():
    found = encoding.Encoding(32, lambda _: None).in_one_role(Reusing(), PLAIN, TEXTS, "reusing")
    assert (found == LENGTHS).all()


def test_recorded_answers_are_each_texts_own():
    assert (recording.Keeping(Reusing()).encode_as(PLAIN, TEXTS) == LENGTHS).all()


def test_a_combination_leaves_its_embeddings_in_a_file_as_the_next_one_begins(context_with, few, monkeypatch):
    monkeypatch.setattr(memory, "LEAST_ASIDE", 1)
    session = context_with(data=(str(few),)).session
    fp32, bf16, amp = (
        session.run(Combination.parse(f"torch-{precision}-cpu")) for precision in ("fp32", "bf16", "amp")
    )
    assert [isinstance(run.embeddings.matrix.base, np.memmap) for run in (fp32, bf16, amp)] == [False, True, False]
    again = session.encode_as(bf16, bf16.model.roles["sts"], [each.text for each in bf16.embeddings.inputs][:5])
    assert bf16.embeddings.matrix[:5] == pytest.approx(again, abs=1e-6)
    assert 0.9 < session.agreement(bf16)["cosine_mean"].value < 1
    assert isinstance(amp.embeddings.matrix.base, np.memmap)
    session.close()


@pytest.mark.parametrize("closes", [False, True], ids=["alone", "closed-between-tests-as-a-session-does"])
def test_a_combination_leaves_nothing_that_it_encoded_of_generated_texts(context_with, few, closes):
    session = context_with(data=(str(few),)).session
    fp32, bf16, amp = (Combination.parse(f"torch-{precision}-cpu") for precision in ("fp32", "bf16", "amp"))
    for combination in (fp32, bf16):
        session.embed(session.run(combination), [Input("A text that no dataset has.")])
    if closes:
        session.pool.close_others(amp)
    session.run(amp)
    assert {combination for _, combination in session._generated} == {fp32}
    session.close()
