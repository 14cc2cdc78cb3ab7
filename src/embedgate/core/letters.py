"""What a text is written in: accents, other scripts than Latin, emoji; as Unicode's properties have it."""

from __future__ import annotations

import unicodedata
from collections import Counter
from functools import cache
from itertools import islice, pairwise

import regex

# Emoji, keycaps and what a variation selector turns into emoji. Digits and the signs of copyright and of trade marks
# are emoji to Unicode, too, and stand in plain text.
_EMOJI = regex.compile(r"(?V1)[\p{Emoji}--[\p{ASCII}©®™]]|[©®™]\ufe0f|[0-9#*]\ufe0f?\u20e3")
# Joins pictures, and asks for one in colours.
_JOINERS = {ord(sign): None for sign in "\u200d\ufe0f"}
# Letters of some script. Those of no script stand in texts of any: micro signs, letters of formulas.
_OTHER_SCRIPTS = regex.compile(r"(?V1)[\p{L}--[\p{scx=Latin}\p{scx=Common}]]")
# Letters that have two cases: the ordinals' ª and º have no accent.
_BEYOND_ASCII = regex.compile(r"(?V1)[[\p{Script=Latin}&&[\p{Ll}\p{Lu}\p{Lt}]]--\p{ASCII}]")
_LATIN = regex.compile(r"\p{Script=Latin}")
# Letters of a text that tell its script, and what it is called where Unicode names letters otherwise than scripts.
_READ = 200
_SCRIPTS = {"CJK": "Han", "HIRAGANA": "Japanese", "KATAKANA": "Japanese"}


def has_accents(text: str) -> bool:
    """Whether a Latin letter of a text is none of ASCII's, or has a mark of its own."""
    return bool(_BEYOND_ASCII.search(text)) or any(
        unicodedata.combining(sign) and _LATIN.match(before) for before, sign in pairwise(text)
    )


def has_other_scripts(text: str) -> bool:
    """Whether a letter of a text is not Latin."""
    return bool(_OTHER_SCRIPTS.search(text))


def has_emoji(text: str) -> bool:
    """Whether a text holds a picture."""
    return bool(_EMOJI.search(text))


def without_emoji(text: str) -> str:
    """A text without its pictures, and what joins these."""
    return "".join(_EMOJI.split(text)).translate(_JOINERS) if has_emoji(text) else text


def without_other_scripts(text: str) -> str:
    """A text without the letters that are not Latin."""
    return "".join(_OTHER_SCRIPTS.split(text))


def script_of(text: str) -> str:
    """The script of most letters of a text's beginning, in English: `Latin`, `Cyrillic`; `none` where it has no letter.

    A text with letters of Hiragana or Katakana is `Japanese`, whatever Han it holds.
    """
    if text.isascii():
        return "Latin" if any(map(str.isalpha, text)) else "none"
    counts = Counter(_script(sign) for sign in islice(filter(str.isalpha, text), _READ))
    return "Japanese" if "Japanese" in counts else max(counts, key=counts.__getitem__, default="none")


@cache
def _script(letter: str) -> str:
    """A letter's script, by the first word of its name; of one in full width, that of the plain letter."""
    word = unicodedata.name(unicodedata.normalize("NFKC", letter)[:1], "other").partition(" ")[0]
    return _SCRIPTS.get(word, word.capitalize())
