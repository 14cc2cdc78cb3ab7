"""Write fixtures/data/multilingual/pairs.jsonl: graded pairs in five languages and across six.

    python tools/author_data/multilingual.py

The output is the same bytes on every run.

Grades run from 0 (unrelated) to 5 (same meaning), as those of pairs. A scene has four or five whole sentences in a
language: a base, a rewording of it, and two or all of: one in which a detail differs, one that says the contrary,
and one that says something else about it. The grades of these against the first two stand beside the scene.

* lex_multilingual_shared.txt: scenes with their sentences in English and the five languages;
* lex_multilingual_own.txt: scenes in one language each;
* within a language: 4.75 for the rewording, the scene's grade for the others, 0 for two scenes of unlike subjects;
* across languages, of shared scenes alone: 5 for a translation, 4.75 for a rewording in another language, else
  as within a language.

Rows of one scene are not independent, in whatever language: they name the scene as their cluster. A row of two
scenes names the first.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import lex_common as common

LANGUAGES = {"de": "german", "es": "spanish", "ru": "russian", "ar": "arabic", "zh": "chinese"}
ACROSS = ("en", *LANGUAGES)
TAGS = {"d": {"numerals"}, "n": {"negation"}, "-": set[str]()}
TRANSLATED, SAME, FAR = 5.0, 4.75, 0.0
# A text is held against one of the scene so many places on, in every third scene.
NEXT, EVERY = 5, 3
# Scenes of one subject, such as neighbours or heavy snow, are not unrelated: the text is held against the next one on.
AKIN = ({"dog", "parcel"}, {"snow-zh", "train"})
BASE, REWORDED = 0, 1


@dataclass(frozen=True)
class Scene:
    """A scene in one language: its sentences, and the tags and grades of those after the first two."""

    name: str
    language: str
    texts: tuple[str, ...]
    changes: tuple[tuple[str, float], ...]

    @property
    def found(self) -> set[str]:
        """The slices of its changes: its rewordings are in them, too, to be told from what is changed."""
        return {name for tag, _ in self.changes for name in TAGS[tag]}


@dataclass(frozen=True)
class Pair:
    """A row before it is written."""

    texts: tuple[str, str]
    score: float
    found: frozenset[str]
    cluster: str


def read(name: str) -> list[Scene]:
    """The scenes of a file, one for each language that a scene is written in."""
    found: list[Scene] = []
    title: str = ""
    changes: tuple[tuple[str, float], ...] = ()
    for line in common.lines(name):
        if line.startswith("@ "):
            title, *marks = line[2:].split()
            changes = tuple((mark[0], float(mark[1:])) for mark in marks)
            continue
        language, text = line.split("| ", 1)
        texts = tuple(text.split(" | "))
        if len(texts) != 2 + len(changes):
            raise ValueError(f"{len(texts)} sentences: {line!r}")
        found.append(Scene(title, language, texts, changes))
    return found


def within(scenes: list[Scene]) -> Iterator[Pair]:
    """The pairs of one language."""
    for place, scene in enumerate(scenes):
        named = {LANGUAGES[scene.language]}
        yield _pair(scene, BASE, scene, REWORDED, SAME, named | scene.found | {"paraphrase"}, flip=place % 2)
        for turn, (tag, grade) in enumerate(scene.changes):
            first = (place + turn) % 2
            extra = {"paraphrase"} if first == REWORDED else set[str]()
            yield _pair(scene, first, scene, 2 + turn, grade, named | TAGS[tag] | extra, flip=place // 2 % 2)
        if place % EVERY == 0:
            yield _pair(scene, BASE, scenes[_unlike([one.name for one in scenes], place)], REWORDED, FAR, named)


def across(shared: list[Scene]) -> Iterator[Pair]:
    """The pairs across languages, which take turns."""
    by_name = [list(group) for _, group in itertools.groupby(shared, key=lambda scene: scene.name)]
    turns = itertools.cycle(itertools.combinations(range(len(ACROSS)), 2))
    for place, scene in enumerate(by_name):
        alike = scene[0].found
        plan = [(BASE, BASE, TRANSLATED, alike), (BASE, REWORDED, SAME, alike)]
        plan += [((place + turn) % 2, 2 + turn, grade, TAGS[tag]) for turn, (tag, grade) in enumerate(scene[0].changes)]
        for (first, second, grade, found), (one, two) in zip(plan, turns, strict=False):
            yield _pair(scene[one], first, scene[two], second, grade, found | {"cross-lingual"}, flip=place % 2)
        if place % 2 == 0:
            one, two = next(turns)
            other = by_name[_unlike([group[0].name for group in by_name], place)]
            yield _pair(scene[one], BASE, other[two], BASE, FAR, {"cross-lingual"})


def _unlike(names: list[str], place: int) -> int:
    """The place of the scene that another is held against: NEXT on, or the first after it of another subject."""
    places = ((place + ahead) % len(names) for ahead in itertools.count(NEXT))
    return next(other for other in places if {names[place], names[other]} not in AKIN)


def _pair(one: Scene, first: int, two: Scene, second: int, grade: float, found: set[str], *, flip: int = 0) -> Pair:
    texts = (one.texts[first], two.texts[second])
    return Pair(texts[::-1] if flip else texts, grade, frozenset(found), one.name)


def build() -> list[Pair]:
    """All rows in their order: language by language, and then across."""
    shared, own = read("lex_multilingual_shared.txt"), read("lex_multilingual_own.txt")
    rows: list[Pair] = []
    for language in LANGUAGES:
        rows += within([scene for scene in (*shared, *own) if scene.language == language])
    return [*rows, *across(shared)]


def main() -> None:
    """Write the file."""
    order = [*LANGUAGES.values(), "cross-lingual", "negation", "numerals", "paraphrase"]
    rows = [
        {
            "sentence1": row.texts[0],
            "sentence2": row.texts[1],
            "score": row.score,
            "slices": [name for name in order if name in row.found],
            "cluster": row.cluster,
        }
        for row in build()
    ]
    common.write_jsonl(common.DATA / "multilingual" / "pairs.jsonl", rows)


if __name__ == "__main__":
    main()
