"""The context that checks judge by: a session's runs, human decisions, what was approved, and how to name a cause."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from embedgate.approved.expected_failures import Expectations, Expected
from embedgate.approved.tolerances import Tolerances
from embedgate.checks.causes import cause_of
from embedgate.checks.check import Case, Family
from embedgate.checks.registry import CheckRegistry
from embedgate.core.combination import Combination
from embedgate.core.errors import GateError, NotRecorded, one_line
from embedgate.core.family import Share
from embedgate.core.judgement import REPETITION, Diagnosis, Judgement
from embedgate.core.machine import HardwareProfile
from embedgate.core.profiles import Profiles
from embedgate.core.secrets import shown_arguments
from embedgate.core.settings import EXPECTED, TOLERANCES, Settings, bundled_baselines
from embedgate.encoders.evidence import IN_TRAINING
from embedgate.report.receipt import Invocation
from embedgate.runtime.crash_notes import interrupted
from embedgate.runtime.plan import Plan
from embedgate.runtime.portions import EVERYTHING, Needs
from embedgate.runtime.session import Run, Session

Part = TypeVar("Part")
Maker = TypeVar("Maker", bound=Callable[..., object])

_MEASURES = "_embedgate_measures"


def needs_of(plan: Plan, cases: Iterable[Case]) -> Needs:
    """Which texts the combinations of a session must encode.

    Args:
        plan: What was asked for.
        cases: What the session asks.
    """
    whole, searched, encoding = set[Combination](), set[Combination](), set[Combination]()
    for case in cases:
        both = (case.combination, case.combination.reference)
        if case.check.texts != "none":
            encoding.update(both)
        if case.check.texts == "all":
            whole.update(both)
        if case.check.searches:
            searched.update(both)
    runs = {each for combination in plan.encoding for each in (combination, combination.reference)}
    # What is approved or recorded is so over all texts.
    free = {each for each in runs if plan.is_live(each) and plan.recording(each) is None}
    if plan.settings.update:
        free = set()
    early = free - whole - searched if plan.settings.stops_early else set[Combination]()
    # What has all texts at once, such as recorded answers, is compared over all of them.
    early -= {each.reference for each in runs - early}
    return Needs(frozenset(early), frozenset(free - encoding), frozenset(searched))


def measuring(part: Maker) -> Maker:
    """Marks a part that measures, whatever was approved: judging by another bar has nothing measured twice."""
    setattr(part, _MEASURES, True)
    return part


class Context:
    """The context that every check is handed; one for a session.

    What checks of one module share, such as indexes or what was timed, is a class of that module: `of` makes it once.

    Args:
        plan: What was asked for.
        checks: The checks there are.
        progress: Called with a short line at each long step.
        cases: What the session asks.
        needs: Which texts combinations must encode; all of them where it is not known what the session asks.
        invocation: How pytest was called.
        command: The words that call pytest for the same places.
        beside: The context that judges what is measured by another bar; None where there is none.
        anew: Parts that measure, and that this bar has measure otherwise than the other.

    Attributes:
        plan: What was asked for.
        checks: The checks there are.
        cases: What the session asks.
        invocation: How pytest was called.
        command: The words that call pytest for the same places.
    """

    def __init__(
        self,
        plan: Plan,
        checks: CheckRegistry | None = None,
        *,
        progress: Callable[[str], None] = lambda _: None,
        families: Mapping[Family, int] | None = None,
        cases: Sequence[Case] | None = None,
        needs: Needs | None = None,
        invocation: Invocation | None = None,
        command: Sequence[str] = ("pytest",),
        beside: Context | None = None,
        anew: Collection[Callable[..., object]] = (),
    ) -> None:
        self.plan = plan
        self._beside = beside
        self._anew = anew
        self.checks = checks or CheckRegistry()
        self.invocation = invocation or Invocation()
        self.command = tuple(command)
        self._progress = progress
        self.cases = tuple(cases or ())
        self.families = families or {}
        self._needs = needs or EVERYTHING
        self._parts: dict[Callable[[Context], object], object] = {}
        self._diagnoses: dict[Combination, Diagnosis] = {}

    @cached_property
    def session(self) -> Session:
        """The runs; made when a check first needs one."""
        if self._beside is not None:
            return self._beside.session
        session = Session(self.plan, self._progress, self._needs)
        for what in interrupted(session.cache.root):
            cut_short = f"an earlier session ended abruptly (native crash or kill) in {what}"
            self._progress(f"{cut_short}; run that combination alone")
        return session

    @property
    def has_session(self) -> bool:
        """Whether a check has needed a run, here or beside."""
        return "session" in self.__dict__ or (self._beside is not None and self._beside.has_session)

    @property
    def settings(self) -> Settings:
        """The options of the session."""
        return self.plan.settings

    @cached_property
    def tolerances(self) -> Tolerances:
        """How much loss is acceptable.

        Raises:
            GateError: If the file is malformed.
        """
        return tolerances_of(self.plan, whole=self._beside is not None and self._beside.judges_by_embedgates)

    @cached_property
    def expectations(self) -> Expectations:
        """The failures that are expected.

        Raises:
            GateError: If the file is malformed.
        """
        return expectations_of(self.plan, self.checks)

    @cached_property
    def _profiles(self) -> Profiles:
        return Profiles(self.settings.profile, self.session.machine_of)

    @property
    def is_own(self) -> bool:
        """Whether it judges by the session's own bar: figures are of what that measured."""
        return self._beside is None

    @property
    def judges_by_embedgates(self) -> bool:
        """Whether the tolerances are those that embedgate brings along, as in a checkout of it."""
        return self.tolerances.path.resolve() == (bundled_baselines() / TOLERANCES).resolve()

    @property
    def alpha(self) -> float:
        """Level of the statistical checks."""
        return self.tolerances.alpha

    @property
    def record_command(self) -> str:
        """The command that approves what this session measures."""
        if self.settings.is_call:
            return self.settings.call(baselines="gate", update=True, reason="...")
        return f'{shlex.join(["pytest", *shown_arguments(self.settings.invocation)])} --gate-update --gate-reason "..."'

    @property
    def approve_command(self) -> str:
        """The command that approves values: of the report, where one is written; else as `record_command`."""
        folder = self.settings.report
        if folder is None:
            return self.record_command
        return f'embedgate approve {shlex.quote(str(folder / "report.json"))} --reason "..."'

    def of(self, part: Callable[[Context], Part]) -> Part:
        """Returns the part that checks of one module share, made once from this context and closed with it.

        Args:
            part: A class that is made from a context. Where it has `close()`, that is called when the session ends.
        """
        if self._beside is not None and part not in self._anew and getattr(part, _MEASURES, False):
            return self._beside.of(part)
        if part not in self._parts:
            self._parts[part] = part(self)
        return self._parts[part]  # type: ignore[return-value]

    def provide(self, part: Callable[[Context], Part], made: Part) -> None:
        """Has `of` give something in the place of what it would make, for example a clock of a test's own."""
        self._parts[part] = made

    def profile_of(self, combination: Combination) -> HardwareProfile:
        """The hardware profile whose baselines count for a combination: its device's."""
        return self._profiles.of(combination)

    def family(self, case: Case) -> int:
        """How many checks share the level of a case's, each counted by its weight."""
        return max(1, self.families.get(case.check.family, 1)) if case.check.family else 1

    def share(self, case: Case) -> Share:
        """The part of its family's level that a case has."""
        weight = self.plan.weight(case.subject.dataset)
        return {"family": max(weight, self.family(case)), "weight": weight}

    def run(self, case: Case) -> Run:
        """Returns the results of a case's combination."""
        return self.session.run(case.combination)

    def reference_run(self, case: Case) -> Run:
        """Returns the results of the reference of a case's combination."""
        return self.session.run(case.combination.reference)

    def reference_of_own(self, case: Case) -> Run:
        """As `reference_run`, for checks that bring texts of their own: it need not have encoded the datasets'."""
        return self.session.run_of_own(case.combination.reference)

    def ask(self, name: str, combination: Combination, subject: str = "", **given: object) -> Judgement:
        """Asks one check.

        Args:
            name: Name of the check.
            combination: The combination.
            subject: Id of what it is asked about; empty where the check asks one thing alone.
            **given: What a test would hand to `uphold`.

        Raises:
            GateError: If there is no such check or subject, or the combination cannot run.
        """
        return self.judge(self.checks.case(self.plan, name, combination, subject), **given)

    def asks(self, name: str, combination: Combination) -> bool:
        """Whether a session of this depth asks a check of a combination, whatever else was left out."""
        cases = self.checks.named(name).cases(self.plan)
        return any(case.combination == combination and case.is_within(self.plan) for case in cases)

    def judge(self, case: Case, **given: object) -> Judgement:
        """The judgement of a case.

        Raises:
            GateError: If the combination cannot run.
        """
        try:
            judgement = self.checks.judge(self, case, given)
        except NotRecorded as error:
            return case.unjudged(Diagnosis("recording", error.cause, error.action))
        try:
            return Judgement.from_json(judgement.to_json())  # plain values, whatever numpy left in it
        except (AttributeError, ValueError) as error:
            raise GateError(
                f"the check {case.check.name} came to what is no judgement: {one_line(error)}",
                "return case.passed(...), case.failed(...) or another of the case's judgements",
            ) from error

    def expected(self, judgement: Judgement) -> Expected | None:
        """The entry that expects a judgement to fail, where there is one."""
        profile = self.profile_of(Combination.parse(judgement.combination))
        return self.expectations.match(
            judgement.combination, judgement.dataset, judgement.check, judgement.metric, profile, judgement.verdict
        )

    def diagnose(self, run: Run) -> Diagnosis:
        """The cause of what is wrong with a run, looked for once; see `embedgate.checks.causes`."""
        if self._beside is not None:
            return self._beside.diagnose(run)
        if run.combination not in self._diagnoses:
            self._progress(f"{run.combination}: looking for the cause")
            self._diagnoses[run.combination] = with_evidence(cause_of(self.session, run), run)
        return self._diagnoses[run.combination]

    def by(self, baselines: Path, anew: Collection[Callable[..., object]] = ()) -> Context:
        """The context that judges the same runs by the tolerances and approved values of another folder.

        Args:
            baselines: The folder.
            anew: Parts that measure otherwise there.
        """
        settings = replace(self.settings, baselines=baselines)
        return Context(
            replace(self.plan, settings=settings, found=self.plan.model),
            self.checks,
            progress=self._progress,
            families=self.families,
            cases=self.cases,
            needs=self._needs,
            invocation=self.invocation,
            command=self.command,
            beside=self,
            anew=anew,
        )

    @property
    def changes(self) -> list[str]:
        """What a host project's code has changed of this process, and embedgate put back, a line each."""
        return [*self.plan.registry.changes, *self.plan.engines.changes, *self.checks.changes]

    @property
    def unclosed(self) -> list[str]:
        """What encoders raised as they were closed, a line each."""
        return self.session.pool.guard.unclosed if self.has_session else []

    def close(self) -> None:
        """Releases encoders, indexes and whatever checks hold."""
        with ExitStack() as closing:  # what raises keeps no other from being closed
            if self.has_session and self._beside is None:
                closing.callback(self.session.close)
            for part in self._parts.values():
                if callable(close := getattr(part, "close", None)):
                    closing.callback(close)
            self._parts.clear()


def with_evidence(found: Diagnosis, run: Run) -> Diagnosis:
    """A diagnosis, of what does not repeat itself with the modules in training mode, where evidence shows any."""
    training = next((problem for problem in run.evidence.problems if IN_TRAINING in problem), "")
    return replace(found, cause=f"{found.cause}: {training}") if training and found.layer == REPETITION else found


def tolerances_of(plan: Plan, *, whole: bool = False) -> Tolerances:
    """The tolerances of a session.

    Args:
        plan: What was asked for.
        whole: Whether the file in its folder of baselines is embedgate's own, as it was at another commit.

    Raises:
        GateError: If the file is malformed.
    """
    own, bundled = (folder / TOLERANCES for folder in (plan.settings.baselines_folder, bundled_baselines()))
    if own == bundled or not own.is_file():
        return Tolerances.load(bundled, plan.registry, plan.engines.added)
    return Tolerances.load(own, plan.registry, plan.engines.added, over=None if whole else bundled)


def expectations_of(plan: Plan, checks: CheckRegistry) -> Expectations:
    """The expected failures of a session.

    Raises:
        GateError: If the file is malformed.
    """
    file = plan.settings.baselines_folder / EXPECTED
    return Expectations.load(file, checks=checks.kinds, metrics=checks.vocabulary)
