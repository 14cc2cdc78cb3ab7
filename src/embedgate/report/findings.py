"""What is wrong, each cause once: failures that have one cause are one finding, with what shows it beneath."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from embedgate.core.judgement import APPROVAL, DATASET, PROMISE, Judgement, WorstText

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
    def headline(self) -> str:
        """What stands for all of it: its cause, or where none was found, what shows it."""
        return self.cause if self.cause and self.layer != "unknown" else self._first.message

    @cached_property
    def combinations(self) -> tuple[str, ...]:
        """Ids of the combinations it concerns."""
        return tuple(dict.fromkeys(judgement.combination for judgement in self.judgements))

    @cached_property
    def messages(self) -> tuple[tuple[str, str], ...]:
        """Combination and message of each judgement, each once."""
        return tuple(dict.fromkeys((judgement.combination, judgement.message) for judgement in self.judgements))

    @cached_property
    def details(self) -> tuple[str, ...]:
        """Further lines, each once."""
        return tuple(dict.fromkeys(line for judgement in self.judgements for line in judgement.details))

    @cached_property
    def worst(self) -> tuple[WorstText, ...]:
        """The texts that lost most, each once: of each judgement the worst one first."""
        found: dict[str, WorstText] = {}
        for rank in range(max(len(judgement.worst) for judgement in self.judgements)):
            for judgement in self.judgements:
                for each in judgement.worst[rank : rank + 1]:
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

    Judgements have one cause where layer and cause are the same, in whatever combination; those without a cause where
    they are about one combination.

    Args:
        judgements: Those that are not green.
        against: As `kind_of` takes it.
    """
    grouped: dict[tuple[str, ...], list[Judgement]] = {}
    for judgement in judgements:
        why = judgement.diagnosis
        cause = (why.layer, why.cause) if why else ("", judgement.combination)
        grouped.setdefault((kind_of(judgement, against), *cause), []).append(judgement)
    found = [Finding(kind, tuple(group)) for (kind, *_), group in grouped.items()]
    return sorted(found, key=lambda finding: KINDS.index(finding.kind))
