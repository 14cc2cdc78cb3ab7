"""Indexes under judgement: built over a session's documents, searched once, and measured."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from embedgate.core.errors import BuildError, one_line
from embedgate.metrics import FloatArray, Matrix
from embedgate.metrics.search import Found, Ids
from embedgate.vectors.codes import BITS, NEEDS_RANGES, Codes, Ranges, quantize, stored, unsigned
from embedgate.vectors.engines.base import EngineCase, Index, engines
from embedgate.vectors.nearest import nearest
from embedgate.vectors.storage import RESULTS

# By how much a score of float32 sums may miss the true one; of float16 vectors, an engine may sum in half, too.
ROUNDING = {"float32": 1e-5, "float16": 2e-3}


@dataclass(frozen=True, eq=False)
class Built:
    """An index of one of embedgate's own engines.

    Attributes:
        index: The index.
        codes: Its documents.
        build_seconds: Seconds it took to build, quantizing apart.
    """

    index: Index
    codes: Codes
    build_seconds: float

    @property
    def bytes_per_vector(self) -> float:
        """Bytes that a document takes in the index, links of a graph included."""
        return self.index.size / len(self.codes)


def build(case: EngineCase, documents: Matrix, ranges: Ranges, threads: int) -> Built:
    """An index of documents.

    Args:
        case: Which engine, kind and embedding precision.
        documents: Normalised, float32 `[n, dim]`.
        ranges: What 8-bit codes are steps of.
        threads: Threads that build it and search it.

    Raises:
        BuildError: If the engine cannot build it.
    """
    assert case.kind, "an engine of a host project's builds its own index"
    codes = stored(documents, case.precision, ranges if case.precision in NEEDS_RANGES else None)
    started = time.perf_counter()
    index = engines()[case.engine].build(codes, case.kind, threads)
    return Built(index, codes, time.perf_counter() - started)


def found_share(built: Built, queries: Matrix, threads: int) -> FloatArray:
    """Per query the share of the best ten of the same codes that an index finds.

    A result counts where its true score reaches that of the tenth best, so that ties count whichever is returned
    (Aumüller, Bernhardsson and Faithfull, "ANN-Benchmarks", Information Systems 87, 2020), and once.

    Args:
        built: The index.
        queries: Normalised, float32 `[q, dim]`.
        threads: Threads of the exact search.

    Returns:
        Shares, float64 `[q]`.
    """
    codes = built.codes
    asked = quantize(queries, codes.precision, codes.ranges)
    k = min(RESULTS, len(codes))
    _, ids = built.index.search(asked, k)
    truth: Found = nearest(codes, asked, k, threads)
    scores = _scores(codes, asked, ids)
    within = _rounding(codes)
    reaches = scores >= truth.scores[:, k - 1, None] - within
    ordered = np.sort(ids, axis=1)
    twice = ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).sum(axis=1)
    return np.asarray(np.maximum(reaches.sum(axis=1) - twice, 0) / k, dtype=np.float64)


def _rounding(codes: Codes) -> float:
    """By how much two sums of the same products may differ; int8 codes of usual dimensions add up exactly."""
    if codes.precision in NEEDS_RANGES:
        largest = codes.dim * (255.0 if codes.precision == "uint8" else 128.0) ** 2
        return 0.0 if largest < 2**24 else largest * 2.0**-22
    return ROUNDING.get(codes.precision, 0.0)


def rows_of(results: Any) -> Ids:
    """Rows of documents from what an engine of a host project's returned: `ids` or `(scores, ids)`.

    Raises:
        BuildError: If it is neither.
    """
    if isinstance(results, tuple) and len(results) == 2:
        results = results[1]
    try:
        return np.asarray(results)
    except (TypeError, ValueError) as error:
        raise BuildError(f"its search returned no array of rows: {one_line(error)}") from error


def _scores(codes: Codes, asked: np.ndarray, ids: Ids) -> Matrix:
    """True scores of results, float32 `[q, k]`; -inf where there is none."""
    documents = codes.matrix[np.maximum(ids, 0)]
    scores: Matrix
    if codes.precision in BITS:
        different = np.bitwise_xor(unsigned(documents, codes.precision), unsigned(asked, codes.precision)[:, None])
        scores = -np.unpackbits(different, axis=2).sum(axis=2, dtype=np.int32).astype(np.float32)
    else:
        scores = np.einsum("qd,qkd->qk", asked.astype(np.float32), documents.astype(np.float32))
    scores[ids < 0] = -np.inf
    return scores
