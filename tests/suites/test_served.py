"""A server as a user gates it: what is asked of it, what is not, and what its end costs."""

from __future__ import annotations

import json
from unittest.mock import ANY

import pytest
from helpers.faults import load
from helpers.served import Reply, Served, serving

from embedgate.encoders.onnx.tokenizer import Tokenizer

SUITES = ("-p", "no:cacheprovider", "--gate-report=out", "--pyargs")
EFFECTIVE, CONTRACT, INVARIANCE, BUDGETS = (
    f"embedgate.suites.test_{name}" for name in ("effective", "contract", "invariance", "budgets")
)


@pytest.fixture
def served(project, model):
    inner = load(model.path)
    with serving(Served(lambda texts: inner.encode(list(texts)))) as running:
        yield running


@pytest.fixture
def run(project, few, served):
    def session(*options: str, keys: str = "model=tiny"):
        gated = (f"--gate-data={few}", f"--gate-candidate={served.url}::{keys}", "--gate-baselines=approved")
        result = project.runpytest_inprocess(*SUITES, *options, *gated)
        report = json.loads(project.path.joinpath("out/report.json").read_text("utf-8"))
        return result, next(row for row in report["combinations"] if row["combination"] == "tiny-served-cpu")

    return session


def test_a_sound_server_is_green_and_its_memory_is_not_asked(run):
    result, row = run(
        EFFECTIVE, CONTRACT, BUDGETS, "-k", "tiny and (effective or limit or memory or size or products or same_tokens)"
    )
    counts = result.parseoutcomes()
    assert counts["passed"] == 4, result.stdout.str()  # effective, three lengths
    assert not {"failed", "errors", "skipped"} & set(counts)
    evidence = row["run"]["evidence"]
    assert evidence["details"]["long texts"] == "cut"
    assert evidence["details"]["memory, bytes and tokens"] == "not asked: a client sees none of them"
    assert not row["run"]["footprint"]


def test_a_server_that_refuses_long_texts_is_green_and_every_report_says_so(run, served, model, project):
    tokenizer = Tokenizer(model)

    def refuse(texts, body):
        short = all(tokenizer.cut(text, tokenizer.max_tokens) == text for text in texts)
        return None if short else Reply({"error": "too long"}, 400)

    served.refuse = refuse
    result, _ = run(EFFECTIVE, CONTRACT, INVARIANCE, "-k", "tiny and (effective or limit or huge or truncation)")
    assert result.parseoutcomes() == {"passed": 6, "deselected": ANY}
    told = "tiny-served-cpu: it refuses texts beyond the model's limit: embedgate cut them by the model's own tokenizer"
    result.stdout.fnmatch_lines([f"{told} before it sent them"])
    for name in ("report.md", "report.html"):
        assert "it refuses texts beyond the model" in project.path.joinpath("out", name).read_text("utf-8")


def test_a_server_that_does_not_do_what_is_declared_is_red(run, served):
    result, row = run(EFFECTIVE, "-k", "tiny", keys="model=tiny,long=refuse")
    result.assert_outcomes(failed=1)
    (judgement,) = row["judgements"]
    assert judgement["message"] == (
        "is not what its id says: declared to refuse texts beyond the model's limit (long=refuse), and takes them"
    )


@pytest.mark.slow("the latency of a server is told as a client sees it")
def test_its_latency_is_what_a_client_sees(run, served):
    result, row = run(BUDGETS, "-k", "tiny and batch_1_medium")
    assert not {"failed", "errors", "skipped"} & set(result.parseoutcomes()), result.stdout.str()
    speed = row["run"]["speed"]["batch_1_medium"]
    latency = speed["candidate_latency_ms"]
    assert latency["n"] > 20
    assert 0 < latency["p50"] <= latency["p95"]
    assert speed["texts_per_second"] > 0


def test_a_server_that_goes_away_costs_its_own_verdict(run, served):
    gone = []

    def refuse(texts, body):
        gone.extend(text for text in texts if "👍" in text)
        return Reply(b"", 502) if gone else None

    served.refuse = refuse
    result, _ = run(CONTRACT, EFFECTIVE, "-k", "one_token or emoji or combining or effective")
    # The reference's four, and of the server's what it had answered by then.
    result.assert_outcomes(passed=6, errors=2)
    result.stdout.fnmatch_lines(
        ["*POST http://127.0.0.1:*/v1/embeddings answered 502 (bad gateway); see the server's log"]
    )
    assert "Traceback" not in result.stdout.str()
