"""Budgets as they are approved: found for a machine like this one, and kept to be approved."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from embedgate.approved.baseline import Approved
from embedgate.approved.entries import Entry, Key
from embedgate.approved.sessions import NOT_KNOWN, ApprovedSession, Spread, log_mean, with_one_more
from embedgate.checks.approvals import Approvals
from embedgate.checks.check import Case
from embedgate.checks.context import Context
from embedgate.checks.machine import again, probe
from embedgate.core.combination import Combination
from embedgate.core.errors import BaselineError, counted
from embedgate.core.family import largest_family
from embedgate.core.judgement import APPROVAL, Diagnosis, Judgement
from embedgate.core.machine import machine_id
from embedgate.metrics import BUDGET
from embedgate.performance.paired import LOOKS, Aim, Levels, Ratio, Row, hold, lower_end, ratios, upper_end
from embedgate.performance.probe import difference

# Told in one line for all budgets of a session, so they name none.
ELSEWHERE = "budgets of memory and of a GPU's time hold on the machine that approved them alone, and this is another"
OTHER_SPEED = "budgets of time were approved on another machine ({})"
NO_PROBE = "budgets of time were approved before embedgate kept what their machine computes how fast"
# So many times faster than approved, an encoder probably no longer encodes.
REMEMBERS = 5


@dataclass(frozen=True)
class TimeBudget:
    """One way of holding a workload's turns against what was approved.

    Attributes:
        metric: Its name in the baseline.
        shown: What is held against it, where `{}` is a value.
        values: From the rows of blocks to what is held, a value per block.
        slack: By how much the budget is wider at least, as a share.
        level: How often one more session may lie beyond what several have approved.
        approved: What was approved; None where nothing was for a machine like this one.
        missing: Why there is none.
        spread: How far sessions lie apart, from this budget's and those like it.
    """

    metric: str
    shown: str
    values: Callable[[Sequence[Row]], npt.NDArray[np.float64]]
    slack: float
    level: float
    approved: Approved | None = None
    missing: str = ""
    spread: Spread = NOT_KNOWN

    @property
    def limit(self) -> float | None:
        """The most that is within budget."""
        return math.exp(self._centre + self._width) if self.approved else None

    @property
    def is_ratio(self) -> bool:
        """Whether the ratio to the reference's time is held, by which blocks are taken until it is certain."""
        return self.values is ratios

    @property
    def _sessions(self) -> tuple[ApprovedSession, ...]:
        assert self.approved is not None, "there is a budget"
        entry = self.approved.entry
        return entry.sessions or (ApprovedSession(entry.approval, entry.value),)

    @property
    def _centre(self) -> float:
        return log_mean(self._sessions)

    @property
    def _width(self) -> float:
        """How far the limit lies beyond the centre, as logarithms; one session has its own interval between."""
        assert self.approved is not None, "there is a budget"
        sessions, entry = self._sessions, self.approved.entry
        width = self.spread.width(len(sessions), self.slack, self.level)
        if len(sessions) > 1:
            return width
        return max(width, math.log1p(self.slack) + math.log(entry.high) - self._centre)

    def with_session(self, entry: Entry) -> Entry:
        """The entry with what another session measured; that alone where it is no session like those that approved.

        It is like them within the budget's width around the first session, on both sides: what approves a budget again
        and again widens it to what was seen, and never moves it away from where it began.
        """
        session = ApprovedSession(0, entry.value)
        alone = replace(entry, sessions=(session,))
        if self.approved is None or abs(math.log(entry.value / self._sessions[0].value)) > self._width:
            return alone
        was, sessions = self.approved.entry, with_one_more(self._sessions, session)
        low, high = min(was.low, entry.low), max(was.high, entry.high)
        return replace(entry, value=math.exp(log_mean(sessions)), low=low, high=high, sessions=sessions)

    def told(self, value: float) -> str:
        """A value and its budget, in words."""
        assert self.approved is not None, "what has no budget is not held against one"
        sessions, high = self._sessions, self.approved.entry.high
        if len(sessions) > 1:
            wide = math.expm1(self._width)
            approved = f"{math.exp(self._centre):.3f} approved in {len(sessions)} sessions, {wide:.0%} slack"
        else:
            wide = math.exp(self._centre + self._width) / high - 1
            approved = f"{high:.3f} approved, {wide:.0%} slack"
        return f"{self.shown.format(f'{value:.3f}')}, its budget is {self.limit:.3f} ({approved})"


class ApprovedBudgets:
    """The approved budgets of a session's combinations."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def time(self, combination: Combination, budget: TimeBudget, sha256: str, *, alike: tuple[str, ...]) -> TimeBudget:
        """Returns a budget with what was approved of it for a machine that computes as this one, or why nothing was.

        Args:
            combination: The combination.
            budget: The budget, of which nothing is known yet.
            sha256: What identifies what is timed.
            alike: How the names of those budgets begin whose sessions vary alike.

        Raises:
            BaselineError: If the baseline cannot be trusted; not where a new one is being recorded.
        """
        found, missing = self._find(combination, budget.metric, sha256)
        if found is None:
            return replace(budget, missing=missing)
        gpu = self._context.session.machine_of(combination).gpu
        other = self._other_speed(found) if gpu is None else self._other_gpu(found, gpu)
        if other:
            return replace(budget, missing=other)
        return replace(budget, approved=found, spread=self._context.of(Approvals).spread(combination, alike))

    def memory(self, combination: Combination, metric: str, sha256: str) -> tuple[Approved | None, str]:
        """As `time`, of memory: it depends on libraries and instruction sets, and on no clock.

        Raises:
            BaselineError: As `time`.
        """
        found, missing = self._find(combination, metric, sha256)
        if found is None:
            return None, missing
        gpu = self._context.session.machine_of(combination).gpu
        other = self._other_kind(found) if gpu is None else self._other_gpu(found, gpu)
        return (None, other) if other else (found, "")

    def portable(self, combination: Combination, metric: str) -> tuple[Approved | None, str]:
        """As `time`, of what is the same on every machine.

        Raises:
            BaselineError: As `time`.
        """
        return self._approved(combination, metric, "")

    def _approved(self, combination: Combination, metric: str, sha256: str) -> tuple[Approved | None, str]:
        """Whatever was approved of the same texts, or why nothing."""
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
        return found, ""

    def _find(self, combination: Combination, metric: str, sha256: str) -> tuple[Approved | None, str]:
        """What was approved for this profile and for the threads of fresh processes, or why nothing."""
        found, missing = self._approved(combination, metric, sha256)
        if found is None:
            return None, missing
        threads = self._context.settings.threads_alone
        if found.inherited:
            return None, f"budgets are approved for {found.profile} and not for {self._context.profile_of(combination)}"
        if found.provenance.threads != threads:
            was = counted(found.provenance.threads, "thread")
            return None, f"budgets were approved with {was}, and they are measured with {threads} here"
        return found, ""

    def _other_speed(self, found: Approved) -> str:
        """Tells what the machines that approved a time do otherwise than this one."""
        if not found.probes:
            return NO_PROBE
        told = difference(self._context.of(probe), found.probes) and difference(self._context.of(again), found.probes)
        return OTHER_SPEED.format(told) if told else ""

    def _other_gpu(self, found: Approved, gpu: str) -> str:
        was = found.provenance
        if was.machine != machine_id():
            return ELSEWHERE
        return "" if was.gpu == gpu else f"budgets are approved for {was.gpu or 'another GPU'}, and this is {gpu}"

    def _other_kind(self, found: Approved) -> str:
        """Whether memory was approved where it may be another: with other instruction sets, or on another system.

        On the machine that approved it, a library's new version is judged: it may be what takes more.
        """
        was, session = found.provenance, self._context.session
        machine = session.machine
        if was.flags == machine.flags and was.machine == machine_id():
            return ""
        same = (was.flags, was.os, was.python) == (machine.flags, machine.os, machine.python)
        return "" if same and _computing(was.libraries) == _computing(session.libraries) else ELSEWHERE

    def keep(self, entry: Entry, approved: Approved | None, slack: float) -> None:
        """Keeps an entry to be approved; the old one where it still says the same, so that no budget creeps."""
        was = approved.entry if approved and not approved.inherited else None
        same = was is not None and was.low * (1 - slack) <= entry.value <= was.high * (1 + slack)
        self._context.of(Approvals).keep(was if was is not None and same else entry)

    def keep_time(self, entry: Entry, budget: TimeBudget) -> None:
        """Keeps what a session measured of a time to be approved, beside the sessions that have approved it."""
        self._context.of(Approvals).keep(budget.with_session(entry))


def _computing(libraries: Mapping[str, str]) -> dict[str, str]:
    return {name: version for name, version in libraries.items() if name != "embedgate"}


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
        high=_finite(found.high),
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
    diagnosis = Diagnosis(APPROVAL, missing, f"approve it by: {record}")
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
        confirming = again()
        confirmed = hold(confirming, aim)
        both = f"interval {_ends(found)}, and {_ends(confirmed)} {where}"
        if confirmed.verdict != "fail":
            message = f"{told}: {both} does not confirm that it is slower"
            return _left_open(judged, confirmed, aim, message, notes)
        diagnosis = Diagnosis("time", told, f"{step}; once it is meant: {record}")
        most = most_checks(levels, [values, confirming], lambda share: replace(budget, level=share).limit)
        red = replace(judged, verdict="fail", message=told, diagnosis=diagnosis, details=(both, *notes))
        return replace(red, largest_family=most)
    if found.verdict == "inconclusive":
        message = f"{told}: the interval {_ends(found)} of {found.blocks} blocks holds both answers"
        return _left_open(judged, found, aim, message, notes)
    if found.high < entry.low * (1 - budget.slack):
        stale = f"{budget.shown.format(f'{found.median:.3f}')}, {entry.value:.3f} is approved: stale"
        if remembers and found.high < entry.low / REMEMBERS:
            stale += f"; {remembers}"
        return replace(judged, message=told, details=(f"{stale}, approve it by: {record}",))
    return replace(judged, message=told)


def _left_open(judged: Judgement, found: Ratio, aim: Aim, message: str, notes: tuple[str, ...]) -> Judgement:
    """An inconclusive judgement, with the figures that leave it open: of two measurements, those of the second.

    The first was only repeated since it was red, so it says too much. The rates in a second stay the first's.
    """
    return replace(
        judged,
        verdict="inconclusive",
        message=message,
        observed=found.median,
        low=found.low,
        high=_finite(found.high),
        limit=aim.limit,
        n=found.blocks,
        details=notes,
    )


def _finite(end: float) -> float | None:
    return end if math.isfinite(end) else None


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


def most_checks(
    levels: Levels, measurements: Sequence[npt.NDArray[np.float64]], limit: Callable[[float], float | None]
) -> int:
    """The most checks of time that a session can have for what is red in both measurements still to be red.

    Args:
        levels: How sure it had to be.
        measurements: What was timed, values per block.
        limit: From what one budget has of alpha to the most that is within budget.
    """

    def is_red(checks: int) -> bool:
        among = levels.among(checks)
        most = limit(among.share)
        return most is not None and all(lower_end(values, among.to_fail) > most for values in measurements)

    return largest_family(is_red, levels.checks)


def _ends(found: Ratio) -> str:
    return f"{found.low:.3f} to {found.high:.3f}"
