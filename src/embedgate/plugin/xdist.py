"""Which GPU each process of pytest-xdist computes on."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def gpu_for_next(found: Sequence[str], taken: Collection[str]) -> str | None:
    """The GPU of the next process: the first that the fewest have; None where there is nothing to choose from.

    Args:
        found: The GPUs there are.
        taken: The GPU of each process that lives.
    """
    return min(found, key=list(taken).count) if len(found) > 1 else None


def shared(workers: int, found: Sequence[str]) -> str:
    """Tells what a person is to know where several processes compute on one GPU; empty where none do."""
    if not found or workers <= len(found):
        return ""
    these = "1 GPU" if len(found) == 1 else f"{len(found)} GPUs"
    return f"embedgate: {workers} processes share {these}, and with it the memory"
