"""Ordering: where the reference tells two similarities apart by more than noise, a combination keeps their order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from embedgate.core.judgement import ROUNDING, rounding, shorten
from embedgate.core.similarity import COSINE, Similarity
from embedgate.diagnosis.layers import NEXT_STEPS
from embedgate.properties import Embed, Outcome, Violation, as_rounding
from embedgate.properties.explore import Profile, look
from embedgate.sentences import Case
from embedgate.sentences.relations import RELATIONS
from embedgate.sentences.strategies import cases

# Below it, four decimals of a similarity show next to nothing.
FEW = 1e-3


@dataclass(frozen=True)
class Seen:
    """A case, and how similar its anchor is to the two other texts in both arms.

    Attributes:
        case: The case.
        reference: The reference's similarities to the nearer and the farther text.
        candidate: The combination's.
    """

    case: Case
    reference: tuple[float, float]
    candidate: tuple[float, float]

    @property
    def margin(self) -> float:
        """By how much the reference finds the nearer text more similar."""
        return self.reference[0] - self.reference[1]

    @property
    def kept(self) -> float:
        """The combination's margin in the reference's direction: 0 or less where the order is not kept."""
        return (self.candidate[0] - self.candidate[1]) * float(np.sign(self.margin))

    @property
    def move(self) -> float:
        """By how much the similarity that moved most did."""
        return max(abs(mine - theirs) for mine, theirs in zip(self.candidate, self.reference, strict=True))

    @property
    def finite(self) -> bool:
        """Whether every similarity is a number."""
        return bool(np.isfinite([*self.candidate, *self.reference]).all())


class Ordering:
    """Looks for cases whose order a combination reverses, or whose similarity it moves too far.

    Args:
        candidate: Embeds texts by the combination.
        reference: Embeds texts by the reference.
        similarity: How the model compares embeddings.
        scale: The unit that similarities are told in, see `Similarity.scale`.
    """

    def __init__(self, candidate: Embed, reference: Embed, similarity: Similarity = COSINE, scale: float = 1.0) -> None:
        self._candidate = candidate
        self._reference = reference
        self._similarity = similarity
        self._scale = scale

    def see(self, case: Case) -> Seen:
        """Both arms' similarities of a case."""
        return Seen(case, self._similarities(self._reference, case), self._similarities(self._candidate, case))

    def keeps_order(self, margin: float, profile: Profile, seed: int, first: Iterable[Case] = ()) -> Outcome:
        """Looks for a case whose order is reversed although the reference's margin is beyond noise.

        Args:
            margin: The margin up to which an order may turn round.
            profile: How long to look.
            seed: What the cases are drawn from.
            first: Cases to try first.

        Returns:
            What came of it; its worst value is the largest margin of a reversed order.
        """
        worst = 0.0

        def violation(case: Case) -> Violation | None:
            nonlocal worst
            seen = self.see(case)
            if not seen.finite:
                return _not_finite(seen)
            if seen.kept > 0 or seen.margin == 0:
                return None
            worst = max(worst, abs(seen.margin))
            if abs(seen.margin) <= margin:
                return None
            rounds = ", and a move that is rounding reverses that" if seen.move < ROUNDING else ""
            told = f"the reference tells them apart by {_number(abs(seen.margin))}{rounds}"
            return _violation(
                seen,
                f"reverses the order of two similarities ({case.relation}): {told}, {margin:g} is noise",
                abs(seen.margin),
                margin,
                "order.margin",
            )

        return self._look(violation, lambda: worst, margin, profile, seed, first)

    def keeps_similarity(self, limit: float, profile: Profile, seed: int, first: Iterable[Case] = ()) -> Outcome:
        """Looks for a pair whose similarity moves further from the reference's than a limit.

        Args:
            limit: How far a similarity may move.
            profile: How long to look.
            seed: What the cases are drawn from.
            first: Cases to try first.

        Returns:
            What came of it; its worst value is the furthest move.
        """
        worst = 0.0

        def violation(case: Case) -> Violation | None:
            nonlocal worst
            seen = self.see(case)
            if not seen.finite:
                return _not_finite(seen)
            worst = max(worst, seen.move)
            if seen.move <= limit:
                return None
            how = f"{_number(seen.move)} ({case.relation}){rounding(seen.move)}"
            message = f"moves a similarity by {how}, {limit:g} is tolerated"
            return _violation(seen, message, seen.move, limit, "order.similarity")

        return self._look(violation, lambda: worst, limit, profile, seed, first)

    def _look(
        self,
        violation: Callable[[Case], Violation | None],
        worst: Callable[[], float],
        limit: float,
        profile: Profile,
        seed: int,
        first: Iterable[Case],
    ) -> Outcome:
        found, tried = look(
            cases(),
            violation,
            first=first,
            like=lambda case: cases(case.relation) if case.relation in RELATIONS else None,
            rounds=profile.rounds,
            examples=profile.cases,
            seed=seed,
            prepare=self._prepare,
        )
        return Outcome(found, tried, worst(), limit)

    def _similarities(self, embed: Embed, case: Case) -> tuple[float, float]:
        anchor, *others = self._similarity.prepared(embed(case.texts)).astype(np.float64)
        nearer, farther = self._similarity.paired(np.stack([anchor] * len(others)), np.stack(others)) / self._scale
        return float(nearer), float(farther)

    def _prepare(self, drawn: list[Case]) -> None:
        texts = [text for case in drawn for text in case.texts]
        self._reference(texts)
        self._candidate(texts)


def _violation(seen: Seen, message: str, value: float, limit: float, tolerance: str) -> Violation:
    """The violation of a case; where similarities move by less than rounding, that is its cause."""
    found = Violation(seen.case.texts, message, value, limit, details=_shown(seen))
    return as_rounding(found, tolerance) if seen.move < ROUNDING else found


def _number(value: float) -> str:
    """Four decimals, or where these show nothing, two digits."""
    return f"{value:.4f}" if value >= FEW else f"{value:.2g}"


def _not_finite(seen: Seen) -> Violation:
    return Violation(
        seen.case.texts,
        "embeddings hold NaN or infinity, so nothing is similar to anything",
        layer="finiteness",
        cause="embeddings hold NaN or infinity",
        next_step=NEXT_STEPS["finiteness"],
        details=_shown(seen),
        explained_by=("finiteness",),
    )


def _shown(seen: Seen) -> tuple[str, ...]:
    """The texts, each with its similarity to the first in both arms."""
    lines = ["similarity to the first text (reference -> combination):", f"  {'':20}{shorten(seen.case.anchor, 200)}"]
    for text, theirs, mine in zip(seen.case.texts[1:], seen.reference, seen.candidate, strict=True):
        lines.append(f"  {theirs:+.4f} -> {mine:+.4f}  {shorten(text, 200)}")
    return tuple(lines)
