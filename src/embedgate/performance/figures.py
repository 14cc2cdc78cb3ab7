"""Figures that were measured of speed, as reports have them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Latency:
    """Quantiles of single calls in milliseconds; None where so few calls cannot tell.

    Attributes:
        n: Calls.
        p50: The median.
        p50_at_most: What it is at most, with 95% confidence.
        p95: The quantile at 95%.
        p95_at_most: What it is at most, with 95% confidence.
    """

    n: int
    p50: float | None = None
    p50_at_most: float | None = None
    p95: float | None = None
    p95_at_most: float | None = None


@dataclass(frozen=True)
class SpeedFigures:
    """One workload, of a combination and of its reference.

    Attributes:
        ratio: The combination's share of the reference's time.
        low: The lower end of its interval.
        high: The upper end; None where there are too few blocks.
        blocks: How many there were.
        threads: Threads of both.
        texts_per_second: The combination's.
        reference_texts_per_second: The reference's.
        ms_per_text: The combination's milliseconds for a text.
        tokenise_ms_per_text: Those that tokenising takes of them; None where the model's tokenizer is not known.
        disturbed_by: What else the machine did, one line each.
        candidate_latency_ms: Of single calls; None of workloads with larger batches.
        reference_latency_ms: The reference's.
    """

    ratio: float
    low: float
    high: float | None
    blocks: int
    threads: int
    texts_per_second: float
    reference_texts_per_second: float
    ms_per_text: float
    tokenise_ms_per_text: float | None = None
    disturbed_by: tuple[str, ...] = ()
    candidate_latency_ms: Latency | None = None
    reference_latency_ms: Latency | None = None
