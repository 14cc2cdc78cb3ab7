"""Write the retrieval set: ``fixtures/data/passages/`` (corpus, queries, qrels) in BEIR layout.

Two kinds of material, both plain text files beside this script, feed the set:

``mat_passages_families_*.txt``
    Document types of the domain families.  A type has a title (``T:``), one or more wordings (``B:``), a
    table of facts (``R:`` names the columns, the lines after it are the rows) and query patterns (``?``).
    Each row becomes one passage in one of the wordings, in turn; in a type headed ``(both wordings)`` each row
    is published in every wording.  The passages of one type are thus near-duplicates that differ in their
    facts.  A type headed ``(code)`` holds source code, commands or messages of programs.

``mat_passages_hand_*.txt``
    Passages written one by one, ``title | text``, each followed by the queries it answers.

Which queries are asked is a rule, and no model has a say in it: all hand queries are, and every row is asked
about a fixed number of times (``ASKED``) by the patterns of its type.  These take turns, least used first, and a
seeded generator breaks ties; see ``deal``.

How a judgement follows from how a row was made: a pattern names the columns that it asks by,
``? COLUMN ... | CODES | TEXT``; ``{COLUMN}`` in its text stands for the fact of the row.  Every passage made
from a row that agrees with the asked row in all of these columns is graded 2, so a second wording or a second
row with the same facts is always judged too.  After ``~`` a pattern may name fewer columns: passages that agree
in those only (the same medicine for another age, the same cover at another level) are graded 1.  A hand query
is graded 2 for the passage that it stands under, and ``+TITLE=GRADE`` adds other hand-written passages.

Queries that share a passage of grade 2 are in one ``cluster``: they are not independent.

Run as ``python tools/author_data/passages.py`` from the repository root; the output is always the same.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass, field
from pathlib import Path

from lex_facts import Fact, agree, holds_accents, holds_emoji, holds_other_scripts

HERE = Path(__file__).resolve().parent
TARGET = Path("fixtures/data/passages")
SEED = 20240611
# How many queries a row is asked by: once where rows are many, three times where few rows make a slice.
ASKED = 2
ASKED_IN = {"registers": 1, "accents": 3, "scripts": 3, "emoji": 3, "programs": 3, "long passages": 3}
MAX_JUDGED = 4
SHORT_WORDS, LONG_WORDS = 4, 12
LEAST_WORDS, LONG_PASSAGE, MOST_WORDS = 25, 75, 200
BOTH, CODE = "(both wordings)", "(code)"
CODES = {"n": "negation", "e": "entities", "y": "near-synonyms", "#": "numerals"}
SLICES = (
    *("short", "long", "negation", "numerals", "entities", "near-synonyms", "near-duplicates"),
    *("accents", "other-scripts", "emoji", "code", "long-passages"),
)


@dataclass
class Passage:
    """One passage of the corpus; ``key`` names it until the identifiers are dealt out."""

    key: str
    title: str
    text: str
    code: bool = False


@dataclass
class Query:
    """One query with its slices and the grades of the passages judged for it."""

    text: str
    slices: set[str]
    judged: dict[str, int] = field(default_factory=dict)

    @property
    def answers(self) -> list[str]:
        """Keys of the passages of grade 2."""
        return [key for key, grade in self.judged.items() if grade == 2]


@dataclass
class Pattern:
    """What queries of a type are written by: the columns asked by, slice codes and text."""

    exact: list[str]
    partial: list[str]
    codes: str
    text: str


@dataclass
class DocumentType:
    """Title, wordings, fact table and query patterns of one document type."""

    name: str
    both: bool
    code: bool
    title: str = ""
    wordings: list[str] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    rows: list[dict[str, Fact]] = field(default_factory=list)
    patterns: list[Pattern] = field(default_factory=list)

    @property
    def asked(self) -> int:
        """How many queries are asked of each row."""
        return ASKED_IN.get(self.name.split("/")[0], ASKED)

    def fill(self, template: str, row: dict[str, Fact]) -> str:
        """A template with the facts of a row; in English the words around them agree with them."""
        text = template.format_map(row)
        return text if self.code else agree(text)


def sentence_case(text: str) -> str:
    """Capitalise the first letter of the text and of each sentence after a full stop."""
    text = text[0].upper() + text[1:]
    return re.sub(r"(?<=[a-z0-9%][.!?] )([a-z])", lambda m: m.group(1).upper(), text)


def read_off(query: Query, answers: list[Passage]) -> set[str]:
    """The slices that can be read off the query itself, and off it or a passage of grade 2."""
    words, texts = len(query.text.split()), [query.text, *(f"{one.title} {one.text}" for one in answers)]
    found = {
        "short": words <= SHORT_WORDS,
        "long": words >= LONG_WORDS,
        "numerals": any(char.isdigit() for char in query.text),
        "accents": any(map(holds_accents, texts)),
        "other-scripts": any(map(holds_other_scripts, texts)),
        "emoji": any(map(holds_emoji, texts)),
        "code": any(one.code for one in answers),
        "long-passages": any(len(one.text.split()) >= LONG_PASSAGE for one in answers),
    }
    return {name for name, holds in found.items() if holds}


def decode(codes: str) -> set[str]:
    """Turn the letter codes of a query line into slice names."""
    return {CODES[code] for code in codes.split()}


def read_pattern(line: str) -> Pattern:
    """Parse what follows the question mark of a query line."""
    columns, codes, text = (part.strip() for part in line.split("|", 2))
    exact, _, partial = columns.partition("~")
    return Pattern(exact.split(), partial.split(), codes, text)


def read_types(path: Path) -> list[DocumentType]:
    """Parse one families file."""
    types: list[DocumentType] = []
    family = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.strip():
            continue
        if line.startswith("## "):
            family = line[3:]
        elif line.startswith("= "):
            name = line[2:].replace(BOTH, "").replace(CODE, "").strip()
            types.append(DocumentType(f"{family}/{name}", BOTH in line, CODE in line))
        elif line.startswith("T: "):
            types[-1].title = line[3:]
        elif line.startswith("B: "):
            types[-1].wordings.append(line[3:])
        elif line.startswith("R: "):
            types[-1].columns = line[3:].split("|")
        elif line.startswith("? "):
            types[-1].patterns.append(read_pattern(line[2:]))
        else:
            cells = line.split("|")
            if len(cells) != len(types[-1].columns):
                raise ValueError(f"{types[-1].name}: wrong number of cells: {line}")
            types[-1].rows.append(dict(zip(types[-1].columns, map(Fact, cells), strict=True)))
    return types


def passages_of(kind: DocumentType) -> list[tuple[int, Passage]]:
    """Write out the passages of a type, each with the index of its row."""
    made: list[tuple[int, Passage]] = []
    for index, row in enumerate(kind.rows):
        count = len(kind.wordings)
        chosen = range(count) if kind.both else [index % count]
        for wording in chosen:
            text = sentence_case(kind.fill(kind.wordings[wording], row))
            title = kind.fill(kind.title, row)
            title = title if kind.code else sentence_case(title)
            made.append((index, Passage(f"{kind.name}/{index}/{wording}", title, text, kind.code)))
    return made


def judge(kind: DocumentType, made: list[tuple[int, Passage]], asked: dict[str, Fact], by: Pattern) -> dict[str, int]:
    """Grade the passages of a type for a query about one row by comparing fact rows."""
    judged: dict[str, int] = {}
    for index, passage in made:
        row = kind.rows[index]
        if all(row[name] == asked[name] for name in by.exact):
            judged[passage.key] = 2
        elif by.partial and all(row[name] == asked[name] for name in by.partial):
            judged[passage.key] = 1
    return judged


def deal(kind: DocumentType, made: list[tuple[int, Passage]]) -> list[Query]:
    """Ask of every row of a type, by patterns in turn: those used least so far, ties in a random order.

    A pattern is passed over for a row where more passages would be judged than ``MAX_JUDGED``, or where the very
    same query was asked of an earlier row.
    """
    rng = random.Random(f"{SEED} {kind.name}")
    used = [0] * len(kind.patterns)
    found: dict[str, Query] = {}
    for row in kind.rows:
        order = sorted(range(len(used)), key=lambda number: (used[number], rng.random()))
        left = kind.asked
        for number in order:
            pattern = kind.patterns[number]
            text, judged = kind.fill(pattern.text, row), judge(kind, made, row, pattern)
            if left and text.casefold() not in found and len(judged) <= MAX_JUDGED:
                found[text.casefold()] = Query(text, decode(pattern.codes) | {"near-duplicates"}, judged)
                used[number] += 1
                left -= 1
    return list(found.values())


def read_hand(path: Path) -> tuple[list[Passage], list[Query]]:
    """Parse one file of passages written one by one."""
    passages: list[Passage] = []
    queries: list[Query] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.strip():
            continue
        if line.startswith("?"):
            codes, text, *more = (part.strip() for part in line[1:].split("|"))
            judged = {passages[-1].key: 2}
            for extra in more:
                title, _, grade = extra.removeprefix("+").rpartition("=")
                judged[f"hand/{title}"] = int(grade)
            queries.append(Query(text, decode(codes), judged))
        else:
            title, text = (part.strip() for part in line.split("|", 1))
            passages.append(Passage(f"hand/{title}", title, text))
    return passages, queries


def clusters(queries: list[Query]) -> list[str]:
    """For each query the key that its cluster is called by: queries that share a passage of grade 2 are in one."""
    head: dict[str, str] = {}

    def top(key: str) -> str:
        while head.setdefault(key, key) != key:
            key = head[key]
        return key

    for query in queries:
        first, *others = query.answers
        for key in others:
            head[top(key)] = top(first)
    return [top(query.answers[0]) for query in queries]


def check(passages: list[Passage], queries: list[Query]) -> None:
    """Stop on broken material: repeated passages or queries, odd lengths, judgements that do not resolve."""
    keys = [passage.key for passage in passages]
    texts = [passage.text for passage in passages]
    wanted = [query.text.casefold() for query in queries]
    for label, values in (("key", keys), ("text", texts), ("query", wanted)):
        if doubled := sorted({value for value in values if values.count(value) > 1}):
            raise ValueError(f"repeated {label}: {doubled[:5]}")
    if odd := [p.text for p in passages if not LEAST_WORDS <= len(p.text.split()) <= MOST_WORDS]:
        raise ValueError(f"{len(odd)} passages of unsuitable length: {odd[:40]}")
    for query in queries:
        if not query.answers or len(query.judged) > MAX_JUDGED or set(query.judged) - set(keys):
            raise ValueError(f"judgements of {query.text!r}: {query.judged}")


def write(passages: list[Passage], queries: list[Query], target: Path) -> None:
    """Deal out the identifiers in a shuffled order and write the three files."""
    rng = random.Random(SEED)
    rng.shuffle(passages)
    rng.shuffle(queries)
    name = {passage.key: f"p{number:04d}" for number, passage in enumerate(passages, 1)}
    (target / "qrels").mkdir(parents=True, exist_ok=True)
    corpus = [{"_id": name[p.key], "title": p.title, "text": p.text} for p in passages]
    asked = []
    lines = ["query-id\tcorpus-id\tscore"]
    for number, (query, cluster) in enumerate(zip(queries, clusters(queries), strict=True), 1):
        identifier = f"q{number:04d}"
        slices = [slice_ for slice_ in SLICES if slice_ in query.slices]
        asked.append({"_id": identifier, "text": query.text, "slices": slices, "cluster": name[cluster]})
        ranked = sorted((-grade, name[key]) for key, grade in query.judged.items())
        lines += [f"{identifier}\t{passage}\t{-grade}" for grade, passage in ranked]
    for filename, rows in (("corpus.jsonl", corpus), ("queries.jsonl", asked)):
        body = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (target / filename).write_text(body, encoding="utf-8", newline="\n")
    (target / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def compose() -> tuple[list[Passage], list[Query]]:
    """Read the material, judge and find the slices of every query."""
    passages: list[Passage] = []
    queries: list[Query] = []
    for path in sorted(HERE.glob("mat_passages_families_*.txt")):
        for kind in read_types(path):
            made = passages_of(kind)
            passages += [passage for _, passage in made]
            queries += deal(kind, made)
    for path in sorted(HERE.glob("mat_passages_hand_*.txt")):
        hand, asked = read_hand(path)
        passages += hand
        queries += asked
    known = {passage.key: passage for passage in passages}
    for query in queries:
        query.slices |= read_off(query, [known[key] for key in query.answers if key in known])
    return passages, queries


def main() -> None:
    """Compose, check and write."""
    passages, queries = compose()
    check(passages, queries)
    write(passages, queries, TARGET)


if __name__ == "__main__":
    main()
