"""Options: one table, from which all else comes; and where paths are taken from."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from helpers.paths import ROOT

from embedgate.core.errors import GateError
from embedgate.core.options import OPTIONS, PAGES, receipt_words, with_table
from embedgate.core.settings import Settings
from embedgate.plugin.options import settings_of

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def settings(pytester):
    """The settings of a session that is called here with some options."""
    return lambda *options: settings_of(pytester.parseconfig("-p", "no:cacheprovider", *options))


@pytest.fixture
def below(pytester, monkeypatch):
    """A folder to be called in, below that of the ini file."""
    pytester.mkdir("below")
    monkeypatch.chdir(pytester.path / "below")
    return pytester


def test_each_option_is_a_field_of_the_settings():
    held = [option.setting for option in OPTIONS if option.setting]
    assert sorted(held) == sorted(
        {field.name for field in fields(Settings)} - {"invocation", "folder", "processes", "is_call"}
    )


@pytest.mark.parametrize("page", PAGES)
def test_the_tables_of_the_docs_are_what_the_options_say(page):
    text = (ROOT / page).read_text("utf-8")
    assert text == with_table(text, page), (
        f"run `python -m embedgate.core.options` in {ROOT}: it writes the tables anew"
    )


def test_what_the_tables_link_to_is_there():
    for option in OPTIONS:
        assert (ROOT / option.page.partition("#")[0]).exists()


def test_a_page_without_a_place_for_the_table_is_told():
    with pytest.raises(GateError, match=r"README.md has no place for the table of options; write <!-- options"):
        with_table("# A page\n", "README.md")


def test_the_table_needs_neither_pytest_nor_torch():
    code = "import sys, embedgate.core.options; sys.exit(bool({'pytest', '_pytest', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_help_tells_what_every_option_does(pytester):
    done = pytester.runpytest_subprocess("--help")
    told = " ".join(done.stdout.str().split())
    for option in OPTIONS:
        assert (option.flag in told) == bool(option.about)
    assert "--gate-batch-size=N texts per batch (default: 32)" in told
    assert "gate_batch_size (string): texts per batch (default: 32)" in told


def test_without_options_the_settings_are_the_defaults(settings, pytester):
    found = settings()
    assert found == Settings(invocation=found.invocation, folder=pytester.path)


def test_each_kind_of_option_is_read(settings, pytester):
    found = settings(
        "--gate-model=./mine",
        "--gate-combination=a-*",
        "--gate-combination=b-*",
        "--gate-strict",
        "--gate-seed=0",
        "--gate-dims=64",
        "--gate-dims=128",
        "--gate-dims=64",
        "--gate-cache=~/built",
        '--gate-example=["one", "two"]',
        "--gate-receipt=h200.json",
    )
    assert found.model == "./mine"
    assert found.combinations == ("a-*", "b-*")
    assert found.strict
    assert not found.update
    assert found.seed == 0
    assert found.dims == (128, 64)
    assert found.cache == Path.home() / "built"
    assert found.examples == (("one", "two"),)
    assert found.receipts == (pytester.path / "h200.json",)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--gate-threads=0", "--gate-threads must be a whole number from 1, not '0'"),
        ("--gate-batch-size=x", "--gate-batch-size must be a whole number from 1, not 'x'"),
        ("--gate-seed=-1", "--gate-seed must be a whole number from 0, not '-1'"),
        ("--gate-corpus-size=99", "--gate-corpus-size must be a whole number from 100, not '99'"),
        ("--gate-dims=1.5", "--gate-dims must be a whole number from 1, not '1.5'"),
        ("--gate-depth=long", "--gate-depth must be quick, standard or nightly, not 'long'"),
        ("--gate-example=one", '--gate-example is no JSON: Expecting value at column 1; write it such as ["one'),
        ('--gate-example={"a": 1}', '--gate-example: expected `array`, got `object`; write it such as ["one'),
    ],
)
def test_what_means_nothing_is_told_with_its_option(settings, option, message):
    with pytest.raises(GateError) as raised:
        settings(option)
    assert str(raised.value).startswith(message)


def test_the_command_line_wins_over_the_ini_file(settings, pytester):
    pytester.makeini("[pytest]\ngate_combination = a-* b-*\ngate_threads = 2\ngate_strict = true\n")
    assert settings().combinations == ("a-*", "b-*")
    found = settings("--gate-combination=c-*", "--gate-threads=3")
    assert (found.combinations, found.threads, found.strict) == (("c-*",), 3, "full")


def test_a_receipt_has_the_options_that_make_it_again(settings):
    given = [
        "--gate-model=./mine",
        "--gate-combination=*-cuda",
        "--gate-data=mine.jsonl",
        "--gate-data=pairs",
        "--gate-baselines=gate",
        "--gate-corpus-size=1000",
        "--gate-dims=128",
        "--gate-dims=64",
        "--gate-ranges=ranges.npy",
    ]
    found = settings(*given, "--gate-threads=2", "--gate-strict")
    assert receipt_words(found) == given
    assert receipt_words(found, vectors_only=True) == given[5:]
    assert receipt_words(settings()) == []


def test_paths_of_the_ini_file_are_taken_from_its_folder(settings, below):
    below.makeini(
        "[pytest]\ngate_model = mine\ngate_incumbent = ./gone\ngate_baselines = gate\ngate_report = out\n"
        "gate_cache = built\ngate_ranges = ranges.npy\ngate_data = mine.jsonl cranfield\ngate_receipt = h200.json\n"
    )
    below.mkdir("mine")
    below.mkdir("cranfield")
    found = settings()
    assert found.model == "../mine"
    assert found.incumbent == "../gone"  # what is missing is told as missing there
    assert found.data == ("../mine.jsonl", "../cranfield")
    assert (found.baselines, found.report, found.cache) == (Path("../gate"), Path("../out"), Path("../built"))
    assert found.ranges == Path("../ranges.npy")
    assert [file.resolve() for file in found.receipts] == [below.path / "h200.json"]
    words = [
        "--gate-model=../mine",
        "--gate-data=../mine.jsonl",
        "--gate-data=../cranfield",
        "--gate-baselines=../gate",
    ]
    assert receipt_words(found) == [*words, "--gate-ranges=../ranges.npy"]


def test_paths_in_a_candidate_of_the_ini_file_are_taken_from_its_folder_key_by_key(settings, below):
    """Only the whole was: the file of texts was looked for where pytest was called, and so was Qdrant's folder."""
    elsewhere = below.path / "elsewhere"
    below.makeini(
        "[pytest]\ngate_candidate =\n    vectors.npy::texts=texts.txt,role=query,ranges=./ranges.npy\n"
        f"    {elsewhere}/vectors.npy::texts=texts.txt,ranges={elsewhere}/ranges.npy\n"
        "    qdrant:./qd#docs::text=body\n    qdrant:http://host:6333#docs\n    onnx/model.onnx::name=mine\n"
        "    http://host/v1::model=texts.txt\ngate_reference = mine::name=it\n"
    )
    below.makefile(".npy", vectors="")
    below.mkdir("qd")
    below.mkdir("mine")
    found = settings()
    assert found.candidates == (
        "../vectors.npy::texts=../texts.txt,role=query,ranges=../ranges.npy",
        f"{elsewhere}/vectors.npy::texts=../texts.txt,ranges={elsewhere}/ranges.npy",
        "qdrant:../qd#docs::text=body",
        "qdrant:http://host:6333#docs",
        "onnx/model.onnx::name=mine",
        "http://host/v1::model=texts.txt",
    )
    assert found.reference == "../mine::name=it"
    given = "qdrant:qd#docs::ranges=ranges.npy"
    assert settings(f"--gate-candidate={given}").candidates == (given,)


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ("rec/old.answers.jsonl", "../rec/old.answers.jsonl"),
        ("rec/old.answers.jsonl::of=small", "../rec/old.answers.jsonl::of=../small"),
        ("november/report.json", "../november/report.json"),
        ("http://host:8080::of=./small", "http://host:8080::of=../small"),
        (f"http://host:8080::of=acme/encoder@{COMMIT}", f"http://host:8080::of=acme/encoder@{COMMIT}"),
        ("torch-fp32-cpu", "torch-fp32-cpu"),
        ("bundled:all-MiniLM-L6-v2", "bundled:all-MiniLM-L6-v2"),
        ("small", "../small"),
    ],
)
def test_paths_in_an_incumbent_of_the_ini_file_are_taken_from_its_folder(settings, below, given, seen):
    below.makeini(f"[pytest]\ngate_incumbent = {given}\ngate_superior = * mine\ngate_documents = 5000\n")
    for name in ("rec", "november", "small"):
        below.mkdir(name)
    (below.path / "rec/old.answers.jsonl").touch()
    (below.path / "november/report.json").touch()
    found = settings()
    assert (found.incumbent, found.superior, found.documents) == (seen, ("*", "mine"), 5000)


def test_paths_of_the_command_line_are_taken_from_where_it_is_called(settings, below):
    below.makeini("[pytest]\ngate_baselines = gate\n")
    found = settings("--gate-baselines=gate", "--gate-model=mine", "--gate-receipt=h200.json")
    assert (found.baselines, found.model) == (Path("gate"), "mine")
    assert found.receipts == (below.path / "below/h200.json",)


def test_a_dataset_of_the_ini_file_keeps_its_keys_and_its_path_is_taken_from_there(settings, below):
    below.makeini(
        "[pytest]\ngate_data =\n    data/a.csv::sentence1=q1,delimiter=/\n"
        """    'b.csv::sentence1="first, text",label=../x'\n"""
        "    gate-data.toml\n    pairs::only=x\n    mteb:STSBenchmark::split=dev\n"
    )
    assert settings().data == (
        "../data/a.csv::sentence1=q1,delimiter=/",
        '../b.csv::sentence1="first, text",label=../x',
        "../gate-data.toml",
        "pairs::only=x",
        "mteb:STSBenchmark::split=dev",
    )


def test_a_path_stays_one_where_from_here_it_is_called_as_a_bundled_dataset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (data,) = (option for option in OPTIONS if option.name == "data")
    given = ["../pairs", "../topics::text=t", "../mine", "pairs"]
    assert data.read(given, tmp_path / "gate") == ("./pairs", "./topics::text=t", "mine", "pairs")


def test_what_names_no_path_in_the_ini_file_stays_as_it_is(settings, below):
    below.makeini(
        f"[pytest]\ngate_model = bundled:all-MiniLM-L6-v2\ngate_incumbent = acme/encoder@{COMMIT}\n"
        f"gate_data = pairs hub:acme/texts@{COMMIT}\ngate_baselines = {below.path}\n"
    )
    below.mkdir("pairs")  # the bundled one wins, as on the command line
    found = settings()
    assert (found.model, found.incumbent) == (Settings.model, f"acme/encoder@{COMMIT}")
    assert found.data == ("pairs", f"hub:acme/texts@{COMMIT}")
    assert found.baselines == below.path


def test_a_conftest_that_leaves_the_folder_leaves_the_paths_alone(settings, below, monkeypatch):
    config = below.parseconfig("--gate-baselines=gate")
    monkeypatch.chdir(below.path)
    assert settings_of(config).baselines == Path("below/gate")


def test_the_baselines_of_the_ini_file_count_in_a_folder_below(below):
    below.makeini("[pytest]\ngate_baselines = gate\n")
    below.mkdir("gate").joinpath("tolerances.toml").write_text("no TOML")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--collect-only", "-q"]
    done = below.run(*command, "--pyargs", "embedgate.suites.test_effective")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert f"{Path('../gate/tolerances.toml')}" in done.stderr.str()
