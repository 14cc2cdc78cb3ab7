"""Reads texts again that were changed, to see whether the change is what sets two readings apart.

Case, accents, whitespace or a prompt are shown to be the difference where the one gives the other's ids with it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from embedgate.core.judgement import quoted
from embedgate.diagnosis.arm import Ids
from embedgate.diagnosis.ids import Pairs, Row, beginning, holds

# Reads texts in the place of those that are compared, so in their roles; None where it cannot.
Read: TypeAlias = Callable[[Sequence[str]], Sequence[Ids] | None]

PROMPTS = "see who puts prompts before texts: the caller, the encoder, or config_sentence_transformers.json"
TEXTS = "see what changes texts before they are read: the caller, the encoder, or the normalizer in tokenizer.json"
# Names of special tokens in a text.
SPECIAL = re.compile(r"(\[[A-Z]+\]|<[a-z_|/]+>)")


@dataclass(frozen=True)
class Reading:
    """What can be asked of both sides, beside the ids that are there.

    Attributes:
        mine: Reads texts as the one.
        theirs: Reads texts as the other.
        spelt: Spells ids of the other's as text.
        other: What the other is called.
    """

    mine: Read | None = None
    theirs: Read | None = None
    spelt: Callable[[Sequence[int]], str | None] | None = None
    other: str = "the reference"


class Shown(NamedTuple):
    """One explanation that fits every text.

    Attributes:
        told: What it is, in a few words.
        next_step: What to try.
        layer: The layer of the cause.
    """

    told: str
    next_step: str
    layer: str = "tokens"


@dataclass(frozen=True)
class Compared:
    """Two readings of the same texts.

    Attributes:
        texts: The texts that can be asked for again; where the one was asked with changed ones, those.
        mine: Per text, the one's ids.
        theirs: Per text, the other's.
    """

    texts: Sequence[str]
    mine: list[Row]
    theirs: list[Row]

    @property
    def different(self) -> list[int]:
        """Places of the texts that differ."""
        return [i for i, (a, b) in enumerate(zip(self.mine, self.theirs, strict=True)) if a != b]

    @property
    def pairs(self) -> Pairs:
        """Both readings of those."""
        return [(self.mine[i], self.theirs[i]) for i in self.different]

    @property
    def longest(self) -> tuple[int, int]:
        """Most ids of any text, by the one and by the other."""
        return max(map(len, self.mine)), max(map(len, self.theirs))


class Changed(NamedTuple):
    """What becomes of texts, and how it is called.

    Attributes:
        lost: What reading texts as if it had been done is called.
        kept: What not doing it is called, where the other one does.
        of: Changes the text.
    """

    lost: str
    kept: str
    of: Callable[[str], str]


def without_accents(text: str) -> str:
    """A text with the marks taken off its letters."""
    apart = unicodedata.normalize("NFD", text)
    return "".join(each for each in apart if unicodedata.category(each) != "Mn")


def _lower(text: str) -> str:
    """In lower case, but for names of special tokens: tokenizers find these before they change anything."""
    return "".join(part if SPECIAL.fullmatch(part) else part.lower() for part in SPECIAL.split(text))


def _without_punctuation(text: str) -> str:
    return "".join(each for each in text if not unicodedata.category(each).startswith("P"))


# The simpler ones first: of two that fit, one that does more says no more.
CHANGES = (
    Changed("lower case", "capital letters are kept", _lower),
    Changed("no accents", "accents are kept", without_accents),
    Changed("lower case and no accents", "capital letters and accents are kept", lambda t: without_accents(_lower(t))),
    Changed("no whitespace at the ends", "whitespace at the ends is kept", str.strip),
    Changed("spaces for newlines", "newlines are kept", lambda text: text.replace("\n", " ")),
    Changed("no newlines", "newlines are kept", lambda text: text.replace("\n", "")),
    Changed("single spaces for whitespace", "whitespace is kept", lambda text: " ".join(text.split())),
    Changed("no whitespace", "whitespace is kept", lambda text: "".join(text.split())),
    Changed("no punctuation", "punctuation is kept", _without_punctuation),
    Changed("Unicode's NFKC", "compatibility characters are kept", lambda text: unicodedata.normalize("NFKC", text)),
)


class Change(NamedTuple):
    """A change of the texts, what it is called, and what still differs with it."""

    of: Callable[[str], str]
    shown: Shown
    left: Compared


def simplest(found: Iterable[tuple[Change, Shown]], texts: Sequence[str]) -> list[Shown]:
    """What is shown by changes of texts, but for those that do another one as well: they say no more."""
    pairs = list(found)
    return [
        shown
        for change, shown in pairs
        if not any(other is not change and _includes(change, other, texts) for other, _ in pairs)
    ]


def changes(compared: Compared, reading: Reading) -> Iterator[Change]:
    """Every change of the texts, with what still differs after it."""
    seen = {tuple(compared.texts)}
    for change in CHANGES:
        texts = tuple(map(change.of, compared.texts))
        if texts not in seen:
            seen.add(texts)
            without = f"they are read as {reading.other} reads them with {change.lost}"
            kept = f"{change.kept}: with {change.lost}, they are read as {reading.other} reads them"
            for shown, left in _again(compared, reading, texts, Shown(without, TEXTS), Shown(kept, TEXTS)):
                yield Change(change.of, shown, left)


def prompts(compared: Compared, reading: Reading) -> Iterator[Change]:
    """What one of both begins with in every text that differs, put before the texts for the other, too."""
    begin = [beginning([pair[side] for pair in compared.pairs]) for side in (0, 1)]
    alike = len(beginning(begin))
    for side, row in enumerate(begin):
        text = (reading.spelt(row[alike:]) if reading.spelt is not None and len(row) > alike else "") or ""
        if not text.strip() or SPECIAL.search(text):
            continue
        called, block = quoted(text.strip(), 40), row[alike:]
        new = Shown(f"{called} stands before each of them", PROMPTS, "prompt")
        lost = Shown(f"{called} is missing, which {reading.other} has before each of them", PROMPTS, "prompt")
        both = (new, None) if side == 0 else (None, lost)
        for prompt in dict.fromkeys((text, text.strip(), f"{text.strip()} ")):
            yield from _prompted(compared, reading, prompt, block, both)


def _prompted(
    compared: Compared, reading: Reading, prompt: str, block: Row, told: tuple[Shown | None, Shown | None]
) -> Iterator[Change]:
    differ = compared.different
    texts = [prompt + text if place in differ else text for place, text in enumerate(compared.texts)]
    for shown, left in _again(compared, reading, texts, *told):
        read = left.theirs if told[0] is not None else left.mine
        if all(holds(read[place], block) for place in differ):
            yield Change(lambda text: prompt + text, shown, left)


def _again(
    compared: Compared, reading: Reading, texts: Sequence[str], theirs: Shown | None, mine: Shown | None
) -> Iterator[tuple[Shown, Compared]]:
    """What differs where changed texts are read by the other, and by the one; and what that shows."""
    if theirs is not None and reading.theirs is not None and (ids := reading.theirs(texts)) is not None:
        yield theirs, Compared(texts, compared.mine, [row.tolist() for row in ids])
    if mine is not None and reading.mine is not None and (ids := reading.mine(texts)) is not None:
        yield mine, Compared(texts, [row.tolist() for row in ids], compared.theirs)


def _includes(change: Change, other: Change, texts: Sequence[str]) -> bool:
    return all(change.of(other.of(text)) == change.of(text) for text in texts)
