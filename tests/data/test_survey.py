"""A dataset is looked through without a model: how much there is, what repeats, and what may be a mistake."""

from __future__ import annotations

import json

import pytest

from embedgate.core.letters import script_of
from embedgate.data import identified, load
from embedgate.data import survey as surveys
from embedgate.data.identified import languages_of
from embedgate.data.survey import Part, survey

LONG = "The committee met on {} to discuss the budget for the coming year and to hear what the auditors had to say."


@pytest.fixture
def of(tmp_path):
    """The survey of rows."""

    def make(*rows, **options):
        path = tmp_path / "mine.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        return survey(load(str(path)), **options)

    return make


def pair(first, second, score, *slices):
    return {"sentence1": first, "sentence2": second, "score": score, "slices": list(slices)}


PAIRS = (
    pair(LONG.format("Monday"), "The budget was discussed.", 5, "long"),
    pair(LONG.format("Friday"), "The budget was discussed.", 5, "long"),
    pair("A fox crossed the lake.", "An animal swam.", 3, "short"),
    pair("A fox crossed the lake.", "An animal swam.", 3, "short"),
    pair("Twelve euros are missing.", "Money is gone.", 4),
)


def test_items_that_repeat_others_are_counted_and_so_are_those_of_slices(of):
    found = of(*PAIRS)
    assert (found.items, found.texts, found.equal, found.independent) == (5, 7, 1, 3)
    assert found.slices == {"long": Part(2, 1), "short": Part(2, 1)}
    assert found.labels == "grades: 3 in 2, 4 in 1, 5 in 2"


def test_of_very_much_text_equal_items_alone_are_counted(of, monkeypatch):
    monkeypatch.setattr(surveys, "MOST_CHARACTERS", 100)
    found = of(*PAIRS)
    assert (found.compared, found.independent, found.slices["long"]) == (False, 4, Part(2, 2))
    found = of(*PAIRS, thorough=True)
    assert (found.compared, found.independent) == (True, 3)


def test_lengths_are_told_by_role(tmp_path):
    (tmp_path / "qrels").mkdir()
    (tmp_path / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": str(i), "text": "tea " * (i + 1)}) + "\n" for i in range(4))
    )
    (tmp_path / "queries.jsonl").write_text(
        "".join(json.dumps({"_id": f"q{i}", "text": f"what is {i}"}) + "\n" for i in range(3))
    )
    (tmp_path / "qrels/test.tsv").write_text("q0\t1\t1\nq1\t2\t2\nq1\t3\t1\nq2\t0\t1\n")
    found = survey(load(str(tmp_path)))
    assert (found.lengths["document"].texts, found.lengths["query"].texts) == (4, 3)
    assert found.lengths["document"].words == {"least": 1, "median": 2, "p95": 4, "most": 4}
    assert found.lengths["query"].characters["most"] == len("what is 0")
    assert found.labels == "4 documents; relevant to a query: 1 to 2, 1.3 in the mean; grades: 1 in 3, 2 in 1"


@pytest.mark.parametrize(
    ("rows", "odd"),
    [
        ([pair("a", "b", 1), pair("b", "a", 2), pair("c", "d", 3)], ["1 pair with several grades"]),
        ([pair("a", "a", 5), pair("b", "b", 4), pair("c", "d", 3)], ["2 pairs of one text twice"]),
        (
            [{"text": text, "label": label} for text, label in ("ax", "ay", "bx", "cy", "dz")],
            ["1 text with several labels", "1 label of one text: z"],
        ),
        (
            [
                {"text": text, "label": label}
                for text, label in (
                    ("a", "Tea"),
                    ("b", "tea "),
                    ("c", "TEA"),
                    ("d", "rye"),
                    *zip("efgh", ["Tea", "tea ", "TEA", "rye"], strict=True),
                )
            ],
            ["3 labels differ by case or blanks alone: 'Tea', 'tea ', 'TEA'"],
        ),
        (
            [{"anchor": "a", "positive": "a", "negative": "n"}, {"anchor": "b", "positive": "p", "negative": "p"}],
            ["1 triplet whose anchor is its positive", "1 triplet whose positive is its negative"],
        ),
        ([pair("a", "b", 1), pair("c", "d", 3)], []),
        ([pair("12", "b", 1), pair("0.5", "7", 3)], ["all texts of sentence1 are numbers"]),
        (
            [pair("NULL", "b", 1), pair("c", r"\N", 3), pair("NULL", "nan", 2)],
            ["2 texts of sentence1 are NULL", r"1 text of sentence2 is \N", "1 text of sentence2 is nan"],
        ),
    ],
)
def test_what_may_be_a_mistake_is_told(of, rows, odd):
    assert list(of(*rows).odd) == odd


def test_labels_are_told_in_a_line(of):
    rows = [{"text": f"text {i}", "label": f"l{i % 12}" if i else "l1"} for i in range(25)]
    assert of(*rows).labels.startswith("12 labels: l1 3, l2 2, ")
    assert of(*rows).labels.endswith("4 more, the smallest 2")


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("hello", "Latin"),
        ("Привет, world", "Cyrillic"),
        ("包裹星期四到。", "Han"),
        ("荷物は木曜日に届く。", "Japanese"),
        ("소포는 목요일에 온다", "Hangul"),
        ("ｆｕｌｌ ｗｉｄｔｈ", "Latin"),
        ("12.5 %", "none"),
        ("😀 ☕", "none"),
    ],
)
def test_a_text_has_the_script_of_most_of_its_letters(text, script):
    assert script_of(text) == script


def test_languages_are_told_where_what_tells_them_is_installed():
    pytest.importorskip("py3langid")
    german = ["Der Vertrag wurde gestern unterschrieben.", "Die Lieferung kommt erst am Donnerstag."] * 10
    english = ["The contract was signed yesterday.", "The delivery does not come before Thursday."] * 30
    assert languages_of(german + english) == {"en": pytest.approx(0.75), "de": pytest.approx(0.25)}


def test_without_it_scripts_alone_are(of, monkeypatch):
    monkeypatch.setattr(identified, "_identifier", lambda: None)
    found = of(*PAIRS)
    assert (found.languages, found.scripts) == (None, {"Latin": 1.0})


def test_rare_languages_are_told_together(monkeypatch):
    class Identifier:
        def classify(self, text):
            return text[:2], 0.0

    monkeypatch.setattr(identified, "_identifier", Identifier)
    found = languages_of(["en"] * 195 + ["de"] * 1 + ["fr"] * 4)
    assert found == {"en": 0.975, "fr": 0.02, "others": pytest.approx(0.005)}
    assert languages_of(["en"] * 8 + ["nn"] * 2) == {"en": 0.8, "others": pytest.approx(0.2)}
    assert languages_of(["en", "de"]) is None
