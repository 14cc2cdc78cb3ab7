"""Write the calibration set: ``fixtures/data/calibration/texts.jsonl``, 512 texts, one ``{"text"}`` a line.

The material is read from two text files beside this script:

* ``mat_calibration_short.txt``: texts of one word to a sentence or two, written one by one, and, on lines
  that begin with ``+``, patterns with alternatives in brackets (``[a|b|c]``), used till the set is full;
* ``mat_calibration_long.txt``: twelve stories of four genres, written in four numbered parts each.  A story
  is used whole and, as three more texts, with its second, third or last part left out.

The set carries no judgements.  It must share no text with the evaluation sets: every text is compared with
all texts of the other folders under ``fixtures/data`` after NFKC, case folding and collapsing of blanks, and
the script stops if one is found there.

Run as ``python tools/author_data/calibration.py`` from the repository root; the output is always the same.
"""

from __future__ import annotations

import itertools
import json
import random
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
DATA = Path("fixtures/data")
TARGET = DATA / "calibration" / "texts.jsonl"
SEED = 20240613
SIZE = 512
BRACKET = re.compile(r"\[([^\[\]]*\|[^\[\]]*)\]")


def read_short(path: Path) -> tuple[list[str], list[str]]:
    """Return the written texts and the patterns."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    patterns = [line[2:] for line in lines if line.startswith("+ ")]
    return [line for line in lines if not line.startswith("+ ")], patterns


def read_long(path: Path) -> dict[str, dict[int, list[str]]]:
    """Return the paragraphs of each genre by their place in a text."""
    genres: dict[str, dict[int, list[str]]] = {}
    genre = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            genre = line[2:]
            genres[genre] = {}
        elif line.strip():
            place, _, paragraph = line.partition(" ")
            genres[genre].setdefault(int(place), []).append(paragraph)
    return genres


def long_texts(places: dict[int, list[str]]) -> list[str]:
    """The long texts of one genre: each story whole, and again with one of its later parts left out."""
    stories = list(zip(*(places[place] for place in sorted(places)), strict=True))
    whole = [" ".join(story) for story in stories]
    cut = [" ".join(part for part in story if part != story[left]) for story in stories for left in (1, 2, 3)]
    return whole + cut


def fill(pattern: str, rng: random.Random) -> str:
    """Choose one alternative for every bracket of a pattern."""
    return BRACKET.sub(lambda match: rng.choice(match.group(1).split("|")), pattern)


def normal(text: str) -> str:
    """The form in which texts are compared."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def strings(value: object) -> Iterator[str]:
    """All strings inside a decoded JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


def evaluation_texts() -> set[str]:
    """Every string of the other data sets, in the form for comparison."""
    found: set[str] = set()
    for path in sorted(DATA.glob("*/*.jsonl")):
        if path.parent != TARGET.parent:
            for line in path.read_text(encoding="utf-8").splitlines():
                found.update(normal(text) for text in strings(json.loads(line)))
    return found


def compose() -> list[str]:
    """All texts of the set, shuffled."""
    rng = random.Random(SEED)
    texts, patterns = read_short(HERE / "mat_calibration_short.txt")
    for places in read_long(HERE / "mat_calibration_long.txt").values():
        texts += long_texts(places)
    seen = {normal(text) for text in texts}
    if len(seen) != len(texts):
        raise ValueError("a written text is repeated")
    for pattern in itertools.cycle(patterns):
        if len(texts) >= SIZE:
            break
        text = fill(pattern, rng)
        if normal(text) not in seen:
            seen.add(normal(text))
            texts.append(text)
    rng.shuffle(texts)
    return texts


def main() -> None:
    """Compose, compare with the evaluation sets and write."""
    texts = compose()
    shared = sorted(evaluation_texts() & {normal(text) for text in texts})
    if shared:
        raise ValueError(f"texts that stand in an evaluation set: {shared}")
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    body = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
    TARGET.write_text(body, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
