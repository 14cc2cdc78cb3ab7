"""Tables as people have them: each loads with a note of how it was understood, or is refused with place, cause and step."""

from __future__ import annotations

import bz2
import csv
import errno
import gzip
import io
import json
import lzma
import pickle
import re
import sqlite3
import tarfile
import tracemalloc
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from embedgate.core.errors import DataError
from embedgate.data import Dataset, Labelled, Retrieval, Similarity, Triplets, delimited, load
from embedgate.data.cards import sha256_of
from embedgate.data.column_roles import ROLES
from embedgate.data.columns import SKIP
from embedgate.data.conversions import WHOLE_GRADES
from embedgate.data.delimited import ALONE, QUOTED, QUOTES, UNQUOTED
from embedgate.data.files import GZIP
from embedgate.data.grades import FORMS
from embedgate.data.json_rows import ROWS
from embedgate.data.parts import plain
from embedgate.data.readers import SAVE_OR_NAME
from embedgate.data.rows import open_table
from embedgate.data.spec import Spec
from embedgate.metrics import retrieval

# Without the time: what a test is called must be the same in every process.
packed = partial(gzip.compress, mtime=0)

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PAIRS = b"sentence1,sentence2,score\na,b,1\nc,d,2.5\n"
OBJECTS = [{"sentence1": "a", "sentence2": "b", "score": 1}, {"sentence1": "c", "sentence2": "d", "score": 2.5}]
ARRAY = json.dumps(OBJECTS).encode()
LINES = b"".join(json.dumps(row).encode() + b"\n" for row in OBJECTS)
ROWS_OF_PAIRS = [("a", "b", 1.0), ("c", "d", 2.5)]
# Rows that are one answer each, and rows of a query with lists.
ASKED = b"query,positive\nwhat is tea,leaves\nwhat is rye,grain\nwhat is tea,a drink\n"
LISTS = [
    {"query": "q1", "pos": ["p1", "p2"], "neg": ["n1", "n2"]},
    {"query": "q2", "pos": ["p3"], "neg": ["n3"]},
]
TRIPLETS = [("q1", "p1", "n1"), ("q1", "p1", "n2"), ("q1", "p2", "n1"), ("q1", "p2", "n2"), ("q2", "p3", "n3")]


def jsonl(*rows: Mapping[str, Any] | Sequence[Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def put(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def pairs_of(dataset: Dataset) -> list[tuple[str, str, float]]:
    assert isinstance(dataset, Similarity)
    return list(zip(dataset.first, dataset.second, dataset.grades.tolist(), strict=True))


def triplets_of(dataset: Dataset) -> list[tuple[str, str, str]]:
    assert isinstance(dataset, Triplets)
    return list(zip(dataset.anchors, dataset.positives, dataset.negatives, strict=True))


def refusal(spec: object) -> str:
    with pytest.raises(DataError) as caught:
        load(str(spec))
    assert "\n" not in str(caught.value)
    assert caught.value.action, "it says what to do"
    return str(caught.value)


# --- how a file is written


@pytest.mark.parametrize(
    ("name", "content", "notes"),
    [
        ("plain.csv", PAIRS, ()),
        ("semicolon.csv", PAIRS.replace(b",", b";"), ("cells are separated by semicolons",)),
        ("tab.csv", PAIRS.replace(b",", b"\t"), ("cells are separated by tabs",)),
        ("bar.csv", PAIRS.replace(b",", b" | "), ("cells are separated by vertical bars",)),
        ("comma.tsv", PAIRS, ("cells are separated by commas",)),
        ("bare.csv", b"a;b;1\nc;d;2,5\n", ("cells are separated by semicolons", "grades have decimal commas")),
        ("told.csv", b"sep=;\r\n" + PAIRS.replace(b",", b";"), ("cells are separated by ';', as its first line says",)),
        (
            "quoted.csv",
            b'"sentence1","sentence2","score"\n"a","b","1"\n"c","d","2,5"\n',
            ("grades have decimal commas",),
        ),
        ("index.csv", b",sentence1,sentence2,score,\n0,a,b,1,\n1,c,d,2.5,\n", ()),
        ("tail.csv", PAIRS + b",,\n , ,\n", ()),
        (
            "padded.csv",
            b'"sentence1", "sentence2", "score"\n"a", "b", 1\n"c", "d", 2.5\n',
            ("blanks between delimiters and cells are left out",),
        ),
        ("crlf.csv", PAIRS.replace(b"\n", b"\r\n"), ()),
        ("cr.csv", PAIRS.replace(b"\n", b"\r"), ("lines end in carriage returns alone",)),
        ("mark.csv", b"\xef\xbb\xbf" + PAIRS, ()),
        ("utf16.csv", PAIRS.decode().encode("utf-16"), ("read as UTF-16",)),
        ("be.csv", b"\xfe\xff" + PAIRS.decode().encode("utf-16-be"), ("read as UTF-16",)),
        ("unmarked.csv", PAIRS.decode().encode("utf-16-le"), ("read as UTF-16",)),
        ("unmarked-be.csv", PAIRS.decode().encode("utf-16-be"), ("read as UTF-16",)),
        ("utf32.csv", PAIRS.decode().encode("utf-32"), ("read as UTF-32",)),
        ("utf16.jsonl", LINES.decode().encode("utf-16"), ("read as UTF-16",)),
        ("packed.csv.gz", packed(PAIRS), ("unpacked from gzip",)),
        ("packed.TSV.GZ", packed(PAIRS.replace(b",", b"\t")), ("unpacked from gzip",)),
        ("packed.jsonl.gz", packed(LINES), ("unpacked from gzip",)),
        ("misnamed.csv", packed(PAIRS), ("unpacked from gzip",)),
        ("packed16.csv.gz", packed(PAIRS.decode().encode("utf-16")), ("unpacked from gzip", "read as UTF-16")),
        ("parts.csv.gz", packed(PAIRS[:30]) + packed(PAIRS[30:]), ("unpacked from gzip",)),
        ("array.json", ARRAY, ("read as one JSON array",)),
        ("array.jsonl", ARRAY, ("read as one JSON array",)),
        ("pretty.json", json.dumps(OBJECTS, indent=1).encode(), ("read as one JSON array",)),
        ("spread.jsonl", b"[" + ARRAY[1:-1].replace(b"}, ", b"},\n") + b"\n]\n", ("read as one JSON array",)),
        ("lines.json", LINES, ()),
        ("lines.ndjson", b"\n" + LINES, ()),
        ("under.json", b'{"version": 1, "data": ' + ARRAY + b"}", ("rows are those under 'data'",)),
        (
            "columns.json",
            json.dumps({"sentence1": ["a", "c"], "sentence2": ["b", "d"], "score": [1, 2.5]}).encode(),
            ("read as a list for each column",),
        ),
        (
            "pandas.json",
            b'{"sentence1":{"0":"a","1":"c"},"sentence2":{"0":"b","1":"d"},"score":{"0":1,"1":2.5}}',
            ("read as a list for each column",),
        ),
        ("rows.jsonl", jsonl(["a", "b", 1], ["c", "d", 2.5]), ("rows are arrays of sentence1, sentence2, score",)),
        (
            "rows.json",
            b'[["a", "b", 1], ["c", "d", 2.5]]',
            ("read as one JSON array", "rows are arrays of sentence1, sentence2, score"),
        ),
    ],
)
def test_a_file_reads_the_same_however_it_is_written(
    tmp_path: Path, name: str, content: bytes, notes: tuple[str, ...]
) -> None:
    if name == "bar.csv":
        content = content.replace(b" | ", b"|")
    dataset = load(str(put(tmp_path, name, content)))
    assert pairs_of(dataset) == ROWS_OF_PAIRS
    assert dataset.notes == notes
    assert dataset.name == name.partition(".")[0]


def test_a_header_that_fits_decides_before_rows_that_are_even(tmp_path: Path) -> None:
    """Every line has one comma, and no comma is a delimiter."""
    rows = "sentence1;sentence2;score;in words, mine\na, b;c;1;x\nd;e, f;2;y\n"
    assert pairs_of(load(str(put(tmp_path, "set.csv", rows.encode())))) == [("a, b", "c", 1.0), ("d", "e, f", 2.0)]


def test_rows_decide_where_no_header_fits_and_a_sample_may_end_within_one(tmp_path: Path) -> None:
    rows = "q1;q2;dup\n" + "a;b;1\n" * 48 + 'c;"d\nd";2\n' * 9
    path = put(tmp_path, "set.csv", rows.encode())
    assert refusal(path).startswith(f"{path}:1: columns 'q1', 'q2', 'dup' fit no kind of dataset; ")


@pytest.mark.parametrize(
    ("name", "keys", "content", "notes"),
    [
        ("given.csv", "delimiter=semicolon", PAIRS.replace(b",", b";"), ()),
        ("tab.csv", "delimiter=tab", PAIRS.replace(b",", b"\t"), ()),
        ("tilde.csv", "delimiter=~", PAIRS.replace(b",", b"~"), ()),
        ("latin.csv", "encoding=latin-1", PAIRS.replace(b"a,b", b"\xe9,b"), ("read as ISO8859-1",)),
        ("windows.jsonl", "encoding=cp1252", LINES.replace(b'"a"', b'"\x80"'), ("read as CP1252",)),
        ("utf16.csv", "encoding=utf-16", PAIRS.decode().encode("utf-16"), ("read as UTF-16",)),
        ("bare16.csv", "encoding=utf-16", PAIRS.decode().encode("utf-16-be"), ("read as UTF-16",)),
        ("bare32.csv", "encoding=utf-32", PAIRS.decode().encode("utf-32-le"), ("read as UTF-32",)),
        ("utf8.csv", "encoding=utf-8", b"\xef\xbb\xbf" + PAIRS, ()),
        ("numbered.tsv", "header=none,sentence1=3,sentence2=4,score=2", b"x\t1\ta\tb\ny\t2\tc\td\n", ("columns: sentence1 is '3', sentence2 is '4', score is '2'",)),
        ("numbered.csv", "header=none,sentence1=1,sentence2=2,score=3", b"a;b;1\nc;d;2\n", ("cells are separated by semicolons", "columns: sentence1 is '1', sentence2 is '2', score is '3'")),
        ("quotes.tsv", "quotes=none", b'sentence1\tsentence2\tscore\n"a"!\tb\t1\n"c\td\t2\n', ()),
    ],
)  # fmt: skip
def test_how_it_is_written_can_be_said(
    tmp_path: Path, name: str, keys: str, content: bytes, notes: tuple[str, ...]
) -> None:
    first = {"latin": "é", "windows": "€", "quotes": '"a"!'}.get(name.partition(".")[0], "a")
    dataset = load(f"{put(tmp_path, name, content)}::{keys}")
    assert pairs_of(dataset)[0] == (first, "b", 1.0)
    assert dataset.notes == notes


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("cut.csv.gz", packed(PAIRS + b"e,f,3\n" * 500)[:-9], ":504: the gzip file ends too early; {again}"),
        ("cut.jsonl.gz", packed(LINES)[:-1], ":3: the gzip file ends too early; {again}"),
        ("bad.csv.gz", packed(PAIRS)[:-8] + bytes(8), ":4: the gzip file is damaged (CRC check failed"),
        ("bad.csv", PAIRS.replace(b"c,d", b"\xe9,d"), f":3: not UTF-8 (byte 0xe9 at position 1); {SAVE_OR_NAME}"),
        ("bad.csv.gz", packed(PAIRS + b"\xe9"), f":4: not UTF-8 (byte 0xe9 at position 1); {SAVE_OR_NAME}"),
        (
            "bad16.csv",
            PAIRS.decode().encode("utf-16") + b"\x00\xdc,\x00",
            f":4: not UTF-16 (byte 0x00); {SAVE_OR_NAME}",
        ),
        ("cr.csv", PAIRS + b"e\rf,g,1\n", f":4: a carriage return outside quotes; {QUOTES}; {UNQUOTED}"),
        ("uneven.csv", b"sentence1;sentence2;score\na;b\n", ":2: 2 columns, not 3: 'sentence1', 'sentence2', 'score'"),
        ("cut.json", ARRAY[:-20], ":1: invalid JSON: Expecting value at column 83"),
        ("cut.jsonl", json.dumps(OBJECTS, indent=1).encode()[:-3], ":11: invalid JSON: Expecting"),
        ("pretty.json", json.dumps(OBJECTS[0], indent=1).encode() * 2, f":5: invalid JSON: Extra data at column 2; {ROWS}"),
        ("several.json", b'{"train": [{"a": 1}], "test": [{"a": 1}]}', ": which of 'train', 'test' holds the rows is not clear; put one of them into a file of its own"),
        ("number.json", b"3", f": 3 holds no rows; {ROWS}"),
        ("empty.json", b"[]", ": holds no rows"),
        ("empty.csv.gz", packed(b""), ": holds no rows"),
        ("element.json", b"[" + ARRAY[1:-1] + b", 5]", " element 3: 5 is not a JSON object"),
        (
            "grade.json",
            ARRAY.replace(b"2.5", b'"x"'),
            f" element 2: 'score' is 'x', not a number; {FORMS}",
        ),
        ("scalars.jsonl", jsonl([1, 2], [3, 4]), f":1: [1, 2] is not a JSON object; {ROWS}"),
        ("short.jsonl", jsonl(["a", "b"], ["c"]), ":2: ['c'] is not an array of anchor, positive"),
        ("lfs.csv", b"version https://git-lfs.github.com/spec/v1\n", ": is a pointer of Git LFS, whatever its name says; fetch what it stands for: git lfs pull"),
        ("sheet.csv", b"PK\x03\x04", ": is a ZIP archive or a spreadsheet, whatever its name says; unpack it, or pack it by gzip, or save"),
        ("rows.csv", b"PAR1", ": is Parquet, whatever its name says; call it .parquet"),
        ("page.tsv", b"<!DOCTYPE html>\n", ": is a web page, whatever its name says; fetch the file itself"),
        ("wide.csv", PAIRS + b"e,f,g,3\n", f":4: 4 columns, not 3: 'sentence1', 'sentence2', 'score'; {QUOTED}"),
        ("sheet.xlsx", b"PK", ": unknown kind of file; save the sheet as CSV"),
        ("old.pkl", b"", ": unknown kind of file; write its rows as JSONL, one object a line: embedgate reads no format that can run code"),
        ("packed.zip", b"PK", ": unknown kind of file; unpack it, or pack it by gzip"),
        ("log.log", b"a\nb\n", ": unknown kind of file; give one that ends in .csv, .tsv, .jsonl, .ndjson, .json, .parquet, .txt, with .gz or without"),
        ("packed.csv.zst", b"", ": unknown kind of file; unpack it, or pack it by gzip"),
        (
            "rows.parquet.gz",
            b"",
            ": unknown kind of file; give one that ends in .csv, .tsv, .jsonl, .ndjson, .json, .parquet, .txt, with .gz or without",
        ),
        (
            "rows.feather",
            b"ARROW1",
            ": unknown kind of file; write it as Parquet: "
            "pyarrow.parquet.write_table(pyarrow.feather.read_table(...), 'data.parquet')",
        ),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_says_where_and_what_to_do(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path = put(tmp_path, name, content)
    assert refusal(path).startswith(f"{path}{message.replace('{again}', 'fetch it anew, or pack it anew')}")


def test_a_file_that_fills_memory_is_refused_while_it_unpacks(tmp_path: Path) -> None:
    path = tmp_path / "bomb.csv.gz"
    with gzip.open(path, "wb", compresslevel=9) as stream:
        stream.write(PAIRS + bytes(100 << 20))
    tracemalloc.start()
    message = refusal(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    size = f"{path.stat().st_size:,} bytes"
    assert message == f"{path}: unpacks from {size} to more than 64 MiB; if it really is a table, give it unpacked"
    assert peak < 200 << 20


def test_rows_that_end_in_a_delimiter_are_read_with_a_note(tmp_path: Path) -> None:
    path = put(tmp_path, "set.csv", b"sentence1,sentence2,score\na,b,1,\nc,d,2.5,\n")
    assert pairs_of(load(str(path))) == ROWS_OF_PAIRS
    assert load(str(path)).notes == ("rows end in a delimiter more than the header",)
    path.write_bytes(b"sentence1,sentence2,score\na,b,1,\nc,d,2.5,x\n")
    assert refusal(path) == f"{path}:3: 4 columns, not 3: 'sentence1', 'sentence2', 'score'; {QUOTED}"


def test_a_single_column_whose_texts_hold_commas_says_what_reads_it(tmp_path: Path) -> None:
    path = put(tmp_path, "log.csv", b"query\ntea, please\ncake,\nrye\n")
    assert refusal(path) == f"{path}:2: 2 columns, not 1: 'query'; {QUOTED}; {ALONE}"
    assert load(f"{path}::delimiter=tab").texts() == ("tea, please", "cake,", "rye")


@pytest.mark.parametrize("part", ["corpus.jsonl", "queries.jsonl", "qrels", "qrels/test.tsv"])
def test_a_part_of_a_retrieval_dataset_names_the_whole(tmp_path: Path, part: str) -> None:
    for name in ("corpus.jsonl", "queries.jsonl"):
        put(tmp_path, name, jsonl(*({"_id": f"{n}", "text": f"{name} {n}"} for n in range(3))))
    for name in ("qrels", "alone"):
        (tmp_path / name).mkdir()
    put(tmp_path, "qrels/test.tsv", b"0\t1\t1\n1\t2\t1\n")
    assert refusal(tmp_path / part) == (
        f"{tmp_path / part}: is a part of a retrieval dataset; give its folder: {tmp_path}"
    )
    assert len(load(f"{tmp_path / 'corpus.jsonl'}::text=text")) == 3
    alone = put(tmp_path, "alone/corpus.jsonl", jsonl(*({"text": f"text {n}"} for n in range(3))))
    assert len(load(str(alone))) == 3


# --- how grades are written


@pytest.mark.parametrize(
    ("cells", "grades", "notes"),
    [
        (("1", "2.5"), (1.0, 2.5), ()),
        (("-1", "1e-1"), (-1.0, 0.1), ("some grades are below 0: more is more alike all the same",)),
        (("3", "2,5"), (3.0, 2.5), ("grades have decimal commas",)),
        (("2,5", "3"), (2.5, 3.0), ("grades have decimal commas",)),
        (("50%", "2,5 %"), (50.0, 2.5), ("grades are percentages",)),
        (("1,250", "2,5"), (1.25, 2.5), ("grades have decimal commas",)),
        (("0,125", "1,250"), (0.125, 1.25), ("grades have decimal commas",)),
        (("950", "4,75"), (950.0, 4.75), ("grades have decimal commas",)),
        (("0,125%", "1,250%"), (0.125, 1.25), ("grades are percentages",)),
        (("TRUE", "no"), (1.0, 0.0), ("grades are truth values: true counts 1, false 0",)),
        (("Y", "f"), (1.0, 0.0), ("grades are truth values: true counts 1, false 0",)),
        (("neutral", "Entailment"), (0.5, 1.0), ("grades are entailment 1, neutral 0.5, contradiction 0",)),
        ((True, False), (1.0, 0.0), ("grades are truth values: true counts 1, false 0",)),
        ((1, 0.5), (1.0, 0.5), ()),
    ],
)
def test_grades_as_they_are_written(
    tmp_path: Path, cells: tuple[object, object], grades: tuple[float, float], notes: tuple[str, ...]
) -> None:
    rows = [{"sentence1": f"a{n}", "sentence2": "b", "score": cell} for n, cell in enumerate(cells)]
    dataset = load(str(put(tmp_path, "set.jsonl", jsonl(*rows))))
    assert tuple(grade for *_, grade in pairs_of(dataset)) == grades
    assert dataset.notes == notes


ALIKE = "write all grades in one way"


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (("1.5", "2,5"), "'2,5', a number with a decimal comma, where a grade before it is a number; " + ALIKE),
        (("0", "yes"), "'yes', a truth value, where a grade before it is a whole number; " + ALIKE),
        (("true", "1"), "'1', a whole number, where a grade before it is a truth value; " + ALIKE),
        (("50%", "0.5"), "'0.5', a number, where a grade before it is a percentage; " + ALIKE),
        (("1", "1.234,5"), "'1.234,5', not a number; " + FORMS),
        (("1", "%"), "'%', not a number; " + FORMS),
        (("1", "inf"), "inf, not a finite number; " + FORMS),
        (("1", "high"), "'high', not a number; " + FORMS),
        (("1", "1_0"), "'1_0', not a number; " + FORMS),
    ],
)
def test_grades_of_several_kinds_are_refused(tmp_path: Path, cells: tuple[str, str], message: str) -> None:
    rows = [{"sentence1": f"a{n}", "sentence2": "b", "score": cell} for n, cell in enumerate(cells)]
    path = put(tmp_path, "set.jsonl", jsonl(*rows))
    assert refusal(path) == f"{path}:2: 'score' is {message}"


@pytest.mark.parametrize("cells", [("950", "1,200"), ("870", "1,200", "2,000"), ("50%", "1,200%")])
def test_a_comma_that_may_stand_between_thousands_is_refused(tmp_path: Path, cells: Sequence[str]) -> None:
    rows = [{"sentence1": f"a{n}", "sentence2": "b", "score": cell} for n, cell in enumerate(cells)]
    path = put(tmp_path, "set.jsonl", jsonl(*rows))
    assert refusal(path) == (
        f"{path}:2: 'score' is '1,200', and no other grade shows whether that is 1200 or 1.200; "
        "write grades without commas: 1200, or 1.200"
    )


def test_numbers_of_labels_are_told_to_be_grades(tmp_path: Path) -> None:
    rows = "sentence1,sentence2,{}\na,b,0\nc,d,1\ne,f,2\n"
    note = "'label' is read as a grade: a higher number is more alike"
    assert note in load(str(put(tmp_path, "label.csv", rows.format("label").encode()))).notes
    assert load(str(put(tmp_path, "score.csv", rows.format("score").encode()))).notes == ()
    graded = rows.format("label").replace(",1\n", ",1.5\n")
    assert note not in load(str(put(tmp_path, "graded.csv", graded.encode()))).notes


def test_decimals_and_dates_of_parquet(tmp_path: Path) -> None:
    days = [date(2026, 1, 2), None, date(2026, 1, 2)]
    columns = {
        "sentence1": ["a", "b", "c"],
        "sentence2": ["d", "e", "f"],
        "score": [Decimal("1.50"), Decimal(2), Decimal(0)],
    }
    kind = pa.table(
        {**columns, "day": days, "cluster": [Decimal(3), Decimal(3), None], "at": [datetime(2026, 1, 2, 3)] * 3}
    )
    parquet.write_table(kind, tmp_path / "set.parquet")
    dataset = load(f"{tmp_path}/set.parquet::slices=day;at")
    assert [grade for *_, grade in pairs_of(dataset)] == [1.5, 2.0, 0.0]
    assert dataset.groups == ("3", "3", "")
    assert dataset.slices == {"day=2026-01-02": (0, 2), "at=2026-01-02T03:00:00": (0, 1, 2)}
    table = pa.table({"text": ["a", "b", "c"], "label": [Decimal(1), Decimal(2), Decimal(1)]})
    parquet.write_table(table, tmp_path / "labels.parquet")
    labelled = load(str(tmp_path / "labels.parquet"))
    assert isinstance(labelled, Labelled)
    assert labelled.labels == ("1", "2", "1")


def test_numbers_do_not_say_which_is_entailment(tmp_path: Path) -> None:
    """SNLI counts entailment 0, others count it 2: by its numbers alone, a set may be judged upside down."""
    path = put(tmp_path, "nli.csv", b"premise,hypothesis,label\na,b,0\nc,d,2\n")
    assert refusal(path) == (
        f"{path}:2: 'label' is '0', which stands for entailment in one set and for contradiction in another; "
        "write entailment, neutral, contradiction, or grades in a column named score"
    )
    words = put(tmp_path, "words.csv", b"premise,hypothesis,label\na,b,entailment\nc,d,contradiction\n")
    assert pairs_of(load(str(words))) == [("a", "b", 1.0), ("c", "d", 0.0)]
    scores = put(tmp_path, "scores.csv", b"premise,hypothesis,score\na,b,0\nc,d,2\n")
    assert pairs_of(load(str(scores))) == [("a", "b", 0.0), ("c", "d", 2.0)]


# --- which column is which


@pytest.mark.parametrize(
    "header",
    [
        "question1,question2,is_duplicate",
        "sentence_0,sentence_1,label",
        "sent1,sent2,similarity score",
        "sent0,sent1,score",
        "#1 String,#2 String,Quality",
        "premise,hypothesis,relatedness",
        "Text 1,TEXT_2,Similarity",
        "sentence_A,sentence_B,relatedness_score",
    ],
)
def test_pairs_by_the_names_people_use(tmp_path: Path, header: str) -> None:
    rows = f"id,{header},comment\n7,a,b,1,x\n8,c,d,2.5,y\n"
    dataset = load(str(put(tmp_path, "set.csv", rows.encode())))
    assert pairs_of(dataset) == ROWS_OF_PAIRS
    first, second, third = header.split(",")
    note = f"columns: sentence1 is {first!r}, sentence2 is {second!r}, score is {third!r}"
    assert dataset.notes == (note,)


@pytest.mark.parametrize(
    "header", ["anchor,positive,negative", "query,pos,neg", "sentence_0,sentence_1,sentence_2", "sent0,sent1,hard_neg"]
)
def test_triplets_by_the_names_people_use(tmp_path: Path, header: str) -> None:
    dataset = load(str(put(tmp_path, "set.csv", f"{header},label\na,b,c,1\nd,e,f,1\n".encode())))
    assert triplets_of(dataset) == [("a", "b", "c"), ("d", "e", "f")]
    assert dataset.groups is None


@pytest.mark.parametrize("header", ["text,label_text", "sentence,intent", "content,topic", "utterance,category"])
def test_labelled_texts_by_the_names_people_use(tmp_path: Path, header: str) -> None:
    dataset = load(str(put(tmp_path, "set.tsv", f"{header}\na,x\nb,y\nc,x\n".replace(",", "\t").encode())))
    assert isinstance(dataset, Labelled)
    assert (dataset.items, dataset.labels) == (("a", "b", "c"), ("x", "y", "x"))


@pytest.mark.parametrize(
    ("labels", "read"),
    [((True, False, True), "true"), ((1, 2, 1), "1"), ((1.0, 2.0, 1.0), "1"), (("true", "false", "true"), "true")],
)
def test_labels_may_be_truth_values_and_numbers(tmp_path: Path, labels: Sequence[object], read: str) -> None:
    table = pa.table({"text": ["a", "b", "c"], "label": list(labels)})
    parquet.write_table(table, tmp_path / "set.parquet")
    dataset = load(str(tmp_path / "set.parquet"))
    assert isinstance(dataset, Labelled)
    assert (dataset.labels[0], dataset.labels[2], len(set(dataset.labels))) == (read, read, 2)


MAPPED = b"q1,q2,dup,lang,product,doc\na,b,1,de,tea,x\nc,d,2.5,en,tea,x\ne,f,0,de,,y\n"


def test_columns_are_mapped_by_their_role(tmp_path: Path) -> None:
    path = put(tmp_path, "mine.csv", MAPPED.replace(b"q1,q2,dup", b'left,right,"is, dup"'))
    spec = f'{path}::sentence1=left,sentence2=right,score="is, dup",slices=lang;product,cluster=doc,name=dups'
    dataset = load(spec)
    assert pairs_of(dataset) == [*ROWS_OF_PAIRS, ("e", "f", 0.0)]
    assert dataset.slices == {"lang=de": (0, 2), "lang=en": (1,), "product=tea": (0, 1)}
    assert dataset.groups == ("x", "x", "y")
    assert dataset.name == "dups"
    assert load(Spec.parse(spec)).sha256 == dataset.sha256


def test_roles_that_are_not_mapped_are_found(tmp_path: Path) -> None:
    path = put(tmp_path, "mine.csv", MAPPED.replace(b"dup", b"gold"))
    assert pairs_of(load(f"{path}::score=gold")) == [*ROWS_OF_PAIRS, ("e", "f", 0.0)]
    assert isinstance(load(f"{path}::text=q1,label=doc"), Labelled)
    assert isinstance(load(f"{path}::kind=retrieval,anchor=q1,positive=q2"), Retrieval)


def test_items_of_a_slice_ascend(tmp_path: Path) -> None:
    rows = "".join(f"t{n},{n % 2},{'s' if n in (1, 8) else ''}\n" for n in range(9))
    dataset = load(str(put(tmp_path, "set.csv", f"text,label,slices\n{rows}".encode())))
    assert dataset.slices == {"s": (1, 8)}


def test_slices_and_a_mapped_column_of_that_name(tmp_path: Path) -> None:
    rows = [{"text": t, "label": t, "slices": s, "n": n} for t, s, n in [("a", ["x", "y"], 1), ("b", ["y"], None)]]
    path = put(tmp_path, "set.jsonl", jsonl(*rows, rows[0]))
    assert load(str(path)).slices == load(f"{path}::slices=slices").slices == {"x": (0, 2), "y": (0, 1, 2)}
    assert load(f"{path}::slices=n;slices").slices == {"n=1": (0, 2), "x": (0, 2), "y": (0, 1, 2)}


GRADED = MAPPED.replace(b"q1,q2,dup", b"sentence1,sentence2,score")


@pytest.mark.parametrize(
    ("name", "content", "keys"),
    [
        ("a.csv", GRADED, "sentence1=sentence2,sentence2=sentence1"),
        ("a.csv", GRADED, "cluster=doc"),
        ("a.csv", GRADED, "text=sentence1"),
        ("a.csv", GRADED.replace(b"2.5", b"2"), "query=sentence1,positive=sentence2"),
        ("a.csv", GRADED, "encoding=latin-1"),
        ("a.jsonl", LINES, "encoding=latin-1"),
        ("a.txt", b"one\ntwo\nthree\n", "encoding=latin-1"),
        ("a.txt", b"one\ntwo\nthree\n", "role=query"),
        ("a.csv", b"text\none\ntwo\nthree\n", "role=query"),
        ("a.csv", GRADED, "quotes=none"),
        ("a.csv", GRADED + b"g,h,,de,,y\n", "skip=empty"),
        ("a.csv", PAIRS[26:], "header=none,sentence1=1,sentence2=2,score=3"),
        ("a.jsonl", jsonl(*LISTS), "kind=retrieval"),
    ],
)
def test_what_changes_the_content_changes_the_hash(tmp_path: Path, name: str, content: bytes, keys: str) -> None:
    path = put(tmp_path, name, content)
    assert load(f"{path}::{keys}").sha256 != sha256_of(tmp_path, [path])


@pytest.mark.parametrize(
    ("name", "content", "keys"),
    [
        *(
            ("a.csv", GRADED, keys)
            for keys in (
                *("name=other", "score=score", "sentence2=sentence2,sentence1=sentence1", "kind=similarity"),
                *("slices=lang", "slices=product;lang", "skip=empty", "encoding=utf-8", "encoding=UTF_8"),
                *("encoding=utf-8-sig", "delimiter=comma", "quotes=double", "header=first"),
                "kind=similarity,score=score,slices=lang,encoding=utf8,delimiter=comma,quotes=double,header=first",
            )
        ),
        ("a.csv", GRADED.replace(b",", b";"), "delimiter=semicolon"),
        ("a.csv", GRADED.replace(b"doc", b"cluster"), "cluster=cluster"),
        ("a.jsonl", LINES, "encoding=utf-8"),
        ("a.jsonl", LINES.decode().encode("utf-16"), "encoding=utf-16"),
        ("a.csv", b"query\none\ntwo\nthree\n", "role=query,text=query"),
        ("a.txt", b"one\ntwo\nthree\n", "kind=texts"),
    ],
)
def test_what_changes_nothing_that_is_judged_changes_no_hash(
    tmp_path: Path, name: str, content: bytes, keys: str
) -> None:
    path = put(tmp_path, name, content)
    assert load(f"{path}::{keys}").sha256 == load(str(path)).sha256 == sha256_of(tmp_path, [path])


def test_one_meaning_has_one_hash_however_it_is_said(tmp_path: Path) -> None:
    path = put(tmp_path, "mine.csv", MAPPED.replace(b"dup", b"score"))
    ways = ("score=score,", "", "kind=similarity,", "slices=lang;product,", "slices=product;lang,delimiter=comma,")
    assert len({load(f"{path}::{way}sentence1=q1,sentence2=q2").sha256 for way in ways}) == 1
    names = ("latin-1", "ISO-8859-1", "L1")
    assert len({load(f"{path}::sentence1=q1,sentence2=q2,encoding={name}").sha256 for name in names}) == 1


def test_a_delimiter_that_would_not_be_found_changes_the_hash(tmp_path: Path) -> None:
    path = put(tmp_path, "mine.csv", b"a,b;x\nc,x;y\ne,b;x\n")
    said = "header=none,text=1,label=2"
    found, given, other = (load(f"{path}::{said}{more}") for more in ("", ",delimiter=comma", ",delimiter=semicolon"))
    assert isinstance(found, Labelled)
    assert isinstance(other, Labelled)
    assert (found.items[0], other.items[0]) == ("a", "a,b")
    assert found.sha256 == given.sha256 != other.sha256


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            "sentence1=question",
            "{}:1: no column 'question', asked for as sentence1; "
            "it has 'q1', 'q2', 'dup', 'lang', 'product', 'doc'",
        ),
        ("slices=lang;nope", "{}:1: no column 'nope', asked for as slices; it has 'q1', 'q2', 'dup', 'lang', 'product', 'doc'"),
        ("header=none,score=3", "{}:1: columns '1', '2', '3', '4', '5', '6', asked for as score, fit no kind of dataset; similarity needs sentence1, sentence2, score; triplets needs anchor, positive, negative; labelled needs text, label; retrieval needs query, positive; texts without labels need ::text=COLUMN; say which column is which by keys such as ::sentence1=COLUMN"),
        ("sentence1=q1,sentence2=q1", "{}: column 'q1' is asked for as sentence1 and sentence2; give each a column of its own"),
        ("anchor=q1,query=q2,kind=retrieval", "{}:1: columns 'q1', 'q2', 'dup', 'lang', 'product', 'doc', asked for as anchor, query, are not those of a retrieval dataset; retrieval needs query, positive; say which column is which by keys such as ::sentence1=COLUMN"),
        ("header=none,score=7", "{}:1: no column '7', asked for as score; it has '1', '2', '3', '4', '5', '6'"),
        ("sentence1=q1;q2", "{}: sentence1 is 2 columns; name one: sentence1=COLUMN"),
        ("slices=;", "{}: slices=; names no column; write slices=COLUMN, or slices=ONE;OTHER"),
        ("slices=lang;lang", "{}: slices=lang;lang names a column twice; write slices=COLUMN, or slices=ONE;OTHER"),
        (
            "sentence=q1",
            "{} has no key 'sentence'; did you mean sentence2? its keys are sentence1, sentence2, score, anchor, query, positive, negative, text, "
            "label, slices, cluster, kind, skip, name, role, delimiter, encoding, quotes, header",
        ),
        ("kind=pairs", "{}: kind is 'pairs'; choose from similarity, retrieval, labelled, triplets, texts"),
        ("skip=all", "{}: skip is 'all'; choose from empty"),
        ("quotes=single", "{}: quotes is 'single'; choose from double, none"),
        ("delimiter=ab", "{}: delimiter is 'ab'; give one character, or comma, semicolon, tab, pipe"),
        ("encoding=klingon", "{}: encoding is 'klingon'; give one that Python knows, such as latin-1, cp1252 or utf-16"),
        ("encoding=hex", "{}: encoding is 'hex'; give one that Python knows, such as latin-1, cp1252 or utf-16"),
        ("encoding=punycode", "{}: encoding is 'punycode'; give one that Python knows, such as latin-1, cp1252 or utf-16"),
        ("name=../up", "{}: name is '../up'; use letters, digits, '_', '.' and '-'"),
        (
            "text=q1,kind=similarity",
            "{}:1: columns 'q1', 'q2', 'dup', 'lang', 'product', 'doc', asked for as text, are not those of a "
            "similarity dataset; similarity needs sentence1, sentence2, score; "
            "say which column is which by keys such as ::sentence1=COLUMN",
        ),
    ],
)  # fmt: skip
def test_a_key_that_means_nothing_here_is_refused(tmp_path: Path, keys: str, message: str) -> None:
    path = put(tmp_path, "mine.csv", MAPPED)
    assert refusal(f"{path}::{keys}") == message.format(path)


@pytest.mark.parametrize(
    ("given", "step"),
    [
        ("mine.csv::score", "mine.csv::score=VALUE"),
        ("mine.csv:score=dup", "mine.csv::score=dup"),
        ("mine.csv,score=dup", "mine.csv::score=dup"),
        ("gone.csv::score", "gone.csv::score=VALUE"),
    ],
)
def test_keys_that_are_written_otherwise_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, step: str
) -> None:
    monkeypatch.chdir(tmp_path)
    put(tmp_path, "mine.csv", MAPPED)
    assert refusal(given) == f"no dataset {given!r}; write keys as {step}, behind two colons"


@pytest.mark.parametrize("place", ["nowhere", "no:where", "no.csv"])
def test_what_names_nothing_is_told_what_can_be_named(place: str) -> None:
    told = refusal(place)
    assert told.startswith(f"no dataset {place!r}; give a bundled name (")
    assert all(each in told for each in (".csv", ".parquet", ".txt", ".toml", "hub:", "mteb:"))


def test_keys_of_text_are_none_of_parquet(tmp_path: Path) -> None:
    parquet.write_table(pa.Table.from_pylist(OBJECTS), tmp_path / "set.parquet")
    assert pairs_of(load(f"{tmp_path}/set.parquet::sentence1=sentence2,sentence2=sentence1"))[0] == ("b", "a", 1.0)
    assert refusal(f"{tmp_path}/set.parquet::delimiter=tab").startswith(
        f"{tmp_path}/set.parquet has no key 'delimiter'"
    )
    assert refusal("pairs::kind=similarity") == "pairs has no key 'kind'; its keys are none"


def test_a_header_that_is_missing_is_told(tmp_path: Path) -> None:
    path = put(tmp_path, "bare.tsv", b"what is tea made from\tleaves\tbeans\nwhat is rye\tgrain\tsand\n")
    assert refusal(path).endswith("; where the first row is no header, by ::header=none,sentence1=1")
    named = load(f"{path}::header=none,anchor=1,positive=2,negative=3")
    assert triplets_of(named)[1] == ("what is rye", "grain", "sand")


def test_an_unreadable_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, mode: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    path = put(tmp_path, "rows.jsonl", LINES)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=r"rows\.jsonl: cannot be read: Permission denied; give read permission"):
        open_table(path)


def test_a_column_of_ids_makes_no_slices(tmp_path: Path) -> None:
    rows = b"".join(b"t%d,l%d,%d\n" % (n, n % 2, n) for n in range(1_002))
    path = put(tmp_path, "set.csv", b"text,label,id\n" + rows)
    assert refusal(f"{path}::slices=id") == (
        f"{path}:1002: 'id' has more than 1,000 values, each of which makes a slice; make slices of a column with few"
    )


def test_a_folder_takes_the_keys_of_its_file(tmp_path: Path) -> None:
    put(tmp_path, "rows.csv.gz", packed(MAPPED))
    put(tmp_path, "about.json", b"{}")
    assert isinstance(load(f"{tmp_path}::text=q1,label=doc"), Labelled)
    put(tmp_path, "rows.csv", MAPPED)
    alone = load(f"{tmp_path}::score=dup").sha256
    (tmp_path / "rows.csv.gz").unlink()
    (tmp_path / "about.json").unlink()
    assert load(f"{tmp_path}::score=dup").sha256 == alone


def test_hub_columns_are_mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"q": "a", "a": ["b", "c"], "lang": "de"}, {"q": "d", "a": ["e"], "lang": "en"}]
    splits = datasets.DatasetDict({"test": datasets.Dataset.from_list(rows), "dev": datasets.Dataset.from_list(rows)})
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: splits)
    hub = f"hub:org/name@{COMMIT}"
    dataset = load(f"{hub}::dev::query=q,positive=a,slices=lang,name=mine")
    assert isinstance(dataset, Retrieval)
    assert (dataset.queries, dataset.documents, dataset.relevance) == (
        ("a", "d"),
        ("b", "c", "e"),
        ({0: 1, 1: 1}, {2: 1}),
    )
    assert dataset.slices == {"lang=de": (0,), "lang=en": (1,)}
    assert (dataset.name, dataset.source) == ("mine", f"{hub}::dev")
    other = load(f"{hub}::query=q,positive=a")
    assert other.source == f"{hub}::test"
    assert load(f"{hub}::dev::query=q,positive=a").sha256 == dataset.sha256 != other.sha256
    assert refusal(f"{hub}::delimiter=tab").startswith(f"{hub} has no key 'delimiter'; its keys are sentence1, ")


# --- rows that are several items, and items of several rows


def test_pairs_of_query_and_positive_are_retrieval(tmp_path: Path) -> None:
    dataset = load(str(put(tmp_path, "asked.csv", ASKED)))
    assert isinstance(dataset, Retrieval)
    assert dataset.queries == ("what is tea", "what is rye")
    assert dataset.documents == ("leaves", "grain", "a drink")
    assert dataset.relevance == ({0: 1, 2: 1}, {1: 1})
    assert (dataset.query_ids, dataset.document_ids) == (("1", "2"), ("1", "2", "3"))
    assert dataset.notes == (
        "3 rows as retrieval: 2 distinct queries, 3 distinct documents, each relevant to its query",
    )


@pytest.mark.parametrize("header", ["anchor,positive", "question,answer", "query,answer", "Query,Passage"])
def test_pairs_of_query_and_answer_by_the_names_people_use(tmp_path: Path, header: str) -> None:
    dataset = load(str(put(tmp_path, "asked.csv", ASKED.replace(b"query,positive", header.encode()))))
    assert isinstance(dataset, Retrieval)
    assert dataset.relevance == ({0: 1, 2: 1}, {1: 1})


def test_arrays_of_two_texts_are_such_pairs(tmp_path: Path) -> None:
    dataset = load(str(put(tmp_path, "asked.jsonl", jsonl(["q1", "p1"], ["q2", "p2"]))))
    assert isinstance(dataset, Retrieval)
    assert dataset.notes[0] == "rows are arrays of anchor, positive"
    triplets = load(str(put(tmp_path, "more.jsonl", jsonl(["a", "b", "c", "d"], ["e", "f", "g", "h"]))))
    assert triplets_of(triplets) == [("a", "b", "c"), ("a", "b", "d"), ("e", "f", "g"), ("e", "f", "h")]


def test_arrays_of_two_texts_and_a_number_as_text_are_graded_pairs(tmp_path: Path) -> None:
    path = put(tmp_path, "rows.jsonl", jsonl(["a", "b", "3"], ["c", "d", "0,5"], ["e", "f", None]))
    assert refusal(path).startswith(f"{path}:3: 'score' is None, not a number")
    assert pairs_of(load(f"{path}::skip=empty")) == [("a", "b", 3), ("c", "d", 0.5)]
    named = put(tmp_path, "named.jsonl", jsonl(["a", "b", "3"], ["c", "d", "three"]))
    assert triplets_of(load(str(named))) == [("a", "b", "3"), ("c", "d", "three")]


def test_graded_answers_keep_their_grades(tmp_path: Path) -> None:
    rows = b"query,document,relevance,slices,cluster\nq1,d1,2,s,\nq1,d2,0,t,c1\nq2,d1,0,,c2\nq3,d3,1,,\n"
    dataset = load(str(put(tmp_path, "graded.csv", rows)))
    assert isinstance(dataset, Retrieval)
    assert (dataset.queries, dataset.query_ids, dataset.documents) == (("q1", "q3"), ("1", "3"), ("d1", "d2", "d3"))
    assert dataset.relevance == ({0: 2}, {2: 1})
    assert dataset.slices == {"s": (0,), "t": (0,)}
    assert dataset.groups == ("c1", "")
    assert dataset.notes[1:] == (
        "4 rows as retrieval: 3 distinct queries, 3 distinct documents, as graded",
        "left out 1 of 3 queries: no relevant document",
    )
    truth = rows.replace(b",2,", b",yes,").replace(b",1,", b",yes,").replace(b",0,", b",no,")
    assert load(str(put(tmp_path, "truth.csv", truth))).notes[1] == "grades are truth values: true counts 1, false 0"


def test_pairs_in_both_directions_leave_each_query_out_of_its_own_ranking(tmp_path):
    """Duplicate questions: each would find itself first, and its duplicate second."""
    dataset = load(str(put(tmp_path, "twice.csv", b"anchor,positive\na b,c\nc,a b\nA  b,d\nd,e\n")))
    assert isinstance(dataset, Retrieval)
    assert dataset.documents == ("c", "a b", "d", "e")
    assert dataset.queries == ("a b", "c", "A  b", "d")
    assert dataset.own == {0: 1, 1: 0, 2: 1, 3: 2}
    assert dataset.notes[-1] == (
        "4 queries are documents too, as where pairs stand in both directions: each is left out of its own ranking"
    )
    vectors = np.eye(4, dtype=np.float32)[[1, 0, 1, 2]]
    found = retrieval.evaluate(vectors, np.eye(4, dtype=np.float32), dataset.relevance, own=dataset.own)
    alone = retrieval.evaluate(vectors, np.eye(4, dtype=np.float32), dataset.relevance)
    assert found["mrr_at_10"].value > alone["mrr_at_10"].value


def test_a_query_that_is_its_own_answer_stays_in_its_ranking(tmp_path):
    dataset = load(str(put(tmp_path, "same.csv", b"query,positive\na,a\nb,c\n")))
    assert isinstance(dataset, Retrieval)
    assert dataset.own == {}
    assert len(dataset.notes) == 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (b"q1,d1,1\nq2,d2,0.5\n", f":3: the grade is 0.5; {WHOLE_GRADES}"),
        (
            b"q1,d1,1\nq2,d2,1e300\n",
            ":3: the grade is 1e+300, and no grade of retrieval is above 100,000; divide all grades by one number",
        ),
        (b"q1,d1,1\nq2,d2,-1\n", f":3: the grade is -1; {WHOLE_GRADES}"),
        (
            b"q1,d1,1\nq2,d2,1\nq1,d1,2\n",
            ":4: one document has two grades for one query: 1 and 2; leave one of the rows",
        ),
        (b"q1,d1,0\nq2,d2,0\n", ": no query has a relevant document (a grade above 0); correct grades"),
        (
            b"q1,d1,1\nq2,d1,1\n",
            ": fewer than two different documents, so there is nothing to rank; give more documents",
        ),
        (b"q1,d1,1\nq1,d2,1\n", ": 1 item, but a metric needs at least two; give more"),
        (b"q1,d1,\nq1,d2,1\n", f":2: 'label' is '', not a number; {SKIP}"),
    ],
)
def test_graded_answers_that_cannot_be_judged(tmp_path: Path, rows: bytes, message: str) -> None:
    path = put(tmp_path, "graded.csv", b"query,answer,label\n" + rows)
    assert refusal(path) == f"{path}{message}"


def test_lists_are_triplets_of_one_cluster_a_row(tmp_path: Path) -> None:
    dataset = load(str(put(tmp_path, "lists.jsonl", jsonl(*LISTS))))
    assert triplets_of(dataset) == TRIPLETS
    assert dataset.groups == (*["row 1"] * 4, "row 2")
    assert dataset.clusters is not None
    assert dataset.clusters.tolist() == [0, 0, 0, 0, 1]
    assert dataset.notes == (
        "columns: anchor is 'query', positive is 'pos', negative is 'neg'",
        "2 rows are 5 triplets, those of a row in one cluster",
    )


def test_lists_of_parquet_and_lists_spelled_in_csv(tmp_path: Path) -> None:
    parquet.write_table(pa.Table.from_pylist(LISTS), tmp_path / "lists.parquet")
    assert triplets_of(load(str(tmp_path / "lists.parquet"))) == TRIPLETS
    spelled = b'query,pos,neg\nq1,"[""p1"", ""p2""]","[""n1"", ""n2""]"\nq2,p3,n3\n'
    assert triplets_of(load(str(put(tmp_path, "lists.csv", spelled)))) == TRIPLETS
    path = put(tmp_path, "python.csv", b"query,pos,neg\nq1,p1,\"['n1', 'n2']\"\nq2,p3,n3\n")
    assert refusal(path) == (
        f"{path}:2: 'neg' is \"['n1', 'n2']\", a list that is not JSON; "
        "write lists as JSON has them, or the file as JSONL or Parquet"
    )


def test_numbered_negatives_are_one_each_and_may_be_missing(tmp_path: Path) -> None:
    rows = b"anchor,positive,negative_1,negative_2,cluster\na,b,n1,n2,c\nd,e,n3,,\nf,g,n4,n5,\n"
    dataset = load(str(put(tmp_path, "many.csv", rows)))
    assert triplets_of(dataset) == [
        ("a", "b", "n1"), ("a", "b", "n2"), ("d", "e", "n3"), ("f", "g", "n4"), ("f", "g", "n5"),
    ]  # fmt: skip
    assert dataset.groups == ("c", "c", "row 3", "row 4", "row 4")
    assert dataset.notes[-1] == "3 rows are 5 triplets, those of a row in one cluster"
    objects = [{"anchor": "a", "positive": "b", "negative_1": "n1"}, {"anchor": "c", "positive": "d", "negative_1": "n1", "negative_2": "n2"}]  # fmt: skip
    assert len(load(str(put(tmp_path, "many.jsonl", jsonl(*objects))))) == 3
    path = put(tmp_path, "none.csv", rows + b"h,i, ,,\n")
    assert refusal(path) == f"{path}:5: 'negative_1', 'negative_2' are empty; {SKIP}"
    mapped = load(f"{put(tmp_path, 'other.csv', rows)}::negative=negative_2,skip=empty")
    assert triplets_of(mapped) == [("a", "b", "n2"), ("f", "g", "n5")]
    assert len(load(f"{tmp_path}/other.csv::negative=negative_2;negative_1")) == 5


def test_negatives_of_retrieval_are_documents_that_answer_nothing(tmp_path: Path) -> None:
    dataset = load(f"{put(tmp_path, 'lists.jsonl', jsonl(*LISTS))}::kind=retrieval")
    assert isinstance(dataset, Retrieval)
    assert dataset.documents == ("p1", "p2", "p3", "n1", "n2", "n3")
    assert dataset.relevance == ({0: 1, 1: 1}, {2: 1})
    assert dataset.notes[-1] == (
        "2 rows as retrieval: 2 distinct queries, 6 distinct documents and the negatives, each relevant to its query"
    )


# --- rows that repeat, and rows that lack a value


def test_equal_rows_are_told(tmp_path: Path) -> None:
    assert load(str(put(tmp_path, "twice.csv", PAIRS + b"a,b,1\na,b,2\n"))).notes == (
        "1 of 4 rows repeats another exactly",
    )
    lists = load(str(put(tmp_path, "lists.jsonl", jsonl(*LISTS, *LISTS))))
    assert "2 of 4 rows repeat another exactly" in lists.notes


@pytest.mark.parametrize("missing", ["", "  ", "nan", "NaN", "NAN", "null"])
def test_no_name_joins_no_rows_and_makes_no_slice(tmp_path: Path, missing: str) -> None:
    rows = f"a,x,{missing},{missing},{missing}\nb,y,{missing},{missing},{missing}\nc,x,7,de,s;{missing}\nd,y,7,de,s\n"
    dataset = load(
        f"{put(tmp_path, 'set.csv', f'text,label,cluster,lang,slices{chr(10)}{rows}'.encode())}::slices=lang;slices"
    )
    assert dataset.groups == ("", "", "7", "7")
    assert dataset.slices == {"lang=de": (2, 3), "s": (2, 3)}


def test_no_name_of_json_joins_no_rows_and_makes_no_slice(tmp_path: Path) -> None:
    rows = [
        {"text": f"t{n}", "label": n % 2, "cluster": each, "slices": each}
        for n, each in enumerate((None, float("nan"), "NaN"))
    ]
    dataset = load(str(put(tmp_path, "set.jsonl", jsonl(*rows, {**rows[0], "slices": ["s", None, "nan"]}))))
    assert dataset.groups is None
    assert dataset.slices == {"s": (3,)}


@pytest.mark.parametrize("label", ["nan", "NaN", "null", " ", ""])
def test_no_label_is_none(tmp_path: Path, label: str) -> None:
    path = put(tmp_path, "set.csv", f"text,label\na,x\nb,{label}\nc,x\nd,y\n".encode())
    assert re.fullmatch(rf"{re.escape(str(path))}:3: 'label' is .*; {re.escape(SKIP)}", refusal(path))
    dataset = load(f"{path}::skip=empty")
    assert isinstance(dataset, Labelled)
    assert dataset.labels == ("x", "x", "y")


@pytest.mark.parametrize("row", [" ,f,3", "e,,3", "e,f,", "e,f,NaN", "e,f,n/a", "e,f,-"])
def test_rows_that_lack_a_value_are_left_out_where_asked(tmp_path: Path, row: str) -> None:
    path = put(tmp_path, "set.csv", PAIRS + row.encode())
    message = refusal(path)
    assert message.startswith(f"{path}:4: '")
    assert message.endswith(f"; {SKIP}")
    dataset = load(f"{path}::skip=empty")
    assert pairs_of(dataset) == ROWS_OF_PAIRS
    assert dataset.notes == ("left out 1 row of 3 that lacks a value",)


def test_null_and_missing_values_are_left_out_where_asked(tmp_path: Path) -> None:
    rows = [*OBJECTS, {"sentence1": None, "sentence2": "f", "score": 1}, {"sentence1": "e", "score": 1}]
    path = put(tmp_path, "set.jsonl", jsonl(*rows, {**OBJECTS[0], "score": float("nan")}))
    assert refusal(path) == f"{path}:3: 'sentence1' is None, not a text; {SKIP}"
    assert load(f"{path}::skip=empty").notes == ("left out 3 rows of 5 that lack a value",)
    broken = put(tmp_path, "broken.jsonl", jsonl(*OBJECTS, {**OBJECTS[0], "score": "high"}))
    assert refusal(f"{broken}::skip=empty") == f"{broken}:3: 'score' is 'high', not a number; {FORMS}"


# --- other places


def test_words_for_no_text_are_left_out_where_asked(tmp_path: Path) -> None:
    path = put(tmp_path, "set.csv", PAIRS + b"NULL,x,1\ny,\\N,2\n")
    assert len(pairs_of(load(str(path)))) == 4
    dataset = load(f"{path}::skip=empty")
    assert pairs_of(dataset) == ROWS_OF_PAIRS
    assert dataset.notes == ("left out 2 rows of 4 that lack a value",)


def test_texts_that_are_all_numbers_are_told(tmp_path: Path) -> None:
    path = put(tmp_path, "ids.tsv", b"0\t100\t200\n1\t101\t201\n")
    assert load(str(path)).notes == ("all texts of 'sentence1' are numbers", "all texts of 'sentence2' are numbers")
    lists = jsonl({"query": "q1", "pos": ["1", "2"], "neg": ["3"]}, {"query": "q2", "pos": ["4"], "neg": ["n"]})
    assert "all texts of 'pos' are numbers" in load(str(put(tmp_path, "ids.jsonl", lists))).notes


def test_keys_of_other_places_are_checked_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "corpus.jsonl", b"")
    assert refusal(f"{tmp_path}::name=../up") == f"{tmp_path}: name is '../up'; use letters, digits, '_', '.' and '-'"
    judged = datasets.Dataset.from_list([{"query-id": "q", "corpus-id": "d", "score": 1}])
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: datasets.DatasetDict({"test": judged}))
    hub = f"hub:org/name@{COMMIT}"
    assert refusal(f"{hub}::skip=empty") == f"{hub} has no key 'skip'; its keys are name, ignore_identical_ids"


# --- what the docs say


def test_the_docs_name_every_column_that_is_understood() -> None:
    lines = (Path(__file__).parents[2] / "docs" / "data-formats.md").read_text("utf-8").splitlines()
    named = {
        row.split("|")[1].strip(): {*map(plain, re.findall(r"`([^`]+)`", row))} for row in lines if row[:2] == "| "
    }
    rows = {"labelled": "labelled texts", "texts": "texts without labels"}
    named["retrieval"] |= named["triplets"]  # of negatives, it says that they are called as those
    understood = {
        (rows.get(kind, kind), name) for kind, roles in ROLES.items() for role in roles for name in role.names
    }
    assert {(kind, name) for kind, name in understood if name not in named[kind]} == set()


def test_a_name_that_two_columns_have_matters_where_it_is_used(tmp_path):
    unused = put(tmp_path, "unused.csv", b"sentence1,note,sentence2,note,score\na,x,b,y,1\nc,x,d,y,2.5\n")
    assert pairs_of(load(str(unused))) == ROWS_OF_PAIRS
    with pytest.raises(DataError, match=r"slices.csv:1: 2 columns have the same name: .* called 'note'"):
        load(f"{unused.rename(tmp_path / 'slices.csv')}::slices=note")
    columns = [pa.array(["a", "c"]), pa.array(["b", "d"]), pa.array([1.0, 2.5]), pa.array([2.5, 1.0])]
    parquet.write_table(pa.table(columns, ["sentence1", "sentence2", "score", "score"]), tmp_path / "twice.parquet")
    with pytest.raises(DataError, match=r"twice.parquet row 1: 2 columns have the same name: .* called 'score'"):
        load(str(tmp_path / "twice.parquet"))
    parquet.write_table(pa.table(columns, ["sentence1", "sentence2", "score", "x"]), tmp_path / "once.parquet")
    assert pairs_of(load(str(tmp_path / "once.parquet"))) == ROWS_OF_PAIRS


def test_judgements_of_a_name_that_two_columns_have_are_refused(tmp_path):
    (tmp_path / "qrels").mkdir()
    put(tmp_path, "corpus.jsonl", b'{"_id": "d", "text": "a"}\n{"_id": "e", "text": "b"}\n')
    put(tmp_path, "queries.jsonl", b'{"_id": "q", "text": "a"}\n{"_id": "r", "text": "b"}\n')
    put(tmp_path / "qrels", "test.tsv", b"query-id\tcorpus-id\tscore\tscore\nq\td\t1\t0\nr\te\t1\t0\n")
    with pytest.raises(DataError, match=r"test.tsv:1: 2 columns have the same name"):
        load(str(tmp_path))


def test_a_long_cell_is_read_and_the_limit_of_csv_stays(tmp_path, monkeypatch):
    before, long = csv.field_size_limit(), "word " * 40_000
    file = put(tmp_path, "long.csv", f"sentence1,sentence2,score\n{long}end,b,1\nc,d,2.5\n".encode())
    assert pairs_of(load(str(file)))[0][0] == f"{long}end"
    assert csv.field_size_limit() == before
    monkeypatch.setattr(delimited, "LONGEST_CELL", 1000)
    with pytest.raises(DataError, match=rf"long.csv:2: a cell of more than 1,000 characters; {re.escape(QUOTES)}"):
        load(str(file))


@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_of_many_columns_the_first_are_named(tmp_path, suffix):
    names = [f"column {n}" for n in range(5000)]
    content = {
        "csv": ",".join(names) + "\n" + ",".join("x" * 5000) + "\n",
        "json": json.dumps({name: {"a": 1} for name in names}),
    }
    with pytest.raises(DataError, match="and 4,980 more") as refused:
        load(str(put(tmp_path, f"wide.{suffix}", content[suffix].encode())))
    assert len(str(refused.value)) < 2000


DATABASE = sqlite3.connect(":memory:")
DATABASE.execute("create table t (a)")
PICTURE = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"


def archive() -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("pairs.csv"))
    return held.getvalue()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (bz2.compress(PAIRS), "packed by bzip2"),
        (bz2.compress(PAIRS, 1), "packed by bzip2"),
        (lzma.compress(PAIRS), "packed by xz"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), "an old spreadsheet or document of Office"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "a PDF"),
        (PICTURE, "a picture (PNG)"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF\0", "a picture (JPEG)"),
        (DATABASE.serialize(), "an SQLite database"),
        (b'<?xml version="1.0"?>\n<rows/>\n', "XML"),
        (pickle.dumps(OBJECTS), "a pickle"),
        (archive(), "a tar archive"),
        (packed(archive()), "a tar archive"),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_what_is_something_else_is_told_by_its_first_bytes(tmp_path, content, what, suffix):
    name = f"data{suffix}.gz" if content[:2] == GZIP else f"data{suffix}"
    with pytest.raises(DataError, match=rf"{name}: is {re.escape(what)}, whatever its name says; \w+"):
        load(str(put(tmp_path, name, content)))
