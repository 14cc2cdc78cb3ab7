"""The course of a session: the order of its tests, how far it is, and how long the rest will take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from embedgate.core.errors import counted

if TYPE_CHECKING:
    from embedgate.checks import Case, Check
    from embedgate.checks.check import Phase
    from embedgate.core.combination import Combination

Place = tuple[int, int, int]


def places(combinations: Sequence[Combination], checks: Iterable[Check]) -> Callable[[Case | None], Place]:
    """Returns what sorts tests: by phase, in it combination after combination, and of one what says most first.

    Tests that ask no check come last.

    Args:
        combinations: Those asked for, the references first.
        checks: The checks there are, in their order.
    """
    from embedgate.checks.check import PHASES

    combination_at = {combination: place for place, combination in enumerate(combinations)}
    check_at = {check.name: place for place, check in enumerate(checks)}

    def place(case: Case | None) -> Place:
        if case is None:
            return len(PHASES), 0, 0
        # What belongs to no combination's row, such as an upgrade, comes once all rows are known.
        own = combination_at.get(case.combination) if case.check.in_rows else None
        at = len(combination_at) if own is None else own
        return PHASES.index(case.check.phase), at, check_at.get(case.check.name, len(check_at))

    return place


class Course:
    """How far a session is.

    Args:
        cases: What is asked, in the order of the tests.
        progress: Called with a short line where the next combination begins.
    """

    def __init__(self, cases: Iterable[Case], progress: Callable[[str], None]) -> None:
        self._cases = [case for case in cases if case.check.builds]
        self._progress = progress
        self._at: tuple[str, Combination] | None = None
        self._built: list[float] = []
        self._met: set[Combination] = set()
        self._missing: set[Combination] = set()
        self._done = 0
        self._of_kind: Counter[str] = Counter()
        self._timed: Counter[str] = Counter()
        self._seconds: dict[str, float] = {}
        self._fresh = self._ran = False
        self._spent = 0.0

    def misses(self, combination: Combination) -> None:
        """Remembers that a combination cannot run here, so that nothing of it is left to do."""
        self._missing.add(combination)

    def reaches(self, case: Case) -> None:
        """Tells that a case is next, in a line where it is the first one of a combination in a phase.

        Its combination can run, and need not be built yet.
        """
        if case.combination not in self._met:
            self._met.add(case.combination)
            self._fresh = True
        if (at := (case.check.phase, case.combination)) != self._at:
            self._at = at
            self._progress(self._line(case))

    def took(self, case: Case, when: str, seconds: float) -> None:
        """Remembers how long a part of a test took.

        Args:
            case: What it asked.
            when: `setup`, `call` or `teardown`, in this order; without `call`, it was skipped or went wrong.
            seconds: How long.
        """
        if when == "setup":
            self._ran, self._spent = False, seconds
            if self._fresh:
                self._built.append(seconds)
                self._fresh, self._spent = False, 0.0
            return
        self._spent += seconds
        if when == "call":
            self._ran = True
        elif case.check.builds and case.combination not in self._missing:
            name = case.check.name
            self._of_kind[name] += 1
            self._done += 1
            if self._ran:
                self._timed[name] += 1
                self._seconds[name] = self._seconds.get(name, 0.0) + self._spent

    def _line(self, case: Case) -> str:
        cases = [each for each in self._cases if each.combination not in self._missing]
        combinations = list(dict.fromkeys(each.combination for each in cases))
        number = combinations.index(case.combination) + 1
        line = f"combination {number} of {len(combinations)}: {case.combination}, {case.check.phase}"
        if not self._done:
            return line
        done = f"{self._done:,} of {counted(len(cases), 'check')} done"
        return "; ".join(filter(None, (line, done, self._left(case.check.phase, cases))))

    def _left(self, phase: Phase, cases: Sequence[Case]) -> str:
        """How long the rest takes, by what each check took so far; empty where most of the phase is not met yet.

        Checks of the phase that are not met yet count as others. Later phases are left out until they are met.
        """
        from embedgate.checks.check import PHASES

        phase_of = {case.check.name: case.check.phase for case in cases}
        rest = Counter(case.check.name for case in cases) - self._of_kind
        known = Counter({name: count for name, count in rest.items() if self._timed[name]})
        here = Counter({name: count for name, count in rest.items() if phase_of[name] == phase})
        if not self._built or 2 * (here & known).total() < here.total():
            return ""
        seconds = sum(count * self._seconds[name] / self._timed[name] for name, count in known.items())
        seconds += (here - known).total() * sum(self._seconds.values()) / self._timed.total()
        unbuilt = len({case.combination for case in cases} - self._met) + self._fresh
        seconds += unbuilt * sum(self._built) / len(self._built)
        unmet = {phase_of[name] for name in rest - known} - {phase}
        later = " and ".join(each for each in PHASES if each in unmet)
        return shown(seconds) + (f", without {later}" if later else "")


def shown(seconds: float) -> str:
    """A time that is left, as a person reads it."""
    if seconds < 90:
        return f"about {max(10, 10 * round(seconds / 10))} s left"
    minutes = seconds / 60
    return f"about {minutes:.0f} min left" if minutes < 90 else f"about {minutes / 60:.1f} h left"
