"""Figures that were measured of engines' indexes and of searches, as reports have them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class IndexFigures:
    """One index of an engine.

    Attributes:
        bytes_per_vector: What the index takes, in bytes for each vector.
        build_seconds: Wall time to build it.
        found: Share of exact search's ten that it finds.
    """

    bytes_per_vector: float
    build_seconds: float
    found: float


@dataclass(frozen=True)
class SearchFigures:
    """Searches of one storage, beside the same searches among float32 vectors.

    Attributes:
        ratio: Share of float32's time.
        queries_per_second: How many it answers.
        reference_queries_per_second: How many float32 answers.
        bytes_per_vector: What the index takes, in bytes for each vector.
        build_seconds: Wall time to build it.
        blocks: How many were timed.
        threads: Threads of both.
    """

    ratio: float
    queries_per_second: float
    reference_queries_per_second: float
    bytes_per_vector: float
    build_seconds: float
    blocks: int
    threads: int
