"""How the place of a dataset is told from its keys, and from a path: what options and readers both go by."""

from __future__ import annotations

import re

HUB, MTEB = "hub:", "mteb:"
# What a place begins with that is no path.
ELSEWHERE = (HUB, MTEB)
# The first `::` before a key: a value may hold another. One before no key is the place's own, as in
# hub:org/name@<commit>::dev.
_KEYS = re.compile(r"::(?=\s*[\w-]+\s*=)")


def split_keys(text: str) -> tuple[str, str]:
    """The place of a dataset, and its keys as they are written.

    Args:
        text: `PLACE[::key=value,...]`.

    Returns:
        Both; no keys where it has none.
    """
    found = _KEYS.search(text, 1)  # a place has a character or more
    return (text[: found.start()], text[found.end() :]) if found else (text, "")
