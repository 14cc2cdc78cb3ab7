"""Budgets as they are approved: found for a machine like this one, and kept to be approved."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from embedgate.approved.baseline import Approved, Entry, Key
from embedgate.checks.approvals import Approvals
from embedgate.checks.check import Case
from embedgate.checks.context import Context
from embedgate.core.combination import Combination
from embedgate.core.errors import BaselineError
from embedgate.core.judgement import Diagnosis, Judgement
from embedgate.core.machine import machine_id
from embedgate.metrics import BUDGET
from embedgate.performance.paired import LOOKS, Aim, Levels, Ratio, Row, hold, lower_end, upper_end

# Told in one line for all budgets of a session, so it names none.
ELSEWHERE = "budgets of time and memory hold on the machine that approved them alone, and this is another"
# So many times faster than approved, an encoder probably no longer encodes.
REMEMBERS = 5


@dataclass(frozen=True)
class TimeBudget:
    """One way of holding a workload's turns against what was approved.

    Attributes:
        metric: Its name in the baseline.
        shown: What is held against it, where `{}` is a value.
        values: From the rows of blocks to what is held, a value per block.
        approved: What was approved; None where nothing was for a machine like this one.
        missing: Why there is none.
        slack: By how much the budget is wider, as a share.
    """

    metric: str
    shown: str
    values: Callable[[Sequence[Row]], npt.NDArray[np.float64]]
    approved: Approved | None
    missing: str
    slack: float

    @property
    def limit(self) -> float | None:
        """The most that is within budget."""
        return self.approved.entry.high * (1 + self.slack) if self.approved else None

    def told(self, value: float) -> str:
        """A value and its budget, in words."""
        assert self.approved is not None, "what has no budget is not held against one"
        approved = f"{self.approved.entry.high:.3f} approved, {self.slack:.0%} slack"
        return f"{self.shown.format(f'{value:.3f}')}, its budget is {self.limit:.3f} ({approved})"


class ApprovedBudgets:
    """The approved budgets of a session's combinations."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def find(
        self, combination: Combination, metric: str, sha256: str, portable: bool = False
    ) -> tuple[Approved | None, str]:
        """Returns what was approved for a machine like this one, or why there is none.

        What a combination takes depends on the machine more than what it computes, and machines of one name differ: so
        nothing counts elsewhere but what is `portable`. Another number of threads has another memory.

        Raises:
            BaselineError: If the baseline cannot be trusted; not where a new one is being recorded.
        """
        try:
            found = self._context.of(Approvals).find(combination, BUDGET, metric)
        except BaselineError:
            if self._context.settings.update:
                return None, ""
            raise
        if found is None:
            return None, f"no budget is approved for {self._context.profile_of(combination)}"
        if found.entry.key.dataset_sha256 != sha256:
            return None, "the timed texts have changed since budgets were approved"
        if portable:
            return found, ""
        session, was = self._context.session, found.provenance
        machine = session.machine_of(combination)
        if found.inherited:
            return None, f"budgets are approved for {found.profile} and not for {self._context.profile_of(combination)}"
        if was.machine != machine_id():
            return None, ELSEWHERE
        if machine.gpu is not None and was.gpu != machine.gpu:
            return None, f"budgets are approved for {was.gpu or 'another GPU'}, and this is {machine.gpu}"
        if was.threads != session.threads:
            return None, f"budgets were approved with {was.threads} threads, and this session uses {session.threads}"
        return found, ""

    def keep(self, entry: Entry, approved: Approved | None, slack: float) -> None:
        """Keeps an entry to be approved; the old one where it still says the same, so that no budget creeps."""
        was = approved.entry if approved and not approved.inherited else None
        same = was is not None and was.low * (1 - slack) <= entry.value <= was.high * (1 + slack)
        self._context.of(Approvals).keep(was if was is not None and same else entry)


def aim_at(limit: float | None, levels: Levels, *, records: bool) -> Aim:
    """Returns the aim of a measurement: to be recorded, held against a limit, or shown where there is none."""
    if records:
        return Aim(None, levels)
    return Aim(None, levels, LOOKS[0]) if limit is None else Aim(limit, levels)


def measured(
    case: Case,
    budget: TimeBudget,
    found: Ratio,
    limit: float | None,
    *,
    rate: float,
    reference_rate: float,
    unit: str,
    reference: str,
) -> Judgement:
    """A judgement that tells what was timed, before it is held against its budget.

    Args:
        case: What was timed.
        budget: How it is held.
        found: The ratio of the times.
        limit: What is within budget.
        rate: How many a second.
        reference_rate: How many the reference does a second.
        unit: Of what.
        reference: The reference's name.
    """
    rates = f"({rate:.0f} {unit}/s, {reference} {reference_rate:.0f})"
    return case.passed(
        f"{budget.shown.format(f'{found.median:.3f}')} {rates}",
        value=rate,
        reference_value=reference_rate,
        observed=found.median,
        low=found.low,
        high=found.high if math.isfinite(found.high) else None,
        limit=limit,
        n=found.blocks,
    )


def not_approved(judged: Judgement, missing: str, record: str, notes: tuple[str, ...] = ()) -> Judgement:
    """Returns the judgement of what was timed, where no budget judges it.

    Args:
        judged: What was found.
        missing: Why there is no budget.
        record: The command that approves what is measured.
        notes: What disturbed the measurement.
    """
    diagnosis = Diagnosis("baseline", missing, f"approve it by: {record}")
    message = f"{judged.message}; {missing}"
    return replace(judged, verdict="inconclusive", message=message, diagnosis=diagnosis, details=notes)


def held(
    judged: Judgement,
    budget: TimeBudget,
    values: npt.NDArray[np.float64],
    again: Callable[[], npt.NDArray[np.float64]],
    *,
    levels: Levels,
    where: str,
    step: str,
    record: str,
    remembers: str = "",
    notes: tuple[str, ...] = (),
) -> Judgement:
    """Holds what was timed against a budget, and confirms what is beyond it by measuring once more.

    Args:
        judged: What was found, to be given its verdict.
        budget: The budget; it is approved.
        values: What was timed, a value per block.
        again: Measures once more where the first is red.
        levels: How sure to be.
        where: Where that is, in words.
        step: What to try where it is red.
        record: The command that approves what is measured.
        remembers: What to ask where it is so much faster than approved that it may not do its work any more.
        notes: What disturbed the measurement.
    """
    assert budget.approved is not None, "there is a budget"
    aim, entry = Aim(budget.limit, levels), budget.approved.entry
    found = hold(values, aim)
    told = budget.told(found.median)
    if found.verdict == "fail":
        confirmed = hold(again(), aim)
        both = f"interval {_ends(found)}, and {_ends(confirmed)} {where}"
        if confirmed.verdict != "fail":
            message = f"{told}: {both} does not confirm that it is slower"
            return replace(judged, verdict="inconclusive", message=message, details=notes)
        diagnosis = Diagnosis("time", told, f"{step}; once it is meant: {record}")
        return replace(judged, verdict="fail", message=told, diagnosis=diagnosis, details=(both, *notes))
    if found.verdict == "inconclusive":
        message = f"{told}: the interval {_ends(found)} of {found.blocks} blocks holds both answers"
        return replace(judged, verdict="inconclusive", message=message, details=notes)
    if found.high < entry.low * (1 - budget.slack):
        stale = f"{budget.shown.format(f'{found.median:.3f}')}, {entry.value:.3f} is approved: stale"
        if remembers and found.high < entry.low / REMEMBERS:
            stale += f"; {remembers}"
        return replace(judged, message=told, details=(f"{stale}, approve it by: {record}",))
    return replace(judged, message=told)


def kept_interval(key: Key, arms: Sequence[npt.NDArray[np.float64]], alpha: float) -> Entry:
    """Returns the entry that is approved of several measurements: the interval that holds them all.

    Args:
        key: What they are about.
        arms: The values of each measurement, one per block.
        alpha: Level of each end.
    """
    value = math.exp(float(np.mean([np.log(np.median(arm)) for arm in arms])))
    low, high = min(lower_end(arm, alpha) for arm in arms), max(upper_end(arm, alpha) for arm in arms)
    return Entry(key, value, low, high, sum(map(len, arms)))


def _ends(found: Ratio) -> str:
    return f"{found.low:.3f} to {found.high:.3f}"
