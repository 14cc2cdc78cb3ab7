"""What a session found, as one plain structure that every report is written from."""

from __future__ import annotations

import datetime as dt
import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from embedgate import __version__
from embedgate.core.combination import Combination
from embedgate.core.judgement import Judgement
from embedgate.metrics import METRICS
from embedgate.performance.workloads import HEADLINE as HEADLINE_WORKLOAD
from embedgate.performance.workloads import LATENCY
from embedgate.report.collector import Collector

if TYPE_CHECKING:
    from embedgate.checks.judge import Judge
    from embedgate.runtime.session import Run

SCHEMA = 1
# The metric that stands for a kind of dataset in the table, as it is headed there; the others are in report.json.
HEADLINE = {name: metric.heading for name, metric in METRICS.items() if metric.heading}

LARGEST_MOVE = "largest move: how far an embedding moved when only its surroundings changed, as a share of its length"
COST = (
    "speed: how many times faster than the reference in batches of 32; latency of one text at a time; memory that the "
    "combination adds to a process once it is loaded"
)
CHANGE_HEADINGS = ("combination", "dataset", "metric", "approved", "now", "difference")


@dataclass
class Row:
    """One combination's line in the table.

    Attributes:
        combination: Its id.
        verdict: `pass`, `inconclusive`, `fail`, `error`, `expected failure`, `skipped` or `reference`.
        reason: Why it was skipped or could not be judged.
        judgements: Everything that was judged of it.
        run: Evidence and timings; empty where it did not run.
        reference: Whether it is what the others are compared with.
        skipped_checks: How many of its checks were skipped, by the reason.
    """

    combination: str
    verdict: str = "pass"
    reason: str = ""
    judgements: list[Judgement] = field(default_factory=list)
    run: dict[str, Any] = field(default_factory=dict)
    reference: bool = False
    skipped_checks: Counter[str] = field(default_factory=Counter)

    def find(self, metric: str, dataset: str | None = None) -> Judgement | None:
        """The judgement of a metric, on a dataset where one is named."""
        return next(
            (
                j
                for j in self.judgements
                if j.metric == metric and j.check != "upgrade" and dataset in (None, j.dataset)
            ),
            None,
        )


@dataclass
class Summary:
    """A whole session.

    Attributes:
        verdict: The worst of the rows' verdicts.
        facts: Model, machine, libraries, datasets, timings.
        rows: One per combination, in the order they ran.
        upgrade: Judgements against the incumbent.
        detectable: Per dataset and metric, the smallest loss it can tell from none, the median over the combinations.
        changes: Rows of baseline changes, where a baseline was recorded.
        trouble: Lines about what went wrong outside any test.
    """

    verdict: str
    facts: dict[str, Any]
    rows: list[Row]
    upgrade: list[Judgement]
    detectable: dict[tuple[str, str], float]
    changes: list[tuple[str, ...]] | None
    trouble: list[str]

    @property
    def headlines(self) -> list[tuple[str, str]]:
        """Datasets and the metric that stands for each, in the order of the report."""
        seen = dict.fromkeys(
            (j.dataset, j.metric) for row in self.rows for j in row.judgements if j.check == "retention"
        )
        return [(dataset, metric) for dataset, metric in seen if metric in HEADLINE]

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
        ran = (row for row in self.ran if any(j.check != "receipt" for j in row.judgements))
        return dict(sum((row.skipped_checks for row in ran), Counter()))

    @property
    def shows_cost(self) -> bool:
        """Whether time or memory was measured."""
        return any(row.run.get("speed") or row.run.get("footprint") for row in self.rows)

    @property
    def shows_moves(self) -> bool:
        """Whether any variation was judged, so that the table has largest moves to explain."""
        return any(j.check == "invariance" for row in self.rows for j in row.judgements)

    @property
    def verified(self) -> list[Judgement]:
        """What a receipt proves."""
        return [j for row in self.rows for j in row.judgements if j.check == "receipt" and j.verdict == "pass"]

    @property
    def stale(self) -> list[str]:
        """What is better than approved by more than is tolerated, one line each."""
        approved = ("baseline", "speed", "memory", "size", "products", "search speed")
        found = [j for row in self.rows for j in row.judgements if j.verdict == "pass" and j.check in approved]
        return [f"{j.combination}: {line}" for j in found for line in j.details]

    @property
    def unjudged(self) -> dict[tuple[str, str], list[Judgement]]:
        """What could not be judged, by the reason and what to do about it."""
        found: dict[tuple[str, str], list[Judgement]] = {}
        for judgement in self.judgements("inconclusive"):
            if judgement.unjudged and judgement.diagnosis:
                found.setdefault((judgement.diagnosis.cause, judgement.diagnosis.next_step), []).append(judgement)
        return found

    def judgements(self, verdict: str) -> list[Judgement]:
        """Every judgement of a verdict."""
        found = [
            j for row in self.rows if row.verdict != "expected failure" for j in row.judgements if j.verdict == verdict
        ]
        return found + [j for j in self.upgrade if j.verdict == verdict]

    def to_json(self) -> dict[str, Any]:
        """As JSON values, by the schema in `docs/report-schema.md`."""
        return {
            "schema": SCHEMA,
            "embedgate": __version__,
            "verdict": self.verdict,
            **self.facts,
            "combinations": [
                {
                    "combination": row.combination,
                    "verdict": row.verdict,
                    "reason": row.reason,
                    "skipped_checks": dict(row.skipped_checks),
                    "run": row.run,
                    "judgements": [j.to_json() for j in row.judgements],
                }
                for row in self.rows
            ],
            "upgrade": [j.to_json() for j in self.upgrade],
            "smallest_detectable_loss": [
                {"dataset": dataset, "metric": metric, "loss": loss}
                for (dataset, metric), loss in self.detectable.items()
            ],
            "baseline_changes": self.changes,
            "trouble": self.trouble,
        }


def record_of(
    combination: Combination | None,
    judgement: Judgement | None,
    *,
    reference: bool,
    skipped: str,
    error: str,
    expected: str,
    run: Run | None,
) -> dict[str, Any]:
    """What one test found, as JSON values."""
    return {
        "combination": combination.id if combination else "",
        "reference": reference,
        "judgement": judgement.to_json() if judgement else None,
        "skipped": skipped,
        "error": error,
        "expected": expected,
        "run": run_facts(run) if run else {},
    }


def run_facts(run: Run) -> dict[str, Any]:
    """Evidence and timings of a run, as JSON values."""
    return {
        "evidence": asdict(run.evidence),
        "build_seconds": round(run.build_seconds, 3),
        "encode_seconds": round(run.encode_seconds, 3),
        "texts": len(run.embeddings),
        "dim": run.embeddings.dim,
        "speed": run.speed,
        "footprint": run.footprint,
        "indexes": run.indexes,
        "search_speed": run.search_speed,
    }


def facts_of(judge: Judge) -> dict[str, Any]:
    """What a session ran on, as JSON values."""
    session = judge.session
    ran, on_cpu = session.ran(), [c for c in session.combinations if c.device == "cpu"]
    whose = next((c for c in ran if c.device == "cuda"), Combination.parse("torch-fp32-cpu"))
    # Where nothing ran on the GPU, it is not asked for its name.
    profiles = {c.id: judge.profile_of(c).name for c in (*ran, *on_cpu)}
    return {
        "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "model": {"name": session.model.name, "source": session.model.source, "fingerprint": session.model.fingerprint},
        "profile": _joined(profiles[c.id] for c in ran) or judge.profile_of(whose).name,
        "profiles": profiles,
        "machine": asdict(session.machine_of(whose)),
        "libraries": session.libraries_of(whose),
        "threads": session.threads,
        "batch_size": session.settings.batch_size,
        "strict": session.settings.strict,
        "alpha": judge.tolerances.alpha,
        "family": judge.family,
        "datasets": [
            {
                "name": d.name,
                "kind": d.kind,
                "version": d.version,
                "sha256": d.sha256,
                "items": len(d),
                "texts": len(d.texts()),
                "notes": list(d.notes),
            }
            for d in session.datasets
        ],
        "texts": len(session.texts),
        "index": judge.index_advice() if session.settings.incumbent else None,
        "stale_baseline": [f"{key.combination} {key.dataset} {key.metric}" for key in judge.drift.stale_keys()],
        "seconds": session.seconds(),
    }


def facts_together(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """What two of pytest-xdist's processes ran on: each knows the GPU and the profiles of what it ran itself."""
    if not (one and other):
        return one or other
    profiles = _joined(name for facts in (one, other) for name in facts["profile"].split(_BOTH))
    gpus = _joined(facts["machine"]["gpu"] or "" for facts in (one, other)) or None
    return {
        **other,
        "profile": profiles,
        "profiles": {**one["profiles"], **other["profiles"]},
        "machine": {**other["machine"], "gpu": gpus},
        "libraries": {**one["libraries"], **other["libraries"]},
        "stale_baseline": list(dict.fromkeys((*one["stale_baseline"], *other["stale_baseline"]))),
    }


_BOTH = " + "


def _joined(names: Iterable[str]) -> str:
    return _BOTH.join(dict.fromkeys(filter(None, names)))


def summarise(collector: Collector) -> Summary:
    """Sorts what the tests found by combination."""
    rows: dict[str, Row] = {}
    upgrade: list[Judgement] = []
    trouble = list(collector.trouble)
    strict = collector.strict or collector.facts.get("strict")
    for record in collector.records:
        judgement = Judgement.from_json(record["judgement"]) if record["judgement"] else None
        if not record["combination"]:
            if judgement:
                upgrade.append(judgement)
            elif record["error"]:
                trouble.append(record["error"])
            continue
        row = rows.setdefault(
            record["combination"], Row(record["combination"], "reference" if record["reference"] else "pass")
        )
        row.reference = row.reference or record["reference"]
        row.run = _together(row.run, record["run"])
        if record["skipped"]:
            row.skipped_checks[record["skipped"]] += 1
            if row.verdict != "error" and not row.judgements:  # a receipt may have judged what cannot run here
                row.verdict, row.reason = "skipped", record["skipped"]
        elif record["error"]:
            if row.verdict != "error":
                row.verdict, row.reason = "error", record["error"]
            elif record["error"] not in row.reason:
                row.reason += f"; and: {record['error']}"
        elif judgement:
            row.judgements.append(judgement)
            if row.verdict == "skipped":
                row.reason = ""
            if not judgement.unjudged or strict:
                row.verdict = _worse(row.verdict, "expected failure" if record["expected"] else judgement.verdict)
    for row in rows.values():
        if row.judgements and all(judgement.unjudged for judgement in row.judgements):
            row.verdict = _worse(row.verdict, "inconclusive")
    losses: dict[tuple[str, str], list[float]] = {}
    for row in rows.values():
        for j in row.judgements:
            if j.check == "retention" and j.smallest_detectable_loss is not None:
                losses.setdefault((j.dataset, j.metric), []).append(j.smallest_detectable_loss)
    verdicts = [row.verdict for row in rows.values()] + [j.verdict for j in upgrade]
    verdicts += ["inconclusive" for row in rows.values() for j in row.judgements if j.unjudged]
    red = {"fail", "error", "inconclusive", "skipped"} if strict else {"fail", "error"}
    if red & set(verdicts) or trouble:
        verdict = "fail"
    elif "inconclusive" in verdicts:
        verdict = "inconclusive"
    else:
        verdict = "skipped" if verdicts and set(verdicts) == {"skipped"} else "pass"
    return Summary(
        verdict,
        collector.facts,
        list(rows.values()),
        upgrade,
        {key: statistics.median(values) for key, values in losses.items() if key[1] in METRICS},
        collector.changes,
        list(dict.fromkeys(trouble)),
    )


def _together(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """A run's facts as two of its tests know them: of pytest-xdist's processes, each knows what it measured."""
    if not (first and second):
        return first or second
    both = {name: {**first.get(name, {}), **second.get(name, {})} for name in ("speed", "indexes", "search_speed")}
    return {**second, **both, "footprint": second.get("footprint") or first.get("footprint", {})}


def cells(summary: Summary, row: Row) -> list[str]:
    """One combination's values, in the order of `headings`; shared by every report with a table.

    The share of the reference's quality that is kept per dataset, and of how many checks the verdict was found.
    """
    retained = []
    for dataset, metric in summary.headlines:
        found = row.find(metric, dataset)
        retained.append(f"{found.observed:.1%}" if found and found.observed is not None else "")
    overlap, p01, order = row.find("top10_overlap"), row.find("cosine_p01"), row.find("order_kept")
    moves = [j.value for j in row.judgements if j.check == "invariance" and j.value is not None]
    weights = row.run.get("evidence", {}).get("weight_bytes")
    same = sum(judgement.verdict == row.verdict for judgement in row.judgements)
    share = f" {same}/{len(row.judgements)}" if row.verdict in ("inconclusive", "fail") else ""
    return [
        row.verdict + share,
        *retained,
        f"{overlap.value:.3f}" if overlap and overlap.value is not None else "",
        f"{p01.value:.4f}" if p01 and p01.value is not None else "",
        f"{order.value:.1%}" if order and order.value is not None else "",
        f"{max(moves):.1g}" if moves else "",
        *(_cost(row) if summary.shows_cost else ()),
        f"{weights / 1e6:.1f} MB" if weights else "",
    ]


def speed_up(row: Row) -> float | None:
    """How many times faster than its reference a combination is on the workload that stands for all."""
    if row.reference:
        return 1.0
    found = row.run.get("speed", {}).get(HEADLINE_WORKLOAD)
    return 1 / found["ratio"] if found else None


def kept(summary: Summary, row: Row) -> float | None:
    """The least share of the reference's quality that a combination keeps, over the table's columns."""
    if row.reference:
        return 1.0
    found = [row.find(metric, dataset) for dataset, metric in summary.headlines]
    shares = [judgement.observed for judgement in found if judgement and judgement.observed is not None]
    return min(shares) if shares else None


def _cost(row: Row) -> list[str]:
    speed, latency = speed_up(row), row.run.get("speed", {}).get(LATENCY, {}).get("candidate_latency_ms", {})
    loaded = row.run.get("footprint", {}).get("loaded")
    quantiles = [latency.get(name) for name in ("p50", "p95")]
    return [
        f"{speed:.2f}x" if speed else "",
        "/".join(f"{value:.1f}" for value in quantiles if value is not None),
        f"{loaded / 1e6:.0f} MB" if loaded else "",
    ]


def headings(summary: Summary) -> list[str]:
    """The table's headings."""
    cost = ["speed", "latency p50/p95 ms", "memory loaded"] if summary.shows_cost else []
    fixed = ["top-10 overlap", "p01 cosine", "order kept", "largest move", *cost, "weights"]
    retained = [f"{dataset} {HEADLINE[metric]}" for dataset, metric in summary.headlines]
    return ["combination", "verdict", *retained, *fixed]


_SEVERITY = ("skipped", "reference", "pass", "inconclusive", "expected failure", "fail", "error")


def _worse(first: str, second: str) -> str:
    """The worse of two verdicts; a reference stays one as long as it passes."""
    if first == "reference" and second == "pass":
        return first
    return max(first, second, key=_SEVERITY.index)
