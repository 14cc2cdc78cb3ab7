"""Is it really faster? A combination's time against the reference's, both in turns, and against what was approved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from embedgate.approved.entries import Key
from embedgate.checks.approvals import drifted
from embedgate.checks.budgets import ApprovedBudgets, TimeBudget, aim_at, held, kept_interval, measured, not_approved
from embedgate.checks.check import Case, Check, Subject, live_candidates
from embedgate.checks.context import Context, measuring
from embedgate.checks.promise import is_suspect, slower_than_promised
from embedgate.core.combination import Combination
from embedgate.core.depth import NIGHTLY, STANDARD, Depth
from embedgate.core.errors import BaselineError, counted
from embedgate.core.judgement import Diagnosis, Judgement
from embedgate.core.plain import to_plain
from embedgate.metrics import BUDGET
from embedgate.performance.host import Watch
from embedgate.performance.paired import (
    LOOKS,
    TO_RECORD,
    Aim,
    Benchmark,
    Levels,
    Row,
    candidate_seconds,
    compare,
    ratios,
    reference_seconds,
)
from embedgate.performance.timing import figures_of, spare_threads
from embedgate.performance.workloads import WORKLOADS, Workload, workloads
from embedgate.runtime.plan import Plan
from embedgate.runtime.subprocess import FreshProcesses

# Where time itself is a budget, and not only its ratio to the reference's.
NAMED_MACHINES = "nvidia-"
# From the worst verdict on.
_ORDER = ("fail", "inconclusive", "pass")
DISABLED = (
    "pytest-benchmark is disabled, so speed is not measured",
    "run without --benchmark-disable and, since pytest-xdist disables it, without -n",
)


class SecondTurns:
    """The turns that are recorded beside those of the first process: each combination's in another one."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._known: dict[Combination, dict[str, list[Row]]] = {}

    def of(self, combination: Combination, levels: Levels) -> dict[str, list[Row]]:
        """Turns of every workload, measured once."""
        if combination not in self._known:
            asked = {load.id: Aim(None, levels) for load in workloads(self._context.settings.depth)}
            with self._context.of(fresh_processes).another(combination) as worker:
                self._known[combination] = worker.rows(asked)
        return self._known[combination]


@measuring
def fresh_processes(context: Context) -> FreshProcesses:
    """Measures in fresh processes, which are called as this one was."""
    return FreshProcesses(context.settings.invocation, context.settings.folder)


def timed(_: Plan) -> Iterable[Subject]:
    """Each workload that is timed."""
    return (Subject.named(load.id, load) for load in WORKLOADS.values())


def usual_first(_: Plan, __: Combination, subject: Subject) -> Depth:
    """Usual workloads at the depth of a pull request, the others through the night."""
    return STANDARD if subject.about in workloads(STANDARD) else NIGHTLY


def not_measured(case: Case, benchmark: Benchmark) -> Judgement:
    """Returns the judgement that is given where pytest-benchmark is disabled."""
    # Without this call, pytest-benchmark warns that its fixture was not used.
    benchmark.pedantic(lambda: None, setup=lambda: None, teardown=lambda: None, rounds=1)
    return case.unjudged(Diagnosis("time", *DISABLED), f"not measured for {case.subject.about}")


def speed(context: Context, case: Case, *, benchmark: Benchmark) -> Judgement:
    """Whether a combination takes no larger share of the reference's time than its budget.

    Args:
        context: What the session judges by.
        case: The combination and workload.
        benchmark: pytest-benchmark's fixture.
    """
    run, load, combination = context.run(case), case.subject.about, case.combination
    if benchmark.disabled:
        return not_measured(case, benchmark)
    updates = context.settings.update
    try:
        budgets = _budgets(context, case, load)
    except BaselineError as error:
        return case.untrusted(error)
    first, levels = budgets[0], _levels(context, case)
    aim = aim_at(first.limit, levels, records=updates)
    if any(budget.approved and not budget.is_ratio for budget in budgets):
        aim = Aim(None, levels, LOOKS[-1])  # no look at ratios tells when that is certain
    fresh = context.of(fresh_processes)
    arms = fresh.arms(combination, load)
    blocks, watch = arms.blocks, Watch(beside=arms.pid)
    found = compare(blocks, aim, benchmark=benchmark)
    if not updates and is_suspect(context, case, found):
        found = compare(blocks, replace(aim, blocks=TO_RECORD), looks=(TO_RECORD,))
    # Where turns are judged once more, by another bar, nothing has disturbed them since.
    notes = watch.notes(reference_seconds(blocks.rows)) if context.is_own else ()
    if arms.other_threads is not None:
        others = counted(arms.other_threads, "thread")
        notes = (*notes, f"it says that it ran with {others}, the reference with {arms.threads}")
    figures = figures_of(load, blocks, found, arms.threads, arms.tokenise_seconds, notes)
    if context.is_own:
        run.speed[load.id] = figures
    benchmark.extra_info.update(to_plain(figures))
    judged = measured(
        case,
        first,
        found,
        aim.limit,
        rate=figures.texts_per_second,
        reference_rate=figures.reference_texts_per_second,
        unit="texts",
        reference="reference",
    )
    if updates:
        rows = context.of(SecondTurns).of(combination, levels)[load.id]
        for budget in budgets:
            key = Key(combination.id, BUDGET, budget.metric, load.sha256)
            # Between two processes, a ratio differs by more than within one.
            entry = kept_interval(key, [budget.values(arm) for arm in (blocks.rows, rows)], context.alpha)
            context.of(ApprovedBudgets).keep_time(entry, budget)
        return replace(judged, message=f"{judged.message}; to be recorded")

    def again(limit: float | None) -> list[Row]:
        with fresh.another(combination) as worker:
            return worker.rows({load.id: Aim(limit, levels, LOOKS[-1])})[load.id]

    slower = slower_than_promised(
        context, case, judged, ratios(blocks.rows), lambda limit: ratios(again(limit)), levels
    )
    if slower is not None:
        return replace(slower, details=(*slower.details, *notes))

    def hold(budget: TimeBudget) -> Judgement:
        if budget.approved is None:
            return not_approved(judged, budget.missing, context.record_command, notes)
        found = held(
            judged,
            budget,
            budget.values(blocks.rows),
            lambda: budget.values(again(budget.limit if budget.is_ratio else None)),
            levels=levels,
            where="in another fresh process",
            step="profile its encode",
            record=context.record_command,
            remembers="or does it remember texts? The same ones are timed again and again",
            notes=notes,
        )
        return drifted(found, context.session, combination, budget.approved)

    return min(map(hold, budgets), key=_badness)


def _badness(judgement: Judgement) -> tuple[int, int, bool]:
    """What the worst judgement has the least of; of red ones, it is red among the most checks."""
    return _ORDER.index(judgement.verdict), -(judgement.largest_family or 0), not judgement.is_beyond


def _named_machine(context: Context, combination: Combination) -> bool:
    return context.profile_of(combination).name.startswith(NAMED_MACHINES)


def _levels(context: Context, case: Case) -> Levels:
    """How sure to be: every workload has the same share of alpha, and where it has two budgets, they share that."""
    return Levels(context.alpha, context.family(case), 2 if _named_machine(context, case.combination) else 1)


def _budgets(context: Context, case: Case, load: Workload) -> list[TimeBudget]:
    """The budgets of a workload: of the ratio, and where the profile names a machine of time itself."""
    combination, level = case.combination, _levels(context, case).share
    slack, threads = context.tolerances.slack(combination, load.slack), spare_threads(context.session.threads)
    name, calls = f"{load.id}_threads_{threads}", len(load.calls)
    alike = [each.id for each in WORKLOADS.values() if each.slack == load.slack]
    kinds: list[tuple[str, str, Callable[[Sequence[Row]], npt.NDArray[np.float64]]]] = [
        (f"time_{name}", f"takes {{}} of the reference's time for {load}", ratios)
    ]
    if _named_machine(context, combination):
        shown = f"takes {{}} ms a call for {load} on {context.profile_of(combination)}"
        kinds.append((f"milliseconds_{name}", shown, lambda rows: 1e3 * candidate_seconds(rows) / calls))
    approved = context.of(ApprovedBudgets)
    return [
        approved.time(
            combination,
            TimeBudget(metric, shown, values, slack, level),
            load.sha256,
            alike=tuple(f"{metric.partition('_')[0]}_{name}_" for name in alike),
        )
        for metric, shown, values in kinds
    ]


SPEED = Check(
    "speed",
    speed,
    live_candidates,
    timed,
    afresh=True,
    depth=usual_first,
    phase="budgets",
    family="time",
    against="approved",
    texts="none",
    tolerances=("budget", "promise"),
    vocabulary=lambda: WORKLOADS,
)
