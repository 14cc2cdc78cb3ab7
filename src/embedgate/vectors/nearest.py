"""Exact search, the yardstick: every document is compared, by faiss, and every tie at the cut is found.

int8 codes are multiplied as float32, which is exact: sums of up to 1,000 products of them stay below 2^24. So equal
scores are equal, whatever the order of summation. Sums of uint8 codes pass that at some 300 dimensions and are rounded.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from embedgate.metrics import Matrix
from embedgate.metrics.search import Found, Ids, Indistinct
from embedgate.vectors.codes import BITS, Codes, unsigned
from embedgate.vectors.engines import faiss as engine

# Documents compared at a time: 2^16 of 384 dimensions are 100 MB as float32.
CHUNK = 2**16
# More documents than this that tie for one query are told of, and not searched.
MOST_TIES = 2**12
# Documents looked at beyond the cut, for those that tie with it.
BEYOND = 22


def unavailable() -> str | None:
    """Why exact search cannot run here, in one line; None where it can."""
    reason = engine.unavailable()
    return f"what is found is compared with exact search by faiss: {reason}" if reason else None


def nearest(codes: Codes, queries: npt.NDArray[Any], k: int, threads: int) -> Found:
    """The `k` documents with the greatest scores, and all that tie with the last of them.

    Args:
        codes: The documents.
        queries: Queries as the documents are stored, `[q, width]`, or float32 ones of 8-bit documents, multiplied by
            what a step is worth (`embedgate.vectors.codes.Ranges.step`).
        k: How many.
        threads: Threads to search with.

    Raises:
        Indistinct: If more than 4,096 documents tie for a query.

    Returns:
        Inner products of codes, or of bits the Hamming distance negated.
    """
    k = min(k, len(codes))
    scores = np.full((len(queries), 0), -np.inf, dtype=np.float32)
    ids = np.full(scores.shape, -1, dtype=np.int64)
    rows, width = np.arange(len(queries)), min(k + BEYOND, len(codes))
    while len(rows):
        now_scores, now_ids = _search(codes, queries[rows], width, threads)
        scores, ids = _widened(scores, width, -np.inf), _widened(ids, width, -1)
        scores[rows, :width], ids[rows, :width] = now_scores, now_ids
        open_ = (now_scores[:, -1] == now_scores[:, k - 1]) & (width < len(codes))
        if open_.any() and width >= MOST_TIES:
            raise Indistinct(width)
        rows, width = rows[open_], min(4 * width, len(codes))
    scores[scores < scores[:, k - 1, None]] = -np.inf  # beyond the last tie
    most = int((scores > -np.inf).sum(axis=1).max(initial=k))
    return Found(scores[:, :most], ids[:, :most])


def _search(codes: Codes, queries: npt.NDArray[Any], k: int, threads: int) -> tuple[Matrix, Ids]:
    """The `k` best of all documents, chunk after chunk, best first."""
    import faiss

    scores = np.empty((len(queries), 0), dtype=np.float32)
    ids = np.empty((len(queries), 0), dtype=np.int64)
    bits = codes.precision in BITS
    asked: npt.NDArray[Any] = unsigned(queries, codes.precision) if bits else queries.astype(np.float32, copy=False)
    asked = np.ascontiguousarray(asked)
    with engine.in_threads(threads):
        for start in range(0, len(codes), CHUNK):
            part = codes.matrix[start : start + CHUNK]
            if bits:
                distances, found = faiss.knn_hamming(
                    asked,
                    np.ascontiguousarray(unsigned(part, codes.precision)),
                    min(k, len(part)),
                )
                values = -distances.astype(np.float32)
            else:
                documents = np.ascontiguousarray(part, dtype=np.float32)
                values, found = faiss.knn(asked, documents, min(k, len(part)), metric=faiss.METRIC_INNER_PRODUCT)
            scores = np.concatenate([scores, values], axis=1)
            ids = np.concatenate([ids, found + start], axis=1)
            best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
            scores, ids = np.take_along_axis(scores, best, axis=1), np.take_along_axis(ids, best, axis=1)
    return scores, ids


def _widened(matrix: npt.NDArray[Any], width: int, fill: float) -> npt.NDArray[Any]:
    missing = np.full((len(matrix), width - matrix.shape[1]), fill, dtype=matrix.dtype)
    return np.concatenate([matrix, missing], axis=1)
