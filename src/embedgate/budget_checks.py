"""The checks of budgets: speed, memory and size against the reference and what was approved."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from embedgate.budgets.footprint import BATCH, PEAK_WORKLOAD
from embedgate.budgets.fresh import FreshProcess
from embedgate.budgets.host import Watch
from embedgate.budgets.paired import (
    LOOKS,
    Aim,
    Benchmark,
    Levels,
    Ratio,
    Row,
    candidate_seconds,
    compare,
    judge,
    lower_end,
    ratios,
    reference_seconds,
    upper_end,
)
from embedgate.budgets.timing import Timing, figures_of
from embedgate.budgets.workloads import WORKLOADS, Workload, workloads
from embedgate.combination import Combination
from embedgate.errors import BaselineError
from embedgate.judgement import Check, Diagnosis, Judgement
from embedgate.machine import HardwareProfile
from embedgate.metrics import BUDGET
from embedgate.session import Run, Session
from embedgate.store import Approved, Entry, Key
from embedgate.tolerances import Tolerances

# Memory that stays after every batch counts as a leak from this share of the bytes of a batch's own embeddings.
LEAK = 0.25
# Of what int8 saves where every product is quantized (three bytes of four), the least that must be saved.
LEAST_SAVING = 0.5
INT8_SAVES = 0.75
WHAT = {
    "memory_loaded": "memory once loaded",
    "memory_peak": "memory at its peak",
    "memory_device_peak": "memory of the device",
    "weight_bytes": "weights",
    "artefact_bytes": "artefact",
}
# Where time itself is a budget, and not only its ratio to the reference's.
NAMED_MACHINES = "nvidia-"


class BudgetChecks:
    """Judges what a session's combinations take.

    Args:
        session: The runs.
        profile: The hardware profile whose budgets count.
        tolerances: How much wider than what was approved a budget is.
        approved: Finds the approved measurement of a combination, dataset, dataset hash and metric.
        record_command: The command that approves what the session measures.
        family: How many budgets of time the session judges; red verdicts are corrected for it.
        fresh: Measures in a fresh process; pytest called with the same arguments where None.
    """

    def __init__(
        self,
        session: Session,
        profile: HardwareProfile,
        tolerances: Tolerances,
        approved: Callable[[str, str, str, str], Approved | None],
        record_command: str,
        family: int = 1,
        fresh: FreshProcess | None = None,
    ) -> None:
        self._session = session
        self._profile = profile
        self._tolerances = tolerances
        self._approved = approved
        self._record = record_command
        self._levels = Levels.of(tolerances.alpha, family)
        self._fresh = fresh or FreshProcess(session.settings.invocation, session.settings.folder)
        self._timing = Timing(session)
        self._second: dict[Combination, dict[str, list[Row]]] = {}

    def speed(self, combination: Combination, workload: str, benchmark: Benchmark) -> Judgement:
        """Whether a combination takes no larger share of the reference's time than its budget.

        Args:
            combination: The combination.
            workload: Id of a workload, see `embedgate.budgets.workloads`.
            benchmark: pytest-benchmark's fixture.
        """
        run, load = self._session.run(combination), WORKLOADS[workload]
        if benchmark.disabled:
            # Without this call, pytest-benchmark warns that its fixture was not used.
            benchmark.pedantic(lambda: None, setup=lambda: None, teardown=lambda: None, rounds=1)
            cause = "pytest-benchmark is disabled (--benchmark-disable, or pytest-xdist): speed is not measured"
            return self._unjudged("speed", combination, f"not measured for {load}", cause, "", workload)
        try:
            approved, why = self._budget(combination, f"time_{workload}", load.sha256)
            named, _ = self._budget(combination, f"seconds_{workload}", load.sha256)
        except BaselineError as error:
            return self._failed("speed", combination, "baseline", error.cause, error.action, workload)
        slack = self._tolerances.slack(combination, load.slack)
        updates = self._session.settings.update
        if updates:
            aim = Aim(None, self._levels)
        elif approved is None:
            aim = Aim(None, self._levels, LOOKS[0])
        else:
            aim = Aim(approved.entry.high * (1 + slack), self._levels)
        watch = Watch()
        blocks = self._timing.blocks(combination, load)
        found = compare(blocks, aim, benchmark=benchmark)
        notes = watch.notes(reference_seconds(blocks.rows))
        figures = figures_of(load, blocks, found, self._timing, notes)
        run.speed[workload] = figures
        benchmark.extra_info.update(figures)
        shown = (
            f"takes {found.median:.3f} of the reference's time for {load} ({figures['texts_per_second']:.0f} texts/s, "
            f"the reference {figures['reference_texts_per_second']:.0f})"
        )
        judged = Judgement(
            "speed",
            combination.id,
            "pass",
            shown,
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
            run.budgets.update({entry.key.metric: entry for entry in self._to_approve(combination, load, blocks.rows)})
            return replace(judged, message=f"{shown}; to be recorded")
        if approved is None:
            diagnosis = Diagnosis("baseline", why, f"approve it by: {self._record}")
            message = f"{shown}; {why}"
            return replace(judged, verdict="inconclusive", message=message, diagnosis=diagnosis, details=notes)
        absolute = named.entry.high * (1 + slack) if named else math.inf
        return self._held(combination, load, aim, blocks.rows, approved.entry, absolute, judged, notes)

    def _held(
        self,
        combination: Combination,
        load: Workload,
        aim: Aim,
        rows: Sequence[Row],
        approved: Entry,
        absolute: float,
        judged: Judgement,
        notes: tuple[str, ...],
    ) -> Judgement:
        """Holds what was timed against its budgets, of the ratio and of the seconds of a turn; confirms what is red."""
        assert aim.limit is not None, "there is an approved ratio"
        found = judge(rows, aim)
        slack = self._tolerances.slack(combination, load.slack)
        shown = f"{judged.message}, its budget is {aim.limit:.3f} ({approved.high:.3f} approved, {slack:.0%} slack)"

        def too_long(rows: Sequence[Row]) -> bool:
            return lower_end(candidate_seconds(rows), self._levels.to_fail) > absolute

        if found.verdict == "fail" or too_long(rows):
            fresh = self._fresh.rows(combination, {load.id: aim})[load.id]
            again = judge(fresh, aim)
            both = f"interval {_ends(found)}, and {_ends(again)} in a fresh process"
            if found.verdict == again.verdict == "fail":
                cause = shown
            elif too_long(rows) and too_long(fresh):
                took, may = (1e3 * seconds for seconds in (float(np.median(candidate_seconds(fresh))), absolute))
                cause = f"takes {took:.3f} ms for {load}, its budget on {self._profile} is {may:.3f} ms"
            else:
                message = f"{shown}: {both} does not confirm that it is slower"
                return replace(judged, verdict="inconclusive", message=message, details=notes)
            diagnosis = Diagnosis("time", cause, f"profile its encode; once it is meant: {self._record}")
            return replace(judged, verdict="fail", message=cause, diagnosis=diagnosis, details=(both, *notes))
        if found.verdict == "inconclusive":
            message = f"{shown}: the interval {_ends(found)} of {found.blocks} blocks holds both answers"
            return replace(judged, verdict="inconclusive", message=message, details=notes)
        stale: tuple[str, ...] = ()
        if found.high < approved.low * (1 - slack):
            line = f"{load}: {found.median:.3f} of the reference's time, {approved.value:.3f} is approved: stale"
            stale = (f"{line}, approve it by: {self._record}",)
        return replace(judged, message=shown, details=stale)

    def memory(self, combination: Combination) -> Judgement:
        """Whether a combination stays within its memory in a fresh process, and keeps none with every batch."""
        run = self._session.run(combination)
        found = self._fresh.footprint(combination)
        run.footprint = asdict(found)
        weights = run.evidence.weight_bytes
        times = f", {found.loaded / weights:.1f} times its weights" if weights else ""
        shown = f"{_mb(found.loaded)} once loaded{times}; {_mb(found.peak)} at its peak ({PEAK_WORKLOAD})"
        largest = LEAK * BATCH * run.embeddings.dim * 4
        if found.growth > largest:
            kept = min(found.growth, self._fresh.footprint(combination).growth)
            if kept > largest:
                cause = f"keeps {kept / 1e3:.0f} kB of memory with every batch of {BATCH} new texts"
                step = "look for what holds on to texts, tensors or embeddings after encode returns"
                failed = self._failed("memory", combination, "memory", cause, step, details=(shown,))
                return replace(failed, value=float(kept), limit=largest)
        measured = {f"memory_{name}": getattr(found, name) for name in ("loaded", "peak", "device_peak")}

        def anew(metric: str) -> float:
            return float(getattr(self._fresh.footprint(combination), metric.removeprefix("memory_")))

        def advice(excess: float) -> str:
            if weights and excess > 0.8 * weights:
                return f"that is {excess / weights:.1f} times its weights of {_mb(weights)} more: are they held twice?"
            return "see which buffers grew"

        return self._within(run, "memory", measured, shown, PEAK_WORKLOAD.sha256, advice, anew)

    def size(self, combination: Combination) -> Judgement:
        """Whether weights and artefact are as small as the weight precision promises, and as approved."""
        run = self._session.run(combination)
        evidence, reference = run.evidence, self._session.run(combination.reference).evidence
        measured = {"weight_bytes": evidence.weight_bytes or None, "artefact_bytes": evidence.artefact_bytes}
        known = {metric: value for metric, value in measured.items() if value}
        shown = ", ".join(f"{_mb(value)} of {WHAT[metric]}" for metric, value in known.items())
        if not known:
            step = "give it evidence() (docs/add-a-backend.md)"
            cause = "the encoder does not tell the bytes of its weights or artefact"
            return self._unjudged("size", combination, "is of unknown size", cause, step)
        if combination.weight_precision.startswith("int8") and reference.product_bytes:
            most = reference.weight_bytes - LEAST_SAVING * INT8_SAVES * reference.product_bytes
            for metric, value in known.items():
                if value > most:
                    cause = (
                        f"its {WHAT[metric]} takes {_mb(value)} and fp32's weights {_mb(reference.weight_bytes)}: int8 "
                        f"must be below {_mb(most)}"
                    )
                    step = "see whether the quantized weights were saved, or fp32 beside them"
                    failed = self._failed("size", combination, "bytes", cause, step, details=(shown,))
                    return replace(failed, value=float(value), observed=float(value), limit=most)
        return self._within(run, "size", known, shown, "", lambda _: "see what was added to it", None)

    def _within(
        self,
        run: Run,
        check: Check,
        measured: Mapping[str, int | None],
        shown: str,
        sha256: str,
        step: Callable[[float], str],
        again: Callable[[str], float] | None,
    ) -> Judgement:
        """Holds bytes against what was approved, or keeps them to be approved.

        Args:
            run: What was measured.
            check: `memory` or `size`.
            measured: Bytes by metric; None for what does not exist.
            shown: All of them, in one line.
            sha256: Hash of the texts they depend on; empty where they depend on none, nor on the machine.
            step: What to try, of the bytes that are too many.
            again: Measures a metric anew, to confirm what is red; None where that would give the same.
        """
        combination, portable = run.combination, not sha256
        known = {metric: float(value) for metric, value in measured.items() if value is not None}
        first = next(iter(known.values()))
        if self._session.settings.update:
            for metric, value in known.items():
                key = Key(combination.id, BUDGET, metric, sha256)
                run.budgets[metric] = Entry(key, value, value, value, 1)
            return Judgement(check, combination.id, "pass", f"{shown}; to be recorded", value=first)
        slack = self._tolerances.slack(combination, "bytes" if portable else "memory")
        unknown, stale = "", []
        for metric, value in known.items():
            try:
                approved, why = self._budget(combination, metric, sha256, portable)
            except BaselineError as error:
                return self._failed(check, combination, "baseline", error.cause, error.action)
            if approved is None:
                unknown = why
                continue
            was, limit = approved.entry.value, approved.entry.value * (1 + slack)
            if value > limit and (again is None or again(metric) > limit):
                budget = f"its budget is {_mb(limit)} ({_mb(was)} approved, {slack:.0%} slack)"
                cause = f"{WHAT[metric]} takes {_mb(value)}, {budget}"
                then = f"{step(value - was)}; once it is meant: {self._record}"
                failed = self._failed(
                    check, combination, "bytes" if portable else "memory", cause, then, details=(shown,)
                )
                return replace(failed, value=value, observed=value, limit=limit)
            if value < was * (1 - slack):
                stale.append(
                    f"{WHAT[metric]}: {_mb(value)}, {_mb(was)} is approved: stale, approve it by: {self._record}"
                )
        if unknown:
            found = self._unjudged(check, combination, shown, unknown, f"approve it by: {self._record}")
            return replace(found, value=first)
        return Judgement(check, combination.id, "pass", shown, value=first, details=tuple(stale))

    def _budget(
        self, combination: Combination, metric: str, sha256: str, portable: bool = False
    ) -> tuple[Approved | None, str]:
        """What was approved for a machine like this one, or why there is none.

        What a combination takes depends on the machine more than what it computes: another CPU has another ratio, and
        another number of threads another memory. So nothing is inherited but what is `portable`.
        """
        found = self._approved(combination.id, BUDGET, sha256, metric)
        if found is None:
            return None, f"no budget is approved for {self._profile}"
        if portable:
            return found, ""
        machine, was = self._session.machine, found.provenance
        if found.inherited:
            return None, f"budgets are approved for {found.profile} and not for {self._profile}"
        if (was.cpu, was.flags, was.gpu) != (machine.cpu, machine.flags, machine.gpu):
            return None, f"budgets are approved for {was.gpu or was.cpu}, and this is {machine.gpu or machine.cpu}"
        if was.threads != self._session.threads:
            return None, f"budgets are approved for {was.threads} threads, and these are {self._session.threads}"
        return found, ""

    def _to_approve(self, combination: Combination, load: Workload, here: Sequence[Row]) -> list[Entry]:
        """What this process and a fresh one measured: between two, a ratio differs by more than within one."""
        if combination not in self._second:
            asked = {each.id: Aim(None, self._levels) for each in workloads(self._session.settings.exploration)}
            self._second[combination] = self._fresh.rows(combination, asked)
        both = (here, self._second[combination][load.id])
        of: dict[str, Callable[[Sequence[Row]], Any]] = {f"time_{load.id}": ratios}
        if self._profile.name.startswith(NAMED_MACHINES):
            of[f"seconds_{load.id}"] = candidate_seconds
        alpha, entries = self._tolerances.alpha, []
        for metric, values in of.items():
            arms = [values(rows) for rows in both]
            value = math.exp(float(np.mean([np.log(np.median(arm)) for arm in arms])))
            low, high = min(lower_end(arm, alpha) for arm in arms), max(upper_end(arm, alpha) for arm in arms)
            key = Key(combination.id, BUDGET, metric, load.sha256)
            entries.append(Entry(key, value, low, high, sum(map(len, arms))))
        return entries

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
        self, check: Check, combination: Combination, message: str, cause: str, step: str, metric: str = ""
    ) -> Judgement:
        diagnosis = Diagnosis("baseline", cause, step)
        return Judgement(
            check, combination.id, "inconclusive", f"{message}; {cause}", metric=metric, diagnosis=diagnosis
        )


def _ends(found: Ratio) -> str:
    return f"{found.low:.3f} to {found.high:.3f}"


def _mb(count: float) -> str:
    return f"{count / 1e6:.1f} MB"
