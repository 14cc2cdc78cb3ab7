"""Facts of the retrieval set, told in other words and in agreement; and what letters and signs a text holds."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
).split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
# Letters that Unicode does not take apart into a plain one and a mark.
PLAIN = str.maketrans(
    {"ł": "l", "Ł": "L", "ø": "o", "Ø": "O", "æ": "ae", "Æ": "Ae", "ß": "ss", "ı": "i", "þ": "th", "Þ": "Th", "ð": "d"}
)
FIRST_PICTOGRAPH = "\u2600"
# What facts count, by the plural that patterns are written in.
COUNTED = {
    **{f"{one}s": one for one in "minute hour day week month year degree centimetre metre crown user guest".split()},
    "people": "person",
}
_ONE = re.compile(rf"(?<![\w.,'-])(one|1) ((?:working |square )?)({'|'.join(COUNTED)})\b", re.IGNORECASE)
_EACH = re.compile(rf"\bevery one (?=(?:{'|'.join(COUNTED.values())})\b)")
# A capital that is no article, as in "hall A", follows a word.
_ARTICLE = re.compile(r"(?<![\w'.-])(a|(?:(?<=^)|(?<=[.!?:;] ))A)n? (?=(\w+))")
_VOWEL = re.compile(
    r"(?!uni(?!n)|us[aeiu]|u[rt][aeio]|eu|ewe|one\b|once\b)[aeiou]|hour|honest|heir|(?:8|11|18)(?!\d)", re.IGNORECASE
)


def in_words(number: int) -> str:
    """A whole number below 1,000 in words."""
    if number < 20:
        return ONES[number]
    if number < 100:
        return TENS[number // 10 - 2] + (f"-{ONES[number % 10]}" if number % 10 else "")
    rest = f" and {in_words(number % 100)}" if number % 100 else ""
    return f"{ONES[number // 100]} hundred{rest}"


def agree(text: str) -> str:
    """The text with the number of what is counted once, and with articles, as the facts that fill it ask for."""
    text = _ONE.sub(lambda found: f"{found[1]} {found[2]}{COUNTED[found[3].lower()]}", text)
    text = _EACH.sub("every ", text)
    return _ARTICLE.sub(lambda found: f"{found[1]}{'n' if _VOWEL.match(found[2]) else ''} ", text)


def without_marks(text: str) -> str:
    """The text as typed on a keyboard that has no accents."""
    taken_apart = unicodedata.normalize("NFKD", text.translate(PLAIN))
    return "".join(char for char in taken_apart if not unicodedata.combining(char))


VIEWS: dict[str, Callable[[str], str]] = {
    "": str,
    "lower": lambda text: text[0].lower() + text[1:],
    "plain": without_marks,
    "words": lambda text: in_words(int(text)),
}


class Fact(str):
    """A cell of a fact table; a pattern may ask for it in other words, as ``{n:words}``."""

    __slots__ = ()

    def __format__(self, view: str) -> str:
        return VIEWS[view](str(self))


def holds_accents(text: str) -> bool:
    """Whether a Latin letter has a mark, or is one that English lacks."""
    return any(ord(char) > 127 and "LATIN" in unicodedata.name(char, "") for char in text)


def holds_other_scripts(text: str) -> bool:
    """Whether a letter is not Latin."""
    return any(char.isalpha() and "LATIN" not in unicodedata.name(char, "LATIN") for char in text)


def holds_emoji(text: str) -> bool:
    """Whether a pictograph stands in the text; the degree sign and its like come before them."""
    return any(char >= FIRST_PICTOGRAPH and unicodedata.category(char) == "So" for char in text)
