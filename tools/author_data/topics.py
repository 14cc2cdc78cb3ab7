"""Write the topic set: ``fixtures/data/topics/texts.jsonl``, one ``{"text", "label"}`` object a line.

Some have a "slices" or a "cluster" as well.

The material is ``mat_topics.txt``: under the heading of each label stand texts written one by one, and lines
that begin with ``+``, patterns with alternatives in brackets (``[a|b|c]``).  All written texts are used; the
patterns in turn give one text after another, with alternatives drawn from a seeded generator, until the label
has its full number.  A text carries the label under which its line or pattern was written, so no label is
ever guessed from the words.  Texts of one pattern are not independent: they name it as their cluster.

``mat_topics_more.txt`` holds four texts a label with accented letters, four with words of other scripts, four
with emoji, four with figures, four of code and four of 100 to 250 word pieces of all-MiniLM-L6-v2, each written
for itself.  Some of the long ones tell their topic only beyond the 64th word, so one that is cut loses it.  They
stand after the others, in the order written.

Run as ``python tools/author_data/topics.py`` from the repository root; the output is always the same.
"""

from __future__ import annotations

import random
import re
from pathlib import Path

import lex_common as common

MATERIAL = common.HERE / "mat_topics.txt"
MORE = "mat_topics_more.txt"
SEED = 20240612
TEXTS_PER_LABEL = 52
BRACKET = re.compile(r"\[([^\[\]]*)\]")
Row = dict[str, str | list[str]]


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


def texts_of(written: list[str], patterns: list[str], rng: random.Random) -> dict[str, str]:
    """All written texts, then distinct texts from the patterns in turn; each with its pattern, if it has one."""
    texts = dict.fromkeys(written, "")
    turn = 0
    while len(texts) < TEXTS_PER_LABEL:
        place = turn % len(patterns)
        text = fill(patterns[place], rng)
        turn += 1
        texts.setdefault(text, f"pattern-{place}")
    return texts


def more() -> list[Row]:
    """The rows of the slices, in the order written."""
    rows: list[Row] = []
    label = ""
    for line in common.lines(MORE):
        if line.startswith("= "):
            label = line[2:]
        else:
            name, text = line.split(": ", 1)
            rows.append({"text": text, "label": label, "slices": [name]})
    return rows


def main() -> None:
    """Read the material and write the shuffled set, and the rows of the slices after it."""
    rng = random.Random(SEED)
    rows: list[Row] = []
    for label, (written, patterns) in read_material(MATERIAL).items():
        for text, pattern in texts_of(written, patterns, rng).items():
            cluster = f"{label}-{pattern}" if pattern else ""
            rows.append({"text": text, "label": label, **common.clustered(cluster)})
    rng.shuffle(rows)
    rows += more()
    if len({row["text"] for row in rows}) != len(rows):
        raise ValueError("a text stands under two labels")
    common.write_jsonl(common.DATA / "topics" / "texts.jsonl", rows)


if __name__ == "__main__":
    main()
