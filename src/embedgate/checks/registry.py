"""The checks of a session: embedgate's own, and those that a host project adds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING

from embedgate.checks.check import Case, Check
from embedgate.core.combination import Combination
from embedgate.core.depth import STANDARD, reaches
from embedgate.core.errors import GateError
from embedgate.core.host_code import OUTCOMES, HostCode
from embedgate.core.judgement import Judgement, Place
from embedgate.core.surroundings import NOT_OURS
from embedgate.report.summary import KnownChecks
from embedgate.runtime.plan import Plan

if TYPE_CHECKING:
    from embedgate.checks.context import Context


class CheckRegistry:
    """The checks there are, in the order of the report.

    A host project adds one in the hook `pytest_gate_checks(registry)`.
    """

    def __init__(self) -> None:
        from embedgate.checks import CHECKS

        self._checks = {check.name: check for check in CHECKS}
        self._code: dict[str, HostCode] = {}

    def __iter__(self) -> Iterator[Check]:
        return iter(self._checks.values())

    def add(self, check: Check) -> None:
        """Adds a check of a host project's own.

        Raises:
            GateError: If there is one of that name already.
        """
        if check.name in self._checks:
            raise GateError(f"there is a check named {check.name!r} already", "give the added check another name")
        self._checks[check.name] = check
        # What embedgate's own encoders set, they may set while it judges.
        self._code[check.name] = HostCode(f"the check {check.name}", things=NOT_OURS)

    def judge(self, context: Context, case: Case, given: Mapping[str, object]) -> Judgement:
        """Has a check judge a case.

        Args:
            context: What it judges by.
            case: The case.
            given: What its test handed to `uphold` by name.

        Raises:
            GateError: If it cannot, or a host project's calls `sys.exit`, or raises anything else that would end more
                than its own call.
        """

        def judgement() -> Judgement:
            return case.check.judge(context, case, **given)

        if (code := self._code.get(case.check.name)) is None:
            return judgement()
        if context.has_session:
            code.progress = context.session.progress
        return code.call(f"judging {case.combination}", judgement, passes=OUTCOMES)

    @property
    def changes(self) -> list[str]:
        """What checks of a host project have changed of this process, and embedgate put back, a line each."""
        return [line for code in self._code.values() for line in code.changes]

    def named(self, name: str) -> Check:
        """The check of a name.

        Raises:
            GateError: If there is none.
        """
        if name not in self._checks:
            near = get_close_matches(name, self._checks, n=1)
            step = f"did you mean {near[0]}?" if near else f"choose from {', '.join(self._checks)}"
            raise GateError(f"there is no check named {name!r}", step)
        return self._checks[name]

    def case(self, plan: Plan, name: str, combination: Combination, subject: str = "") -> Case:
        """The case of a check about one subject, whether the session would ask it or not.

        Raises:
            GateError: If there is no such check, or it knows no such subject.
        """
        check = self.named(name)
        subjects = {each.id: each for each in check.over(plan)}
        if subject not in subjects:
            raise GateError(
                f"the check {name} is not asked about {subject!r}", f"choose from {', '.join(subjects) or 'nothing'}"
            )
        return Case(check, combination, subjects[subject])

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of checks, as judgements name them."""
        return tuple(dict.fromkeys(check.kind for check in self))

    @property
    def known(self) -> KnownChecks:
        """The facts of the checks that reports must know."""
        against: dict[str, str] = {}
        for check in self:
            against.setdefault(check.kind, check.against)
        return KnownChecks(self.kinds, against)

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Everything that a judgement can have for a metric, whatever the data."""
        return tuple(dict.fromkeys(word for check in self for word in check.vocabulary()))

    def places(self, plan: Plan, combination: Combination, *, of_receipts: bool = False) -> set[Place]:
        """Everything there is to judge of a combination, whether the session asks it or not.

        Args:
            plan: What was asked for.
            combination: The combination.
            of_receipts: Whether to leave out what a receipt need not hold: what is asked at greater depths, too.
        """
        found = (
            Case(check, combination, subject)
            for check in self
            if check.builds and (check.in_receipts or not of_receipts) and combination in check.of(plan)
            for subject in check.over(plan)
        )
        # What this CPU emulates, another may have in its instructions.
        return {case.place for case in found if not of_receipts or reaches(STANDARD, case.least_depth(plan))}

    def whole(self, plan: Plan) -> list[Case]:
        """Everything there is to ask that runs a combination, in the order of the report, at whatever depth."""
        return [case for check in self if check.builds for case in check.cases(plan)]
