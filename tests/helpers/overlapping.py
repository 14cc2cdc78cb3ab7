"""Pairs of sentences that even the small model ranks by their grades: these say how many words they share."""

from __future__ import annotations

import json
from pathlib import Path

# For every 15 pairs words of their own, or a pair would nearly repeat another.
WORDS = """
river stone bread garden winter music doctor window silver horse paper engine cotton market island
forest candle bridge letter summer violin teacher mirror copper rabbit pencil anchor velvet harbour valley
ocean hammer butter meadow autumn guitar lawyer carpet golden pigeon basket rocket blanket temple desert
canyon ladder pepper orchard spring trumpet sailor curtain bronze falcon bottle tractor leather castle glacier
""".split()
N = 60


def grade(i: int) -> int:
    """The grade of a pair, 0 to 5."""
    return i % 6


def pair(i: int) -> tuple[str, str]:
    """Two sentences that share as many of their five words as their grade says."""
    own = WORDS[15 * (i // 15) : 15 * (i // 15 + 1)]
    first = [own[(i + step) % 15] for step in range(5)]
    other = [own[(i + 5 + step) % 15] for step in range(5 - grade(i))]
    return f"{i} {' '.join(first)}", " ".join([f"{i}", *first[: grade(i)], *other])


def written(file: Path) -> Path:
    """A file of the pairs, in two slices."""
    rows = [
        {"sentence1": pair(i)[0], "sentence2": pair(i)[1], "score": grade(i), "slices": [f"s{i % 2}"]} for i in range(N)
    ]
    file.write_text("\n".join(map(json.dumps, rows)) + "\n", "utf-8")
    return file
