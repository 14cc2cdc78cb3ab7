"""faiss: flat and HNSW indexes; 8-bit codes in scalar quantizers that keep them as they are, bits in binary indexes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from embedgate.metrics import Matrix
from embedgate.vectors.codes import BITS, NEEDS_RANGES, Codes, unsigned
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

ENGINE = Engine("faiss", ("faiss-cpu",), "search", offers={"exact": EMBEDDING_PRECISIONS, "hnsw": EMBEDDING_PRECISIONS})
# What is stored for code 0, less half a step: faiss reads a code as the middle of its step.
FIRST_STEP = {"int8": -128.5, "uint8": -0.5}
STEPS_WIDTH = 255.0
FLOAT32 = np.dtype(np.float32)


def unavailable(  # an index of any kind, of any number of documents
    documents: int = 0,  # noqa: ARG001
    kind: Kind = "exact",  # noqa: ARG001
    precision: EmbeddingPrecision = "float32",  # noqa: ARG001
) -> str | None:
    """Why faiss cannot run here; None where it can."""
    return ENGINE.not_importable("faiss")


def build(codes: Codes, kind: Kind, threads: int) -> FaissIndex:
    """An index of documents; 8-bit ones take float32 queries as well.

    Args:
        codes: The documents; copied.
        kind: `exact` or `hnsw`; a graph built by several threads is another each time.
        threads: Threads that build it and search it.

    Raises:
        BuildError: If faiss does not offer it.
    """
    ENGINE.require_offered(codes, kind)
    return FaissIndex(codes, kind, threads)


@contextmanager
def in_threads(threads: int) -> Iterator[None]:
    """Has faiss compute in so many threads: the whole process has one number, and torch with it, which is restored."""
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


class FaissIndex:
    """An index of faiss's.

    Args:
        codes: The documents.
        kind: The kind of index.
        threads: Threads that build it and search it.
    """

    def __init__(self, codes: Codes, kind: Kind, threads: int) -> None:
        import faiss

        self._get_threads = faiss.omp_get_max_threads
        self._set_threads = faiss.omp_set_num_threads
        self._threads = threads
        self._graph = kind == "hnsw"
        self._bits = codes.precision in BITS
        self._offset = codes.precision == "binary"
        if self._bits:  # the score of each distance, which is quicker looked up than computed
            self._score_of = -np.arange(8 * codes.matrix.shape[1] + 1, dtype=FLOAT32)
        self.float_queries = codes.precision in NEEDS_RANGES
        self._accept = accepting(codes, self.float_queries)
        self._index = _empty(codes, kind)
        with in_threads(threads):
            for chunk in chunks(codes):
                self._index.add(chunk if self._bits else chunk.astype(FLOAT32, copy=False))
        flat = _flat(self._index) if self._graph else self._index
        self.size = flat.ntotal * flat.code_size
        if self._graph:
            hnsw = self._index.hnsw
            self.size += 4 * (hnsw.neighbors.size() + hnsw.levels.size()) + 8 * hnsw.offsets.size()
        if self.float_queries:
            # Products of integers take float32 queries where the dimension is a multiple of 16, but cut off their
            # fractions. So those are read by the quantizer of floats, in steps of 1, from the same bytes; and since it
            # is switched, two threads must not search at once.
            self._lock = threading.Lock()
            self._quantizer = flat.sq
            self._as_codes = self._read_as = flat.sq.qtype
            self._as_floats = faiss.ScalarQuantizer.QT_8bit_uniform
            faiss.copy_array_to_vector(
                np.array([FIRST_STEP[codes.precision], STEPS_WIDTH], np.float32), self._quantizer.trained
            )

    def search(self, queries: npt.NDArray[Any], k: int) -> tuple[Matrix, Ids]:
        """See `Index.search`."""
        self._accept(queries, k)
        # `in_threads` written out: a search of bits has no microsecond to spare.
        before, threads = self._get_threads(), self._threads
        if before != threads:
            self._set_threads(threads)
        try:
            if self._bits:
                distances, ids = self._index.search(unsigned(queries, "binary") if self._offset else queries, k)
                scores = self._score_of.take(distances, mode="clip")  # a place without a document has no distance
            elif not self.float_queries:
                scores, ids = self._index.search(queries.astype(FLOAT32, copy=False), k)
            else:
                with self._lock:
                    kind = self._as_floats if queries.dtype == FLOAT32 else self._as_codes
                    if kind != self._read_as:
                        self._quantizer.qtype = self._read_as = kind
                    scores, ids = self._index.search(queries.astype(FLOAT32, copy=False), k)
        finally:
            if before != threads:
                self._set_threads(before)
        # Places without a document are the last ones; of one query, the quick way counts.
        if self._graph and (ids.item(-1) if len(ids) == 1 else ids[:, -1].min()) < 0:
            scores[ids < 0] = -np.inf
        return scores, ids

    def close(self) -> None:
        """Gives its memory back."""
        self._quantizer = None
        self._index = None


def _empty(codes: Codes, kind: Kind) -> Any:
    """An index without documents, ready to take them."""
    import faiss

    index: Any
    metric, quantizers = faiss.METRIC_INNER_PRODUCT, faiss.ScalarQuantizer
    width = codes.matrix.shape[1]
    if codes.precision in BITS:
        index = faiss.IndexBinaryFlat(8 * width) if kind == "exact" else faiss.IndexBinaryHNSW(8 * width, CONNECTIVITY)
    elif codes.precision == "float32":
        index = faiss.IndexFlatIP(width) if kind == "exact" else faiss.IndexHNSWFlat(width, CONNECTIVITY, metric)
    else:
        held: Any = {
            "float16": quantizers.QT_fp16,
            "int8": quantizers.QT_8bit_direct_signed,
            "uint8": quantizers.QT_8bit_direct,
        }[codes.precision]
        if kind == "exact":
            index = faiss.IndexScalarQuantizer(width, held, metric)
        else:
            index = faiss.IndexHNSWSQ(width, held, CONNECTIVITY, metric)
        # Nothing is learnt, but that it is trained is asked for.
        index.train(np.zeros((1, width), np.float32))
    if kind == "hnsw":
        index.hnsw.efConstruction, index.hnsw.efSearch = EXPANSION_ADD, expansion_search(len(codes))
    return index


def _flat(graph: Any) -> Any:
    """The index under a graph that holds its codes."""
    import faiss

    return graph.storage if isinstance(graph, faiss.IndexBinaryHNSW) else faiss.downcast_index(graph.storage)
