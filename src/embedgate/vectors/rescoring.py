"""A search in two stages, as Sentence Transformers has it: an engine finds candidates, the float query ranks them anew.

The second stage reads the stored vectors, decoded; the float vectors of the documents are gone.
"""

from __future__ import annotations

import numpy as np

from embedgate.metrics import Matrix
from embedgate.vectors.codes import Array, Codes, decode, quantize
from embedgate.vectors.engines.base import Ids, Index
from embedgate.vectors.storage import RESULTS, Storage

# Bytes of decoded candidates that are held at a time.
GATHERED = 64 * 2**20


def find(index: Index, codes: Codes, storage: Storage, queries: Matrix) -> tuple[Matrix, Ids]:
    """The documents that a storage finds.

    Args:
        index: The documents, in an engine.
        codes: The documents.
        storage: How they are searched; of its precision are `codes`.
        queries: Normalised queries, float32 `[q, dim]`.

    Returns:
        Scores, float32 `[q, min(RESULTS, documents)]`, best first: after rescoring, inner products of the query and
        the decoded documents, else what the index returns; and rows of the documents, int64 of the same shape, -1 with
        the score -inf where a graph found fewer.

    Raises:
        ValueError: If the storage takes float32 queries of 8-bit documents and the index does not.
    """
    k = min(RESULTS, len(codes))
    if storage.float_queries and codes.ranges is not None and not index.float_queries:
        raise ValueError(f"this index takes no float32 queries of {codes.precision} documents")
    scores, ids = index.search(first_queries(queries, codes, storage), min(storage.candidates, len(codes)))
    if storage.rescore:
        scores = rescored(queries, codes, ids)
        order = np.argsort(-scores, axis=1, kind="stable")
        scores, ids = np.take_along_axis(scores, order, axis=1), np.take_along_axis(ids, order, axis=1)
    return scores[:, :k], ids[:, :k]


def first_queries(queries: Matrix, codes: Codes, storage: Storage) -> Array:
    """Queries as the first search takes them: stored as documents are, or float32 ones in steps of their codes."""
    if storage.float_queries and codes.ranges is not None:
        return queries * codes.ranges.step
    return quantize(queries, codes.precision, codes.ranges)


def rescored(queries: Matrix, codes: Codes, ids: Ids) -> Matrix:
    """Inner products of float queries and the decoded vectors of their candidates.

    Args:
        queries: Normalised queries, float32 `[q, dim]`.
        codes: The documents.
        ids: Rows of each query's candidates, int64 `[q, k]`; -1 for none.

    Returns:
        float32 `[q, k]`, in the order of `ids`; -inf where there is no candidate.
    """
    scores = np.empty(ids.shape, np.float32)
    # Decoding takes some copies of float32 vectors beside the result.
    step = max(1, GATHERED // max(1, 4 * 4 * codes.dim * ids.shape[1]))
    for start in range(0, len(ids), step):
        part = slice(start, start + step)
        vectors = decode(codes.matrix[np.maximum(ids[part], 0)], codes.precision, codes.dim, codes.ranges)
        scores[part] = np.matmul(vectors, queries[part, :, None])[..., 0]
    scores[ids < 0] = -np.inf
    return scores
