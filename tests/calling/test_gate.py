"""`embedgate.gate`: from Python, what pytest judges."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import warnings
from dataclasses import replace
from html import unescape
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import SimpleNamespace

import pytest
from helpers import made_up
from helpers.faults import Wrapped, load
from helpers.worded import pairs_of_words

import embedgate
from embedgate import GateError, Report, gate
from embedgate.calling import _without, session
from embedgate.calling.candidates import sorted_out
from embedgate.calling.data import written
from embedgate.calling.keywords import KEYWORDS, words
from embedgate.calling.session import Found
from embedgate.core.combination import Combination
from embedgate.core.options import OPTIONS
from embedgate.core.strictness import Strictness
from embedgate.data import load as load_data
from embedgate.encoders.sources import GivenSource, HeldSource, HostSource

BF16 = "torch-bf16-cpu"
FEW_CHECKS = ["-k", "keeps_the_reference or agrees"]
FIGURES = (
    "check",
    "combination",
    "dataset",
    "metric",
    "verdict",
    "value",
    "reference_value",
    "observed",
    "low",
    "high",
)


@pytest.fixture(scope="module")
def rows():
    return pairs_of_words(60)


@pytest.fixture(scope="module")
def ask(preloaded, small, cache, rows):
    def asked(candidates, **options):
        given = {"data": {"mine": rows}, "cache": cache, "quiet": True, "pytest_args": FEW_CHECKS, "threads": 1}
        return gate(small.path, candidates, **{**given, **options})

    return asked


@pytest.fixture(scope="module")
def report(ask) -> Report:
    return ask([BF16])


@pytest.fixture(scope="module")
def faulty(small):
    """An encoder that lives on, and loses most of its dimensions."""

    def cut(embeddings, texts):
        embeddings[:, 8:] = 0
        return embeddings

    encoder = Wrapped(small.path, cut)
    encoder.close = lambda: pytest.fail("it is its owner's to close")
    return encoder


class TestSession:
    """What is judged, and what stays as it was."""

    def test_a_sound_candidate_passes(self, report):
        assert report.passed
        assert report.verdict in ("pass", "inconclusive")
        assert report.answer in ("yes", "not known")
        assert not report.failures

    def test_a_live_encoder_with_a_fault_fails(self, ask, faulty):
        found = ask({"mine-int8": faulty})
        assert (found.verdict, found.passed, found.answer) == ("fail", False, "no")
        assert "mine-int8-cpu is worse than the reference" in found.why
        assert {judgement.combination for judgement in found.failures} == {"mine-int8-cpu"}
        assert "given as an object: nothing was asked that needs it built anew" in repr(found)
        assert faulty.encode(["a"]).shape == (1, 384), "it is still open"

    def test_pytest_judges_the_same(self, project, report, rows, cache):
        project.path.joinpath("mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        options = ["--gate-data=mine.jsonl", f"--gate-combination={BF16}", "--gate-depth=quick", "--gate-report=out"]
        suite = ["--pyargs", "embedgate.suites", "--gate-threads=1", *FEW_CHECKS]
        project.runpytest_inprocess("-p", "no:cacheprovider", *suite, *options)
        theirs = json.loads(project.path.joinpath("out/report.json").read_text("utf-8"))
        mine = report.to_json()

        def judged(found):
            (row,) = found["combinations"]
            return [{name: j[name] for name in FIGURES} for j in row["judgements"]]

        assert judged(mine) == judged(theirs)
        assert mine["datasets"] == theirs["datasets"]

    def test_the_process_is_as_it_was_and_nothing_is_written(self, ask, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("PYTEST_ADDOPTS", "--no-such-option")
        Path("pytest.ini").write_text("[pytest]\naddopts = --no-such-option\ngate_threads = x\n")
        before = dict(os.environ), [*sys.argv], [*sys.path], Path.cwd(), [*warnings.filters], logging.getLogger().level
        assert ask([BF16], depth="standard", pytest_args=["-k", "keeps_the_order or agrees"]).verdict
        after = dict(os.environ), [*sys.argv], [*sys.path], Path.cwd(), [*warnings.filters], logging.getLogger().level
        assert after == before
        assert os.listdir() == ["pytest.ini"]

    def test_it_runs_within_an_event_loop(self, ask):
        async def cell():
            return ask([BF16])

        assert asyncio.run(cell()).passed

    def test_one_gate_at_a_time(self, ask, small):
        def again(embeddings, texts):
            with pytest.raises(GateError, match="another gate is running in this process"):
                ask([BF16])
            return embeddings

        assert ask({"mine": Wrapped(small.path, again)}).passed

    def test_progress_is_short_lines(self, ask, capsys):
        ask([BF16], quiet=False)
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].startswith("combination 1 of 1: torch-bf16-cpu")
        assert not any("passed in" in line for line in lines)

    def test_an_interrupt_loses_nothing_that_was_judged(self, ask, small):
        def stop(embeddings, texts):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt) as raised:
            ask({"mine": Wrapped(small.path, stop)})
        assert isinstance(raised.value, embedgate.Interrupted)


class TestWhatIsAsked:
    """Nothing is asked that needs what is not there."""

    def asked(self, context_with, source):
        context = context_with(data=("pairs",), depth="nightly")
        context.plan.registry.add_source(source, asked=True)
        plan = replace(context.plan, combinations=(source.combination,))
        cases = [case for check in context.checks for case in check.cases(plan)]
        return {case.check.name for case in cases} | {case.subject.metric for case in cases}

    def test_an_object_is_not_built_anew(self, context_with, faulty):
        acme = Combination.parse("acme-int8-cpu")
        host = self.asked(context_with, HostSource(acme, lambda *_: faulty))
        given = self.asked(context_with, GivenSource(acme, lambda *_: faulty))
        held = self.asked(context_with, HeldSource(acme, faulty))
        assert {"speed", "memory", "history", "threads", "retention", "invariance"} <= host
        assert {"history", "threads", "invariance"} <= given
        assert host - given >= {"speed", "memory"}
        assert given - held == {"history", "threads"}

    @pytest.mark.parametrize(
        ("options", "approved"),
        [
            ({}, False),
            ({"baselines": None, "update": False}, False),
            ({"baselines": "gate"}, True),
            ({"update": True}, True),
        ],
    )
    def test_what_knows_approved_values_alone_is_asked_where_they_are_given(self, monkeypatch, options, approved):
        seen = []
        monkeypatch.setattr(session, "run", lambda asked, *_, **__: seen.append(asked) or Found(made_up.bad(1)))
        gate(quiet=True, **options)
        assert [asked.approved for asked in seen] == [approved]

    @pytest.mark.parametrize("bundled", [True, False])
    def test_without_baselines_budgets_are_those_that_embedgate_approved(self, ask, cache, rows, bundled):
        size = ["-k", "test_budgets and size"]
        if bundled:
            found = gate(None, [BF16], {"mine": rows[:12]}, cache=cache, quiet=True, threads=1, pytest_args=size)
        else:
            found = ask([BF16], pytest_args=size)
        (judged,) = found.to_json()["combinations"][0]["judgements"]
        assert (judged["check"], judged["verdict"]) == ("size", "pass" if bundled else "inconclusive")


class TestMisuse:
    """What means nothing is told as cause and action."""

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            ({"data": "nope.jsonl"}, "no dataset 'nope.jsonl'; give a bundled name"),
            ({"data": {"mine": [{"a": 1}]}}, "^row 1 of the data 'mine': columns 'a' fit no kind of dataset"),
            ({"data": {"mine": []}}, "^the data 'mine': holds no rows"),
            ({"data": {"mine::zzz=1": [{"a": 1}]}}, "^the data 'mine' has no key 'zzz'; its keys are "),
            ({"data": [{"mine": []}, {"mine": []}]}, "two data are called 'mine'; give each a name of its own"),
            ({"data": [{"sentence1": "A man", "score": 1}]}, "'sentence1' is a text, not rows; give rows by a name"),
            ({"update": "no"}, "--gate-update is on or off, not 'no'; give True or False"),
            ({"dims": {"of": 64}}, "--gate-dims takes no mapping; give each as N, in a list"),
            ({"strict": "estimated"}, "--gate-strict must be estimate or full, not 'estimated'"),
            ({"pytest_args": ["-k", "zzz"]}, "nothing was asked: no check is left"),
            ({"pytest_args": ["--zzz"]}, "pytest ended with status 4 before anything was judged: .*--zzz"),
        ],
    )
    def test_it_is_told(self, ask, options, told):
        with pytest.raises(GateError, match=told):
            ask([BF16], **options)

    def test_a_model_that_is_missing(self):
        with pytest.raises(GateError, match="no model folder at '/nowhere'"):
            gate("/nowhere", [BF16], "pairs", quiet=True)

    def test_an_unknown_keyword_names_the_nearest_one(self):
        with pytest.raises(TypeError, match="no option 'thread'; did you mean 'threads'"):
            gate(thread=2)


class TestWords:
    """What is given, as options."""

    def test_every_option_with_a_setting_is_a_keyword(self):
        own = {"model", "candidate", "combination", "data", "depth"}
        assert {*KEYWORDS} == {each.name.replace("-", "_") for each in OPTIONS if each.setting} - own

    def test_values(self, tmp_path):
        found = words({"strict": "estimate", "shipped": True, "update": False, "dims": [64, 32], "profile": None})
        assert found == ["--gate-strict=estimate", "--gate-shipped", "--gate-dims=64", "--gate-dims=32"]
        assert words({"baselines": tmp_path, "strict": True}) == [f"--gate-baselines={tmp_path}", "--gate-strict"]
        assert words({"example": [["a", "b"]]}) == ['--gate-example=["a", "b"]']
        assert words({"prompt": {"query": "Q: ", "document": ""}}) == [
            "--gate-prompt=query=Q: ",
            "--gate-prompt=document=",
        ]

    @pytest.mark.parametrize(
        ("strict", "found"),
        [("true", ["--gate-strict=full"]), ("full", ["--gate-strict=full"]), ("no", []), ("", []), (False, [])],
    )
    def test_a_strictness_as_the_ini_file_has_it(self, strict, found):
        assert words({"strict": strict}) == found

    def test_candidates(self, tmp_path, monkeypatch, faulty):
        monkeypatch.chdir(tmp_path)
        texts, held = sorted_out(["torch-*", "onnx/model.onnx", "http://host/v1", tmp_path, ("a", faulty)])
        assert texts == [
            "--gate-combination=torch-*",
            "--gate-candidate=onnx/model.onnx",
            "--gate-candidate=http://host/v1",
            f"--gate-candidate={tmp_path}",
        ]
        assert [each.combination.id for each in held] == ["a-served-cpu"]
        named = {"my-mini-int8": faulty, "acme-fp16-cpu": lambda path, device: load(path)}
        _, held = sorted_out(named)
        assert [each.combination.id for each in held] == ["my_mini-int8-cpu", "acme-fp16-cpu"]
        assert [type(each) for each in held] == [HeldSource, GivenSource]

    @pytest.mark.parametrize(
        ("device", "id_"),
        [("cpu", "a-served-cpu"), ("CPU", "a-served-cpu"), (None, "a-served-cpu"), ("cuda:1", "a-served-cuda")],
    )
    def test_the_device_of_a_candidate_is_its_encoders(self, device, id_):
        _, (held,) = sorted_out({"a": SimpleNamespace(encode=print, device=device)})
        assert held.combination.id == id_

    def test_another_device_is_named_and_a_whole_id_is_taken(self):
        encoder = SimpleNamespace(encode=print, device="mps:0")
        with pytest.raises(GateError, match="'a' is on mps, and an id says one of cpu, cuda; move it"):
            sorted_out({"a": encoder})
        _, (held,) = sorted_out({"a-int8-cpu": encoder})
        assert held.combination.id == "a-int8-cpu"

    @pytest.mark.parametrize("name", ['a"b-int8', "a\nb-int8", "a\x1b[31mb-int8", "a[b]-int8", "a" * 81, "", 3])
    def test_a_name_that_could_name_no_test_is_refused(self, name):
        with pytest.raises(GateError, match="is no name of a candidate") as refused:
            sorted_out({name: print})
        assert "\x1b" not in str(refused.value)
        assert len(str(refused.value)) < 200

    def test_an_encoder_without_a_name_is_not_taken_apart(self):
        class Modules(list):
            encode = print

        with pytest.raises(GateError, match=r"a candidate is a \S*Modules; give .* by its name an encoder"):
            sorted_out(Modules(["torch-*"]))

    @pytest.mark.parametrize("folder", [PurePosixPath("/tmp/embedgate-1"), PureWindowsPath(r"C:\Temp\embedgate-1")])
    def test_messages_do_not_name_the_folder_that_goes(self, folder):
        file = str(folder / "mine.jsonl")
        assert _without(folder, f"{file}:1: {file!r}") == "mine.jsonl:1: 'mine.jsonl'"

    @pytest.mark.parametrize(
        ("given", "told"),
        [
            ("torch-bf61-cpu", "neither a combination nor a file or folder"),
            ([3], "a candidate is a int"),
            ({"mine": 3}, "the candidate 'mine' is a int, which has no encode"),
        ],
    )
    def test_no_candidate(self, given, told):
        with pytest.raises(GateError, match=told):
            sorted_out(given)

    def test_a_name_of_two_things_is_refused(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        Path(BF16).mkdir()
        with pytest.raises(GateError, match=f"{BF16}' is a combination and a file or folder; write './{BF16}'"):
            sorted_out(BF16)

    def test_data_in_memory(self, tmp_path):
        pandas = pytest.importorskip("pandas")
        rows = [{"text": "a", "label": 1}, {"text": "b", "label": 2}]
        columns = {"text": ["a", "b"], "label": [1, 2]}
        given = {"rows": rows, "columns": columns, "frame": pandas.DataFrame(rows)}
        assert written(["pairs", given], tmp_path) == [
            "--gate-data=pairs",
            *(f"--gate-data={tmp_path / name}.jsonl" for name in given),
        ]
        assert len({(tmp_path / f"{name}.jsonl").read_text() for name in given}) == 1

    def test_texts_in_memory_have_no_labels(self, tmp_path):
        written({"log": ["text one", "text two", "text one", "text three"]}, tmp_path)
        log = load_data(str(tmp_path / "log.jsonl"))
        assert (log.kind, log.items, log.role) == ("texts", ("text one", "text two", "text three"), "")
        written({"asked": {"query": ["one", "two", "three"]}}, tmp_path)
        assert load_data(str(tmp_path / "asked.jsonl")).role == "query"

    def test_keys_stand_behind_the_name(self, tmp_path):
        rows = [{"q1": "a", "q2": "b", "s": 1}, {"q1": "c", "q2": "", "s": 2}, {"q1": "d", "q2": "e", "s": 3}]
        (option,) = written({"mine::sentence1=q1,sentence2=q2,score=s,skip=empty": rows}, tmp_path)
        mine = load_data(option.removeprefix("--gate-data="))
        assert (mine.name, mine.first, mine.second) == ("mine", ("a", "d"), ("b", "e"))

    @pytest.mark.parametrize(
        ("data", "told"),
        [
            ({"../x": []}, "data cannot be called '../x'"),
            ({"x:y": []}, "data cannot be called 'x:y'"),
            ({"x": [1]}, "row 1 of the data 'x' is a int"),
            ({"x": {"a": [1], "b": [1, 2]}}, "differ in length: a 1, b 2"),
            ({"x": [{"a": object()}]}, "cannot be written as JSON"),
            (3, "data is a int without a name"),
        ],
    )
    def test_no_data(self, tmp_path, data, told):
        with pytest.raises(GateError, match=told):
            written(data, tmp_path)


def test_texts_alone_are_judged_by_how_they_agree(ask):
    texts = [f"{row['sentence1']} {number}" for number, row in enumerate(pairs_of_words(40))]
    report = ask([BF16], data={"log": [*texts, *texts[:5]]})
    told = str(report)
    assert report.passed
    assert "log: 40 different texts of 45: 5 repeat others, each counts once" in told
    assert "no data has labels: judged is how near embeddings and nearest texts stay" in told
    assert {(row["check"], row["dataset"]) for row in judged(report)} == {("agreement", "log")}


def judged(report):
    return [each for row in report.to_json()["combinations"] for each in row["judgements"]]


class TestReport:
    """What was found, as Python takes it."""

    def test_frames(self, report):
        pytest.importorskip("pandas")
        frame = report.to_frame()
        assert len(frame) == sum(len(row["judgements"]) for row in report.to_json()["combinations"])
        assert {"combination", "check", "dataset", "metric", "verdict", "observed", "limit", "message"} <= {*frame}
        assert report.summary_frame()["combination"].tolist() == [BF16]

    def test_what_is_red_is_looked_at_once(self, monkeypatch):
        found, asked = Report(made_up.bad(4)), []
        is_red = Strictness.is_red
        monkeypatch.setattr(Strictness, "is_red", lambda strict, each: asked.append(each) or is_red(strict, each))
        assert [judgement.verdict for judgement in found.failures] == ["fail"] * len(found.failures)
        assert len(found.failures) >= 4
        asked.clear()
        _ = found.failures
        assert len(asked) == len(found._summary.judged)

    def test_without_pandas_the_extra_is_named(self, report, monkeypatch):
        monkeypatch.setitem(sys.modules, "pandas", None)
        with pytest.raises(GateError, match=r"frames need pandas; pip install 'embedgate\[notebook\]'"):
            report.to_frame()

    def test_it_is_written_and_read_back(self, report, tmp_path):
        names = {file.name for file in report.save(tmp_path / "out")}
        assert {"report.json", "report.md", "report.html"} <= names
        again = Report.read(tmp_path / "out/report.json")
        assert (again.verdict, again.why, repr(again)) == (report.verdict, report.why, repr(report))
        with pytest.raises(GateError, match="there is no report at"):
            Report.read(tmp_path / "report.json")

    def test_hostile_texts_stay_in_the_frame(self, report):
        hostile = '"></iframe><script>alert(1)</script>'
        report._summary.trouble.append(hostile)
        try:
            html = report._repr_html_()
        finally:
            report._summary.trouble.remove(hostile)
        assert html.count("<iframe") == html.count("</iframe>") == 1
        assert "<script" not in html
        assert hostile not in unescape(html), "escaped in the page, too"
        assert 'sandbox="allow-scripts allow-popups"' in html, "no allow-same-origin"

    def test_its_text_has_no_colours(self, report):
        assert repr(report).endswith(f"verdict: {report.verdict}")
        assert "\x1b" not in repr(report)


def test_a_path_from_python_is_no_bundled_dataset(tmp_path):
    assert written([Path("pairs"), "pairs", tmp_path / "a.csv"], tmp_path) == [
        "--gate-data=./pairs", "--gate-data=pairs", f"--gate-data={tmp_path / 'a.csv'}"
    ]  # fmt: skip
