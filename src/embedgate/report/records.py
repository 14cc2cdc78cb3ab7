"""Records of what one test found, and of what ran, which travel through pytest-xdist as plain values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import msgspec

from embedgate.core.embeddings import Embeddings
from embedgate.core.judgement import Judgement
from embedgate.core.plain import to_plain
from embedgate.encoders import Evidence
from embedgate.performance.figures import SpeedFigures
from embedgate.performance.footprint import Footprint
from embedgate.vectors.figures import IndexFigures, SearchFigures

# As an entry of `expected_failures.toml` says itself: `kind: reason (link)`.
_ENTRY = re.compile(r"([\w-]+): (.*) \((https?://\S+)\)", re.DOTALL)


@dataclass(frozen=True)
class RunFacts:
    """Evidence and figures of one combination that ran.

    Attributes:
        evidence: What really ran.
        build_seconds: Wall time from the model folder to a ready encoder.
        encode_seconds: Wall time of encoding every unique text.
        texts: How many there were.
        dim: Dimension of the embeddings.
        speed: What was timed, by workload.
        footprint: Memory and cold start; None where they were not measured.
        indexes: Engines' indexes of its vectors, by the index.
        search_speed: Searches among its vectors that were timed, by load.
    """

    evidence: Evidence
    build_seconds: float
    encode_seconds: float
    texts: int
    dim: int
    speed: Mapping[str, SpeedFigures] = field(default_factory=dict)
    footprint: Footprint | None = None
    indexes: Mapping[str, IndexFigures] = field(default_factory=dict)
    search_speed: Mapping[str, SearchFigures] = field(default_factory=dict)

    def with_later(self, later: RunFacts) -> RunFacts:
        """With what a later test knows: of pytest-xdist's processes, each knows what it measured."""
        return replace(
            later,
            speed={**self.speed, **later.speed},
            footprint=later.footprint or self.footprint,
            indexes={**self.indexes, **later.indexes},
            search_speed={**self.search_speed, **later.search_speed},
        )

    def to_json(self) -> dict[str, Any]:
        """As plain values, by the schema in `docs/report-schema.md`."""
        found: dict[str, Any] = to_plain(self)
        return {**found, "footprint": found["footprint"] or {}}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> RunFacts | None:
        """The inverse of `to_json`; None where nothing ran.

        Raises:
            ValueError: If it is none.
        """
        return msgspec.convert({**plain, "footprint": plain["footprint"] or None}, cls) if plain else None


@dataclass(frozen=True)
class Record:
    """The record of what one test found.

    Attributes:
        combination: Id of the combination; empty where the test is about none, as an upgrade is.
        reference: Whether it is what the others are compared with.
        judgement: What was judged; None where nothing was.
        skipped: Why it was skipped; empty where it was not.
        error: What went wrong; empty where nothing did.
        expected: The entry that expects the failure, as it says itself; empty where none does.
        run: What ran; None where nothing has.
        other: What the bar that does not count came to: the base branch's, or under `--gate-strict` the session's own;
            None where it is the same.
        other_expected: The entry that expects that one to fail.
        place: What was skipped, see `embedgate.core.judgement.place_name`; empty where nothing was.
    """

    combination: str = ""
    reference: bool = False
    judgement: Judgement | None = None
    skipped: str = ""
    error: str = ""
    expected: str = ""
    run: RunFacts | None = None
    other: Judgement | None = None
    other_expected: str = ""
    place: str = ""

    @property
    def by_other(self) -> Record:
        """The record by the bar that does not count."""
        if self.other is None:
            return self
        return replace(self, judgement=self.other, expected=self.other_expected, other=None)

    def to_builtins(self) -> dict[str, Any]:
        """As plain values."""
        found: dict[str, Any] = to_plain(self)
        return found

    @classmethod
    def from_builtins(cls, plain: Mapping[str, Any]) -> Record:
        """The inverse of `to_builtins`.

        Raises:
            ValueError: If it is no record.
        """
        return msgspec.convert(plain, cls)

    @property
    def expected_failure(self) -> ExpectedFailure | None:
        """The failure that was expected; None where there is none."""
        if not self.expected or self.judgement is None or self.judgement.verdict == "pass":
            return None
        entry = _ENTRY.fullmatch(self.expected)
        return ExpectedFailure(self.judgement, *(entry.groups() if entry else ("", self.expected, "")))


@dataclass(frozen=True)
class ExpectedFailure:
    """A failure that `expected_failures.toml`, or a host project's own marker, expects.

    Attributes:
        judgement: The failure.
        kind: Its kind, see `embedgate.approved.expected_failures.KINDS`; empty of a host project's own.
        reason: Why it fails.
        link: Where this is followed, http or https; empty of a host project's own.
    """

    judgement: Judgement
    kind: str
    reason: str
    link: str

    @property
    def why(self) -> str:
        """Kind and reason, in one line."""
        return f"{self.kind}: {self.reason}" if self.kind else self.reason

    def to_json(self) -> dict[str, Any]:
        """As plain values, by the schema in `docs/report-schema.md`."""
        told = {
            name: getattr(self.judgement, name) for name in ("combination", "check", "dataset", "metric", "message")
        }
        return {**told, "kind": self.kind, "reason": self.reason, "link": self.link}


class Measured(Protocol):
    """The facts that a run tells of itself."""

    embeddings: Embeddings
    evidence: Evidence
    build_seconds: float
    encode_seconds: float
    speed: dict[str, SpeedFigures]
    footprint: Footprint | None
    indexes: dict[str, IndexFigures]
    search_speed: dict[str, SearchFigures]


def run_facts(run: Measured) -> RunFacts:
    """Evidence and figures of a run, as they are now."""
    return RunFacts(
        evidence=run.evidence,
        build_seconds=round(run.build_seconds, 3),
        encode_seconds=round(run.encode_seconds, 3),
        texts=len(run.embeddings),
        dim=run.embeddings.dim,
        speed=dict(run.speed),
        footprint=run.footprint,
        indexes=dict(run.indexes),
        search_speed=dict(run.search_speed),
    )
