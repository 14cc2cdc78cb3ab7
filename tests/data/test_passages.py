"""The bundled retrieval set: a rule asks its queries, facts judge them, and its slices hold what they say."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path
from string import Formatter

import pytest
from helpers.paths import ROOT

from embedgate.core.model import DEFAULT_MODEL, resolve
from embedgate.data import load_bundled
from embedgate.data.cards import bundled_folder

# Word pieces of the texts that are called long, and the most that all-MiniLM-L6-v2 reads.
LONG, MOST = 100, 256
NEW_SLICES = ("accents", "other-scripts", "emoji", "code", "long-passages")
MATERIAL = """## family

= kettle
T: {m}
B: The {m} is {c} and holds {n} litres.
B: A {c} kettle of {n} litres: the {m}.
R: m|c|n
Brisk|red|2
Bravo|red|3
Solo|red|21
Tempo|blue|2
Lento|red|4
Presto|red|5
? m |  | {m} kettle
? n | # | kettle of {n:words} litres
? c | n | kettle that is not {c}
"""


@pytest.fixture(scope="module")
def author():
    """The script that writes the set."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "tools/author_data")
        spec = importlib.util.spec_from_file_location("author_passages", ROOT / "tools/author_data/passages.py")
        module = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        yield module


@pytest.fixture
def kettles(author, tmp_path):
    """A type of six rows, five of them alike in one column, with its passages."""
    (tmp_path / "kettles.txt").write_text(MATERIAL, "utf-8")
    (kind,) = author.read_types(tmp_path / "kettles.txt")
    return kind, author.passages_of(kind)


def rows(name: str) -> list[dict]:
    lines = (bundled_folder() / "passages" / name).read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def families(author):
    """Every document type of the bundled set."""
    paths = sorted(Path(author.__file__).parent.glob("mat_passages_families_*.txt"))
    return [kind for path in paths for kind in author.read_types(path)]


def test_the_script_writes_the_bundled_rows(author, tmp_path):
    passages, queries = author.compose()
    author.check(passages, queries)
    author.write(passages, queries, tmp_path)
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        assert (tmp_path / name).read_bytes() == (bundled_folder() / "passages" / name).read_bytes(), name


def test_every_row_is_asked_as_often_as_the_rule_says(author):
    for kind in families(author):
        asked = author.deal(kind, author.passages_of(kind))
        # A row whose facts others have too may be left with fewer patterns that tell it from them.
        assert 0.9 * kind.asked * len(kind.rows) <= len(asked) <= kind.asked * len(kind.rows), kind.name


def untold(kind) -> list[str]:
    """Patterns whose text leaves out what the judgement goes by: another row fits the text, but is not graded."""
    found = []
    for pattern in kind.patterns:
        told = {name for _, name, _, _ in Formatter().parse(pattern.text) if name}
        rows = {tuple(row[name] for name in sorted(told | {*pattern.exact})) for row in kind.rows}
        if len(rows) != len({tuple(row[name] for name in sorted(told)) for row in kind.rows}):
            found.append(pattern.text)
    return found


def test_queries_tell_what_they_are_judged_by(author, kettles):
    assert [text for kind in families(author) for text in untold(kind)] == []
    kind, _ = kettles
    kind.patterns.append(author.read_pattern("m c |  | kettle that is {c}"))
    assert untold(kind) == ["kettle that is {c}"]


def test_patterns_take_turns_and_pass_over_what_many_passages_answer(author, kettles):
    kind, made = kettles
    texts = [query.text for query in author.deal(kind, made)]
    assert set(texts) == {
        *(f"{row['m']} kettle" for row in kind.rows),
        *("kettle of two litres", "kettle of three litres", "kettle of twenty-one litres"),
        *("kettle of four litres", "kettle of five litres", "kettle that is not blue"),
    }
    assert len(texts) == len(set(texts))


def test_facts_judge(author, kettles):
    kind, made = kettles
    by_columns = {query.text: query for query in author.deal(kind, made)}
    grades = {key.split("/")[2]: grade for key, grade in by_columns["kettle that is not blue"].judged.items()}
    assert grades == {"3": 2}
    two = author.judge(kind, made, kind.rows[0], author.read_pattern("n ~ c | # | kettle"))
    assert sorted(two.values(), reverse=True) == [2, 2, 1, 1, 1, 1]


def test_queries_about_one_passage_are_in_one_cluster(author):
    grades = defaultdict(list)
    for line in (bundled_folder() / "passages/qrels/test.tsv").read_text("utf-8").splitlines()[1:]:
        query, passage, grade = line.split("\t")
        if grade == "2":
            grades[passage].append(query)
    cluster = {row["_id"]: row["cluster"] for row in rows("queries.jsonl")}
    assert all(len({cluster[query] for query in queries}) == 1 for queries in grades.values())
    assert max(Counter(cluster.values()).values()) <= 12
    ask = [author.Query(name, set(), dict.fromkeys(keys, 2)) for name, keys in (("x", "ab"), ("y", "bc"), ("z", "d"))]
    first, second, other = author.clusters(ask)
    assert first == second != other


@pytest.mark.parametrize(
    ("fact", "view", "told"),
    [
        ("Café Žofie", "", "Café Žofie"),
        ("Søren Kjær, Łódź", "plain", "Soren Kjaer, Lodz"),
        ("Match of the Day", "lower", "match of the Day"),
        ("0", "words", "zero"),
        ("14", "words", "fourteen"),
        ("40", "words", "forty"),
        ("172", "words", "one hundred and seventy-two"),
        ("300", "words", "three hundred"),
    ],
)
def test_facts_are_told_in_other_words(author, fact, view, told):
    assert format(author.Fact(fact), view) == told


@pytest.mark.parametrize(
    ("filled", "told"),
    [
        ("within one weeks, or one working days", "within one week, or one working day"),
        ("1 hours for 1 people and 2 hours", "1 hour for 1 person and 2 hours"),
        ("every one month", "every month"),
        ("an ant, a ink stand and an wind", "an ant, an ink stand and a wind"),
        ("A easterly wind. A 8-day hour, a hour", "An easterly wind. An 8-day hour, an hour"),
        ("thirty-one years, 2.1 metres, one of two weeks", "thirty-one years, 2.1 metres, one of two weeks"),
        ("in hall A at nine, a union of a euro", "in hall A at nine, a union of a euro"),
    ],
)
def test_words_around_a_fact_agree_with_it(author, filled, told):
    assert author.agree(filled) == told


def test_code_is_filled_as_it_stands(author):
    row = {"n": author.Fact("1")}
    told = {code: author.DocumentType("x", False, code).fill("a if {n} days", row) for code in (True, False)}
    assert told == {True: "a if 1 days", False: "an if 1 day"}


SLIPS = re.compile(
    r"(?<![\w.,'-])(?:one|1) (?:working )?(?:minutes|hours|days|weeks|months|years|people|users)\b"
    r"|\ba (?:[aio]|e(?!u))\w*|\ban (?![aeiouh8])[a-z]|\b(?:only|not|not at all|from|until) (?:only|all year)\b"
    r"|\b(\w+) \1\b|renewed not"
)


def test_no_sentence_has_a_slot_filled_against_its_grammar(author):
    """No code is looked at, for its words are no sentences."""
    passages, queries = author.compose()
    texts = [one.text for one in passages if not one.code]
    texts += [query.text for query in queries if "code" not in query.slices]
    found = [text for text in texts if SLIPS.search(text)]
    assert found == []
    assert SLIPS.search("open from all year")
    assert not SLIPS.search("open all year, for an hour in hall A at 9")


@pytest.mark.parametrize(
    ("text", "passage", "code", "slices"),
    [
        ("Cafe Zoe", "Café Zoë is shut.", False, {"short", "accents"}),
        ("出口", "The sign means exit.", False, {"short", "other-scripts"}),
        ("my shoes", "Your shoes are on their way 👟.", False, {"short", "emoji"}),
        ("exit 11", "Run `tarnlog`.", True, {"short", "numerals", "code"}),
        ("what does it say at the end", "word " * 75, False, {"long-passages"}),
        ("what does it say at the end", "word " * 74, False, set()),
        (" ".join("abcdefghijkl"), "Plain: 5° & §3, it's “so”…", False, {"long"}),
    ],
)
def test_slices_are_read_off_texts(author, text, passage, code, slices):
    answer = author.Passage("key", "", passage, code)
    assert author.read_off(author.Query(text, set(), {"key": 2}), [answer]) == slices


def test_slices_have_enough_queries():
    slices = load_bundled("passages").slices
    assert min(len(slices[name]) for name in NEW_SLICES) >= 150


def test_long_passages_are_long_and_none_is_cut():
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(resolve(DEFAULT_MODEL).path / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    dataset = load_bundled("passages")
    pieces = [len(found.ids) for found in tokenizer.encode_batch(list(dataset.documents))]
    assert max(pieces) <= MOST
    assert sum(count >= LONG for count in pieces) >= 60
    asked_of_long = {query for query, judged in enumerate(dataset.relevance) if any(pieces[d] >= LONG for d in judged)}
    assert asked_of_long >= set(dataset.slices["long-passages"])


def test_broken_material_is_refused(author, kettles):
    kind, made = kettles
    passages = [author.Passage(str(n), "", f"{n} " + "word " * 30) for n in range(5)]
    author.check(passages, [author.Query("x", set(), {"0": 2})])
    for query in ({"0": 1}, {"9": 2}, dict.fromkeys("01234", 2)):
        with pytest.raises(ValueError, match="judgements of 'x'"):
            author.check(passages, [author.Query("x", set(), query)])
    with pytest.raises(ValueError, match="repeated query"):
        author.check(passages, [author.Query("x", set(), {"0": 2}), author.Query("X", set(), {"1": 2})])
    with pytest.raises(ValueError, match="6 passages of unsuitable length"):
        author.check([passage for _, passage in made], author.deal(kind, made))
