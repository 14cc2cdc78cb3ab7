"""Collects what the tests found. Registered as a pytest plugin, though it needs nothing of pytest."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(eq=False)  # pytest keeps plugins in sets
class Collector:
    """What the tests of a session found, as plain JSON values.

    Attributes:
        records: One per test report that carries one, see `embedgate.report.summary.record_of`.
        facts: What the session ran on, see `embedgate.report.summary.facts_of`.
        changes: Rows of baseline changes, where a baseline was recorded.
        trouble: Lines about what went wrong outside any test.
        strict: Whether inconclusive and unavailable are red.
    """

    records: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    changes: list[tuple[str, ...]] | None = None
    trouble: list[str] = field(default_factory=list)
    strict: bool = False

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Keeps the record a test report carries."""
        record = getattr(report, "gate", None)
        if record is not None:
            self.records.append(record)
