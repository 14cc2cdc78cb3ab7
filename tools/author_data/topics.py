"""Write the topic set: ``fixtures/data/topics/texts.jsonl``, one ``{"text", "label"}`` object a line.

The material is ``mat_topics.txt``: under the heading of each label stand texts written one by one, and lines
that begin with ``+``, patterns with alternatives in brackets (``[a|b|c]``).  All written texts are used; the
patterns in turn give one text after another, with alternatives drawn from a seeded generator, until the label
has its full number.  A text carries the label under which its line or pattern was written, so no label is
ever guessed from the words.

Run as ``python tools/author_data/topics.py`` from the repository root; the output is always the same.
"""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

MATERIAL = Path(__file__).resolve().parent / "mat_topics.txt"
TARGET = Path("fixtures/data/topics/texts.jsonl")
SEED = 20240612
TEXTS_PER_LABEL = 52
BRACKET = re.compile(r"\[([^\[\]]*)\]")


def read_material(path: Path) -> dict[str, tuple[list[str], list[str]]]:
    """Return the written texts and the patterns of each label."""
    labels: dict[str, tuple[list[str], list[str]]] = {}
    label = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            label = line[2:].strip()
            labels[label] = ([], [])
        elif line.startswith("+ "):
            labels[label][1].append(line[2:].strip())
        elif line.strip():
            labels[label][0].append(line.strip())
    return labels


def fill(pattern: str, rng: random.Random) -> str:
    """Choose one alternative for every bracket of a pattern."""
    return BRACKET.sub(lambda match: rng.choice(match.group(1).split("|")), pattern)


def texts_of(written: list[str], patterns: list[str], rng: random.Random) -> list[str]:
    """All written texts, then distinct texts from the patterns in turn."""
    texts = list(written)
    turn = 0
    while len(texts) < TEXTS_PER_LABEL:
        text = fill(patterns[turn % len(patterns)], rng)
        turn += 1
        if text not in texts:
            texts.append(text)
    return texts


def main() -> None:
    """Read the material and write the shuffled set."""
    rng = random.Random(SEED)
    rows = [
        {"text": text, "label": label}
        for label, (written, patterns) in read_material(MATERIAL).items()
        for text in texts_of(written, patterns, rng)
    ]
    if len({row["text"] for row in rows}) != len(rows):
        raise ValueError("a text stands under two labels")
    rng.shuffle(rows)
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    body = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    TARGET.write_text(body, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
