"""Properties that must hold for every text: order, invariance, contract."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

from embedgate.approved.examples import load_pinned
from embedgate.checks.check import Case, Check, Subject, live, live_beside_live, live_candidates, local_beside_local
from embedgate.checks.context import Context, measuring, with_evidence
from embedgate.checks.prompts import missed_alone
from embedgate.core.combination import Combination
from embedgate.core.depth import STANDARD, Depth
from embedgate.core.errors import ResourceError, counted
from embedgate.core.judgement import ANY_TEXT, MARGIN, REPETITION, SIMILARITY, TOKENS, UNKNOWN, Diagnosis, Judgement
from embedgate.core.roles import STS, Input
from embedgate.data import load_golden
from embedgate.diagnosis import tokens
from embedgate.diagnosis.layers import shown_stages
from embedgate.diagnosis.rereading import Reading
from embedgate.encoders import Encoder
from embedgate.encoders.lengths import LONGEST
from embedgate.metrics import NotFinite
from embedgate.properties import Embed, Outcome, Violation, invariance
from embedgate.properties.contract import BESIDE, CANARIES, Contract
from embedgate.properties.ordering import Ordering
from embedgate.properties.variations import BUILT_ANEW, KEPT, VARIATIONS
from embedgate.runtime.plan import Plan
from embedgate.runtime.session import Run
from embedgate.sentences import Case as Example
from embedgate.sentences import approved_set

# What a text that is too odd to be encoded beside others may be cut to in a report.
LONGEST_EXAMPLE = 4_000
# Another move explains one where it is at least this share of it.
LIKE = 0.1
# Layers of a cause that gives texts other tokens.
OTHER_TOKENS = (TOKENS, "texts", "prompt")
# The variations that compare a text alone with the same one beside others.
WITH_ALONE = {"batch_size", "padding"}
# Texts of a batch in which an odd one has neighbours.
FEWEST = len(BESIDE) + 1
# The variations that most faults show in.
TELLING = ("batch_size", "unpadded", KEPT, "alone_again", "order", "neighbours", "padding")


@measuring
class Examples:
    """Examples that properties are tried on first: those of the session and those that people have pinned.

    Raises:
        GateError: If the file of pinned examples is malformed.
    """

    def __init__(self, context: Context) -> None:
        self._session = context.session
        self._taken: dict[Combination, tuple[tuple[str, ...], ...]] = {}
        self.pinned = (*context.settings.examples, *load_pinned(context.settings.baselines_folder))

    def taken_by_reference(self, combination: Combination) -> tuple[tuple[str, ...], ...]:
        """Those that the reference encodes: only the contract is about those it refuses."""
        reference = combination.reference
        if reference not in self._taken:
            encoder = self._session.encoder(self._session.run(reference), STS)
            self._taken[reference] = tuple(texts for texts in self.pinned if _takes(encoder, texts))
        return self._taken[reference]


def keeps_order(context: Context, case: Case) -> Judgement:
    """Whether the order of similarities is kept wherever the reference's margin is beyond noise."""
    run, ordering, first = _ordering(context, case)
    margin = context.tolerances.order_margin(case.combination)
    outcome = ordering.keeps_order(margin, context.session.exploration, context.session.seed, first)
    holds = (
        f"kept the order of every pair of similarities that the reference tells apart by more than {margin:g}; "
        f"the largest reversed margin is {outcome.worst:.2g}"
    )
    return _judged(context, case, run, outcome, holds)


def keeps_similarity(context: Context, case: Case) -> Judgement:
    """Whether no similarity moves further from the reference's than tolerated."""
    run, ordering, first = _ordering(context, case)
    limit = context.tolerances.order_similarity(case.combination)
    outcome = ordering.keeps_similarity(limit, context.session.exploration, context.session.seed, first)
    holds = f"no similarity moved by more than {outcome.worst:.2g}, {limit:g} is tolerated"
    return _judged(context, case, run, outcome, holds)


def is_invariant(context: Context, case: Case) -> Judgement:
    """Whether embeddings stay within what their encoder declares while their surroundings change."""
    run, variation = context.run(case), case.subject.metric
    outcome = _moves(context, run, variation)
    if variation != REPETITION:
        outcome = _unless_it_moves_anyway(context, run, outcome)
    if variation in WITH_ALONE and not run.combination.is_reference:
        outcome = _unless_a_prompt_is_missed(context, run, outcome)
    where = VARIATIONS[variation].where
    moved = f"no embedding moved by more than {outcome.worst or 0:.2g} {where}, {outcome.limit:g} is declared"
    if outcome.worst is None:
        moved = f"nothing to compare: no limit of length is known, or it is beyond {LONGEST} tokens"
    return _judged(context, case, run, outcome, moved)


def is_sound(context: Context, case: Case) -> Judgement:
    """Whether an odd text comes back as a sound vector and leaves others of its batch alone."""
    run, canary = context.run(case), CANARIES[case.subject.metric]
    outcome = _contract(context, run).holds_for(canary(context.session.tokenizer))
    return _judged(context, case, run, outcome, outcome.note or "a sound vector, alone and beside others")


def is_sound_for_any(context: Context, case: Case) -> Judgement:
    """Whether any text at all comes back as a sound vector."""
    run, session = context.run(case), context.session
    pinned = context.of(Examples).pinned
    outcome = _contract(context, run).holds_for_any(session.exploration, session.seed, pinned)
    return _judged(context, case, run, outcome, "sound vectors")


def reads_the_same_tokens(context: Context, case: Case) -> Judgement:
    """Whether the golden texts have the reference's token ids."""
    session, texts = context.session, load_golden()[0]
    run, reference = context.run(case), context.reference_run(case)
    mine, theirs = (session.golden(each).token_ids for each in (run, reference))
    if mine is None or theirs is None:
        message = "the encoder does not show its tokens: give it a `stages(texts)` method"
        return case.judgement("inconclusive", message)
    one, other = (session.inside(each, each.model.roles.spread(texts)) for each in (run, reference))
    found = tokens.diagnose(texts, mine, theirs, Reading(one.read, other.read, other.spelt))
    if found is None:
        return case.passed(f"the reference's token ids for {counted(len(texts), 'text')}", n=len(texts))
    cause = _of_run(context, run, found, OTHER_TOKENS)
    return case.failed(cause, f"reads other tokens than the reference: {found.cause}", n=len(texts))


def _moves(context: Context, run: Run, variation: str) -> Outcome:
    """Returns the outcome of looking into a variation of a run."""
    session = context.session
    subject = session.subject(run)
    stability = context.tolerances.stability(run.combination, subject.encoder.stability)
    pinned = context.of(Examples).taken_by_reference(run.combination)
    return invariance.look_into(subject, variation, stability, session.exploration, session.seed, pinned)


def _unless_it_moves_anyway(context: Context, run: Run, outcome: Outcome) -> Outcome:
    """Returns what was found, with its cause: of an encoder that never gives the same twice, that alone is known."""
    violation = outcome.violation
    if violation is None or violation.layer == "finiteness":
        return outcome
    again = _moves(context, run, REPETITION).violation
    if again is None or (again.value or math.inf) < LIKE * (violation.value or 0):
        return outcome
    return replace(outcome, violation=violation.with_cause_of(again))


def _unless_a_prompt_is_missed(context: Context, run: Run, outcome: Outcome) -> Outcome:
    """Returns what was found, with its cause: of a text whose prompt is missed alone, nothing else is known."""
    violation = outcome.violation
    if violation is None or violation.layer == "finiteness":
        return outcome
    found = missed_alone(context, run, STS, violation.texts[0])
    if found is None:
        return outcome
    known = replace(violation, layer=found.layer, cause=found.cause, next_step=found.next_step, explained_by=())
    return replace(outcome, violation=known)


def _ordering(context: Context, case: Case) -> tuple[Run, Ordering, tuple[Example, ...]]:
    """A run, what looks into its order, and what is tried first: pinned examples, and the approved set."""
    session, run, reference = context.session, context.run(case), context.reference_run(case)
    with suppress(NotFinite):
        session.order(run)  # first, so that the approved set is encoded in the same batches each time
    pinned = context.of(Examples).taken_by_reference(case.combination)
    first = (*(Example("pinned", *(*t, t[-1], t[-1])[:3]) for t in pinned), *approved_set()[0])

    def embed(arm: Run) -> Embed:
        return lambda texts: session.embed(arm, [Input(text, STS) for text in texts])

    compared = reference.embeddings
    scale = compared.similarity.scale(compared.matrix)
    return run, Ordering(embed(run), embed(reference), compared.similarity, scale), first


def _contract(context: Context, run: Run) -> Contract:
    session = context.session
    reference = session.run(run.combination.reference)
    encoder = session.encoder(run, STS)
    size = max(context.settings.batch_size, FEWEST)
    return Contract(
        lambda texts: encoder.encode(texts, batch_size=size),
        lambda texts: session.encoder(reference, STS).encode(texts, batch_size=size),
        reference.embeddings.dim,
        unit_norm=context.plan.model.normalises,
        move=context.tolerances.stability(run.combination, encoder.stability).batch,
        stages=lambda texts: shown_stages(encoder, texts),
    )


def _judged(context: Context, case: Case, run: Run, outcome: Outcome, holds: str) -> Judgement:
    violation = outcome.violation
    if violation is None:
        message = f"{holds} ({outcome.tried} examples)" if outcome.tried > 1 else holds
        return case.passed(message, value=outcome.worst, limit=outcome.limit, n=outcome.tried)
    return case.failed(
        _explained(context, run, violation),
        violation.message,
        value=violation.value,
        limit=violation.limit,
        n=outcome.tried,
        details=violation.details,
        example=_short_enough(violation.texts),
    )


def _explained(context: Context, run: Run, violation: Violation) -> Diagnosis:
    """The cause of a violation: the run's where that is known to be its own, else what was observed."""
    if not violation.layer:
        return context.diagnose(run)
    own = with_evidence(Diagnosis(violation.layer, violation.cause, violation.next_step), run)
    return _of_run(context, run, own, violation.explained_by)


def _of_run(context: Context, run: Run, own: Diagnosis, explained_by: Sequence[str]) -> Diagnosis:
    """The cause of a run where it explains what was observed of a text, so that one cause is told once.

    Args:
        context: The session.
        run: The run.
        own: What was observed.
        explained_by: As in `Violation`.
    """
    if run.combination.is_reference or not explained_by:
        return own
    found = context.diagnose(run)
    if found.reaches & {*explained_by}:
        return found
    return replace(own, proof=found.proof) if own.layer == UNKNOWN and not found.is_shown else own


def _takes(encoder: Encoder, texts: Sequence[str]) -> bool:
    try:
        encoder.encode(texts)
    except ResourceError:
        raise
    except Exception:  # whatever it refuses them with
        return False
    return True


def _short_enough(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(texts) if sum(map(len, texts)) <= LONGEST_EXAMPLE else ()


def variations(_: Plan) -> Iterable[Subject]:
    """Each variation of an embedding's surroundings."""
    return map(Subject.named, VARIATIONS)


def telling_first(plan: Plan, combination: Combination, subject: Subject) -> Depth:
    """Quick for the variations that find most, standard for the others and for the reference."""
    return candidates_first(plan, combination, subject) if subject.id in TELLING else STANDARD


def candidates_first(_: Plan, combination: Combination, __: Subject) -> Depth:
    """Quick for what is judged, standard for the reference."""
    return STANDARD if combination.is_reference else "quick"


def canaries(_: Plan) -> Iterable[Subject]:
    """Each odd text."""
    return map(Subject.named, CANARIES)


def one(metric: str) -> Callable[[Plan], Iterable[Subject]]:
    """One subject, which judgements name and the ids of tests do not."""
    return lambda _: (Subject(metric=metric),)


MARGINS = Check(
    "ordering.margin",
    keeps_order,
    live_candidates,
    one(MARGIN),
    reproduces=True,
    texts="some",
    tolerances=("order",),
    vocabulary=lambda: (MARGIN,),
)
SIMILARITIES = Check(
    "ordering.similarity",
    keeps_similarity,
    live_candidates,
    one(SIMILARITY),
    reproduces=True,
    texts="some",
    tolerances=("order",),
    vocabulary=lambda: (SIMILARITY,),
)
INVARIANCE = Check(
    "invariance",
    is_invariant,
    live,
    variations,
    anew=lambda subject: subject.metric in BUILT_ANEW,
    depth=telling_first,
    reproduces=True,
    against="rule",
    texts="some",
    tolerances=("stability",),
    vocabulary=lambda: VARIATIONS,
)
ODD_TEXTS = Check(
    "contract.odd",
    is_sound,
    live_beside_live,
    canaries,
    depth=candidates_first,
    reproduces=True,
    against="rule",
    texts="some",
    tolerances=("stability",),
    vocabulary=lambda: CANARIES,
)
ANY_TEXTS = Check(
    "contract.any",
    is_sound_for_any,
    live_beside_live,
    one(ANY_TEXT),
    reproduces=True,
    against="rule",
    texts="some",
    tolerances=("stability",),
    vocabulary=lambda: (ANY_TEXT,),
)
SAME_TOKENS = Check(
    "contract.tokens",
    reads_the_same_tokens,
    local_beside_local,
    one(TOKENS),
    depth="quick",
    reproduces=True,
    against="rule",
    texts="some",
    tolerances=(),
    vocabulary=lambda: (TOKENS,),
)
