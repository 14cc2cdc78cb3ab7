"""The book of faults that were tried: what came nearest, what could not be, and the proof that these come to."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from embedgate.core.judgement import Proof, Tried
from embedgate.diagnosis.attempts import Attempt
from embedgate.diagnosis.playing import Asked

# What a proof keeps of what else was tried.
SHOWN = 12
# Causes that are named where the texts do not tell them apart.
RIVALS = 3


class Ledger:
    """What was tried of a candidate.

    Args:
        asked: What it was asked.
        before: Root mean square distance of its vectors to the reference's own; infinite where the widths differ.

    Attributes:
        attempts: How many faults, and pairs of them, were tried.
    """

    def __init__(self, asked: Asked, before: float) -> None:
        self._asked = asked
        self._before = before if np.isfinite(before) else None
        self._nearest: list[Attempt] = []
        self._untried: dict[str, None] = {}
        self.attempts = 0

    def keep(self, attempt: Attempt) -> Attempt:
        """Counts an attempt, and keeps it where it is one of the nearest; the attempt itself."""
        self.attempts += 1
        self._nearest = sorted([*self._nearest, attempt], key=lambda each: each.distance)[: SHOWN + RIVALS]
        return attempt

    def leave_out(self, why: str) -> None:
        """Notes what could not be tried, and why, in one line."""
        self._untried[why] = None

    def nothing(self) -> Proof:
        """What was tried where no cause was found."""
        return Proof(
            "nothing",
            self._asked.distinct,
            distance_before=self._before,
            tried=self._tried(()),
            attempts=self.attempts,
            untried=tuple(self._untried),
        )

    def read(self) -> Proof:
        """The proof of a cause that is read from what was answered."""
        return Proof("read", self._asked.distinct, attempts=self.attempts)

    def reproduced(self, cosine: float, distance: float, layers: tuple[str, ...], besides: Iterable[str] = ()) -> Proof:
        """The proof of a cause that was reproduced.

        Args:
            cosine: See `Proof.cosine`.
            distance: See `Proof.distance`.
            layers: Every layer that it reaches.
            besides: Names of what is the cause.
        """
        tried, untried = self._tried(besides), tuple(self._untried)
        texts = self._asked.distinct
        return Proof("reproduced", texts, cosine, distance, self._before, tried, self.attempts, untried, layers)

    def _tried(self, besides: Iterable[str]) -> tuple[Tried, ...]:
        others = [each for each in self._nearest if each.name not in besides]
        return tuple(Tried(each.name, round(each.distance, 6), self._texts_of(each)) for each in others[:SHOWN])

    def _texts_of(self, attempt: Attempt) -> int | None:
        """On how many texts faults were tried; None where on all."""
        return len(attempt.vectors) if len(attempt.vectors) < len(self._asked.mine) else None
