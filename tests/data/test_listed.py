"""Lists of datasets: each table of a TOML file is a dataset, and what is wrong names file, table and key."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields

import pytest

from embedgate.core.errors import DataError
from embedgate.core.settings import Settings
from embedgate.data import Dataset
from embedgate.data.asked import Asked
from embedgate.data.listed import FETCHED, OPTIONS, Single, named
from embedgate.data.spec import Spec
from embedgate.encoders.registry import Registry
from embedgate.runtime.plan import Plan

PAIRS = "q1,q2,dup,lang,product\n" + "".join(
    f"one {i},other {i * 7},{i % 2},{'de' if i % 3 else 'en'},p{i % 2}\n" for i in range(12)
)
TICKETS = """\
[tickets]
path = "data/tickets.csv"
columns = { sentence1 = "q1", sentence2 = "q2", score = "dup" }
skip = "empty"
slices = ["lang", "product"]
weight = 3

[own]
path = "pairs"
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Writes a list into a folder below the one that is worked in."""
    (tmp_path / "gate/data").mkdir(parents=True)
    (tmp_path / "gate/data/tickets.csv").write_text(PAIRS, "utf-8")
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> str:
        (tmp_path / "gate/list.toml").write_text(text, "utf-8")
        return "gate/list.toml"

    return write


def load(text: str) -> list[Dataset]:
    return [each.load() for each in named(text)]


def refused(text: str) -> str:
    with pytest.raises(DataError) as error:
        load(text)
    assert error.value.action, "it says what to do"
    return str(error.value)


def test_each_table_is_a_dataset_of_its_name(project):
    tickets, own = (each.load() for each in named(project(TICKETS)))
    assert (tickets.name, tickets.kind, len(tickets), tickets.weight) == ("tickets", "similarity", 12, 3)
    assert tickets.source == "gate/data/tickets.csv", "paths are seen from the list's folder"
    assert {*tickets.slices} == {"lang=de", "lang=en", "product=p0", "product=p1"}
    assert tickets.notes[-1] == "weight 3: each check on it counts as 3 of its family"
    assert (own.name, own.source, own.weight) == ("own", "bundled:pairs", 1)


def test_one_says_the_same_as_on_the_command_line(project):
    listed = named(project(TICKETS))[0].load()
    (single,) = named("gate/data/tickets.csv::sentence1=q1,sentence2=q2,score=dup,skip=empty,slices=lang;product")
    assert single.load().sha256 == listed.sha256
    assert single.load().slices == listed.slices


def test_some_of_a_list_are_judged_on_alone(project):
    assert [each.name for each in load(project(TICKETS) + "::only=own")] == ["own"]
    assert [each.name for each in load("gate/list.toml:: only = own ; ")] == ["own"]
    assert refused("gate/list.toml::only=;").startswith("gate/list.toml lists no dataset ''")
    assert refused("gate/list.toml::only=tikets") == ("gate/list.toml lists no dataset 'tikets'; did you mean tickets?")
    assert refused("gate/list.toml::split=dev") == "gate/list.toml has no key 'split'; its keys are only"


def test_several_columns_of_one_role_are_a_list(project, tmp_path):
    rows = "".join(f"ask {i},yes {i},no {i},never {i}\n" for i in range(4))
    (tmp_path / "gate/data/n.csv").write_text(f"a,p,n1,n2\n{rows}", "utf-8")
    columns = 'columns = { anchor = "a", positive = "p", negative = ["n1", "n2"] }'
    (found,) = named(project(f'[n]\npath = "data/n.csv"\n{columns}\n'))
    assert (found.load().kind, len(found.load())) == ("triplets", 8)


def test_switches_are_true_or_false(project):
    project('[a]\npath = "pairs"\nignore_identical_ids = true\n')
    assert refused("gate/list.toml").startswith("gate/list.toml: [a]: pairs has no key 'ignore_identical_ids'")
    for given, toml in (("True", "true"), ("yes", "true"), ("no", "false"), ("maybe", '"maybe"')):
        entry = Single("b", Spec("b", {"ignore_identical_ids": given})).entry("b")
        assert entry[2] == f"ignore_identical_ids = {toml}"
        assert tomllib.loads("\n".join(entry))
    project('[a]\npath = "pairs"\nignore_identical_ids = "yes"\n')
    assert refused("gate/list.toml").startswith("gate/list.toml: [a]: ignore_identical_ids: expected true or false")


def test_what_is_written_down_is_read_as_it_was_given(project, tmp_path, monkeypatch):
    given = "data/tickets.csv::sentence1=q1,sentence2=q2,score=dup,skip=empty,slices=lang;product"
    monkeypatch.chdir(tmp_path / "gate")
    (single,) = named(given)
    identity, entry = single.load().sha256, "\n".join(single.entry("my.tickets"))
    monkeypatch.chdir(tmp_path)
    assert tomllib.loads(entry)["my.tickets"]["slices"] == ["lang", "product"]
    (listed,) = named(project(entry))
    assert (listed.load().sha256, listed.load().name) == (identity, "my.tickets")


@pytest.mark.parametrize("folder", ["", "gate/"])
def test_a_path_of_a_list_stays_a_path_whatever_it_is_called(tmp_path, monkeypatch, folder):
    """Seen from a list in the folder that is worked in, `./pairs` is a path as well, and no bundled dataset."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / folder / "pairs").mkdir(parents=True)
    (tmp_path / folder / "pairs/rows.csv").write_text("sentence1,sentence2,score\na,b,1\nc,d,2\n", "utf-8")
    written = tmp_path / folder / "list.toml"
    for place in ("./pairs", "x/../pairs", f"{tmp_path}/{folder}pairs"):
        (tmp_path / folder / "x").mkdir(exist_ok=True)
        written.write_text(f'[mine]\npath = "{place}"\n', "utf-8")
        assert len(load(f"{folder}list.toml")[0]) == 2, place
    written.write_text('[own]\npath = "pairs"\n', "utf-8")
    assert load(f"{folder}list.toml")[0].source == "bundled:pairs", "a name by itself is the bundled dataset's"


def test_a_path_that_is_called_as_a_bundled_dataset_is_written_down_as_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs/rows.csv").write_text("sentence1,sentence2,score\na,b,1\nc,d,2\n", "utf-8")
    (single,) = named("./pairs")
    (tmp_path / "list.toml").write_text("\n".join(single.entry("mine")), "utf-8")
    (listed,) = named("list.toml")
    assert listed.load().sha256 == single.load().sha256


def test_its_options_are_those_of_places():
    """A table can say all that stands behind a place; the table's own name is the dataset's."""
    assert {each.name for each in fields(Asked)} - {"columns", "name"} <= {*OPTIONS}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "gate/list.toml lists no dataset"),
        ('path = "a.csv"', "gate/list.toml: [path] is no table"),
        ("[a]\n", "gate/list.toml: [a]: path is missing"),
        ("[a]\npath = 3", "gate/list.toml: [a]: path: expected a text, got a whole number"),
        ('[a]\npath = ""', "gate/list.toml: [a]: path: expected a text of length >= 1"),
        ('[a]\npath = "pairs"\nwieght = 2', "gate/list.toml: [a]: unknown key wieght; did you mean weight?"),
        ('[a]\npath = "pairs"\nweight = 0', "gate/list.toml: [a]: weight: expected a whole number >= 1"),
        ('[a]\npath = "pairs"\nweight = 101', "gate/list.toml: [a]: weight: expected a whole number <= 100"),
        ('[a]\npath = "pairs"\nweight = 1.5', "gate/list.toml: [a]: weight: expected a whole number, got a decimal"),
        ('[a]\npath = "pairs"\nweight = true', "gate/list.toml: [a]: weight: expected a whole number, got true or false"),
        ('[a]\npath = "pairs"\nslices = "lang"', "gate/list.toml: [a]: slices: expected a list, got a text"),
        ('[a]\npath = "pairs"\ncolums = { text = "t" }', "gate/list.toml: [a]: unknown table colums; did you mean columns?"),
        ('[a.b]\npath = "pairs"', 'gate/list.toml: [a]: unknown table b; quote a name with a point: ["a.b"]'),
        ('["../a"]\npath = "pairs"', "gate/list.toml: [../a]: its name names files"),
        ('[a]\npath = "pairs"\n[a]\npath = "topics"', "gate/list.toml is no TOML: Cannot declare ('a',) twice"),
        ('[a]\npath = "no.csv"', "gate/list.toml: [a]: no dataset 'gate/no.csv'"),
        ('[a]\npath = "pairs"\nkind = "pears"', "gate/list.toml: [a]: pairs has no key 'kind'"),
        ('[a]\npath = "data/tickets.csv"', "gate/list.toml: [a]: gate/data/tickets.csv:1: "),
        ('[a]\npath = "hub:org/name"', "gate/list.toml: [a]: hub dataset org/name is not pinned"),
        (f'[a]\npath = "pairs"\nweight = {"9" * 5000}', "gate/list.toml is no TOML: it holds a number that is too long"),
        (f'[a]\npath = "{"a" * 5000}"', "gate/list.toml: [a]: path: expected a text of length <= 1000"),
        (f'[a]\npath = "{"a" * 500}"', "gate/list.toml: [a]: no dataset 'gate/aaa"),
        ('[a]\npath = "a\\u0000b"', "gate/list.toml: [a]: no dataset 'gate/a\\x00b'"),
        ('[[a]]\npath = "pairs"', "gate/list.toml: [a] is no table; write [name], and below it path"),
        ('[a]\npath = "s.csv::score=dup,slices=a;b,skip=empty"', """gate/list.toml: [a]: path: 's.csv::score=dup,slices=a;b,skip=empty' holds keys; write them into the table: path = "s.csv"; columns = { score = "dup" }; slices = ["a", "b"]; skip = "empty\""""),
        ('[a]\npath = "s.csv::score=dup,x"', "gate/list.toml: [a]: path: s.csv::score=dup,x: 'x' is no key=value; give a place alone; its table holds keys"),
        ('[a]\npath = "s.csv"\nslices = ["b"]\ncolumns = { slices = "a" }', "gate/list.toml: [a]: columns: slices is no role; write slices = ... beside columns"),
        ('[a]\npath = "s.csv"\ncolumns = { kind = "texts" }', "gate/list.toml: [a]: columns: kind is no role; write kind = ... beside columns"),
        ('[a]\npath = "s.csv"\ncolumns = { name = "b" }', "gate/list.toml: [a]: columns: name is no role; the name of its table is the dataset's"),
        ('[a]\npath = "s.csv"\ncolumns = { sentense1 = "b" }', "gate/list.toml: [a]: columns: sentense1 is no role; did you mean sentence1?"),
        ("a = " + "[" * 5000, "gate/list.toml is no TOML: "),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_file_table_and_key(project, text, told, monkeypatch):
    from embedgate.data import hub

    monkeypatch.setattr(hub, "_current_commit", lambda hub_id: "0" * 40)
    assert refused(project(text)).startswith(told)


def test_a_folder_is_no_list(project, tmp_path):
    (tmp_path / "gate/dir.toml").mkdir()
    assert refused("gate/dir.toml").startswith("gate/dir.toml cannot be read: it is a folder; correct it, or name ")


def test_a_list_that_is_not_there_is_told(project):
    assert refused("gate/none.toml").startswith("there is no list of datasets gate/none.toml; make it")


def test_what_is_wrong_with_one_keeps_no_other_from_being_read(project):
    broken, own = named(project('[broken]\npath = "no.csv"\n[own]\npath = "pairs"\n'))
    assert own.load().name == "own"
    with pytest.raises(DataError):
        broken.load()


def test_a_session_judges_on_all_of_a_list(project):
    plan = Plan.of(Settings(data=(project(TICKETS), "topics")), Registry())
    assert [(each.name, plan.weight(each.name)) for each in plan.datasets] == [
        ("tickets", 3), ("own", 1), ("topics", 1)
    ]  # fmt: skip
    assert plan.weight("") == plan.weight(plan.texts_name) == plan.weight("corpus-100:own+tickets@int8") == 1
    assert plan.weight("tickets@int8-rescore4") == 3


def test_two_of_one_name_are_refused(project):
    twice = project(
        '[pairs]\npath = "data/tickets.csv"\ncolumns = { sentence1 = "q1", sentence2 = "q2", score = "dup" }'
    )
    with pytest.raises(
        DataError, match="two datasets are named 'pairs'; rename one of the files, or its entry in a list"
    ):
        Plan.of(Settings(data=(twice, "pairs")), Registry())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b'[a]\npath = "x.csv"\nweight = 1.5\n',
            ": [a]: weight: expected a whole number, got a decimal; write weight = 2, a whole number from 1 to 100",
        ),
        (
            b'[a]\npath = "https://x.org/a.csv"\n',
            f": [a]: path: 'https://x.org/a.csv' is an address; {FETCHED}",
        ),
        (
            b'[a]\npath = "data\\p.csv"\n',
            " is no TOML: Unescaped '\\' in a string (at line 2, column 1); write paths with /, as data/pairs.csv",
        ),
    ],
)
def test_what_is_written_otherwise_in_toml_is_told(tmp_path, content, message):
    path = tmp_path / "list.toml"
    path.write_bytes(content)
    with pytest.raises(DataError) as raised:
        [each.load() for each in named(str(path))]
    assert re.sub("column [0-9]+", "column 1", str(raised.value)) == f"{path}{message}"


def test_a_list_in_another_encoding_and_a_project_say_what_to_do(tmp_path):
    (tmp_path / "list.toml").write_text('[a]\npath = "x.csv"\n', "utf-16")
    with pytest.raises(DataError, match=r"; save it as UTF-8$"):
        named(str(tmp_path / "list.toml"))
    (tmp_path / "pyproject.toml").write_text("[tool.x]\na = 1\n")
    with pytest.raises(DataError, match="holds a project's settings, and no list of datasets; write the list into"):
        named(str(tmp_path / "pyproject.toml"))
