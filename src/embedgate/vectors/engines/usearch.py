"""usearch: brute force over a matrix, and HNSW."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from embedgate.metrics import Matrix
from embedgate.vectors.codes import BITS, Codes, unsigned
from embedgate.vectors.engines.base import (
    CONNECTIVITY,
    EXPANSION_ADD,
    Engine,
    Ids,
    accepting,
    chunks,
    expansion_search,
)
from embedgate.vectors.storage import EMBEDDING_PRECISIONS, EmbeddingPrecision, Kind

ENGINE = Engine("usearch", ("usearch",), "search", offers={"exact": EMBEDDING_PRECISIONS, "hnsw": EMBEDDING_PRECISIONS})
# What usearch calls them. It must be told: it takes a uint8 array for bits.
SCALARS = {"float32": "f32", "float16": "f16", "int8": "i8", "uint8": "u8", "binary": "b1", "ubinary": "b1"}
INT64 = np.dtype(np.int64)
# Pairs of a query and a document that an exact search holds at once: usearch keeps 16 bytes of each before it sorts.
MOST_PAIRS = 2**26
# An array, which is subtracted from sooner than a scalar.
ONE = np.ones((), np.float32)


def unavailable(  # an index of any kind, of any number of documents
    documents: int = 0,  # noqa: ARG001
    kind: Kind = "exact",  # noqa: ARG001
    precision: EmbeddingPrecision = "float32",  # noqa: ARG001
) -> str | None:
    """Why usearch cannot run here; None where it can."""
    return ENGINE.not_importable("usearch.index")


def build(codes: Codes, kind: Kind, threads: int) -> UsearchIndex:
    """An index of documents; it takes queries only as documents are stored.

    Args:
        codes: The documents. `exact` searches their matrix in place, unless it is not contiguous or of `binary` codes,
            whose bits must be undone of their offset; `hnsw` copies it.
        kind: `exact` or `hnsw`; a graph built by several threads is another each time.
        threads: Threads that build it and search it.

    Raises:
        BuildError: If usearch does not offer it.
    """
    ENGINE.require_offered(codes, kind)
    return UsearchIndex(codes, kind, threads)


class UsearchIndex:
    """An index of usearch's.

    Args:
        codes: The documents.
        kind: The kind of index.
        threads: Threads that build it and search it.
    """

    float_queries = False

    def __init__(self, codes: Codes, kind: Kind, threads: int) -> None:
        from usearch.compiled import MetricKind, ScalarKind
        from usearch.index import Index, search

        self._accept = accepting(codes)
        self._threads = threads
        self._bits = codes.precision in BITS
        self._offset = codes.precision == "binary"
        self._scalar = {
            "f32": ScalarKind.F32,
            "f16": ScalarKind.F16,
            "i8": ScalarKind.I8,
            "u8": ScalarKind.U8,
            "b1": ScalarKind.B1,
        }[SCALARS[codes.precision]]
        self._metric = MetricKind.Hamming if self._bits else MetricKind.IP
        self._search: Any = search
        self._matrix: npt.NDArray[Any] | None = None
        self._index: Any = None
        if kind == "exact":
            self._matrix = np.ascontiguousarray(unsigned(codes.matrix, codes.precision) if self._bits else codes.matrix)
            self.size = self._matrix.nbytes
            return
        self._index = Index(
            ndim=codes.matrix.shape[1] * (8 if self._bits else 1),
            metric=self._metric,
            dtype=self._scalar,
            connectivity=CONNECTIVITY,
            expansion_add=EXPANSION_ADD,
            expansion_search=expansion_search(len(codes)),
        )
        first = 0
        for chunk in chunks(codes):
            keys = np.arange(first, first + len(chunk), dtype=np.uint64)
            self._index.add(keys, chunk, dtype=self._scalar, threads=threads)
            first += len(chunk)
        # `memory_usage` counts what is reserved, in steps of powers of two, most of it never touched.
        self.size = self._index.serialized_length

    def search(self, queries: npt.NDArray[Any], k: int) -> tuple[Matrix, Ids]:
        """See `Index.search`."""
        self._accept(queries, k)
        if self._offset:
            queries = unsigned(queries, "binary")
        queries = np.ascontiguousarray(queries)
        if self._index is None:
            keys, distances = self._exact(queries, k)
        else:
            found = self._index.search(queries, k, threads=self._threads, dtype=self._scalar)
            keys, distances = found.keys, found.distances
            if keys.ndim == 1:  # those of one query, as many as were found
                if len(keys) < k:
                    keys, distances = _padded(keys[None], distances[None], np.array([len(keys)]), k)
                else:
                    keys, distances = keys[None], distances[None]
            elif found.counts.min() < k:
                keys, distances = _padded(keys, distances, found.counts, k)
        # The distance is Hamming's, or 1 - the inner product, of integers as well; scores take its place.
        scores = np.negative(distances, distances) if self._bits else np.subtract(ONE, distances, distances)
        return scores, keys.view(INT64)

    def close(self) -> None:
        """Gives its memory back."""
        if self._index is not None:
            self._index.reset()
        self._matrix = None

    def _exact(self, queries: npt.NDArray[Any], k: int) -> tuple[npt.NDArray[np.uint64], Matrix]:
        """Keys and distances of the nearest documents, asked for few pairs at a time."""
        assert self._matrix is not None, "the index is closed"
        most = max(1, MOST_PAIRS // len(self._matrix))
        parts = []
        for start in range(0, len(queries), most):
            found: Any = self._search(
                self._matrix,
                queries[start : start + most],
                k,
                self._metric,
                exact=True,
                threads=self._threads,
                dtype=self._scalar,
            )
            parts.append((found.keys.reshape(-1, k), found.distances.reshape(-1, k)))
        if len(parts) == 1:
            return parts[0]
        keys, distances = zip(*parts, strict=True)
        return np.concatenate(keys), np.concatenate(distances)


def _padded(
    keys: npt.NDArray[np.uint64], distances: Matrix, counts: npt.NDArray[Any], k: int
) -> tuple[npt.NDArray[np.uint64], Matrix]:
    """Matches with the places that hold none marked: usearch leaves key 0 and NaN in them.

    Args:
        keys: uint64 `[q, up to k]`.
        distances: float32 `[q, up to k]`.
        counts: How many were found, `[q]`.
        k: How many were asked for.

    Returns:
        Keys, of which the greatest is -1 as a row, and distances, infinite, both `[q, k]`.
    """
    none = np.arange(k) >= counts[:, None]
    places = ((0, 0), (0, k - keys.shape[1]))
    return (
        np.where(none, np.iinfo(np.uint64).max, np.pad(keys, places)),
        np.where(none, np.float32(np.inf), np.pad(distances, places)),
    )
