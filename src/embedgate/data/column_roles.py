"""Which columns a kind of dataset has: what each means, what it may be called, and what reads its cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from embedgate.data.cells import is_no_name, is_no_number, is_no_text, label, text, texts
from embedgate.data.grades import Grades

Parser = Callable[[object], Any]
Tabular = Literal["similarity", "triplets", "labelled", "retrieval", "texts"]
# The columns of each role, by its name.
Found = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Role:
    """What a column of a kind of dataset means.

    Attributes:
        keys: What a person calls it; the first is the name of its column.
        names: Names of columns that are understood, in lower case, letters and digits alone. Where a file has several
            of them, the one named first here counts.
        parse: Makes what reads a cell: one for each table, since all its grades are written in one way.
        many: Whether a cell may hold a list, and numbered columns one each.
        optional: Whether a table can do without.
    """

    keys: tuple[str, ...]
    names: tuple[str, ...]
    parse: Callable[[], Parser]
    many: bool = False
    optional: bool = False

    @property
    def name(self) -> str:
        """The name of its column."""
        return self.keys[0]


def _constant(parse: Parser) -> Callable[[], Parser]:
    return lambda: parse


TEXT, TEXTS, LABEL = _constant(text), _constant(texts), _constant(label)
# What tells that a cell holds nothing, where that is more than being empty.
Nothing = Mapping[Callable[[], Parser], Callable[[object], bool]]
NOTHING: Nothing = {Grades: is_no_number, LABEL: is_no_name}
# Where rows that lack a value are left out; elsewhere, a text may be the word null.
SKIPPED: Nothing = {**NOTHING, TEXT: is_no_text, TEXTS: is_no_text}
# What a column of texts alone is called where they are queries, or documents.
QUERIES, DOCUMENTS = ("query", "queries"), ("document", "documents", "passage", "passages")
_NEGATIVE = ("negative", "neg", "negatives", "hardnegative", "hardnegatives", "hardneg")
_GRADES = ("score", "relevance", "label", "labels", "grade", "isrelevant", "relevant")

# Per kind, what a row holds. Sentence Transformers calls the columns of pairs and triplets `sentence_0` and so on where
# it made them of examples without names.
ROLES: dict[Tabular, tuple[Role, ...]] = {
    "similarity": (
        Role(
            ("sentence1",),
            (
                *("sentence0", "sentence1", "text1", "sentencea", "texta", "first"),
                *("question1", "sent0", "sent1", "q1", "s1", "premise", "caption1", "phrase1", "title1", "1string"),
            ),
            TEXT,
        ),
        Role(
            ("sentence2",),
            (
                *("sentence2", "text2", "sentenceb", "textb", "second"),
                *("question2", "sent2", "q2", "s2", "hypothesis", "caption2", "phrase2", "title2", "2string"),
                *("sentence1", "sent1"),
            ),
            TEXT,
        ),
        Role(
            ("score",),
            (
                *("score", "similarityscore", "similarity", "relatednessscore", "grade", "label", "labels"),
                *("isduplicate", "duplicate", "isparaphrase", "paraphrase", "quality", "rating", "relatedness"),
                *("gold", "goldscore", "goldlabel", "sim", "simscore", "humanscore", "averagescore"),
            ),
            Grades,
        ),
    ),
    "triplets": (
        Role(("anchor", "query"), ("anchor", "query", "question", "sentence0", "sent0"), TEXT),
        Role(("positive",), ("positive", "pos", "positives", "sentence1", "sent1"), TEXTS, many=True),
        Role(("negative",), (*_NEGATIVE, "sentence2", "sent2"), TEXTS, many=True),
    ),
    "labelled": (
        Role(("text",), ("text", "sentence", "content", "utterance"), TEXT),
        Role(
            ("label",),
            ("label", "labels", "topic", "category", "class", "labeltext", "labelname", "intent", "target"),
            LABEL,
        ),
    ),
    "retrieval": (
        Role(("query", "anchor"), ("query", "anchor", "question"), TEXT),
        Role(
            ("positive",),
            ("positive", "pos", "positives", "answer", "answers", "passage", "document", "response"),
            TEXTS,
            many=True,
        ),
        Role(("score",), _GRADES, Grades, optional=True),
        Role(("negative",), _NEGATIVE, TEXTS, many=True, optional=True),
    ),
    # Where nothing else is in the table, or a person says so: a forgotten label is no reason to judge without.
    "texts": (
        Role(
            ("text", "query"),
            (
                *("text", "texts", "sentence", "sentences", "content", "utterance", "body"),
                *(*QUERIES, "question", "questions", "search", "searchterm"),
                *DOCUMENTS,
            ),
            TEXT,
        ),
    ),
}
# Triplets first: of sentence_0, sentence_1 and sentence_2, the last two look like a pair.
TRIED: tuple[Tabular, ...] = ("triplets", "similarity", "labelled", "retrieval", "texts")
