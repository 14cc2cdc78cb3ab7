"""Rescoring: candidates of a first search ranked again by the float32 query."""

from __future__ import annotations

import numpy as np

from embedgate.metrics import Matrix
from embedgate.metrics.search import Ids
from embedgate.search.codes import Codes, decode

_CHUNK = 64


def rescored(queries: Matrix, codes: Codes, ids: Ids) -> Matrix:
    """Inner products of float queries with decoded documents, float32 `[q, k]`, in the order of `ids`."""
    scores = np.empty(ids.shape, dtype=np.float32)
    for start in range(0, len(ids), _CHUNK):
        rows = slice(start, start + _CHUNK)
        documents = decode(codes.matrix[np.maximum(ids[rows], 0)], codes.precision, codes.dim, codes.ranges)
        scores[rows] = np.einsum("qd,qkd->qk", queries[rows], documents)
    return scores
