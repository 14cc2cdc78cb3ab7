"""Sentences with choices of wording, and the graded pairs and the triplets that follow from them.

A file lex_more_<slice>.txt has two parts, [pairs] and [triplets]. Pairs are made of the former, triplets of the
latter, and two triplets of each line of the former where its sentences are short. A line is

    GRADES| text with {a|b|c} and {a|b|c}

Of each choice, a is the base wording, b says the same thing and c says something else; in code, where braces
mean something, a choice stands in << and >>. A version of a line is named by its choices: "02" takes wording a
of the first and wording c of the second. GRADES serve pairs alone: the grade of two versions that differ in
content in the first choice, in the second one, and in both. One other wording gets 5, two of them 4.75, and two
lines 0.

The texts of 100 tokens have four choices or more, the last of which stands near the end. Their grades are the
same for all: 3.5 if they differ in content in the last choice, 2.5 if in every second one of the others, 2 if
in both of these.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import lex_common as common

SLICES = ("accents", "other-scripts", "emoji", "code", "numerals", "100-tokens")
LONG = "100-tokens"
# Of which there are no other triplets: right and wrong need more lines than grades do.
FEW = ("accents", "other-scripts", "emoji", "code", LONG)
TWO = (("base", "same", "one"), ("same", "base", "two"))
# What code says by digits and by "not" is no numeral and no negation of a sentence; among the changes in a text
# of 100 tokens, a negation or a figure is but one.
UNSPOTTED = ("code", LONG)

EQUAL, SAME, LATE, HALF, BOTH, FAR = 5.0, 4.75, 3.5, 2.5, 2.0, 0.0
# Texts of one line are compared with those of the line that stands so many lines below.
NEXT = 7
_CHOICE = re.compile(r"<<(.*?)>>|\{([^{}]*)\}")


@dataclass(frozen=True)
class Line:
    """A line of a file: the text around its choices, their wordings, and its grades."""

    slice: str
    number: int
    fixed: tuple[str, ...]
    choices: tuple[tuple[str, ...], ...]
    grades: tuple[float, ...]

    @property
    def cluster(self) -> str:
        """What names the line, of which every row comes."""
        return f"{self.slice}-{self.number}"

    def version(self, picks: str) -> str:
        """The text with the wordings that the digits pick."""
        picked = (choice[int(pick)] for choice, pick in zip(self.choices, picks, strict=True))
        return common.woven(self.fixed, picked)


@dataclass(frozen=True)
class Graded:
    """Two texts and their grade, or an anchor with a closer and a less close text (and no grade)."""

    texts: tuple[str, ...]
    score: float
    found: frozenset[str]
    cluster: str


def read(name: str, part: str) -> list[Line]:
    """The lines of one part of the file of a slice."""
    found, now = [], ""
    for line in common.lines(f"lex_more_{name}.txt"):
        if line.startswith("[") and line.endswith("]"):
            now = line.strip("[]")
        elif now == part:
            found.append(_parsed(name, len(found), line))
    return found


def _parsed(name: str, number: int, line: str) -> Line:
    head, text = line.split("| ", 1)
    found = list(_CHOICE.finditer(text))
    choices = tuple(tuple((match[1] or match[2]).split("|")) for match in found)
    if len(choices) < 2 or any(len(choice) != 3 or len({*choice}) != 3 for choice in choices):
        raise ValueError(f"fewer than two choices, or one without three different wordings: {line!r}")
    ends = [0, *(match.end() for match in found)]
    starts = [*(match.start() for match in found), len(text)]
    fixed = tuple(text[end:start] for end, start in zip(ends, starts, strict=True))
    return Line(name, number, fixed, choices, tuple(map(float, head.replace("|", "").split())))


def _named(line: Line) -> dict[str, str]:
    """The versions of a line that rows are made of, by the role they play.

    same: other wording alone. light: other wording in the last choice alone. one, two: something else said in the
    first choice (of a long text: in every second choice but the last) or in the last. both: in all of these.
    """
    size = len(line.choices)
    early = "".join("2" if place % 2 == 0 and place < size - 1 else "0" for place in range(size))
    return {
        "base": line.version("0" * size),
        "same": line.version("1" * size),
        "light": line.version("0" * (size - 1) + "1"),
        "one": line.version(early),
        "two": line.version("0" * (size - 1) + "2"),
        "both": line.version(early[:-1] + "2"),
    }


def _differ(named: dict[str, str], one: str, two: str) -> bool:
    """Whether two versions differ in more than accents, emoji and words of other scripts."""
    return _plain(named[one]) != _plain(named[two])


def _plain(text: str) -> str:
    """A text without accents, every run of other characters than ASCII's told alike."""
    bare = "".join(each for each in unicodedata.normalize("NFD", text.lower()) if not unicodedata.combining(each))
    return re.sub(r"[^\x00-\x7f]+", "?", bare)


def _tagged(line: Line, texts: tuple[str, ...], reworded: bool) -> frozenset[str]:
    """The slices of a row: that of its file, and those that its texts show."""
    found = {line.slice, *common.length_slices(texts)} | ({"paraphrase"} if reworded else set())
    return frozenset(found if line.slice in UNSPOTTED else found | common.spotted(texts))


def pairs() -> Iterator[Graded]:
    """The graded pairs of all slices."""
    for name in SLICES:
        lines = read(name, "pairs")
        for line in lines:
            yield from _pairs_of(line, lines[(line.number + NEXT) % len(lines)])


def _pairs_of(line: Line, other: Line) -> Iterator[Graded]:
    """Five pairs of one line, and one with another line."""
    one, two, both = (HALF, LATE, BOTH) if line.slice == LONG else line.grades
    named = _named(line)
    odd = line.number % 2
    plan = [
        ("base", "same", SAME),
        ("light", "base", EQUAL) if odd else ("base", "light", EQUAL),
        ("same" if odd else "base", "one", one),
        ("base" if odd else "same", "two", two),
        ("same", "both", both),
    ]
    for first, second, grade in plan:
        texts = named[first], named[second]
        yield Graded(texts, grade, _tagged(line, texts, first != "base" or second in ("same", "light")), line.cluster)
    texts = named["same"], _named(other)["base"]
    yield Graded(texts, FAR, _tagged(line, texts, reworded=False), line.cluster)


def triplets() -> Iterator[Graded]:
    """The triplets of all slices; those of lines that pairs are made of stand last."""
    for name in SLICES:
        for line in read(name, "triplets"):
            yield from _triplets_of(line)
    for name in FEW:
        for line in read(name, "pairs"):
            yield from _rows(line, TWO, cluster=f"pairs-{line.cluster}")


def _triplets_of(line: Line) -> Iterator[Graded]:
    """Up to five triplets of one line: the negative says something else in one choice more than the positive does.

    Where a positive and a negative differ in accents, emoji or words of other scripts alone, a model that reads these
    alike would draw lots. So another row stands in the place of such a row, or none.
    """
    named = _named(line)
    plan = [
        *TWO,
        ("base", "two", "both") if _differ(named, "two", "both") else ("one", "base", "two"),
        ("both", "one", "same") if line.number % 2 else ("both", "two", "same"),
        ("base", "one", "both") if _differ(named, "one", "both") else ("two", "base", "one"),
    ]
    yield from _rows(line, plan, cluster=line.cluster)


def _rows(line: Line, plan: Iterable[tuple[str, str, str]], cluster: str) -> Iterator[Graded]:
    """The rows of a plan (anchor, positive, negative), but for those that accents and the like alone would tell."""
    named = _named(line)
    for names in plan:
        if _differ(named, *names[1:]):
            texts = tuple(named[name] for name in names)
            yield Graded(texts, FAR, _tagged(line, texts, "same" in names), cluster)
