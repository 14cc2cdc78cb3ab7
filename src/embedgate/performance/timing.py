"""The two arms of a timing: a combination and its reference, built for it and warmed up."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from embedgate.core.errors import BuildError, GateError, one_line
from embedgate.core.machine import default_threads
from embedgate.core.quantiles import at_most
from embedgate.encoders import Encoder
from embedgate.encoders.gpu.clock import clock_of
from embedgate.performance.paired import Aim, Blocks, Ratio, Row, candidate_seconds, compare, reference_seconds
from embedgate.performance.workloads import LATENCY, Workload

if TYPE_CHECKING:
    from embedgate.core.combination import Combination
    from embedgate.runtime.session import Session

WARM_UP = 2
# Bytes to free once before anything is timed. Having freed a large block, glibc's malloc no longer gives every large
# one back to the system to take it anew, page by page. A process that has encoded a large batch is in that state, a
# fresh one is not, and there fp32 in batches of 32 takes 10% longer.
SETTLES_MALLOC = 31 * 2**20


class Timing:
    """Times combinations of a session's model against their references.

    Both arms are built with one thread less than there are cores, or as many as the session uses where that is fewer: a
    pool that takes all cores waits for the one that a neighbour holds, so its time is the neighbour's; and pools of two
    backends, each spinning on every core, slow each other down. Measured: see docs/budgets.md. Tokenizers keep to one
    thread as well, unless the environment says otherwise.

    Args:
        session: Builds the arms.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.threads = spare_threads(session.threads)
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        np.empty(SETTLES_MALLOC, np.uint8)

    def blocks(self, combination: Combination, workload: Workload) -> Blocks:
        """Turns of a combination and its reference, both built and warm.

        Raises:
            GateError: If one of them cannot be built or does not encode.
        """
        session, clock = self._session, clock_of(combination.device)
        arms = (
            session.timed("reference", combination.reference, self.threads),
            session.timed("candidate", combination, self.threads),
        )
        calls = workload.calls

        def turn(encoder: Encoder) -> Sequence[float]:
            return [clock(lambda call=call: encoder.encode(call, workload.batch_size)) for call in calls]  # type: ignore[misc]

        for encoder in arms:
            try:
                for _ in range(WARM_UP):
                    turn(encoder)
            except GateError:
                raise
            except Exception as error:
                raise BuildError(f"{combination} failed on {workload}: {one_line(error)}") from error
        reference, candidate = arms
        return Blocks(lambda: turn(reference), lambda: turn(candidate))

    def other_threads(self, combination: Combination) -> int | None:
        """Threads of a host project's own encoder, where it tells of others than it was to have.

        A factory is not told how many to use; only torch's pool is set for it.
        """
        if self._session.registry.factory(combination) is None:
            return None
        told = self._session.timed("candidate", combination, self.threads).evidence().threads
        return told if told not in (0, self.threads) else None

    def rows(self, combination: Combination, workload: Workload, aim: Aim) -> list[Row]:
        """The turns it takes to see on which side of a limit a combination is."""
        blocks = self.blocks(combination, workload)
        compare(blocks, aim)
        return blocks.rows

    def tokenise_seconds(self, workload: Workload) -> float | None:
        """Least seconds of three to tokenise the texts of a turn; None where the model's tokenizer is not known."""
        tokenizer = self._session.tokenizer
        if tokenizer is None:
            return None
        found = []
        for _ in range(3):
            started = time.perf_counter()
            for call in workload.calls:
                for _batch in tokenizer.batches(call, workload.batch_size):
                    pass
            found.append(time.perf_counter() - started)
        return min(found)


def figures_of(load: Workload, blocks: Blocks, found: Ratio, timing: Timing, notes: Sequence[str]) -> dict[str, Any]:
    """What was measured, as JSON values."""
    mine = float(np.median(candidate_seconds(blocks.rows)))
    theirs = float(np.median(reference_seconds(blocks.rows)))
    tokenise = timing.tokenise_seconds(load)
    figures: dict[str, Any] = {
        "ratio": found.median,
        "low": found.low,
        "high": found.high if math.isfinite(found.high) else None,
        "blocks": found.blocks,
        "threads": timing.threads,
        "texts_per_second": load.texts / mine,
        "reference_texts_per_second": load.texts / theirs,
        "ms_per_text": 1e3 * mine / load.texts,
        "tokenise_ms_per_text": None if tokenise is None else 1e3 * tokenise / load.texts,
        "disturbed_by": list(notes),
    }
    if load.id == LATENCY:
        for arm, calls in blocks.calls.items():
            figures[f"{arm}_latency_ms"] = _latency(calls)
    return figures


def _latency(calls: Sequence[float]) -> dict[str, float | int | None]:
    """Quantiles of single calls in milliseconds, and what each is at most; None where so few calls cannot tell."""
    found: dict[str, float | int | None] = {"n": len(calls)}
    for name, quantile in (("p50", 0.5), ("p95", 0.95)):
        bound = at_most(calls, quantile)
        found[name] = None if bound is None else float(np.quantile(calls, quantile)) * 1e3
        found[f"{name}_at_most"] = None if bound is None else bound * 1e3
    return found


def spare_threads(threads: int) -> int:
    """Threads that leave one of the machine's cores to others, where there are two or more."""
    return max(1, min(threads, default_threads() - 1))
