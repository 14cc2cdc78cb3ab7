"""Limits of several approved sessions: wide enough for one more, by a formula with a source."""

from __future__ import annotations

import math
from random import Random

import pytest
from scipy.stats import t

from embedgate.approved.sessions import (
    COVERED,
    MOST_SESSIONS,
    NOT_KNOWN,
    PRIOR,
    ApprovedSession,
    Spread,
    log_mean,
    with_one_more,
)


def sessions(*values: float) -> tuple[ApprovedSession, ...]:
    return tuple(ApprovedSession(number, value) for number, value in enumerate(values, start=1))


def test_one_session_tells_nothing_but_the_slack():
    assert Spread.of([sessions(0.4), sessions(0.9)]) == NOT_KNOWN
    assert NOT_KNOWN.width(1, 0.04, 0.001) == pytest.approx(math.log(1.04))


def test_the_spread_is_pooled_about_each_entrys_own_mean():
    found = Spread.of([sessions(math.exp(0.01), math.exp(-0.01)), sessions(2 * math.exp(0.02), 2 * math.exp(-0.02))])
    assert found.freedom == 2
    assert found.deviation == pytest.approx(math.sqrt((2 * 0.01**2 + 2 * 0.02**2) / 2))


def test_the_width_is_the_documented_prediction_interval():
    prior = math.log(1.04) / COVERED
    variance = (PRIOR * prior**2 + 16 * 0.03**2) / (PRIOR + 16)
    expected = t.isf(0.001, PRIOR + 16) * math.sqrt(variance * (1 + 1 / 3))
    assert Spread(0.03, 16).width(3, 0.04, 0.001) == pytest.approx(expected)
    assert Spread(0.0001, 400).width(3, 0.04, 0.001) == pytest.approx(math.log(1.04)), "the slack is the least"


@pytest.mark.parametrize("deviation", [0.005, 0.015, 0.03])
def test_one_more_session_lies_within_as_often_as_the_level_says(deviation):
    """About so often, whatever the spread between sessions really is; the slack's say pulls it a little."""
    random, level, beyond, trials = Random(1), 0.02, 0, 3000
    for _ in range(trials):
        entries = [sessions(*(math.exp(random.gauss(0, deviation)) for _ in range(3))) for _ in range(8)]
        width = Spread.of(entries).width(3, 0.04, level)
        beyond += random.gauss(0, deviation) > log_mean(entries[0]) + width
    assert beyond / trials < 2 * level


def test_the_first_session_and_the_newest_are_kept():
    kept = sessions(1.0)
    for number in range(2, 31):
        kept = with_one_more(kept, ApprovedSession(number, 1.0))
    assert [each.approval for each in kept] == [1, *range(32 - MOST_SESSIONS, 31)]
