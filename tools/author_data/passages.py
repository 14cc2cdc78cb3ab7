"""Write the retrieval set: ``fixtures/data/passages/`` (corpus, queries, qrels) in BEIR layout.

Two kinds of material, both plain text files beside this script, feed the set:

``mat_passages_families_*.txt``
    Document types of ten domain families.  A type has a title (``T:``), one or more wordings (``B:``), a
    table of facts (``R:`` names the columns, the lines after it are the rows) and queries (``?``).  Each row
    becomes one passage in one of the wordings, in turn; in a type headed ``(both wordings)`` each row is
    published in every wording.  The passages of one type are thus near-duplicates that differ in their facts.

``mat_passages_hand_*.txt``
    Passages written one by one, ``title | text``, each followed by the queries it answers.

How a judgement follows from how a row was made: a family query names its row (or several rows, each giving a
query) and the columns that it asks by, ``? ROW,ROW by COLUMN ...``; ``{COLUMN}`` in its text stands for the
fact of the row.  Every passage made from a row that agrees with the named row in all of these columns is
graded 2, so a second wording or a second row with the same facts is always judged too.  After ``~`` a query
may name fewer columns: passages that agree in those only (the same medicine for another age, the same
cover at another level) are graded 1.  A hand query is graded 2 for the passage that it stands under, and
``+TITLE=GRADE`` adds other hand-written passages.

Run as ``python tools/author_data/passages.py`` from the repository root; the output is always the same.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGET = Path("fixtures/data/passages")
SEED = 20240611
MAX_JUDGED = 4
SHORT_WORDS = 4
LONG_WORDS = 12
CODES = {"n": "negation", "e": "entities", "y": "near-synonyms", "d": "near-duplicates", "#": "numerals"}
SLICES = ("short", "long", "negation", "numerals", "entities", "near-synonyms", "near-duplicates")


@dataclass
class Passage:
    """One passage of the corpus; ``key`` names it until the identifiers are dealt out."""

    key: str
    title: str
    text: str


@dataclass
class Query:
    """One query with its slices and the grades of the passages judged for it."""

    text: str
    slices: set[str]
    judged: dict[str, int] = field(default_factory=dict)


@dataclass
class DocumentType:
    """Title, wordings, fact table and query lines of one document type."""

    name: str
    both: bool
    title: str = ""
    wordings: list[str] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    rows: list[dict[str, str]] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)


def sentence_case(text: str) -> str:
    """Capitalise the first letter of the text and of each sentence after a full stop."""
    text = text[0].upper() + text[1:]
    return re.sub(r"(?<=[a-z0-9%)][.!?] )([a-z])", lambda m: m.group(1).upper(), text)


def with_lengths(text: str, slices: set[str]) -> set[str]:
    """Add the slices that can be read off the query itself: its length and its digits."""
    words = len(text.split())
    found = set(slices)
    if words <= SHORT_WORDS:
        found.add("short")
    if words >= LONG_WORDS:
        found.add("long")
    if any(char.isdigit() for char in text):
        found.add("numerals")
    return found


def decode(codes: str) -> set[str]:
    """Turn the letter codes of a query line into slice names."""
    return {CODES[code] for code in codes.split()}


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
            name = line[2:]
            both = name.endswith("(both wordings)")
            types.append(DocumentType(f"{family}/{name}", both))
        elif line.startswith("T: "):
            types[-1].title = line[3:]
        elif line.startswith("B: "):
            types[-1].wordings.append(line[3:])
        elif line.startswith("R: "):
            types[-1].columns = line[3:].split("|")
        elif line.startswith("? "):
            types[-1].queries.append(line[2:])
        else:
            cells = line.split("|")
            if len(cells) != len(types[-1].columns):
                raise ValueError(f"{types[-1].name}: wrong number of cells: {line}")
            types[-1].rows.append(dict(zip(types[-1].columns, cells, strict=True)))
    return types


def passages_of(kind: DocumentType) -> list[tuple[int, Passage]]:
    """Write out the passages of a type, each with the index of its row."""
    made: list[tuple[int, Passage]] = []
    for index, row in enumerate(kind.rows):
        count = len(kind.wordings)
        chosen = range(count) if kind.both else [index % count]
        for wording in chosen:
            text = sentence_case(kind.wordings[wording].format_map(row))
            title = sentence_case(kind.title.format_map(row))
            made.append((index, Passage(f"{kind.name}/{index}/{wording}", title, text)))
    return made


def queries_of(kind: DocumentType, made: list[tuple[int, Passage]]) -> list[Query]:
    """Read the query lines of a type and judge them by comparing fact rows."""
    found: list[Query] = []
    for line in kind.queries:
        head, codes, pattern = (part.strip() for part in line.split("|", 2))
        numbers, _, columns = head.partition(" by ")
        exact, _, partial = columns.partition("~")
        for number in numbers.split(","):
            asked = kind.rows[int(number) - 1]
            judged: dict[str, int] = {}
            for index, passage in made:
                row = kind.rows[index]
                if all(row[name] == asked[name] for name in exact.split()):
                    judged[passage.key] = 2
                elif partial.split() and all(row[name] == asked[name] for name in partial.split()):
                    judged[passage.key] = 1
            text = pattern.format_map(asked)
            slices = decode(codes) | {"near-duplicates"}
            found.append(Query(text, with_lengths(text, slices), judged))
    return found


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
            queries.append(Query(text, with_lengths(text, decode(codes)), judged))
        else:
            title, text = (part.strip() for part in line.split("|", 1))
            passages.append(Passage(f"hand/{title}", title, text))
    return passages, queries


def check(passages: list[Passage], queries: list[Query]) -> None:
    """Stop on broken material: repeated passages or queries, odd lengths, judgements that do not resolve."""
    keys = [passage.key for passage in passages]
    texts = [passage.text for passage in passages]
    wanted = [query.text.casefold() for query in queries]
    for label, values in (("key", keys), ("text", texts), ("query", wanted)):
        doubled = {value for value in values if values.count(value) > 1}
        if doubled:
            raise ValueError(f"repeated {label}: {sorted(doubled)[:5]}")
    short = [p.text for p in passages if not 25 <= len(p.text.split()) <= 80]
    if short:
        raise ValueError(f"{len(short)} passages of unsuitable length: {short[:40]}")
    for query in queries:
        if not 1 <= len(query.judged) <= MAX_JUDGED or set(query.judged) - set(keys):
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
    for number, query in enumerate(queries, 1):
        identifier = f"q{number:03d}"
        slices = [slice_ for slice_ in SLICES if slice_ in query.slices]
        asked.append({"_id": identifier, "text": query.text, "slices": slices})
        ranked = sorted((-grade, name[key]) for key, grade in query.judged.items())
        lines += [f"{identifier}\t{passage}\t{-grade}" for grade, passage in ranked]
    for filename, rows in (("corpus.jsonl", corpus), ("queries.jsonl", asked)):
        body = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (target / filename).write_text(body, encoding="utf-8", newline="\n")
    (target / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def main() -> None:
    """Read the material, judge, check and write."""
    passages: list[Passage] = []
    queries: list[Query] = []
    for path in sorted(HERE.glob("mat_passages_families_*.txt")):
        for kind in read_types(path):
            made = passages_of(kind)
            passages += [passage for _, passage in made]
            queries += queries_of(kind, made)
    for path in sorted(HERE.glob("mat_passages_hand_*.txt")):
        hand, asked = read_hand(path)
        passages += hand
        queries += asked
    check(passages, queries)
    write(passages, queries, TARGET)


if __name__ == "__main__":
    main()
