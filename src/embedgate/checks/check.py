"""A check: what is asked, of which combinations, about what, and how a judgement comes of it.

A module of this package holds the checks of one family. Each check is one `Check`, listed once, in
`embedgate.checks.CHECKS`; tests, reports, receipts and expected failures are made from that tuple.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from embedgate.core.combination import Combination
from embedgate.core.depth import NIGHTLY, STANDARD, Depth, reaches
from embedgate.core.errors import GateError
from embedgate.core.judgement import APPROVAL, Diagnosis, Judgement, Place, Verdict, WorstText

if TYPE_CHECKING:
    from embedgate.checks.context import Context
    from embedgate.metrics.comparison import Comparison
    from embedgate.runtime.plan import Plan

# Checks of one family share its level: red verdicts are corrected for how many of them a session asks. Slices and
# stored vectors are families of their own: there are many, and whoever stores float32 needs none of the latter.
Family: TypeAlias = Literal["quality", "slices", "search", "time"]

# What a check holds a combination against: the reference, the incumbent, a gain over that, what was approved, its own
# name and what that promises, a rule that any encoder keeps, or a receipt. It decides what a red one is called, see
# `embedgate.report.findings`.
Against: TypeAlias = Literal["reference", "incumbent", "gain", "approved", "name", "rule", "receipt"]

# The parts of a session, one after the other, each over combination after combination: what ran and how good it is
# comes before what takes minutes. An encoder is open in the first alone; what encodes later has it built again.
Phase: TypeAlias = Literal["quality", "budgets", "searches"]
PHASES: tuple[Phase, ...] = get_args(Phase)


@dataclass(frozen=True)
class Subject:
    """One thing that a check asks about a combination.

    Attributes:
        id: Its name in the ids of tests; empty where the check asks one thing alone.
        dataset: Name of the dataset, as judgements and baselines have it; empty where it is about none.
        metric: Name of the metric, or of what stands in its place, as judgements have it; empty where it is about none.
        about: What the check works on, for example a dataset or a storage.
    """

    id: str = ""
    dataset: str = ""
    metric: str = ""
    about: Any = None

    @classmethod
    def named(cls, metric: str, about: Any = None) -> Subject:
        """A subject that is called as its metric, for example a variation or a workload."""
        return cls(metric, "", metric, about)


@dataclass(frozen=True)
class Missing:
    """Why a check cannot be asked here.

    Attributes:
        what: What cannot be done, for example `faiss cannot run here`.
        reason: Why, in one line.
    """

    what: str
    reason: str


def every(plan: Plan) -> Sequence[Combination]:
    """Every combination."""
    return plan.encoding


def candidates(plan: Plan) -> Sequence[Combination]:
    """Every combination but the references."""
    return [combination for combination in plan.encoding if not combination.is_reference]


def indexes(plan: Plan) -> Sequence[Combination]:
    """Stored vectors."""
    return plan.stored


def reference(plan: Plan) -> Sequence[Combination]:
    """The reference alone."""
    return [combination for combination in plan.combinations if combination == plan.reference]


def live(plan: Plan) -> Sequence[Combination]:
    """Every combination but recorded answers."""
    return [combination for combination in plan.encoding if plan.is_live(combination)]


def live_beside_live(plan: Plan) -> Sequence[Combination]:
    """Every combination, where neither it nor its reference is recorded answers."""
    return [combination for combination in live(plan) if plan.is_live(combination.reference)]


def live_candidates(plan: Plan) -> Sequence[Combination]:
    """Every combination but the references, where neither it nor its reference is recorded answers."""
    return [combination for combination in live_beside_live(plan) if not combination.is_reference]


def local(plan: Plan) -> Sequence[Combination]:
    """Every combination but servers and recorded answers, whose memory, bytes and tokens nobody sees."""
    return [combination for combination in plan.encoding if plan.registry.source(combination).local]


def local_candidates(plan: Plan) -> Sequence[Combination]:
    """Every combination but servers, recorded answers and the references."""
    return [combination for combination in local(plan) if not combination.is_reference]


def local_beside_local(plan: Plan) -> Sequence[Combination]:
    """Every combination but the references, where neither it nor its reference is a server or recorded answers."""
    return [each for each in local_candidates(plan) if plan.registry.source(each.reference).local]


def once(_: Plan) -> Iterable[Subject]:
    """One thing."""
    return (Subject(),)


def always(_: Plan) -> bool:
    """The check is asked in every session."""
    return True


def nothing(_: Context, __: Case) -> None:
    """The check needs no other run than its combination's and the reference's."""


def never(_: Subject) -> bool:
    """The check asks the encoder that is there."""
    return False


def anywhere(_: Plan, __: Subject) -> None:
    """The check needs nothing but its combination."""


@dataclass(frozen=True)
class Check:
    """A question that embedgate asks of combinations, and how it judges the answer.

    A suite asks it by `@pytest.mark.gate(name)` and the fixture `uphold`.

    Attributes:
        name: Its name; what stands before the first dot is its kind.
        judge: `(context, case) -> judgement`, see `embedgate.checks.context.Context`. What a test hands to `uphold` by
            name, such as pytest-benchmark's fixture, follows as keywords.
        of: The combinations that it is asked of.
        over: What it is asked about each of them.
        asked: Whether a session asks it at all.
        unavailable: Why it cannot be asked about a subject here; None where it can.
        anew: Whether it needs a second encoder of the combination about a subject.
        afresh: Whether it measures the combination in a fresh process.
        depth: The least depth of a session that asks it; a function where the combination or the subject decides.
        phase: The part of a session in which it is asked; in it, checks have the order of `embedgate.checks.CHECKS`.
        family: The checks that it shares a level with; None where it is not judged statistically.
        against: What it holds a combination against. Where that is what was approved, details of a `pass` tell what is
            better.
        before: Runs what it needs besides the combination and its reference; trouble there is an error of no check.
        builds: Whether the combination must run for it; what judges without running one is no check of the combination.
        in_rows: Whether its judgements belong to the combination's row of a report.
        in_receipts: Whether a receipt must hold it.
        reproduces: Whether a failure tells the command that asks it again.
        texts: Which texts of the datasets it needs: all, so that no part of them may decide about the combination;
            some, where it encodes what it lacks (`Session.encode_more`) or brings texts of its own; or none, where it
            asks of memory or time alone.
        tolerances: The tables of tolerances that it judges by, besides `alpha`; None for any, as of a host project's.
        vocabulary: What its judgements may have for a metric, whatever the data: expected failures can be about these.
    """

    name: str
    judge: Callable[..., Judgement]
    of: Callable[[Plan], Sequence[Combination]] = every
    over: Callable[[Plan], Iterable[Subject]] = once
    asked: Callable[[Plan], bool] = always
    unavailable: Callable[[Plan, Subject], Missing | None] = anywhere
    anew: Callable[[Subject], bool] = never
    afresh: bool = False
    depth: Depth | Callable[[Plan, Combination, Subject], Depth] = STANDARD
    phase: Phase = "quality"
    family: Family | None = None
    against: Against = "reference"
    before: Callable[[Context, Case], object] = nothing
    builds: bool = True
    in_rows: bool = True
    in_receipts: bool = True
    reproduces: bool = False
    texts: Literal["none", "some", "all"] = "all"
    tolerances: tuple[str, ...] | None = None
    vocabulary: Callable[[], Iterable[str]] = tuple

    @property
    def kind(self) -> str:
        """Its name in judgements, reports and expected failures, for example `contract` of `contract.any`."""
        return self.name.partition(".")[0]

    @property
    def searches(self) -> bool:
        """Whether it asks about stored vectors, which depends on options of their own."""
        return self.family == "search" or self.kind == "search speed"

    def cases(self, plan: Plan) -> list[Case]:
        """Everything there is to ask by it, combination after combination, at whatever depth."""
        if not self.asked(plan) or not (asked := self.of(plan)):
            return []
        subjects = tuple(self.over(plan))
        sources = {combination: plan.registry.source(combination) for combination in asked}
        asked = [each for each in asked if sources[each].known_afresh or not self.afresh]
        return [
            Case(self, combination, subject)
            for combination in asked
            for subject in subjects
            if sources[combination].builds_anew or not self.anew(subject)
        ]


@dataclass(frozen=True)
class Case:
    """A check of one combination about one subject: what a test asks, and where its judgement is made.

    Attributes:
        check: The check.
        combination: The combination.
        subject: What it is asked about.
    """

    check: Check
    combination: Combination
    subject: Subject = field(default_factory=Subject)

    @property
    def id(self) -> str:
        """Its name in the id of a test, for example `torch-bf16-cpu-pairs-spearman`."""
        return "-".join(filter(None, (self.combination.id, self.subject.id)))

    def is_within(self, plan: Plan, depth: Depth | None = None) -> bool:
        """Whether a session of a depth asks it: of the plan's own where none is given."""
        return reaches(depth or plan.settings.depth, self.asked_from(plan))

    def asked_from(self, plan: Plan) -> Depth:
        """The least depth at which a session on this CPU asks it."""
        emulated = self.check.builds and self.combination in plan.by_night
        return NIGHTLY if emulated else self.least_depth(plan)

    def waits_for_its_type(self, plan: Plan) -> bool:
        """Whether a session would ask it, did the CPU not emulate its combination."""
        return reaches(plan.settings.depth, self.least_depth(plan)) and not self.is_within(plan)

    def least_depth(self, plan: Plan) -> Depth:
        """The least depth that asks it, whatever the CPU."""
        least = self.check.depth
        return least(plan, self.combination, self.subject) if callable(least) else least

    @property
    def place(self) -> Place:
        """Check, dataset and metric, as its judgement has them."""
        return self.check.kind, self.subject.dataset, self.subject.metric

    def judgement(self, verdict: Verdict, message: str, **found: Any) -> Judgement:
        """A judgement of this case.

        Args:
            verdict: The verdict.
            message: What was found, in one line.
            **found: Any other attribute of `Judgement`.
        """
        kind, dataset, metric = self.place
        return Judgement(kind, self.combination.id, verdict, message, **{"dataset": dataset, "metric": metric, **found})

    def passed(self, message: str, **found: Any) -> Judgement:
        """A green judgement."""
        return self.judgement("pass", message, **found)

    def failed(self, diagnosis: Diagnosis, message: str = "", **found: Any) -> Judgement:
        """A red judgement.

        Args:
            diagnosis: The cause, and what to do.
            message: What was found, in one line; the cause where that says it.
            **found: Any other attribute of `Judgement`.
        """
        return self.judgement("fail", message or diagnosis.cause, diagnosis=diagnosis, **found)

    def unjudged(self, diagnosis: Diagnosis, shown: str = "", **found: Any) -> Judgement:
        """A judgement of what could not be judged.

        Args:
            diagnosis: Why, and what to do.
            shown: What was found all the same, in one line.
            **found: Any other attribute of `Judgement`.
        """
        message = "; ".join(filter(None, (shown, diagnosis.cause)))
        return self.judgement("inconclusive", message, diagnosis=diagnosis, **found)

    def untrusted(self, error: GateError) -> Judgement:
        """A red judgement of what was approved and cannot be trusted."""
        return self.failed(Diagnosis(APPROVAL, error.cause, error.action))

    def unmeasured(self, error: ValueError, diagnosis: Diagnosis) -> Judgement:
        """A red judgement of what says of itself that it cannot be measured, such as embeddings that hold NaN.

        Args:
            error: What it says.
            diagnosis: The layer at fault, and what to do.
        """
        _, dataset, metric = self.place
        return self.failed(diagnosis, f"{dataset} {metric} cannot be measured: {error}".strip())

    def compared(
        self,
        found: Comparison,
        message: str,
        value: float,
        reference_value: float | None = None,
        *,
        diagnose: Callable[[], Diagnosis] | None = None,
        worst: Callable[[], Sequence[WorstText]] = tuple,
        details: tuple[str, ...] = (),
        items: int | None = None,
    ) -> Judgement:
        """A judgement that a comparison came to, which says what its verdict hangs on.

        Args:
            found: The comparison.
            message: What was found, in one line.
            value: The combination's value.
            reference_value: The reference's.
            diagnose: Names the cause of a failure; None where that is left to others.
            worst: Finds the texts that lost most in a failure.
            details: Further lines below a failure.
            items: How many items there are, where a part of them may have decided.
        """
        if items is not None and found.n < items:
            message += f"; {found.n} of {items} items decide"
        red = found.verdict == "fail"
        if red:
            message += f"; even the better end of the interval is {found.high:.4f}"
        elif found.verdict == "inconclusive":
            needed = found.items_needed
            settles = f"about {needed} items would settle it" if needed else "more items would not settle it"
            apart = "" if found.clusters is None else f", which count as {found.clusters}"
            ends = f"the interval {found.low:.4f} to {found.high:.4f} holds both answers"
            message += f"; {ends}, {settles} ({found.n} now{apart})"
        return self.judgement(
            found.verdict,
            message,
            value=value,
            reference_value=reference_value,
            observed=found.observed,
            low=found.low,
            high=found.high,
            limit=found.limit,
            n=found.n,
            items=items,
            smallest_detectable_loss=found.smallest_detectable_loss,
            items_needed=found.items_needed,
            largest_family=found.largest_family,
            clusters=found.clusters,
            diagnosis=diagnose() if red and diagnose is not None else None,
            worst=tuple(worst()) if red else (),
            details=details if red else (),
        )
