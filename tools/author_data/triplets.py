"""Write fixtures/data/triplets/triplets.jsonl: anchor, positive, negative; the same bytes on every run.

    python tools/author_data/triplets.py

Which text is the closer one follows from how a row was made:

* scenes (lex_triplets_scenes.txt): the "+" lines keep the meaning of the anchor, the "-" lines do not;
* frames (lex_triplets_frames.txt): the second wording of a choice keeps the meaning, the third changes it;
* hand (lex_triplets_hand.txt): rows written one by one: idioms, homonyms, events of one field; of the
  first HAND_ALIKE rows one in three keeps its look-alike negative, the others take an unrelated text;
* stories (lex_triplets_long.txt): the negative changes at least one part more than the positive;
* grammar (lex_grammar.py): the positive is a rewording of the family, the negative one of its edits;
* nested (lex_grammar.py): the positive changes one name or figure of the anchor, the negative two, among
  them the same one;
* other: the negative comes from the next scene or a neighbouring frame, so it is far from the anchor;
* choices (lex_choices.py, lex_more_*.txt): accents, other scripts, emoji, code, numerals and texts of 100 tokens;
  sentences with choices of wording, the negative says something else in one choice more than the positive;
* negations (lex_triplets_negation.txt): frames of which one wording says something else by negation;
* typing errors go into one text of some rows and do not change which text is closer.

Rows of the same scene, frame, story, family or line of choices are not independent: they name it as their cluster.
Rows of choices and of negations stand after all others.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import lex_choices as choices
import lex_common as common
import lex_grammar as grammar
import lex_names as names
import lex_substitutes as substitutes

SEED = 20240612
EACH_FAMILY = 9
EACH_NESTED = 5
EACH_FIGURES = 10
HAND_ALIKE = 40


@dataclass
class Triplet:
    """A row before it is written; group is the sort of source it came from, cluster the very source."""

    anchor: str
    positive: str
    negative: str
    found: set[str] = field(default_factory=set)
    group: str = ""
    cluster: str = ""


@dataclass
class Scene:
    """An anchor with texts that keep its meaning and texts that do not; each text with its tags."""

    domain: str
    anchor: str = ""
    close: list[tuple[str, str]] = field(default_factory=list)
    apart: list[tuple[str, str]] = field(default_factory=list)


def read_scenes() -> list[Scene]:
    """The scenes in their order."""
    scenes: list[Scene] = []
    for line in common.lines("lex_triplets_scenes.txt"):
        if line.startswith("["):
            scenes.append(Scene(line.strip("[]")))
        elif not scenes[-1].anchor:
            scenes[-1].anchor = line
        else:
            head, text = line.split("| ", 1)
            side, codes = head.split()
            (scenes[-1].close if side == "+" else scenes[-1].apart).append((codes, text))
    return scenes


def from_scenes(scenes: list[Scene], rng: random.Random) -> list[Triplet]:
    """Every "-" line against a "+" line, and one row with a negative from a neighbouring scene."""
    rows = []
    for number, scene in enumerate(scenes):
        name = f"scene-{number}"
        light = substituted(scene.anchor)
        for turn, (codes, negative) in enumerate(scene.apart):
            close_codes, positive = scene.close[turn % len(scene.close)]
            if light and set(codes) & set("nwds") and (number + turn) % 3:
                close_codes, positive = "s", light
            anchor = scene.anchor
            if rng.random() < 0.25:
                anchor, positive = positive, anchor
            rows.append(Triplet(anchor, positive, negative, common.tags(codes + close_codes), "scene", name))
        if number % 2:
            continue
        codes, positive = scene.close[-1]
        other = scenes[(number + 1) % len(scenes)]
        rows.append(Triplet(scene.anchor, positive, other.anchor, common.tags(codes), "other", name))
    return rows


def substituted(anchor: str) -> str:
    """The anchor with one wording put in place of another that means the same, or nothing."""
    for old, new in substitutes.TRIPLET_SUBSTITUTES:
        if old in anchor:
            return anchor.replace(old, new)
    return ""


def from_frames(rng: random.Random) -> list[Triplet]:
    """One row for each frame, and for some frames a row whose negative is the next frame."""
    rows = []
    frames = []
    for line in common.lines("lex_triplets_frames.txt"):
        codes, text = line.split("| ", 1)
        frames.append((codes, common.expand(text)))
    for number, (codes, (anchor, positive, negative)) in enumerate(frames):
        name = f"frame-{number}"
        if rng.random() < 0.3:
            anchor, positive = positive, anchor
        rows.append(Triplet(anchor, positive, negative, common.tags(codes), "frame", name))
        after = frames[number + 1] if number + 1 < len(frames) else frames[0]
        if after[0] == codes and (number % 5 < 2 or codes == "a"):
            rows.append(Triplet(positive, anchor, after[1][number % 2], common.tags(codes), "other", name))
    return rows


def from_hand() -> list[Triplet]:
    """The rows written one by one."""
    table = []
    for line in common.lines("lex_triplets_hand.txt"):
        codes, rest = line.split("| ", 1)
        table.append((codes, *rest.split(" | ")))
    rows = []
    for number, (codes, anchor, positive, negative) in enumerate(table):
        if number < HAND_ALIKE and number % 3:
            negative = table[number + 7][2]
        rows.append(Triplet(anchor, positive, negative, common.tags(codes), "hand"))
    return rows


def from_stories() -> list[Triplet]:
    """Eight rows for each story, told with wording 0, 1 or 2 of each part.

    In the last two plans the positive changes one part and the negative that part and another one.
    """
    stories: list[list[list[str]]] = []
    for line in common.lines("lex_triplets_long.txt"):
        if line.startswith("@"):
            stories.append([])
        else:
            stories[-1].append([part.strip() for part in line.split(" | ")[1:]])

    def tell(story: list[list[str]], choice: str) -> str:
        return " ".join(part[int(pick)] for part, pick in zip(story, choice, strict=True))

    plans = (
        ("000", "111", "222"),
        ("000", "101", "020"),
        ("010", "100", "012"),
        ("100", "000", "202"),
        ("000", "001", "002"),
        ("001", "011", "201"),
        ("110", "112", "212"),
        ("000", "200", "220"),
    )
    rows = []
    for number, story in enumerate(stories):
        for plan in plans:
            anchor, positive, negative = (tell(story, choice) for choice in plan)
            rows.append(Triplet(anchor, positive, negative, {"paraphrase"}, "story", f"story-{number}"))
    return rows


def from_grammar(rng: random.Random) -> list[Triplet]:
    """EACH_FAMILY rows of every family, edits in turn; two in three positives are light."""
    rows = []
    for place, family in enumerate(grammar.TRIPLET_FAMILIES):
        for number in range(EACH_FAMILY):
            filling = grammar.slots(rng, names.PEOPLE_TRIPLETS, names.FIRST_TRIPLETS, names.TOWNS_TRIPLETS)
            base, same, edits = grammar.instance(family, filling)
            _, codes, negative = edits[number % len(edits)]
            found = common.tags(family.tags + codes + "p")
            positive = same if number % 3 == 0 else grammar.light(family, filling)
            rows.append(Triplet(base, positive, negative, found, "grammar", f"family-{place}"))
    plans = [(family.same, family.tags, EACH_NESTED) for family in grammar.TRIPLET_FAMILIES]
    plans += [(template, "d", EACH_FIGURES) for template in grammar.NESTED]
    for place, (template, codes, count) in enumerate(plans):
        for _ in range(count):
            filling = grammar.slots(rng, names.PEOPLE_TRIPLETS, names.FIRST_TRIPLETS, names.TOWNS_TRIPLETS)
            anchor, one, two = grammar.nested(template, filling, rng)
            rows.append(Triplet(anchor, one, two, common.tags(codes), "nested", f"family-{place}"))
    return rows


def mistype(rows: list[Triplet], rng: random.Random) -> None:
    """Typing errors in the anchor, the positive or the negative of three rows in sixteen."""
    known = common.vocabulary(text for row in rows for text in (row.anchor, row.positive, row.negative))
    for number, row in enumerate(rows):
        turn = number % 16
        if turn not in (3, 11, 14):
            continue
        name = {3: "anchor", 11: "positive", 14: "negative"}[turn]
        text = getattr(row, name)
        wrong = common.with_typos(text, 1 if len(common.words(text)) < 13 else 2, rng, known)
        if wrong != text:
            setattr(row, name, wrong)
            row.found.add("typo")


def build() -> list[Triplet]:
    """All rows in their final order."""
    rng = random.Random(SEED)
    rows = from_scenes(read_scenes(), rng) + from_frames(rng) + from_hand()
    rows += from_stories() + from_grammar(rng)
    mistype(rows, rng)
    rng.shuffle(rows)
    kept: dict[tuple[str, str, str], Triplet] = {}
    for row in rows:
        texts = (row.anchor, row.positive, row.negative)
        row.found |= common.shown(texts)
        if len(set(texts)) == 3:
            kept.setdefault(texts, row)
    return [*kept.values(), *from_choices(), *from_negations()]


def from_choices() -> list[Triplet]:
    """The rows of sentences with choices of wording."""
    return [Triplet(*row.texts, set(row.found), "choices", row.cluster) for row in choices.triplets()]


def from_negations() -> list[Triplet]:
    """One row for each frame."""
    rows = []
    for number, line in enumerate(common.lines("lex_triplets_negation.txt")):
        anchor, positive, negative = texts = tuple(common.expand(line))
        found = {"negation", "paraphrase"} | common.shown(texts)
        rows.append(Triplet(anchor, positive, negative, found, "negation", f"negation-{number}"))
    return rows


def main() -> None:
    """Write the file."""
    rows = [
        {
            "anchor": r.anchor,
            "positive": r.positive,
            "negative": r.negative,
            "slices": common.ordered(r.found),
            **common.clustered(r.cluster),
        }
        for r in build()
    ]
    common.write_jsonl(common.DATA / "triplets" / "triplets.jsonl", rows)


if __name__ == "__main__":
    main()
