"""The budgets of searches: time among stored vectors against float32 ones, in turns in one process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from embedgate.approved.baseline import Key
from embedgate.approved.tolerances import Tolerances
from embedgate.checks.budgets import ApprovedBudgets, TimeBudget, held, kept_interval
from embedgate.checks.results import failed, unmeasured
from embedgate.checks.stored import UNMEASURED, Searched
from embedgate.core.combination import Combination
from embedgate.core.errors import BaselineError
from embedgate.core.judgement import Diagnosis, Judgement
from embedgate.metrics import BUDGET
from embedgate.performance.paired import LOOKS, Aim, Benchmark, Blocks, Levels, compare, ratios
from embedgate.performance.timing import spare_threads
from embedgate.runtime.session import Run, Session
from embedgate.vectors.loads import SearchLoad
from embedgate.vectors.speed import SearchTiming, figures_of

# No further look is begun where it would end later than this many seconds after the first turn.
CAP_SECONDS = 10.0


class SearchBudgets:
    """Judges what searches among a run's stored vectors take.

    Args:
        session: The runs.
        tolerances: How much wider than what was approved a budget is.
        budgets: What is approved.
        searched: What is searched of a run.
        diagnose: Names the layer at which a run departs from its reference.
        record_command: The command that approves what the session measures.
        family: How many budgets of time the session judges; red verdicts are corrected for it.
    """

    def __init__(
        self,
        session: Session,
        tolerances: Tolerances,
        budgets: ApprovedBudgets,
        searched: Callable[[Run], Searched],
        diagnose: Callable[[Run], Diagnosis],
        record_command: str,
        family: int,
    ) -> None:
        self._session = session
        self._tolerances = tolerances
        self._budgets = budgets
        self._searched = searched
        self._diagnose = diagnose
        self._record = record_command
        self._levels = Levels.of(tolerances.alpha, family)
        self._timing: SearchTiming | None = None

    def speed(self, combination: Combination, load: SearchLoad, benchmark: Benchmark) -> Judgement:
        """Whether searches take no larger share of float32's time than their budget.

        Args:
            combination: The combination whose vectors are searched.
            load: What is timed.
            benchmark: pytest-benchmark's fixture.
        """
        run = self._session.run(combination)
        if benchmark.disabled:
            benchmark.pedantic(lambda: None, setup=lambda: None, teardown=lambda: None, rounds=1)
            cause = "pytest-benchmark is disabled, so speed is not measured"
            step = "run without --benchmark-disable and, since pytest-xdist disables it, without -n"
            return self._unjudged(
                combination, load, f"not measured for {load}; {cause}", Diagnosis("time", cause, step)
            )
        try:
            timing = self._timed(run)
        except UNMEASURED as error:
            return unmeasured("search speed", combination.id, "", load.id, error, self._diagnose(run))
        collection = self._session.plan.collection
        assert collection is not None, "without a collection, there is nothing to ask"
        metric = f"time_{load.id}_vectors_{collection.size}_threads_{timing.threads}"
        try:
            approved, missing = self._budgets.find(combination, metric, collection.sha256)
        except BaselineError as error:
            diagnosis = Diagnosis("baseline", error.cause, error.action)
            return failed("search speed", combination.id, "", load.id, diagnosis)
        slack = self._tolerances.slack(combination, "search")
        budget = TimeBudget(metric, f"takes {{}} of float32's time for {load}", ratios, approved, missing, slack)
        updates = self._session.settings.update
        aim = Aim(budget.limit, self._levels) if budget.limit is not None and not updates else self._to_record(updates)
        blocks = timing.blocks(load)
        found = compare(blocks, aim, benchmark=benchmark, cap_seconds=CAP_SECONDS)
        figures = figures_of(load, blocks, timing, found.median)
        run.search_speed[load.id] = figures
        benchmark.extra_info.update(figures)
        rates = (
            f"({figures['queries_per_second']:.0f} queries/s, float32 {figures['reference_queries_per_second']:.0f})"
        )
        message = f"{budget.shown.format(f'{found.median:.3f}')} {rates}"
        judged = Judgement(
            "search speed",
            combination.id,
            "pass",
            message,
            metric=load.id,
            value=figures["queries_per_second"],
            reference_value=figures["reference_queries_per_second"],
            observed=found.median,
            low=found.low,
            high=found.high,
            limit=aim.limit,
            n=found.blocks,
        )
        if updates:
            arms = [ratios(each.rows) for each in (blocks, self._again(timing, load, aim))]
            key = Key(combination.id, BUDGET, metric, collection.sha256)
            self._budgets.keep(run, kept_interval(key, arms, self._tolerances.alpha), approved, slack)
            return replace(judged, message=f"{message}; to be recorded")
        if approved is None:
            diagnosis = Diagnosis("baseline", missing, f"approve it by: {self._record}")
            return replace(judged, verdict="inconclusive", message=f"{message}; {missing}", diagnosis=diagnosis)
        return held(
            judged,
            budget,
            ratios(blocks.rows),
            lambda: ratios(self._again(timing, load, aim).rows),
            levels=self._levels,
            where="with indexes built anew",
            step="see which library or option has changed",
            record=self._record,
        )

    def close(self) -> None:
        """Gives the indexes' memory back."""
        if self._timing is not None:
            self._timing.close()

    def _timed(self, run: Run) -> SearchTiming:
        if self._timing is None:
            searched, threads = self._searched(run), spare_threads(self._session.threads)
            self._timing = SearchTiming(searched.vectors, searched.ranges[None], threads)
        return self._timing

    def _to_record(self, updates: bool) -> Aim:
        return Aim(None, self._levels) if updates else Aim(None, self._levels, LOOKS[0])

    def _again(self, timing: SearchTiming, load: SearchLoad, aim: Aim) -> Blocks:
        timing.close()
        blocks = timing.blocks(load)
        compare(blocks, aim, cap_seconds=CAP_SECONDS)
        return blocks

    def _unjudged(self, combination: Combination, load: SearchLoad, message: str, diagnosis: Diagnosis) -> Judgement:
        return Judgement("search speed", combination.id, "inconclusive", message, metric=load.id, diagnosis=diagnosis)
