"""The machine's other activity while something is timed."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

# What is worth a line: cores that others kept busy, share of time a hypervisor took, change of speed or clock.
BUSY_CORES = 0.25
STOLEN = 0.01
CHANGED = 0.10
_THROTTLED = "devices/system/cpu/cpu*/thermal_throttle/core_throttle_count"


@dataclass(frozen=True)
class _Reading:
    wall: float
    busy: float
    own: float
    stolen: float
    megahertz: float | None
    throttled: int


class Watch:
    """Notes the state of the machine when it is made, and tells what happened since.

    Processes that this one started and that have ended count as its own.

    Args:
        sys: Where Linux tells about its CPUs.
        beside: Another process that counts as its own while it lives.
    """

    def __init__(self, sys: Path = Path("/sys"), beside: int | None = None) -> None:
        self._sys = sys
        self._beside = beside
        self._before = self._read()

    def notes(self, reference_seconds: Sequence[float] | np.ndarray = ()) -> tuple[str, ...]:
        """Tells what may have disturbed a measurement, one line each; empty where nothing did.

        Args:
            reference_seconds: The reference's own time, turn after turn. It does the same work each time, so where it
                changes, the machine did.
        """
        before, after = self._before, self._read()
        wall = max(after.wall - before.wall, 1e-9)
        found = []
        others = (after.busy - before.busy - (after.own - before.own)) / wall
        if others > BUSY_CORES:
            found.append(f"other processes kept {others:.1f} of {psutil.cpu_count()} cores busy")
        stolen = (after.stolen - before.stolen) / (wall * (psutil.cpu_count() or 1))
        if stolen > STOLEN:
            found.append(f"the hypervisor took {stolen:.0%} of the CPU time")
        if after.throttled > before.throttled:
            found.append(f"the CPU hit its thermal limit {after.throttled - before.throttled} times")
        if before.megahertz and after.megahertz and abs(after.megahertz / before.megahertz - 1) > CHANGED:
            found.append(f"the CPU's clock went from {before.megahertz:.0f} to {after.megahertz:.0f} MHz")
        quarter = len(reference_seconds) // 4
        if quarter >= 2:
            change = float(np.median(reference_seconds[-quarter:]) / np.median(reference_seconds[:quarter])) - 1
            if abs(change) > CHANGED:
                found.append(f"the reference itself became {abs(change):.0%} {'slower' if change > 0 else 'faster'}")
        return tuple(found)

    def _read(self) -> _Reading:
        times = psutil.cpu_times()
        own = sum(map(_seconds_of, filter(None, (os.getpid(), self._beside))))
        idle = times.idle + getattr(times, "iowait", 0.0)
        # Linux counts a guest's time within the user's.
        stolen = getattr(times, "steal", 0.0)
        busy = sum(times) - idle - stolen - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        try:
            frequency = psutil.cpu_freq()
        except (OSError, NotImplementedError, RuntimeError):
            frequency = None
        throttled = 0
        for file in self._sys.glob(_THROTTLED):
            try:
                throttled += int(file.read_text())
            except (OSError, ValueError):
                continue
        return _Reading(
            time.perf_counter(),
            busy,
            own,
            stolen,
            frequency.current if frequency else None,
            throttled,
        )


def _seconds_of(process: int) -> float:
    """CPU time of a process and of those that it started and that have ended; 0 where it has ended."""
    try:
        times = psutil.Process(process).cpu_times()
    except psutil.Error:
        return 0.0
    children = getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    return float(times.user + times.system + children)
