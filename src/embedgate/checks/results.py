"""From a comparison to the judgement a person reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from embedgate.core.judgement import Check, Diagnosis, Judgement, WorstText
from embedgate.metrics.statistics import Comparison
from embedgate.vectors.collection import Collection


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
    red = found.verdict == "fail"
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
        diagnosis=diagnose() if red and diagnose is not None else None,
        worst=tuple(worst()) if red else (),
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
    """A red judgement of what says of itself that it cannot be measured, such as embeddings that hold NaN.

    Args:
        check: What was checked.
        combination: Id of the combination.
        dataset: Name of the dataset.
        metric: Name of the metric.
        error: What it says.
        diagnosis: The layer at fault, and what to do.
    """
    message = f"{dataset} {metric} cannot be measured: {error}".strip()
    return failed(check, combination, dataset, metric, diagnosis, message)


def by_floor(
    check: Check,
    combination: str,
    dataset: str,
    metric: str,
    found: Comparison,
    message: str,
    collection: Collection,
    record: str,
    *,
    diagnose: Callable[[], Diagnosis],
    worst: Callable[[], Sequence[WorstText]] = tuple,
) -> Judgement:
    """A judgement of what is found in a collection; where floors mean nothing, it is left to baselines and told.

    Args:
        check: What was checked.
        combination: Id of the combination.
        dataset: Name under which it is approved.
        metric: Name of the metric.
        found: What the comparison with the floor came to.
        message: What was found, in one line.
        collection: What was searched.
        record: The command that approves what the session measures.
        diagnose: Names the cause of a failure.
        worst: Finds the queries that lost most in a failure.
    """
    value = found.observed
    if collection.is_like_real:
        return judged(check, combination, dataset, metric, found, message, value, 1.0, diagnose=diagnose, worst=worst)
    cause = (
        f"{collection.size} vectors are grown from {len(collection.documents)} documents, more than was compared with "
        "real text (docs/corpus.md), so floors do not judge what is found among them"
    )
    step = f"give more texts, or approve it and let test_baseline.py judge: {record}"
    return replace(
        judged(check, combination, dataset, metric, found, message, value, 1.0),
        verdict="inconclusive",
        message=message,
        smallest_detectable_loss=None,
        items_needed=None,
        diagnosis=Diagnosis("dataset", cause, step),
    )
