"""How token ids differ: said as far as ids and changed texts show it, and no further."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
import pytest

from embedgate.diagnosis import tokens
from embedgate.diagnosis.rereading import Reading

CLS, SEP, UNKNOWN = 1, 2, 3
TEXTS = [
    "The parcel arrives on Thursday.",
    "Émile drank a Café  au lait",
    "it rained\nall night",
    "plain words and nothing else",
    " ".join(f"word{i}" for i in range(40)),
    "Two long ones: " + " ".join(f"other{i}" for i in range(60)),
]


class Toy:
    """A tokenizer of words and the spaces between them, whose ids are numbered as they come, for all toys alike."""

    numbers: ClassVar[dict[str, int]] = {}

    def __init__(
        self,
        *,
        before: Callable[[str], str] = lambda text: text,
        ends: tuple[tuple[int, ...], tuple[int, ...]] = ((CLS,), (SEP,)),
        limit: int = 64,
        left: bool = False,
        number: Callable[[int], int] = lambda number: number,
        known: Callable[[str], bool] = lambda word: True,
    ) -> None:
        self.before, self.ends, self.limit, self.left = before, ends, limit, left
        self.number, self.known = number, known

    def __call__(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [np.array(self.read(self.before(text)), dtype=np.int64) for text in texts]

    def read(self, text: str) -> list[int]:
        words = [word for part in text.split(" ") for word in (part, " ")][:-1]
        ids = [self.number(self.id(word)) if self.known(word) else UNKNOWN for word in words if word]
        start, end = self.ends
        room = self.limit - len(start) - len(end)
        return [*start, *(ids[-room:] if self.left else ids[:room]), *end]

    @classmethod
    def id(cls, word: str) -> int:
        return cls.numbers.setdefault(word, 10 + len(cls.numbers))

    @classmethod
    def spelt(cls, ids: Sequence[int]) -> str:
        words = {number: word for word, number in cls.numbers.items()}
        return "".join(words.get(each, "?") for each in ids)


def without_accents(text: str) -> str:
    return "".join(each for each in unicodedata.normalize("NFD", text) if unicodedata.category(each) != "Mn")


REFERENCE = Toy()


def told(mine: Toy, theirs: Toy = REFERENCE, texts: Sequence[str] = TEXTS, *, asks: bool = True) -> tuple[str, str]:
    """The layer, and what stands in brackets."""
    reading = Reading(mine, theirs, theirs.spelt) if asks else None
    found = tokens.diagnose(texts, mine(texts), theirs(texts), reading)
    assert found is not None
    assert found.next_step
    assert found.proof is not None
    assert (found.proof.found, found.proof.texts) == ("read", len(texts))
    said = re.search(r" texts \((.*)\), first for ", found.cause)
    return found.layer, said[1] if said else ""


# What is shown by ids alone.
BY_IDS = {
    "bare": (Toy(ends=((), ())), "tokens", "special tokens at both ends are missing"),
    "no end": (Toy(ends=((CLS,), ())), "tokens", "special tokens at the end are missing"),
    "no start": (Toy(ends=((), (SEP,))), "tokens", "special tokens at the start are missing"),
    "twice": (Toy(ends=((CLS, CLS), (SEP, SEP))), "tokens", "special tokens at both ends are new"),
    "two ends": (Toy(ends=((CLS,), (SEP, SEP))), "tokens", "special tokens at the end are new"),
    "other start": (Toy(ends=((7,), (SEP,))), "tokens", "special tokens at the start are other ones"),
    "shorter": (Toy(limit=20), "tokens", "they are cut at 20 tokens, the reference's longest has 64"),
    "longer": (Toy(limit=100), "tokens", "the reference's are cut at 64 tokens, the longest here has 100"),
    "left": (Toy(limit=32, left=True), "tokens", "they are cut from the left at 32 tokens, the reference's from the"),
    "prompt": (Toy(before=lambda text: "query: " + text), "prompt", "stands before each of them"),
    "prompt behind": (Toy(before=lambda text: text + " query"), "prompt", "stands behind each of them"),
    "unknown": (Toy(known=lambda word: "word" not in word), "tokens", "the id 3 stands for 32 different ones"),
    "offset": (Toy(number=lambda number: number + 1000), "tokens", "another vocabulary: "),
}
# What changed texts show: an encoder that changes them before, or a reference that does.
CHANGED = {
    "lower": (str.lower, "lower case"),
    "accents": (without_accents, "no accents"),
    "both": (lambda text: without_accents(text).lower(), "lower case and no accents"),
    "newlines": (lambda text: text.replace("\n", " "), "spaces for newlines"),
    "lost newlines": (lambda text: text.replace("\n", ""), "no newlines"),
    "collapsed": (lambda text: " ".join(text.split()), "single spaces for whitespace"),
    "joined": (lambda text: "".join(text.split()), "no whitespace"),
}


@pytest.mark.parametrize("name", BY_IDS)
@pytest.mark.parametrize("asks", [True, False])
def test_what_ids_show_is_named(name, asks):
    mine, layer, words = BY_IDS[name]
    found = told(mine, asks=asks)
    assert found[0] == layer
    assert words in found[1]


@pytest.mark.parametrize("name", CHANGED)
def test_a_change_of_texts_is_named_where_changed_texts_have_the_same_ids(name):
    change, words = CHANGED[name]
    assert told(Toy(before=change)) == ("tokens", f"they are read as the reference reads them with {words}")
    assert told(REFERENCE, Toy(before=change))[1].endswith(f"with {words}, they are read as the reference reads them")


@pytest.mark.parametrize("name", CHANGED)
def test_without_a_tokenizer_to_ask_no_change_of_texts_is_named(name):
    change, _ = CHANGED[name]
    _, said = told(Toy(before=change), asks=False)
    assert not any(word in said for word in ("case", "accents", "newlines", "white"))


def test_capital_letters_that_are_no_reason_are_not_named():
    """A text that is cut from the left begins within a sentence, and a plain one with capitals is all there is."""
    texts = [text.title() for text in TEXTS]
    _, said = told(Toy(limit=32, left=True), texts=texts)
    assert "from the left at 32 tokens" in said
    assert "case" not in said


def test_a_few_odd_texts_do_not_hide_what_changes_all_others():
    texts = [f"Word{i} here" for i in range(12)]

    def odd(text: str) -> str:
        return "ODD" if text.lower() == "word7 here" else text.lower()

    assert told(Toy(before=odd), texts=texts)[1].startswith("11 of them: they are read as")
    assert told(Toy(before=odd), texts=texts[4:10])[1] == ""


def test_names_of_special_tokens_have_no_case():
    def found_first(text: str) -> str:
        return text if "[SEP]" in text else text.lower()

    texts = ["Plain Words", "one [SEP] two"]
    assert told(Toy(before=found_first), texts=texts)[1].endswith("reads them with lower case")


def test_a_prompt_is_spelt_where_the_reference_reads_it_so():
    prompted = Toy(before=lambda text: "query: " + text)
    assert told(prompted)[1].startswith("'query:' [")
    assert told(prompted, asks=False)[1].startswith("[")
    _, missing = told(REFERENCE, prompted)
    assert missing.endswith("is missing, which the reference has before each of them")
    _, other = told(Toy(before=lambda text: "passage: " + text), prompted)
    assert "'passage:'" in other
    assert "in the place of 'query:'" in other


def test_a_prompt_before_some_texts_is_named_for_them():
    reads = Toy(before=lambda text: text if "word" in text else "query: " + text)
    assert "stands before each of them" in told(reads)[1]


def test_two_faults_are_named_together():
    bare = Toy(before=str.lower, ends=((), ()))
    said = "they are read as the reference reads them with lower case, and special tokens at both ends are missing"
    assert told(bare) == ("tokens", said)
    short = Toy(before=str.lower, limit=20)
    assert "with lower case, and they are cut at 20 tokens" in told(short)[1]


def test_explanations_that_fit_the_same_texts_are_all_named():
    texts = ["word " * 40, "two " * 50]
    _, said = told(Toy(limit=20, left=True), texts=texts)
    assert " or " in said
    assert said.count("cut") == 2
    _, said = told(Toy(before=lambda text: "".join(text.split())), texts=["a\nb", "c\nd"])
    assert said.endswith("with no newlines")


def test_a_cut_at_characters_is_no_cut_at_tokens():
    assert told(Toy(before=lambda text: text[:30])) == ("tokens", "")


def test_a_word_that_is_lost_at_the_end_is_no_cut():
    texts = ["one two three .", "four five .", "six seven eight nine ."]
    ended = Toy(before=lambda text: text.removesuffix(" ."))
    for asks in (True, False):
        layer, said = told(ended, texts=texts, asks=asks)
        assert layer == "tokens"  # and no prompt: the texts themselves end so
        assert "is missing, which the reference has behind each of them" in said
        assert "cut" not in said


def test_texts_that_are_cut_after_special_tokens_were_added_lose_the_last_one():
    whole, cut = Toy(), Toy(ends=((CLS,), ()))
    mine = [*whole(TEXTS[:4]), *cut(TEXTS[4:])]
    found = tokens.diagnose(TEXTS, mine, whole(TEXTS))
    assert found is not None
    assert "(the longest end without the special token 2)" in found.cause


def test_a_text_from_the_left_that_shares_nothing_is_asked_for():
    texts = [*TEXTS, " ".join(f"far{i}" for i in range(200))]
    _, said = told(Toy(left=True), texts=texts)
    assert "cut from the left at 64 tokens, the reference's from the right at 64, as " in said
    odd = Toy(before=lambda text: text if len(text) < 900 else text[::-1], left=True)
    assert "left" not in told(odd, texts=texts)[1]


def test_texts_that_share_nothing_from_the_left_are_named_where_their_ends_can_be_asked_for():
    texts = [*TEXTS[:4], *(" ".join(f"{name}{i}" for i in range(200)) for name in ("far", "wide"))]
    assert told(Toy(left=True, limit=32), texts=texts)[1].startswith("they are cut from the left at 32 tokens")
    assert told(Toy(left=True, limit=32), texts=texts, asks=False)[1] == ""


def test_two_faults_at_the_ends_are_named_together():
    both = "special tokens at both ends are missing, and they are cut at 20 tokens, the reference's longest has 64"
    assert told(Toy(ends=((), ()), limit=20)) == ("tokens", both)
    bare = Toy(ends=((), ()), before=lambda text: "query: " + text)
    layer, said = told(bare)
    assert layer == "prompt"
    assert said.endswith("special tokens at the end are missing")
    assert "stands before each of them, in the place of " in said


def test_a_prompt_that_joins_the_first_word_is_found_by_reading_it():
    class Joining(Toy):
        """As byte pairs do: the first word is another one where something stands before it."""

        def read(self, text: str) -> list[int]:
            return super().read(text[:1].upper() + text[1:])

    joining, prompted = Joining(), Joining(before=lambda text: "Query: " + text)
    texts = [text.lower() for text in TEXTS]
    assert told(prompted, joining, texts) == ("prompt", "'Query:' stands before each of them")
    lost = "'Query:' is missing, which the reference has before each of them"
    assert told(joining, prompted, texts) == ("prompt", lost)
    assert told(prompted, joining, texts, asks=False)[1] == ""


def test_one_text_shows_no_special_token():
    assert told(Toy(ends=((), ())), texts=["a b"], asks=False) == ("tokens", "")


def test_the_same_ids_are_no_difference():
    assert tokens.diagnose(TEXTS, REFERENCE(TEXTS), REFERENCE(TEXTS), Reading(REFERENCE, REFERENCE)) is None


def test_another_vocabulary_without_relation_is_not_called_more():
    random = np.random.default_rng(0)
    mine = [random.integers(10**6, 2 * 10**6, 10) for _ in TEXTS]
    found = tokens.diagnose(TEXTS, mine, REFERENCE(TEXTS))
    assert found is not None
    assert "(0% of its ids are the reference's for the same text: another vocabulary or other texts)" in found.cause


def test_a_tokenizer_that_cannot_be_asked_is_not_asked_twice():
    found = tokens.diagnose(
        TEXTS, Toy(before=str.lower)(TEXTS), REFERENCE(TEXTS), Reading(lambda _: None, lambda _: None)
    )
    assert found is not None
    assert "case" not in found.cause
