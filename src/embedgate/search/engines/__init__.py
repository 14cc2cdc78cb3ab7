"""Engines: the libraries that search stored vectors in production, behind one interface.

A module per engine, imported when it is used, with three functions: `unavailable()`, why it cannot run here in one
line, or None; `offers()`, which embedding precisions it stores in which kind of index; and
`build(codes, kind, threads)`, an index of documents. `ENGINES` is the one place that knows which there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from embedgate.metrics import Matrix
from embedgate.search import EmbeddingPrecision, Kind
from embedgate.search.codes import Codes

Ids = npt.NDArray[np.int64]


class Index(Protocol):
    """Documents that an engine searches.

    Attributes:
        size: Bytes that it takes in memory: codes and, of a graph, its links.
    """

    size: int

    def search(self, queries: npt.NDArray[Any], k: int) -> tuple[Matrix, Ids]:
        """The documents with the greatest scores.

        Args:
            queries: Queries as documents are stored (`embedgate.search.codes.quantize`), `[q, width]`; where the index
                takes them, float32 ones of 8-bit documents, multiplied by what a step is worth.
            k: How many; no more than there are documents.

        Returns:
            Scores, float32 `[q, k]`, best first, higher being better: inner products of codes, or of bits the Hamming
            distance negated; and rows of the documents, int64 `[q, k]`.
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
        """An index of documents."""


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
        return import_module(self.module)  # type: ignore[return-value]


ENGINES: tuple[Engine, ...] = (
    Engine("faiss", "embedgate.search.engines.faiss", "search"),
    Engine("usearch", "embedgate.search.engines.usearch", "search"),
    Engine("qdrant", "embedgate.search.engines.qdrant", "qdrant"),
)
