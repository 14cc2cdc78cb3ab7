"""A budget that several sessions approved: each has an effect of its own, and a limit covers the next one's.

    log(ratio of a session) = mean + effect of the session + noise

Effect and noise together have one standard deviation, estimated from how sessions differ within each entry and pooled
over the entries of a file that are alike, since each has few sessions. It is moderated by what the slack says
(G. K. Smyth, "Linear models and empirical Bayes methods", 2004, section 3): the slack covers `COVERED` standard
deviations, and that counts for `PRIOR` degrees of freedom. The limit is the upper end of a one-sided prediction
interval for one more session (G. J. Hahn and W. Q. Meeker, "Statistical Intervals", 1991, section 4.7):

    mean + t(level, freedom) * deviation * sqrt(1 + 1 / sessions)

and never less than the slack beyond the mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

# Sessions that an entry keeps: the first, which holds the others to where the budget began, and the newest.
MOST_SESSIONS = 10
# Standard deviations that a slack covers (as `pytest --gate-noise` proposes it), and for how much that counts.
COVERED, PRIOR = 3.0, 4


@dataclass(frozen=True)
class ApprovedSession:
    """The value that one session measured.

    Attributes:
        approval: Number of the approval that holds the session's provenance; 0 before it is recorded.
        value: The value, positive.
    """

    approval: int
    value: float


@dataclass(frozen=True)
class Spread:
    """How far the logarithms of sessions' values lie apart.

    Attributes:
        deviation: Their standard deviation, pooled over entries.
        freedom: Its degrees of freedom; 0 where no entry has two sessions.
    """

    deviation: float = 0.0
    freedom: int = 0

    @classmethod
    def of(cls, entries: Iterable[Sequence[ApprovedSession]]) -> Spread:
        """The spread of the sessions of several entries, each about its own mean."""
        squares, freedom = 0.0, 0
        for sessions in entries:
            if len(sessions) > 1:
                mean = log_mean(sessions)
                squares += math.fsum((math.log(each.value) - mean) ** 2 for each in sessions)
                freedom += len(sessions) - 1
        return cls(math.sqrt(squares / freedom), freedom) if freedom else cls()

    def width(self, sessions: int, slack: float, level: float) -> float:
        """How far one more session may lie beyond the mean of others, as a logarithm.

        Args:
            sessions: How many others.
            slack: The least, as a share.
            level: How often a session may lie beyond it.
        """
        least = math.log1p(slack)
        if not self.freedom:
            return least
        freedom = PRIOR + self.freedom
        variance = (PRIOR * (least / COVERED) ** 2 + self.freedom * self.deviation**2) / freedom
        return max(least, _quantile(level, freedom) * math.sqrt(variance * (1 + 1 / sessions)))


# Of what one session alone has approved.
NOT_KNOWN = Spread()


def log_mean(sessions: Sequence[ApprovedSession]) -> float:
    """The mean of the logarithms of their values."""
    return math.fsum(math.log(each.value) for each in sessions) / len(sessions)


def with_one_more(sessions: Sequence[ApprovedSession], session: ApprovedSession) -> tuple[ApprovedSession, ...]:
    """The sessions that are kept once another has approved."""
    return (*sessions[:1], *[*sessions[1:], session][1 - MOST_SESSIONS :])


@lru_cache(maxsize=256)
def _quantile(level: float, freedom: int) -> float:
    from scipy.stats import t

    return float(t.isf(level, freedom))
