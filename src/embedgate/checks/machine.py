"""The machine that a session runs on, as it computes."""

from __future__ import annotations

from embedgate.checks.context import Context, measuring
from embedgate.performance.probe import Probe, measure
from embedgate.performance.timing import spare_threads


@measuring
def probe(context: Context) -> Probe:
    """What this machine computes how fast, with the threads that timing uses; `Context.of` has it measured once."""
    return measure(spare_threads(context.session.threads))


@measuring
def again(context: Context) -> Probe:
    """As `probe`, once more: a burst of other work beside the first shall not make another machine of this one."""
    return probe(context)
