"""How a call is timed on a device."""

from __future__ import annotations

import time
from collections.abc import Callable

# Bytes to overwrite so that nothing of a model is left in the last-level cache: five times an H200's 50 MB.
FLUSHED = 256 * 2**20

Clock = Callable[[Callable[[], object]], float]


def clock_of(device: str) -> Clock:
    """Times a call in seconds by the wall, on CUDA with the device idle before and after."""
    return _cuda_clock() if device == "cuda" else wall


def wall(call: Callable[[], object]) -> float:
    """Wall time: what a sleep, a lock or another process costs counts, too."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _cuda_clock() -> Clock:
    """Wall time between two moments at which the device is idle.

    Not CUDA events: they measure one stream, torch's current one, and ONNX Runtime and TensorRT compute on streams of
    their own. An encoder gives an array in the host's memory, so its call ends when the device has computed it: wall
    time is what a caller waits, whatever the library, tokenising included.
    """
    import torch

    scratch = torch.empty(FLUSHED, dtype=torch.int8, device="cuda")

    def seconds(call: Callable[[], object]) -> float:
        scratch.zero_()  # between two requests, others pass through the cache
        torch.cuda.synchronize()  # of the device: every stream of this process

        def whole() -> None:
            call()
            torch.cuda.synchronize()  # a host project's encoder may return before it is done

        return wall(whole)

    return seconds
