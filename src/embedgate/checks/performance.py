"""The checks of budgets: speed, memory and size against the reference and what was approved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np
import numpy.typing as npt

from embedgate.approved.baseline import Entry, Key
from embedgate.approved.tolerances import Tolerances
from embedgate.checks.budgets import ApprovedBudgets, TimeBudget, held, kept_interval
from embedgate.core.combination import Combination
from embedgate.core.errors import BaselineError
from embedgate.core.judgement import Check, Diagnosis, Judgement
from embedgate.core.machine import HardwareProfile
from embedgate.encoders.evidence import promised
from embedgate.metrics import BUDGET
from embedgate.performance import footprint
from embedgate.performance.footprint import BATCH, PEAK_WORKLOAD
from embedgate.performance.host import Watch
from embedgate.performance.paired import (
    LOOKS,
    Aim,
    Benchmark,
    Levels,
    Row,
    candidate_seconds,
    compare,
    ratios,
    reference_seconds,
)
from embedgate.performance.timing import Timing, figures_of
from embedgate.performance.workloads import WORKLOADS, Workload, workloads
from embedgate.runtime.session import Run, Session
from embedgate.runtime.subprocess import FreshProcess

# Memory that stays after every batch counts as a leak from this share of the bytes of a batch's own embeddings.
LEAK = 0.25
# Bytes by which resident memory may differ, however small it is: pages, arenas, what a library keeps. A peak of torch's
# was seen to differ by 25 MB between two processes, with the order in which its threads free and take large blocks.
NOISE_BYTES = {"loaded": 8_000_000, "peak": 32_000_000, "device_peak": 8_000_000}
# Of what int8 saves where every product is quantized (three bytes of four), the least that must be saved.
LEAST_SAVING = 0.5
INT8_SAVES = 0.75
# What memory and size are measured as, and what a person calls it.
MEMORY = {
    "loaded": "memory once loaded",
    "peak": "memory at its peak",
    "device_peak": "memory of the device",
}
BYTES = {"weight_bytes": "weights", "artefact_bytes": "artefact"}
# What the share of products in the promised type is approved as.
PRODUCTS = "products_in_promised_type"
# Baselines keep six digits; one product of a hundred thousand is more than what that rounds.
ROUNDED = 5e-6
# Where time itself is a budget, and not only its ratio to the reference's.
NAMED_MACHINES = "nvidia-"


class BudgetChecks:
    """Judges what a session's combinations take.

    Args:
        session: The runs.
        profile_of: The hardware profile whose budgets count for a combination.
        tolerances: How much wider than what was approved a budget is.
        approved: The approved budgets.
        record_command: The command that approves what the session measures.
        family: How many workloads the session judges, over all combinations; red verdicts are corrected for it.
        fresh: Measures in a fresh process; pytest called with the same arguments where None.
    """

    def __init__(
        self,
        session: Session,
        profile_of: Callable[[Combination], HardwareProfile],
        tolerances: Tolerances,
        approved: ApprovedBudgets,
        record_command: str,
        family: int = 1,
        fresh: FreshProcess | None = None,
    ) -> None:
        self._session = session
        self._profile_of = profile_of
        self._tolerances = tolerances
        self._budgets = approved
        self._record = record_command
        self._family = family
        self._fresh = fresh or FreshProcess(session.settings.invocation, session.settings.folder)
        self._timing = Timing(session)
        self._fresh_rows: dict[Combination, dict[str, list[Row]]] = {}

    def speed(self, combination: Combination, workload: str, benchmark: Benchmark) -> Judgement:
        """Whether a combination takes no larger share of the reference's time than its budget.

        Args:
            combination: The combination.
            workload: Id of a workload, see `embedgate.performance.workloads`.
            benchmark: pytest-benchmark's fixture.
        """
        run, load = self._session.run(combination), WORKLOADS[workload]
        if benchmark.disabled:
            # Without this call, pytest-benchmark warns that its fixture was not used.
            benchmark.pedantic(lambda: None, setup=lambda: None, teardown=lambda: None, rounds=1)
            cause = "pytest-benchmark is disabled, so speed is not measured"
            step = "run without --benchmark-disable and, since pytest-xdist disables it, without -n"
            return self._unjudged("speed", combination, f"not measured for {load}", cause, step, workload, "time")
        updates = self._session.settings.update
        try:
            budgets = self._time_budgets(combination, load)
        except BaselineError as error:
            return self._failed("speed", combination, "baseline", error.cause, error.action, workload)
        first = budgets[0]
        levels = self._levels(combination)
        if updates or first.limit is None:
            aim = Aim(None, levels) if updates else Aim(None, levels, LOOKS[0])
        else:
            aim = Aim(first.limit, levels)
        watch = Watch()
        blocks = self._timing.blocks(combination, load)
        found = compare(blocks, aim, benchmark=benchmark)
        notes = watch.notes(reference_seconds(blocks.rows))
        if (threads := self._timing.other_threads(combination)) is not None:
            notes = (*notes, f"it says that it ran with {threads} threads, the reference with {self._timing.threads}")
        figures = figures_of(load, blocks, found, self._timing, notes)
        run.speed[workload] = figures
        benchmark.extra_info.update(figures)
        rates = f"({figures['texts_per_second']:.0f} texts/s, reference {figures['reference_texts_per_second']:.0f})"
        message = f"{first.shown.format(f'{found.median:.3f}')} {rates}"
        judged = Judgement(
            "speed",
            combination.id,
            "pass",
            message,
            metric=workload,
            value=figures["texts_per_second"],
            reference_value=figures["reference_texts_per_second"],
            observed=found.median,
            low=found.low,
            high=figures["high"],
            limit=aim.limit,
            n=found.blocks,
        )
        if updates:
            self._keep_times(run, load, budgets, blocks.rows)
            return replace(judged, message=f"{message}; to be recorded")
        missing = next((budget.missing for budget in budgets if budget.approved is None), "")
        if missing:
            diagnosis = Diagnosis("baseline", missing, f"approve it by: {self._record}")
            return replace(
                judged, verdict="inconclusive", message=f"{message}; {missing}", diagnosis=diagnosis, details=notes
            )
        verdicts = [self._hold_time(judged, load, budget, blocks.rows, combination, notes) for budget in budgets]
        return min(verdicts, key=lambda judgement: ("fail", "inconclusive", "pass").index(judgement.verdict))

    def _named_machine(self, combination: Combination) -> bool:
        return self._profile_of(combination).name.startswith(NAMED_MACHINES)

    def _levels(self, combination: Combination) -> Levels:
        """How sure to be: every workload has the same share of alpha, and where it has two budgets, they share that."""
        return Levels.of(self._tolerances.alpha, self._family * (2 if self._named_machine(combination) else 1))

    def _time_budgets(self, combination: Combination, load: Workload) -> list[TimeBudget]:
        """The budgets of a workload: of the ratio, and where the profile names a machine of time itself."""
        slack, name = self._tolerances.slack(combination, load.slack), f"{load.id}_threads_{self._timing.threads}"
        calls = len(load.calls)
        kinds: list[tuple[str, str, Callable[[Sequence[Row]], npt.NDArray[np.float64]]]] = [
            (f"time_{name}", f"takes {{}} of the reference's time for {load}", ratios)
        ]
        if self._named_machine(combination):
            milliseconds = f"takes {{}} ms a call for {load} on {self._profile_of(combination)}"
            kinds.append((f"milliseconds_{name}", milliseconds, lambda rows: 1e3 * candidate_seconds(rows) / calls))
        return [
            TimeBudget(metric, shown, values, *self._budgets.find(combination, metric, load.sha256), slack)
            for metric, shown, values in kinds
        ]

    def _hold_time(
        self,
        judged: Judgement,
        load: Workload,
        budget: TimeBudget,
        rows: Sequence[Row],
        combination: Combination,
        notes: tuple[str, ...],
    ) -> Judgement:
        """Holds what was timed against one budget, and confirms in a fresh process what is beyond it."""

        def again() -> npt.NDArray[np.float64]:
            aim = Aim(budget.limit, self._levels(combination))
            return budget.values(self._fresh.rows(combination, {load.id: aim})[load.id])

        return held(
            judged,
            budget,
            budget.values(rows),
            again,
            levels=self._levels(combination),
            where="in a fresh process",
            step="profile its encode",
            record=self._record,
            remembers="or does it remember texts? The same ones are timed again and again",
            notes=notes,
        )

    def _keep_times(self, run: Run, load: Workload, budgets: Sequence[TimeBudget], here: Sequence[Row]) -> None:
        """Keeps what is to be approved: the interval that holds what this process and a fresh one measured.

        Between two processes, a ratio differs by more than within one.
        """
        combination, alpha = run.combination, self._tolerances.alpha
        if combination not in self._fresh_rows:
            asked = {
                each.id: Aim(None, self._levels(combination)) for each in workloads(self._session.settings.exploration)
            }
            self._fresh_rows[combination] = self._fresh.rows(combination, asked)
        for budget in budgets:
            arms = [budget.values(rows) for rows in (here, self._fresh_rows[combination][load.id])]
            key = Key(combination.id, BUDGET, budget.metric, load.sha256)
            self._budgets.keep(run, kept_interval(key, arms, alpha), budget.approved, budget.slack)

    def memory(self, combination: Combination) -> Judgement:
        """Whether a combination stays within its memory in a fresh process, and keeps none with every batch."""
        run = self._session.run(combination)
        found = self._fresh.footprint(combination)
        run.footprint = asdict(found)
        weights = run.evidence.weight_bytes
        times = f", {found.loaded / weights:.1f} times its weights" if weights else ""
        shown = f"{_mb(found.loaded)} once loaded{times}; {_mb(found.peak)} at its peak ({PEAK_WORKLOAD})"
        if found.device_peak is not None:
            shown += f"; {_mb(found.device_peak)} of the GPU's"
        shown = "; ".join((shown, *found.notes))
        largest = LEAK * BATCH * run.embeddings.dim * 4
        if found.growth > largest:
            kept = min(found.growth, self._fresh.footprint(combination).growth)
            if kept > largest:
                cause = f"keeps {kept / 1e3:.0f} kB of memory with every batch of {BATCH} new texts"
                step = "look for what holds on to texts, tensors or embeddings after encode returns"
                failed = self._failed("memory", combination, "memory", cause, step, details=(shown,))
                return replace(failed, value=float(kept), limit=largest)
        measured = {name: getattr(found, name) for name in MEMORY}

        def anew(name: str) -> float:
            return float(getattr(self._fresh.footprint(combination), name))

        def advice(excess: float) -> str:
            if weights and excess > 0.8 * weights:
                return f"that is {excess / weights:.1f} times its weights of {_mb(weights)} more: are they held twice?"
            return "see which buffers grew"

        return self._within(run, "memory", measured, shown, advice, anew)

    def size(self, combination: Combination) -> Judgement:
        """Whether weights and artefact take no more bytes than approved; of int8, clearly less than fp32's weights."""
        run = self._session.run(combination)
        evidence, reference = run.evidence, self._session.run(combination.reference).evidence
        measured = {"weight_bytes": evidence.weight_bytes or None, "artefact_bytes": evidence.artefact_bytes}
        known = {name: value for name, value in measured.items() if value}
        shown = ", ".join(f"{_mb(value)} of {BYTES[name]}" for name, value in known.items())
        if not known:
            step = "give it evidence() (docs/add-a-backend.md)"
            cause = "the encoder does not tell the bytes of its weights or artefact"
            return self._unjudged("size", combination, "is of unknown size", cause, step, layer="evidence")
        if combination.weight_precision.startswith("int8") and reference.product_bytes:
            most = reference.weight_bytes - LEAST_SAVING * INT8_SAVES * reference.product_bytes
            for name, value in known.items():
                if value > most:
                    cause = (
                        f"{BYTES[name]}: {_mb(value)}, where fp32's weights are {_mb(reference.weight_bytes)}: "
                        f"int8 must be below {_mb(most)}"
                    )
                    step = "see whether the quantized weights were saved, or fp32 beside them"
                    failed = self._failed("size", combination, "bytes", cause, step, details=(shown,))
                    return replace(failed, value=float(value), observed=float(value), limit=most)
        return self._within(run, "size", measured, shown, lambda _: "see what was added to it", None)

    def products(self, combination: Combination) -> Judgement:
        """Whether as many matrix products compute in the type the id promises as when it was approved."""
        run = self._session.run(combination)
        found, kind = run.evidence.products, promised(combination)
        total = sum(found.values())
        if kind is None or not total:
            step = "give it evidence() (docs/add-a-backend.md)"
            cause = "the encoder does not tell what its products compute in"
            if kind is None:
                cause, step = f"the weight precision {combination.weight_precision} promises no type", ""
            return self._unjudged("products", combination, "are not known", cause, step, layer="evidence")
        share = found.get(kind, 0) / total
        shown = f"{found.get(kind, 0)} of {total} products with weights compute in {kind}"
        try:
            approved, missing = self._budgets.find(combination, PRODUCTS, "", portable=True)
        except BaselineError as error:
            return self._failed("products", combination, "baseline", error.cause, error.action)
        judged = Judgement("products", combination.id, "pass", shown, value=share, observed=share)
        if self._session.settings.update:
            key = Key(combination.id, BUDGET, PRODUCTS, "")
            self._budgets.keep(run, Entry(key, share, share, share, total), approved, 0.0)
            return replace(judged, message=f"{shown}; to be recorded")
        if approved is None:
            unknown = self._unjudged("products", combination, shown, missing, f"approve it by: {self._record}")
            return replace(unknown, value=share)
        was = approved.entry.value
        judged = replace(judged, limit=was)
        if share < was - ROUNDED:
            cause = f"{shown}, {was:.1%} of them did when it was approved"
            step = f"see which fell back (evidence in report.json); once it is meant: {self._record}"
            return replace(judged, verdict="fail", message=cause, diagnosis=Diagnosis("evidence", cause, step))
        stale = f"{shown}, {was:.1%} is approved: stale, approve it by: {self._record}"
        return replace(judged, details=(stale,) if share > was + ROUNDED else ())

    def _within(
        self,
        run: Run,
        check: Check,
        measured: Mapping[str, int | None],
        shown: str,
        step: Callable[[float], str],
        again: Callable[[str], float] | None,
    ) -> Judgement:
        """Holds bytes against what was approved, or keeps them to be approved.

        Args:
            run: What was measured.
            check: `memory` or `size`.
            measured: Bytes by name; None for what does not exist.
            shown: All of them, in one line.
            step: What to try, of the bytes that are too many.
            again: Measures anew what is red, to confirm it; None for what is the same each time and on every machine.
        """
        combination, portable = run.combination, again is None
        layer, sha256 = ("bytes", "") if portable else ("memory", footprint.sha256())
        slack = self._tolerances.slack(combination, layer)
        unknown, stale = "", []
        first = float(next(value for value in measured.values() if value is not None))
        for name, value in measured.items():
            metric, label = (name, BYTES[name]) if portable else (f"memory_{name}", MEMORY[name])
            try:
                approved, missing = self._budgets.find(combination, metric, sha256, portable)
            except BaselineError as error:
                return self._failed(check, combination, "baseline", error.cause, error.action)
            if value is None:
                unknown = f"{label}: approved, and not told any more" if approved else unknown
                continue
            if self._session.settings.update:
                key = Key(combination.id, BUDGET, metric, sha256)
                self._budgets.keep(run, Entry(key, value, value, value, 1), approved, slack)
                continue
            if approved is None:
                unknown = missing
                continue
            was, noise = approved.entry.value, 0 if portable else NOISE_BYTES[name]
            limit = max(was * (1 + slack), was + noise)
            if value > limit and (again is None or again(name) > limit):
                wider = f"{slack:.0%}" if was * slack >= noise else _mb(noise)
                cause = f"{label}: {_mb(value)}, its budget is {_mb(limit)} ({_mb(was)} approved, {wider} slack)"
                then = f"{step(value - was)}; once it is meant: {self._record}"
                failed = self._failed(check, combination, layer, cause, then, details=(shown,))
                return replace(failed, value=float(value), observed=float(value), limit=limit)
            if value < min(was * (1 - slack), was - noise):
                stale.append(f"{label}: {_mb(value)}, {_mb(was)} is approved: stale, approve it by: {self._record}")
        if self._session.settings.update:
            return Judgement(check, combination.id, "pass", f"{shown}; to be recorded", value=first)
        if unknown:
            found = self._unjudged(check, combination, shown, unknown, f"approve it by: {self._record}")
            return replace(found, value=first)
        return Judgement(check, combination.id, "pass", shown, value=first, details=tuple(stale))

    def _failed(
        self,
        check: Check,
        combination: Combination,
        layer: str,
        cause: str,
        step: str,
        metric: str = "",
        details: Sequence[str] = (),
    ) -> Judgement:
        diagnosis = Diagnosis(layer, cause, step)
        return Judgement(
            check, combination.id, "fail", cause, metric=metric, diagnosis=diagnosis, details=tuple(details)
        )

    def _unjudged(
        self,
        check: Check,
        combination: Combination,
        message: str,
        cause: str,
        step: str,
        metric: str = "",
        layer: str = "baseline",
    ) -> Judgement:
        diagnosis = Diagnosis(layer, cause, step)
        return Judgement(
            check, combination.id, "inconclusive", f"{message}; {cause}", metric=metric, diagnosis=diagnosis
        )


def _mb(count: float) -> str:
    return f"{count / 1e6:.1f} MB"
