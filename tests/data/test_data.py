"""Datasets: every format reads back what was written, and every malformed one is refused with its place and cause."""

from __future__ import annotations

import csv
import errno
import io
import json
import sys
import tracemalloc
from collections.abc import Mapping, Sequence
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from embedgate.core.errors import DataError
from embedgate.data import (
    Labelled,
    Retrieval,
    Similarity,
    Triplets,
    bundled,
    cards,
    hub,
    load,
    load_bundled,
    load_calibration,
)
from embedgate.data.cells import NAMES
from embedgate.data.columns import SKIP
from embedgate.data.delimited import QUOTED, QUOTES, UNQUOTED
from embedgate.data.grades import FORMS
from embedgate.data.json_rows import CORRECT, ROWS
from embedgate.data.overlap import check_no_overlap
from embedgate.data.readers import SAVE_OR_NAME

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PAIRS = [
    {"sentence1": "A cat, asleep.", "sentence2": 'The "cat" sleeps.', "score": 4.5},
    {"sentence1": "Two\nlines", "sentence2": "one\u2028line\u0085each", "score": 0.0},
    {"sentence1": "Ünïcödé \U0001f600", "sentence2": "\ttabbed ", "score": 2.25},
]
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)


def jsonl(rows: Sequence[Mapping[str, object]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def delimited(rows: list[list[object]], delimiter: str = ",") -> bytes:
    stream = io.StringIO()
    csv.writer(stream, delimiter=delimiter).writerows(rows)
    return stream.getvalue().encode()


def written(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def pairs_of(dataset: Similarity) -> list[dict[str, object]]:
    rows = zip(dataset.first, dataset.second, dataset.grades.tolist(), strict=True)
    return [{"sentence1": first, "sentence2": second, "score": grade} for first, second, grade in rows]


def refusal(spec: object) -> str:
    with pytest.raises(DataError) as caught:
        load(str(spec))
    message = str(caught.value)
    assert "\n" not in message
    return message


BEIR = {
    "corpus.jsonl": jsonl(
        [
            {"_id": "d1", "title": "Tea", "text": "is made from leaves."},
            {"_id": "d2", "title": "", "text": "Coffee is made from beans."},
            {"_id": "d3", "text": "Coffee is made from beans."},
        ]
    ),
    "queries.jsonl": jsonl(
        [
            {"_id": "q1", "text": "unanswered", "slices": ["odd"]},
            {"_id": "q2", "text": "what is tea made from", "slices": ["odd", "tea"]},
            {"_id": "q3", "text": "what is coffee made from"},
        ]
    ),
    "qrels/test.tsv": b"query-id\tcorpus-id\tscore\nq3\td2\t2\nq3\td3\t1\nq3\td1\t0\nq2\td1\t1\n",
}


# --- every format reads back what was written


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("set.jsonl", jsonl(PAIRS)),
        ("bom.jsonl", b"\xef\xbb\xbf" + jsonl(PAIRS)),
        ("blank.jsonl", b"\n" + jsonl(PAIRS).replace(b"\n", b"\r\n  \r\n")),
        ("set.csv", delimited([list(PAIRS[0]), *(list(row.values()) for row in PAIRS)])),
        ("bare.csv", delimited([list(row.values()) for row in PAIRS])),
        ("bom.csv", b"\xef\xbb\xbf" + delimited([list(row.values()) for row in PAIRS])),
        ("set.tsv", delimited([list(PAIRS[0]), *(list(row.values()) for row in PAIRS)], "\t")),
        ("bare.TSV", delimited([list(row.values()) for row in PAIRS], "\t")),
        ("other.csv", delimited([["id", "Label", "Text 1", "text-2"], *([7, *list(r.values())[::-1]] for r in PAIRS)])),
    ],
)
def test_similarity_reads_back(tmp_path: Path, name: str, content: bytes) -> None:
    dataset = load(str(written(tmp_path, {name: content}) / name))
    assert isinstance(dataset, Similarity)
    expected = PAIRS
    if name == "other.csv":
        expected = [{**row, "sentence1": row["sentence2"], "sentence2": row["sentence1"]} for row in PAIRS]
    assert pairs_of(dataset) == expected
    assert dataset.grades.dtype == np.float64
    assert not dataset.grades.flags.writeable
    assert (dataset.name, dataset.kind, len(dataset)) == (name.partition(".")[0], "similarity", 3)


def test_similarity_reads_back_from_parquet(tmp_path: Path) -> None:
    parquet.write_table(pa.Table.from_pylist(PAIRS), tmp_path / "set.parquet")
    dataset = load(str(tmp_path / "set.parquet"))
    assert isinstance(dataset, Similarity)
    assert pairs_of(dataset) == PAIRS


def test_labelled_reads_back(tmp_path: Path) -> None:
    rows: list[list[object]] = [
        ["text", "label", "slices"],
        ["a", "x", "odd; new"],
        ["b", "y", ""],
        ["a", "x", "odd;odd"],
    ]
    dataset = load(str(written(tmp_path, {"set.csv": delimited(rows)}) / "set.csv"))
    assert isinstance(dataset, Labelled)
    assert (dataset.items, dataset.labels) == (("a", "b", "a"), ("x", "y", "x"))
    assert dataset.texts() == ("a", "b")
    assert dataset.slices == {"new": (0,), "odd": (0, 2)}


def test_labels_may_be_whole_numbers(tmp_path: Path) -> None:
    rows = [{"text": "a", "label": 0}, {"text": "b", "label": 1}, {"text": "c", "label": 1}]
    dataset = load(str(written(tmp_path, {"set.jsonl": jsonl(rows)}) / "set.jsonl"))
    assert isinstance(dataset, Labelled)
    assert dataset.labels == ("0", "1", "1")


def test_triplets_read_back(tmp_path: Path) -> None:
    rows = [{"anchor": "a", "positive": "b", "negative": "c"}, {"anchor": "d", "positive": "a", "negative": "e"}]
    dataset = load(str(written(tmp_path, {"set.jsonl": jsonl(rows)}) / "set.jsonl"))
    assert isinstance(dataset, Triplets)
    assert (dataset.anchors, dataset.positives, dataset.negatives) == (("a", "d"), ("b", "a"), ("c", "e"))
    assert dataset.texts() == ("a", "d", "b", "c", "e")


def test_beir_folder_reads_back(tmp_path: Path) -> None:
    dataset = load(str(written(tmp_path / "my set", BEIR)))
    assert isinstance(dataset, Retrieval)
    assert dataset.name == "my_set"
    assert dataset.document_ids == ("d1", "d2", "d3")
    assert dataset.documents == ("Tea is made from leaves.", *["Coffee is made from beans."] * 2)
    assert dataset.query_ids == ("q2", "q3")
    assert dataset.relevance == ({0: 1}, {1: 2, 2: 1})
    assert dataset.slices == {"odd": (0,), "tea": (0,)}
    assert dataset.notes == (
        "left out 1 of 3 queries: no relevant document",
        "1 of 3 documents repeat another: they tie, and count in expectation",
    )
    assert dataset.texts() == tuple(dict.fromkeys([*dataset.documents, *dataset.queries]))


def test_the_first_of_two_columns_for_one_thing_counts(tmp_path: Path) -> None:
    rows = delimited([["Text", "text ", "topic", "label"], ["a", "b", "x", "y"], ["c", "d", "z", "y"]])
    dataset = load(str(written(tmp_path, {"set.csv": rows + b"e,f,g,h\n"}) / "set.csv"))
    assert isinstance(dataset, Labelled)
    assert (dataset.items, dataset.labels) == (("a", "c", "e"), ("y", "y", "h"))


@pytest.mark.parametrize("change", ["no header", "only train", "blank document", "quote in an id"])
def test_beir_variants(tmp_path: Path, change: str) -> None:
    files = dict(BEIR)
    if change == "no header":
        files["qrels/test.tsv"] = files["qrels/test.tsv"].partition(b"\n")[2]
    if change == "only train":
        files["qrels/train.tsv"] = files.pop("qrels/test.tsv")
    if change == "blank document":
        files["corpus.jsonl"] += jsonl([{"_id": "d4", "title": "", "text": ""}])
    if change == "quote in an id":
        files = {
            name: content.replace(b"q2", b'\\"q2' if "json" in name else b'"q2') for name, content in files.items()
        }
    dataset = load(str(written(tmp_path, files)))
    assert isinstance(dataset, Retrieval)
    assert dataset.relevance == ({0: 1}, {1: 2, 2: 1})
    assert ("1 of 4 documents are blank" in dataset.notes) == (change == "blank document")


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(TEXTS, TEXTS, st.floats(-1e9, 1e9)), min_size=2, max_size=6))
def test_any_text_reads_back_identical(tmp_path: Path, rows: list[tuple[str, str, float]]) -> None:
    rows = [*rows, ("one", "two", 1e10)]
    named = [dict(zip(("sentence1", "sentence2", "score"), row, strict=True)) for row in rows]
    contents = {
        "set.jsonl": jsonl(named),
        "set.csv": delimited([["sentence1", "sentence2", "score"], *map(list, rows)]),
        "bare.csv": delimited([list(row) for row in rows]),
        "set.tsv": delimited([["sentence1", "sentence2", "score"], *map(list, rows)], "\t"),
    }
    written(tmp_path, contents)
    for name in contents:
        dataset = load(str(tmp_path / name))
        assert isinstance(dataset, Similarity)
        assert pairs_of(dataset) == named


# --- every malformed file is refused with its place and cause

GOOD = b"sentence1,sentence2,score\na,b,1\nc,d,2\n"
LINE = b'{"text": "a", "label": "x"}\n'
SIMILARITY_NEEDS = "similarity needs sentence1, sentence2, score"
SAY = "say which column is which by keys such as ::sentence1=COLUMN"
NEEDS = (
    f"{SIMILARITY_NEEDS}; triplets needs anchor, positive, negative; labelled needs text, label; "
    f"retrieval needs query, positive; texts without labels need ::text=COLUMN; {SAY}"
)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "set.csv",
            GOOD + b"e,f\n",
            ":4: 2 columns, not 3: 'sentence1', 'sentence2', 'score'; give each row a cell for each column",
        ),
        (
            "set.csv",
            GOOD + b'"e\ne",f,3\n\n\n"g",h,3,4\n',
            f":8: 4 columns, not 3: 'sentence1', 'sentence2', 'score'; {QUOTED}",
        ),
        ("set.csv", GOOD + b" ,f,3\n", f":4: 'sentence1' is empty; {SKIP}"),
        ("set.csv", GOOD + b"e,f,high\n", f":4: 'score' is 'high', not a number; {FORMS}"),
        ("set.csv", GOOD + b'e,f,"NaN\n"\n', f":4: 'score' is nan, not a finite number; {SKIP}"),
        ("set.csv", b"a,b,nan\nc,d,1\n", f":1: 'score' is nan, not a finite number; {SKIP}"),
        ("set.csv", GOOD + b"e,f,\n", f":4: 'score' is '', not a number; {SKIP}"),
        ("set.csv", GOOD + b"e,f\xff,3\n", f":4: not UTF-8 (byte 0xff at position 4); {SAVE_OR_NAME}"),
        ("set.csv", b"\xff\xfea\x00b", f":1: not UTF-16 (byte 0x62); {SAVE_OR_NAME}"),
        ("set.csv", b"\xef\xbb\xbfa\xff", f":1: not UTF-8 (byte 0xff at position 2); {SAVE_OR_NAME}"),
        ("set.csv", GOOD + b'"e,f,3\ng,h,1\n', f":4: unexpected end of data; {QUOTES}; {UNQUOTED}"),
        ("set.csv", GOOD + b'"e" e,f,3\n', f":4: ',' expected after '\"'; {QUOTES}; {UNQUOTED}"),
        ("set.tsv", b'a\tb\t1\n"c" c\td\t2\n', f":2: '\\t' expected after '\"'; {QUOTES}; {UNQUOTED}"),
        ("set.csv", b"a,b,c\nd,e,f\n", f":1: columns 'a', 'b', 'c' fit no kind of dataset; {NEEDS}"),
        (
            "set.csv",
            b'text,text,label,"a\nb"\na,b,c,d\n',
            ":1: 2 columns have the same name: 'text', 'text', 'label', 'a\\nb'; rename all but one that are called 'text'",
        ),
        ("set.csv", b"\n\n", ": holds no rows; give it rows, or name another file"),
        ("set.csv", GOOD[:26], ": 0 items, but a metric needs at least two; give more"),
        ("set.csv", GOOD[:32], ": 1 item, but a metric needs at least two; give more"),
        (
            "set.csv",
            b"a,b,3\nc,d,3.0\n",
            ": every grade is 3, so nothing can correlate with them; give pairs of several grades",
        ),
        (
            "set.csv",
            b"text,label\na,x\nb,x\n",
            ": 'x' is the only label, but clusters need at least two; give texts of several labels",
        ),
        (
            "set.csv",
            b"text,label\na,x\nb,y\n",
            ": no two texts share a label, so there are no clusters to find; give several texts of each label",
        ),
        ("set.tsv", b"anchor\tpositive\tnegative\na\tb\t\n", f":2: 'negative' is empty; {SKIP}"),
        ("set.jsonl", LINE + b'\n{"text": "b"}\n', f":3: no 'label'; {SKIP}"),
        (
            "set.jsonl",
            LINE + b'{"text": "b", "label": }\n',
            f":2: invalid JSON: Expecting value at column 24; {CORRECT}",
        ),
        ("set.jsonl", LINE + b'["b", "y"]\n', f":2: ['b', 'y'] is not a JSON object; {ROWS}"),
        (
            "set.jsonl",
            LINE + b'{"text": 5, "label": "x"}\n',
            ":2: 'text' is 5, not a text; write it as a text in quotes",
        ),
        ("set.jsonl", LINE + b'{"text": "b", "label": ""}\n', f":2: 'label' is empty; {SKIP}"),
        (
            "set.jsonl",
            LINE + b'{"text": "b", "label": 1.5}\n',
            ":2: 'label' is 1.5, not a text; write it as a text in quotes",
        ),
        (
            "set.jsonl",
            LINE + b'{"text": "\\ud800", "label": "x"}\n',
            ":2: 'text' holds half of a surrogate pair: '\\ud800'; write the whole character, or leave it out",
        ),
        (
            "set.jsonl",
            LINE + b'{"text": "b", "label": "x", "slices": 3}',
            f":2: 'slices' is 3, not a list of names; {NAMES}",
        ),
        (
            "set.jsonl",
            LINE + b'{"text": "b\xe9"}\n',
            f":2: not UTF-8 (byte 0xe9 at position 12); {SAVE_OR_NAME}",
        ),
        ("set.jsonl", b"{}\n", ":1: an empty object; give it keys, or leave it out"),
        ("set.jsonl", b"", ": holds no rows; give it rows, or name another file"),
        ("set.jsonl", b'\n{"a": 1}\n', f":2: columns 'a' fit no kind of dataset; {NEEDS}"),
        (
            "set.jsonl",
            b'{"sentence1": "a", "sentence2": "b", "score": NaN}\n',
            f":1: 'score' is nan, not a finite number; {SKIP}",
        ),
        (
            "set.jsonl",
            b'{"sentence1": "a", "sentence2": "b", "score": [1]}\n',
            f":1: 'score' is [1], not a number; {FORMS}",
        ),
        (
            "set.jsonl",
            b'{"sentence1": "a", "sentence2": "b", "score": 1' + b"0" * 400 + b"}\n",
            f":1: 'score' is 1{'0' * 17}...{'0' * 19}, not a number; {FORMS}",
        ),
        ("set.xlsx", b"", ": unknown kind of file; save the sheet as CSV"),
    ],
)
def test_malformed_file(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = written(tmp_path, {name: content}) / name
    assert refusal(path) == f"{path}{message}"


def test_nesting_beyond_the_parser(tmp_path: Path) -> None:
    path = written(tmp_path, {"set.jsonl": LINE + b'{"text":' + b"[" * 200_000 + b"\n"}) / "set.jsonl"
    assert refusal(path).startswith(f"{path}:2: invalid JSON: ")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "corpus.jsonl",
            None,
            ": no corpus.jsonl; a retrieval dataset is corpus.jsonl, queries.jsonl and qrels/test.tsv",
        ),
        ("qrels/test.tsv", None, "/qrels: no judgements; put them into {}/qrels/test.tsv"),
        (
            "corpus.jsonl",
            b'{"_id": "d1", "text": "again"}\n',
            "/corpus.jsonl:4: a second document has the id 'd1', and another text; give each its own id",
        ),
        (
            "corpus.jsonl",
            b'{"_id": "d4", "text": 7}\n',
            "/corpus.jsonl:4: 'text' is 7, not a text; write it as a text in quotes",
        ),
        (
            "corpus.jsonl",
            b'{"_id": "", "text": "b"}\n',
            "/corpus.jsonl:4: '_id' is empty; give each an id of its own, a text or a whole number",
        ),
        (
            "queries.jsonl",
            b'{"_id": "q1", "text": "again"}\n',
            "/queries.jsonl:4: a second query has the id 'q1', and another text; give each its own id",
        ),
        (
            "queries.jsonl",
            b'{"_id": "q4", "text": " "}\n',
            "/queries.jsonl:4: 'text' is empty; write what is asked, or delete the query",
        ),
        (
            "qrels/test.tsv",
            b"q1\td1\t1.5\n",
            "/qrels/test.tsv:6: 'score' is 1.5, not a whole number; round it, since trec_eval knows whole grades alone",
        ),
        (
            "qrels/test.tsv",
            b"q1\td1\t1e12\n",
            "/qrels/test.tsv:6: 'score' is 1e+12, and no grade of retrieval is above 100,000; divide all grades by one number",
        ),
        (
            "qrels/test.tsv",
            b"q1\td1\tyes\n",
            "/qrels/test.tsv:6: 'score' is 'yes', not a number; write 0 for not relevant, and more for more relevant",
        ),
        (
            "qrels/test.tsv",
            b"q2\td1\t2\n",
            "/qrels/test.tsv:6: document 'd1' has two scores for query 'q2': 1 and 2; keep one of them",
        ),
        (
            "qrels/test.tsv",
            b"q1 d1 1\n",
            "/qrels/test.tsv:6: 1 column, not 3: 'query-id', 'corpus-id', 'score'; write each judgement in a line of its own, with all its cells",
        ),
    ],
)
def test_malformed_beir_folder(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    written(tmp_path, BEIR)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(BEIR[name] + content)
    assert refusal(tmp_path) == f"{tmp_path}{message.format(tmp_path)}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"qrels/test.tsv": b"q1\tQ0\td1\t1\t12.5\tbm25\n"},
            "/qrels/test.tsv:1: columns 'q1', 'Q0', 'd1', '1', '12.5', 'bm25'; needs query-id, corpus-id and score; "
            "this may be a run, which says what was found",
        ),
        (
            {"qrels/test.tsv": b"q1\td1\t0\n"},
            "/qrels/test.tsv: no query has a relevant document (a score above 0); correct the scores",
        ),
        ({"qrels/test.tsv": b"q2\td1\t1\n"}, ": 1 item, but a metric needs at least two; give more"),
        (
            {"corpus.jsonl": jsonl([{"_id": f"d{n}", "text": "same"} for n in range(4)])},
            ": fewer than two different documents, so there is nothing to rank; give more documents",
        ),
    ],
)
def test_beir_folder_without_a_question(tmp_path: Path, change: dict[str, bytes], message: str) -> None:
    assert refusal(written(tmp_path, {**BEIR, **change})) == f"{tmp_path}{message}"


def test_beir_folder_with_several_judgement_files(tmp_path: Path) -> None:
    files = dict(BEIR)
    files["qrels/train.tsv"] = files["qrels/dev.tsv"] = files.pop("qrels/test.tsv")
    qrels = written(tmp_path, files) / "qrels"
    assert refusal(tmp_path) == f"{qrels}: dev.tsv, train.tsv, but no split test; choose one: {tmp_path}::split=dev"


def test_malformed_parquet(tmp_path: Path) -> None:
    path = tmp_path / "set.parquet"
    parquet.write_table(pa.Table.from_pylist([*PAIRS, {**PAIRS[0], "score": None}]), path)
    assert refusal(path) == f"{path} row 4: 'score' is None, not a number; {SKIP}"
    path.write_bytes(b"PAR1")
    assert refusal(path).startswith(f"{path}: not a Parquet file: ")


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, {"set.parquet": b""}) / "set.parquet"
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert refusal(path) == f"{path}: Parquet needs pyarrow; pip install embedgate[parquet]"


def test_unknown_name() -> None:
    assert refusal("pears") == (
        "no dataset 'pears'; give a bundled name (pairs, passages, topics, triplets, multilingual), the path of a file (.csv, .tsv, "
        ".jsonl, .ndjson, .json, .parquet, .txt), of a folder or of a list of datasets (.toml), hub:org/name@<40-digit commit>[:config][:split], or mteb:TASK"
    )


# --- folders, cards and hashes

CARD = b'name = "mine"\nkind = "similarity"\nversion = "2.1"\n'


def test_folder_with_a_card(tmp_path: Path) -> None:
    written(tmp_path, {"card.toml": CARD, "rows.csv": GOOD, "README.md": b"hello", ".cache/old.csv": b"x"})
    dataset = load(str(tmp_path))
    assert (dataset.name, dataset.version, dataset.source) == ("mine", "2.1", str(tmp_path))
    sha256 = f'sha256 = "{dataset.sha256}"\n'.encode()
    written(tmp_path, {"card.toml": CARD + sha256})
    assert load(str(tmp_path)).sha256 == dataset.sha256
    written(tmp_path, {"rows.csv": GOOD + b"e,f,3\n"})
    changed = cards.sha256_of(tmp_path, [tmp_path / "rows.csv"])
    assert refusal(tmp_path) == (
        f"{tmp_path}: the data has SHA-256 {changed}, its card says {dataset.sha256}; "
        "correct card.toml if this is intended"
    )


def test_hash_is_about_names_and_bytes(tmp_path: Path) -> None:
    first = written(tmp_path / "1", {"a.csv": GOOD, "b/c.tsv": b"x"})
    same = written(tmp_path / "2", {"b/c.tsv": b"x", "a.csv": GOOD})
    renamed = written(tmp_path / "3", {"a.csv": GOOD, "b/d.tsv": b"x"})
    moved = written(tmp_path / "4", {"a.csv": GOOD + b"b/c.tsv\0x"})
    hashes = [cards.sha256_of(folder, cards.data_files(folder)) for folder in (first, same, renamed, moved)]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3


@pytest.mark.parametrize(
    ("card", "message"),
    [
        (b'kind = "labelled"\n', ": 'name' is None; use letters, digits, '_', '.' and '-'"),
        (b'name = "../up"\n', ": 'name' is '../up'; use letters, digits, '_', '.' and '-'"),
        (
            b'name = "a"\nkind = "pairs"\n',
            ": 'kind' is 'pairs'; choose from similarity, retrieval, labelled, triplets, texts, calibration, golden",
        ),
        (b'name = "a"\nkind = "calibration"\n', ": calibration texts are no dataset to judge on; name another folder"),
        (
            b'sha265 = "a"\n',
            ": no card has a 'sha265'; it can hold "
            "name, kind, version, language, default, description, provenance, licence, sha256, slices",
        ),
        (b"version = 1\n", ": 'version' is 1, not a text; write version = \"...\""),
        (
            b'name = "a"\nkind = "labelled"\ndefault = "never"\n',
            ": 'default' is 'never'; write 'claimed', or leave it out",
        ),
        (b"name = \n", " is no TOML: Invalid value (at line 1, column 8); correct it there"),
    ],
)
def test_malformed_card(tmp_path: Path, card: bytes, message: str) -> None:
    written(tmp_path, {"card.toml": card, "rows.csv": GOOD})
    assert refusal(tmp_path) == f"{tmp_path / 'card.toml'}{message}"


def test_rows_of_another_kind_than_the_card_says(tmp_path: Path) -> None:
    written(tmp_path, {"card.toml": CARD, "rows.jsonl": LINE})
    path = tmp_path / "rows.jsonl"
    assert refusal(tmp_path) == (
        f"{path}:1: columns 'text', 'label' are not those of a similarity dataset; {SIMILARITY_NEEDS}; {SAY}"
    )


def test_folder_with_no_or_several_files(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path}: needs one data file, has none; give the path of the file itself"
    written(tmp_path, {"dev.csv": GOOD, "test.csv": GOOD})
    assert refusal(tmp_path) == (
        f"{tmp_path}: needs one data file, has dev.csv, test.csv; give the path of the file itself, "
        f"or name a split: {tmp_path}::split=dev"
    )


@pytest.mark.parametrize("name", ["queries.jsonl", "qrels"])
def test_links_do_not_leave_the_folder(tmp_path: Path, name: str) -> None:
    link = written(tmp_path / "mine", BEIR) / name
    link.rename(tmp_path / name)
    link.symlink_to(tmp_path / name)
    assert refusal(tmp_path / "mine") == f"{link}: a link out of its folder; put the file or folder itself there"


def test_links_within_the_folder_are_followed(tmp_path: Path) -> None:
    written(tmp_path, BEIR)
    (tmp_path / "queries.jsonl").rename(tmp_path / "asked.jsonl")
    (tmp_path / "queries.jsonl").symlink_to(tmp_path / "asked.jsonl")
    assert len(load(str(tmp_path))) == 2


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, mode: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    path = written(tmp_path, {"set.csv": GOOD}) / "set.csv"
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=r"set\.csv: cannot be read: Permission denied; give read permission"):
        cards.sha256_of(tmp_path, [path])


# --- bundled datasets


def test_bundled_datasets_match_their_cards() -> None:
    assert bundled() == ("pairs", "passages", "topics", "triplets", "multilingual")
    for name in bundled():
        card, dataset = cards.read_card(cards.bundled_folder() / name), load(name)
        assert (dataset.name, dataset.kind, dataset.version) == (name, card.kind, card.version)
        assert dataset.sha256 == card.sha256
        assert dataset.source == f"bundled:{name}"
        assert set(dataset.slices) == set(card.slices)
        assert all((card.language, card.description, card.provenance, card.licence == "CC0-1.0"))


def test_changed_bundled_rows_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = CARD + f'sha256 = "{"0" * 64}"\n'.encode()
    written(tmp_path / "mine", {"card.toml": card, "rows.csv": GOOD})
    monkeypatch.setattr(cards, "bundled_folder", lambda: tmp_path)
    monkeypatch.setattr("embedgate.data.readers.bundled_folder", lambda: tmp_path)
    with pytest.raises(DataError, match=r"card says 0{64}; after an intended change run python tools/card_hash\.py"):
        load_bundled("mine")
    with pytest.raises(DataError, match="no bundled dataset 'yours'; choose from mine"):
        load_bundled("yours")


def test_calibration_texts_are_none_of_the_bundled_ones() -> None:
    texts, sha256 = load_calibration()
    assert sha256 == cards.read_card(cards.bundled_folder() / "calibration").sha256
    assert len(set(texts)) == len(texts) > 0
    check_no_overlap(texts, (text for name in bundled() for text in load(name).texts()))


# --- hub datasets


def hub_of(monkeypatch: pytest.MonkeyPatch, configs: dict[str | None, dict[str, list[dict[str, object]]]]) -> None:
    """Puts local rows in the place of a hub repository that has these configs and splits."""

    def load_dataset(hub_id: str, config: str | None = None, *, revision: str) -> datasets.DatasetDict:
        assert (hub_id, revision) == ("org/name", COMMIT)
        if config not in configs:
            raise ValueError(f"BuilderConfig {config!r}\nnot found.")
        splits = {split: datasets.Dataset.from_list(rows) for split, rows in configs[config].items()}
        return datasets.DatasetDict(splits)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)


def test_hub_dataset_reads_back(monkeypatch: pytest.MonkeyPatch) -> None:
    hub_of(monkeypatch, {None: {"train": PAIRS[:2], "test": PAIRS}, "small": {"dev": PAIRS[1:]}})
    dataset = load(f"hub:org/name@{COMMIT}")
    assert isinstance(dataset, Similarity)
    assert pairs_of(dataset) == PAIRS
    assert (dataset.name, dataset.version, dataset.source) == ("name", COMMIT, f"hub:org/name@{COMMIT}::test")
    assert len(load(f"hub:org/name@{COMMIT}::train")) == 2
    small = load(f"hub:org/name@{COMMIT}:small")
    assert small.source == f"hub:org/name@{COMMIT}:small:dev"
    assert small.sha256 != dataset.sha256


def test_hub_retrieval_reads_back(monkeypatch: pytest.MonkeyPatch) -> None:
    qrels: list[dict[str, object]] = [
        {"query-id": "q2", "corpus-id": "d1", "score": 1.0},
        {"query-id": "q3", "corpus-id": "d2", "score": 2.0},
    ]
    configs: dict[str | None, dict[str, list[dict[str, object]]]] = {
        name: {name: [json.loads(line) for line in BEIR[f"{name}.jsonl"].splitlines()]}
        for name in ("corpus", "queries")
    }
    hub_of(monkeypatch, {**configs, "default": {"test": qrels}})
    dataset = load(f"hub:org/name@{COMMIT}:default:test")
    assert isinstance(dataset, Retrieval)
    assert dataset.documents == ("Tea is made from leaves.", *["Coffee is made from beans."] * 2)
    assert dataset.relevance == ({0: 1}, {1: 2})


def test_hub_retrieval_knows_the_key_of_identical_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[dict[str, object]] = [{"_id": f"q{i}", "text": f"question {i}"} for i in range(3)]
    qrels: list[dict[str, object]] = [
        {"query-id": f"q{i}", "corpus-id": f"q{(i + 1) % 3}", "score": 1} for i in range(3)
    ]
    hub_of(monkeypatch, {"corpus": {"corpus": texts}, "queries": {"queries": texts}, "default": {"test": qrels}})
    spec = f"hub:org/name@{COMMIT}:default:test"
    plain, kept = load(spec), load(f"{spec}::ignore_identical_ids=false")
    assert isinstance(plain, Retrieval)
    assert isinstance(kept, Retrieval)
    assert (plain.own, kept.own) == ({0: 0, 1: 1, 2: 2}, {})
    assert plain.sha256 != kept.sha256
    hub_of(monkeypatch, {None: {"test": PAIRS}})
    assert "has no key 'ignore_identical_ids'" in refusal(f"hub:org/name@{COMMIT}::ignore_identical_ids=true")


def test_hub_dataset_must_be_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_current_commit", lambda hub_id: COMMIT)
    assert refusal("hub:org/name") == (
        f"hub dataset org/name is not pinned: it names no revision; write hub:org/name@{COMMIT}"
    )
    assert refusal("hub:org/name@main:small:dev") == (
        f"hub dataset org/name is not pinned: 'main' can move; write hub:org/name@{COMMIT}:small:dev"
    )
    assert refusal("hub:name") == (
        "'hub:name' is no hub dataset; write hub:org/name@<40-digit commit>[:config][:split]"
    )


def test_hub_dataset_is_no_local_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(written(tmp_path, {"org/name/rows.csv": GOOD}))
    spec = f"hub:org/name@{COMMIT}"
    assert refusal(spec) == f"the folder org/name would be read in the place of {spec}; run from another folder"


def test_hub_troubles(monkeypatch: pytest.MonkeyPatch) -> None:
    pin = f"hub:org/name@{COMMIT}"
    hub_of(monkeypatch, {None: {"a": [*PAIRS, {**PAIRS[0], "sentence2": ""}], "b": PAIRS}})
    assert refusal(pin) == f"{pin} has the splits a, b; name one: hub:org/name@<40-digit commit>[:config][:split]"
    assert refusal(f"{pin}::c") == (
        f"{pin} has the splits a, b; name one: hub:org/name@<40-digit commit>[:config][:split]"
    )
    hub_of(monkeypatch, {None: {"a": [*PAIRS, {**PAIRS[0], "sentence2": ""}]}})
    assert refusal(f"{pin}::test") == (
        f"{pin} has the splits a; name one: hub:org/name@<40-digit commit>[:config][:split]"
    )
    assert refusal(f"{pin}::a") == f"{pin}::a row 4: 'sentence2' is empty; {SKIP}"
    assert refusal(f"{pin}:none") == (
        f"{pin} cannot be loaded: BuilderConfig 'none' not found.; check id, commit, config and network"
    )
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert refusal(pin) == f"{pin}: hub datasets need the datasets library; pip install embedgate[hub]"


# --- size


def test_rows_are_streamed(tmp_path: Path) -> None:
    path, rows, repeated = tmp_path / "set.jsonl", 20_000, "x" * 1_000
    with path.open("w") as stream:
        for number in range(rows):
            row = {"sentence1": f"a{number}", "sentence2": f"b{number}", "score": number % 5, "unused": repeated}
            stream.write(json.dumps(row) + "\n")
    tracemalloc.start()
    dataset = load(str(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(dataset) == rows
    assert peak < path.stat().st_size
