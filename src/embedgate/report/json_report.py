"""`report.json`: all that a session found, as JSON values."""

from __future__ import annotations

from typing import Any

from embedgate.core.plain import finite
from embedgate.core.version import __version__
from embedgate.report.decision import decision
from embedgate.report.summary import SCHEMA, Summary


def content(summary: Summary) -> dict[str, Any]:
    """A session as JSON values, by the schema in `docs/report-schema.md`."""
    decided = decision(summary)
    report = {
        "schema": SCHEMA,
        "embedgate": __version__,
        "verdict": summary.verdict,
        "decision": {"answer": decided.answer, "why": decided.why, "advice": list(decided.advice)},
        **{name: fact for name, fact in summary.facts.items() if name != "base"},
        "base": {**summary.base, **_by_other(summary)} if summary.base else {},
        "combinations": [
            {
                "combination": row.combination,
                "reference": row.reference,
                "verdict": row.verdict,
                "reason": row.reason,
                "skipped_checks": dict(row.skipped_checks),
                "skips": row.skips,
                "errors": row.errors,
                "run": row.run.to_json() if row.run else {},
                "judgements": [j.to_json() for j in row.judgements],
            }
            for row in summary.rows
        ],
        "upgrade": [j.to_json() for j in summary.upgrade.judgements],
        "upgrade_skips": summary.upgrade.skips,
        "upgrade_errors": summary.upgrade.errors,
        "expected_failures": [failure.to_json() for failure in summary.expected],
        "smallest_detectable_loss": [
            {"dataset": dataset, "metric": metric, "loss": loss}
            for (dataset, metric), loss in summary.detectable.items()
        ],
        "baseline_changes": summary.changes,
        "trouble": [line for line in summary.trouble if line not in summary.complaints],
        "complaints": summary.complaints,
        "others_failed": summary.others_failed,
    }
    found: dict[str, Any] = finite(report)
    return found


def _by_other(summary: Summary) -> dict[str, Any]:
    """What the other bar comes to, as JSON values."""
    told = [
        {"verdict": mine.verdict, "other": theirs.to_json(), "expected": entry}
        for mine, theirs, entry in summary.otherwise
    ]
    return {"other_verdict": summary.other_verdict or summary.verdict, "otherwise": told}
