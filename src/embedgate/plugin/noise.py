"""How much of a ratio is chance on this machine: the reference timed against itself, process after process."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from rich.table import Table
from scipy.stats import norm

from embedgate.approved.sessions import COVERED
from embedgate.approved.tolerances import Tolerances
from embedgate.checks.context import tolerances_of
from embedgate.core.combination import Combination
from embedgate.core.errors import counted
from embedgate.performance.host import Watch
from embedgate.performance.paired import LOOKS, TO_RECORD, Aim, Levels, Row, ratios
from embedgate.performance.timing import spare_threads
from embedgate.performance.workloads import WORKLOADS, workloads
from embedgate.report.console import console, told
from embedgate.runtime.plan import Plan
from embedgate.runtime.subprocess import FreshProcesses

PROCESSES = 5
# The least slack there is.
LEAST_SLACK = 0.02
# Of a median's standard error to that of a mean, for a normal distribution.
MEDIAN = math.sqrt(math.pi / 2)


@dataclass(frozen=True)
class Noise:
    """The effect of chance on the ratio of one workload.

    Attributes:
        medians: The ratio each process came to.
        block: Spread of the blocks within a process as a share: 1.48 times their median deviation.
        between: Standard deviation between processes, as a share.
    """

    medians: tuple[float, ...]
    block: float
    between: float

    @classmethod
    def of(cls, processes: Sequence[Sequence[Row]]) -> Noise:
        """Of the rows that each of two or more processes measured."""
        logs = [np.log(ratios(rows)) for rows in processes]
        medians = [float(np.median(values)) for values in logs]
        deviations = np.concatenate([np.abs(values - np.median(values)) for values in logs])
        return cls(
            tuple(math.exp(median) for median in medians),
            1.4826 * float(np.median(deviations)),
            float(np.std(medians, ddof=1)),
        )

    @property
    def slack(self) -> float:
        """The slack that covers it, in whole percent."""
        return max(LEAST_SLACK, math.ceil(100 * COVERED * self.between) / 100)

    def detectable(self, slack: float, levels: Levels, alpha: float) -> float:
        """About the smallest slowdown, as a share, that a budget of this slack finds nearly always.

        The slowdown must exceed the slack by what the approved interval is wide (`TO_RECORD` blocks at level alpha), by
        what two processes may differ (two standard deviations), and by what the last look leaves open.
        """
        recorded = norm.isf(alpha) * MEDIAN * self.block / math.sqrt(TO_RECORD)
        last = norm.isf(levels.to_fail) * MEDIAN * self.block / math.sqrt(LOOKS[-1])
        return (1 + slack) * math.exp(recorded + 2 * self.between + last) - 1


def tell(plan: Plan, progress: Callable[[str], None]) -> None:
    """Measures, and prints a table per combination and the slack it proposes.

    The reference is timed against itself; combinations that were asked for, against their references.

    Args:
        plan: What was asked for.
        progress: Called with a short line at each long step.

    Raises:
        GateError: If a combination cannot be measured.
    """
    settings = plan.settings
    tolerances = tolerances_of(plan)
    loads = workloads(settings.depth)
    asked = plan.encoding if settings.combinations else (plan.combinations[0].reference,)
    levels = Levels(tolerances.alpha, len(loads) * len(asked))
    watch = Watch()
    out = console(width=120, colour=None)
    proposed: dict[str, float] = {}
    with closing(FreshProcesses(settings.invocation, settings.folder)) as fresh:
        for combination in asked:
            processes = []
            for number in range(1, PROCESSES + 1):
                progress(f"{combination}: process {number} of {PROCESSES}")
                with fresh.another(combination) as worker:
                    processes.append(worker.rows({load.id: Aim(None, levels) for load in loads}))
            found = {load.id: Noise.of([rows[load.id] for rows in processes]) for load in loads}
            out.print(_table(combination, found, tolerances, levels))
            for name, noise in found.items():
                kind = WORKLOADS[name].slack
                proposed[kind] = max(proposed.get(kind, 0.0), noise.slack)
    for note in watch.notes():
        out.print(told(note, "yellow"))
    threads = counted(spare_threads(settings.threads_alone), "thread")
    out.print(f"timed with {threads}, {TO_RECORD} blocks in each of {PROCESSES} processes")
    out.print(f"slack that covers {COVERED:g} standard deviations between processes, for tolerances.toml:\n")
    out.print("# two of the numbers of [default.budget]")
    for kind, slack in proposed.items():
        out.print(f"{kind} = {slack:.2f}")


def _table(combination: Combination, found: dict[str, Noise], tolerances: Tolerances, levels: Levels) -> Table:
    other = "itself" if combination.is_reference else "its reference"
    table = Table(title=told(f"{combination} against {other}"), box=None, pad_edge=False, title_justify="left")
    table.add_column("workload", no_wrap=True)
    for heading in (
        "ratio of\neach process",
        "spread of\na block",
        "between\nprocesses",
        "slack that\ncovers it",
        "slack in\nuse",
        "finds, in use,\nslowdowns from",
    ):
        table.add_column(heading, justify="right")
    for name, noise in found.items():
        slack = tolerances.slack(combination, WORKLOADS[name].slack)
        table.add_row(
            name,
            f"{min(noise.medians):.4f} to {max(noise.medians):.4f}",
            f"{noise.block:.2%}",
            f"{noise.between:.2%}",
            f"{noise.slack:.0%}",
            f"{slack:.0%}",
            f"{noise.detectable(slack, levels, tolerances.alpha):.1%}",
        )
    return table
