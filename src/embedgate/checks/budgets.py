"""Budgets as they are approved: found for a machine like this one, and kept to be approved."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from embedgate.approved.baseline import Approved, Entry, Key, Provenance
from embedgate.core.combination import Combination
from embedgate.core.errors import BaselineError
from embedgate.core.judgement import Diagnosis, Judgement
from embedgate.core.machine import HardwareProfile, Machine
from embedgate.metrics import BUDGET
from embedgate.performance.paired import Aim, Levels, Ratio, Row, hold, lower_end, upper_end
from embedgate.runtime.session import Run, Session

# What systems say where they do not know the model of a CPU.
UNKNOWN_CPUS = ("", "arm", "arm64", "aarch64", "i386", "x86_64")
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
    """The approved budgets of a session's combinations.

    Args:
        session: The runs.
        profile_of: The hardware profile whose budgets count for a combination.
        approved: Finds the approved measurement of a combination, dataset and metric.
    """

    def __init__(
        self,
        session: Session,
        profile_of: Callable[[Combination], HardwareProfile],
        approved: Callable[[str, str, str], Approved | None],
    ) -> None:
        self._session = session
        self._profile_of = profile_of
        self._approved = approved

    def find(
        self, combination: Combination, metric: str, sha256: str, portable: bool = False
    ) -> tuple[Approved | None, str]:
        """What was approved for a machine like this one, or why there is none.

        What a combination takes depends on the machine more than what it computes: another CPU has another ratio, and
        another number of threads another memory. So nothing is inherited but what is `portable`. On a GPU the CPU
        counts as well: it tokenises and starts every kernel, which is most of the time of small batches.

        Raises:
            BaselineError: If the baseline cannot be trusted; not where a new one is being recorded.
        """
        try:
            found = self._approved(combination.id, BUDGET, metric)
        except BaselineError:
            if self._session.settings.update:
                return None, ""
            raise
        if found is None:
            return None, f"no budget is approved for {self._profile_of(combination)}"
        if found.entry.key.dataset_sha256 != sha256:
            return None, "what is measured has changed since budgets were approved"
        if portable:
            return found, ""
        machine, was = self._session.machine_of(combination), found.provenance
        if found.inherited:
            return None, f"budgets are approved for {found.profile} and not for {self._profile_of(combination)}"
        if machine.gpu is None and machine.cpu.lower() in UNKNOWN_CPUS:
            return None, "this system does not tell the model of its CPU, so no budget can be known to be its own"
        if differing := _differing(was, machine):
            return None, f"budgets are approved for {differing[0]}, and this is {differing[1]}"
        if was.threads != self._session.threads:
            return None, f"budgets are approved for {was.threads} threads, and these are {self._session.threads}"
        return found, ""

    def keep(self, run: Run, entry: Entry, approved: Approved | None, slack: float) -> None:
        """Keeps an entry to be approved; the old one where it still says the same, so that no budget creeps."""
        metric, was = entry.key.metric, approved.entry if approved and not approved.inherited else None
        same = was is not None and was.low * (1 - slack) <= entry.value <= was.high * (1 + slack)
        run.to_approve[metric] = was if was is not None and same else entry


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
    """What is approved of several measurements: the interval that holds them all.

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


def _differing(was: Provenance, now: Machine) -> tuple[str, str] | None:
    """In which parts two machines differ, as each of them has it; None where they are alike.

    What runs on the CPU does not depend on which GPU the machine has.
    """
    parts = [
        *([(was.gpu or "another GPU", now.gpu)] if now.gpu else ()),
        (was.cpu, now.cpu),
        *([(" ".join(was.flags), " ".join(now.flags))] if was.cpu == now.cpu else ()),
    ]
    differing = [pair for pair in parts if pair[0] != pair[1]]
    one, other = (" with ".join(pair[side] for pair in differing) for side in (0, 1))
    return (one, other) if differing else None
