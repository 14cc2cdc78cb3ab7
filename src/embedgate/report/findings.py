"""What is wrong, each cause once: failures that have one cause are one finding, with what shows it beneath."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from embedgate.core.judgement import (
    APPROVAL,
    DATASET,
    EXAMPLE_LINES,
    PROMISE,
    UNKNOWN,
    Judgement,
    Proof,
    WorstText,
)

# What is wrong with a red combination, by what it is held against. Only the first of the three that people meet says
# that quality was lost.
WORSE = "worse than the reference"
DRIFTED = "drifted from what was approved"
NOT_APPROVED = "not approved yet"
NOT_AS_NAMED = "not what it says it is"
DATA_CANNOT_TELL = "these data cannot tell"
BREAKS = "breaks an encoder's contract"
NOT_PROVEN = "not proven by its receipt"
_KINDS = {
    "name": NOT_AS_NAMED,
    "rule": BREAKS,
    "reference": WORSE,
    "incumbent": "worse than the incumbent",
    "gain": "not better than the incumbent",
    "approved": DRIFTED,
    "receipt": NOT_PROVEN,
}
_BY_LAYER = {APPROVAL: NOT_APPROVED, PROMISE: NOT_AS_NAMED, DATASET: DATA_CANNOT_TELL}
# These say nothing against what is judged.
OPEN = (NOT_APPROVED, DATA_CANNOT_TELL)
# In the order in which they are told.
KINDS = (*_KINDS.values(), *OPEN)

# Ways in which a candidate is red by one cause; the others are held against another model or machine.
_OF_ONE_CAUSE = (NOT_AS_NAMED, BREAKS, WORSE, DRIFTED)

# Texts that are shown of one cause.
WORST = 5


@dataclass(frozen=True)
class Finding:
    """Judgements that have one cause.

    Attributes:
        kind: What is wrong, one of `KINDS`.
        judgements: The judgements, in the order of the report; at least one.
    """

    kind: str
    judgements: tuple[Judgement, ...]

    @property
    def layer(self) -> str:
        """The layer of the cause; empty where none is known."""
        return self._first.diagnosis.layer if self._first.diagnosis else ""

    @property
    def cause(self) -> str:
        """The cause; empty where none is known, or the finding itself says it."""
        return self._first.diagnosis.cause if self._first.diagnosis else ""

    @property
    def next_step(self) -> str:
        """What to try; empty where nothing is known."""
        return self._first.diagnosis.next_step if self._first.diagnosis else ""

    @property
    def proof(self) -> Proof | None:
        """How the cause was found, or what was ruled out where it is not known; None where it is the finding itself."""
        return self._first.diagnosis.proof if self._first.diagnosis else None

    @property
    def shown_by(self) -> tuple[str, ...]:
        """As `proof`, in words, a line each."""
        return self._first.diagnosis.shown_by() if self._first.diagnosis else ()

    @property
    def headline(self) -> str:
        """What stands for all of it: its cause, or where none was found, what shows it."""
        return self.cause if self.cause and self.layer != UNKNOWN else self._first.message

    @cached_property
    def combinations(self) -> tuple[str, ...]:
        """Ids of the combinations it concerns."""
        return tuple(dict.fromkeys(judgement.combination for judgement in self.judgements))

    @cached_property
    def messages(self) -> tuple[tuple[str, str], ...]:
        """Combination and message of each judgement, each once: one of each combination first."""
        each = dict.fromkeys((judgement.combination, judgement.message) for judgement in self.judgements)
        first = dict(reversed(each))
        ahead = [(combination, first[combination]) for combination in self.combinations]
        return tuple(dict.fromkeys([*ahead, *each]))

    @cached_property
    def details(self) -> tuple[str, ...]:
        """Further lines, each once; of examples of one cause, the first one stands for all."""
        of_examples = [judgement for judgement in self.judgements if _is_example(judgement)]
        told = (judgement for judgement in self.judgements if not any(judgement is each for each in of_examples[1:]))
        return tuple(dict.fromkeys(line for judgement in told for line in judgement.details))

    @cached_property
    def worst(self) -> tuple[WorstText, ...]:
        """The texts that lost most, each once, if their score is another at all: of each judgement the worst first."""
        found: dict[str, WorstText] = {}
        for rank in range(max(len(judgement.worst) for judgement in self.judgements)):
            for judgement in self.judgements:
                for each in judgement.worst[rank : rank + 1]:
                    if each.moved:
                        found.setdefault(each.text, each)
        return tuple(found.values())[:WORST]

    @property
    def _first(self) -> Judgement:
        return self.judgements[0]


def kind_of(judgement: Judgement, against: Mapping[str, str]) -> str:
    """What is wrong with what a judgement is about.

    Args:
        judgement: One that is not green.
        against: What each check holds a combination against, see `embedgate.report.summary.KnownChecks`.
    """
    layer = judgement.diagnosis.layer if judgement.diagnosis else ""
    return _BY_LAYER.get(layer) or _KINDS[against.get(judgement.check, "reference")]


def by_kind(found: Iterable[Finding]) -> dict[str, list[Finding]]:
    """Findings under what is wrong, in the order in which kinds are told."""
    kinds: dict[str, list[Finding]] = {}
    for each in found:
        kinds.setdefault(each.kind, []).append(each)
    return kinds


def findings(judgements: Iterable[Judgement], against: Mapping[str, str]) -> list[Finding]:
    """The findings that judgements come to, by kind.

    Judgements have one cause where layer and cause are the same, in whatever combination; those without a known cause
    where they are about one combination. A cause that was reproduced or read is one finding, be it red against the
    reference, a rule or what was approved: of the kind that says that quality was lost, where one is, else of the one
    that is told first.

    Args:
        judgements: Those that are not green.
        against: As `kind_of` takes it.
    """
    grouped: dict[tuple[str, ...], list[Judgement]] = {}
    for judgement in judgements:
        grouped.setdefault((_way(judgement, against), *_cause(judgement)), []).append(judgement)
    found = (_of_one_cause(group, against) for group in grouped.values())
    return sorted(found, key=lambda finding: KINDS.index(finding.kind))


def _of_one_cause(group: Sequence[Judgement], against: Mapping[str, str]) -> Finding:
    """The finding of judgements that have one cause: those of its kind first."""
    kinds = [kind_of(judgement, against) for judgement in group]
    kind = WORSE if WORSE in kinds else min(kinds, key=KINDS.index)
    return Finding(kind, tuple(sorted(group, key=lambda judgement: kind_of(judgement, against) != kind)))


def _way(judgement: Judgement, against: Mapping[str, str]) -> str:
    """The kind that sets apart what has one cause; empty where that is shown, and so stands above the kinds."""
    kind = kind_of(judgement, against)
    shown = judgement.diagnosis is not None and judgement.diagnosis.is_shown
    return "" if shown and kind in _OF_ONE_CAUSE else kind


def _cause(judgement: Judgement) -> tuple[str, ...]:
    """What judgements of one cause have in common: that, or where it is not known, the combination."""
    why = judgement.diagnosis
    if why is None:
        return "", judgement.combination
    return (why.layer, why.cause, judgement.combination) if why.layer == UNKNOWN else (why.layer, why.cause)


def _is_example(judgement: Judgement) -> bool:
    return any(line.startswith(EXAMPLE_LINES) for line in judgement.details)
