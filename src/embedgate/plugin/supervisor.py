"""Runs the tests that ask checks in a process of their own, so that whatever ends that costs one verdict.

The process is a copy of this one, made once all tests are collected: it shares what was imported and read. Where it
ends before its tests do, the test that it was at is an error, and another copy runs those that are left. What it tells
meanwhile (see `embedgate.plugin.in_copy`) is told to pytest's plugins here, as pytest-xdist does it.
"""

from __future__ import annotations

import builtins
import re
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from embedgate.core.cache import cache_root
from embedgate.core.combination import Combination
from embedgate.core.errors import LONGEST_LINE, GateError
from embedgate.core.judgement import printable
from embedgate.plugin.bench import BENCH, case_of, progress
from embedgate.plugin.ending import MOST_ENDS, record_of
from embedgate.plugin.in_copy import REPORTED, WARNED, At, Done, End, Facts, Hook, Line, Measured, Of, become
from embedgate.report.facts import facts_together
from embedgate.runtime import crash_notes, deaths
from embedgate.runtime.forked import CLOSED, Forked, TimeIsUp, Unreadable

if TYPE_CHECKING:
    from embedgate.checks import Case

# What the process may take between two tests, and at its end: it approves there, and releases what was opened.
BETWEEN_SECONDS = 3600.0
# How long after the process this one may be sent SIGTERM by whoever sends it to a whole group or container.
TOGETHER_SECONDS = 1.0
ALONE = "run it alone: --gate-combination {}"
REASON = re.compile(r"\b(error|fatal|terminate|abort\w*|assert\w*|exception|out of memory)\b", re.IGNORECASE)
# The parts of a test, in their order.
STAGES = ("setup", "call", "teardown")


class Supervisor:
    """Runs the tests of a session that ask checks.

    Args:
        session: The session.
    """

    def __init__(self, session: pytest.Session) -> None:
        self._session = session
        self._config = session.config
        self._bench = session.config.stash[BENCH]
        self._show = progress(session.config)
        self._ends: Counter[Combination] = Counter()
        self._spent: defaultdict[Combination, float] = defaultdict(float)
        # Of the process that runs: what it has left, where it is, whose work goes on since when, what was known then.
        self._left: list[int] = []
        self._at: int | None = None
        self._last: int | None = None
        self._stage = ""
        self._of: Combination | None = None
        self._since = self._began = time.monotonic()
        self._facts: dict[str, Any] = {}

    def run(self) -> None:
        """Runs them, in one process after another where one ends early.

        Raises:
            KeyboardInterrupt: If the session was interrupted.
        """
        self._bench.follows = True
        if (folders := getattr(self._config, "_tmp_path_factory", None)) is not None:
            folders.getbasetemp()  # made once, or each process would take it for an earlier session's
        left = [place for place, item in enumerate(self._session.items) if case_of(item)]
        while left and not self._stops:
            left = self._run_some(left)

    @property
    def _stops(self) -> bool:
        return bool(self._session.shouldfail or self._session.shouldstop)

    def _run_some(self, places: Sequence[int]) -> list[int]:
        """Runs tests until their process ends; those that are left then."""
        self._left, self._at, self._of, self._since = [*places], None, None, time.monotonic()
        self._last, self._facts = None, self._bench.collector.facts
        try:
            process = Forked(partial(become, self._session, places))
        except OSError as error:
            raise pytest.UsageError(
                f"the system lets no process be copied for the tests that are left ({error}); "
                "allow it more processes or memory, or give --gate-isolate=off"
            ) from error
        try:
            how, is_late = self._follow(process)
        except BaseException:
            self._stop(process)
            raise
        if how:
            self._bury(process, how, is_late=is_late)
        return self._left

    def _follow(self, process: Forked) -> tuple[str, bool]:
        """Passes on what is told: how the process ended before its tests, if it did, and whether it took too long."""
        try:
            for said in process.told(self._by):
                if isinstance(said, End):
                    for _ in process.rest():
                        pass
                    process.end()
                    self._left = []
                    self._take(said)
                    return "", False
                self._pass_on(said)
        except TimeIsUp:
            process.end(telling=True)
            if self._at is None:
                return f"did nothing for {BETWEEN_SECONDS // 60:.0f} minutes", True
            limit = self._bench.settings.time_limit
            return f"took more than --gate-time-limit={limit:g} allows, in minutes", True
        except Unreadable as error:
            process.end()
            return f"told what cannot be read ({error})", False
        mute, how = process.lives_on(), process.end()
        if how == deaths.TERMINATED:
            time.sleep(TOGETHER_SECONDS)  # which SIGTERM ends: then nobody is charged
        return CLOSED if mute else how, False

    def _stop(self, process: Forked) -> None:
        """Has the process end where this one is interrupted, and takes what it still tells."""
        ended = False
        try:
            for said in process.interrupt():
                if isinstance(said, End):
                    ended = True
                    self._take_over(said)
                else:
                    self._pass_on(said)
        finally:
            process.end()
            self._forget(process)
            if not ended:
                self._approves_nothing("it was interrupted")

    def _by(self) -> float | None:
        """By when the process must have told more: a combination's time is that of all its tests together."""
        if self._of is None:
            return self._since + BETWEEN_SECONDS
        if not (limit := self._bench.settings.time_limit):
            return None
        return self._since + max(0.0, 60 * limit - self._spent[self._of])

    def _turn_to(self, of: Combination | None) -> None:
        """Counts time for another combination from now on; for none between tests."""
        now = time.monotonic()
        if self._of is not None:
            self._spent[self._of] += now - self._since
        self._of, self._since = of, now

    def _case(self, place: int) -> Case:
        case = case_of(self._session.items[place])
        assert case is not None, "others run elsewhere"
        return case

    def _pass_on(self, said: Any) -> None:
        if isinstance(said, At):
            self._at, self._stage, self._began = said.place, "", time.monotonic()
            self._turn_to(self._case(said.place).combination)
        elif isinstance(said, Of):
            self._turn_to(Combination.parse(said.combination))
        elif isinstance(said, Done):
            self._left.remove(said.place)
            self._at, self._last = None, said.place
            self._turn_to(None)
        elif isinstance(said, Hook):
            self._call(said)
        elif isinstance(said, Line):
            self._show(said.text)
            if self._at is None:
                self._since = time.monotonic()  # it is at work
        elif isinstance(said, Facts):
            self._know(said.facts)
        elif isinstance(said, Measured):
            self._gather(said.benchmarks)

    def _call(self, said: Hook) -> None:
        """Tells pytest's plugins what they would have been told there."""
        given, hook = dict(said.given), self._config.hook
        if said.name == WARNED:
            plain = dict(given["warning_message"])
            category = getattr(builtins, plain["category"])
            plain.update(message=category(plain["message"]), category=category)
            given["warning_message"] = warnings.WarningMessage(**plain)
            hook.pytest_warning_recorded.call_historic(kwargs=given)
            return
        if said.name == REPORTED:
            given["report"] = hook.pytest_report_from_serializable(config=self._config, data=given["report"])
            self._stage = given["report"].when
        assert self._at is not None, "it tells of a test while it is at one"
        getattr(self._session.items[self._at].ihook, said.name)(**given)

    def _know(self, facts: Mapping[str, Any]) -> None:
        """Keeps what this process ran on, beside what those before it did."""
        if facts:
            self._bench.collector.knows(facts_together(self._facts, dict(facts)))

    def _gather(self, benchmarks: Sequence[Any]) -> None:
        """Hands what pytest-benchmark made to its table and files."""
        items = {item.nodeid: item for item in self._session.items}
        for benchmark in benchmarks:
            callspec = getattr(items.get(benchmark.fullname), "callspec", None)
            benchmark.params = callspec.params if callspec else None
            benchmark.param = callspec.id if callspec else None
            self._config._benchmarksession.benchmarks.append(benchmark)  # type: ignore[attr-defined]

    def _take(self, said: End) -> None:
        """Takes what is known at the end, and ends as the process did."""
        self._take_over(said)
        if said.internal:
            raise RuntimeError(f"in the process of the tests:\n{said.internal}")
        if said.ended is not None:
            raise pytest.exit.Exception(*said.ended)
        if said.interrupted:
            raise KeyboardInterrupt

    def _take_over(self, said: End) -> None:
        collector = self._bench.collector
        self._know(said.facts)
        collector.changes = said.changes
        collector.base = {**said.base} or collector.base
        collector.trouble += said.trouble

    def _bury(self, process: Forked, how: str, *, is_late: bool) -> None:
        """Makes an error of the test that the process was at, and of what is left of a combination that is lost.

        Raises:
            RuntimeError: If it ended before any test.
        """
        self._forget(process)
        whose = self._of
        self._turn_to(None)
        self._bench.lost_some = True
        place = self._last if self._at is None else self._at
        if place is None:
            raise RuntimeError(f"the process of the tests {how} before the first of them")
        case, item, printed = self._case(place), self._session.items[place], self._printed()
        whose = whose or case.combination
        needed = "" if whose == case.combination else f", which {case.combination} needs,"
        cause = f"{whose}{needed} {how} {'in' if self._at is not None else 'after'} {item.name}{_last_words(printed)}"
        if self._at is None and not self._left:
            cause = f"the process of the tests {how} after the last of them, {item.name}{_last_words(printed)}"
        self._ends[whose] += 1
        if is_late or self._ends[whose] >= MOST_ENDS:
            self._bench.lost[whose] = cause
        if self._at is None:
            self._bench.collector.trouble.append(cause)
        else:
            self._left.remove(place)
            self._report(item, case, str(GateError(cause, ALONE.format(whose))), printed)
        self._approves_nothing("what the process had measured that ended is lost")

    def _approves_nothing(self, why: str) -> None:
        """Says why nothing is approved, once."""
        trouble, line = self._bench.collector.trouble, "nothing was approved: "
        if self._bench.settings.update and not any(each.startswith(line) for each in trouble):
            trouble.append(f"{line}{why}; mend that, and run --gate-update again")

    def _forget(self, process: Forked) -> None:
        """Removes the note of what the process was at, whose end is told here."""
        crash_notes.forget(cache_root(self._bench.settings.cache), process.pid)

    def _report(self, item: pytest.Item, case: Case, message: str, printed: str) -> None:
        """Tells pytest's plugins that a test has ended in an error."""
        when: Any = STAGES[min(STAGES.index(self._stage) + 1, len(STAGES) - 1)] if self._stage else STAGES[0]
        report = pytest.TestReport(
            nodeid=item.nodeid,
            location=item.location,
            keywords=dict.fromkeys(item.keywords, 1),
            outcome="failed",
            longrepr=message,
            when=when,
            sections=[("Captured output of its process", printed)] if printed else [],
            duration=(seconds := time.monotonic() - self._began),
            start=(now := time.time()) - seconds,
            stop=now,
        )
        report.gate = record_of(case, error=message)  # type: ignore[attr-defined]
        item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)

    def _printed(self) -> str:
        """What the process printed in its last test: it writes to the file that this one would."""
        capture = self._config.pluginmanager.get_plugin("capturemanager")
        return "".join(capture.read_global_capture()) if capture and capture._global_capturing else ""


def _last_words(printed: str) -> str:
    """The last line that reads as the reason of an end, since libraries print much else."""
    lines = [line.strip() for line in printed.splitlines() if REASON.search(line)]
    return f"; the last line that may tell why: {printable(lines[-1])[:LONGEST_LINE]}" if lines else ""
