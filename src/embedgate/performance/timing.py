"""The two arms of a timing: a combination and its reference, built for it and warmed up."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from embedgate.core.errors import BuildError, GateError, one_line
from embedgate.core.machine import default_threads
from embedgate.core.quantiles import at_most
from embedgate.encoders import Encoder
from embedgate.encoders.gpu.clock import clock_of
from embedgate.performance.figures import Latency, SpeedFigures
from embedgate.performance.paired import Aim, Blocks, Ratio, Row, candidate_seconds, compare, reference_seconds
from embedgate.performance.workloads import LATENCY, Workload

if TYPE_CHECKING:
    from embedgate.core.combination import Combination
    from embedgate.core.model import Model
    from embedgate.encoders.onnx.tokenizer import Tokenizer
    from embedgate.encoders.registry import Registry

WARM_UP = 2
# Bytes to free once before anything is timed. Having freed a large block, glibc's malloc no longer gives every large
# one back to the system to take it anew, page by page. A process that has encoded a large batch is in that state, a
# fresh one is not, and there fp32 in batches of 32 takes 10% longer.
SETTLES_MALLOC = 31 * 2**20


class Arms(Protocol):
    """Who builds what is timed."""

    @property
    def threads(self) -> int:
        """Threads that it uses itself."""

    @property
    def model(self) -> Model:
        """The model to gate."""

    @property
    def registry(self) -> Registry:
        """The combinations there are."""

    @property
    def tokenizer(self) -> Tokenizer | None:
        """The model's; None where it has none that can be loaded by itself."""

    def timed(self, arm: str, combination: Combination, threads: int) -> Encoder:
        """An encoder built to be timed, and kept until another takes its place (`reference` or `candidate`)."""


class Timing:
    """Times combinations of one model against their references.

    Both arms are built with one thread less than there are cores, or as many as the session uses where that is fewer: a
    pool that takes all cores waits for the one that a neighbour holds, so its time is the neighbour's; and pools of two
    backends, each spinning on every core, slow each other down. Measured: see docs/budgets.md. Tokenizers keep to one
    thread as well (see `embedgate.runtime.session`), unless the environment says otherwise.

    Args:
        arms: Builds them.
    """

    def __init__(self, arms: Arms) -> None:
        self._arms = arms
        self.threads = spare_threads(arms.threads)
        np.empty(SETTLES_MALLOC, np.uint8)

    def blocks(self, combination: Combination, workload: Workload) -> Blocks:
        """Turns of a combination and its reference, both built and warm.

        Raises:
            GateError: If one of them cannot be built or does not encode.
        """
        clock = clock_of(combination.device)
        reference = self._arms.timed("reference", combination.reference, self.threads)
        candidate = self._arms.timed("candidate", combination, self.threads)
        calls, role = workload.calls, self._arms.model.roles[workload.role]

        def turn(encoder: Encoder) -> Sequence[float]:
            with encoder.together():
                return [clock(lambda call=call: encoder.encode_as(role, call, workload.batch_size)) for call in calls]  # type: ignore[misc]

        for encoder in (reference, candidate):
            try:
                for _ in range(WARM_UP):
                    turn(encoder)
            except GateError:
                raise
            except Exception as error:
                raise BuildError(f"{combination} failed on {workload}: {one_line(error)}") from error
        return Blocks(lambda: turn(reference), lambda: turn(candidate))

    def other_threads(self, combination: Combination) -> int | None:
        """Threads of a host project's own encoder, where it tells of others than it was to have.

        A factory is not told how many to use; only torch's pool is set for it.
        """
        if self._arms.registry.source(combination).takes_threads:
            return None
        told = self._arms.timed("candidate", combination, self.threads).evidence().threads
        return told if told not in (0, self.threads) else None

    def rows(self, combination: Combination, workload: Workload, aim: Aim) -> list[Row]:
        """The turns it takes to see on which side of a limit a combination is."""
        blocks = self.blocks(combination, workload)
        compare(blocks, aim)
        return blocks.rows

    def tokenise_seconds(self, workload: Workload) -> float | None:
        """Least seconds of three to tokenise the texts of a turn; None where the model's tokenizer is not known."""
        tokenizer = self._arms.tokenizer
        if tokenizer is None:
            return None
        found, role = [], self._arms.model.roles[workload.role]
        for _ in range(3):
            started = time.perf_counter()
            for call in workload.calls:
                for _batch in tokenizer.batches(role.prompted(call), workload.batch_size):
                    pass
            found.append(time.perf_counter() - started)
        return min(found)


def figures_of(
    load: Workload, blocks: Blocks, found: Ratio, threads: int, tokenise: float | None, notes: Sequence[str]
) -> SpeedFigures:
    """Returns the figures that were measured of a workload.

    Args:
        load: The workload.
        blocks: Its turns.
        found: The ratio they came to.
        threads: Threads of both arms.
        tokenise: Seconds that tokenising the texts of a turn takes; None where that is not known.
        notes: What disturbed them.
    """
    mine = float(np.median(candidate_seconds(blocks.rows)))
    theirs = float(np.median(reference_seconds(blocks.rows)))
    latency = {arm: _latency(calls) if load.id == LATENCY else None for arm, calls in blocks.calls.items()}
    return SpeedFigures(
        ratio=found.median,
        low=found.low,
        high=found.high if math.isfinite(found.high) else None,
        blocks=found.blocks,
        threads=threads,
        texts_per_second=load.texts / mine,
        reference_texts_per_second=load.texts / theirs,
        ms_per_text=1e3 * mine / load.texts,
        tokenise_ms_per_text=None if tokenise is None else 1e3 * tokenise / load.texts,
        disturbed_by=tuple(notes),
        candidate_latency_ms=latency["candidate"],
        reference_latency_ms=latency["reference"],
    )


def _latency(calls: Sequence[float]) -> Latency:
    return Latency(len(calls), *_milliseconds(calls, 0.5), *_milliseconds(calls, 0.95))


def _milliseconds(calls: Sequence[float], quantile: float) -> tuple[float | None, float | None]:
    """A quantile of single calls, and what it is at most; None where so few calls cannot tell."""
    bound = at_most(calls, quantile)
    return (None, None) if bound is None else (float(np.quantile(calls, quantile)) * 1e3, bound * 1e3)


def spare_threads(threads: int) -> int:
    """Threads that leave one of the machine's cores to others, where there are two or more."""
    return max(1, min(threads, default_threads() - 1))
