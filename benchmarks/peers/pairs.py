"""Reads sentence pairs with grades: a CSV of three columns, with or without a line of names."""

from __future__ import annotations

import csv
from pathlib import Path


def read(path: Path) -> list[tuple[str, str, float]]:
    """Returns first and second sentence and grade of each pair."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    named = not rows[0][2].replace(".", "", 1).isdigit()
    return [(first, second, float(grade)) for first, second, grade in rows[named:]]
