"""A session that holds secrets writes none of them: neither into reports and records nor into the terminal."""

from __future__ import annotations

import pytest
from helpers.faults import load
from helpers.served import TOKEN, Reply, Served, serving

# What CI's environment holds, by its usual names.
SECRETS = {
    "HF_TOKEN": "hf_s3cretOfTheHub",
    "AWS_SECRET_ACCESS_KEY": "s3cret/of/the/cloud",
    "GITHUB_TOKEN": "ghs_s3cretOfGitHub",
    "MINE": TOKEN,
}


@pytest.fixture
def served(project, model, monkeypatch):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    inner = load(model.path)
    with serving(Served(lambda texts: inner.encode(list(texts)), token=TOKEN)) as running:
        yield running


@pytest.fixture
def written(project, few, served):
    """Runs a session, and gives all that it said and wrote."""

    def session(*options: str) -> dict[str, str]:
        result = project.runpytest_inprocess(
            *("-p", "no:cacheprovider", "--pyargs", "embedgate.suites.test_effective", "-k", "tiny"),
            *("--gate-report=out", "--junit-xml=out/junit.xml", "--gate-record=record", f"--gate-data={few}"),
            *(f"--gate-candidate={served.url}::model=tiny,token_env=MINE", "--gate-baselines=approved", *options),
        )
        files = [file for folder in ("out", "record") for file in project.path.joinpath(folder).rglob("*.*")]
        found = {file.name: file.read_bytes().decode("utf-8", "replace") for file in files}
        return {**found, "terminal": result.stdout.str() + result.stderr.str()}

    return session


def test_a_session_that_went_well(written):
    found = written("--showlocals")
    assert {"report.json", "report.md", "report.html", "junit.xml"} <= set(found)
    assert any(name.endswith(".answers.jsonl") for name in found)
    assert {name: secret for name, text in found.items() for secret in SECRETS.values() if secret in text} == {}


def test_a_session_whose_server_repeats_what_it_was_sent(written, served):
    served.refuse = lambda texts, body: Reply({"error": f"no access with {TOKEN}"}, 403)
    found = written()
    assert "no access with ***" in found["terminal"]
    assert {name: secret for name, text in found.items() for secret in SECRETS.values() if secret in text} == {}
