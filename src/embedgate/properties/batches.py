"""Texts that are encoded together: what fills a batch, and what examples are drawn from."""

from __future__ import annotations

import random
from functools import cache

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from embedgate.sentences import fixed_cases
from embedgate.sentences.strategies import cases, sentences

Texts = tuple[str, ...]

BATCH = 32
# More than the usual batch size, beyond which some encoders begin to split.
CROWD = 64
# Batches as in production: one text beyond what many take, and what indexing jobs hand over at once.
LARGE = (CROWD + 1, 128, 300)
# Texts of one length that are encoded together.
EQUAL = 8

# Texts that begin alike, end alike, have the same length or the same words: what a poor key of a cache takes for one.
NEARLY_ALIKE = (
    "The banker approved the first loan on Monday.",
    "The banker approved the third loan on Monday.",
    "The banker approved the first loan on Friday.",
    "On Monday the first banker approved the loan.",
)


@cache
def crowd() -> Texts:
    """Sentences to fill a batch with, each another one."""
    return tuple(dict.fromkeys(case.anchor for case in fixed_cases(2 * CROWD)))[:CROWD]


@cache
def as_long() -> Texts:
    """One sentence with its words in many orders: texts of one length, beside which none is padded."""
    words, draw = crowd()[0].split(), random.Random(0)
    orders = (draw.sample(words, len(words)) for _ in range(4 * BATCH))
    return tuple(dict.fromkeys(map(" ".join, orders)))[:BATCH]


@cache
def many() -> Texts:
    """Short sentences, as many as the largest batch has: it is their number that is tried."""
    anchors = dict.fromkeys(case.anchor for case in fixed_cases(2 * max(LARGE)))
    return tuple(sorted(anchors, key=len)[: max(LARGE)])


@cache
def longest() -> str:
    """A passage of some 250 words, beside which every shorter text is padded."""
    return max((case.anchor for case in fixed_cases(500)), key=len)


def one() -> SearchStrategy[Texts]:
    """One sentence."""
    return st.tuples(sentences())


def two() -> SearchStrategy[Texts]:
    """Two sentences."""
    return st.tuples(sentences(), sentences())


def alike() -> SearchStrategy[Texts]:
    """Three sentences, of which the second is nearer to the first by construction."""
    return st.builds(lambda case: case.texts, cases())


def several() -> SearchStrategy[Texts]:
    """From two texts to a usual batch twice over."""
    everyone = crowd()
    return st.sampled_from([everyone[:count] for count in range(2, CROWD + 1)])


def equal() -> SearchStrategy[Texts]:
    """Texts of one length."""
    orders = as_long()
    return st.sampled_from([orders[start : start + EQUAL] for start in range(0, len(orders), EQUAL)])


def number() -> SearchStrategy[Texts]:
    """As many texts as large batches have."""
    texts = many()
    return st.sampled_from([texts[:count] for count in LARGE])
