"""The checks of properties: what must hold for every text, and the judgement each comes to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from embedgate.approved.examples import load_pinned
from embedgate.approved.tolerances import Tolerances
from embedgate.core.combination import Combination
from embedgate.core.errors import ResourceError
from embedgate.core.judgement import ANY_TEXT, TOKENS, Check, Diagnosis, Judgement
from embedgate.data import load_golden
from embedgate.diagnosis.layers import NEXT_STEPS, describe_tokens, shown_stages
from embedgate.encoders import Encoder
from embedgate.metrics import NotFinite
from embedgate.properties import Outcome, Violation, invariance
from embedgate.properties.contract import BESIDE, CANARIES, LONGEST, Contract
from embedgate.properties.ordering import Ordering
from embedgate.runtime.session import Run, Session
from embedgate.sentences import Case, approved_set

# What a text that is too odd to be encoded beside others may be cut to in a report.
LONGEST_EXAMPLE = 4_000
# The variation without which no other one says anything.
REPETITION = "repetition"
# Texts of a batch in which an odd one has neighbours.
FEWEST = len(BESIDE) + 1


class PropertyChecks:
    """Judges the properties of a session's runs.

    Args:
        session: The runs.
        tolerances: How far orders and similarities may move.
        diagnose: Names the layer at which a run departs from its reference.

    Raises:
        GateError: If the file of pinned examples is malformed.
    """

    def __init__(self, session: Session, tolerances: Tolerances, diagnose: Callable[[Run], Diagnosis]) -> None:
        self._session = session
        self._tolerances = tolerances
        self._diagnose = diagnose
        self._taken: dict[Combination, tuple[tuple[str, ...], ...]] = {}
        self._pinned = (*session.settings.examples, *load_pinned(session.settings.baselines_folder))

    def keeps_order(self, combination: Combination) -> Judgement:
        """Whether the order of similarities is kept wherever the reference's margin is beyond noise."""
        run, ordering = self._ordering(combination)
        margin = self._tolerances.order_margin(combination)
        first = self._first_cases(combination)
        outcome = ordering.keeps_order(margin, self._session.exploration, self._session.seed, first)
        return self._judged(
            "ordering",
            run,
            "margin",
            outcome,
            f"kept the order of every pair of similarities that the reference tells apart by more than {margin:g}; "
            f"the largest margin turned round is {outcome.worst:.2g}",
        )

    def keeps_similarity(self, combination: Combination) -> Judgement:
        """Whether no similarity moves further from the reference's than tolerated."""
        run, ordering = self._ordering(combination)
        limit = self._tolerances.order_similarity(combination)
        first = self._first_cases(combination)
        outcome = ordering.keeps_similarity(limit, self._session.exploration, self._session.seed, first)
        return self._judged(
            "ordering",
            run,
            "similarity",
            outcome,
            f"no similarity moved by more than {outcome.worst:.2g}, {limit:g} is tolerated",
        )

    def is_invariant(self, combination: Combination, variation: str) -> Judgement:
        """Whether embeddings stay within what their encoder declares while their surroundings change."""
        run = self._session.run(combination)
        outcome = self._moves(run, variation)
        if variation != REPETITION:
            outcome = self._unless_it_moves_anyway(run, outcome)
        where = invariance.VARIATIONS[variation].where
        moved = f"no embedding moved by more than {outcome.worst or 0:.2g} {where}, {outcome.limit:g} is declared"
        if outcome.worst is None:
            moved = f"nothing to compare: no limit of length is known, or it is beyond {LONGEST} tokens"
        return self._judged("invariance", run, variation, outcome, moved)

    def is_sound(self, combination: Combination, canary: str) -> Judgement:
        """Whether an odd text comes back as a sound vector and leaves others of its batch alone."""
        run = self._session.run(combination)
        outcome = self._contract(run).holds_for(CANARIES[canary](self._session.tokenizer))
        return self._judged("contract", run, canary, outcome, outcome.note or "a sound vector, alone and beside others")

    def is_sound_for_any(self, combination: Combination) -> Judgement:
        """Whether any text at all comes back as a sound vector."""
        session = self._session
        run = session.run(combination)
        outcome = self._contract(run).holds_for_any(session.exploration, session.seed, self._pinned)
        return self._judged("contract", run, ANY_TEXT, outcome, "sound vectors")

    def reads_the_same_tokens(self, combination: Combination) -> Judgement:
        """Whether the golden texts have the reference's token ids."""
        session = self._session
        run, texts = session.run(combination), load_golden()[0]
        mine, theirs = session.golden(run).token_ids, session.golden(session.run(combination.reference)).token_ids
        if mine is None or theirs is None:
            message = "the encoder does not show its tokens: give it a `stages(texts)` method"
            return Judgement("contract", combination.id, "inconclusive", message, metric=TOKENS)
        difference = describe_tokens(texts, mine, theirs)
        if not difference:
            message = f"the reference's token ids for {len(texts)} texts"
            return Judgement("contract", combination.id, "pass", message, metric=TOKENS, n=len(texts))
        return Judgement(
            "contract",
            combination.id,
            "fail",
            f"reads other tokens than the reference: {difference}",
            metric=TOKENS,
            n=len(texts),
            diagnosis=Diagnosis("tokens", difference, NEXT_STEPS["tokens"]),
        )

    def _moves(self, run: Run, variation: str) -> Outcome:
        """What comes of looking into a variation of a run."""
        session = self._session
        subject = session.subject(run)
        stability = self._tolerances.stability(run.combination, subject.encoder.stability)
        pinned = self._taken_by_reference(run.combination)
        return invariance.look_into(subject, variation, stability, session.exploration, session.seed, pinned)

    def _unless_it_moves_anyway(self, run: Run, outcome: Outcome) -> Outcome:
        """What was found, with its cause: of an encoder that never gives the same twice, that alone is known."""
        violation = outcome.violation
        if violation is None or violation.layer == "finiteness":
            return outcome
        again = self._moves(run, REPETITION).violation
        if again is None:
            return outcome
        cause = f"it moves when the very same batch is encoded again, too ({REPETITION}): {again.cause}"
        return replace(outcome, violation=replace(violation, layer=again.layer, cause=cause))

    def _first_cases(self, combination: Combination) -> tuple[Case, ...]:
        """What is tried first: pinned examples, and the approved set, which is encoded in any case."""
        pinned = (Case("pinned", *(*t, t[-1], t[-1])[:3]) for t in self._taken_by_reference(combination))
        return (*pinned, *approved_set()[0])

    def _taken_by_reference(self, combination: Combination) -> tuple[tuple[str, ...], ...]:
        """Pinned examples that the reference encodes: only the contract is about those it refuses."""
        reference = combination.reference
        if reference not in self._taken:
            encoder = self._session.encoder(self._session.run(reference))
            self._taken[reference] = tuple(texts for texts in self._pinned if _takes(encoder, texts))
        return self._taken[reference]

    def _ordering(self, combination: Combination) -> tuple[Run, Ordering]:
        session = self._session
        run, reference = session.run(combination), session.run(combination.reference)
        with suppress(NotFinite):
            session.order(run)  # first, so that the approved set is encoded in the same batches each time
        return run, Ordering(lambda texts: session.embed(run, texts), lambda texts: session.embed(reference, texts))

    def _contract(self, run: Run) -> Contract:
        session = self._session
        encoder, reference = session.encoder(run), session.run(run.combination.reference)
        size = max(session.settings.batch_size, FEWEST)
        return Contract(
            lambda texts: encoder.encode(texts, batch_size=size),
            lambda texts: session.encoder(reference).encode(texts, batch_size=size),
            reference.embeddings.dim,
            unit_norm=session.model.normalises,
            move=self._tolerances.stability(run.combination, encoder.stability).batch,
            stages=lambda texts: shown_stages(encoder, texts),
        )

    def _judged(self, check: Check, run: Run, subject: str, outcome: Outcome, holds: str) -> Judgement:
        violation = outcome.violation
        if violation is None:
            return Judgement(
                check,
                run.combination.id,
                "pass",
                f"{holds} ({outcome.tried} examples)" if outcome.tried > 1 else holds,
                metric=subject,
                value=outcome.worst,
                limit=outcome.limit,
                n=outcome.tried,
            )
        return Judgement(
            check,
            run.combination.id,
            "fail",
            violation.message,
            metric=subject,
            value=violation.value,
            limit=violation.limit,
            n=outcome.tried,
            diagnosis=self._explained(run, violation),
            details=violation.details,
            example=_short_enough(violation.texts),
        )

    def _explained(self, run: Run, violation: Violation) -> Diagnosis:
        if violation.layer:
            return Diagnosis(violation.layer, violation.cause, violation.next_step)
        return self._diagnose(run)


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
