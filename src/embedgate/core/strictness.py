"""How strictly a session judges: the one place that knows what is red beside what has failed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from enum import StrEnum

from embedgate.core.errors import GateError
from embedgate.core.judgement import Judgement

_ON, _OFF = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "")


class Strictness(StrEnum):
    """What is red beside what has failed.

    Attributes:
        USUAL: Nothing.
        ESTIMATE: What is inconclusive, where the estimate itself is beyond the tolerance.
        FULL: Whatever is inconclusive, could not be judged, or cannot run here. The base branch's bar counts, too.
    """

    USUAL = ""
    ESTIMATE = "estimate"
    FULL = "full"

    @classmethod
    def of(cls, told: str | bool) -> Strictness:
        """The strictness that is told by its name, or by whether there is any, as older reports and ini files do.

        Raises:
            ValueError: If it is none.
        """
        text = str(told).lower()
        return cls.FULL if text in _ON else cls.USUAL if text in _OFF else cls(text)

    @classmethod
    def strictest(cls, found: Iterable[Strictness]) -> Strictness:
        """The strictest of several, the usual one of none."""
        return max(found, key=[*cls].index, default=cls.USUAL)

    @property
    def is_full(self) -> bool:
        """Whether what cannot run or be judged is red, and the base branch's bar counts."""
        return self is Strictness.FULL

    def is_red(self, judgement: Judgement) -> bool:
        """Whether a judgement is red, unless it is expected to fail."""
        if judgement.verdict == "fail":
            return True
        return judgement.verdict == "inconclusive" and (self.is_full or self._by_estimate(judgement))

    def counts(self, judgement: Judgement) -> bool:
        """Whether a judgement has a part in its combination's verdict where others were judged."""
        return self.is_full or not judgement.unjudged

    def told(self, judgement: Judgement) -> Judgement:
        """A judgement that says so where it is red by its estimate alone: of some that are inconclusive, which."""
        why = self._why_red
        if not self._by_estimate(judgement) or why in judgement.message:
            return judgement
        return replace(judgement, message=f"{judgement.message}; {why}")

    def explain(self, judgement: Judgement, *, again: bool = False) -> str:
        """The text of a judgement that is red, and why it is where it has not failed.

        Args:
            judgement: The judgement.
            again: Whether its cause was explained above.
        """
        text = judgement.explain_again() if again else judgement.explain()
        return text if judgement.verdict == "fail" or self._why_red in text else f"{text}\n  {self._why_red}"

    @property
    def flag(self) -> str:
        """The option that asks for it."""
        return f"--gate-strict={self}" if self is Strictness.ESTIMATE else "--gate-strict"

    @property
    def _why_red(self) -> str:
        """Why something inconclusive is red."""
        if self.is_full:
            return f"inconclusive fails under {self.flag}"
        return f"inconclusive, and the estimate itself is beyond the tolerance: red by {self.flag}"

    def _by_estimate(self, judgement: Judgement) -> bool:
        settled = judgement.verdict != "inconclusive" or judgement.unjudged
        return self is Strictness.ESTIMATE and not settled and judgement.is_beyond


def parse(told: str | bool, flag: str) -> Strictness:
    """Reads a strictness.

    Args:
        told: As it was given.
        flag: The option.

    Raises:
        GateError: If it is none.
    """
    try:
        return Strictness.of(told)
    except ValueError:
        cause = f"{flag} must be {Strictness.ESTIMATE} or {Strictness.FULL}, not {str(told)!r}"
        raise GateError(cause) from None
