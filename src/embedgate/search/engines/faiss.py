"""faiss: flat and HNSW indexes; 8-bit codes in scalar quantizers that keep them as they are, bits in binary indexes."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from embedgate.errors import one_line
from embedgate.metrics import Matrix
from embedgate.search import EMBEDDING_PRECISIONS, EmbeddingPrecision, Kind
from embedgate.search.codes import BITS, NEEDS_RANGES, Codes, unsigned
from embedgate.search.engines import (
    CONNECTIVITY,
    EXPANSION_ADD,
    EXPANSION_SEARCH,
    Ids,
    chunks,
    require_offered,
    require_searchable,
)

NAME = "faiss"
# What is stored for code 0, less half a step: faiss reads a code as the middle of its step.
FIRST_STEP = {"int8": -128.5, "uint8": -0.5}
STEPS_WIDTH = 255.0


def unavailable() -> str | None:
    """Why faiss cannot run here; None where it can."""
    try:
        import faiss  # noqa: F401
    except ImportError as error:
        return f"faiss cannot be imported ({one_line(error)}): install embedgate[search]"
    return None


def offers() -> Mapping[Kind, tuple[EmbeddingPrecision, ...]]:
    """Embedding precisions by kind of index: all of them in both."""
    return {"exact": EMBEDDING_PRECISIONS, "hnsw": EMBEDDING_PRECISIONS}


def build(codes: Codes, kind: Kind, threads: int) -> FaissIndex:
    """An index of documents; 8-bit ones take float32 queries as well.

    Args:
        codes: The documents; copied.
        kind: `exact` or `hnsw`; a graph built by several threads is another each time.
        threads: Threads that build it and search it.

    Raises:
        BuildError: If faiss does not offer it.
    """
    require_offered(NAME, offers(), codes, kind)
    return FaissIndex(codes, kind, threads)


class FaissIndex:
    """An index of faiss's.

    Args:
        codes: The documents.
        kind: The kind of index.
        threads: Threads that build it and search it.
    """

    def __init__(self, codes: Codes, kind: Kind, threads: int) -> None:
        import faiss

        self._faiss = faiss
        self._codes = codes
        self._threads = threads
        self._graph = kind == "hnsw"
        self._bits = codes.precision in BITS
        self.float_queries = codes.precision in NEEDS_RANGES
        self._index = _empty(codes, kind)
        with self._in_threads():
            for chunk in chunks(codes):
                self._index.add(chunk if self._bits else chunk.astype(np.float32, copy=False))
        flat = _flat(self._index) if self._graph else self._index
        self.size = flat.ntotal * flat.code_size
        if self._graph:
            hnsw = self._index.hnsw
            self.size += 4 * (hnsw.neighbors.size() + hnsw.levels.size()) + 8 * hnsw.offsets.size()
        if self.float_queries:
            # Which quantizer reads the codes is switched, so two threads must not search at once.
            self._lock = threading.Lock()
            self._quantizer = flat.sq
            self._as_codes = flat.sq.qtype
            self._read_as = self._as_codes
            faiss.copy_array_to_vector(
                np.array([FIRST_STEP[codes.precision], STEPS_WIDTH], np.float32), self._quantizer.trained
            )

    def search(self, queries: npt.NDArray[Any], k: int) -> tuple[Matrix, Ids]:
        """See `Index.search`."""
        require_searchable(queries, k, self._codes, self.float_queries)
        if self._bits:
            with self._in_threads():
                distances, ids = self._index.search(unsigned(np.ascontiguousarray(queries), self._codes.precision), k)
            scores = np.negative(distances, dtype=np.float32)
        elif self.float_queries:
            with self._lock, self._in_threads():
                self._read_codes(queries.dtype == np.float32)
                scores, ids = self._index.search(queries.astype(np.float32, copy=False), k)
        else:
            with self._in_threads():
                scores, ids = self._index.search(queries.astype(np.float32, copy=False), k)
        if self._graph and ids.min() < 0:
            scores[ids < 0] = -np.inf
        return scores, ids

    def close(self) -> None:
        """Gives its memory back."""
        self._quantizer = None
        self._index = None

    def _read_codes(self, as_floats: bool) -> None:
        """Switches how codes are read.

        Products of integers take float32 queries where the dimension is a multiple of 16, but cut off their fractions;
        so those are read by the quantizer of floats, with steps of 1, from the same bytes.
        """
        kind = self._faiss.ScalarQuantizer.QT_8bit_uniform if as_floats else self._as_codes
        if kind != self._read_as:
            self._quantizer.qtype = self._read_as = kind

    @contextmanager
    def _in_threads(self) -> Iterator[None]:
        """Has faiss use as many threads as it was told; it has one number for the process, shared with torch's."""
        before = self._faiss.omp_get_max_threads()
        if before == self._threads:
            yield
            return
        self._faiss.omp_set_num_threads(self._threads)
        try:
            yield
        finally:
            self._faiss.omp_set_num_threads(before)


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
        index.hnsw.efConstruction, index.hnsw.efSearch = EXPANSION_ADD, EXPANSION_SEARCH
    return index


def _flat(graph: Any) -> Any:
    """The index under a graph that holds its codes."""
    import faiss

    return graph.storage if isinstance(graph, faiss.IndexBinaryHNSW) else faiss.downcast_index(graph.storage)
