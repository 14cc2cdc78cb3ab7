"""The GPU this process computes on, as CUDA and the driver tell; torch is imported when something is asked.

All that embedgate knows of GPUs is here: `nvml` asks the driver, `listing` says which GPUs there are, `device_memory`
watches what a combination takes, `clock` times it, and `stream` is CUDA for the encoders that run outside torch.
"""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from embedgate.encoders.gpu import nvml

DRIVER = Path("/proc/driver/nvidia/version")


def name() -> str | None:
    """The name of the GPU that CUDA sees first, for example `NVIDIA H200`; None where it sees none."""
    import torch

    try:
        return str(torch.cuda.get_device_name(0)) if torch.cuda.is_available() else None
    except RuntimeError:  # a driver that does not start is told of by whoever computes on it
        return None


def versions() -> dict[str, str]:
    """Versions of CUDA and of the driver, by the names they have in baselines; what is not told is left out."""
    import torch

    found = {"cuda": torch.version.cuda} if torch.version.cuda else {}
    if driver := nvml.driver_version() or _driver_of_linux():
        found["nvidia-driver"] = driver
    return found


def memory() -> tuple[int, int] | None:
    """Free bytes of the GPU and all it has; None where this process does not use it, or the device does not answer."""
    cuda = _in_use()
    if cuda is None:
        return None
    try:
        free, total = cuda.mem_get_info(0)
    except RuntimeError:
        return None
    return int(free), int(total)


def memory_told() -> str:
    """How much memory the GPU has left and who holds it, in words; empty where it is not known."""
    found, cuda = memory(), _in_use()
    if found is None or cuda is None:
        return ""
    free, total = found
    return f"{free / 1e9:.1f} of {total / 1e9:.1f} GB free, {cuda.memory_reserved(0) / 1e9:.1f} GB held by torch here"


def works() -> bool | None:
    """Whether the GPU still answers this process; None where this process does not use it."""
    cuda = _in_use()
    if cuda is None:
        return None
    try:
        cuda.synchronize()
    except RuntimeError:
        return False
    return True


def release() -> None:
    """Gives memory that torch keeps for later back to the GPU."""
    cuda = _in_use()
    if cuda is not None:
        with suppress(RuntimeError):  # as everything is in a broken context
            cuda.empty_cache()


def _driver_of_linux() -> str:
    with suppress(OSError):
        told = re.search(r"Kernel Module.*?\s(\d+(?:\.\d+)+)\s", DRIVER.read_text("utf-8", errors="replace"))
        if told:
            return told[1]
    return ""


def _in_use() -> Any:
    """torch.cuda where this process has begun to use it: asking would begin it, which costs time and memory."""
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    return cuda if cuda is not None and cuda.is_initialized() else None
