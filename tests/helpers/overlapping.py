"""Pairs of sentences that even the small model ranks by their grades: these say how many words they share."""

from __future__ import annotations

import json
from pathlib import Path

WORDS = "river stone bread garden winter music doctor window silver horse paper engine cotton market island".split()
N = 60


def grade(i: int) -> int:
    """The grade of a pair, 0 to 5."""
    return i % 6


def pair(i: int) -> tuple[str, str]:
    """Two sentences that share as many of their five words as their grade says."""
    start = i + i // 30  # or every second pair would repeat another
    first = [WORDS[(start + step) % 15] for step in range(5)]
    other = [WORDS[(start + 5 + step) % 15] for step in range(5 - grade(i))]
    return f"{i} {' '.join(first)}", " ".join([f"{i}", *first[: grade(i)], *other])


def written(file: Path) -> Path:
    """A file of the pairs, in two slices."""
    rows = [
        {"sentence1": pair(i)[0], "sentence2": pair(i)[1], "score": grade(i), "slices": [f"s{i % 2}"]} for i in range(N)
    ]
    file.write_text("\n".join(map(json.dumps, rows)) + "\n", "utf-8")
    return file
