"""Families of checks: those that share a level, each of which may be red by chance at a part of it alone.

The more checks a family has, the harder each is red. What is red among few may therefore not be red among many, and
never the other way round; `largest_family` says among how many it is.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

# What is red among so many is red among any number.
MOST_CHECKS = 2**20


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
