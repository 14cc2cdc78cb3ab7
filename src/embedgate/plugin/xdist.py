"""Processes of pytest-xdist: which GPU each computes on, and whose fault it is where one ends."""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Sequence

import pytest

from embedgate.plugin.bench import BENCH

# As the plugin makes the ids of tests: a combination's id among those of other parameters, joined by hyphens.
_COMBINATION = re.compile(r"\[(?:[^]]*?-)??([^-\[\]]+-[^-\[\]]+-(?:cpu|cuda))(?=[-\]])")


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


def combination_of(nodeid: str) -> str:
    """The id of the combination that a test is about, as its own id says; empty for none."""
    found = _COMBINATION.search(nodeid)
    return found[1] if found else ""


def tell_crash(config: pytest.Config, report: pytest.TestReport, nodeid: str, scheduling: object) -> None:
    """Makes an error of its combination of a test in which a process of pytest-xdist has ended.

    What is left of a combination that ended several is told as lost.
    """
    from embedgate.core.combination import Combination
    from embedgate.report.records import Record

    known = config.stash[BENCH].known_ids
    if not (id_ := combination_of(nodeid)) or (known and id_ not in known):
        return
    name, is_reference = nodeid.rpartition("::")[2], Combination.parse(id_).is_reference
    message = f"{id_} ended a process of pytest-xdist in {name}; run it alone, without -n: --gate-combination {id_}"
    report.longrepr = message
    report.gate = Record(id_, is_reference, error=message).to_builtins()  # type: ignore[attr-defined]
    given_up: dict[str, list[str]] = getattr(scheduling, "given_up", {})
    for left in given_up.pop(id_, ()):
        other = copy.copy(report)
        other.nodeid, other.location = left, (left.partition("::")[0], None, left)
        config.hook.pytest_runtest_logreport(report=other)
