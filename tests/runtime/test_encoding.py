"""Encoding in parts: an encoder may give each part in the array of the one before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from helpers.buffers import one_buffer

from embedgate.core.roles import PLAIN
from embedgate.encoders import Encoder
from embedgate.runtime import encoding, recording

TEXTS = ["a", "bb", "ccc", "dddd", "eeeee"]
LENGTHS = np.array([[len(text)] * 4 for text in TEXTS], np.float32)


class Reusing(Encoder):
    """Gives the lengths of texts, each time in the same array."""

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
