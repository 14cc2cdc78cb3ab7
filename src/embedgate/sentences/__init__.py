"""Sentences whose order of similarity is known by construction, made from an authored grammar and lexicon.

A case is an anchor with two texts of which one is nearer to it by construction: it says the same, or more of the same.
Which case is made depends on a function `choose(n) -> int` alone, so Hypothesis can draw and shrink them
(`embedgate.sentences.strategies`), and a fixed set can be drawn from a seed (`fixed_cases`).
"""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass
from functools import cache

from embedgate.sentences.grammar import Choose
from embedgate.sentences.relations import RELATIONS

# What the fixed set is drawn from; another number makes another set, whose flips were never approved.
SEED = 20261125
# How many cases the approved set has: without a single flip, 600 show that fewer than 0.5% flip (rule of three).
SIZE = 600


@dataclass(frozen=True)
class Case:
    """Three texts whose order of similarity is known by construction.

    Attributes:
        relation: What sets them apart, one of `RELATIONS`.
        anchor: The text compared with.
        nearer: The text that is nearer to the anchor by construction.
        farther: The one that is farther.
    """

    relation: str
    anchor: str
    nearer: str
    farther: str

    @property
    def texts(self) -> tuple[str, str, str]:
        """Anchor, nearer and farther text."""
        return self.anchor, self.nearer, self.farther


def make_case(choose: Choose, relation: str) -> Case:
    """Makes a case of a relation.

    Args:
        choose: How many there are to choose from -> which one, from 0. The first is always the simplest.
        relation: One of `RELATIONS`.
    """
    return Case(relation, *RELATIONS[relation](choose))


def fixed_cases(count: int) -> tuple[Case, ...]:
    """The same cases on every machine, the relations in turn.

    Args:
        count: How many.
    """
    # Of Python's generator, only the sequence of random() is the same in every version.
    source = random.Random(SEED)
    names = tuple(RELATIONS)
    return tuple(make_case(lambda n: int(source.random() * n), names[number % len(names)]) for number in range(count))


@cache
def approved_set() -> tuple[tuple[Case, ...], str]:
    """The cases whose flips are approved in baselines, and their SHA-256, hex."""
    found = fixed_cases(SIZE)
    rows = json.dumps([[case.relation, *case.texts] for case in found], ensure_ascii=False)
    return found, hashlib.sha256(rows.encode()).hexdigest()
