"""Helpers shared by the authoring scripts: parsing the lexicon files, typing errors, slices, output."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
DATA = HERE.parent.parent / "fixtures" / "data"

SHORT_MAX_WORDS = 6
LONG_MIN_WORDS = 25

TAGS = {
    "p": "paraphrase",
    "n": "negation",
    "d": "numerals",
    "e": "entities",
    "s": "near-synonyms",
    "w": "word-order",
    "a": "added-clause",
    "t": "typo",
}
SLICES = ["short", "long", "negation", "numerals", "entities", "near-synonyms", "word-order"]
SLICES += ["paraphrase", "added-clause", "typo"]
SLICES += ["accents", "other-scripts", "emoji", "code", "100-tokens"]

_CHOICE = re.compile(r"\{([^{}]*)\}")
_NEGATIVES = "not|never|no|nobody|nothing|neither|nor|none|without|cannot|refused|hardly"
_NEGATION = re.compile(rf"\b({_NEGATIVES})\b|n't\b")
_NUMERAL = re.compile(
    r"\d|\b(two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|eighteen"
    r"|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand|million|dozen|half|quarter"
    r"|twice|double|doubled|halved)\b"
)
_CAPITAL = re.compile(r"(?<=[a-z,] )[A-Z][a-z]+")
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday Christmas Easter"
_MONTHS = "January February March April May June July August September October November December"
_NOT_NAMES = frozenset(f"{_DAYS} {_MONTHS} Dr".split())
_NEIGHBOURS = {
    "a": "s",
    "e": "r",
    "i": "o",
    "o": "p",
    "u": "i",
    "n": "m",
    "t": "r",
    "r": "t",
    "s": "d",
    "l": "k",
}


def lines(name: str) -> Iterator[str]:
    """The lines of a lexicon file, without comments and blank lines."""
    for raw in (HERE / name).read_text(encoding="utf-8").splitlines():
        line = raw.rstrip()
        if line and not line.startswith("#"):
            yield line


def tags(codes: str) -> set[str]:
    """Slice names for a string of tag letters; "-" stands for none."""
    return {TAGS[code] for code in codes if code != "-"}


def expand(frame: str) -> list[str]:
    """All wordings of a frame: choice i of every braced group, for each i."""
    parts = _CHOICE.split(frame)
    choices = [part.split("|") for part in parts[1::2]]
    if len({len(choice) for choice in choices}) != 1:
        raise ValueError(f"no choice or uneven choices in {frame!r}")
    fixed = parts[0::2]
    return [woven(fixed, picked) for picked in zip(*choices, strict=True)]


def woven(fixed: Iterable[str], picked: Iterable[str]) -> str:
    """The fixed parts of a frame with the picked wordings between them; the full stop of "p.m." ends a sentence."""
    text = "".join(part for both in zip(fixed, (*picked, ""), strict=True) for part in both)
    return text.replace(".m..", ".m.")


def words(text: str) -> list[str]:
    """The words of a text, split at white space."""
    return text.split()


def length_slices(texts: Iterable[str]) -> set[str]:
    """short and long: all the texts of a row must be short, or all must be long."""
    counts = [len(words(text)) for text in texts]
    found = set()
    if max(counts) <= SHORT_MAX_WORDS:
        found.add("short")
    if min(counts) >= LONG_MIN_WORDS:
        found.add("long")
    return found


def spotted(texts: Iterable[str]) -> set[str]:
    """negation, numerals and entities: marked as soon as one text of the row shows the thing."""
    found = set()
    for text in texts:
        low = text.lower()
        if _NEGATION.search(low):
            found.add("negation")
        if _NUMERAL.search(low):
            found.add("numerals")
        if any(name not in _NOT_NAMES for name in _CAPITAL.findall(text)):
            found.add("entities")
    return found


def shown(texts: Sequence[str]) -> set[str]:
    """The slices that the texts of a row show by themselves: by their length and by what they hold."""
    return length_slices(texts) | spotted(texts)


def ordered(found: Iterable[str]) -> list[str]:
    """Slices in their fixed order."""
    wanted = set(found)
    return [name for name in SLICES if name in wanted]


def clustered(name: str) -> dict[str, str]:
    """The key of a row that says from which scene or story it comes; none for a row that stands alone."""
    return {"cluster": name} if name else {}


def _misspell(word: str, rng: random.Random) -> str:
    spot = rng.randrange(1, len(word) - 2)
    kind = rng.choice(("swap", "swap", "drop", "double", "slip"))
    if kind == "swap":
        return word[:spot] + word[spot + 1] + word[spot] + word[spot + 2 :]
    if kind == "drop":
        return word[:spot] + word[spot + 1 :]
    if kind == "double":
        return word[:spot] + word[spot] + word[spot:]
    return word[:spot] + _NEIGHBOURS.get(word[spot], word[spot] * 2) + word[spot + 1 :]


def with_typos(text: str, count: int, rng: random.Random, known: frozenset[str]) -> str:
    """text with typing errors in up to count different words; no error yields a word in known."""
    tokens = re.findall(r"[A-Za-z]+|[^A-Za-z]+", text)
    spots = [i for i, token in enumerate(tokens) if len(token) >= 4 and token.islower() and token.isalpha()]
    rng.shuffle(spots)
    done = 0
    for spot in spots:
        if done == count:
            break
        for _ in range(8):
            wrong = _misspell(tokens[spot], rng)
            if wrong != tokens[spot] and wrong not in known:
                tokens[spot] = wrong
                done += 1
                break
    return "".join(tokens)


def vocabulary(texts: Iterable[str]) -> frozenset[str]:
    """Every lower-cased word that occurs in the texts."""
    return frozenset(word for text in texts for word in re.findall(r"[a-z]+", text.lower()))


def write_jsonl(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Write one JSON object per line: UTF-8, "\\n" line ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    body = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_bytes(body.encode("utf-8"))
