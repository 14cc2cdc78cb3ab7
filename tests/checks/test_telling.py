"""Texts in which losses show, held against the reference of the session: with no approval, and down to int8's noise."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.buffers import one_buffer
from helpers.faults import Wrapped, load, sound, upper_case_kept

from embedgate.checks import Context
from embedgate.core.combination import Combination
from embedgate.core.judgement import Diagnosis, Judgement, quoted
from embedgate.core.letters import has_emoji, without_emoji, without_other_scripts
from embedgate.data import load_golden
from embedgate.diagnosis.golden import BATCH
from embedgate.properties import telling
from embedgate.properties.contract import CANARIES

Texts = Callable[[str], str]
Tamper = Callable[[np.ndarray, list[str]], np.ndarray]
ODD = CANARIES["combining"](None)


def kept(rows: np.ndarray, _: list[str]) -> np.ndarray:
    return rows


def changed(text: Texts):
    """An encoder that reads texts as a function changes them."""

    class Changing(Wrapped):
        def encode(self, texts, batch_size=32):
            return super().encode([text(each) for each in texts], batch_size)

    return lambda path, _: Changing(path, lambda rows, texts: rows)


def accents_kept(path: Path, _: str):
    model = load(path)
    model.tokenizer.backend_tokenizer.normalizer.strip_accents = False
    return model


def cut_at_64_tokens(path: Path, _: str):
    model = load(path)
    model.max_seq_length = 64
    return model


def reuses_its_buffer(path: Path, _: str):
    return Wrapped(path, one_buffer())


def reuses_its_buffer_and_loses_emoji(path: Path, _: str):
    lossy = changed(without_emoji)(path, _)
    lossy.tamper = one_buffer()
    return lossy


def refuses_emoji(path: Path, _: str):
    class Refusing(Wrapped):
        def encode(self, texts, batch_size=32):
            if any(map(has_emoji, texts)) and len(texts) != BATCH:  # the golden ones are taken
                raise ValueError("no emoji, please")
            return super().encode(texts, batch_size)

    return Refusing(path, lambda rows, texts: rows)


# What is lost, and what the texts have in common that are told.
LOSSES = {
    "accents": (accents_kept, "with accents"),
    "capitals": (upper_case_kept, "with capitals"),
    "scripts": (changed(without_other_scripts), "in other scripts"),
    "emoji": (changed(without_emoji), "with emoji"),
    "lines": (changed(lambda text: re.sub(r"[\r\n]+", "", text)), "with line breaks"),
    "characters": (changed(lambda text: text[:256]), "of more than 256 characters"),
    "tokens": (cut_at_64_tokens, "of more than 256 characters"),
    "ascii": (changed(lambda text: text.encode("ascii", "ignore").decode()), "with characters beyond ASCII"),
    "last": (changed(lambda text: " ".join(text.split()[:-1])), ""),
    "first": (changed(lambda text: " ".join(text.split()[1:])), ""),
}
OTHERS = {
    "buffer-fp16-cpu": reuses_its_buffer,
    "both-fp16-cpu": reuses_its_buffer_and_loses_emoji,
    "refusing-fp16-cpu": refuses_emoji,
    "sound-fp16-cpu": sound,
}
# Of these, a cause is known; of the others it is what was observed.
CAUSES = {
    "accents": ("tokens", "accents kept, which the tokenizer strips"),
    "scripts": ("texts", "letters that are not Latin lost"),
    "emoji": ("texts", "emoji lost"),
    "lines": ("texts", "newlines lost"),
    "tokens": ("tokens", "64 tokens"),
}


@pytest.fixture(scope="module")
def context(context_with, few):
    lost = {f"{name}-{kind}-cpu": factory for name, (factory, _) in LOSSES.items() for kind in ("fp16", "int8")}
    made = context_with({**lost, **OTHERS}, data=(str(few),))
    yield made
    made.close()


@pytest.fixture
def undiagnosed(monkeypatch):
    monkeypatch.setattr(Context, "diagnose", lambda *_: Diagnosis("unknown", "not looked for", "look for it"))


def asked(context, id_: str) -> Judgement:
    return context.ask("texts", Combination.parse(id_))


@pytest.mark.parametrize("kind", ["fp16", "int8"])
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.usefixtures("undiagnosed")
def test_what_is_lost_turns_red_and_tells_what_its_texts_have_in_common(context, name, kind):
    judgement = asked(context, f"{name}-{kind}-cpu")
    assert judgement.verdict == "fail", judgement.message
    assert LOSSES[name][1] in judgement.message
    assert judgement.worst[0].candidate < 0.95


@pytest.mark.parametrize("name", CAUSES)
def test_its_cause_is_what_the_reference_gives_with_that_fault(context, name):
    layer, cause = CAUSES[name]
    found = asked(context, f"{name}-fp16-cpu").diagnosis
    assert found.layer == layer
    assert cause in found.cause


def test_an_array_that_is_written_over_is_left_to_invariance(context):
    """Its texts were copied before the next call, so that each is its own."""
    combination = Combination.parse("buffer-fp16-cpu")
    assert asked(context, combination.id).verdict == "pass"
    judgement = context.ask("invariance", combination, "kept")
    assert judgement.verdict == "fail"
    assert judgement.diagnosis.layer == "answers"
    assert judgement.diagnosis.cause == "a call writes into the array that an earlier one gave"
    assert context.checks.case(context.plan, "invariance", combination, "kept").is_within(context.plan, "quick")


def test_what_else_is_lost_is_told_of_an_encoder_that_reuses_its_array(context):
    both, emoji = asked(context, "both-fp16-cpu"), asked(context, "emoji-fp16-cpu")
    assert (both.message, both.worst) == (emoji.message, emoji.worst)
    assert both.diagnosis.cause == emoji.diagnosis.cause


def test_texts_that_are_refused_are_left_to_the_contract(context):
    judgement = asked(context, "refusing-fp16-cpu")
    assert judgement.verdict == "pass"
    assert judgement.n < asked(context, "sound-fp16-cpu").n


def test_a_sound_encoder_stays_green(context):
    judgement = asked(context, "sound-fp16-cpu")
    assert judgement.verdict == "pass"
    assert judgement.value < judgement.limit == 0.005
    assert judgement.n == len(load_golden()[0]) + len(CANARIES) - len(telling.MONOTONOUS) - 1 + len(telling.texts())


def test_vectors_of_another_width_turn_red(context_with, few):
    combination = Combination.parse("narrow-fp16-cpu")
    halved = {combination.id: lambda path, _: Wrapped(path, lambda rows, texts: rows[:, :192])}
    context = context_with(halved, data=(str(few),))
    judgement = context.ask("texts", combination)
    context.close()
    assert judgement.verdict == "fail"
    assert judgement.message == "gives 192 dimensions, and the reference 384"


@pytest.fixture
def judged(context_with, few):
    """Judges an encoder whose rows a function tampers with, beside a reference whose rows another does."""

    def judge(mine: Tamper = kept, theirs: Tamper = kept) -> Judgement:
        ways = {"mine-fp16-cpu": mine, "theirs-fp32-cpu": theirs}
        factories = {name: lambda path, _, way=way: Wrapped(path, way) for name, way in ways.items()}
        context = context_with(factories, reference="theirs-fp32-cpu", data=(str(few),))
        try:
            combination = next(each for each in context.plan.encoding if each.id == "mine-fp16-cpu")
            return context.ask("texts", combination)
        finally:
            context.close()

    return judge


def test_beside_a_reference_without_a_finite_vector_nothing_is_judged(judged):
    judgement = judged(theirs=lambda rows, texts: rows * np.float32("nan"))
    assert judgement.verdict == "inconclusive"
    nothing = r"there is nothing to compare with: the reference's vectors of \d+ texts hold NaN or infinity"
    assert re.fullmatch(nothing, judgement.diagnosis.cause)
    assert judgement.diagnosis.next_step == "see what is red about the reference, and mend that first"


def test_texts_that_the_reference_has_finite_are_compared(judged):
    def nan_alone(rows, texts):
        return rows * np.float32("nan") if len(texts) == 1 else rows

    judgement = judged(theirs=nan_alone)
    assert judgement.verdict == "pass"
    assert judgement.n == len(load_golden()[0]) + len(telling.texts())


@pytest.mark.parametrize(
    ("narrow", "told"),
    [
        pytest.param(
            lambda texts: texts == [ODD],
            f"gives {quoted(ODD, 60)} 192 dimensions, and the reference 384",
            id="one",
        ),
        pytest.param(
            lambda texts: len(texts) == 1,
            "gives '' 192 dimensions, and the reference 384; 9 of 97 texts have another width",
            id="alone",
        ),
        pytest.param(
            lambda texts: load_golden()[0][-1] in texts,
            f"192 dimensions, and {quoted(load_golden()[0][0], 60)} 384",
            id="a golden batch",
        ),
    ],
)
@pytest.mark.usefixtures("undiagnosed")
def test_texts_of_another_width_turn_red_by_name(judged, narrow, told):
    judgement = judged(lambda rows, texts: rows[:, :192] if narrow(texts) else rows)
    assert judgement.verdict == "fail"
    assert told in judgement.message


class TestInCommon:
    texts = ("naïve", "Zoë and 7", "plain", "other", "Zoe", "dé\njà", "123")

    def told(self, *places: int) -> str:
        return telling.in_common(places, telling.groups(self.texts, [3] * 7), 7)

    @pytest.mark.parametrize(
        ("places", "told"),
        [
            ((0, 1, 5), "they are the 3 texts with accents"),
            ((0, 5), "they are among the 3 texts with accents"),
            ((0, 1, 2, 5), "3 of them are the 3 texts with accents"),
            ((0,), ""),
            ((0, 1, 2, 3, 4, 5, 6), ""),
            ((2, 3), ""),
        ],
    )
    def test_what_most_have_and_most_others_have_not_is_told(self, places, told):
        assert self.told(*places) == told

    def test_what_most_others_have_as_well_is_not_told(self):
        """Ten of 13 have it, and 50 of 84 others: three of 37 that lack it moved, and yet it tells nothing."""
        has_it = frozenset(range(10)) | frozenset(range(13, 63))
        assert telling.in_common(range(13), {"with capitals": has_it}, 97) == ""
        few = frozenset(range(10)) | frozenset(range(13, 40))
        assert (
            telling.in_common(range(13), {"with capitals": few}, 97)
            == "10 of them are among the 37 texts with capitals"
        )
