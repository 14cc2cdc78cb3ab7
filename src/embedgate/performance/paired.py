"""A candidate's time as a ratio to a reference's, both timed in turns in one process.

A block is four turns: reference, candidate, candidate, reference (ABBA). A linear drift of the machine's speed cancels
in it. Of an arm's two turns the faster counts: what disturbs a turn only ever slows it. Within endless ABBA, each arm
has one turn after the other arm's, when caches hold the other's weights, and one after its own; so the faster is a warm
one for both. (Blocks that alternate with BAAB would give one arm two cold turns in every second block: their ratios
swing by several percent from block to block.)

What is estimated is the median over blocks of the ratio of the two times. Its interval is made of order statistics
(`embedgate.core.quantiles`), as the sign test's is: exact for any distribution of independent blocks, however large the
ratios of those that a neighbour's load disturbed. A bootstrap would have to take its tails from eight blocks.
"""

from __future__ import annotations

import gc
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from embedgate.core.judgement import Verdict
from embedgate.core.quantiles import at_least, at_most

# Runs one turn of an arm; the seconds of each of its calls.
Turn = Callable[[], Sequence[float]]
# Seconds of the four turns of a block: reference, candidate, candidate, reference.
Row = tuple[float, float, float, float]

# Blocks after which a verdict is tried; at the last it stays open where it is.
LOOKS = (8, 16, 32, 64)
# No further look is begun where it would end later than this many seconds after the first turn.
CAP_SECONDS = 40.0
# Blocks where a ratio is recorded and not judged.
TO_RECORD = 16


class Benchmark(Protocol):
    """The part of pytest-benchmark's fixture that is used."""

    disabled: bool
    extra_info: dict[str, Any]

    def pedantic(
        self, target: Callable[[], object], *, setup: Callable[[], None], teardown: Callable[[], None], rounds: int
    ) -> object:
        """Times `target` that many times, `setup` and `teardown` around each."""


@dataclass
class Blocks:
    """Takes turns, block after block.

    Attributes:
        reference: Runs the reference's turn.
        candidate: Runs the candidate's turn.
        rows: The seconds of each turn of each block so far: `[block][reference, candidate, candidate, reference]`.
        calls: The seconds of each call of the candidate's second turn of each block, and of the reference's that follow
            one of its own: those that find their own weights in the caches.
        seconds: Wall time of taking them.
        elsewhere: Whether turns run in another process, which keeps them undisturbed itself.
    """

    reference: Turn
    candidate: Turn
    rows: list[Row] = field(default_factory=list)
    calls: dict[str, list[float]] = field(default_factory=lambda: {"reference": [], "candidate": []})
    elsewhere: bool = False
    seconds: float = 0.0
    _open: list[Sequence[float]] = field(default_factory=list)

    def before(self) -> None:
        """Takes the reference's turn that goes before one of the candidate's, where a block begins."""
        if not self._open:
            self._open.append(self.reference())

    def turn(self) -> None:
        """A turn of the candidate's; one that no reference's went before, as a profiler's, counts for nothing."""
        seconds = self.candidate()
        if self._open:
            self._open.append(seconds)

    def after(self) -> None:
        """Takes the reference's turn that goes after one of the candidate's, where a block ends."""
        if len(self._open) < 3:
            return
        self._open.append(self.reference())
        first, second, third, fourth = (math.fsum(turn) for turn in self._open)
        if self.rows:  # the very first turn follows none of its own
            self.calls["reference"].extend(self._open[0])
        self.calls["candidate"].extend(self._open[2])
        self.rows.append((first, second, third, fourth))
        self._open.clear()

    def take(self, blocks: int, benchmark: Benchmark | None = None) -> None:
        """Takes that many blocks more, the candidate's turns timed by pytest-benchmark as well where it is given."""
        with nullcontext() if self.elsewhere else undisturbed():
            if benchmark is not None:
                benchmark.pedantic(self.turn, setup=self.before, teardown=self.after, rounds=2 * blocks)
                return
            for _ in range(2 * blocks):
                self.before()
                self.turn()
                self.after()


def reference_seconds(rows: Sequence[Row]) -> npt.NDArray[np.float64]:
    """The reference's faster turn, a value per block."""
    found: npt.NDArray[np.float64] = np.asarray(rows, dtype=np.float64)[:, [0, 3]].min(axis=1)
    return found


def candidate_seconds(rows: Sequence[Row]) -> npt.NDArray[np.float64]:
    """The candidate's faster turn, a value per block."""
    found: npt.NDArray[np.float64] = np.asarray(rows, dtype=np.float64)[:, 1:3].min(axis=1)
    return found


def ratios(rows: Sequence[Row]) -> npt.NDArray[np.float64]:
    """The candidate's time divided by the reference's, a value per block."""
    return candidate_seconds(rows) / reference_seconds(rows)


@dataclass(frozen=True)
class Levels:
    """How sure a verdict must be: candidates at the edge of their budgets make a session red `alpha` of the time.

    Levels are one-sided and shared by all looks (Bonferroni). A red verdict takes two measurements, here and in a fresh
    process, so each may err by the square root of what both together may. That holds as far as they err independently;
    they share the machine and its neighbours, so what keeps a sound candidate green is first of all the slack.

    Attributes:
        alpha: Level of the session.
        checks: How many checks of time it has.
        each: How many budgets each of them judges.
    """

    alpha: float
    checks: int
    each: int = 1

    @property
    def share(self) -> float:
        """What one budget has of alpha."""
        return self.alpha / (max(1, self.checks) * self.each)

    @property
    def to_pass(self) -> float:
        """Level of the interval's upper end: how often a candidate beyond its budget may pass."""
        return self.alpha / len(LOOKS)

    @property
    def to_fail(self) -> float:
        """Level of its lower end, in each of the two measurements that a red verdict takes."""
        return math.sqrt(self.share) / len(LOOKS)

    def among(self, checks: int) -> Levels:
        """The levels of a session that has so many checks of time."""
        return replace(self, checks=checks)


@dataclass(frozen=True)
class Aim:
    """The purpose of a measurement.

    Attributes:
        limit: The largest ratio that is within budget; None where there is nothing to judge, but a ratio to record.
        levels: How sure to be.
        blocks: How many to take where there is no limit.
    """

    limit: float | None
    levels: Levels
    blocks: int = TO_RECORD


@dataclass(frozen=True)
class Ratio:
    """The ratio that was measured.

    Attributes:
        median: Median over blocks of the candidate's time divided by the reference's.
        low: Lower end of its interval; 0 where there are too few blocks for the level.
        high: Upper end; infinite where there are too few blocks.
        blocks: How many.
        verdict: `pass` where `high` is within the limit, `fail` where `low` is beyond it, else `inconclusive`.
    """

    median: float
    low: float
    high: float
    blocks: int
    verdict: Verdict


def compare(
    blocks: Blocks,
    aim: Aim,
    *,
    benchmark: Benchmark | None = None,
    looks: Sequence[int] = LOOKS,
    cap_seconds: float = CAP_SECONDS,
    clock: Callable[[], float] = time.perf_counter,
) -> Ratio:
    """Takes blocks until it is clear on which side of a limit the ratio is; `aim.blocks` where there is none.

    Args:
        blocks: Takes the turns; both arms are warm.
        aim: What it is for.
        benchmark: pytest-benchmark's fixture, which times the candidate's turns of the first look as well.
        looks: After how many blocks a verdict is tried.
        cap_seconds: No look is begun that would end later than this; the first always is.
        clock: Tells the time for the cap.
    """
    if aim.limit is None:
        looks = [*range(looks[0], aim.blocks, looks[0]), aim.blocks]
    for look in looks:
        taken = len(blocks.rows)
        if taken and look * blocks.seconds / taken > cap_seconds and look > looks[0]:
            break
        if look > taken:
            started = clock()
            blocks.take(look - taken, benchmark if not taken else None)
            blocks.seconds += clock() - started
        found = judge(blocks.rows, aim)
        if found.verdict != "inconclusive":
            break
    return found


def judge(rows: Sequence[Row], aim: Aim) -> Ratio:
    """Tells what the ratios of blocks say about a limit."""
    return hold(ratios(rows), aim)


def hold(values: npt.NDArray[np.float64], aim: Aim) -> Ratio:
    """Tells what values, one per block, say about a limit; where there is none, they are inconclusive."""
    low, high = lower_end(values, aim.levels.to_fail), upper_end(values, aim.levels.to_pass)
    verdict: Verdict = "inconclusive"
    if aim.limit is not None:
        verdict = "fail" if low > aim.limit else "pass" if high <= aim.limit else "inconclusive"
    return Ratio(float(np.median(values)), low, high, len(values), verdict)


def lower_end(values: npt.ArrayLike, level: float) -> float:
    """Lower end of an interval of the median of positive values, one-sided; 0 where there are too few."""
    low = at_least(values, 0.5, level)
    return 0.0 if low is None else low


def upper_end(values: npt.ArrayLike, level: float) -> float:
    """Upper end of an interval of the median of positive values, one-sided; infinite where there are too few."""
    high = at_most(values, 0.5, level)
    return math.inf if high is None else high


@contextmanager
def undisturbed(*, collect: bool = True) -> Iterator[None]:
    """Keeps Python's collector and tracers out of turns: the first would hit one arm with what both have left.

    Args:
        collect: Whether garbage is collected before.
    """
    was_on = gc.isenabled()
    tracing, profiling = sys.gettrace(), sys.getprofile()
    if collect:
        gc.collect()
    gc.disable()
    sys.settrace(None)
    sys.setprofile(None)
    try:
        yield
    finally:
        sys.settrace(tracing)
        sys.setprofile(profiling)
        if was_on:
            gc.enable()
