"""Reports of earlier sessions: what they know of values, and why they are refused."""

from __future__ import annotations

import pytest
from helpers.reports import OWN, REFERENCE, earlier, retained, written

from embedgate.approved.entries import Entry, Key, Provenance
from embedgate.approved.form import Identified
from embedgate.approved.proposal import Proposal
from embedgate.core.errors import GateError
from embedgate.core.machine import this_machine
from embedgate.core.model import DEFAULT_MODEL, Model, resolve
from embedgate.data import load
from embedgate.report.earlier import EarlierReport, Known

FLAG = "--gate-incumbent"


@pytest.fixture(scope="module")
def model() -> Model:
    return resolve(DEFAULT_MODEL)


@pytest.fixture(scope="module")
def pairs():
    return load("pairs")


@pytest.fixture
def read(tmp_path, model, pairs):
    def make(*judged, **more) -> EarlierReport:
        return EarlierReport.read(written(tmp_path / "report.json", earlier(model, [pairs], judged, **more)), FLAG)

    return make


def test_values_are_those_that_were_judged_of_all_items(read, pairs):
    found = read(retained("pairs", "spearman", 0.81, 0.82))
    assert found.value(OWN, pairs, "spearman") == Known(0.81)
    assert found.value(REFERENCE, pairs, "spearman") == Known(0.82)
    assert found.value(OWN, pairs, "ndcg_at_10") is None


def test_what_a_part_of_the_items_decided_is_no_value_of_all(read, pairs):
    assert read(retained("pairs", "spearman", 0.81, 0.82, n=50, items=100)).value(OWN, pairs, "spearman") is None


def test_what_could_be_approved_counts_before_it_and_has_an_interval(read, model, pairs):
    entry = Entry(Key(OWN, "pairs", "spearman", pairs.sha256), 0.83, 0.79, 0.86, 300)
    proposal = Proposal(
        "cpu",
        Identified(model.name, model.source, model.fingerprint, model.tensors, dict(model.files)),
        Provenance.of(this_machine(), threads=2, batch_size=32, libraries={}, commit="", files={}),
        (entry,),
    )
    found = read(retained("pairs", "spearman", 0.81, 0.82), approvable=[proposal.to_json()])
    assert found.value(OWN, pairs, "spearman") == Known(0.83, 0.79, 0.86)


def test_of_other_rows_no_value_is_known_and_it_says_why(read, pairs):
    found = read(retained("pairs", "spearman", 0.81, 0.82), datasets=[{"name": "pairs", "sha256": "ab" * 32}])
    assert found.value(OWN, pairs, "spearman") is None
    assert found.apart(pairs).startswith("pairs had other rows then (SHA-256 abababababab, here ")


def test_it_serves_the_model_that_it_is_about(read, model, pairs):
    read().require(model, [pairs, load("topics")], FLAG)
    with pytest.raises(GateError, match=r"^--gate-incumbent: .* is about the model other \(.*; give that model itself"):
        read(model={"name": "other", "fingerprint": "ab" * 32}).require(model, [pairs], FLAG)
    with pytest.raises(GateError, match="knows no value of these data: it has not judged topics; give the data"):
        read().require(model, [load("topics")], FLAG)


def test_one_that_is_malformed_is_refused_in_a_line(tmp_path, model, pairs):
    whole = earlier(model, [pairs])
    file = written(tmp_path / "report.json", {**whole, "combinations": [{"combination": OWN}]})
    with pytest.raises(GateError, match=r"is no report of this embedgate's: it has no 'run'; make one with it"):
        EarlierReport.read(file, FLAG)
