"""What green judgements say of themselves: told once, and by name where combinations differ."""

from __future__ import annotations

import pytest

from embedgate.checks import CheckRegistry
from embedgate.checks.slices import _left
from embedgate.core.judgement import TOLERATED_SINCE, Judgement, Slice
from embedgate.report import green, html, markdown
from embedgate.report.collector import Collector
from embedgate.report.records import Record
from embedgate.report.summary import Summary, summarise

KNOWN = CheckRegistry().known
PAGES = (markdown.render, html.render)
JUDGED = "3 slices of pairs judged, least room on short: short (60 items) +0.0000 (0.8 of 0.8) of spearman on pairs, 0.02 is tolerated"


def session(*judgements: Judgement) -> Summary:
    return summarise(Collector([Record(each.combination, judgement=each) for each in judgements]), known=KNOWN)


def sliced(left: str, combination: str = "acme-int8-cpu", verdict: str = "pass") -> Judgement:
    message = "; ".join(filter(None, (JUDGED, left)))
    shown = (Slice("short", 60, 0.8, 0.8, -0.01, 0.01, "pass"),)
    return Judgement("slices", combination, verdict, message, "pairs", "spearman", slices=shown)


def golden(told: str, combination: str = "acme-int8-cpu") -> Judgement:
    message = f"64 texts as approved for cpu-x86_64: largest move 0, {told}"
    return Judgement("golden", combination, "pass", message, value=0.0, limit=0.4, n=64)


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("left", [({"odd": 15}, ["flat"]), ({"odd": 15}, []), ({}, ["flat"])])
def test_slices_that_are_not_judged_are_told_once(page, left):
    told = page(session(*(sliced(_left(*left), name) for name in ("acme-int8-cpu", "acme-fp16-cpu"))))
    assert told.count(f"pairs spearman: {_left(*left)}") == 1


@pytest.mark.parametrize("page", PAGES)
def test_nothing_is_told_where_every_slice_is_judged(page):
    assert "to be judged" not in page(session(sliced("")))


def test_combinations_are_named_where_they_leave_other_slices():
    one, other = _left({"odd": 15}, []), _left({"odd": 15, "wide": 40}, [])
    found = green.slices_left(session(sliced(one, "a-int8-cpu"), sliced(other, "b-int8-cpu"), sliced("", "c-int8-cpu")))
    assert found == [f"pairs spearman: {one} (a-int8-cpu)", f"pairs spearman: {other} (b-int8-cpu)"]


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(
    "why",
    ["it was approved with 1 thread, and this session has 2", "another machine approved it"],
)
def test_the_tolerance_of_golden_texts_is_told_once_with_its_reason(page, why):
    told = page(session(*(golden(f"0.4{TOLERATED_SINCE}{why}", name) for name in ("acme-int8-cpu", "acme-fp16-cpu"))))
    assert told.count(f"golden texts may move by 0.4, since {why}") == 1
    assert "acme-int8-cpu, acme-fp16-cpu" not in told


def test_combinations_are_named_where_golden_texts_are_held_to_other_tolerances():
    same = golden(f"0.4{TOLERATED_SINCE}all that computed it is as it was then", "a-int8-cpu")
    other = golden(f"0.4{TOLERATED_SINCE}another machine approved it", "b-int8-cpu")
    assert green.golden(session(same, other)) == [
        "golden texts may move by 0.4, since all that computed it is as it was then (a-int8-cpu)",
        "golden texts may move by 0.4, since another machine approved it (b-int8-cpu)",
    ]
    assert green.golden(session(golden("0.4 is tolerated"))) == []
