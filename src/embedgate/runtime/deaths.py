"""How a process ended, as a person reads it."""

from __future__ import annotations

import signal
from contextlib import suppress
from pathlib import Path

# What the kernel counts of processes that it has ended since memory ran out; Linux alone has it.
_COUNTED_IN = Path("/proc/vmstat")
_COUNT = "oom_kill "
_KILLED = int(getattr(signal, "SIGKILL", 9))
TERMINATED = "was terminated (SIGTERM)"
_SIGNALS = {
    "SIGABRT": "aborted (SIGABRT)",
    "SIGBUS": "crashed (SIGBUS: memory that is not there, such as of a file that was cut short)",
    "SIGFPE": "crashed (SIGFPE: arithmetic that has no result)",
    "SIGILL": "crashed (SIGILL: an instruction that this CPU does not have)",
    "SIGSEGV": "crashed (SIGSEGV: memory that is not its own)",
    "SIGTERM": TERMINATED,
}


def out_of_memory() -> int:
    """How many processes the kernel has ended since memory ran out, on the whole machine; 0 where it is not known."""
    with suppress(OSError, ValueError):
        for line in _COUNTED_IN.read_text("ascii").splitlines():
            if line.startswith(_COUNT):
                return int(line.removeprefix(_COUNT))
    return 0


def how(status: int, counted_before: int = 0) -> str:
    """How a process ended, as what it did: "crashed (...)".

    Args:
        status: Its exit status; less than zero where a signal ended it.
        counted_before: What `out_of_memory` gave as it began.
    """
    if status >= 0:
        return f"ended its process with exit code {status}"
    if -status == _KILLED:
        ran_out = out_of_memory() > counted_before
        if ran_out:
            return "was killed (SIGKILL; meanwhile, the kernel has killed for want of memory)"
        return "was killed (SIGKILL, by the kernel where memory runs out, or somebody)"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return _SIGNALS.get(name, f"was ended by {name}")
