"""The rows of the bundled datasets are those that their generators write, and each slice is what its card says."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections import Counter

import numpy as np
import pytest
from helpers.paths import ROOT
from tokenizers import Tokenizer

from embedgate.checks.slices import FEWEST
from embedgate.data import Labelled, Similarity, Triplets, bundled, load

WRITTEN = {
    "pairs": "pairs/pairs.jsonl",
    "triplets": "triplets/triplets.jsonl",
    "topics": "topics/texts.jsonl",
    "multilingual": "multilingual/pairs.jsonl",
}
# What has 18 sources, one for each pair of languages: it is named as too small.
SMALL = {"multilingual": {"cross-lingual"}}


@pytest.fixture
def generators(tmp_path, monkeypatch):
    """Runs a generator of rows, which writes below a folder of the test's own."""
    folder = ROOT / "tools/author_data"
    monkeypatch.syspath_prepend(folder)
    before = set(sys.modules)
    common = importlib.import_module("lex_common")
    monkeypatch.setattr(common, "DATA", tmp_path)
    yield lambda name: importlib.import_module(name).main()
    for name in set(sys.modules) - before:
        if (folder / f"{name}.py").is_file():
            del sys.modules[name]


@pytest.mark.parametrize("name", WRITTEN)
def test_generators_write_the_rows(generators, tmp_path, name):
    generators(name)
    assert (tmp_path / WRITTEN[name]).read_bytes() == (ROOT / "fixtures/data" / WRITTEN[name]).read_bytes()


@pytest.mark.parametrize("name", [name for name in WRITTEN if name in bundled()])
def test_each_slice_has_items_enough_to_be_judged(name):
    """As the check `slices` counts them: rows of one source are one."""
    whole = load(name)
    clusters = whole.clusters if whole.clusters is not None else np.arange(len(whole))
    own = {slice_: len(np.unique(clusters[list(items)])) for slice_, items in whole.slices.items()}
    assert {slice_ for slice_, items in own.items() if items < FEWEST} == SMALL.get(name, set())


@pytest.mark.parametrize("name", WRITTEN)
def test_no_row_stands_twice(name):
    lines = (ROOT / "fixtures/data" / WRITTEN[name]).read_text("utf-8").splitlines()
    rows = [
        frozenset(v for k, v in json.loads(line).items() if isinstance(v, str) and k != "cluster") for line in lines
    ]
    grades = {"sentence1", "sentence2"} <= json.loads(lines[0]).keys()
    assert len(rows) == len({(row if grades else line) for row, line in zip(rows, lines, strict=True)})


@pytest.mark.parametrize("name", WRITTEN)
def test_no_sentence_ends_in_two_full_stops(name):
    text = (ROOT / "fixtures/data" / WRITTEN[name]).read_text("utf-8")
    assert re.findall(r".{20}\b[ap]\.m\.\..*", text) == []


def test_a_wording_that_ends_in_a_full_stop_ends_the_sentence(generators):
    generators("multilingual")
    woven = sys.modules["lex_common"].woven
    assert woven(["Come at ", ". Go."], ["8 p.m."]) == "Come at 8 p.m. Go."
    assert woven(["Come at ", ". Go."], ["eight"]) == "Come at eight. Go."


def test_rows_graded_unrelated_are_of_unlike_subjects(generators):
    """Two scenes of neighbours, or of heavy snow, share a subject: no row of grade 0 holds both."""
    generators("multilingual")
    author = sys.modules["multilingual"]
    scenes = [*author.read("lex_multilingual_shared.txt"), *author.read("lex_multilingual_own.txt")]
    named = {text: scene.name for scene in scenes for text in scene.texts}
    lines = (ROOT / "fixtures/data" / WRITTEN["multilingual"]).read_text("utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["score"] == 0]
    both = [{named[row["sentence1"]], named[row["sentence2"]]} for row in rows]
    assert [pair for pair in both if pair in ({"dog", "parcel"}, {"snow-zh", "train"})] == []
    assert len(both) == 79


@pytest.fixture(scope="module")
def ids(minilm):
    """Token ids of a whole text, without special tokens."""
    tokenizer = Tokenizer.from_file(str(minilm.path / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids


@pytest.fixture(scope="module")
def pieces(ids):
    """Number of word pieces of a text."""
    return lambda text: len(ids(text))


def test_no_triplet_is_told_by_what_some_vocabularies_lack(ids):
    """A positive and a negative of the same token ids are a draw, which rounding would decide."""
    data = load("triplets")
    both = zip(data.positives, data.negatives, strict=True)
    assert [each for each in both if ids(each[0]) == ids(each[1])] == []


class TestSlices:
    @pytest.mark.parametrize("name", ["pairs", "triplets", "topics"])
    def test_texts_of_100_tokens_have_so_many(self, name, pieces):
        counts = [pieces(text) for row in rows_of(name, "100-tokens") for text in row]
        assert min(counts) >= 100
        assert max(counts) <= 250

    @pytest.mark.parametrize("name", ["pairs", "triplets"])
    def test_some_of_them_differ_beyond_the_128th_token_alone(self, name, pieces):
        """So a model that cuts texts there cannot tell them apart."""
        late = [row for row in rows_of(name, "100-tokens") if pieces(common_start(row)) >= 128]
        assert len(late) >= FEWEST / 4

    @pytest.mark.parametrize("name", ["pairs", "triplets", "topics"])
    @pytest.mark.parametrize(
        ("slice_", "shows"),
        [
            ("accents", lambda text: any("\u00c0" <= letter <= "\u1eff" for letter in text)),
            ("other-scripts", lambda text: any(letter.isalpha() and letter > "\u0370" for letter in text)),
            ("emoji", lambda text: any(letter > "\u2190" for letter in text)),
        ],
    )
    def test_each_row_shows_what_its_slice_is_about(self, name, slice_, shows):
        assert [row for row in rows_of(name, slice_) if not any(map(shows, row))] == []

    def test_each_slice_of_topics_has_four_texts_of_each_topic(self):
        data = load("topics")
        assert isinstance(data, Labelled)
        for items in data.slices.values():
            assert Counter(data.labels[item] for item in items) == dict.fromkeys(data.labels, 4)


def rows_of(name: str, slice_: str) -> list[tuple[str, ...]]:
    """The texts of each row of a slice."""
    data = load(name)
    assert isinstance(data, Labelled | Similarity | Triplets)
    if isinstance(data, Labelled):
        return [(data.items[item],) for item in data.slices[slice_]]
    columns = (
        (data.first, data.second) if isinstance(data, Similarity) else (data.anchors, data.positives, data.negatives)
    )
    return [tuple(column[item] for column in columns) for item in data.slices[slice_]]


def common_start(texts: tuple[str, ...]) -> str:
    """What the two texts of a pair, or the positive and the negative of a triplet, begin with, alike."""
    *_, first, last = texts
    return first[: next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))]
