"""Every judgement of a session, as the rows of one long table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from embedgate.core.judgement import Judgement, megabytes, printable
from embedgate.report.findings import findings
from embedgate.report.summary import Summary

HEADINGS = (
    "combination",
    "verdict",
    "check",
    "dataset",
    "metric",
    "value",
    "held against",
    "kept",
    "interval",
    "limit",
    "n",
)
# Checks whose values are bytes.
_BYTES = ("size", "memory")
_FEW = 1e-3


@dataclass(frozen=True)
class Line:
    """One row.

    Attributes:
        judgement: What it is of.
        cells: Its texts.
        kind: Of the finding that tells of it; empty where none does.
    """

    judgement: Judgement
    cells: tuple[str, ...]
    kind: str = ""


def judgements(summary: Summary) -> list[Line]:
    """Every judgement, those against an incumbent last."""
    found = findings(summary.judgements("fail"), summary.known.against)
    kinds = {id(judgement): each.kind for each in found for judgement in each.judgements}
    return [Line(j, _cells(j), kinds.get(id(j), "")) for j in summary.judged]


def _about(judgement: Judgement) -> tuple[str, ...]:
    return printable(judgement.combination), printable(judgement.dataset), printable(judgement.metric)


def _cells(judgement: Judgement) -> tuple[str, ...]:
    combination, dataset, metric = _about(judgement)
    value = judgement.value if judgement.value is not None else judgement.observed
    return (
        combination,
        judgement.verdict,
        judgement.check,
        dataset,
        metric,
        number(value, judgement.check),
        number(judgement.reference_value, judgement.check),
        _compared(judgement, judgement.observed) if _is_share(judgement) else "",
        " to ".join(_compared(judgement, end) or "?" for end in _ends(judgement)),
        _compared(judgement, judgement.limit),
        "" if judgement.n is None else f"{judgement.n:,}",
    )


def _is_share(judgement: Judgement) -> bool:
    """Whether what is compared with the limit is a share of another value: the reference's or the incumbent's.

    Where that is 1, a share is as great as the value is.
    """
    return None not in (judgement.observed, judgement.reference_value)


def _ends(judgement: Judgement) -> Sequence[float | None]:
    ends = (judgement.low, judgement.high)
    return () if all(end is None for end in ends) else ends


def _compared(judgement: Judgement, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.2%}" if _is_share(judgement) else number(value, judgement.check)


def number(value: float | None, check: str = "") -> str:
    """A value as a person reads it; empty where it is not known."""
    if value is None:
        return ""
    if check in _BYTES:
        return megabytes(value)
    if value and abs(value) < _FEW:
        return f"{value:.2g}"
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:,.0f}"
