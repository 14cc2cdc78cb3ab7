"""What kind of machine this is for embedding work, in some seconds: a budget of time judges on one that is alike.

Machines of one name and the same flags compute differently: on one, float16 products take a third of float32's time, on
another as long. So a machine is told by what it does. Budgets are ratios to fp32's time, and so is what counts here:
products of each type and small operations, all beside float32 products. (Copies within memory were measured too. They
took five times as long beside a neighbour, so they tell neighbours and no machines.)

Calls of all kinds take turns, so that a neighbour shifts all alike. A turn is a few calls, of which the fastest counts:
it finds its own numbers in the caches. Of the turns, again the fastest counts, and on one thread the CPU's time, since
a busy machine takes most of the calls' time away: by medians of wall time, float16 products were then seen at 0.3 to
3.5 times float32's speed, and so at 0.96 to 1.17.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, TypeAlias

import msgspec
import numpy as np

from embedgate.core.files import MOST
from embedgate.performance.timing import SETTLES_MALLOC

# Rows, inner and outer width: a batch of 8 texts of 16 tokens in the widest layer of a small model.
ROWS, INNER, OUTER = 128, 384, 1536
FLOP = 2 * ROWS * INNER * OUTER
# Small operations in one call.
SMALL = 100
CALLS, ROUNDS, FEWEST, SECONDS = 5, 60, 12, 6.0
# A type that takes so many times as long as float32 is emulated; it is not timed any further.
EMULATED = 20.0

Positive: TypeAlias = Annotated[float, msgspec.Meta(gt=0, lt=1e12)]


@dataclass(frozen=True)
class Probe:
    """What was measured of a machine.

    Attributes:
        threads: Threads that it was measured with.
        gflops: Float32 products, in 10^9 operations a second; shown, and never compared.
        bf16: How many times as fast as float32 products those in bfloat16 are; None where there are none here.
        fp16: The same of float16.
        int8: The same of int8.
        small: Float32 operations, in thousands, in the time of one small operation.
        gain: How many times as fast as one thread all of `threads` are.
    """

    threads: Annotated[int, msgspec.Meta(ge=1, le=MOST)]
    gflops: Positive
    bf16: Positive | None
    fp16: Positive | None
    int8: Positive | None
    small: Positive
    gain: Positive


# What is compared, by how much it varies between sessions of one machine, with and without a neighbour
# (docs/budgets.md), and how a difference is told.
COMPARED = {
    "bf16": (1.8, "its bf16 products are {} times as fast as fp32's, here {}"),
    "fp16": (1.8, "its fp16 products are {} times as fast as fp32's, here {}"),
    "int8": (1.8, "its int8 products are {} times as fast as fp32's, here {}"),
    "small": (1.8, "its small operations take the time of {} thousand fp32 operations, here {}"),
    "gain": (1.4, "its threads together are {} times as fast as one, here {}"),
}


def difference(probe: Probe, approved: Sequence[Probe]) -> str:
    """Tells what a machine does otherwise than those of approved sessions; empty where nothing is.

    Args:
        probe: What was measured of this machine.
        approved: What was measured in the sessions that approved; one at least.
    """
    worst, told = 0.0, ""
    for name, (varies, words) in COMPARED.items():
        here, seen = getattr(probe, name), [value for each in approved if (value := getattr(each, name)) is not None]
        if here is None and not seen:
            continue
        if here is None or not seen:
            return words.format(*(f"{value:.3g}" if value else "not there" for value in (max(seen, default=0), here)))
        nearest = min(max(here, min(seen)), max(seen))
        beyond = abs(math.log(here / nearest)) - math.log(varies)
        if beyond > worst:
            worst, told = beyond, words.format(f"{nearest:.3g}", f"{here:.3g}")
    return told


def measure(threads: int, clock: Callable[[], float] | None = None) -> Probe:
    """Measures this machine.

    Args:
        threads: Threads that products are computed with, as many as timing uses.
        clock: Tells the time in seconds; the CPU's or the wall's where None.
    """
    now = clock or _clock(threads)
    with _threads(threads) as set_threads:
        np.empty(SETTLES_MALLOC, np.uint8)
        calls = _calls()
        if threads > 1:
            calls["alone"] = _alone(calls["fp32"], set_threads, threads)
        warm = {name: _turn(call, now) for name, call in calls.items()}
        emulated = {name for name in TYPES if warm.get(name, 0.0) > EMULATED * warm["fp32"]}
        found: dict[str, list[float]] = {name: [] for name in calls if name not in emulated}
        started = time.perf_counter()
        for done in range(ROUNDS):
            if done >= FEWEST and time.perf_counter() - started > SECONDS:
                break
            for name, turns in found.items():
                turns.append(_turn(calls[name], now))
    took = warm | {name: min(turns) for name, turns in found.items()}
    fp32 = took["fp32"]
    types = {name: _rounded(fp32 / took[name]) if name in took else None for name in TYPES}
    return Probe(
        threads=threads,
        gflops=_rounded(FLOP / fp32 / 1e9),
        small=_rounded(took["small"] / SMALL / fp32 * (FLOP / 1e3)),
        gain=_rounded(took.get("alone", fp32) / fp32),
        **types,
    )


TYPES = ("bf16", "fp16", "int8")


def _calls() -> dict[str, Callable[[], object]]:
    """What is timed, by name; without the types that torch cannot multiply here."""
    import torch

    generator = torch.Generator().manual_seed(0)
    texts = torch.randn(ROWS, INNER, generator=generator)
    weights = torch.randn(OUTER, INNER, generator=generator)
    few = torch.zeros(8)

    def small() -> None:
        for _ in range(SMALL):
            torch.add(few, few)

    def linear(kind: torch.dtype) -> Callable[[], object]:
        left, right = texts.to(kind), weights.to(kind)
        return lambda: torch.nn.functional.linear(left, right)

    codes, others = (16 * texts).to(torch.int8), (16 * weights).to(torch.int8).t()
    calls: dict[str, Callable[[], object]] = {
        "fp32": linear(torch.float32),
        "small": small,
    }
    types = {
        "bf16": linear(torch.bfloat16),
        "fp16": linear(torch.float16),
        "int8": lambda: torch._int_mm(codes, others),
    }
    return calls | {name: call for name, call in types.items() if _works(call)}


def _works(call: Callable[[], object]) -> bool:
    try:
        call()
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    return True


def _alone(call: Callable[[], object], set_threads: Callable[[int], None], threads: int) -> Callable[[], object]:
    """A call on one thread."""

    def alone() -> None:
        set_threads(1)
        try:
            call()
        finally:
            set_threads(threads)

    return alone


def _clock(threads: int) -> Callable[[], float]:
    """The CPU's time where one thread computes and the system tells it finely, which others' time is no part of."""
    fine = time.get_clock_info("thread_time").resolution < 1e-5
    return time.thread_time if threads == 1 and fine else time.perf_counter


def _turn(call: Callable[[], object], clock: Callable[[], float]) -> float:
    """The least seconds of a few calls."""
    found = []
    for _ in range(CALLS):
        started = clock()
        call()
        found.append(clock() - started)
    return max(min(found), 1e-9)


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


@contextmanager
def _threads(threads: int) -> Iterator[Callable[[int], None]]:
    """Has torch use so many threads and no gradients, and gives back how many it used before."""
    import torch

    was = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            yield torch.set_num_threads
    finally:
        torch.set_num_threads(was)
