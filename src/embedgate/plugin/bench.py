"""The plugin's state for one pytest session."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from embedgate.core.errors import BuildError
from embedgate.core.host_code import OUTCOMES, HostCode
from embedgate.core.inert import one_line_inert
from embedgate.core.judgement import Judgement, place_name
from embedgate.plugin.course import Course
from embedgate.plugin.options import settings_of
from embedgate.report.collector import Collector, told
from embedgate.report.facts import coverage

if TYPE_CHECKING:
    from embedgate.checks import Case, CheckRegistry, Context
    from embedgate.checks.check import Family
    from embedgate.core.combination import Combination
    from embedgate.report.receipt import Invocation
    from embedgate.report.summary import Summary
    from embedgate.runtime.plan import Plan
    from embedgate.runtime.session import Session

# The fixture that a check's cases are the parameters of.
CASE = "gate_case"


@dataclass(frozen=True)
class Found:
    """What a test found.

    Attributes:
        judgement: The judgement that counts.
        expected: The entry that expects it to fail, as it says itself; empty where none does.
        other: The judgement by the other bar, see `embedgate.report.records.Record`; None where it is the same.
        other_expected: The entry that expects that one.
    """

    judgement: Judgement
    expected: str = ""
    other: Judgement | None = None
    other_expected: str = ""


class Bench:
    """The plugin's state for one pytest session; heavy parts are made when a test first needs them."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.settings = settings_of(config)
        self.collector = Collector(strict=self.settings.strict)
        self.selected: list[Case] = []
        self.deselected: list[Case] = []
        self.misuse = ""
        self.lost: dict[Combination, str] = {}
        self.gpus: list[str] = []
        self.gpu_of: dict[str, str] = {}
        self.tell = self.collector.knows
        # Where tests run in a process of their own: whether this is the process that follows them, or theirs; whether
        # one has ended early, so that what is known of what was measured is a part of it.
        self.follows = self.is_copy = self.lost_some = False
        # What is shown and written at the end: the findings, the files, and why these could not be written.
        self.summary: Summary | None = None
        self.written: Sequence[Path] = ()
        self.unwritten = ""
        self.at: Callable[[Combination], object] = lambda _: None
        self.known_ids: Collection[str] = ()
        self._met: Combination | None = None
        self._due = 0.0
        self._explained: set[tuple[str, str, str]] = set()

    @cached_property
    def plan(self) -> Plan:
        """Combinations and datasets of the session."""
        from embedgate.encoders.registry import Registry
        from embedgate.runtime.plan import Plan
        from embedgate.vectors.engines.base import EngineRegistry

        registry = Registry()
        add(self.config, "pytest_gate_combinations", registry)
        engines = EngineRegistry()
        add(self.config, "pytest_gate_engines", engines)
        writes = not self.config.option.collectonly
        return Plan.of(self.settings, registry, engines, progress(self.config), writes=writes)

    @cached_property
    def checks(self) -> CheckRegistry:
        """The checks there are."""
        from embedgate.checks import CheckRegistry

        registry = CheckRegistry()
        add(self.config, "pytest_gate_checks", registry)
        return registry

    @cached_property
    def context(self) -> Context:
        """The context that checks judge by; made once all tests are collected."""
        from embedgate.checks import Context
        from embedgate.checks.context import needs_of

        return Context(
            self.plan,
            self.checks,
            progress=progress(self.config),
            families=self.families,
            cases=self.selected,
            needs=needs_of(self.plan, self.selected),
            invocation=self.invocation,
            command=self._command,
        )

    def refuse_lost(self, combination: Combination) -> None:
        """Builds nothing again that ended the process of the tests, nor what is judged against that.

        Raises:
            GateError: If a combination, or its reference, did.
        """
        for each in (combination, combination.reference):
            if each in self.lost:
                raise BuildError(self.lost[each], f"run it alone: --gate-combination {each}")

    @property
    def session(self) -> Session | None:
        """The runs; None where no test has needed one."""
        return self.context.session if self.has_context and self.context.has_session else None

    @property
    def has_context(self) -> bool:
        """Whether a test has needed the context."""
        return "context" in self.__dict__

    @property
    def invocation(self) -> Invocation:
        """How pytest was called, as far as it matters to a receipt."""
        from embedgate.report.receipt import Invocation

        config, option = self.config, self.config.option
        return Invocation(config.invocation_params.dir, config.rootpath, config.args, option.markexpr, option.keyword)

    @cached_property
    def course(self) -> Course:
        """How far the session is; made once all tests are collected."""
        return Course(self.selected, progress(self.config))

    @property
    def families(self) -> dict[Family, int]:
        """How many checks of each family are asked, by their weights; one that several tests ask counts once."""
        asked = {(case.combination, case.place): case for case in self.selected}
        found: Counter[Family] = Counter()
        for case in asked.values():
            if family := case.check.family:
                found[family] += self.plan.weight(case.subject.dataset)
        return dict(found)

    @property
    def coverage(self) -> dict[str, Any]:
        """How many checks were asked, and how many there are of the combinations of which any was.

        Whatever was left out counts: by `-k`, `-m`, the depth, or since its suite was not given. `of` says the same by
        combination, and which checks these are: each that was asked with its family, and with its weight where it has
        one, each other with its kind and what would ask it.
        """
        found: dict[str, dict[str, Any]] = {}
        for case in self.selected:
            if case.check.builds:
                of = found.setdefault(case.combination.id, {"whole": 0, "asked": {}, "weights": {}, "left": {}})
                of["asked"][name := place_name(case.place)] = case.check.family or ""
                if case.check.family and (weight := self.plan.weight(case.subject.dataset)) > 1:
                    of["weights"][name] = weight
        for case in self.checks.whole(self.plan):
            if case.combination.id in found:
                of = found[case.combination.id]
                of["whole"] += 1
                if (name := place_name(case.place)) not in of["asked"]:
                    depth = "" if case.is_within(self.plan) else case.asked_from(self.plan)
                    of["left"][name] = [case.check.kind, depth]
        return coverage(found)

    @property
    def asked(self) -> dict[str, dict[str, int]]:
        """How much of what there is to judge the session was asked for, by combination."""
        from embedgate.report.receipt import Asked

        selected, deselected = (
            Counter(case.combination.id for case in cases if case.check.builds and case.check.in_rows)
            for cases in (self.selected, self.deselected)
        )
        return Asked(selected, deselected).to_json()

    def facts(self, *, ended: bool) -> dict[str, Any]:
        """What the session ran on, as far as it is known by now; see `embedgate.checks.facts.facts_of`."""
        from embedgate.checks.facts import facts_of

        return {**facts_of(self.context, ended=ended), "checks": self.coverage, "asked": self.asked}

    def release_for(self, following: pytest.Item | None) -> None:
        """Closes what the next test does not need, while the process is still at the one that needed it.

        A crash as it is closed is then an error of its own combination.
        """
        case = None if following is None else case_of(following)
        if case is not None and self.session is not None:
            self.session.pool.close_others(case.combination)

    def meets(self, case: Case) -> None:
        """Tells what the session ran on by now, where a case is of another combination than the one before.

        Gathering that takes a hundredth of the time at most: with many combinations and entries it is long.
        """
        began = time.monotonic()
        if case.combination != self._met and self.session is not None and began >= self._due:
            self._met = case.combination
            with told(self.collector):
                self.tell(self.facts(ended=False))
            now = time.monotonic()
            self._due = now + 100 * (now - began)

    def seal_facts(self) -> None:
        """Makes the report a receipt, once all of pytest-xdist's processes have told what they ran.

        For what is shown to somebody, git is asked how approved values have changed.
        """
        from embedgate.approved.history import SERVED, trend
        from embedgate.report.facts import TREND
        from embedgate.report.receipt import section

        facts = self.collector.facts
        if facts:
            shown = self.settings.report is not None or self.settings.is_call
            facts[TREND] = trend(facts[TREND].get(SERVED, ())) if shown else {}
            ran = {record.combination for record in self.collector.records if record.run}
            # A process of pytest-xdist that crashed has told nothing of what it ran.
            profiles = sorted({name for id_, name in facts["profiles"].items() if id_ in ran})
            name = facts["model"]["name"]
            facts["receipt"] = section(self.settings, name, profiles, self.invocation, facts.pop("asked"))

    def outcome(self, case: Case, judgement: Judgement, given: dict[str, Any] | None) -> Found:
        """What counts of a case: by the session's own bar, under `--gate-strict` by the base branch's; and the other.

        Args:
            case: The case.
            judgement: What it came to by the session's own.
            given: What its test handed to `uphold`; None where that was the judgement itself.

        Raises:
            GateError: If it cannot be judged by the base branch's, under `--gate-strict`.
        """
        from embedgate.checks.base import BaseBar, Outcome

        # No entry is about what runs no combination, such as a receipt.
        expected = str(self.context.expected(judgement) or "") if case.check.builds else ""
        own = Outcome(judgement, expected)
        by_base = self.context.of(BaseBar).outcome(case, own, given)
        strict = self.settings.strict
        counts, other = (by_base, own) if by_base and strict.is_full else (own, by_base)
        told = strict.told(counts.judgement)
        if other is None:
            return Found(told, counts.expected)
        return Found(told, counts.expected, strict.told(other.judgement), other.expected)

    def explains_again(self, judgement: Judgement) -> bool:
        """Whether a red judgement's cause was explained above, of the same combination; from now on, it was."""
        why = judgement.diagnosis
        if why is None:
            return False
        cause = judgement.combination, why.layer, why.cause
        known = cause in self._explained
        self._explained.add(cause)
        return known

    def complaints(self) -> list[str]:
        """Expected failures that match nothing or no longer fail; each is an error in their file.

        They are held against what the session's own bar came to, whichever counts.
        """
        from embedgate.checks.context import expectations_of
        from embedgate.core.machine import profile
        from embedgate.metrics import ORDERING

        plan, checks = self.plan, self.checks
        builds = {check.kind for check in checks if check.builds}
        records = [record.by_other if self.settings.strict.is_full else record for record in self.collector.records]
        judged = [record.judgement for record in records if record.judgement]
        places = {combination.id: checks.places(plan, combination) for combination in plan.combinations}
        expectations = expectations_of(plan, checks)
        found = expectations.complaints(
            [judgement for judgement in judged if judgement.check in builds],
            known=[combination.id for combination in plan.registry],
            subjects=places,
            datasets=sorted(
                {"", ORDERING, plan.texts_name}
                | {dataset.name for dataset in plan.datasets}
                | {dataset for found in places.values() for _, dataset, _ in found}
            ),
            all_datasets=not self.settings.data,
            profiles={id_: profile(name) for id_, name in self.collector.facts["profiles"].items()},
        )
        self.collector.facts["expectations"] = expectations.to_json()
        return found

    @property
    def _command(self) -> list[str]:
        """The words that call pytest for the same places, all suites where it is the suite of receipts alone."""
        config, words = self.config, ["pytest"]
        if config.args_source is pytest.Config.ArgsSource.ARGS:
            words += ["--pyargs"] if config.option.pyargs else []
            words += dict.fromkeys(re.sub(r"([/\\.])test_receipt\b.*", "", place) for place in config.args)
        return words


BENCH = pytest.StashKey[Bench]()
FOUND: pytest.StashKey[Found] = pytest.StashKey()
# What shows the line of a long step, where whoever called pytest shows it otherwise.
PROGRESS = pytest.StashKey[Callable[[str], None]]()


def add(config: pytest.Config, hook: str, registry: object) -> None:
    """Has a host project add what it has. What that changes of the process is the session's, as what conftests do.

    Args:
        config: Knows who implements the hook.
        hook: Name of the hook.
        registry: What is added to.

    Raises:
        GateError: If it calls `sys.exit`, or raises anything else that would end more than the session.
    """
    asked = getattr(config.hook, hook)
    HostCode(hook, things=()).call("adding what there is", lambda: asked(registry=registry), passes=OUTCOMES)


def case_of(item: pytest.Item) -> Case | None:
    """The case that a test asks; None for a test that asks no check."""
    callspec = getattr(item, "callspec", None)
    found: Case | None = callspec.params.get(CASE) if callspec is not None else None
    return found if hasattr(found, "check") else None  # pytest fills in a marker where there is no case


def is_empty(item: pytest.Item) -> bool:
    """Whether a test asks a check of which there is no case, such as an upgrade without an incumbent."""
    callspec = getattr(item, "callspec", None)
    return callspec is not None and CASE in callspec.params and case_of(item) is None


def progress(config: pytest.Config) -> Callable[[str], None]:
    """Shows a short line at each long step, below what pytest shows of its own."""

    def show(line: str) -> None:
        # Asked for each line: what shows it may be another one by then.
        if (own := config.stash.get(PROGRESS, None)) is not None:
            own(line)
        else:
            _show(config, line)

    return show


def _show(config: pytest.Config, line: str) -> None:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or config.get_verbosity() < 0:
        return
    capture = config.pluginmanager.get_plugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture else nullcontext():
        reporter.ensure_newline()
        reporter.write_line(f"  {one_line_inert(line)}", cyan=True)
        reporter.flush()
