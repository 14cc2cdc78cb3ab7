"""Which GPUs a process can compute on, told before it imports torch."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from embedgate.encoders.gpu import nvml

VARIABLE = "CUDA_VISIBLE_DEVICES"
PROC = Path("/proc/driver/nvidia/gpus")
# It takes seconds where no process keeps the driver awake.
TIMEOUT_SECONDS = 30


def gpus(environment: Mapping[str, str]) -> list[str]:
    """The GPUs that a process with an environment sees, each as `CUDA_VISIBLE_DEVICES` names it.

    Where the environment names some already, they are these; else what NVML lists, by UUID; without it, what
    `nvidia-smi` lists, or Linux's `/proc`, by place. A slice of a GPU (MIG) counts as one, since a process can compute
    on one alone.
    """
    if VARIABLE in environment:
        named = [part.strip() for part in environment[VARIABLE].split(",")]
        # CUDA sees nothing from the first that names nothing.
        end = next((place for place, part in enumerate(named) if part in ("", "-1")), len(named))
        return named[:end]
    if (uuids := nvml.uuids()) is not None:
        return uuids
    listed = _listed()
    if listed is not None:
        return _named(listed)
    return [str(place) for place, _ in enumerate(PROC.glob("*"))]


def _listed() -> str | None:
    try:
        done = subprocess.run(
            ["nvidia-smi", "-L"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _named(listed: str) -> list[str]:
    """GPUs by their place in the list; in place of one that is cut into slices, the slices by their UUIDs."""
    found: list[list[str]] = []
    for line in listed.splitlines():
        if re.match(r"GPU \d+:", line):
            found.append([str(len(found))])
        elif found and (part := re.search(r"\(UUID: (MIG-[^)]+)\)", line)):
            found[-1] = [*(name for name in found[-1] if name.startswith("MIG-")), part[1]]
    return [name for names in found for name in names]
