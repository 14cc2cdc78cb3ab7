"""Recorded answers: written by a session, and judged by another without whoever gave them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers import served as servers
from helpers.served import Served, serving, stored

from embedgate.core.combination import Combination
from embedgate.core.errors import DataError, GateError, NotRecorded
from embedgate.core.model import resolve
from embedgate.core.roles import Role
from embedgate.deployed import source_of
from embedgate.deployed.recorded import About, Asked, Recording, write
from embedgate.encoders import BuildContext

QUERY = Role("query", "query: ")
SUITES = ("-p", "no:cacheprovider", "--gate-baselines=approved", "--pyargs")
QUALITY, ORDER, GOLDEN, INVARIANCE, CONTRACT, BUDGETS = (
    f"embedgate.suites.test_{name}" for name in ("quality", "ordering", "golden", "invariance", "contract", "budgets")
)


def row(text, vector=(1.0, 0.0), **more):
    return json.dumps({"text": text, **more, "vector": list(vector)}) + "\n"


@pytest.fixture
def file(tmp_path):
    def make(*rows, name="mine.answers.jsonl"):
        path = tmp_path / name
        path.write_text("".join(rows), "utf-8")
        return path

    return make


class TestFile:
    def test_what_is_written_is_read_to_the_bit(self, tmp_path):
        path, rng = tmp_path / "a.answers.jsonl", np.random.default_rng(0)
        vectors = (rng.normal(size=(50, 7)) * 10.0 ** rng.integers(-30, 30, (50, 1))).astype(np.float32)
        texts = [f"text {i}\n\u2028 \ud83d" for i in range(50)]
        assert write(path, About("x-served-cpu"), [(Asked(t), v) for t, v in zip(texts, vectors, strict=True)]) == 50
        found, by_role = Recording(path).answers()
        assert not by_role
        assert np.array_equal(np.stack([found[Asked(text)] for text in texts]), vectors)

    def test_whose_answers_they_are_is_kept(self, tmp_path):
        about = About(
            "x-served-cpu", "http://host", "2026-06-01T00:00:00+00:00", details={"api": "tei"}, notes=("cut",)
        )
        path = tmp_path / "a.answers.jsonl"
        write(path, about, [(Asked("text"), np.ones(2, np.float32))])
        assert Recording(path).about == about
        assert about.told == "answers of http://host, recorded on 2026-06-01"

    def test_vectors_that_hold_nan_are_left_out(self, tmp_path):
        path = tmp_path / "a.answers.jsonl"
        rows = [(Asked("bad"), np.array([np.nan, 1], np.float32)), (Asked("good"), np.ones(2, np.float32))]
        assert write(path, About("x-served-cpu"), rows) == 1
        assert [*Recording(path).answers()[0]] == [Asked("good")]
        assert Recording(path).about.combination == "x-served-cpu"

    def test_parquet_of_another_tool_is_read(self, tmp_path):
        parquet = pytest.importorskip("pyarrow.parquet")
        import pyarrow as pa

        path = tmp_path / "log.answers.parquet"
        parquet.write_table(pa.table({"passage": ["one"], "embedding": [[1.0, 2.0]], "role": ["query"]}), path)
        found, by_role = Recording(path).answers()
        assert by_role
        assert found[Asked("one", "query")].tolist() == [1.0, 2.0]

    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            ([row("a"), row("b", (1.0,))], r"mine.answers.jsonl:2: a vector of 1 numbers, others have 2; record anew"),
            ([row("a"), row("b", (None, 1))], r":2: no vector of numbers"),
            ([row("a"), row(3)], r":2: 'text' or 'route' is no text; give each vector the text it is of"),
            ([row("a"), '{"text": "b"'], r":2: invalid JSON"),
            (
                [row("a"), row("b", role="query")],
                r":2: some rows have a role and some have none; give all of them one, or",
            ),
            ([row("a", role="passage")], r":1: there is no role 'passage'; write one of query, document, sts"),
            ([], r"mine.answers.jsonl: holds no rows"),
            (
                ['{"text": "a"}\n'],
                r"mine.answers.jsonl has no column of vectors; it has 'text'; name it: vector=COLUMN",
            ),
        ],
    )
    def test_malformed_files_are_told_with_their_line(self, file, rows, message):
        with pytest.raises(DataError, match=message):
            Recording(file(*rows)).answers()


class TestSource:
    def test_a_file_that_is_not_there(self, small):
        with pytest.raises(GateError, match=r"no file no.answers.jsonl; record answers by --gate-record FOLDER"):
            source_of("no.answers.jsonl", small)

    def test_its_name_is_the_recorded_ones_with_the_folders(self, tmp_path, small):
        path = tmp_path / "june" / "x-int8-cuda.answers.jsonl"
        write(path, About("x-int8-cuda"), [(Asked("text"), np.ones(2, np.float32))])
        assert source_of(str(path), small).combination.id == "june_x-int8-cpu"  # nothing computes
        assert source_of(f"{path}::name=old,promise=fp16", small).combination.id == "old-fp16-cpu"

    def test_a_file_of_others_is_called_by_its_own_name(self, file, small):
        assert source_of(str(file(row("a"))), small).combination == Combination("mine", "served", "cpu")


class TestEncoder:
    def built(self, path, model):
        return source_of(str(path), model).build(model, BuildContext(1, None))

    def test_texts_are_known_as_they_were_sent(self, file, small):
        encoder = self.built(file(row("query: a"), row("a", (0.0, 1.0))), small)
        assert encoder.encode_as(QUERY, ["a"]).tolist() == [[1.0, 0.0]]
        assert encoder.encode(["a"]).tolist() == [[0.0, 1.0]]

    def test_answers_by_role_are_known_by_it_and_by_the_prompt(self, file, small):
        rows = row("query: a", role="query"), row("a", (0.0, 1.0), role="document")
        encoder = self.built(file(*rows), small)
        assert encoder.by_role
        assert encoder.encode_as(QUERY, ["a"]).tolist() == [[1.0, 0.0]]
        with pytest.raises(NotRecorded, match="among them 'other: a' as query"):
            encoder.encode_as(Role("query", "other: "), ["a"])

    def test_what_was_not_asked_then_is_named(self, file, small):
        encoder = self.built(file(row("a")), small)
        told = r"has no answer for 1 of 2 texts, among them 'query: a'; record answers for these data and prompts"
        with pytest.raises(NotRecorded, match=told):
            encoder.encode(["a", "query: a"])

    @pytest.mark.parametrize("by_role", [False, True])
    def test_what_is_kept_of_a_role_with_a_route_is_found_again(self, tmp_path, small, by_role):
        routed = [Role("query", "query: ", route="query"), Role("sts", route="document"), Role()]
        vectors = np.eye(3, dtype=np.float32)
        answers = [(Asked.by(role, "a", by_role), each) for role, each in zip(routed, vectors, strict=True)]
        path = tmp_path / "x.answers.jsonl"
        write(path, About(), answers)
        encoder = self.built(path, small)
        assert encoder.by_role == by_role
        assert [encoder.encode_as(role, ["a"])[0].argmax() for role in routed] == [0, 1, 2]


@pytest.fixture
def server():
    with serving(Served()) as running:
        yield running


@pytest.fixture
def run(project, few, few_cases):
    def session(*options: str, data=few):
        result = project.runpytest_inprocess(*SUITES, *options, "--gate-report=out", f"--gate-data={data}")
        report = project.path / "out" / "report.json"
        rows = json.loads(report.read_text("utf-8"))["combinations"] if report.is_file() else []
        return result, {each["combination"]: each for each in rows}

    return session


@pytest.fixture
def june(run, server):
    """Answers of a server whose weights nobody here has."""
    result, _ = run(QUALITY, GOLDEN, "-k=golden", *reference(f"{server.url}::model=tiny"), "--gate-record=june")
    result.stdout.fnmatch_lines(["* answers are recorded: --gate-candidate=june/tiny-served-cpu.answers.jsonl *"])
    return "june/tiny-served-cpu.answers.jsonl"


def reference(where):
    return ("--gate-model=none", f"--gate-reference={where}")


class TestSession:
    def test_answers_of_last_month_are_held_against_todays(self, run, server, june):
        checks = (QUALITY, ORDER, INVARIANCE, CONTRACT, "-k=served and (agrees or few)")
        result, rows = run(*checks, *reference(june), f"--gate-candidate={server.url}::model=tiny")
        assert not {"failed", "errors"} & set(result.parseoutcomes()), result.stdout.str()
        today = {judgement["check"] for judgement in rows["tiny-served-cpu"]["judgements"]}
        assert {"agreement", "ordering"} <= today
        assert {judgement["verdict"] for judgement in rows["tiny-served-cpu"]["judgements"]} <= {"pass", "inconclusive"}

    def test_a_server_that_changed_since_is_red(self, run, server, june):
        server.embed = lambda texts: np.roll(stored(texts), 1, axis=1) * np.array([1, -1] * (servers.DIM // 2))
        result, _ = run(QUALITY, "-k=agrees", *reference(june), f"--gate-candidate={server.url}::model=tiny")
        assert result.parseoutcomes()["failed"], result.stdout.str()
        result.stdout.fnmatch_lines(["*tiny-served-cpu: *cosine*"])

    def test_what_needs_a_live_encoder_is_not_asked(self, run, server, june):
        asked = (INVARIANCE, CONTRACT, BUDGETS, ORDER, "--collect-only", "-q")
        result, _ = run(*asked, *reference(f"{server.url}::model=tiny"), f"--gate-candidate={june}")
        ids = [line for line in result.outlines if "::" in line]
        assert {line.partition("::")[2].partition("[")[0] for line in ids if "june_tiny" in line} == {
            "test_reverses_few_orders"
        }
        assert any("test_depends_on_the_text_alone" in line for line in ids if "june_tiny" not in line)

    def test_other_data_than_were_asked_for_is_one_line(self, run, tmp_path, june):
        other = tmp_path / "other.jsonl"
        pairs = [{"sentence1": f"new {i}", "sentence2": f"newer {i}", "score": i % 6} for i in range(12)]
        other.write_text("".join(json.dumps(each) + "\n" for each in pairs), "utf-8")
        result, _ = run(QUALITY, *reference(june), f"--gate-candidate={june}::name=again", data=other)
        assert set(result.parseoutcomes()) <= {"errors", "deselected", "failed"}, result.stdout.str()
        result.stdout.fnmatch_lines(
            ["*june/tiny-served-cpu.answers.jsonl has no answer for 24 of 24 texts*record answers*"]
        )

    def test_golden_texts_that_nobody_asked_are_not_judged(self, run, server, project, few):
        rows = [json.loads(line) for line in few.read_text("utf-8").splitlines()]
        texts = sorted({each[name] for each in rows for name in ("sentence1", "sentence2")})
        own = "".join(row(text, stored([text])[0].tolist()) for text in texts)
        project.path.joinpath("log.answers.jsonl").write_text(own, "utf-8")
        asked = (GOLDEN, ORDER, *reference("log.answers.jsonl"), f"--gate-candidate={server.url}::model=tiny")
        result, rows = run(*asked, "-k=log or order")
        assert not {"failed", "errors"} & set(result.parseoutcomes()), result.stdout.str()
        (judgement, *_) = rows["log-served-cpu"]["judgements"]
        assert judgement["verdict"] == "inconclusive"
        assert "log.answers.jsonl has no answer for" in judgement["message"]

    def test_a_recording_is_never_overwritten(self, run, server, june):
        result, _ = run(QUALITY, GOLDEN, *reference(f"{server.url}::model=tiny"), "--gate-record=june")
        told = "ERROR: --gate-record: june/tiny-served-cpu.answers.jsonl is there already; give another folder, or *"
        result.stderr.fnmatch_lines([told])
        with pytest.raises(GateError, match="is there already, and may hold answers that were paid for"):
            write(Path(june), About(), [])

    def test_several_processes_are_refused(self, run, server):
        result, _ = run(QUALITY, *reference(f"{server.url}::model=tiny"), "--gate-record=june", "-n=2")
        result.stderr.fnmatch_lines(["ERROR: --gate-record needs one process, *: run it without -n"])

    def test_answers_from_before_a_server_went_are_kept(self, run, server, monkeypatch):
        from embedgate.runtime import recording

        monkeypatch.setattr(recording, "PART", 8)
        asked = (GOLDEN, *reference(f"{server.url}::model=tiny,batch=4"), "--gate-record=june")
        server.refuse = lambda texts, _: servers.Reply("", 502) if "text 5" in texts else None
        result, _ = run(*asked)
        assert result.parseoutcomes()["errors"]
        result.stdout.fnmatch_lines(
            ["*16 answers from before this are kept in june/tiny-served-cpu-part1.answers.jsonl"]
        )
        assert len(Recording(Path("june/tiny-served-cpu-part1.answers.jsonl")).answers()[0]) == 16

    def test_a_server_that_goes_after_the_data_is_recorded_without_the_rest(self, run, server):
        server.refuse = lambda texts, _: servers.Reply("", 502) if max(map(len, texts)) > 100 else None
        result, _ = run(QUALITY, GOLDEN, "-k=golden", *reference(f"{server.url}::model=tiny"), "--gate-record=short")
        result.stdout.fnmatch_lines(["*golden and generated texts are not recorded: *502*"])
        assert len(Recording(Path("short/tiny-served-cpu.answers.jsonl")).answers()[0]) == 24

    def test_an_index_is_held_against_recorded_answers(self, run, project, file):
        texts = [f"document number {i}" for i in range(40)]
        vectors = stored(texts)
        answers = "".join(row(f"passage: {t}", v.tolist()) for t, v in zip(texts, vectors, strict=True))
        answers += "".join(row(t, v.tolist()) for t, v in zip(texts, vectors, strict=True))
        project.path.joinpath("kept.answers.jsonl").write_text(answers, "utf-8")
        wrong = np.random.default_rng(0).normal(size=vectors.shape).tolist()
        for name, own in (("right", vectors.tolist()), ("wrong", wrong)):
            index = "".join(row(t, v) for t, v in zip(texts, own, strict=True))
            project.path.joinpath(f"{name}.jsonl").write_text(index, "utf-8")
        asked = ("embedgate.suites.test_stored", *reference("kept.answers.jsonl"), "--gate-prompt=document=passage: ")
        result, rows = run(*asked, "--gate-candidate=right.jsonl", "--gate-candidate=wrong.jsonl", "-k=rows_are")
        verdicts = {name: {each["verdict"] for each in found["judgements"]} for name, found in rows.items()}
        assert verdicts == {"right-fp32-cpu": {"pass"}, "wrong-fp32-cpu": {"fail"}}, result.stdout.str()

    def test_a_server_that_refuses_golden_texts_is_recorded_without_them(self, run, server, few):
        server.refuse = lambda texts, _: servers.Reply({"error": "no"}, 400) if max(map(len, texts)) > 100 else None
        run(QUALITY, GOLDEN, "-k=golden", *reference(f"{server.url}::model=tiny"), "--gate-record=short")
        found, _ = Recording(Path("short/tiny-served-cpu.answers.jsonl")).answers()
        assert len(found) == 24


class TestOfAFolder:
    def test_recorded_answers_are_held_against_the_models_own(self, run, model):
        result, rows = run(
            QUALITY, GOLDEN, "-k=agrees", f"--gate-candidate={model.path}::name=copy", "--gate-record=kept"
        )
        assert "failed" not in result.parseoutcomes(), result.stdout.str()
        kept = "kept/copy-fp32-cpu.answers.jsonl"
        result, rows = run(QUALITY, ORDER, f"--gate-candidate={kept}", "-k=agrees or few")
        assert not {"failed", "errors"} & set(result.parseoutcomes()), result.stdout.str()
        assert "kept_copy-fp32-cpu" in rows

    def test_its_evidence_says_what_was_recorded(self, file):
        model = resolve("none")
        path = file(row("a", about={"combination": "x-served-cpu", "origin": "http://h", "at": "2026-06-01T08:00"}))
        source = source_of(str(path), model)
        evidence = source.build(model, BuildContext(1, None)).evidence()
        assert evidence.details["recorded of"] == "http://h"
        assert source.identity["recorded"] == "answers of http://h, recorded on 2026-06-01"
