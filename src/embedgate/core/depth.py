"""The depths: how much of all there is to ask a session asks.

A check says the least depth that it is asked at (`embedgate.checks.Check.depth`). A deeper session asks all that a less
deep one does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias, get_args

Depth: TypeAlias = Literal["quick", "standard", "nightly"]

# From the least to all there is.
DEPTHS: tuple[Depth, ...] = get_args(Depth)
# What most sessions ask, and what a receipt must hold.
STANDARD: Depth = "standard"
NIGHTLY: Depth = "nightly"
# What each is for.
MEANT_FOR: Mapping[Depth, str] = {
    "quick": "every push: what ran, whether it is as good and as small; nothing is timed, and no collection is grown",
    "standard": "every pull request: also the order of similarities, approved values, time, memory, and searches among "
    "vectors of the reference and of what embedgate did not build",
    "nightly": "the night: all there is, in many rounds from another seed each time",
}


def reaches(depth: Depth, least: Depth) -> bool:
    """Whether a session of a depth asks what is asked from another one on."""
    return DEPTHS.index(depth) >= DEPTHS.index(least)
