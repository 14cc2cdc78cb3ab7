"""Retrieval folders as people have them: each loads with a note, or is refused with its place and what to do."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from embedgate.core.errors import DataError
from embedgate.data import Retrieval, load
from embedgate.data.beir import read
from embedgate.data.cards import sha256_of
from embedgate.data.readers import files_of
from embedgate.data.rows import Table
from embedgate.data.types import Origin

ASKED = ("when does the bakery open", "who stopped the penalty", "why did it flood", "what does the choir sing")
HEADER = "query-id\tcorpus-id\tscore\n"


def jsonl(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def corpus(count=6):
    return [{"_id": f"d{i}", "title": "", "text": f"Text {i} of the corpus."} for i in range(count)]


def queries(count=4):
    return [{"_id": f"q{i}", "text": ASKED[i]} for i in range(count)]


def qrels(count=4, more=""):
    return HEADER + "".join(f"q{i}\td{i}\t1\n" for i in range(count)) + more


def sound():
    return {"corpus.jsonl": jsonl(corpus()), "queries.jsonl": jsonl(queries()), "qrels/test.tsv": qrels()}


def written(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = content.encode() if isinstance(content, str) else content
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return folder


def loaded(folder, spec=""):
    dataset = load(f"{folder}{spec}")
    assert isinstance(dataset, Retrieval)
    return dataset


def refusal(spec):
    with pytest.raises(DataError) as caught:
        load(str(spec))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_sound_folder_needs_no_note(tmp_path):
    dataset = loaded(written(tmp_path, sound()))
    assert (dataset.notes, dataset.own, dataset.unreachable) == ((), {}, {})


def test_files_that_are_not_read_are_told(tmp_path):
    more = {"corpus.jsonl.gz": jsonl(corpus(7)), "qrels.tsv": qrels(3)}
    folder = written(tmp_path, {**sound(), **more})
    assert loaded(folder).notes == (
        "corpus.jsonl is read, and corpus.jsonl.gz is not",
        "the folder qrels is read, and qrels.tsv is not",
    )


@pytest.mark.parametrize("written_as", ["00{}", "{}.0", " 0{} "])
def test_unknown_ids_that_are_written_otherwise_are_told(tmp_path, written_as):
    documents = [{**row, "_id": written_as.format(row["_id"][1:])} for row in corpus()]
    judged = HEADER + "".join(f"q{i}\t{i}\t1\n" for i in range(4))
    folder = written(tmp_path, {**sound(), "corpus.jsonl": jsonl(documents), "qrels/test.tsv": judged})
    assert refusal(folder) == (
        f"{folder}/qrels/test.tsv:2: no document has the id '0', and 4 of 4 judgements name such; write ids alike: "
        f"{written_as.format(0)!r} differs from it by zeros, '.0' or blanks alone"
    )


def test_swapped_columns_of_judgements_are_told(tmp_path):
    judged = "corpus-id\tquery-id\tscore\n" + "".join(f"q{i}\td{i}\t1\n" for i in range(4))
    folder = written(tmp_path, {**sound(), "qrels/test.tsv": judged})
    assert refusal(folder).endswith("; swap its columns: 'd0' is the id of a document")


# --- judgements

TREC = "".join(f"q{i} 0 d{i} 1\n" for i in range(4))


@pytest.mark.parametrize(
    ("name", "content", "notes"),
    [
        ("qrels/test.tsv", TREC, ("judgements are separated by blanks",)),
        ("qrels/test.tsv", TREC.replace(" ", "\t"), ()),
        ("qrels/test.txt", TREC.replace(" ", "   "), ("judgements are separated by blanks",)),
        ("qrels/test.trec", TREC, ("judgements are separated by blanks",)),
        ("qrels/test.qrels", TREC.replace("\n", "\r\n"), ("judgements are separated by blanks",)),
        ("qrels/test.tsv", TREC.replace(" 0 ", " "), ("judgements are separated by blanks",)),
        ("qrels/test.csv", qrels().replace("\t", ","), ("judgements are separated by commas",)),
        ("qrels/test.csv", qrels().replace("\t", "; "), ("judgements are separated by semicolons",)),
        ("qrels/test.tsv", "query-id\tQ0\tcorpus-id\tscore\n" + TREC.replace(" ", "\t"), ()),
        ("qrels/test.tsv", qrels().replace("\t1\n", "\t1.0\n"), ()),
        ("qrels/test.tsv", "score\tquery-id\tcorpus-id\n" + "".join(f"1\tq{i}\td{i}\n" for i in range(4)), ()),
        ("qrels/test.tsv.gz", qrels(), ("unpacked from gzip",)),
        ("qrels/test.jsonl", jsonl([{"query-id": f"q{i}", "corpus-id": f"d{i}", "score": 1} for i in range(4)]), ()),
        ("qrels.tsv", qrels(), ()),
        ("qrels.test.txt", TREC, ("judgements are separated by blanks",)),
        ("qrels/dev.tsv", qrels(), ("judged on dev, the only split",)),
        ("qrels/test", TREC, ("judgements are separated by blanks",)),
        ("qrels.test", TREC, ("judgements are separated by blanks",)),
    ],
)
def test_judgements_are_read_as_they_come(tmp_path, name, content, notes):
    files = sound()
    del files["qrels/test.tsv"]
    dataset = loaded(written(tmp_path, {**files, name: content}))
    assert dataset.relevance == ({0: 1}, {1: 1}, {2: 1}, {3: 1})
    assert dataset.notes == notes


@pytest.mark.parametrize(
    ("more", "notes"),
    [
        ("q0\td4\t-1\nq1\td4\t-2\n", ("2 judgements below 0: not relevant, as in trec_eval",)),
        ("q0\td0\t1\n", ("1 judgement said again with the same score",)),
        ("q0\td4\t-1\nq0\td4\t0\n", ("1 judgement below 0: not relevant, as in trec_eval", "1 judgement said again")),
        ("q9\td0\t1\n", ("left out 1 of 5 judgements: no query has the id, such as 'q9'",)),
        (
            "q0\td9\t2\n",
            (
                "1 of 5 judgements: the corpus lacks the document, such as 'd9'; where it is relevant, it counts as "
                "never found, as in BEIR",
            ),
        ),
    ],
)
def test_what_is_odd_about_judgements_is_told(tmp_path, more, notes):
    dataset = loaded(written(tmp_path, {**sound(), "qrels/test.tsv": qrels(more=more)}))
    assert dataset.relevance == ({0: 1}, {1: 1}, {2: 1}, {3: 1})
    assert len(dataset.notes) == len(notes)
    assert all(told.startswith(note) for told, note in zip(dataset.notes, notes, strict=True))
    assert dataset.unreachable == ({0: (2,)} if "d9" in more else {})


QUOTED = '"","query-id","corpus-id","score"\n' + "".join(f'"{i}","q{i}","d{i}","1"\n' for i in range(4))
UNNAMED = "".join(f'"q{i}","d{i}","1"\n' for i in range(4))


@pytest.mark.parametrize("content", [QUOTED, QUOTED.replace(",", ";"), UNNAMED])
def test_quotes_in_csv_are_those_of_csv(tmp_path, content):
    files = sound()
    del files["qrels/test.tsv"]
    dataset = loaded(written(tmp_path, {**files, "qrels/test.csv": content}))
    assert dataset.relevance == ({0: 1}, {1: 1}, {2: 1}, {3: 1})


def test_quotes_elsewhere_are_named(tmp_path):
    step = "write judgements without quotes, or call the file .csv"
    tabs = QUOTED.replace(",", "\t")
    folder = written(tmp_path, {**sound(), "qrels/test.tsv": tabs})
    assert refusal(folder) == f"""{folder}/qrels/test.tsv:2: '"score"' is '"1"', not a number; {step}"""
    written(folder, {"qrels/test.tsv": tabs.replace('"1"\n', "1\n")})
    assert refusal(folder) == (
        f"""{folder}/qrels/test.tsv:2: no query has the id '"q0"', and 4 of 4 judgements name such; """
        f"one has 'q0', without quotes; {step}"
    )


def test_ids_may_hold_the_signs_that_separate_others(tmp_path):
    renamed = [{**row, "_id": f"{row['_id']},1;2"} for row in corpus()]
    trec = "".join(f"q{i} 0 d{i},1;2 1\n" for i in range(4))
    dataset = loaded(written(tmp_path, {**sound(), "corpus.jsonl": jsonl(renamed), "qrels/test.tsv": trec}))
    assert dataset.relevance == ({0: 1}, {1: 1}, {2: 1}, {3: 1})


def test_a_query_whose_documents_are_all_missing_stays_and_finds_nothing(tmp_path):
    dataset = loaded(written(tmp_path, {**sound(), "qrels/test.tsv": qrels(3, "q3\td9\t1\nq3\td8\t0\n")}))
    assert dataset.relevance == ({0: 1}, {1: 1}, {2: 1}, {})
    assert dataset.unreachable == {3: (1,)}
    assert dataset.clusters is None


def test_queries_without_a_document_in_common_are_not_drawn_together(tmp_path):
    missing = "".join(f"q{i}\tgone{i}\t1\n" for i in (2, 3))
    dataset = loaded(written(tmp_path, {**sound(), "qrels/test.tsv": qrels(2, missing)}))
    assert dataset.unreachable == {2: (1,), 3: (1,)}
    assert dataset.clusters is None


def test_files_of_several_datasets_are_refused(tmp_path):
    missing = "".join(f"q{i}\tgone{i}\t1\n" for i in range(4))
    folder = written(tmp_path, {**sound(), "qrels/test.tsv": qrels(3, missing)})
    assert refusal(folder) == (
        f"{folder}/qrels/test.tsv:5: no document has the id 'gone0', and 4 of 7 judgements name such; "
        "give corpus, queries and judgements of one dataset"
    )
    written(folder, {"qrels/test.tsv": HEADER + "q0\td0\t1\n" + "".join(f"x{i}\td{i}\t1\n" for i in range(3))})
    assert refusal(folder) == (
        f"{folder}/qrels/test.tsv:3: no query has the id 'x0', and 3 of 4 judgements name such; "
        "give corpus, queries and judgements of one dataset"
    )


def test_judgements_of_more_queries_than_are_asked_are_a_sample(tmp_path):
    """Whoever keeps some of a dataset's queries keeps all of its judgements."""
    more = "".join(f"x{i}\td{i}\t1\n" for i in range(6))
    dataset = loaded(written(tmp_path, {**sound(), "qrels/test.tsv": qrels(4, more)}))
    assert dataset.notes == ("left out 6 of 10 judgements: no query has the id, such as 'x0'",)


# --- splits


def test_a_split_is_named(tmp_path):
    dev = HEADER + "q0\td1\t1\nq1\td0\t1\n"
    folder = written(tmp_path / "mine", {**sound(), "qrels/dev.tsv": dev})
    test, asked, other = loaded(folder), loaded(folder, "::split=test"), loaded(folder, "::split=dev")
    assert other.relevance == ({1: 1}, {0: 1})
    assert (test.name, asked.name, other.name) == ("mine", "mine", "mine-dev")
    assert test.sha256 == asked.sha256 != other.sha256
    assert loaded(folder, "::split=dev,name=ours").name == "ours"


@pytest.mark.parametrize(("spec", "split"), [("", "test"), ("::split=validation", "validation")])
def test_splits_are_listed_where_the_one_is_missing(tmp_path, spec, split):
    files = sound()
    files["qrels/dev.tsv"] = files["qrels/train.tsv.gz"] = files.pop("qrels/test.tsv")
    folder = written(tmp_path, files)
    assert refusal(f"{folder}{spec}") == (
        f"{folder}/qrels: dev.tsv, train.tsv.gz, but no split {split}; choose one: {folder}::split=dev"
    )


def test_judgements_beside_the_corpus_have_splits_too(tmp_path):
    files = sound()
    files["qrels.txt"] = files.pop("qrels/test.tsv")
    folder = written(tmp_path / "mine", files)
    assert refusal(f"{folder}::split=dev") == (f"{folder}/qrels: qrels.txt, but no split dev; leave the key split out")
    written(folder, {"qrels.dev.txt": HEADER + "q0\td1\t1\nq1\td0\t1\n"})
    assert (len(loaded(folder)), loaded(folder).name) == (4, "mine")
    assert (len(loaded(folder, "::split=dev")), loaded(folder, "::split=dev").name) == (2, "mine-dev")


def test_two_files_of_a_split_are_refused_but_for_a_packed_copy(tmp_path):
    folder = written(tmp_path, {**sound(), "qrels/test.tsv.gz": qrels()})
    assert loaded(folder).notes == ()
    written(folder, {"qrels/test.txt": TREC})
    assert refusal(folder) == f"{folder}/qrels: test.tsv, test.txt; keep one of them"


def test_a_folder_has_the_keys_of_its_layout(tmp_path):
    folder = written(tmp_path, sound())
    assert refusal(f"{folder}::delimiter=;") == (
        f"{folder} has no key 'delimiter'; its keys are split, ignore_identical_ids, name"
    )
    assert refusal(f"{folder}::ignore_identical_ids=maybe") == (
        f"{folder}: ignore_identical_ids is 'maybe'; choose from true, yes, false, no"
    )


def test_judgements_outside_the_usual_files_are_part_of_the_hash(tmp_path):
    files = sound()
    del files["qrels/test.tsv"]
    folder = written(tmp_path, {**files, "qrels/test.txt": TREC})
    before = loaded(folder).sha256
    written(folder, {"qrels/test.txt": TREC.replace("d3 1", "d3 2")})
    assert loaded(folder).sha256 != before


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("qrels/.DS_Store", "q0 0 d0 1\n"),
        ("qrels/._test.tsv", "Mac"),
        ("qrels/_SUCCESS", ""),
        ("qrels/README", "Made in 2020"),
        ("qrels/README.txt", "q0 0 d0 1\n"),
        ("qrels/how.txt", "These were made by three people."),
        ("qrels/train.tsv", "q0\td1\t1\n"),
        ("notes.csv", "a,b\n1,2\n"),
    ],
)
def test_what_stands_beside_the_files_of_a_split_changes_nothing(tmp_path, name, content):
    folder = written(tmp_path, sound())
    before = loaded(folder)
    written(folder, {name: content})
    after = loaded(folder)
    assert (after.sha256, after.relevance, after.name) == (before.sha256, before.relevance, before.name)
    only = written(tmp_path / "only", {**sound(), name: content})
    (only / "qrels" / "test.tsv").rename(only / "qrels" / "dev.txt")
    if not name.endswith("train.tsv"):
        assert loaded(only).relevance == before.relevance


@pytest.mark.parametrize(
    "name", ["my_qrels_notes.txt", "qrels_README.txt", "qrels.md", "about-qrels.txt", ".qrels.swp"]
)
def test_what_tells_about_judgements_beside_the_corpus_is_none(tmp_path, name):
    files = sound()
    files["qrels.tsv"] = files.pop("qrels/test.tsv")
    folder = written(tmp_path, files)
    before = loaded(folder).sha256
    written(folder, {name: "What these judgements are, in a few words.\n"})
    assert loaded(folder).sha256 == before


def test_a_pointer_is_refused_and_not_passed_over_for_another_split(tmp_path):
    folder = written(
        tmp_path, {**sound(), "qrels/dev.tsv": qrels(), "qrels/test.txt": "version https://git-lfs.x/v1\n"}
    )
    (folder / "qrels" / "test.tsv").unlink()
    assert refusal(folder) == (
        f"{folder}/qrels/test.txt: is a pointer of Git LFS, whatever its name says; fetch what it stands for: git lfs pull"
    )


def test_a_card_states_the_hash_of_the_usual_judgements(tmp_path):
    files = {**sound(), "qrels/test.trec": TREC, "qrels/dev.tsv": qrels(2)}
    del files["qrels/test.tsv"]
    folder = written(tmp_path, files)
    sha256 = sha256_of(folder, files_of(folder, None))
    assert loaded(folder).sha256 == sha256
    card = f'name = "mine"\nkind = "retrieval"\nsha256 = "{sha256}"\n'
    written(folder, {"card.toml": card})
    assert loaded(folder).sha256 == sha256
    assert loaded(folder, "::split=dev").sha256 != sha256
    written(folder, {"corpus.jsonl": jsonl(corpus(7))})
    assert refusal(f"{folder}::split=dev").endswith(f"its card says {sha256}; correct card.toml if this is intended")


# --- where the files are


def test_an_unpacked_archive_has_the_folder_in_a_folder(tmp_path):
    written(tmp_path / "nq" / "nq", sound())
    dataset = loaded(tmp_path / "nq")
    assert (dataset.name, dataset.source) == ("nq", str(tmp_path / "nq" / "nq"))
    assert dataset.sha256 == loaded(tmp_path / "nq" / "nq").sha256
    written(tmp_path / "nq" / "fiqa", sound())
    assert refusal(tmp_path / "nq") == (
        f"{tmp_path}/nq: holds several retrieval datasets: fiqa, nq; name one, such as {tmp_path}/nq/fiqa"
    )


def test_a_link_to_a_folder_elsewhere_is_not_followed(tmp_path):
    written(tmp_path / "elsewhere", sound())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "nq").symlink_to(tmp_path / "elsewhere")
    assert refusal(tmp_path / "mine").startswith(f"{tmp_path}/mine/nq: a link out of its folder")
    folder = written(tmp_path / "whole", sound())
    (folder / "qrels" / "dev.trec").symlink_to(tmp_path / "elsewhere" / "qrels" / "test.tsv")
    assert refusal(folder) == (
        f"{folder}/qrels/dev.trec: a link out of its folder; put the file or folder itself there"
    )


def test_corpus_and_queries_may_be_packed_or_tables(tmp_path):
    files = sound()
    files["corpus.jsonl.gz"] = files.pop("corpus.jsonl")
    files["queries.tsv"] = "_id\ttext\n" + "".join(f"q{i}\t{ASKED[i]}\n" for i in range(4))
    del files["queries.jsonl"]
    dataset = loaded(written(tmp_path, files))
    assert len(dataset.documents) == 6
    assert dataset.notes == ("unpacked from gzip",)
    written(tmp_path, {"queries.jsonl": jsonl(queries())})
    assert refusal(tmp_path) == f"{tmp_path}: queries.jsonl, queries.tsv; keep one, such as queries.jsonl"


# --- documents


def test_documents_without_text_or_title_are_blank(tmp_path):
    odd = [{"_id": "e0", "title": None, "text": None}, {"_id": "e1"}, {"_id": "e2", "title": "Tea", "text": None}]
    files = {**sound(), "corpus.jsonl": jsonl([*corpus(), *odd, {"_id": 7, "text": "seven"}])}
    dataset = loaded(written(tmp_path, files))
    assert dataset.documents[6:] == ("", "", "Tea ", "seven")
    assert dataset.document_ids[-1] == "7"
    assert dataset.notes == ("2 of 10 documents are blank",)


def test_what_is_said_again_counts_once(tmp_path):
    again = {"corpus.jsonl": jsonl([*corpus(), *corpus(2)]), "queries.jsonl": jsonl([*queries(), *queries(1)])}
    dataset = loaded(written(tmp_path, {**sound(), **again}))
    assert (len(dataset.documents), len(dataset)) == (6, 4)
    assert dataset.notes == (
        "documents said again with the same id and text: 2",
        "queries said again with the same id and text: 1",
    )


def test_identical_documents_are_told(tmp_path):
    twins = [{"_id": f"e{i}", "text": f"Text {i} of the corpus."} for i in range(3)]
    dataset = loaded(written(tmp_path, {**sound(), "corpus.jsonl": jsonl([*corpus(), *twins])}))
    assert dataset.notes == ("3 of 9 documents repeat another: they tie, and count in expectation",)


# --- queries that are documents


def with_own(same=4, titled=False):
    """The queries as documents under their ids; of some, another text."""
    own = [
        {
            "_id": f"q{i}",
            "title": f"About {i}" if titled else "",
            "text": ASKED[i].replace(" ", "  ").title() if i < same else f"other {i}",
        }
        for i in range(4)
    ]
    return {**sound(), "corpus.jsonl": jsonl([*corpus(), *own])}


LEFT_OUT = (
    "{} of {} queries are documents too, under the same id: each is left out of its own ranking, as in BEIR; "
    "ignore_identical_ids=false keeps it"
)
STAYS = (
    "{} of 4 queries: the document with the same id {}, so it stays in the ranking; ignore_identical_ids=true leaves it "
    "out, as BEIR does"
)
OTHER, ANSWERED = "has another text", "is judged relevant to the query"
UNFINDABLE = "1 of 4 queries have no relevant document that can be found: they score 0, as in BEIR"


@pytest.mark.parametrize("titled", [False, True])
def test_a_query_in_the_corpus_under_its_own_id_is_left_out_of_its_ranking(tmp_path, titled):
    dataset = loaded(written(tmp_path, with_own(titled=titled)))
    assert dataset.own == {0: 6, 1: 7, 2: 8, 3: 9}
    assert dataset.notes == (LEFT_OUT.format(4, 4),)


def test_where_most_are_the_query_the_others_are_too(tmp_path):
    """A correction in one text does not make its document another one."""
    dataset = loaded(written(tmp_path, with_own(same=3)))
    assert dataset.own == {0: 6, 1: 7, 2: 8, 3: 9}


def test_ids_that_queries_and_documents_only_share_by_chance_leave_nothing_out(tmp_path):
    folder = written(tmp_path, with_own(same=0))
    dataset = loaded(folder)
    assert dataset.own == {}
    assert dataset.notes == (STAYS.format(4, OTHER),)
    forced = loaded(folder, "::ignore_identical_ids=true")
    assert forced.own == {0: 6, 1: 7, 2: 8, 3: 9}
    assert forced.sha256 != dataset.sha256


def test_of_few_that_are_the_query_these_alone_are_left_out(tmp_path):
    dataset = loaded(written(tmp_path, with_own(same=1)))
    assert dataset.own == {0: 6}
    assert dataset.notes == (LEFT_OUT.format(1, 4), STAYS.format(3, OTHER))


def test_queries_may_be_left_in_their_rankings(tmp_path):
    dataset = loaded(written(tmp_path, with_own()), "::ignore_identical_ids=no")
    assert dataset.own == {}
    assert dataset.notes == ("4 queries are word for word a document of another id, which stays in their rankings",)


def faq(count=4):
    """Answers called by their question, each with the id of who asks it."""
    return {
        "corpus.jsonl": jsonl([{"_id": f"q{i}", "title": ASKED[i], "text": f"Answer {i}."} for i in range(count)]),
        "queries.jsonl": jsonl(queries(count)),
        "qrels/test.tsv": HEADER + "".join(f"q{i}\tq{i}\t1\n" for i in range(count)),
    }


def test_an_answer_with_the_id_of_its_question_stays_in_the_ranking(tmp_path):
    folder = written(tmp_path, faq())
    dataset = loaded(folder)
    assert (dataset.own, dataset.relevance) == ({}, ({0: 1}, {1: 1}, {2: 1}, {3: 1}))
    assert dataset.notes == (STAYS.format(4, ANSWERED),)
    assert refusal(f"{folder}::ignore_identical_ids=true") == (
        f"{folder}/qrels/test.tsv: each query's relevant document has its id, and ignore_identical_ids leaves it out; "
        "give ignore_identical_ids=false, or leave the key out"
    )


def test_a_document_judged_relevant_to_its_query_is_not_its_own(tmp_path):
    folder = written(tmp_path, {**with_own(), "qrels/test.tsv": qrels(more="q0\tq0\t1\n")})
    dataset = loaded(folder)
    assert dataset.relevance[0] == {0: 1, 6: 1}
    assert dataset.own == {1: 7, 2: 8, 3: 9}
    assert dataset.notes == (LEFT_OUT.format(3, 4), STAYS.format(1, ANSWERED))
    as_beir = loaded(folder, "::ignore_identical_ids=true")
    assert as_beir.own == {0: 6, 1: 7, 2: 8, 3: 9}
    assert as_beir.notes == (
        LEFT_OUT.format(4, 4),
        "1 of these are judged relevant to themselves, which counts as never found, as in BEIR",
    )


def test_queries_without_an_answer_that_can_be_found_are_told(tmp_path):
    judged = HEADER + "".join(f"q{i}\td{i}\t1\n" for i in range(1, 4))
    folder = written(tmp_path, {**with_own(), "qrels/test.tsv": judged + "q0\tq0\t1\n"})
    assert UNFINDABLE not in loaded(folder).notes
    assert UNFINDABLE in loaded(folder, "::ignore_identical_ids=true").notes
    written(folder, {"qrels/test.tsv": judged + "q0\tgone\t1\n"})
    assert UNFINDABLE in loaded(folder).notes


def test_tables_are_joined_as_a_benchmark_says(tmp_path):
    def table(name, rows):
        return Table(name, tuple(rows[0]), iter(enumerate(rows, 1)), unit=" row ")

    judged = [{"query-id": f"q{i}", "corpus-id": f"q{3 - i}", "score": 1} for i in range(4)]
    texts = [{"_id": f"q{i}", "text": f"question {i}"} for i in range(4)]
    origin = Origin("mine", "mine", "", "")
    joined = {
        said: read(
            table("corpus", texts), table("queries", texts), table("qrels", judged), origin, ignore_identical_ids=said
        )
        for said in (None, True, False)
    }
    assert joined[None].own == joined[True].own == {i: i for i in range(4)}
    assert joined[False].own == {}


def test_values_on_such_a_folder_are_those_of_beir(tmp_path):
    """From files to metric: pytrec_eval's values of the run without each query's own document."""
    import pytrec_eval

    from embedgate.metrics import retrieval

    rng = np.random.default_rng(0)
    texts = [{"_id": f"a{i}", "title": f"Title {i}", "text": f"argument number {i}"} for i in range(120)]
    asked = [{"_id": f"a{i}", "text": f"argument number {i}"} for i in range(40)]
    judged = HEADER + "".join(f"a{i}\ta{int(rng.integers(40, 120))}\t1\n" for i in range(40)) + "a0\tgone\t1\n"
    folder = {"corpus.jsonl": jsonl(texts), "queries.jsonl": jsonl(asked), "qrels/test.tsv": judged}
    dataset = loaded(written(tmp_path, folder))
    vectors = rng.normal(size=(120, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = retrieval.evaluate(
        vectors[:40], vectors, dataset.relevance, own=dataset.own, unreachable=dataset.unreachable
    )
    qrels_ = {}
    for line in judged.splitlines()[1:]:
        query, document, grade = line.split("\t")
        qrels_.setdefault(query, {})[document] = int(grade)
    run = {
        f"a{i}": {f"a{j}": float(score) for j, score in enumerate(scores) if i != j}
        for i, scores in enumerate(vectors[:40] @ vectors.T)
    }
    scored = pytrec_eval.RelevanceEvaluator(qrels_, {"ndcg_cut.10", "recall.10"}).evaluate(run)
    for name, measure in (("ndcg_at_10", "ndcg_cut_10"), ("recall_at_10", "recall_10")):
        expected = np.mean([scored[f"a{i}"][measure] for i in range(40)])
        assert found[name].value == pytest.approx(expected, abs=1e-9)


def test_a_folder_named_by_a_card_alone_needs_its_files(tmp_path: Path):
    written(tmp_path, {"card.toml": 'name = "mine"\nkind = "retrieval"\n', "queries.jsonl": jsonl(queries())})
    assert refusal(tmp_path).startswith(f"{tmp_path}: no corpus.jsonl; a retrieval dataset is corpus.jsonl, ")
    written(tmp_path, {"corpus.jsonl": jsonl(corpus())})
    assert refusal(tmp_path).startswith(f"{tmp_path}/qrels: no judgements")
