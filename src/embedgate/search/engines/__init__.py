"""Engines: the libraries that search stored vectors in production, behind one interface.

A module per engine, imported when it is used, with three functions: `unavailable()`, why it cannot run here in one
line, or None; `offers()`, which embedding precisions it stores in which kind of index; and
`build(codes, kind, threads)`, an index of documents. `ENGINES` is the one place that knows which there are.

Graphs of all engines have the same parameters, so that what they find differs by the codes and not by the defaults.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from embedgate.errors import BuildError
from embedgate.metrics import Matrix
from embedgate.search import EmbeddingPrecision, Kind
from embedgate.search.codes import BITS, Codes, unsigned

Ids = npt.NDArray[np.int64]

# Links per document and layer of a graph, as in Sentence Transformers' `semantic_search_faiss`; twice that in the
# lowest.
CONNECTIVITY = 16
# How many nearest documents a graph looks at when one is added, and in a search: usearch's defaults. Those of faiss, 40
# and 16, find visibly less, and losses of the graph would hide those of the codes.
EXPANSION_ADD = 128
EXPANSION_SEARCH = 64
# Documents that are converted at a time, so that memory stays bounded whatever their number.
CHUNK = 16_384


class Index(Protocol):
    """Documents that an engine searches.

    Attributes:
        size: Bytes that it takes in memory: codes and, of a graph, its links.
        float_queries: Whether it takes float32 queries of 8-bit documents.
    """

    size: int
    float_queries: bool

    def search(self, queries: npt.NDArray[Any], k: int) -> tuple[Matrix, Ids]:
        """The documents with the greatest scores.

        Args:
            queries: Queries as documents are stored (`embedgate.search.codes.quantize`), `[q, width]`; where the index
                takes them, float32 ones of 8-bit documents, multiplied by what a step is worth.
            k: How many; no more than there are documents.

        Returns:
            Scores, float32 `[q, k]`, best first, higher being better: inner products of codes, or of bits the Hamming
            distance negated; and rows of the documents, int64 `[q, k]`. Where a graph finds fewer, the rest has the row
            -1 and the score -inf.

        Raises:
            ValueError: If there are fewer than `k` documents, or queries are of another type or width.
        """

    def close(self) -> None:
        """Gives its memory back."""


class EngineModule(Protocol):
    """What a module of an engine has."""

    def unavailable(self) -> str | None:
        """Why it cannot run here, in one line; None where it can."""

    def offers(self) -> Mapping[Kind, tuple[EmbeddingPrecision, ...]]:
        """Embedding precisions it stores, by kind of index."""

    def build(self, codes: Codes, kind: Kind, threads: int) -> Index:
        """An index of documents.

        Args:
            codes: The documents; their matrix may be memory-mapped, and must stay as it is while the index is in use,
                which may search it in place.
            kind: The kind of index.
            threads: Threads that build it and search it.

        Raises:
            BuildError: If the engine does not offer it.
        """


@dataclass(frozen=True)
class Engine:
    """One engine.

    Attributes:
        name: Its name in options and reports.
        module: The module that builds its indexes.
        extra: The extra of this distribution that installs it.
    """

    name: str
    module: str
    extra: str

    def load(self) -> EngineModule:
        """Its module."""
        return import_module(self.module)


def chunks(codes: Codes) -> Iterator[npt.NDArray[Any]]:
    """Documents in chunks, `[up to CHUNK, width]`; those of bits as uint8, which is how engines read them."""
    for start in range(0, len(codes), CHUNK):
        chunk = np.ascontiguousarray(codes.matrix[start : start + CHUNK])
        yield unsigned(chunk, codes.precision) if codes.precision in BITS else chunk


def require_offered(
    engine: str, offers: Mapping[Kind, tuple[EmbeddingPrecision, ...]], codes: Codes, kind: Kind
) -> None:
    """Checks that an engine offers what is asked of it.

    Raises:
        BuildError: If it does not.
    """
    if codes.precision not in offers.get(kind, ()):
        raise BuildError(f"{engine} has no {kind} index of {codes.precision} vectors")


class Accepts:
    """Checks what `Index.search` is given; a search may take no longer than 40 microseconds, so it is quick.

    Args:
        codes: The documents.
        float_queries: Whether float32 queries of 8-bit documents are taken.
    """

    def __init__(self, codes: Codes, float_queries: bool = False) -> None:
        self._precision = codes.precision
        self._dtypes = (codes.matrix.dtype, *([np.dtype(np.float32)] if float_queries else []))
        self._count, self._width = codes.matrix.shape

    def __call__(self, queries: npt.NDArray[Any], k: int) -> None:
        """Checks queries and number of results.

        Raises:
            ValueError: If there are fewer than `k` documents, or queries are of another type or width.
        """
        if queries.dtype not in self._dtypes:
            raise ValueError(f"{queries.dtype} queries do not fit documents stored as {self._precision}")
        if queries.ndim != 2 or queries.shape[1] != self._width:
            raise ValueError(f"queries of shape {queries.shape} do not fit documents of width {self._width}")
        if not 0 < k <= self._count:
            raise ValueError(f"{k} results were asked for among {self._count} documents")


ENGINES: tuple[Engine, ...] = (
    Engine("faiss", "embedgate.search.engines.faiss", "search"),
    Engine("usearch", "embedgate.search.engines.usearch", "search"),
    Engine("qdrant", "embedgate.search.engines.qdrant", "qdrant"),
)
