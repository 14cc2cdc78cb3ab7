"""The findings of a session, as one plain structure that every report is written from."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from embedgate.core.errors import counted
from embedgate.core.judgement import APPROVAL, Judgement
from embedgate.core.strictness import Strictness
from embedgate.metrics import METRICS
from embedgate.performance.workloads import HEADLINE as HEADLINE_WORKLOAD
from embedgate.report import agreement
from embedgate.report.collector import Collector
from embedgate.report.records import ExpectedFailure, Record, RunFacts

SCHEMA = 2
# The metric that stands for a kind of dataset in the table, as it is headed there; the others are in report.json.
HEADLINE = {name: metric.heading for name, metric in METRICS.items() if metric.heading}
# As plots call it.
PLOTTED = {**HEADLINE, agreement.NEAREST: "nearest ten"}
CHANGE_HEADINGS = ("combination", "dataset", "metric", "approved", "now", "difference")
# The check whose green judgements have details as well: rows that are wrong, and few enough.
STORED_ROWS = "stored"


@dataclass(frozen=True)
class KnownChecks:
    """The facts that a report must know of the checks there are.

    Attributes:
        order: Their names, in the order they are told of; others come last, as they were judged.
        against: What each holds a combination against, see `embedgate.checks.check.Against`.
    """

    order: tuple[str, ...]
    against: Mapping[str, str]

    @property
    def approved(self) -> frozenset[str]:
        """Those against what was approved, whose details tell what is better."""
        return frozenset(check for check, what in self.against.items() if what == "approved")

    def ordered(self, judgements: Iterable[Judgement]) -> list[Judgement]:
        """Judgements in the order of their checks."""
        place = {name: place for place, name in enumerate(self.order)}
        return sorted(judgements, key=lambda judgement: place.get(judgement.check, len(place)))


@dataclass
class Row:
    """One combination's line in the table.

    Attributes:
        combination: Its id.
        reference: Whether it is what the others are compared with.
        judgements: Everything that was judged of it.
        expected: Which of them failed as expected.
        run: Evidence and figures; None where it did not run.
        skipped_checks: How many of its checks were skipped, by the reason.
        skips: Which these are, by the reason.
        errors: What went wrong, each once.
        strict: Whether a check that could not be judged counts, see `Strictness.counts`.
    """

    combination: str
    reference: bool = False
    judgements: list[Judgement] = field(default_factory=list)
    expected: list[ExpectedFailure] = field(default_factory=list)
    run: RunFacts | None = None
    skipped_checks: Counter[str] = field(default_factory=Counter)
    skips: dict[str, list[str]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    strict: Strictness = Strictness.USUAL

    @property
    def counted(self) -> list[Judgement]:
        """The judgements that count: all but those that failed as expected."""
        excused = {failure.judgement for failure in self.expected}
        return [judgement for judgement in self.judgements if judgement not in excused]

    @property
    def verdict(self) -> str:
        """`error`, or the worst of the checks that count: `fail`, `inconclusive`, `pass`, of a reference `reference`.

        `expected failure` where one failed as expected and all others pass; `skipped` where nothing was judged. Checks
        that could not be judged leave it as it is where others were, unless they are red.
        """
        counted = self.counted
        verdicts = {j.verdict for j in counted if self.strict.counts(j)}
        if self.errors:
            return "error"
        if "fail" in verdicts:
            return "fail"
        if "inconclusive" in verdicts or (counted and not verdicts):
            return "inconclusive"
        if self.expected:
            return "expected failure"
        if self.skipped_checks and not counted:
            return "skipped"
        return "reference" if self.reference else "pass"

    @property
    def reason(self) -> str:
        """Why it was skipped or what went wrong; empty where nothing did."""
        if self.errors:
            return "; and: ".join(self.errors)
        return next(reversed(self.skipped_checks)) if self.verdict == "skipped" else ""

    def find(self, metric: str, dataset: str | None = None) -> Judgement | None:
        """The judgement of a metric, on a dataset where one is named."""
        return next(
            (j for j in self.judgements if j.metric == metric and dataset in (None, j.dataset)),
            None,
        )


@dataclass
class Summary:
    """A whole session.

    Attributes:
        facts: Model, machine, libraries, datasets, timings.
        rows: One per combination, in the order they ran.
        upgrade: Judgements against the incumbent, as one row that is no combination's.
        changes: Rows of baseline changes, where a baseline was recorded.
        trouble: Lines about what went wrong outside any test.
        base: What is told of the base branch's bar; nothing where there is none.
        complaints: Those of them that are about entries of `expected_failures.toml`.
        known: The checks there are.
        strict: What is red beside what has failed.
        otherwise: Judgements that are others by the bar that does not count, each with that one and the entry that
            expects it to fail; see `Record.other`.
        other_verdict: The verdict by that bar; empty where there is none, or nothing differs.
        others_failed: How much failed beside the checks: tests of a host project's own, and what they assert besides.
    """

    facts: dict[str, Any]
    rows: list[Row]
    upgrade: Row
    changes: list[tuple[str, ...]] | None
    trouble: list[str]
    known: KnownChecks
    strict: Strictness
    otherwise: list[tuple[Judgement, Judgement, str]] = field(default_factory=list)
    other_verdict: str = ""
    others_failed: int = 0
    complaints: list[str] = field(default_factory=list)
    base: dict[str, Any] = field(default_factory=dict)

    @property
    def all_rows(self) -> tuple[Row, ...]:
        """The rows, and that of the upgrade last."""
        return (*self.rows, self.upgrade)

    @property
    def judged(self) -> list[Judgement]:
        """Every judgement, those against the incumbent last."""
        return [judgement for row in self.all_rows for judgement in row.judgements]

    @property
    def red(self) -> list[Judgement]:
        """What is red, those apart that were expected to fail."""
        return [j for row in self.all_rows for j in row.counted if self.strict.is_red(j)]

    @property
    def verdict(self) -> str:
        """The worst of all checks: `fail` where pytest fails, too; `skipped` where nothing could run."""
        verdicts = {row.verdict for row in self.all_rows}
        if self.trouble or verdicts & {"fail", "error"} or self.red:
            return "fail"
        if "inconclusive" in verdicts:
            return "inconclusive"
        nothing = self.rows and all(row.verdict == "skipped" for row in self.rows) and not self.upgrade.judgements
        return "skipped" if nothing else "pass"

    @property
    def detectable(self) -> dict[tuple[str, str], float]:
        """Per dataset and metric, the smallest loss it can tell from none, the median over the combinations."""
        losses: dict[tuple[str, str], list[float]] = {}
        judged = (j for row in self.rows for j in row.judgements if j.metric in METRICS)
        # With itself, the reference agrees wholly: what is lost of that is a share as well.
        for j in (j for j in judged if j.check == "retention" or agreement.is_by_itself(j)):
            # A part that decides says nothing of what all items could tell.
            if j.smallest_detectable_loss is not None and j.is_whole:
                losses.setdefault((j.dataset, j.metric), []).append(j.smallest_detectable_loss)
        return {key: statistics.median(values) for key, values in losses.items()}

    @property
    def headlines(self) -> list[tuple[str, str]]:
        """Datasets and the metric that stands for each, in the order of the report."""
        seen = dict.fromkeys(
            (j.dataset, j.metric) for row in self.rows for j in row.judgements if j.check == "retention"
        )
        return [(dataset, metric) for dataset, metric in seen if metric in HEADLINE]

    @property
    def unlabelled(self) -> list[str]:
        """Datasets of texts without labels that were judged by themselves, in the order of the report."""
        judged = (j for row in self.rows for j in row.judgements)
        return list(dict.fromkeys(j.dataset for j in judged if agreement.is_by_itself(j)))

    @property
    def plotted(self) -> list[tuple[str, str]]:
        """As `headlines`, and the datasets without labels after them."""
        return [*self.headlines, *((dataset, agreement.NEAREST) for dataset in self.unlabelled)]

    @property
    def ran(self) -> list[Row]:
        """The rows a table has: all but the skipped ones, of which there is nothing to show."""
        return [row for row in self.rows if row.verdict != "skipped"]

    @property
    def skipped(self) -> dict[str, list[str]]:
        """Combinations that were skipped, by the reason."""
        found: dict[str, list[str]] = {}
        for row in self.rows:
            if row.verdict == "skipped":
                found.setdefault(row.reason, []).append(row.combination)
        return found

    @property
    def left_out(self) -> dict[str, int]:
        """How many checks of combinations that ran were skipped, by the reason; for some, a receipt stands."""
        ran = [row for row in self.ran if any(j.check != "receipt" for j in row.judgements)]
        return dict(sum((row.skipped_checks for row in (*ran, self.upgrade)), Counter()))

    @property
    def shows_cost(self) -> bool:
        """Whether time or memory was measured."""
        return any(row.run and (row.run.speed or row.run.footprint) for row in self.rows)

    @property
    def verified(self) -> list[Judgement]:
        """The judgements that a receipt proves."""
        return [j for row in self.rows for j in row.judgements if j.check == "receipt" and j.verdict == "pass"]

    @property
    def stale(self) -> list[str]:
        """Values that are better than approved by more than is tolerated, one line each."""
        passed = [j for row in self.rows for j in row.judgements if j.verdict == "pass"]
        return [f"{j.combination}: {line}" for j in passed if j.check in self.known.approved for line in j.details]

    @property
    def not_judged(self) -> list[str]:
        """What could not be judged: a line for all budgets that nothing approved judges, then one for each reason."""
        return [*filter(None, [self._budgets_line()]), *self._unjudged_lines()]

    def _budgets_line(self) -> str:
        """How many budgets nothing approved judges, why, and what to do about it; empty where there is none."""
        budgets = [j.diagnosis for j in self.judgements("inconclusive") if self._lacks_budget(j) and j.diagnosis]
        causes = Counter(diagnosis.cause for diagnosis in budgets)
        if not budgets:
            return ""
        why = "; ".join(causes if len(causes) == 1 else (f"{cause} ({count})" for cause, count in causes.items()))
        steps = dict.fromkeys(filter(None, (diagnosis.next_step for diagnosis in budgets)))
        them = "1 budget was" if len(budgets) == 1 else f"{len(budgets):,} budgets were"
        return "; ".join((f"{them} not judged: {why}", *steps))

    def _unjudged_lines(self) -> list[str]:
        found: Counter[tuple[str, str]] = Counter()
        for j in self.judgements("inconclusive"):
            if j.unjudged and j.diagnosis and not self._lacks_budget(j):
                found[j.diagnosis.cause, j.diagnosis.next_step] += 1
        return [
            f"{counted(count, 'check')} not judged: {'; '.join(filter(None, reason))}"
            for reason, count in found.items()
        ]

    def _lacks_budget(self, judgement: Judgement) -> bool:
        """Whether nothing that was approved judges it here, though it is held against approved values."""
        layer = judgement.diagnosis.layer if judgement.diagnosis else ""
        return judgement.unjudged and judgement.check in self.known.approved and layer == APPROVAL

    @property
    def expected(self) -> list[ExpectedFailure]:
        """Failures that were expected."""
        return [failure for row in self.all_rows for failure in row.expected]

    @property
    def unsettled(self) -> list[Judgement]:
        """What was judged and left open: the data cannot tell."""
        return [j for j in self.judgements("inconclusive") if not j.unjudged]

    @property
    def remarks(self) -> list[str]:
        """What a reader must know beside verdicts: how combinations were asked, and what was wrong and tolerated."""
        asked = [f"{row.combination}: {note}" for row in self.ran if row.run for note in row.run.evidence.notes]
        rows = [j for j in self.judgements("pass") if j.check == STORED_ROWS]
        return asked + [f"{j.combination}: tolerated: {line}" for j in rows for line in j.details]

    def judgements(self, verdict: str) -> list[Judgement]:
        """Every judgement of a verdict, those that failed as expected apart."""
        return [j for row in self.all_rows for j in row.counted if j.verdict == verdict]


def summarise(collector: Collector, known: KnownChecks) -> Summary:
    """Sorts what the tests found by combination.

    Args:
        collector: What they found.
        known: The checks there are.
    """
    found = _summary(collector, known, collector.records, collector.complaints)
    apart = [
        (each.judgement, each.other, each.other_expected) for each in collector.records if each.judgement and each.other
    ]
    if apart:
        found.otherwise = apart
        # Complaints are about the session's own file.
        complaints = collector.complaints if found.strict.is_full else ()
        records = [each.by_other for each in collector.records]
        found.other_verdict = _summary(collector, known, records, complaints).verdict
    return found


def _summary(collector: Collector, known: KnownChecks, records: Sequence[Record], complaints: Sequence[str]) -> Summary:
    strict = collector.strict or Strictness.of(collector.facts.get("strict", ""))
    rows: dict[str, Row] = {"": Row("", strict=strict)}
    trouble = [*collector.trouble, *complaints]
    for record in records:
        row = rows.setdefault(record.combination, Row(record.combination, strict=strict))
        row.reference = row.reference or record.reference
        if record.run:
            row.run = row.run.with_later(record.run) if row.run else record.run
        if record.judgement:
            row.judgements.append(record.judgement)
        if record.expected_failure:
            row.expected.append(record.expected_failure)
        if record.skipped:
            row.skipped_checks[record.skipped] += 1
            row.skips.setdefault(record.skipped, []).append(record.place)
        if record.error and record.error not in row.errors:
            row.errors.append(record.error)
        if record.error and not record.combination:
            trouble.append(record.error)
    for row in rows.values():
        row.judgements = known.ordered(row.judgements)
    upgrade = rows.pop("")
    return Summary(
        collector.facts,
        list(rows.values()),
        upgrade,
        collector.changes,
        list(dict.fromkeys(trouble)),
        known,
        strict,
        others_failed=collector.failed_besides,
        complaints=[*complaints],
        base=collector.facts.get("base") or collector.base,
    )


def speed_up(row: Row) -> float | None:
    """How many times faster than its reference a combination is on the workload that stands for all."""
    if row.reference:
        return 1.0
    found = row.run.speed.get(HEADLINE_WORKLOAD) if row.run else None
    return 1 / found.ratio if found else None


def kept(summary: Summary, row: Row) -> float | None:
    """The least share of the reference's quality that a combination keeps; without any labels, of its nearest texts.

    How many nearest texts stay is no share of quality, so texts without labels do not count beside labelled data.
    """
    if row.reference:
        return 1.0
    found = [row.find(metric, dataset) for dataset, metric in summary.headlines or summary.plotted]
    shares = [judgement.observed for judgement in found if judgement and judgement.observed is not None]
    return min(shares) if shares else None
