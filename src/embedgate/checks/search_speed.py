"""Are stored vectors searched faster? Their time against float32 ones', in turns, and against what was approved."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from embedgate.approved.entries import Key
from embedgate.checks.approvals import drifted
from embedgate.checks.budgets import ApprovedBudgets, TimeBudget, aim_at, held, kept_interval, measured, not_approved
from embedgate.checks.check import Case, Check, Subject, reference
from embedgate.checks.context import Context
from embedgate.checks.engines import cannot_run
from embedgate.checks.speed import not_measured
from embedgate.checks.stored import UNMEASURED, StoredVectors
from embedgate.core.combination import Combination
from embedgate.core.depth import NIGHTLY, STANDARD, Depth
from embedgate.core.errors import BaselineError
from embedgate.core.judgement import Judgement
from embedgate.core.plain import to_plain
from embedgate.metrics import BUDGET
from embedgate.performance.paired import Aim, Benchmark, Blocks, Levels, compare, ratios
from embedgate.runtime.plan import Plan
from embedgate.vectors.engines.base import EngineRegistry
from embedgate.vectors.loads import SearchLoad, search_loads
from embedgate.vectors.speed import SearchTiming, figures_of

# No further look is begun where it would end later than this many seconds after the first turn.
CAP_SECONDS = 10.0


def loads(plan: Plan) -> Iterable[Subject]:
    """Each search that is timed."""
    return (Subject.named(load.id, load) for load in plan.search_loads) if plan.collection is not None else ()


def added_first(plan: Plan, _: Combination, subject: Subject) -> Depth:
    """Searches of a host project's engines, and of those that were asked for, at standard; the others by night."""
    load: SearchLoad = subject.about
    return STANDARD if plan.settings.engines or not load.case.kind else NIGHTLY


def search_speed(context: Context, case: Case, *, benchmark: Benchmark) -> Judgement:
    """Whether searches take no larger share of float32's time than their budget.

    Args:
        context: What the session judges by.
        case: The combination whose vectors are searched, and what is timed.
        benchmark: pytest-benchmark's fixture.
    """
    run, combination = context.run(case), case.combination
    load: SearchLoad = case.subject.about
    if benchmark.disabled:
        return not_measured(case, benchmark)
    stored = context.of(StoredVectors)
    try:
        timing = stored.timing(run)
    except UNMEASURED as error:
        return case.unmeasured(error, context.diagnose(run))
    metric = f"time_{load.id}_vectors_{stored.collection.size}_threads_{timing.threads}"
    shown, slack = f"takes {{}} of float32's time for {load}", context.tolerances.slack(combination, "search")
    budgets, sha256 = context.of(ApprovedBudgets), stored.collection.sha256
    levels = Levels(context.alpha, context.family(case))
    budget = TimeBudget(metric, shown, ratios, slack, levels.share)
    try:
        budget = budgets.time(combination, budget, sha256, alike=(f"time_{load.engine}-",))
    except BaselineError as error:
        return case.untrusted(error)
    updates = context.settings.update
    aim = aim_at(budget.limit, levels, records=updates)
    blocks = timing.blocks(load)
    found = compare(blocks, aim, benchmark=benchmark, cap_seconds=CAP_SECONDS)
    figures = figures_of(load, blocks, timing, found.median)
    if context.is_own:
        run.search_speed[load.id] = figures
    benchmark.extra_info.update(to_plain(figures))
    judged = measured(
        case,
        budget,
        found,
        aim.limit,
        rate=figures.queries_per_second,
        reference_rate=figures.reference_queries_per_second,
        unit="queries",
        reference="float32",
    )
    if updates:
        arms = [ratios(each.rows) for each in (blocks, _again(timing, load, aim))]
        key = Key(combination.id, BUDGET, metric, sha256)
        budgets.keep_time(kept_interval(key, arms, context.alpha), budget)
        return replace(judged, message=f"{judged.message}; to be recorded")
    if budget.approved is None:
        return not_approved(judged, budget.missing, context.record_command)
    judged = held(
        judged,
        budget,
        ratios(blocks.rows),
        lambda: ratios(_again(timing, load, aim).rows),
        levels=levels,
        where="with indexes built anew",
        step="see which library or option has changed",
        record=context.record_command,
    )
    return drifted(judged, context.session, combination, budget.approved)


def _again(timing: SearchTiming, load: SearchLoad, aim: Aim) -> Blocks:
    timing.close()
    blocks = timing.blocks(load)
    compare(blocks, aim, cap_seconds=CAP_SECONDS)
    return blocks


def _known_loads() -> Iterable[str]:
    return (load.id for load in search_loads(EngineRegistry().known_cases()))


SEARCH_SPEED = Check(
    "search speed",
    search_speed,
    reference,
    loads,
    unavailable=cannot_run,
    depth=added_first,
    phase="searches",
    family="time",
    against="approved",
    in_receipts=False,
    tolerances=("budget",),
    vocabulary=_known_loads,
)
