"""Collects what the tests found. Registered as a pytest plugin, though it needs nothing of pytest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from embedgate.core.errors import GateError, one_line
from embedgate.core.strictness import Strictness

if TYPE_CHECKING:
    from embedgate.report.journal import Journal
    from embedgate.report.records import Record

# When a test failed in whose stead pytest-xdist reports that its process has ended.
CRASHED = "???"
# The exit status where something could not be judged, and nothing that was judged is red; those below are pytest's.
NOT_JUDGED = 10


@dataclass(eq=False)  # pytest keeps plugins in sets
class Collector:
    """The findings of a session's tests.

    Attributes:
        records: One per test report that carries one.
        facts: What the session ran on as plain values, see `embedgate.checks.facts.facts_of`.
        changes: Rows of baseline changes, where a baseline was recorded.
        trouble: Lines about what went wrong outside any test.
        complaints: Entries of expected_failures.toml that match nothing or no longer fail, a line each.
        base: What is told of the base branch's bar where no combination ran, as where receipts alone are verified.
        strict: What is red beside what has failed.
        journal: Keeps what is found as it comes; None where no report is to be written, or another process keeps it.
        others_failed: How much failed that asks no check, such as a test of the host's own, or as it was torn down.
    """

    records: list[Record] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    changes: list[tuple[str, ...]] | None = None
    trouble: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    base: dict[str, Any] = field(default_factory=dict)
    strict: Strictness = Strictness.USUAL
    others_failed: int = 0
    journal: Journal | None = None
    _torn_down: str = ""  # the test whose end was told last

    @property
    def lost_nothing(self) -> bool:
        """Whether all that is red could not be judged, such as what could not be built: no quality was lost."""
        judged = (record.judgement for record in self.records if record.judgement and not record.expected)
        lost = any(map(self.strict.is_red, judged))
        failed = lost or self.trouble or self.complaints or self.failed_besides
        return any(record.error for record in self.records) and not failed and not self.strict.is_full

    @property
    def failed_besides(self) -> int:
        """How much failed beside the checks.

        A test that fails after its judgement, by an assertion of its own, is the host's to explain.
        """
        after = sum(bool(each.judgement and each.error and not each.expected) for each in self.records)
        return self.others_failed + after

    def knows(self, facts: Mapping[str, Any]) -> None:
        """Takes what the session ran on, as far as it is known by now."""
        self.facts = {**facts}
        if self.journal is not None:
            self.journal.add_facts(facts)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Keeps the record a test report carries, and which test a process of pytest-xdist crashed in."""
        plain = getattr(report, "gate", None)
        if plain is not None:
            from embedgate.report.records import Record  # not at the top: this module is loaded with the plugin

            try:
                self._keep(Record.from_builtins(plain))
            except ValueError as error:
                self.trouble.append(f"{report.nodeid} found what no report can hold: {error}")
        elif report.when == CRASHED:
            self.trouble.append(f"{report.longrepr}; run that test alone")
        if getattr(report, "failed", False) and (plain is None or self._is_of_others(report)):
            self.others_failed += 1
        self._torn_down = report.nodeid if report.when == "teardown" else ""

    def _is_of_others(self, report: Any) -> bool:
        """Whether a check's test failed beside what it asks: as it is torn down, by a fixture of the host's.

        What fails behind that is an encoder that crashes as it is closed, in the process that its last test ran in.
        """
        closed = report.nodeid == self._torn_down and not report.gate.get("judgement")
        return bool(report.when == "teardown") and not closed

    def _keep(self, record: Record) -> None:
        self.records.append(record)
        if self.journal is not None:
            self.journal.add_record(record)

    def pytest_collectreport(self, report: Any) -> None:
        """Counts what could not be collected."""
        self.others_failed += bool(report.failed)


@contextmanager
def told(collector: Collector) -> Iterator[None]:
    """Tells trouble in the report."""
    try:
        yield
    except GateError as error:
        collector.trouble.append(str(error))
    except OSError as error:  # as where this process may open no more files
        collector.trouble.append(one_line(error))
