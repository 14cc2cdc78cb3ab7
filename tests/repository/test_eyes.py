"""The page about faults says what was found; faults do what they say, and one is red where a sound encoder is green."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from helpers.scripts import benchmark

from embedgate.data.cards import bundled_folder

DIM = 8


@pytest.fixture(scope="module")
def eyes():
    with benchmark("eyes") as module:
        yield module


@pytest.fixture(scope="module")
def parts(eyes):
    from eyes import answers, encoder, sessions, words

    return {"answers": answers, "encoder": encoder, "sessions": sessions, "words": words}


@pytest.fixture(scope="module")
def answers(parts):
    return parts["answers"]


def rows_of(texts, size=32):
    """Rows that tell their texts."""
    return np.stack([np.random.default_rng(sum(map(ord, text))).normal(size=DIM) for text in texts]).astype(np.float32)


def cell(red=(), inconclusive=(), errors=(), **more):
    said = {"red": list(red), "inconclusive": list(inconclusive), "errors": list(errors)}
    return {**said, "causes": [], "judged": 30, "date": "", **more}


def test_the_page_has_the_tables_of_what_was_found(eyes):
    text = eyes.PAGE.read_text("utf-8")
    assert eyes.tables.with_tables(text, eyes.cases(), eyes.kept()) == text, "run: python benchmarks/eyes.py --write"


def test_another_finding_changes_the_page(eyes):
    text, found = eyes.PAGE.read_text("utf-8"), eyes.kept()
    found.setdefault("after", {}).setdefault("standard", {})["cls/fp16"] = cell(["canary everything"])
    assert "one check: canary everything" in eyes.tables.with_tables(text, eyes.cases(), found)


def test_what_was_found_is_of_cases_that_there_are(eyes):
    known = eyes.cases()
    for depths in eyes.kept().values():
        assert set(depths) <= {"sessions", eyes.tables.GOLDEN, *eyes.tables.DEPTHS}
        assert {name for depth, cells in depths.items() if depth != "sessions" for name in cells} <= set(known)


def test_there_are_as_many_as_the_page_promises(eyes):
    known = eyes.cases()
    for promise in ("fp16", "int8"):
        own = [case for case in known.values() if case.promise == promise]
        assert sum(not case.is_sound for case in own) >= 80
        assert sum(case.is_sound for case in own) >= 12
    assert len({case.combination for case in known.values()}) == len(known)


def table_of(eyes, **trees):
    """The row of one case, as a list."""
    case = eyes.cases()["cls/fp16"]
    found = {tree: {depth: {"cls/fp16": found}} for tree, (depth, found) in trees.items()}
    titles, _, row = eyes.tables.by_check([case], found).splitlines()
    return dict(zip(*([part.strip() for part in line.strip("|").split("|")] for line in (titles, row)), strict=True))


def test_a_table_says_what_is_red_inconclusive_and_green(eyes):
    row = table_of(eyes, before=("quick", cell(["agreement cosine_min"], ["retention pairs spearman"])))
    assert (row["agreement"], row["retention"], row["contract"], row["red checks"]) == ("R", "?", "·", "1 alone")


def test_a_table_says_what_only_standard_sees(eyes):
    row = table_of(eyes, before=("standard", cell(["ordering margin", "ordering kept"])))
    assert (row["ordering"], row["red checks"]) == ("r", "2")


def test_a_table_says_what_is_other_after(eyes):
    row = table_of(eyes, before=("quick", cell()), after=("quick", cell(["canary texts"])))
    assert (row["canary"], row["red checks"], row["agreement"]) == ("· → R", "0 → 1 alone", "·")


def test_an_error_counts_as_red(eyes):
    assert table_of(eyes, before=("quick", cell(errors=["no encode()"])))["red checks"] == "0 and an error"
    assert eyes.tables.is_seen(cell(errors=["no encode()"]))
    assert not eyes.tables.is_seen(cell(inconclusive=["retention pairs spearman"]))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"fault": ["cls"]}, ["cls/fp16", "cls/int8"]),
        ({"fault": ["cls/int8", "max"], "promise": ["int8"]}, ["cls/int8", "max/int8"]),
        ({"fault": ["cls", "max"], "promise": ["fp16"], "missing": True}, ["max/fp16"]),
        ({"fault": ["cls", "last", "max"], "promise": ["fp16"], "weak": True}, ["last/fp16", "max/fp16"]),
    ],
)
def test_what_is_asked_is_chosen(eyes, monkeypatch, given, expected):
    red, alone = cell(["agreement texts cosine_min", "golden"]), cell(["agreement texts cosine_min"])
    before = {"quick": {"cls/fp16": red, "last/fp16": alone}}
    monkeypatch.setattr(eyes, "kept", lambda: {"before": before, "after": {"quick": {"cls/fp16": red}}})
    usual = {"tree": "after", "depth": "quick", "fault": None, "promise": None, "missing": False, "weak": False}
    chosen = eyes._chosen(eyes.cases(), SimpleNamespace(**{**usual, **given}))
    assert [case.name for case in chosen] == expected


@pytest.mark.parametrize(
    ("change", "text", "expected"),
    [
        ("accented_dropped", "Zoë's café", "Zo's caf"),
        ("other_scripts_unknown", "Привет, Zoë!", " [UNK] , Zoë!"),
        ("basic_plane", "sun 🌞 and é", "sun  and é"),
        ("compatible", "ﬁne", "fine"),
        ("one_digit", "in 1984", "in 0000"),
        ("two_digits", "in 1984 or 84", "in 19 or 84"),
        ("first_words", "word " * 46, "word " * 11 + "word"),
        ("first_words", "some words", "some words"),
        ("first_sentence", "One. Two.", "One."),
        ("last_word_lost", "one two three", "one two"),
        ("backwards", "one two", "two one"),
        ("escaped", "a & b", "a &amp; b"),
        ("hyphens_joined", "well-known - yes", "wellknown - yes"),
        ("singular", "the cars is", "the car is"),
    ],
)
def test_texts_are_changed_as_is_said(parts, change, text, expected):
    assert getattr(parts["words"], change)(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("It does not rain.", "It does rain."), ("It doesn't.", "It does."), ("a note", "a note")]
)
def test_negation_is_left_out_and_nothing_else(parts, text, expected):
    assert parts["words"].without(parts["words"].NEGATION)(text) == expected


def test_one_buffer_answers_with_the_same_memory(answers):
    encode = answers.one_buffer(rows_of)
    first = encode(["one"], 32)
    before = first.copy()
    np.testing.assert_array_equal(first, rows_of(["one"]))
    encode(["two"], 32)
    assert not np.array_equal(first, before)


def test_what_is_beyond_64_texts_is_zeros(answers):
    texts = [f"text {number}" for number in range(70)]
    found = answers.beyond_zero(rows_of(texts), texts)
    assert not found[64:].any()
    np.testing.assert_array_equal(found[:64], rows_of(texts[:64]))


def test_a_duplicate_gets_the_neighbours_row_and_no_other_text(answers):
    texts = ["one", "two", "one"]
    found = answers.duplicates_astray(rows_of(texts), texts)
    np.testing.assert_array_equal(found, rows_of(["one", "two", "two"]))


def test_a_last_batch_is_lost_where_it_is_not_full_and_not_alone(answers):
    encode, texts = answers.partial_batch_lost(rows_of), ["one", "two", "three"]
    assert encode(texts, 2).any(axis=1).tolist() == [True, True, False]
    assert encode(texts, 3).any(axis=1).all()
    assert encode(texts, 32).any(axis=1).all()


def test_a_text_asked_again_gets_another_row(answers):
    encode = answers.second_time(rows_of)
    np.testing.assert_array_equal(encode(["one"], 1), rows_of(["one"]))
    assert np.abs(encode(["one"], 1) - rows_of(["one"])).max() > 0.01


@pytest.mark.parametrize("name", ["fortran", "read_only", "every_other", "tensors", "doubles", "slow"])
def test_a_sound_answer_has_the_same_rows(answers, name):
    texts = ["one", "two", "three"]
    found = getattr(answers, name)(rows_of)(texts, 2)
    np.testing.assert_array_equal(np.asarray(found), rows_of(texts))


def test_harm_is_told_text_by_text(parts):
    right = rows_of(["one", "two", "three", "four"])
    found = right.copy()
    found[0] = np.nan
    found[1] *= -1
    harm = parts["encoder"].harm_of(found, right)
    assert harm == {"texts": 4, "touched": 0.5, "least": -1.0, "mean": 0.25}
    assert parts["encoder"].harm_of(right, right)["touched"] == 0


def test_a_report_is_read_by_combination(parts):
    causes = {"layer": "order", "cause": "rows are in another order"}
    judged = [
        {"check": "agreement", "dataset": "", "metric": "cosine_min", "verdict": "fail", "diagnosis": causes},
        {"check": "retention", "dataset": "pairs", "metric": "spearman", "verdict": "pass", "diagnosis": None},
    ]
    report = {"combinations": [{"combination": "cls-fp16-cpu", "judgements": judged, "errors": []}]}
    found = parts["sessions"].read(report, "cls-fp16-cpu")
    assert (found["red"], found["inconclusive"], found["judged"]) == (["agreement cosine_min"], [], 2)
    assert found["causes"] == ["order: rows are in another order"]
    assert parts["sessions"].read(report, "other-fp16-cpu")["errors"] == ["not in the report"]


@pytest.fixture
def how(parts, tmp_path):
    """A session on some of the bundled pairs."""
    pairs = tmp_path / "pairs.jsonl"
    rows = (bundled_folder() / "pairs" / "pairs.jsonl").read_text("utf-8").splitlines(keepends=True)
    pairs.write_text("".join(rows[:200]), "utf-8")
    return parts["sessions"].Asked("quick", tmp_path, data=(str(pairs),))


@pytest.mark.slow("faults that docs/faults.md asks about are red in a session, and a sound encoder is green")
def test_a_fault_is_red_and_what_is_sound_is_green(eyes, parts, model, how):
    chosen = [eyes.cases()[name] for name in ("plain/fp16", "fortran/fp16", "half/fp16", "noise-20/fp16")]
    found = parts["sessions"].ask(how, model.path, chosen)
    assert [bool(found[case.name]["red"]) for case in chosen] == [False, False, True, True]
    assert not any(found[case.name]["errors"] for case in chosen)


@pytest.mark.slow("golden texts that were approved without a fault are red with it, and green without")
def test_golden_texts_see_a_fault_that_came_later(eyes, parts, model, how):
    chosen = [eyes.cases()[name] for name in ("plain/fp16", "lines-joined/fp16")]
    found = parts["sessions"].ask_golden(how, model.path, chosen)
    assert [(cell["red"], cell["errors"]) for cell in found.values()] == [([], []), (["golden"], [])]
