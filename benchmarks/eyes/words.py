"""What faults do to texts before a model reads them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

NEGATION = re.compile(r"\b(?:not|never|no|cannot)\b ?|n['’]t\b", re.IGNORECASE)
ARTICLES = re.compile(r"\b(?:the|an?)\b ?", re.IGNORECASE)
SHORT = re.compile(r"\b(?:in|on|at|of|to|for|by|with|from)\b ?", re.IGNORECASE)
# What Latin letters, marks, digits and punctuation of all kinds are not.
OTHER_SCRIPT = re.compile(r"[\u0370-\u1fff\u2c00-\ud7ff\uf900-\ufdff\ufe70-\ufeff]+")
EMOJI = re.compile("[\U0001f000-\U0001faff\u2600-\u27bf\ufe0f\u200d]+")
LONG_WORDS, FIRST_WORDS = 45, 12

Words = Callable[[str], str]


def without(pattern: re.Pattern[str]) -> Words:
    """What a pattern finds is left out."""
    return lambda text: pattern.sub("", text)


def other_scripts_unknown(text: str) -> str:
    """Letters of other scripts than Latin are one unknown token."""
    return OTHER_SCRIPT.sub(" [UNK] ", text)


def accented_dropped(text: str) -> str:
    """Letters with an accent are left out, accent and letter."""
    composed = unicodedata.normalize("NFC", text)
    return "".join(each for each in composed if len(unicodedata.normalize("NFD", each)) == 1)


def basic_plane(text: str) -> str:
    """What takes four bytes in UTF-8 is left out, as by a database's three-byte column."""
    return "".join(each for each in text if ord(each) <= 0xFFFF)


def compatible(text: str) -> str:
    """Letters that look alike are one, as by NFKC."""
    return unicodedata.normalize("NFKC", text)


def one_digit(text: str) -> str:
    """Every digit is 0."""
    return re.sub(r"\d", "0", text)


def two_digits(text: str) -> str:
    """Numbers lose what follows their second digit."""
    return re.sub(r"(\d\d)\d+", r"\1", text)


def first_words(text: str) -> str:
    """Long texts end after a dozen words."""
    words = text.split()
    return " ".join(words[:FIRST_WORDS]) if len(words) > LONG_WORDS else text


def first_sentence(text: str) -> str:
    """A text ends with its first sentence."""
    return re.split(r"(?<=[.!?])\s", text, maxsplit=1)[0]


def last_word_lost(text: str) -> str:
    """The last word is left out, of texts that have several."""
    return text.rsplit(" ", 1)[0]


def backwards(text: str) -> str:
    """Words come last first."""
    return " ".join(reversed(text.split()))


def escaped(text: str) -> str:
    """Written as HTML."""
    from html import escape

    return escape(text)


def hyphens_joined(text: str) -> str:
    """Hyphens are left out, and what stood around them is one word."""
    return re.sub(r"(?<=\w)-(?=\w)", "", text)


def singular(text: str) -> str:
    """Words lose the s at their end."""
    return re.sub(r"(?<=\w\w\w)s\b", "", text)
