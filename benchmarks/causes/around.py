"""Faults around a model: what is done to texts before it, to embeddings after it, and to rows that belong to texts."""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import Any

import numpy as np

from causes.fault import Around, Encode, Rows

# Texts that embeddings are quantized by the ranges of.
CALIBRATION = (
    "A man is playing a guitar on the stage.",
    "The parliament adopted the budget for the coming year after a debate of nine hours.",
    "How do I reset my password?",
    "Fresh bread keeps for two days, or for a month in the freezer.",
    "The goalkeeper saved two penalties in extra time.",
    "Which documents do I need to register a car?",
    "It rained for a week, and the river left its bed.",
    "Quarterly revenue rose by eight percent to 4.2 million.",
)
ANOTHERS = "Please confirm the delivery address of your order."
# As a quantization of 8 bits reaches beyond the values that it was calibrated on.
MARGIN = 1.5


def texts(change: Callable[[str], str]) -> Around:
    """Every text is changed before it is encoded."""
    return lambda encode: lambda given, size: encode([change(text) for text in given], size)


def rows(change: Callable[[Rows], Any]) -> Around:
    """Every embedding is changed after it was encoded, whatever its text."""
    return lambda encode: lambda given, size: np.asarray(change(encode(given, size)), dtype=np.float32)


def batches(change: Callable[[Rows, list[str]], Rows]) -> Around:
    """The embeddings of a batch change places."""

    def around(encode: Encode) -> Encode:
        def encoded(given: list[str], size: int) -> Rows:
            parts = [given[start : start + size] for start in range(0, len(given), size)]
            return np.concatenate([change(encode(part, size), part) for part in parts])

        return encoded

    return around


# What happens to a text.


def replaced(old: str, new: str) -> Callable[[str], str]:
    """The prompt of a role, which stands in front, is another one."""
    return lambda text: new + text.removeprefix(old) if text.startswith(old) else text


def without(prompts: tuple[str, ...]) -> Callable[[str], str]:
    """Prompts are taken away."""
    return lambda text: next((text.removeprefix(each) for each in prompts if text.startswith(each)), text)


def doubled(prompts: tuple[str, ...]) -> Callable[[str], str]:
    """Prompts stand there twice."""
    return lambda text: next((each + text for each in prompts if text.startswith(each)), text)


def first_line(text: str) -> str:
    """The text up to its first line break."""
    return text.split("\n", 1)[0]


def lines_joined(text: str) -> str:
    """Line breaks are left out, and what stood around them is one word."""
    return text.replace("\n", "")


def without_punctuation(text: str) -> str:
    """Punctuation is left out."""
    return text.translate(str.maketrans("", "", string.punctuation))


def in_ascii(text: str) -> str:
    """What is no ASCII is left out."""
    return text.encode("ascii", "ignore").decode()


def misread(text: str) -> str:
    """UTF-8 that is read as Latin-1."""
    return text.encode("utf-8", "replace").decode("latin-1")


def without_accents(text: str) -> str:
    """Accents are stripped."""
    import unicodedata

    return "".join(each for each in unicodedata.normalize("NFD", text) if unicodedata.category(each) != "Mn")


# What happens to embeddings.


def zeros_from(first: int) -> Callable[[Rows], Rows]:
    """Dimensions are zeros from one on."""
    return lambda found: np.where(np.arange(found.shape[1]) < first, found, 0)


def halves_swapped(found: Rows) -> Rows:
    """The second half of the dimensions comes first."""
    return np.roll(found, found.shape[1] // 2, axis=1)


def permuted(found: Rows) -> Rows:
    """Dimensions are in another order."""
    return found[:, np.random.default_rng(0).permutation(found.shape[1])]


def lengths_by_text(encode: Encode) -> Encode:
    """Every embedding has the direction of its text, and a length that is off by up to a half."""

    def encoded(given: list[str], size: int) -> Rows:
        factors = [0.5 + (sum(map(ord, text)) % 97) / 97 for text in given]
        return (encode(given, size) * np.array(factors)[:, None]).astype(np.float32)

    return encoded


def codes(decode: Callable[[Rows, Rows, Rows], Rows]) -> Around:
    """Embeddings are stored as int8 codes of each dimension's range, and decoded.

    Args:
        decode: Codes from -128 to 127, the least value and the step of each dimension to embeddings.
    """

    def around(encode: Encode) -> Encode:
        ranges: list[Rows] = []

        def encoded(given: list[str], size: int) -> Rows:
            if not ranges:
                known = encode(list(CALIBRATION), size)
                middle, half = (known.max(0) + known.min(0)) / 2, MARGIN * np.ptp(known, axis=0) / 2
                ranges.extend((middle - half, 2 * half / 255))
            least, step = ranges
            found = np.clip(np.round((encode(given, size) - least) / step) - 128, -128, 127)
            return np.asarray(decode(found, least, step), dtype=np.float32)

        return encoded

    return around


def decoded(found: Rows, least: Rows, step: Rows) -> Rows:
    """As they were encoded."""
    return (found + 128) * step + least


def without_zero_point(found: Rows, least: Rows, step: Rows) -> Rows:
    """As if the codes began at 0."""
    return found * step + least


def symmetric(found: Rows, _: Rows, step: Rows) -> Rows:
    """As if the range lay around 0."""
    return found * step


def as_uint8(found: Rows, least: Rows, step: Rows) -> Rows:
    """As if the bytes were unsigned."""
    return (found % 256) * step + least


def undecoded(found: Rows, *_: Rows) -> Rows:
    """The codes themselves."""
    return found


def signs(found: Rows) -> Rows:
    """Binary codes in the place of embeddings."""
    return np.where(found > 0, 1, -1).astype(np.float32)


def bits(found: Rows) -> Rows:
    """Bits in the place of embeddings."""
    return (found > 0).astype(np.float32)


# Which embedding belongs to which text.


def by_length(found: Rows, given: list[str]) -> Rows:
    """As sorted by length, shortest first."""
    return found[np.argsort([len(text) for text in given], kind="stable")]


def as_ready(found: Rows, given: list[str]) -> Rows:
    """As a server's workers get ready."""
    return found[np.random.default_rng(len(given)).permutation(len(given))]


def backwards(found: Rows, _: list[str]) -> Rows:
    """Last first."""
    return found[::-1]


def one_off(found: Rows, _: list[str]) -> Rows:
    """Each text has the embedding of the next one."""
    return np.roll(found, -1, axis=0)


def first_for_all(found: Rows, _: list[str]) -> Rows:
    """Each text has the embedding of the first."""
    return np.repeat(found[:1], len(found), axis=0)


def of_another_caller(encode: Encode) -> Encode:
    """Every fourth text has the embedding of another caller's."""

    def encoded(given: list[str], size: int) -> Rows:
        found = encode(given, size).copy()
        found[3::4] = encode([ANOTHERS], size)
        return found

    return encoded


def of_the_batch_before(encode: Encode) -> Encode:
    """A batch has the embeddings of the batch before where that has as many, as where a buffer is read too early."""
    before: list[Rows] = []

    def encoded(given: list[str], size: int) -> Rows:
        answers = []
        for start in range(0, len(given), size):
            found = encode(given[start : start + size], size)
            stale = before[-1] if before else found
            before[:] = [found]
            answers.append(np.concatenate([stale[: len(found)], found[len(stale) :]]))
        return np.concatenate(answers)

    return encoded


def cache(key: Callable[[str], str]) -> Around:
    """Embeddings are kept by a key of the text."""

    def around(encode: Encode) -> Encode:
        kept: dict[str, Rows] = {}

        def encoded(given: list[str], size: int) -> Rows:
            missing = {key(text): text for text in reversed(given) if key(text) not in kept}
            if missing:
                kept.update(zip(missing, encode(list(missing.values()), size), strict=True))
            return np.stack([kept[key(text)] for text in given])

        return encoded

    return around
