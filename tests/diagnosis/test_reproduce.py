"""A cause is named where the reference with that fault gives the candidate's vectors, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from helpers.faults import load
from helpers.prompted import with_prompts

from embedgate.checks.causes import ODD, made, parts
from embedgate.core.roles import PLAIN, Roles
from embedgate.diagnosis.faults import Fault, known_faults
from embedgate.diagnosis.playing import Asked, Call, Player
from embedgate.diagnosis.reproduce import FIRST, Answer, reproduce
from embedgate.encoders.change import ENDLESS, Change
from embedgate.encoders.replay import replay_of

OWN = [
    "A man is playing a guitar on the stage.",
    "The committee will meet again on Thursday to discuss the budget.",
    "How do I reset my password?",
    "Rivers carry sediment from the mountains down to the sea.",
    "Our new phone has a larger battery and a better camera.",
    "She forgot her umbrella at the station.",
    "The cat sleeps.",
    "Children learn languages faster than adults do.",
]
Answering = Callable[[list[str]], np.ndarray]


@pytest.fixture(scope="module")
def loaded(model):
    return load(model.path)


@pytest.fixture(scope="module")
def replay(loaded):
    return replay_of(loaded)


@pytest.fixture(scope="module")
def roles(model):
    return model.roles


def probes() -> list[list[str]]:
    return list(parts([*OWN, *made(OWN)], 12))


def asked(answer: Answering, noise: float = 1e-2) -> Asked:
    """What an encoder answers to the probes: together, and some of them alone."""
    texts: list[str] = []
    calls: list[Call] = []
    for part in (*probes(), *([text] for text in OWN[:3]), [ODD[0]]):
        calls.append(Call(PLAIN, tuple(range(len(texts), len(texts) + len(part)))))
        texts.extend(part)
    rows = [answer([texts[row] for row in call.rows]) for call in calls]
    again = answer([texts[row] for row in calls[0].rows])
    return Asked(texts, calls, np.concatenate(rows).astype(np.float32), noise, again)


def answer_to(replay, loaded, roles: Roles, encode: Answering, **given) -> Answer:
    def reference(role, texts: Sequence[str]) -> np.ndarray:
        return loaded.encode(role.prompted(texts), prompt="")

    return reproduce(Player(asked(encode, **given), reference, replay), roles)


def faults(replay, roles) -> dict[str, Fault]:
    return {each.name: each for each in known_faults(roles, [""], replay)}


def with_faults(replay, roles, *names: str, **change) -> Answering:
    """The reference with known faults."""
    known = faults(replay, roles)

    def encode(texts: list[str]) -> np.ndarray:
        those = tuple(known[name] for name in names)
        if change:
            those = (*those, Fault("made", "tokens", "", change=change))
        alone = Asked(texts, [Call(PLAIN, tuple(range(len(texts))))], np.zeros((len(texts), 1), np.float32), 0.0)
        return Player(alone, lambda role, each: replay.vectors(role, each, Change()), replay).play(those)

    return encode


NAMES = (
    "CLS pooling",
    "pooling of the last token",
    "max pooling",
    "a mean weighted by position",
    "a mean over padding, too",
    "a mean without special tokens",
    "no normalisation",
    "no special tokens",
    "no special token at the start",
    "no special token at the end",
    "special tokens twice",
    "case kept, which the tokenizer folds",
    "accents kept, which the tokenizer strips",
    "token types of 1",
    "positions +1 off",
    "positions +2 off",
    "the attention mask ignored by its layers",
    "the attention mask ignored by its layers and by pooling",
    "causal attention",
    "causal attention for a text that comes alone",
    "whitespace collapsed",
    "all whitespace lost",
    "texts that end at their first newline",
    "punctuation lost",
    "markup lost",
    "markup escaped",
    "entities of markup read (&amp; as &)",
    "texts written as JSON",
    "texts written as JSON, without its quotes",
    "each text twice",
    "ReLU as the activation of its layers",
    "'query: ' before each text",
    "'query : ' before each text",
    "dimensions in the opposite order",
    "signs in the place of numbers (-1 and 1)",
)


@pytest.mark.parametrize("name", NAMES)
def test_a_known_fault_is_named(replay, loaded, roles, name):
    found = answer_to(replay, loaded, roles, with_faults(replay, roles, name)).diagnosis
    if name == "whitespace collapsed":  # BERT's tokenizer does so itself
        assert found is None
        return
    assert found is not None
    assert name in found.cause
    assert "cosine 1.0000" in found.cause
    assert found.proof is not None
    assert found.proof.found == "reproduced"
    assert found.proof.distance < 1e-3 < found.proof.distance_before
    assert found.proof.tried


PAIRS = (
    ("CLS pooling", "no normalisation"),
    ("CLS pooling", "accents kept, which the tokenizer strips"),
    ("no normalisation", "'query: ' before each text"),
    ("no special tokens", "max pooling"),
    ("case kept, which the tokenizer folds", "no normalisation"),
    ("positions +2 off", "'query: ' before each text"),
    ("causal attention", "punctuation lost"),
    ("no normalisation", "dimensions in the opposite order"),
)


@pytest.mark.parametrize("pair", PAIRS, ids=" and ".join)
def test_two_faults_at_once_are_both_named(replay, loaded, roles, pair):
    found = answer_to(replay, loaded, roles, with_faults(replay, roles, *pair)).diagnosis
    assert found is not None
    first = found.cause.split(", or with ")[0]
    assert all(name in first for name in pair)


@pytest.mark.parametrize("other", ["no normalisation", "case kept, which the tokenizer folds"])
def test_a_cut_is_named_beside_another_fault(replay, loaded, roles, other):
    encode = with_faults(replay, roles, other, longest=32)
    found = answer_to(replay, loaded, roles, encode).diagnosis
    assert found is not None
    first = found.cause.split(", or with ")[0]
    assert other in first
    assert "texts cut to 32 tokens" in first


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"longest": 32}, "texts cut to 32 tokens"),
        ({"longest": 77}, "texts cut to 77 tokens"),
        ({"longest": 50, "left": True}, "texts cut to 50 tokens from the left"),
        ({"longest": 128, "left": True}, "texts cut to 128 tokens from the left"),
        ({"longest": ENDLESS}, "texts that are not cut"),
    ],
)
def test_a_cut_is_named_with_its_number(replay, loaded, roles, change, name):
    found = answer_to(replay, loaded, roles, with_faults(replay, roles, **change)).diagnosis
    assert found is not None
    assert name in found.cause
    assert found.layer == "tokens"


@pytest.mark.parametrize(
    ("cut", "name"),
    [
        (lambda text: text[:100], "texts cut to 100 characters"),
        (lambda text: text[:217], "texts cut to 217 characters"),
        (lambda text: text[-137:], "texts cut to 137 characters from the left"),
        (lambda text: " ".join(text.split()[:40]), "texts cut to 40 words"),
    ],
)
def test_a_cut_of_characters_or_words_is_named(replay, loaded, roles, cut, name):
    found = answer_to(replay, loaded, roles, lambda texts: loaded.encode([cut(text) for text in texts])).diagnosis
    assert found is not None
    assert name in found.cause
    assert found.layer == "texts"


def misread(rows: np.ndarray) -> np.ndarray:
    """Bytes that were written as signed and are read as unsigned."""
    codes = np.clip(np.round(rows * 400), -128, 127)
    return (codes % 256 - 128) / 400


@pytest.mark.parametrize(
    ("tamper", "name", "layer"),
    [
        (lambda rows: rows * np.float32(2.5), "every vector 2.5 times as long", "normalisation"),
        (lambda rows: rows + np.float32(0.01), "+0.01 added to every number", "codes"),
        (lambda rows: rows[:, :128], "the first 128 of 384 dimensions", "dimension"),
        (lambda rows: np.where(np.arange(384) < 256, rows, 0), "zeros in all but the first 256 of 384", "dimension"),
        (
            lambda rows: np.rint(rows * np.linspace(400, 900, 384) - 30),
            "whole numbers, as of codes that were not decoded",
            "codes",
        ),
        (lambda rows: np.packbits(rows > 0, axis=1), "bits in bytes (unsigned) in the place of numbers", "codes"),
        (misread, "signed bytes read as unsigned (uint8), or the other way round", "codes"),
        (lambda rows: np.roll(rows, 3, axis=1), "dimensions in another order", "dimension"),
        (lambda rows: np.clip(rows, -0.06, 0.07), "numbers cut off at -0.06 and 0.07", "codes"),
        (lambda rows: np.maximum(rows, -0.02), "numbers cut off at -0.02:", "codes"),
        (lambda rows: np.where(rows > 0, -1, 1), "the opposite signs in the place of numbers", "codes"),
        (lambda rows: rows + 0.2 * np.sign(np.sin(np.arange(384))), "one and the same vector added", "codes"),
        (lambda rows: -2 * rows, "every number -2 times as large", "normalisation"),
        (lambda rows: np.round(rows, 1), "numbers rounded to 1 decimal", "codes"),
        (lambda rows: np.round(rows, 2), "numbers rounded to 2 decimals", "codes"),
        (lambda rows: rows[::-1], "rows come in the opposite order", "order"),
        (lambda rows: np.roll(rows, 1, axis=0), "a fixed number of places away", "order"),
        (lambda rows: np.repeat(rows[:1], len(rows), axis=0), "every text gets one and the same vector", "order"),
    ],
)
def test_a_fault_of_vectors_is_named(replay, loaded, roles, tamper, name, layer):
    found = answer_to(replay, loaded, roles, lambda texts: tamper(loaded.encode(texts))).diagnosis
    assert found is not None
    assert name in found.cause
    assert found.layer == layer


@pytest.mark.parametrize(
    ("tamper", "told"),
    [
        (lambda rows, texts: np.zeros_like(rows), "every text gets zeros in the place of a vector"),
        (
            lambda rows, texts: np.where([[len(text) > 300] for text in texts], 0, rows),
            "get zeros in the place of a vector (all of",
        ),
        (
            lambda rows, texts: rows * (len(texts) == 1),
            "get zeros in the place of a vector in some of the calls",
        ),
        (lambda rows, texts: np.full_like(rows, 384**-0.5), "every text gets a vector that is the same for all"),
        (lambda rows, texts: np.ones_like(rows), "every text gets a vector that is the same for all"),
        (
            lambda rows, texts: np.where([[at % 3 == 2] for at in range(len(texts))], rows[:1] * -1, rows),
            "get a vector that is the same for all of these, and that of none of them",
        ),
    ],
    ids=["zeros", "zeros of long texts", "zeros of batches", "constant", "ones", "another caller's"],
)
def test_vectors_that_are_of_no_text_are_read_from_what_was_answered(replay, loaded, roles, tamper, told):
    found = answer_to(replay, loaded, roles, lambda texts: tamper(loaded.encode(texts), texts)).diagnosis
    assert found is not None
    assert found.layer == "answers"
    assert told in found.cause
    assert found.proof is not None
    assert found.proof.found == "read"


@pytest.mark.parametrize(
    ("encode", "told"),
    [
        (lambda loaded, text: loaded.encode(text[:20]), ""),
        (lambda loaded, text: loaded.encode(" ".join(text.split()[:3])), ""),
        (lambda loaded, text: loaded.encode(text[:40])[::-1], "in the opposite order"),
        (lambda loaded, text: loaded.encode(text)[::-1] * (text != "ok"), "in the opposite order"),
    ],
    ids=["20 characters", "3 words", "40 characters and dimensions", "dimensions and a zero"],
)
def test_texts_that_a_known_fault_makes_alike_are_not_said_to_get_a_vector_of_none(replay, loaded, roles, encode, told):
    answer = answer_to(replay, loaded, roles, lambda texts: np.stack([encode(loaded, text) for text in texts]))
    assert answer.diagnosis is None or answer.diagnosis.layer != "answers"
    if told:
        assert told in (answer.diagnosis.cause if answer.diagnosis else answer.proof.tried[0].fault)


def test_a_vector_of_one_of_them_is_not_said_to_be_of_none_where_the_width_is_another(replay, loaded, roles):
    found = answer_to(replay, loaded, roles, lambda texts: np.repeat(loaded.encode(texts[:1])[:, :128], len(texts), 0))
    assert found.diagnosis is None or "that of none of them" not in found.diagnosis.cause


def test_a_candidate_that_is_wider_is_still_asked_about_its_texts(replay, loaded, roles):
    found = answer_to(replay, loaded, roles, lambda texts: np.hstack([loaded.encode(texts)] * 2))
    assert found.diagnosis is None


def test_a_constant_does_not_hide_a_second_fault(replay, loaded, roles):
    constant = np.linspace(-0.1, 0.1, 384, dtype=np.float32)
    found = answer_to(replay, loaded, roles, lambda texts: loaded.encode([f"{t}." for t in texts]) + constant)
    assert found.diagnosis is None or "a full stop behind each text" in found.diagnosis.cause


def test_a_few_rows_of_the_call_before_do_not_make_all_of_them_so(replay, loaded, roles):
    calls: list[list[str]] = []

    def encode(texts: list[str]) -> np.ndarray:
        calls.append(texts)
        rows = loaded.encode(texts)
        if len(calls) == 2:
            rows[:2] = loaded.encode(calls[0][:2])
        return rows

    found = answer_to(replay, loaded, roles, encode).diagnosis
    assert found is None or "of the call before" not in found.cause


@pytest.mark.parametrize("jitter", [1e-3, 1e-2])
@pytest.mark.parametrize("of_dimensions", [True, False])
def test_vectors_that_owe_nothing_to_the_reference_are_not_called_its_own(replay, loaded, roles, jitter, of_dimensions):
    """A line through them has no slope, and a range that is cut off to a point fits a constant."""
    random = np.random.default_rng(0)
    constant = 384**-0.5 * (1 + jitter * random.normal(size=384))

    def encode(texts: list[str]) -> np.ndarray:
        noise = 0 if of_dimensions else jitter * random.normal(size=(len(texts), 384))
        return np.tile(constant, (len(texts), 1)) + noise

    found = answer_to(replay, loaded, roles, encode).diagnosis
    assert found is None or "these are the reference's vectors" not in found.cause


def test_stored_codes_may_be_as_coarse_as_they_are_whatever_the_weights_promise(replay, loaded, roles):
    """Eight bits round further than float32 does, and so does what is read of them."""

    def encode(texts: list[str]) -> np.ndarray:
        return np.round(loaded.encode(texts) * 400) / 400 + np.linspace(-0.1, 0.1, 384)

    found = answer_to(replay, loaded, roles, encode, noise=5e-3).diagnosis
    assert found is not None
    assert "one and the same vector added to every vector" in found.cause


def test_what_was_tried_on_few_texts_says_so(replay, loaded, roles):
    letters = answer_to(
        replay, loaded, roles, lambda texts: loaded.encode([text.replace("a", "e") for text in texts])
    ).proof
    assert any(each.texts == FIRST for each in letters.tried)
    proof = answer_to(replay, loaded, roles, lambda texts: np.tanh(9 * loaded.encode(texts)) * 0.3).proof
    assert proof.found == "nothing"
    assert not any("whitespace collapsed" in each.fault for each in proof.tried), proof.tried


def by_length(loaded) -> Answering:
    def encode(texts: list[str]) -> np.ndarray:
        return loaded.encode(sorted(texts, key=len))

    return encode


def cached(loaded, key: Callable[[str], str]) -> Answering:
    kept: dict[str, np.ndarray] = {}

    def encode(texts: list[str]) -> np.ndarray:
        for text in texts:
            kept.setdefault(key(text), loaded.encode([text])[0])
        return np.stack([kept[key(text)] for text in texts])

    return encode


UNKNOWN = [f"Nobody here asked for number {number}." for number in range(12)]


def late(loaded, *earlier: str) -> Answering:
    """Answers what was asked for before."""
    before = [list(earlier)] if earlier else []

    def encode(texts: list[str]) -> np.ndarray:
        before.append(texts)
        own = before[-2] if len(before) > 1 else texts
        return loaded.encode((own * len(texts))[: len(texts)])

    return encode


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (by_length, "rows come in the order of the texts' lengths, and are not put back"),
        (lambda loaded: cached(loaded, lambda text: text[:64]), "texts that begin with the same"),
        (late, "a call answers what the one before asked for"),
        (lambda loaded: late(loaded, *UNKNOWN), "a call answers what the one before asked for"),
    ],
    ids=["sorted", "cached", "late", "late, after an unknown call"],
)
def test_rows_of_other_texts_are_named(replay, loaded, roles, make, name):
    found = answer_to(replay, loaded, roles, make(loaded)).diagnosis
    assert found is not None
    assert found.layer == "order"
    assert name in found.cause


def test_a_random_step_is_told_by_what_it_does(replay, loaded, roles):
    random = np.random.default_rng(0)

    def encode(texts: list[str]) -> np.ndarray:
        rows = loaded.encode(texts)
        return rows + random.normal(0, 0.01, rows.shape)

    found = answer_to(replay, loaded, roles, encode).diagnosis
    assert found is not None
    assert found.layer == "repetition"
    assert "asked for again, came back as other vectors" in found.cause


@pytest.mark.parametrize("size", [1e-6, 1e-3, 3e-3, 0.01, 0.03])
def test_noise_is_given_no_cause(replay, loaded, roles, size):
    def encode(texts: list[str]) -> np.ndarray:
        rows = loaded.encode(texts)
        noise = [np.random.default_rng(len(text)).normal(0, size, 384) for text in texts]
        return rows + np.stack(noise)

    for noise in (1e-2, 0.25):
        found = answer_to(replay, loaded, roles, encode, noise=noise)
        assert found.diagnosis is None
    assert found.proof.distance is None


def test_a_fault_is_named_beneath_noise(replay, loaded, roles):
    def encode(texts: list[str]) -> np.ndarray:
        rows = with_faults(replay, roles, "CLS pooling")(texts)
        return rows + np.stack([np.random.default_rng(len(text)).normal(0, 0.005, 384) for text in texts])

    found = answer_to(replay, loaded, roles, encode, noise=0.25).diagnosis
    assert found is not None
    assert "CLS pooling" in found.cause


@pytest.mark.parametrize("share", [0.9, 1.1])
def test_weights_that_differ_are_given_no_cause(replay, loaded, roles, model, share):
    other = load(model.path)
    other[0].model.encoder.layer[0].attention.output.dense.weight.data *= share
    found = answer_to(replay, loaded, roles, other.encode)
    assert found.diagnosis is None
    assert found.proof.attempts > 50
    assert len(found.proof.tried) == 12


def test_without_modules_texts_prompts_and_vectors_are_played(loaded, roles):
    def encode(texts: list[str]) -> np.ndarray:
        return loaded.encode([f"query: {text}" for text in texts])

    found = answer_to(None, loaded, roles, encode).diagnosis
    assert found is not None
    assert "'query: ' before each text" in found.cause


@pytest.mark.parametrize("size", [0.0, 0.004])
def test_a_cut_is_named_beneath_noise(replay, loaded, roles, size):
    def encode(texts: list[str]) -> np.ndarray:
        rows = with_faults(replay, roles, longest=60)(texts)
        return rows + np.stack([np.random.default_rng(len(text)).normal(0, size, 384) for text in texts])

    found = answer_to(replay, loaded, roles, encode, noise=0.25).diagnosis
    assert found is not None
    assert "texts cut to 60 tokens" in found.cause or "texts cut to about" in found.cause


def by_role(model, roles: Roles, encode: Callable[[str, list[str]], np.ndarray]) -> Asked:
    """What an encoder answers to probes of queries, documents and plain texts."""
    texts: list[str] = []
    calls: list[Call] = []
    rows: list[np.ndarray] = []
    for name, part in zip(("query", "document", ""), probes(), strict=False):
        calls.append(Call(roles[name], tuple(range(len(texts), len(texts) + len(part)))))
        texts.extend(part)
        rows.append(encode(name, part))
    return Asked(texts, calls, np.concatenate(rows), 1e-2)


@pytest.mark.parametrize(
    ("prompts", "name"),
    [
        ({"query": "", "document": ""}, "no prompt"),
        ({"query": ""}, "no prompt for queries"),
        ({"query": "search query: search query: "}, "the prompt twice for queries"),
        ({"query": "passage of text: "}, "texts encoded as document"),
        ({"query": "passage of text: ", "document": "search query: "}, "documents as queries"),
        ({"query": "search query "}, "'search query ' before queries"),
    ],
)
def test_a_prompt_of_a_role_is_named(small, tmp_path, prompts, name):
    model = with_prompts(small, tmp_path)
    loaded = load(model.path)
    own = {role: model.roles[role].prompt for role in ("query", "document", "")}

    def encode(role: str, texts: list[str]) -> np.ndarray:
        return loaded.encode([(own | prompts)[role] + text for text in texts], prompt="")

    answers = by_role(model, model.roles, encode)
    found = reproduce(Player(answers, lambda *_: np.empty(0), replay_of(loaded)), model.roles).diagnosis
    assert found is not None
    assert name in found.cause
    assert found.layer == "prompt"


def test_what_shows_in_one_text_alone_is_not_why_others_are_off(replay, loaded, roles):
    def encode(texts: list[str]) -> np.ndarray:
        rows = with_faults(replay, roles, "markup lost")(texts)
        return rows + np.stack([np.random.default_rng(len(text)).normal(0, 0.005, 384) for text in texts])

    assert answer_to(replay, loaded, roles, encode, noise=0.25).diagnosis is None


@pytest.mark.parametrize(
    "near",
    [
        lambda loaded: lambda texts: loaded.encode([f"question about it: {text}" for text in texts]),
        lambda loaded: lambda texts: np.where(np.arange(384) % 3, 1, -1) * loaded.encode(texts),
        lambda loaded: lambda texts: np.sqrt(np.abs(loaded.encode(texts))),
        lambda loaded: lambda texts: loaded.encode([" ".join(text.split()[::2]) for text in texts]),
        lambda loaded: lambda texts: loaded.encode([text.replace("a", "e") for text in texts]),
    ],
    ids=["prompt", "dimensions", "numbers", "words", "letters"],
)
@pytest.mark.parametrize("noise", [1e-2, 0.25])
def test_a_fault_that_is_not_known_is_given_no_cause(replay, loaded, roles, near, noise):
    assert answer_to(replay, loaded, roles, near(loaded), noise=noise).diagnosis is None


def test_a_little_randomness_is_not_why_vectors_are_far_off(replay, loaded, roles):
    random = np.random.default_rng(0)

    def encode(texts: list[str]) -> np.ndarray:
        rows = np.where(np.arange(384) % 3, 1, -1) * loaded.encode(texts)
        return rows + random.normal(0, 1e-4, rows.shape)

    assert answer_to(replay, loaded, roles, encode).diagnosis is None


def test_rotated_texts_that_begin_alike_are_no_cache(replay, loaded, roles):
    texts = [f"This sentence is about {what}." for what in ("cats", "dogs", "rain", "trade", "wine", "maps", "bread")]
    rows = np.roll(loaded.encode(texts), 1, axis=0)
    for live, said in ((True, "a fixed number of places away"), (False, "of other texts in 7 of 7 (")):
        given = Asked(texts, [Call(PLAIN, tuple(range(7)))], rows, 1e-2, is_live=live)
        found = reproduce(Player(given, lambda *_: np.empty(0), replay), roles).diagnosis
        assert found is not None
        assert said in found.cause


@pytest.mark.parametrize("texts", [["ok"], ["ok", "A second text."], ["猫", "犬が走る"]], ids=len)
def test_few_and_short_texts_lose_nothing(replay, loaded, roles, texts):
    rows = with_faults(replay, roles, "CLS pooling")(texts)
    given = Asked(texts, [Call(PLAIN, tuple(range(len(texts))))], rows, 1e-2, is_live=False)
    found = reproduce(Player(given, lambda *_: np.empty(0), replay), roles).diagnosis
    assert found is not None
    assert "CLS pooling" in found.cause


def test_a_second_fault_that_explains_nothing_is_not_named(replay, loaded, roles):
    constant = np.random.default_rng(7).normal(0, 0.05, 384).astype(np.float32)

    def encode(texts: list[str]) -> np.ndarray:
        noise = [np.random.default_rng(len(text)).normal(0, 0.006, 384) for text in texts]
        return loaded.encode(texts) + constant + np.stack(noise)

    found = answer_to(replay, loaded, roles, encode, noise=0.25).diagnosis
    assert found is None or " and " not in found.cause.partition(": cosine")[0].replace("one and the same", "")
