"""How a call is timed on a device."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

# Bytes to overwrite so that nothing of a model is left in the last-level cache: five times an H200's 50 MB.
FLUSHED = 256 * 2**20

Clock = Callable[[Callable[[], object]], float]


def clock_of(device: str) -> Clock:
    """Times a call in seconds: by the wall, or on CUDA by events on the stream."""
    return _cuda_clock() if device == "cuda" else wall


def wall(call: Callable[[], object]) -> float:
    """Wall time: what a sleep, a lock or another process costs counts, too."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _cuda_clock() -> Clock:
    import torch

    event: Any = torch.cuda.Event
    scratch = torch.empty(FLUSHED, dtype=torch.int8, device="cuda")

    def seconds(call: Callable[[], object]) -> float:
        scratch.zero_()  # between two requests, others pass through the cache
        start, end = event(enable_timing=True), event(enable_timing=True)
        torch.cuda.synchronize()
        start.record()
        call()
        end.record()
        torch.cuda.synchronize()
        return float(start.elapsed_time(end)) / 1000

    return seconds
