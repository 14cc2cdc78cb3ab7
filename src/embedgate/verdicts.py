"""From a comparison to the judgement a person reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from embedgate.judgement import Check, Diagnosis, Judgement, WorstText
from embedgate.statistics import Comparison


def judged(
    check: Check,
    combination: str,
    dataset: str,
    metric: str,
    found: Comparison,
    message: str,
    value: float,
    reference_value: float | None = None,
    *,
    diagnose: Callable[[], Diagnosis] | None = None,
    worst: Callable[[], Sequence[WorstText]] = tuple,
    details: tuple[str, ...] = (),
) -> Judgement:
    """A judgement that says what its verdict hangs on.

    Args:
        check: What was checked.
        combination: Id of the combination.
        dataset: Name of the dataset.
        metric: Name of the metric.
        found: What the comparison came to.
        message: What was found, in one line.
        value: The combination's value.
        reference_value: The reference's.
        diagnose: Names the cause of a failure; None where that is left to others.
        worst: Finds the texts that lost most in a failure.
        details: Further lines.
    """
    if found.verdict == "fail":
        message += f"; even the better end of the interval is {found.high:.4f}"
    elif found.verdict == "inconclusive":
        settles = (
            f"about {found.items_needed} items would settle it"
            if found.items_needed
            else "more items would not settle it"
        )
        message += f"; the interval {found.low:.4f} to {found.high:.4f} holds both answers, {settles} ({found.n} now)"
    failed = found.verdict == "fail"
    return Judgement(
        check,
        combination,
        found.verdict,
        message,
        dataset,
        metric,
        value=value,
        reference_value=reference_value,
        observed=found.observed,
        low=found.low,
        high=found.high,
        limit=found.limit,
        n=found.n,
        smallest_detectable_loss=found.smallest_detectable_loss,
        items_needed=found.items_needed,
        diagnosis=diagnose() if failed and diagnose is not None else None,
        worst=tuple(worst()) if failed else (),
        details=details,
    )


def failed(
    check: Check, combination: str, dataset: str, metric: str, diagnosis: Diagnosis, message: str = ""
) -> Judgement:
    """A red judgement whose cause is known without a comparison.

    Args:
        check: What was checked.
        combination: Id of the combination.
        dataset: Name of the dataset.
        metric: Name of the metric.
        diagnosis: The cause, and what to do.
        message: What was found, in one line; the cause where that says it.
    """
    return Judgement(check, combination, "fail", message or diagnosis.cause, dataset, metric, diagnosis=diagnosis)


def unmeasured(
    check: Check, combination: str, dataset: str, metric: str, error: ValueError, diagnosis: Diagnosis
) -> Judgement:
    """A red judgement of what says of itself that it cannot be measured, such as embeddings that hold NaN."""
    message = f"{dataset} {metric} cannot be measured: {error}".strip()
    return failed(check, combination, dataset, metric, diagnosis, message)
