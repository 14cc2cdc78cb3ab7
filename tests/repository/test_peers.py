"""The page about peers says what was measured, and what is asked of each tool is there."""

from __future__ import annotations

import json
import sys

import pytest
from helpers.scripts import benchmark


@pytest.fixture(scope="module")
def peers():
    with benchmark("peers") as module:
        yield module


def test_the_page_has_the_tables_of_what_was_found(peers):
    text = peers.PAGE.read_text("utf-8")
    found = json.loads(peers.FOUND.read_text("utf-8"))
    assert peers.with_tables(text, found) == text, "run: python benchmarks/peers.py --write"


def test_a_changed_verdict_changes_the_page(peers):
    text = peers.PAGE.read_text("utf-8")
    found = json.loads(peers.FOUND.read_text("utf-8"))
    found.setdefault("mteb", {}).setdefault("cls", {"seconds": 1.0, "version": "1"})["verdict"] = "another"
    assert "another" in peers.with_tables(text, found)


def test_what_was_found_is_of_tools_and_faults_that_there_are(peers):
    found = json.loads(peers.FOUND.read_text("utf-8"))
    assert set(found) <= set(peers.PEERS)
    assert {name for cells in found.values() for name in cells} <= set(peers.NAMED)
    for key, cells in found.items():
        assert {cell["form"] for cell in cells.values()} <= set(peers.PEERS[key].forms)


def test_every_script_is_there_and_has_lines(peers):
    for peer in peers.PEERS.values():
        for name in (peer.script, *peer.scripts.values(), *peer.lines):
            assert (peers.HERE / name).is_file(), name
        assert peers.written(peer) > 0


def test_every_fault_of_a_file_or_folder_is_made_by_a_function(peers):
    faults = sys.modules[peers.Fault.__module__]
    assert {fault.name for fault in peers.FAULTS if fault.form == "folder"} == set(faults.CHANGES)
    assert {fault.name for fault in peers.FAULTS if fault.form == "onnx"} == set(faults.GRAPHS)


@pytest.mark.parametrize(
    ("code", "output", "verdict"),
    [
        (0, "", "green"),
        (1, "FAIL", "red"),
        (2, "", "error"),
        (1, "Traceback (most recent call last)\n  ...", "error"),
        (124, "", "error"),
    ],
)
def test_an_exit_status_is_a_verdict_and_a_broken_run_is_none(peers, code, output, verdict):
    assert peers._verdict(peers.PEERS["mteb"], code, output) == verdict


def test_a_tool_without_a_rule_gives_no_verdict(peers):
    assert peers._verdict(peers.PEERS["optimum-benchmark"], 0, "") == "no rule"


def test_a_tool_for_graphs_is_asked_of_graphs_alone(peers):
    polygraphy = peers.PEERS["polygraphy"]
    assert polygraphy.form_of(peers.NAMED["cls"]) == "onnx"
    assert peers.PEERS["embedgate-quick"].form_of(peers.NAMED["cls"]) == "folder"
    assert polygraphy.form_of(peers.NAMED["case"]) is None
    assert peers.PEERS["mteb"].form_of(peers.NAMED["concurrent"]) is None
    assert peers.PEERS["embed-parity"].form_of(peers.NAMED["concurrent"]) == "server"
