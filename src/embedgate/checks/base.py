"""What had been judged by the bar of the base branch, of what was measured once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from embedgate.approved.base import expected_lines
from embedgate.approved.examples import FILE_NAME as PINNED
from embedgate.approved.proposal import SUFFIXES
from embedgate.approved.ranges import RangesStore
from embedgate.approved.tolerances import changed_numbers
from embedgate.checks.check import Case
from embedgate.checks.context import Context
from embedgate.checks.properties import Examples
from embedgate.checks.stored import StoredVectors
from embedgate.core.combination import Combination
from embedgate.core.errors import GateError
from embedgate.core.judgement import Judgement


@dataclass(frozen=True)
class Outcome:
    """What a case comes to by one bar.

    Attributes:
        judgement: The judgement.
        expected: The entry that expects it to fail, as it says itself; empty where none does.
    """

    judgement: Judgement
    expected: str = ""


class Taken:
    """Stands for pytest-benchmark's fixture where turns that were taken are judged once more.

    Attributes:
        disabled: Whether it was disabled as they were to be taken.
        extra_info: Of no use to anybody.
    """

    def __init__(self, disabled: bool) -> None:
        self.disabled = disabled
        self.extra_info: dict[str, Any] = {}

    def pedantic(self, *_: Any, **__: Any) -> None:
        """Takes no turn."""


class BaseBar:
    """The bar of the base branch, beside the one that the session judges by."""

    def __init__(self, context: Context) -> None:
        self._own = context
        self._base = context.plan.base
        self._can_be_read = True
        self._tables: dict[Combination, set[str]] = {}
        note = self._base.note if self._base else ""
        self._trouble: dict[str, None] = {note: None} if note else {}

    @property
    def differs(self) -> bool:
        """Whether any file of it is another."""
        return bool(self._base and self._base.changed)

    @cached_property
    def _context(self) -> Context:
        """The context that judges by it."""
        assert self._base is not None, "there is a base"
        assert self._base.folder is not None, "it has a bar"
        anew = [StoredVectors] if any(name.endswith(RangesStore.suffix) for name in self._base.changed) else []
        return self._own.by(self._base.folder, [*anew, *([Examples] if PINNED in self._base.changed else [])])

    def outcome(self, case: Case, own: Outcome, given: dict[str, Any] | None) -> Outcome | None:
        """What a case comes to by it; None where that is the same as by the session's own.

        Args:
            case: The case.
            own: What it came to.
            given: What its test handed to `uphold`; None where that was the judgement itself, which is what counts.

        Raises:
            GateError: If it cannot be judged by it, under `--gate-strict`; else a report tells that.
        """
        if not (self.differs and case.check.builds):
            return None
        try:
            judgement = own.judgement
            if given is not None and self._concerns(case):
                taken = {name: _taken(value) for name, value in given.items()}
                judgement = self._named(self._context.judge(case, **taken))
            found = Outcome(judgement, str(self._context.expected(judgement) or ""))
        except GateError as error:
            if self._own.settings.strict.is_full:
                raise GateError(self._in_words(error.cause), error.action) from error
            self._trouble[self._in_words(str(error))] = None
            return None
        return None if _same(found, own) else found

    def close(self) -> None:
        """Releases what was made to judge by it."""
        if "_context" in self.__dict__:
            self._context.close()

    def facts(self) -> dict[str, Any]:
        """What reports tell of it, as JSON values; nothing where there is nothing to compare with."""
        base = self._base
        if base is None:
            return {}
        return {
            "ref": base.ref,
            "commit": base.commit,
            "folder": base.name,
            "missing": base.missing,
            "differences": [*self._differences()],
            "trouble": [*self._trouble],
            "counts": self._own.settings.strict.is_full,
            "judged": self._own.has_session and self._can_be_read,
        }

    def _differences(self) -> Iterator[str]:
        """What differs, a line for each number, expected failure, and file of approved values."""
        if self._base is None or not self.differs:
            return
        try:
            theirs, there = self._context.tolerances, self._context.expectations
            yield from (f"tolerance {line}" for line in changed_numbers(theirs.numbers, self._own.tolerances.numbers))
            mine = self._own.expectations.entries
            yield from (f"expected failure {line}" for line in expected_lines(there.entries, mine))
        except GateError as error:
            self._trouble[self._in_words(str(error))] = None
            self._can_be_read = False
            yield from (f"{name}: changed" for name in self._base.changed if name.endswith(".toml"))
        yield from (f"approved {line}" for line in self._base.value_lines())

    def _concerns(self, case: Case) -> bool:
        """Whether a case may be judged otherwise by it."""
        check, combination = case.check, case.combination
        if (check.against == "approved" or check.family == "search") and self._approved_apart(combination):
            return True
        if check.reproduces and self._base is not None and PINNED in self._base.changed:
            return True
        if combination not in self._tables:
            self._tables[combination] = self._own.tolerances.tables_apart(self._context.tolerances, combination)
        apart = self._tables[combination]
        return bool(apart) if check.tolerances is None else not apart.isdisjoint(("alpha", *check.tolerances))

    def _approved_apart(self, combination: Combination) -> bool:
        """Whether what is approved of the model, for a combination's profile or one above it, is another."""
        model, chain = self._own.plan.model.name, self._own.profile_of(combination).chain
        files = {f"{profile}/{model}{suffix}" for profile in chain for suffix in SUFFIXES}
        return self._base is not None and not files.isdisjoint(self._base.changed)

    def _in_words(self, text: str) -> str:
        return self._base.named(text) if self._base else text

    def _named(self, judgement: Judgement) -> Judgement:
        """A judgement that calls the folder of the base branch by its name, not by where it lies here."""
        told, cause = self._in_words, judgement.diagnosis
        named = replace(cause, cause=told(cause.cause), next_step=told(cause.next_step)) if cause else None
        details = tuple(map(told, judgement.details))
        return replace(judgement, message=told(judgement.message), diagnosis=named, details=details)


def _same(one: Outcome, other: Outcome) -> bool:
    """Whether two outcomes say the same; in what disturbed a measurement, they may differ."""
    mine, theirs = (replace(each.judgement, details=(), example=()) for each in (one, other))
    return mine == theirs and (mine.verdict != "fail" or one.expected == other.expected)


def _taken(given: Any) -> Any:
    """What a test has given, where nothing is to be timed any more."""
    return Taken(given.disabled) if hasattr(given, "pedantic") else given
