"""`embedgate data check`: every dataset that is named is told or refused, in a terminal and as JSON, without a model."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedgate.command import main

ROWS = "q1,q2,dup,lang\n" + "".join(
    f"{word} {i} is the first of a few words,{i * i} times another {word},{i % 2},{'de' if i < 20 else 'en'}\n"
    for i, word in enumerate(f"w{n:x}{n * n:x}{n**3:x}" for n in range(80))
)
KEYS = "::sentence1=q1,sentence2=q2,score=dup,slices=lang"
LIST = """\
[tickets]
path = "tickets.csv"
columns = { sentence1 = "q1", sentence2 = "q2", score = "dup" }
slices = ["lang"]
weight = 2
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tickets.csv").write_text(ROWS, "utf-8")
    (tmp_path / "gate-data.toml").write_text(LIST, "utf-8")
    return tmp_path


@pytest.fixture
def check(folder, capsys):
    def call(*arguments: str) -> tuple[int, str]:
        status = main(["data", "check", *arguments])
        told = capsys.readouterr()
        return status, told.out + told.err

    return call


def test_a_list_is_told(check):
    status, told = check("gate-data.toml")
    assert status == 0
    lines = [" ".join(line.split()) for line in told.splitlines()]
    for line in (
        "tickets: similarity, weight 2, tickets.csv",
        "items 80 pairs, 160 different texts",
        "labels grades: 0 in 40, 1 in 40",
        "slice lang=de: 20 items: too few to be judged, 30 are needed",
        "slice lang=en: 60 items",
        "shows a loss of about 1.03% of Spearman; 1.00% is tolerated",
        "1 understood, 0 refused",
    ):
        assert line in lines, told
    assert "too small for Spearman: about 85 items show a loss of 1.00%" in " ".join(told.split())
    assert "gate_data" not in told, "it is written down"


def test_what_is_given_by_itself_is_offered_to_be_written_down(check, folder):
    status, told = check(f"tickets.csv{KEYS}")
    assert status == 0
    head, _, entry = told.partition("into pytest.ini:\n")
    assert head.endswith(
        "to have pytest alone judge on this, write into gate-data.toml, and gate_data = gate-data.toml "
    )
    (folder / "gate-data.toml").write_text(entry, "utf-8")
    status, told = check("gate-data.toml")
    assert status == 0
    assert "lang=de: 20 items" in told


def test_all_are_told_beside_what_is_refused(check, folder):
    (folder / "gate-data.toml").write_text(LIST + '[gone]\npath = "gone.csv"\n[odd]\npath = 1\n', "utf-8")
    (folder / "nan.csv").write_text("sentence1,sentence2,score\na,b,1\nc,d,nan\n", "utf-8")
    status, told = check("gate-data.toml", "nan.csv", "none.toml", "pairs")
    assert status == 1
    assert "tickets: similarity" in told
    assert "pairs: similarity, bundled:pairs" in told
    assert "refused: gate-data.toml: [gone]: no dataset 'gone.csv'\n  give a bundled name" in told
    assert "refused: gate-data.toml: [odd]: path: expected a text, got a whole number" in told
    assert "refused: nan.csv:3: 'score' is nan, not a " in told
    assert "refused: there is no list of datasets none.toml\n  make it" in told
    assert told.endswith("2 understood, 4 refused\n")


def test_two_of_one_name_are_refused(check):
    status, told = check("gate-data.toml", f"tickets.csv{KEYS}")
    assert status == 1
    assert "refused: two datasets are named 'tickets': tickets.csv, tickets.csv\n  give one another name" in told


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("pytest.ini", "[pytest]\ngate_data =\n    gate-data.toml\n    topics\n"),
        ("pyproject.toml", '[tool.pytest.ini_options]\ngate_data = ["gate-data.toml", "topics"]\n'),
    ],
)
def test_without_arguments_it_is_what_the_ini_file_names(check, folder, file, text):
    (folder / file).write_text(text, "utf-8")
    status, told = check()
    assert status == 0
    assert "tickets: similarity" in told
    assert "topics: labelled" in told


def test_without_either_it_says_what_to_do(check):
    assert check() == (
        2,
        "embedgate data: no data is named; name it, or write gate_data = ... in pytest.ini; "
        "call it in the folder of that file\n",
    )


def test_a_project_of_its_own_tolerances_is_held_against_these(check, folder):
    (folder / "gate").mkdir()
    (folder / "gate/tolerances.toml").write_text("[weight_precision.int8.retention]\nspearman = 0.03\n", "utf-8")
    (folder / "pytest.ini").write_text("[pytest]\ngate_baselines = gate\n", "utf-8")
    _, told = check("gate-data.toml")
    assert "3.00% is tolerated" in told
    assert "too small" not in told


def test_json_has_all_of_it(check, folder):
    (folder / "empty.csv").write_text("", "utf-8")
    status, told = check("gate-data.toml", "empty.csv", "--json")
    found = json.loads(told)
    (one,) = found["datasets"]
    assert status == 1
    assert (one["survey"]["name"], one["survey"]["items"], one["survey"]["weight"]) == ("tickets", 80, 2)
    assert one["survey"]["slices"]["lang=de"] == {"items": 20, "independent": 20}
    assert one["shows"]["spearman"]["needed"] == 85
    assert one["too_small"] == ["for Spearman: about 85 items show a loss of 1.00%; expect inconclusive verdicts"]
    assert [each["named"] for each in found["refused"]] == ["empty.csv"]
    assert found["refused"][0]["cause"].startswith("empty.csv")


def test_few_items_are_told_by_what_they_can_show(check, folder):
    rows = "".join(f"{word} is,{word} was,{i % 2}\n" for i, word in enumerate(f"w{n:x}{n**3:x}" for n in range(20)))
    (folder / "few.csv").write_text(f"sentence1,sentence2,score\n{rows}", "utf-8")
    _, told = check("few.csv", "--json")
    (one,) = json.loads(told)["datasets"]
    assert one["survey"]["independent"] == 20
    assert one["too_small"] == ["for Spearman: about 85 items show a loss of 1.00%; expect inconclusive verdicts"]


def test_a_loss_of_more_than_all_is_told_as_none(check, folder):
    (folder / "two.csv").write_text("query,positive\nwhat is tea,leaves\nwhere do cats sleep,on sofas\n", "utf-8")
    _, told = check("two.csv")
    assert "no loss for sure, not even of all of recall_at_10" in told
    assert "a loss of about 1" not in told


def test_texts_too_few_for_a_percentile_are_told(check, folder):
    texts = [f"what is {pow(3, n, 2**127 - 1):032x}" for n in range(100, 399)]
    (folder / "few.txt").write_text("\n".join(texts[:298]), "utf-8")
    (folder / "many.txt").write_text("\n".join(texts), "utf-8")
    _, told = check("few.txt", "many.txt", "--json")
    few, many = json.loads(told)["datasets"]
    assert (few["survey"]["independent"], few["bounded"]) == (298, {"cosine_p01": 299})
    assert few["too_small"] == [
        "for cosine_p01: 299 texts are needed, fewer leave it open; expect inconclusive verdicts"
    ]
    assert many["too_small"] == []


def test_items_that_repeat_one_another_count_together(check, folder):
    rows = "".join(f"text {i} {i**3:x},topic {i % 3},part\n" for i in [*range(40), *range(9)])
    (folder / "again.csv").write_text(f"text,label,slices\n{rows}", "utf-8")
    _, told = check("again.csv")
    assert "part: 49 items, which count as 40" in told


def test_of_many_slices_the_first_are_told(check, folder):
    rows = "".join(f"text {i} {i * i:x},topic {i % 3},s{i:02}\n" for i in range(25))
    (folder / "many.csv").write_text(f"text,label,part\n{rows}", "utf-8")
    _, told = check("many.csv::slices=part")
    assert told.count("too few to be judged, 30 are needed") == 20
    assert "and 5 more, 5 of them too few to be judged: --json has them" in told
    _, told = check("many.csv::slices=part", "--json")
    assert len(json.loads(told)["datasets"][0]["survey"]["slices"]) == 25


def test_control_characters_reach_no_terminal(check, folder):
    rows = "".join(f'{{"text": "t{i}", "label": "\\u001b[31m{i % 2}"}}\n' for i in range(6))
    (folder / "odd.jsonl").write_text(rows, "utf-8")
    _, told = check("odd.jsonl")
    assert "\x1b" not in told


def test_no_model_and_no_torch_is_imported(folder):
    code = (
        "import sys; from embedgate.command import main; main(['data', 'check', 'gate-data.toml']); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "sentence_transformers", "pytest"} & {*done.stdout.split()}


def test_what_is_no_file_is_told_and_never_opened(check, folder):
    os.mkfifo(folder / "pipe.csv")
    (folder / "gone.csv").symlink_to("nowhere.csv")
    (folder / "self.csv").symlink_to("self.csv")
    (folder / "held").mkdir()
    (folder / "held/loop.csv").symlink_to("loop.csv")
    (folder / "beir/qrels").mkdir(parents=True)
    os.mkfifo(folder / "beir/corpus.jsonl")
    (folder / "beir/queries.jsonl").write_text('{"_id": "q", "text": "t"}\n', "utf-8")
    (folder / "beir/qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td\t1\n", "utf-8")
    os.mkfifo(folder / "list.toml")
    status, told = check("pipe.csv", "gone.csv", "self.csv", "held", "beir", "list.toml", os.devnull)
    assert status == 1
    for line in (
        "pipe.csv: is a FIFO, not a file\n  write what it gives into a file",
        "gone.csv: is a link to nowhere\n  correct the link",
        "self.csv: is a link that leads back to itself\n  correct the link",
        "held/loop.csv: is a link that leads back to itself\n",
        "beir/corpus.jsonl: is a FIFO, not a file\n",
        "list.toml: is a FIFO, not a file\n",
        f"{os.devnull}: is a device, not a file\n",
    ):
        assert f"refused: {line}" in told, told


def test_a_folder_that_may_not_be_read_is_told(check, folder, monkeypatch):
    (folder / "held").mkdir()

    def denied(path: Path) -> Iterator[Path]:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "iterdir", denied)
    status, told = check("held", "pairs")
    assert status == 1
    assert "refused: held: cannot be read: Permission denied\n" in told
    assert told.endswith("1 understood, 1 refused\n")


def test_a_reader_that_has_enough_ends_it_quietly(folder):
    code = (
        "import sys; from embedgate.command import main; sys.exit(main(['data', 'check', 'gate-data.toml', 'pairs']))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as started:
        started.stdout.close()
        assert started.stderr.read() == b""
    assert started.returncode == 141
