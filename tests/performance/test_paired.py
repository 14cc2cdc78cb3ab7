"""Turns, intervals and looks of paired timing, on a clock of the tests' own."""

from __future__ import annotations

import gc
import math
from random import Random

import numpy as np
import pytest
from scipy.stats import binom

from embedgate.core.quantiles import at_most
from embedgate.performance.paired import (
    LOOKS,
    Aim,
    Blocks,
    Levels,
    compare,
    judge,
    lower_end,
    ratios,
    upper_end,
)
from embedgate.performance.workloads import CALLS_ALONE, LENGTHS, WORKLOADS, texts_of, workloads
from embedgate.plugin.noise import Noise

LEVELS = Levels(0.05, 44)


@pytest.fixture(autouse=True)
def collects_nothing(monkeypatch):
    """Before its turns, each look collects garbage: of a test process that is large."""
    monkeypatch.setattr(gc, "collect", lambda: 0)


class Machine:
    """Two arms whose turns take what the test says."""

    def __init__(self, ratio=0.5, noise=0.0, disturbed=0.0, drift=0.0, seed=0):
        self.random = Random(seed)
        self.ratio, self.noise, self.disturbed, self.drift = ratio, noise, disturbed, drift
        self.now = 0.0
        self.turns = ""

    def turn(self, arm, seconds):
        def run():
            took = seconds * math.exp(self.random.gauss(0, self.noise)) * (1 + self.drift * self.now)
            if self.random.random() < self.disturbed:
                took *= self.random.uniform(1.2, 3)
            self.now += took
            self.turns += arm
            return [took]

        return run

    def blocks(self):
        return Blocks(self.turn("A", 0.1), self.turn("B", 0.1 * self.ratio))


def test_turns_are_taken_as_abba():
    machine = Machine()
    machine.blocks().take(3)
    assert machine.turns == "ABBA" * 3


def test_pytest_benchmark_drives_the_same_turns():
    class Driver:
        rounds = 0

        def pedantic(self, target, *, setup, teardown, rounds):
            self.rounds = rounds
            for _ in range(rounds):
                setup()
                target()
                teardown()

    machine, driver = Machine(), Driver()
    blocks = machine.blocks()
    blocks.take(4, driver)
    assert (machine.turns, driver.rounds, len(blocks.rows)) == ("ABBA" * 4, 8, 4)


def test_python_collects_no_garbage_within_turns_and_does_again_after():
    seen = []
    blocks = Blocks(lambda: seen.append(gc.isenabled()) or [0.1], lambda: seen.append(gc.isenabled()) or [0.1])
    blocks.take(1)
    assert seen == [False] * 4
    assert gc.isenabled()


def test_a_machine_that_becomes_slower_and_slower_changes_no_ratio():
    machine = Machine(ratio=1.0, drift=0.05)
    blocks = machine.blocks()
    blocks.take(16)
    assert blocks.rows[-1][0] > 1.2 * blocks.rows[0][0]
    assert np.median(ratios(blocks.rows)) == pytest.approx(1, abs=0.006)


def test_the_faster_turn_of_an_arm_counts():
    aim = Aim(None, LEVELS)
    assert judge([(2.0, 9.0, 1.0, 4.0)], aim).median == 0.5


@pytest.mark.parametrize("level", [0.0125, 0.0084, 0.05])
@pytest.mark.parametrize("n", [8, 16, 32, 64])
def test_an_end_misses_the_median_as_rarely_as_its_level_says(n, level):
    random = np.random.default_rng(n)
    draws = 2.0 ** random.standard_t(2, size=(5_000, n)).clip(-99, 99)  # heavy tails; the median is 1
    missed = np.mean([lower_end(values, level) > 1 for values in draws])
    # Of what the binomial distribution lets a place be, the largest that is within the level.
    exact = max(p for p in binom.cdf(range(n), n, 0.5) if p <= level)
    assert missed == pytest.approx(exact, abs=4 * math.sqrt(exact / 5_000))


def test_the_ends_mirror_each_other():
    values = np.random.default_rng(0).uniform(0.5, 2, 32)
    assert upper_end(values, 0.01) == pytest.approx(1 / lower_end(1 / values, 0.01))


def test_too_few_blocks_for_a_level_bound_nothing():
    assert lower_end([1.0, 2.0, 3.0], 0.05) == 0
    assert upper_end([1.0, 2.0, 3.0], 0.05) == math.inf
    assert judge([(1.0, 1.0, 1.0, 1.0)] * 3, Aim(1.5, LEVELS)).verdict == "inconclusive"


def test_the_first_look_can_settle_a_session_of_many_budgets():
    rows = [(1.0, 1.0, 1.0, 1.0)] * LOOKS[0]
    assert judge(rows, Aim(0.9, Levels(0.05, 132))).verdict == "fail"
    assert judge(rows, Aim(1.1, Levels(0.05, 132))).verdict == "pass"


def test_a_slowdown_of_12_percent_is_found_and_none_is_not_though_a_fifth_of_the_turns_are_disturbed():
    aim = Aim(0.5 * 1.05, LEVELS)
    slow = [compare(Machine(0.56, 0.01, 0.2, seed=s).blocks(), aim).verdict for s in range(200)]
    same = [compare(Machine(0.5, 0.01, 0.2, seed=s).blocks(), aim).verdict for s in range(200)]
    assert slow.count("fail") >= 198
    assert same.count("fail") == 0
    assert same.count("pass") >= 198


def test_more_blocks_are_taken_only_while_the_verdict_is_open():
    settled, open_ = Machine(0.5, 0.001), Machine(0.5, 0.05, seed=3)
    assert compare(settled.blocks(), Aim(0.6, LEVELS)).blocks == LOOKS[0]
    found = compare(open_.blocks(), Aim(0.5, LEVELS))
    assert (found.blocks, found.verdict) == (LOOKS[-1], "inconclusive")


def test_no_look_is_begun_that_would_end_after_the_cap():
    machine = Machine(0.5, 0.05, seed=3)
    each = 4 * 0.1 * 0.75
    found = compare(machine.blocks(), Aim(0.5, LEVELS), cap_seconds=20 * each, clock=lambda: machine.now)
    assert (found.blocks, found.verdict) == (16, "inconclusive")


def test_without_a_limit_the_blocks_asked_for_are_taken():
    machine = Machine()
    found = compare(machine.blocks(), Aim(None, LEVELS, 5))
    assert (found.blocks, found.verdict) == (5, "inconclusive")


def test_the_first_look_has_enough_calls_for_p95():
    blocks = Blocks(lambda: [0.1] * CALLS_ALONE, lambda: [0.1] * CALLS_ALONE)
    blocks.take(LOOKS[0])
    assert all(at_most(calls, 0.95) is not None for calls in blocks.calls.values())


def test_a_turn_that_a_profiler_adds_counts_for_nothing():
    blocks = Blocks(lambda: [1.0], lambda: [2.0])
    blocks.take(2)
    blocks.turn()
    blocks.take(1)
    assert blocks.rows == [(1.0, 2.0, 2.0, 1.0)] * 3


def test_recording_ends_at_the_cap_too():
    machine = Machine(0.5)
    found = compare(machine.blocks(), Aim(None, LEVELS, 32), cap_seconds=5.0, clock=lambda: machine.now)
    assert found.blocks == 16  # of 0.3 s each; 24 would take 7.2 s


def test_tracers_are_out_of_turns():
    import sys

    before, seen = sys.gettrace(), []
    Blocks(lambda: seen.append(sys.gettrace()) or [1.0], lambda: seen.append(sys.gettrace()) or [1.0]).take(1)
    assert seen == [None] * 4
    assert sys.gettrace() is before


def test_latency_is_of_turns_that_follow_one_of_the_same_arm():
    numbers = iter(range(100))
    blocks = Blocks(lambda: [next(numbers)], lambda: [next(numbers)])
    blocks.take(3)  # A0 B1 B2 A3  A4 B5 B6 A7  A8 ...
    assert blocks.calls == {"reference": [4, 8], "candidate": [2, 6, 10]}


def test_workloads_cover_every_batch_size_and_length_by_texts_of_that_length():
    assert {(w.batch_size, w.length) for w in workloads("nightly")} == {
        (size, length) for size in (1, 8, 32, 128) for length in LENGTHS
    }
    assert {w.batch_size for w in workloads("standard")} == {1, 32}
    for load in WORKLOADS.values():
        lengths = [len(text) for call in load.calls for text in call]
        assert all(len(call) == load.batch_size for call in load.calls)
        assert max(abs(length - LENGTHS[load.length]) for length in lengths) <= 15
    assert len(texts_of("medium")) == len(set(texts_of("medium"))) == 1024
    assert len({load.sha256 for load in WORKLOADS.values()}) == len(WORKLOADS)


def test_noise_between_processes_asks_for_slack_and_noise_within_does_not():
    def process(ratio, spread, seed):
        random = np.random.default_rng(seed)
        return [(1.0, ratio * math.exp(random.normal(0, spread)), 9.0, 9.0) for _ in range(64)]

    steady = Noise.of([process(1, 0.02, s) for s in range(5)])
    moved = Noise.of([process(r, 0.001, s) for s, r in enumerate((0.96, 1.0, 1.03, 1.0, 0.98))])
    assert steady.slack <= 0.03 < moved.slack
    assert steady.block == pytest.approx(0.02, rel=0.2)
    assert moved.between == pytest.approx(np.std(np.log([0.96, 1.0, 1.03, 1.0, 0.98]), ddof=1), rel=0.05)
    quiet = Noise((1.0,), 0.005, 0.002)
    assert 0.04 < quiet.detectable(0.04, LEVELS, 0.05) < 0.055
    assert moved.detectable(0.04, LEVELS, 0.05) > quiet.detectable(0.04, LEVELS, 0.05) + 0.04
