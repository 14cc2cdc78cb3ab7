"""Families of checks: those that share a level, each of which may be red by chance at a part of it alone.

The more checks a family has, the harder each is red. What is red among few may therefore not be red among many, and
never the other way round; `largest_family` says among how many it is.

A check on a dataset that has a weight counts as so many, and may be red at so many parts of the level: the parts of a
family still add up to it.

Sources:
    Genovese, Roeder and Wasserman, "False discovery control with p-value weighting", Biometrika 93 (2006), on weights
    that are chosen before the data are looked at; of a Bonferroni correction, they go back to Rosenthal and Rubin 1983.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import TypedDict

# What is red among so many is red among any number.
MOST_CHECKS = 2**20


class Share(TypedDict):
    """The part of a family's level that one check has.

    Attributes:
        family: How many checks the family has, each counted by its weight.
        weight: As how many of them the check counts.
    """

    family: int
    weight: int


def largest_family(is_red: Callable[[int], bool], checks: int) -> int:
    """The most checks that a family can have for one of them still to be red.

    Args:
        is_red: Whether it is red among so many checks; never again once it is not.
        checks: Among how many it is red.

    Returns:
        A number from `checks` to `MOST_CHECKS`.
    """
    more = range(checks + 1, MOST_CHECKS + 1)
    return checks + bisect_left(more, True, key=lambda many: not is_red(many))
