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


def proposed(model, pairs, value: float, profile: str = "cpu") -> dict:
    entry = Entry(Key(OWN, "pairs", "spearman", pairs.sha256), value, value - 0.04, value + 0.03, 300)
    return Proposal(
        profile,
        Identified(model.name, model.source, model.fingerprint, model.tensors, dict(model.files)),
        Provenance.of(this_machine(), threads=2, batch_size=32, libraries={}, commit="", files={}),
        (entry,),
    ).to_json()


def test_what_could_be_approved_counts_before_it_and_has_an_interval(read, model, pairs):
    found = read(retained("pairs", "spearman", 0.81, 0.82), approvable=[proposed(model, pairs, 0.83)])
    known = found.value(OWN, pairs, "spearman")
    assert (known.value, known.low, known.high) == (0.83, pytest.approx(0.79), pytest.approx(0.86))


def test_what_two_hardware_profiles_know_otherwise_is_as_it_was_judged(read, model, pairs):
    """A merged report holds what could be approved on each; whichever comes last is not more."""
    both = [proposed(model, pairs, 0.83), proposed(model, pairs, 0.79, "nvidia-l4")]
    for proposals in (both, both[::-1]):
        found = read(retained("pairs", "spearman", 0.81, 0.82), approvable=proposals)
        assert found.value(OWN, pairs, "spearman") == Known(0.81)
    same = [proposed(model, pairs, 0.83), proposed(model, pairs, 0.83, "nvidia-l4")]
    assert read(retained("pairs", "spearman", 0.81, 0.82), approvable=same).value(OWN, pairs, "spearman").value == 0.83


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
