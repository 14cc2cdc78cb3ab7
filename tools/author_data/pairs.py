"""Write fixtures/data/pairs/pairs.jsonl: graded sentence pairs, the same bytes on every run.

    python tools/author_data/pairs.py

Grades run from 0 (unrelated) to 5 (same meaning), and each one follows from how its row was made:

* scenes (lex_pairs_scenes.txt): hand-written sentences, each graded by hand against the first of its scene;
* frames (lex_pairs_frames.txt): hand-written, with one choice of wording; the grade stands beside the choice;
* hand (lex_pairs_hand.txt): hand-written pairs with their grades: idioms, homonyms, stages of one event;
* stories (lex_pairs_long.txt): long sentences of three hand-written parts; 4.75 if all three are reworded,
  3.5 / 2.25 / 1 if one / two / all three parts say something else, whether or not the others are reworded;
* substitutes (lex_substitutes.py): the base of a scene with one equivalent wording put in, 5;
* grammar (lex_grammar.py): 4.75 for the rewording, else the grade of the edit that was made;
* far: two scenes of one domain 0.5; two scenes, frames or stories of different domains 0;
* negations (lex_pairs_negation.txt): frames of which one wording says something else by negation;
* choices (lex_choices.py, lex_more_*.txt): accents, other scripts, emoji, code, numerals and texts of 100 tokens;
  sentences with choices of wording, graded by which of them say something else;
* typing errors go into the second sentence of some rows and leave the grade as it was; a sentence beside its
  own mistyped copy gets 5.

A sentence with the grade 4.75 or 5 to its base may stand for the base in that scene, frame or family.
Rows of the same scene, frame, story, family or line of choices are not independent: they name it as their cluster.
A row of two scenes names the first.

Of the rows whose words and grade disagree most (unlike meaning in like words, like meaning in unlike words)
only a share is kept; the shares set how hard the data set is, the grades are never touched for that. Rows of
choices and of negations stand after all others, and all of them are kept.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field

import lex_choices as choices
import lex_common as common
import lex_grammar as grammar
import lex_names as names
import lex_substitutes as substitutes

SEED = 20240611
SAME = 4.75
SUBSTITUTED = 5.0
LOW = 2.8
ALIKE, KEEP_ALIKE = 0.42, 0.25
UNLIKE, KEEP_UNLIKE = 0.42, 0.3


@dataclass
class Pair:
    """A row before it is written; group is the sort of source it came from, cluster the very source."""

    first: str
    second: str
    score: float
    found: set[str] = field(default_factory=set)
    group: str = ""
    cluster: str = ""


@dataclass
class Scene:
    """A base sentence with its graded companions."""

    domain: str
    base: str
    rest: list[tuple[float, str, str]] = field(default_factory=list)
    name: str = ""


def read_scenes(name: str) -> list[Scene]:
    """The scenes of a file, in order."""
    scenes: list[Scene] = []
    for line in common.lines(name):
        if line.startswith("["):
            scenes.append(Scene(line.strip("[]"), "", name=f"scene-{len(scenes)}"))
        elif not scenes[-1].base:
            scenes[-1].base = line
        else:
            head, text = line.split("| ", 1)
            grade, codes = head.split()
            scenes[-1].rest.append((float(grade), codes, text))
    return scenes


def from_scenes(scenes: list[Scene], rng: random.Random) -> list[Pair]:
    """Every companion against its base, or against a companion that means the same as the base."""
    rows = []
    for scene in scenes:
        twins = [(text, codes) for grade, codes, text in scene.rest if grade >= SAME]
        for grade, codes, text in scene.rest:
            first, extra = scene.base, ""
            if grade < SAME and twins and rng.random() < (0.9 if grade < LOW else 0.15):
                first, extra = twins[0][0], "p"
            pair = [first, text] if rng.random() < 0.7 else [text, first]
            rows.append(Pair(pair[0], pair[1], grade, common.tags(codes + extra), "scene", scene.name))
    return rows


def from_frames(rng: random.Random) -> tuple[list[Pair], list[tuple[str, str, str]]]:
    """a-b, or a-c (or b-c), or both of each frame; the tags, base wordings and names of the frames."""
    rows, bases = [], []
    for number, line in enumerate(common.lines("lex_pairs_frames.txt")):
        head, text = line.split("| ", 1)
        codes, same, other = head.split()
        a, b, c = common.expand(text)
        bases.append((codes, a, f"frame-{number}"))
        found = common.tags(codes)
        if number % 3 or codes in "wa":
            rows.append(Pair(a, b, float(same), set(found), "frame", f"frame-{number}"))
        if number % 3 and codes in "snd":
            continue
        low_first = b if float(same) >= SAME and rng.random() < 0.85 else a
        rows.append(Pair(low_first, c, float(other), set(found), "frame", f"frame-{number}"))
    return rows, bases


def from_hand() -> list[Pair]:
    """The pairs written one by one."""
    rows = []
    for line in common.lines("lex_pairs_hand.txt"):
        head, rest = line.split("| ", 1)
        grade, codes = head.split()
        first, second = rest.split(" | ")
        rows.append(Pair(first, second, float(grade), common.tags(codes), "hand"))
    return rows


def from_substitutes(scenes: list[Scene]) -> list[Pair]:
    """The base of each scene beside itself with one substitute from lex_substitutes.py."""
    rows = []
    for scene in scenes:
        for old, new in substitutes.SUBSTITUTES:
            if old in scene.base:
                found = {"near-synonyms"} if not any(c.isdigit() for c in new) else {"numerals"}
                text = scene.base.replace(old, new)
                rows.append(Pair(scene.base, text, SUBSTITUTED, found, "substitute", scene.name))
                break
    return rows


def read_stories(name: str) -> list[list[list[str]]]:
    """Stories as three parts of three wordings each."""
    stories: list[list[list[str]]] = []
    for line in common.lines(name):
        if line.startswith("@"):
            stories.append([])
        else:
            stories[-1].append([part.strip() for part in line.split(" | ")[1:]])
    return stories


def tell(story: list[list[str]], choice: str) -> str:
    """The story with wording 0, 1 or 2 of each part."""
    return " ".join(part[int(pick)] for part, pick in zip(story, choice, strict=True))


def from_stories(stories: list[list[list[str]]], rng: random.Random) -> list[Pair]:
    """Five graded pairs for each story and one unrelated pair with the next story."""
    rows = []
    one = ("001", "012"), ("001", "102"), ("010", "210"), ("100", "021")
    changed = {3.5: ("200", "020", "002", "112", "121"), 2.25: ("220", "202", "022", "122"), 1.0: ("222",)}
    for number, story in enumerate(stories):
        name = f"story-{number}"
        rows.append(Pair(tell(story, "000"), tell(story, "111"), SAME, {"paraphrase"}, "story", name))
        first, second = one[number % 4]
        rows.append(Pair(tell(story, first), tell(story, second), 3.5, {"paraphrase"}, "story", name))
        for grade, options in changed.items():
            base = rng.choice(("000", "010", "101"))
            rows.append(Pair(tell(story, base), tell(story, rng.choice(options)), grade, set(), "story", name))
        after = stories[(number + 5) % len(stories)]
        rows.append(Pair(tell(story, "011"), tell(after, "101"), 0.0, set(), "story", name))
    return rows


def from_grammar(rng: random.Random, each: int) -> list[Pair]:
    """each pairs of every family, taking the rewording and the edits in turn."""
    rows = []
    for place, family in enumerate(grammar.PAIR_FAMILIES):
        name = f"family-{place}"
        for number in range(each):
            filling = grammar.slots(rng, names.PEOPLE_PAIRS, names.FIRST_PAIRS, names.TOWNS_PAIRS)
            base, same, edits = grammar.instance(family, filling)
            turn = number % (len(edits) + 1)
            if turn == 0:
                rows.append(Pair(base, same, SAME, common.tags(family.tags + "p"), "grammar", name))
                continue
            grade, codes, text = edits[turn - 1]
            reworded = rng.random() < (0.9 if grade < LOW else 0.15)
            found = common.tags(family.tags + codes + ("p" if reworded else ""))
            rows.append(Pair(same if reworded else base, text, grade, found, "grammar", name))
    return rows


def far_apart(scenes: list[Scene], bases: list[tuple[str, str, str]], rng: random.Random) -> list[Pair]:
    """Rows of the grades 0 and 0.5: the same domain at most."""
    rows = []
    by_domain: dict[str, list[Scene]] = {}
    for scene in scenes:
        by_domain.setdefault(scene.domain, []).append(scene)
    for group in by_domain.values():
        for one, two in itertools.pairwise(group):
            rows.append(Pair(one.base, rng.choice(two.rest[:3])[2], 0.5, set(), "far", one.name))
    mixed = scenes[:]
    rng.shuffle(mixed)
    for one, two in zip(mixed[::2], mixed[7::2], strict=False):
        if one.domain != two.domain:
            rows.append(Pair(rng.choice(one.rest)[2], rng.choice(two.rest)[2], 0.0, set(), "far", one.name))
    pool = bases[:]
    rng.shuffle(pool)
    short = [base for base in pool if len(common.words(base[1])) <= common.SHORT_MAX_WORDS]
    apart = [(one, two, set[str]()) for one, two in zip(short[:26], short[26:52], strict=False)]
    order = [base for base in pool if base[0] == "w"]
    apart += [(one, two, {"word-order"}) for one, two in itertools.pairwise(order)]
    rows += [Pair(one[1], two[1], 0.0, found, "far", one[2]) for one, two, found in apart]
    return rows


def overlap(row: Pair) -> float:
    """Share of the distinct words of a row that stand in both of its sentences."""
    first, second = (set(common.words(text.lower().rstrip("."))) for text in (row.first, row.second))
    return len(first & second) / len(first | second)


def thin(rows: list[Pair]) -> list[Pair]:
    """Keep a share of the hardest rows: different meaning in like words, like meaning in different words."""
    kept, alike, unlike = [], 0, 0
    for row in rows:
        share = overlap(row)
        if row.score < LOW and share >= ALIKE:
            alike += 1
            if alike * KEEP_ALIKE % 1 < KEEP_ALIKE:
                kept.append(row)
        elif row.score >= 4.5 and share <= UNLIKE:
            unlike += 1
            if unlike * KEEP_UNLIKE % 1 < KEEP_UNLIKE:
                kept.append(row)
        else:
            kept.append(row)
    return kept


def mistype(rows: list[Pair], rng: random.Random) -> None:
    """Put typing errors into the second sentence of every seventh row, but spare the freest rewordings."""
    known = common.vocabulary(text for row in rows for text in (row.first, row.second))
    for number, row in enumerate(rows):
        if number % 7 == 4 and (row.score < SAME or overlap(row) > UNLIKE):
            wrong = common.with_typos(row.second, 1 if len(common.words(row.second)) < 13 else 2, rng, known)
            if wrong != row.second:
                row.second = wrong
                row.found.add("typo")


def typing_copies(scenes: list[Scene], rng: random.Random) -> list[Pair]:
    """Sentences beside their own mistyped copies."""
    known = common.vocabulary(text for scene in scenes for _, _, text in scene.rest)
    rows = []
    for scene in scenes[::5]:
        text = scene.rest[0][2]
        rows.append(Pair(text, common.with_typos(text, 2, rng, known), 5.0, {"typo"}, "typo", scene.name))
    return rows


def from_choices() -> list[Pair]:
    """The rows of sentences with choices of wording."""
    return [Pair(*row.texts, row.score, set(row.found), "choices", row.cluster) for row in choices.pairs()]


def from_negations() -> list[Pair]:
    """a-b and b-c, or b-a and a-c, of each frame by turns, and what is left with a wording of another frame."""
    rows = []
    table = [line.split("| ", 1) for line in common.lines("lex_pairs_negation.txt")]
    for number, (head, text) in enumerate(table):
        same, other = map(float, head.split())
        a, b, c = common.expand(text)
        one, two, left = (a, b, a) if number % 2 else (b, a, c)
        far = common.expand(table[(number + choices.NEXT) % len(table)][1])[number % 3]
        plan = ((one, two, same, {"paraphrase"}), (two, c, other, {"negation"}), (left, far, choices.FAR, set[str]()))
        for first, second, grade, found in plan:
            slices = found | common.shown((first, second))
            rows.append(Pair(first, second, grade, slices, "negation", f"negation-{number}"))
    return rows


def build() -> list[Pair]:
    """All rows in their final order."""
    rng = random.Random(SEED)
    scenes = read_scenes("lex_pairs_scenes.txt")
    frames, bases = from_frames(rng)
    rows = from_scenes(scenes, rng) + frames + from_hand() + from_substitutes(scenes)
    rows += from_stories(read_stories("lex_pairs_long.txt"), rng)
    rows += from_grammar(rng, 10)
    rows += far_apart(scenes, bases, rng)
    rows = thin(rows)
    mistype(rows, rng)
    rows += typing_copies(scenes, rng)
    rng.shuffle(rows)
    kept: dict[frozenset[str], Pair] = {}
    for row in rows:
        row.found |= common.shown((row.first, row.second))
        if row.first != row.second:
            kept.setdefault(frozenset((row.first, row.second)), row)
    return [*kept.values(), *from_choices(), *from_negations()]


def main() -> None:
    """Write the file."""
    rows = [
        {
            "sentence1": r.first,
            "sentence2": r.second,
            "score": float(r.score),
            "slices": common.ordered(r.found),
            **common.clustered(r.cluster),
        }
        for r in build()
    ]
    common.write_jsonl(common.DATA / "pairs" / "pairs.jsonl", rows)


if __name__ == "__main__":
    main()
