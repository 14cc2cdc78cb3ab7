"""A few dozen documents and queries, for tests in which it matters that there are both."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

COLOURS = ("red", "old", "large", "cheap", "broken", "new")
THINGS = ("car", "bag", "cup", "hat", "lamp", "book", "chair", "clock", "shirt", "door")


def parcels(folder: Path) -> Path:
    """A folder in BEIR's layout: sixty documents, and a query for each."""
    data = folder / "parcels"
    (data / "qrels").mkdir(parents=True)
    things = [" ".join(words) for words in product(COLOURS, THINGS)]
    rows = {
        "corpus": [
            {"_id": f"d{i}", "title": "", "text": f"The {thing} was sent today.{' It is heavy.' * (i % 3)}"}
            for i, thing in enumerate(things)
        ],
        "queries": [{"_id": f"q{i}", "text": f"Where is my {thing}?"} for i, thing in enumerate(things)],
    }
    for name, lines in rows.items():
        (data / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    judged = "".join(f"q{i}\td{i}\t1\n" for i in range(len(things)))
    (data / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}", "utf-8")
    return data
