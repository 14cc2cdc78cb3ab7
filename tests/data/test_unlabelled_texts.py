"""Texts without labels: from plain files, from tables with a column of texts alone, and each once."""

import gzip
import json
import re
from functools import partial

import numpy as np
import pytest

from embedgate.command import main
from embedgate.core.errors import DataError
from embedgate.data import Texts, load

# Without the time: what a test is called must be the same in every process.
packed = partial(gzip.compress, mtime=0)

THREE = ("how do I pay", "where is my parcel", "cancel the order")


def written(file, content):
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(file)


@pytest.mark.parametrize(
    "content",
    ["\n".join(THREE), "\n".join(THREE) + "\n", "\r\n".join(THREE), "\ufeff" + "\n".join(THREE)],
    ids=["no end of line", "lines", "CRLF", "byte order mark"],
)
def test_a_plain_file_has_a_text_a_line(tmp_path, content):
    found = load(written(tmp_path / "log.txt", content))
    assert isinstance(found, Texts)
    assert (found.name, found.kind, found.items, found.role, found.notes) == ("log", "texts", THREE, "", ())


def test_texts_are_as_they_stand(tmp_path):
    texts = ("  indented", "a,b;c\td", 'say "no"', "a\u2028b")
    assert load(written(tmp_path / "log.txt", "\n".join(texts))).items == texts


def test_repeats_count_once_and_are_told_with_blank_lines(tmp_path):
    found = load(written(tmp_path / "log.txt", "\n".join([*THREE, "", "  ", *THREE[:2]])))
    assert found.items == THREE
    assert found.notes == (
        "2 blank lines left out",
        "3 different texts of 5: 2 repeat others, each counts once",
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "0 different texts, but neighbours need at least 3; give more texts"),
        ("one\none\ntwo\n", "2 different texts, but neighbours need at least 3; give more texts"),
    ],
)
def test_too_few_are_refused(tmp_path, content, message):
    file = written(tmp_path / "log.txt", content)
    with pytest.raises(DataError, match=f"^{re.escape(f'{file}: {message}')}$"):
        load(file)


def test_a_line_that_is_not_utf8_is_refused_with_its_number(tmp_path):
    with pytest.raises(DataError, match=r"log\.txt:2: not UTF-8 \(byte 0xff at position 4\)"):
        load(written(tmp_path / "log.txt", b"one\ntwo\xff\nthree\nfour\n"))


@pytest.mark.parametrize("role", ["query", "document", "sts", "clustering"])
def test_a_role_is_given_by_a_key(tmp_path, role):
    file = written(tmp_path / "log.txt", "\n".join(THREE))
    plain, found = load(file), load(f"{file}::role={role},name=mine")
    assert (found.name, found.role, found.roles) == ("mine", role, (role,))
    assert {each.role for each in found.inputs()} == {role}
    assert found.sha256 != plain.sha256, "what is approved of other embeddings is not held against these"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("role=queries", "role is 'queries'; choose from query, document, sts, clustering, pairclassification"),
        ("text=q", ":1: no column 'q', asked for as text; it has 'how do I pay'"),
        ("kind=similarity", ":1: columns 'how do I pay' are not those of a similarity dataset"),
    ],
)
def test_keys_of_a_plain_file_that_mean_nothing(tmp_path, keys, message):
    with pytest.raises(DataError, match=re.escape(message)):
        load(f"{written(tmp_path / 'log.txt', chr(10).join(THREE))}::{keys}")


SICK = "pair_ID\tsentence_A\tsentence_B\trelatedness_score\n1\ta, dog\ta cat\t4.5\n2\tb\tc\t3\n3\td\te\t1\n"


@pytest.mark.parametrize(
    ("content", "name", "what"),
    [
        (SICK, "tab", "the header"),
        ("\n" + SICK.replace(",", "").replace("\t", ","), "comma", "the header"),
        (SICK.replace("\t", "|"), "pipe", "the header"),
        ("text;label\na;b\nc;d\ne;b\n", "semicolon", "the header"),
        ("a dog\ta cat\t4.5\nb\tc\t3\nd\te\t1\n", "tab", "a row"),
    ],
)
def test_a_table_is_not_taken_for_texts(tmp_path, content, name, what):
    file = written(tmp_path / "set.txt", content)
    with pytest.raises(DataError) as caught:
        load(file)
    place = f"{file}:{2 if content.startswith(chr(10)) else 1}: is {what} of a table, "
    assert caught.value.cause.startswith(place)
    action = f"read it as a table by ::delimiter={name}, or each line as a text by ::kind=texts"
    assert caught.value.action == action
    assert not isinstance(load(f"{file}::delimiter={name}"), Texts)
    lines = tuple(line for line in content.splitlines() if line)
    assert load(f"{file}::kind=texts").items == lines


@pytest.mark.parametrize(
    "keys", ["score=relatedness_score", "kind=similarity", "quotes=none", "delimiter=tab,skip=empty", "slices=pair_ID"]
)
def test_keys_of_tables_read_a_plain_file_as_one(tmp_path, keys):
    found = load(f"{written(tmp_path / 'SICK.txt', SICK)}::{keys}")
    assert (found.kind, len(found), found.first[0]) == ("similarity", 3, "a, dog")


def test_a_plain_table_without_a_header(tmp_path):
    bare = written(tmp_path / "bare.txt", SICK.partition("\n")[2])
    assert load(f"{bare}::header=none,sentence1=2,sentence2=3,score=4").second == ("a cat", "c", "e")


@pytest.mark.parametrize(
    "first", ["who wrote text, and label?", 'an inch is 1"', "one, two, 3", "a;b", '"quoted", he said']
)
def test_texts_with_commas_and_quotes_are_texts(tmp_path, first):
    assert load(written(tmp_path / "log.txt", "\n".join([first, *THREE]))).items == (first, *THREE)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "a pointer of Git LFS"),
        (b"\xef\xbb\xbf\n <!DocType HTML>\n<html>\n<body>\n", "a web page"),
        (b"<HTML lang=en>\na\nb\nc\n", "a web page"),
        (b"PK\x03\x04abc\na\nb\nc\n", "a ZIP archive or a spreadsheet"),
    ],
)
def test_what_only_is_called_a_plain_file_is_refused(tmp_path, content, what):
    for keys in ("", "::kind=texts", "::delimiter=tab"):
        with pytest.raises(DataError, match=rf"log\.txt: is {what}, whatever its name says; "):
            load(f"{written(tmp_path / 'log.txt', content)}{keys}")


def test_a_long_first_line_is_a_text(tmp_path):
    long = "word " * 40_000
    assert load(written(tmp_path / "log.txt", "\n".join([long, *THREE]))).items == (long, *THREE)


def test_a_plain_file_of_a_folder_is_no_link_out_of_it(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set/log.txt").symlink_to(written(tmp_path / "other.txt", "\n".join(THREE)))
    with pytest.raises(DataError, match=r"log\.txt: a link out of its folder; put the file itself there"):
        load(str(tmp_path / "set"))


@pytest.mark.parametrize("card", ["", 'name = "mine"\nkind = "texts"\n'])
def test_a_folder_may_hold_one_plain_file(tmp_path, card):
    written(tmp_path / "log.txt", "\n".join(THREE))
    written(tmp_path / "log.txt.gz", packed(b"other"))
    if card:
        written(tmp_path / "card.toml", card)
    found = load(f"{tmp_path}::role=query")
    assert (found.items, found.role, found.name) == (THREE, "query", "mine" if card else tmp_path.name)
    before = found.sha256
    written(tmp_path / "log.txt", "\n".join([*THREE, "four"]))
    assert load(f"{tmp_path}::role=query").sha256 != before
    written(tmp_path / "readme.txt", "\n".join(THREE))
    with pytest.raises(DataError, match=r"needs one data file, has log\.txt, readme\.txt; give the path of the file"):
        load(str(tmp_path))
    written(tmp_path / "log.csv", "text\n" + "\n".join(THREE))
    assert load(str(tmp_path)).items == THREE, "beside a table, other files tell about it"


def test_beside_a_table_in_a_folder_below_a_plain_file_is_no_data(tmp_path):
    """The hash of a folder is that of its tables."""
    written(tmp_path / "log.txt", "\n".join(THREE))
    (tmp_path / "old").mkdir()
    written(tmp_path / "old/rows.csv", "text\na\nb\nc\n")
    with pytest.raises(DataError, match="needs one data file, has none; give the path of the file itself"):
        load(str(tmp_path))


def test_a_card_says_what_a_plain_file_of_a_folder_holds(tmp_path):
    written(tmp_path / "SICK.txt", SICK)
    written(tmp_path / "card.toml", 'name = "sick"\nkind = "similarity"\n')
    assert load(str(tmp_path)).kind == "similarity"


def table(tmp_path, columns, name="log.csv"):
    return written(
        tmp_path / name, ",".join(columns) + "\n" + "".join(f"{text}{',x' * (len(columns) - 1)}\n" for text in THREE)
    )


@pytest.mark.parametrize(
    ("column", "role"),
    [
        *((name, "") for name in ("text", "Sentence", "content", "question", "body")),
        *((name, "query") for name in ("query", "Queries")),
        *((name, "document") for name in ("document", "passages")),
    ],
)
def test_a_table_of_one_column_of_texts(tmp_path, column, role):
    found = load(table(tmp_path, [column]))
    assert isinstance(found, Texts)
    assert (found.items, found.role) == (THREE, role)
    told = f"encoded in the role {role}, by the name of the column {column!r}"
    assert (told in found.notes) == bool(role)


def test_beside_another_column_it_is_not_taken_for_texts_alone(tmp_path):
    with pytest.raises(DataError, match=r"'query', 'user' fit no kind.*; texts without labels need ::text=COLUMN"):
        load(table(tmp_path, ["query", "user"]))


@pytest.mark.parametrize(
    ("keys", "role"),
    [("text=q", ""), ("query=q", "query"), ("text=q,role=document", "document")],
)
def test_a_column_that_is_named_is_taken_whatever_stands_beside_it(tmp_path, keys, role):
    found = load(f"{table(tmp_path, ['q', 'user'])}::{keys}")
    assert (type(found), found.items, found.role) == (Texts, THREE, role)


def test_labels_are_left_where_texts_are_asked_for(tmp_path):
    found = load(f"{table(tmp_path, ['text', 'label'])}::kind=texts")
    assert (type(found), found.items) == (Texts, THREE)


def test_data_with_labels_have_their_own_roles(tmp_path):
    rows = [{"text": text, "label": f"{number % 2}"} for number, text in enumerate([*THREE, "one more"])]
    file = written(tmp_path / "mine.jsonl", "\n".join(map(json.dumps, rows)))
    with pytest.raises(DataError, match="role is 'query', and labelled data have roles of their own; leave it out, or"):
        load(f"{file}::role=query")


def test_a_repeated_text_is_in_the_slices_and_the_cluster_of_its_rows(tmp_path):
    rows = [
        {"text": "a", "slices": ["one"], "cluster": ""},
        {"text": "b", "slices": ["one"], "cluster": "x"},
        {"text": "a", "slices": ["two"], "cluster": "x"},
        {"text": "c", "slices": [], "cluster": ""},
    ]
    found = load(written(tmp_path / "log.jsonl", "\n".join(map(json.dumps, rows))))
    assert found.slices == {"one": (0, 1), "two": (0,)}
    assert found.groups == ("x", "x", "")
    np.testing.assert_array_equal(found.clusters, [0, 0, 1])


def test_a_part_is_of_the_same_role_and_clusters(tmp_path):
    texts = [*THREE, f"{THREE[0]}!"]
    part = load(f"{written(tmp_path / 'log.txt', chr(10).join(texts))}::role=query").part([3, 0, 1])
    assert [(each.text, each.role) for each in part.inputs()] == [(texts[item], "query") for item in (3, 0, 1)]
    np.testing.assert_array_equal(part.clusters, [0, 0, 1])
    assert part.inputs_of([2]) == (part.inputs()[2],)


@pytest.mark.parametrize(
    ("name", "content", "notes"),
    [
        ("log.txt.gz", packed("\n".join(THREE).encode()), ("unpacked from gzip",)),
        ("log.txt", "\n".join(THREE).encode("utf-16"), ("read as UTF-16",)),
        ("log.txt", "\r".join(THREE).encode(), ("lines end in carriage returns alone",)),
    ],
    ids=["gzip", "UTF-16", "carriage returns"],
)
def test_how_a_file_is_written_is_found_and_told(tmp_path, name, content, notes):
    found = load(written(tmp_path / name, content))
    assert (found.name, found.items, found.notes) == ("log", THREE, notes)


def test_another_encoding_is_named(tmp_path):
    file = written(tmp_path / "log.txt", "\n".join([*THREE, "caf\xe9"]).encode("latin-1"))
    with pytest.raises(DataError, match=r":4: not UTF-8 .*; save the file as UTF-8, or name its encoding by the key"):
        load(file)
    assert load(f"{file}::encoding=latin-1").items[-1] == "caf\xe9"


@pytest.mark.parametrize(
    ("name", "content", "notes"),
    [
        ("log.json", json.dumps(THREE), ("read as one JSON array", "rows are texts")),
        ("log.jsonl", "\n".join(map(json.dumps, THREE)), ("rows are texts",)),
    ],
)
def test_json_may_hold_texts_alone(tmp_path, name, content, notes):
    found = load(written(tmp_path / name, content))
    assert (found.kind, found.items, found.notes) == ("texts", THREE, notes)


def test_among_texts_anything_else_is_refused_with_its_place(tmp_path):
    with pytest.raises(DataError, match=r"log\.jsonl:4: 'text' is 3, not a text"):
        load(written(tmp_path / "log.jsonl", "\n".join([*map(json.dumps, THREE), "3"])))


def test_data_check_says_that_texts_have_no_role(tmp_path, capsys):
    file = written(tmp_path / "log.txt", "\n".join(THREE))
    for keys, told in (("", "3 without a role: "), ("::role=query", "3 as query: ")):
        main(["data", "check", f"{file}{keys}"])
        assert told in capsys.readouterr().out


def test_a_line_of_marks_that_show_nothing_is_blank(tmp_path):
    path = tmp_path / "log.txt"
    path.write_text("one\n\u200b\u200d \n\0\ntwo\nthree \u200b\n\ufeff\n", "utf-8")
    dataset = load(str(path))
    assert dataset.items == ("one", "two", "three \u200b")
    assert dataset.notes == ("3 blank lines left out",)
