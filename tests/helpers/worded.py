"""Sentence pairs of made-up texts, for encoders that know words."""

from __future__ import annotations

from random import Random
from typing import Any

WORDS = "sea dog sun ice oak fig bus jar pen owl elm fox gem hut ink kit log map net oar".split()


def pairs_of_words(count: int) -> list[dict[str, Any]]:
    """Pairs of texts, graded by the number of words they share."""
    random = Random(0)
    drawn = [(random.sample(WORDS, 8), random.sample(WORDS, 8), i % 9) for i in range(count)]
    return [
        {"sentence1": " ".join(a), "sentence2": " ".join([*a[:shared], *b[shared:]]), "score": shared}
        for a, b, shared in drawn
    ]
