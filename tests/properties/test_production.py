"""Batches as in production: large ones, ones without padding, single texts, and arrays that callers keep."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from helpers.buffers import one_buffer

from embedgate.core.judgement import ANSWERS, UNKNOWN
from embedgate.encoders import Stability
from embedgate.properties.batches import BATCH, EQUAL, LARGE, Texts, as_long, crowd, longest, many
from embedgate.properties.explore import Profile
from embedgate.properties.invariance import look_into
from embedgate.properties.variations import Subject

QUICK = Profile(rounds=1, cases=2, texts=2, batches=1)
EXACT = Stability(1e-4)
NAMES = ("large_batch", "unpadded", "kept", "alone_again")
Tamper = Callable[[np.ndarray, Sequence[str]], np.ndarray]


class Hashed:
    """Gives each text a vector that its words decide, each of them wherever it stands, and tampers with the rows."""

    def __init__(self, tamper: Tamper = lambda rows, texts: rows) -> None:
        self.tamper = tamper
        self.largest = 0

    def encode(self, texts: Sequence[str], batch_size: int = 32) -> np.ndarray:
        self.largest = max(self.largest, len(texts))
        rows = np.stack([np.random.default_rng(zlib.crc32(text.encode())).standard_normal(8) for text in texts])
        return self.tamper(rows.astype(np.float32), texts)

    def stages(self, texts: Sequence[str]) -> None:
        return None


def asked(name: str, tamper: Tamper = lambda rows, texts: rows, pinned: Sequence[Texts] = ()):
    encoder = Hashed(tamper)
    return look_into(Subject(encoder, lambda: encoder, None), name, EXACT, QUICK, 0, pinned)


@pytest.mark.parametrize("name", NAMES)
def test_a_sound_encoder_keeps_its_vectors(name):
    outcome = asked(name)
    assert outcome.violation is None
    assert outcome.worst == 0


@pytest.mark.parametrize("most", [64, 127, 299])
def test_texts_beyond_what_a_call_takes_are_missed(most):
    def cut(rows, texts):
        rows[most:] = 0
        return rows

    found = asked("large_batch", cut).violation
    assert len(found.texts) == next(count for count in LARGE if count > most)
    assert found.layer == ANSWERS
    assert found.cause == "zeros come in the place of a vector in a batch of up to 300 texts, compared with calls of 32"
    assert "; zeros came in its place" in found.message


def test_a_batch_beyond_64_is_tried_at_quick_as_well():
    def cut(rows, texts):
        rows[64:] = 0
        return rows

    found = asked("batch_size", cut).violation
    assert found.cause == "zeros come in the place of a vector in a batch of many, compared with alone"


def test_the_last_of_several_batches_is_tried():
    class Partial(Hashed):
        def encode(self, texts, batch_size=32):
            rows = super().encode(texts, batch_size)
            if full := len(texts) // batch_size * batch_size:
                rows[full:] = 0
            return rows

    encoder = Partial(lambda rows, texts: rows)
    found = look_into(Subject(encoder, lambda: encoder, None), "batch_size", EXACT, QUICK, 0, ()).violation
    assert found.cause == "zeros come in the place of a vector in a batch of many, compared with alone"


def test_what_a_large_batch_mixes_up_is_told():
    found = asked("large_batch", lambda rows, texts: rows[::-1] if len(texts) > 128 else rows).violation
    assert (found.layer, found.cause) == ("order", "texts receive the embeddings of other texts")


def test_three_hundred_texts_are_asked_for_at_once():
    encoder = Hashed()
    look_into(Subject(encoder, lambda: encoder, None), "large_batch", EXACT, QUICK, seed=0)
    assert encoder.largest == max(LARGE) == len(set(many()))


def no_padding(texts: Sequence[str]) -> bool:
    return len({len(text.split()) for text in texts}) == 1


@pytest.mark.parametrize(
    "is_wrong",
    [
        pytest.param(no_padding, id="alone as well"),
        pytest.param(lambda texts: len(texts) > 1 and no_padding(texts), id="not alone"),
        pytest.param(lambda texts: len(texts) > 1 and len(set(texts)) == 1, id="the same text alone"),
    ],
)
def test_a_batch_without_padding_is_compared_with_one_that_has_some(is_wrong):
    found = asked("unpadded", lambda rows, texts: rows * 2 if is_wrong(texts) else rows).violation
    assert found.layer == UNKNOWN
    assert found.cause == "it moves with padding: in a batch that has none, it is another"
    assert len(found.texts) <= EQUAL
    assert longest() not in found.texts


def test_texts_of_one_length_are_other_texts():
    assert len(set(as_long()[:EQUAL])) == EQUAL


def test_a_buffer_that_is_used_again_is_told():
    reused = one_buffer(8)
    found = asked("kept", reused).violation
    assert (found.layer, found.cause) == (ANSWERS, "a call writes into the array that an earlier one gave")
    for other in ("large_batch", "alone_again"):
        assert asked(other, reused).violation is None, "what is compared was copied"


@pytest.mark.parametrize("count", [1, BATCH, len(crowd())])
def test_as_many_other_texts_are_encoded_whatever_is_pinned(count):
    """An encoder may refuse an empty list, and one row of a buffer that is left alone may be the one that is kept."""
    pinned, calls = crowd()[-count:], []

    def noted(rows, texts):
        calls.append(tuple(texts))
        return rows

    assert asked("kept", noted, [pinned]).violation is None
    first, second = calls[:2]
    assert first == pinned
    assert len(second) == count
    assert not {*first} & {*second}


def test_a_text_that_is_alone_again_is_the_same():
    calls = iter(range(1_000))
    found = asked("alone_again", lambda rows, texts: rows + 1e-3 * next(calls) if len(texts) == 1 else rows).violation
    assert found.cause == "a text that is asked for alone has another vector the second time"


def test_a_text_that_changes_once_is_seen_whatever_was_asked_before():
    """Another check may have asked for the text: nothing is as it was at the first time."""
    known: set[str] = set()

    def once(rows, texts):
        if len(texts) > 1:
            return rows
        seen = texts[0] in known
        known.add(texts[0])
        return rows + 0.1 * seen

    assert asked("padding", once).violation is None
    assert asked("alone_again", once).violation is not None
    assert asked("alone_again", once).violation is not None
