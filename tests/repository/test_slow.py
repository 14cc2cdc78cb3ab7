"""Slow tests say what they prove, and tests/slow.md lists it."""

from __future__ import annotations

import runpy

import pytest
from helpers.paths import ROOT, TESTS

TOOL = runpy.run_path(str(ROOT / "tools/slow_tests.py"))


def test_the_list_is_what_the_marks_say():
    assert (TESTS / "slow.md").read_text("utf-8") == TOOL["table"](), "run python tools/slow_tests.py"


def test_every_slow_test_is_found_and_one_that_proves_nothing_is_refused():
    marked = '@pytest.mark.slow("verdicts err seldom")\nclass TestRates:\n    pass\n'
    assert list(TOOL["proofs"](marked)) == [("TestRates", "verdicts err seldom")]
    with pytest.raises(ValueError, match=r"test_x: @pytest\.mark\.slow says nothing"):
        list(TOOL["proofs"]("@pytest.mark.slow\ndef test_x():\n    pass\n"))
