"""The checks of properties: what must hold for every text, and the judgement each comes to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

from embedgate.combination import Combination
from embedgate.data import load_golden
from embedgate.diagnosis import describe_tokens
from embedgate.judgement import ANY_TEXT, TOKENS, Check, Diagnosis, Judgement
from embedgate.pinned import load_pinned
from embedgate.properties import Outcome, Violation, invariance
from embedgate.properties.contract import CANARIES, Contract
from embedgate.properties.ordering import Ordering
from embedgate.sentences import Case, approved_set
from embedgate.session import Run, Session
from embedgate.tolerances import Tolerances

# What a text that is too odd to be encoded beside others may be cut to in a report.
LONGEST_EXAMPLE = 4_000


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
        self._pinned = (*session.settings.examples, *load_pinned(session.settings.baselines_folder))

    def keeps_order(self, combination: Combination) -> Judgement:
        """Whether the order of similarities is kept wherever the reference's margin is beyond noise."""
        run, ordering = self._ordering(combination)
        margin = self._tolerances.order_margin(combination)
        outcome = ordering.keeps_order(margin, self._session.exploration, self._session.seed, self._first_cases)
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
        outcome = ordering.keeps_similarity(limit, self._session.exploration, self._session.seed, self._first_cases)
        return self._judged(
            "ordering",
            run,
            "similarity",
            outcome,
            f"no similarity moved by more than {outcome.worst:.2g}, {limit:g} is tolerated",
        )

    def is_invariant(self, combination: Combination, variation: str) -> Judgement:
        """Whether embeddings stay within what their encoder declares while their surroundings change."""
        session = self._session
        run = session.run(combination)
        outcome = invariance.look_into(session.subject(run), variation, session.exploration, session.seed, self._pinned)
        where = invariance.VARIATIONS[variation].where
        moved = f"no embedding moved by more than {outcome.worst or 0:.2g} {where}, {outcome.limit:g} is declared"
        if outcome.worst is None:
            moved = "nothing to compare: the model has no limit of length, or one too long to be tried"
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
            return Judgement("contract", combination.id, "pass", "the encoder does not show its tokens", metric=TOKENS)
        difference = describe_tokens(texts, mine, theirs)
        if not difference:
            message = f"the reference's token ids for {len(texts)} texts"
            return Judgement("contract", combination.id, "pass", message, metric=TOKENS, n=len(texts))
        step = "compare tokenizer.json and tokenizer_config.json: lower-casing, special tokens, truncation"
        return Judgement(
            "contract",
            combination.id,
            "fail",
            f"reads other tokens than the reference: {difference}",
            metric=TOKENS,
            n=len(texts),
            diagnosis=Diagnosis("tokens", difference, step),
        )

    @cached_property
    def _first_cases(self) -> tuple[Case, ...]:
        """What is tried first: pinned examples, and the approved set, which is encoded in any case."""
        pinned = (Case("pinned", *(*texts, texts[-1], texts[-1])[:3]) for texts in self._pinned)
        return (*pinned, *approved_set()[0])

    def _ordering(self, combination: Combination) -> tuple[Run, Ordering]:
        session = self._session
        run, reference = session.run(combination), session.run(combination.reference)
        return run, Ordering(lambda texts: session.embed(run, texts), lambda texts: session.embed(reference, texts))

    def _contract(self, run: Run) -> Contract:
        session = self._session
        encoder, reference = session.encoder(run), session.run(run.combination.reference)
        size = session.settings.batch_size
        return Contract(
            lambda texts: encoder.encode(texts, batch_size=size),
            lambda texts: session.encoder(reference).encode(texts, batch_size=size),
            reference.embeddings.dim,
            unit_norm=session.model.normalises,
            move=encoder.stability.batch,
            stages=encoder.stages,
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


def _short_enough(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(texts) if sum(map(len, texts)) <= LONGEST_EXAMPLE else ()
