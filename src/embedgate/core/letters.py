"""What a text is written in: accents, other scripts than Latin, emoji."""

from __future__ import annotations

import unicodedata

# The first sign that is a picture, not one such as the degree's.
FIRST_PICTURE = "\u2600"
# Joins pictures, and asks for one in colours.
JOINERS = "\u200d\ufe0f"


def has_accents(text: str) -> bool:
    """Whether a Latin letter of a text is none of ASCII's, or has a mark of its own."""
    return any(
        (ord(sign) > 127 and is_latin(sign)) or (unicodedata.combining(sign) and is_latin(before))
        for before, sign in zip(f" {text}", text, strict=False)
    )


def has_other_scripts(text: str) -> bool:
    """Whether a letter of a text is not Latin."""
    return any(map(is_of_other_script, text))


def has_emoji(text: str) -> bool:
    """Whether a text holds a picture."""
    return any(map(is_emoji, text))


def without_emoji(text: str) -> str:
    """A text without its pictures, and what joins these."""
    return "".join(sign for sign in text if not is_emoji(sign) and sign not in JOINERS) if has_emoji(text) else text


def without_other_scripts(text: str) -> str:
    """A text without the letters that are not Latin."""
    return "".join(sign for sign in text if not is_of_other_script(sign))


def is_emoji(sign: str) -> bool:
    """Whether a character is a picture."""
    return sign >= FIRST_PICTURE and unicodedata.category(sign) in ("So", "Sk")


def is_of_other_script(letter: str) -> bool:
    """Whether a character is a letter, and not Latin."""
    return letter.isalpha() and not is_latin(letter)


def is_latin(letter: str) -> bool:
    """Whether a character is a Latin letter."""
    return letter.isalpha() and "LATIN" in unicodedata.name(letter, "")
