"""Which items repeat others: equal ones, nearly equal ones, those of one passage, and those the data names."""

from __future__ import annotations

import json
import random
import tracemalloc
from dataclasses import replace
from itertools import permutations

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from embedgate.core.errors import DataError
from embedgate.data import load, nearly, types
from embedgate.data.alike import clusters_of
from embedgate.data.nearly import MOST_COMPARED, likely

LONG = "The committee met on {} to discuss the budget for the coming year and to hear what the auditors had to say."


def test_items_of_their_own_are_alone():
    assert clusters_of(["A fox crossed the lake.", "Twelve euros are missing.", "Who sings this song?"]) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("A fox crossed the lake.", "A fox crossed the lake."),
        ("A fox crossed the lake.", "a fox  crossed the lake"),
        ("It's 12.5 euros - no more!", "its 12.5 euros, no more"),
        (LONG.format("Monday"), LONG.format("Friday")),
        ("包裹星期四到。", "包裹星期四到！"),
    ],
    ids=["equal", "case and spaces", "punctuation", "one word of many", "chinese"],
)
def test_equal_and_nearly_equal_texts_are_in_one_cluster(one, other):
    assert clusters_of([one, "Something else entirely.", other]).tolist() == [0, 1, 0]


def test_a_short_text_with_another_word_is_another():
    assert clusters_of(["The parcel arrives on Monday.", "The letter arrives on Friday."]) is None


def test_very_long_texts_are_compared_by_their_beginning():
    rng = random.Random(0)
    signs = [*map(chr, range(0x4E00, 0x9FA5))]
    begin, *ends = ("".join(rng.choices(signs, k=k)) for k in (MOST_COMPARED, 10**6, 10**6))
    assert clusters_of([begin + ends[0], begin + ends[1], ends[0] + begin]).tolist() == [0, 0, 1]


def test_memory_of_a_long_text_is_bounded():
    texts = ["ab cd" * 200_000, "another text"]
    tracemalloc.start()
    try:
        clusters_of(texts)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 60e6, "540 bytes a character before"


def shared(one, other):
    runs = [{text[start : start + 4] for start in range(len(text) - 3)} for text in (one, other)]
    return len(runs[0] & runs[1]) / len(runs[0] | runs[1])


def word(rng):
    return "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(4, 8)))


def with_others(rng, words, places):
    return [word(rng) if place in places else each for place, each in enumerate(words)]


def pairs_that_share(low, high, count):
    rng, found = random.Random(0), []
    while len(found) < count:
        words = [word(rng) for _ in range(30)]
        pair = [" ".join(each) for each in (words, with_others(rng, words, rng.sample(range(30), rng.randint(1, 5))))]
        if low <= shared(*pair) < high:
            found.append(pair)
    return found


def test_of_texts_beyond_the_threshold_hardly_one_is_overlooked():
    pairs = pairs_that_share(0.71, 0.73, 100)
    found = clusters_of([text for pair in pairs for text in pair]).tolist()
    joined = sum(one == other for one, other in zip(found[::2], found[1::2], strict=True))
    assert joined >= 99
    assert len(set(found)) == 200 - joined  # with no others


def test_texts_short_of_the_threshold_are_others():
    assert clusters_of([text for pair in pairs_that_share(0.6, 0.695, 100) for text in pair]) is None


def test_texts_of_a_chain_are_in_one_cluster_in_any_order():
    rng = random.Random(3)
    words = [word(rng) for _ in range(40)]
    between = with_others(rng, words, range(5))
    first, second, third = (" ".join(each) for each in (words, between, with_others(rng, between, range(35, 40))))
    assert min(shared(first, second), shared(second, third)) > 0.71
    assert shared(first, third) < 0.69
    assert all(clusters_of(order).tolist() == [0, 0, 0] for order in permutations([first, second, third]))


def test_texts_of_one_template_are_not_compared_each_with_each():
    rng = random.Random(0)
    frame = [word(rng) for _ in range(40)]
    texts = [" ".join(with_others(rng, frame, range(0, 40, 6))) for _ in range(400)]
    assert 0.5 < shared(*texts[:2]) < 0.7
    pairs = list(likely(texts))
    assert 400 < len(pairs) <= 32 * 400
    assert all(one < other for one, other in pairs)


@pytest.mark.parametrize("words", [["दिन", "दान"], ["मี", "มิ"]], ids=["hindi", "thai"])
def test_words_that_differ_in_a_mark_are_others(words):
    assert clusters_of(words) is None


@pytest.mark.parametrize("words", [["C+", "C"], ["a < b", "a > b"], ["lunch \U0001f389", "lunch \U0001f621"]])
def test_texts_that_differ_in_a_symbol_are_others(words):
    assert clusters_of(words) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [("a \u2615 break", "a \u2615\ufe0f break"), ("caf\u00e9", "cafe\u0301")],
    ids=["colour", "composed"],
)
def test_marks_that_change_no_word_count_for_nothing(one, other):
    assert clusters_of([one, other]).tolist() == [0, 0]


def test_what_joins_two_joins_all_that_they_are_joined_with():
    texts = ["one thing", "ONE THING", "a second one", "and a third"]
    assert clusters_of(texts, [None, "a", "a", None]).tolist() == [0, 0, 0, 1]


def test_texts_of_punctuation_alone_are_not_one():
    assert clusters_of(["!!!", "???", "..."]) is None


def test_a_thousand_of_one_kind_take_no_longer_than_they_must():
    """Each is compared with a few others, and not with every one."""
    found = clusters_of([LONG.format(number) for number in range(1000)])
    assert found.max() == 0


def file(tmp_path, rows):
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


WORDS = ["apple", "river", "engine", "window", "teacher", "cloud"]


def rows(*clusters):
    found = [{"sentence1": f"{w} one", "sentence2": f"{w} other {i}", "score": i} for i, w in enumerate(WORDS)]
    return [{**row, "cluster": cluster} for row, cluster in zip(found, clusters, strict=False)]


def test_the_data_names_clusters_and_a_part_keeps_them(tmp_path):
    dataset = load(file(tmp_path, rows("x", "x", "", "y", None, "y")))
    assert dataset.clusters.tolist() == [0, 0, 1, 2, 3, 2]
    why = "repeated and nearly equal ones and those of one cluster are drawn together"
    assert dataset.repeated() == (f"6 items count as 4: {why}",)
    assert dataset.notes == ("rows of one 'cluster' count together",)
    assert load(f"{file(tmp_path, rows(*'abcdef'))}").notes == ()
    part = dataset.part([1, 3, 5, 0])
    assert part.groups == ("x", "y", "y", "x")
    assert part.clusters.tolist() == [0, 1, 1, 0]
    assert replace(part, notes=("noted",)).clusters.tolist() == [0, 1, 1, 0]
    assert part.part([3, 1, 0]).clusters.tolist() == [0, 1, 0]


def test_two_items_that_a_third_joins_are_joined_where_it_is_not(tmp_path):
    found = rows("x", "x", "y")
    found[2] |= {key: found[1][key].upper() for key in ("sentence1", "sentence2")}
    assert load(file(tmp_path, found)).part([0, 2]).clusters.tolist() == [0, 0]


def test_what_repeats_is_looked_for_once_and_only_when_asked(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(types, "clusters_of", lambda *args: asked.append(args) or clusters_of(*args))
    dataset = load(file(tmp_path, rows(*"xxyyzz")))
    parts = [dataset.part(range(size)) for size in (2, 4)]
    assert (len(asked), dataset.repeated()) == (0, ())
    assert [len(each.clusters) for each in (*parts, dataset)] == [2, 4, 6]
    assert len(asked) == 1


def test_case_does_not_matter_in_the_names_of_columns(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("Text,Label,Slices,Cluster\none,a,x;y,1\ntwo words,b,x,1\nthree more words,a,,2\n")
    dataset = load(str(path))
    assert dict(dataset.slices) == {"x": (0, 1), "y": (0,)}
    assert dataset.clusters.tolist() == [0, 0, 1]


def test_numbers_with_empty_cells_among_them_name_clusters(tmp_path):
    """Columns of whole numbers hold floats where a cell is empty."""
    path = tmp_path / "mine.parquet"
    found = rows(1.0, 1.0, None, float("nan"), 2.0)
    parquet.write_table(pa.Table.from_pylist(found), path)
    for source in (str(path), file(tmp_path, found)):
        dataset = load(source)
        assert dataset.groups == ("1", "1", "", "", "2")
        assert dataset.clusters.tolist() == [0, 0, 1, 2, 3]


def test_clusters_of_texts_without_labels_may_be_labels(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("text,Cluster\none,a\ntwo words,a\nthree more words,b\n")
    assert load(str(path)).notes == ("rows of one 'Cluster' count together; label=Cluster reads it as labels",)
    assert load(f"{path}::label=Cluster").labels == ("a", "a", "b")


def test_a_blank_cell_is_a_row_of_its_own(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("sentence1,sentence2,score,cluster\na,b,1,x\nc,d,2, \ne,f,3, \ng,h,4,x\n")
    assert load(str(path)).clusters.tolist() == [0, 1, 2, 0]


@pytest.mark.parametrize("cluster", [1.5, float("inf"), True])
def test_what_is_no_whole_number_names_no_cluster(tmp_path, cluster):
    with pytest.raises(DataError, match=f"mine.jsonl:1: 'cluster' is {cluster}, not a text"):
        load(file(tmp_path, rows(cluster, cluster)))


def test_a_cluster_that_is_no_id_is_refused_with_its_line(tmp_path):
    with pytest.raises(DataError, match=r"mine.jsonl:1: 'cluster' is \[1\], not a text"):
        load(file(tmp_path, rows([1], [1])))


def test_queries_about_the_same_documents_are_in_one_cluster(tmp_path):
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    for name, rows in {
        "corpus": [{"_id": f"d{i}", "text": f"document {i} about {'abcdef'[i] * 9}"} for i in range(4)],
        "queries": [
            {"_id": f"q{i}", "text": text, "cluster": "told" if i in (2, 4) else None}
            for i, text in enumerate(["who is it", "what is wanted", "where to go", "when to leave", "why at all"])
        ],
    }.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    judged = [("q0", "d0", 1), ("q1", "d0", 1), ("q2", "d1", 1), ("q3", "d0", 2), ("q4", "d2", 1)]
    lines = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, each)) for each in judged)]
    (folder / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n")
    assert load(str(folder)).clusters.tolist() == [0, 0, 1, 0, 1]


def test_a_sketch_depends_on_its_text_alone():
    """Texts are sketched many at a time: as each would be alone, whatever stands beside it, and however long it is."""
    rng = random.Random(0)
    texts = [
        "",
        "a",
        "abc",
        "\ud800x",
        "包裹星期四到。",
        *(" ".join(word(rng) for _ in range(n)) for n in (1, 9, 80, 1200)),
    ]
    together = nearly._sketches([*texts, *texts[::-1]])
    alone = [nearly._sketches([text])[0] for text in texts]
    assert (together == [*alone, *alone[::-1]]).all()


def test_sketches_are_sorted_value_by_value():
    values = np.random.default_rng(0).integers(0, 3, size=(500, 16), dtype=np.uint32) * np.uint32(2**31 - 1)
    assert nearly._order(values).tolist() == np.lexsort(values.T[::-1]).tolist()
