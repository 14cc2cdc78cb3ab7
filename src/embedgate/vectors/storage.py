"""Stored vectors: embeddings kept in fewer bits, and what a search among them still finds.

`codes` turns embeddings into what is stored and back, `corpus` grows a collection to the size of a real one, `nearest`
searches exactly, `engines` are the libraries that search in production, and `rescoring` ranks candidates again.
`embedgate.metrics.search` scores what was found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

EmbeddingPrecision = Literal["float32", "float16", "int8", "uint8", "binary", "ubinary"]
Kind = Literal["exact", "hnsw"]

EMBEDDING_PRECISIONS: tuple[EmbeddingPrecision, ...] = ("float32", "float16", "int8", "uint8", "binary", "ubinary")
# Candidates per result that are ranked again.
RESCORING = (1, 2, 4, 8)
# Results of a search, and what metrics look at.
RESULTS = 10


@dataclass(frozen=True)
class Storage:
    """How vectors are stored, and how they are searched.

    Attributes:
        precision: The embedding precision of the documents.
        rescore: How many candidates per result the float32 query ranks again, by their stored vectors; 0 for no
            rescoring.
        float_queries: Whether queries stay float32 in the first search, too; else they are stored as documents are.
        dims: Dimensions that vectors are truncated to; None for all.
    """

    precision: EmbeddingPrecision
    rescore: int = 0
    float_queries: bool = False
    dims: int | None = None

    @property
    def id(self) -> str:
        """Its name in options, tolerances, baselines and reports, for example `int8-rescore4`."""
        words = [f"{self.dims}d"] if self.dims else []
        words.append(self.precision)
        words += ["float32queries"] if self.float_queries else []
        words += [f"rescore{self.rescore}"] if self.rescore else []
        return "-".join(words)

    @property
    def candidates(self) -> int:
        """How many documents the first search returns."""
        return RESULTS * max(1, self.rescore)

    def __str__(self) -> str:
        return self.id


FLOAT32 = Storage("float32")
# ubinary holds the same bits as binary under an offset, which is checked of every vector; so what it finds is judged
# once. So does uint8 hold int8's, but products of two of its codes rank otherwise: the offset adds a document's sum.
STORAGES: tuple[Storage, ...] = (
    Storage("float16"),
    Storage("int8"),
    Storage("int8", float_queries=True),
    *(Storage("int8", rescore) for rescore in RESCORING),
    Storage("uint8"),
    *(Storage("uint8", rescore) for rescore in RESCORING),
    Storage("binary"),
    *(Storage("binary", rescore) for rescore in RESCORING),
)
# Of vectors truncated to fewer dimensions.
TRUNCATED: tuple[Storage, ...] = (FLOAT32, Storage("int8", 4), Storage("binary", 4))


@dataclass(frozen=True)
class Mixture:
    """Which side of a search a combination has, the other being the reference's.

    Attributes:
        side: What is the combination's: `queries`, `documents`, or every second document.
        storage: How the shared index stores vectors; its ranges are the reference's.
    """

    side: Literal["queries", "documents", "half"]
    storage: Storage

    @property
    def id(self) -> str:
        """Its name in baselines and reports, for example `mixed-queries-float32`."""
        return f"mixed-{self.side}-{self.storage.id}"

    def about(self, reference: str) -> str:
        """Says in words what is searched, beside the reference of this id."""
        stored = f"stored as {self.storage}"
        return {
            "queries": f"its queries among {reference}'s documents {stored} find",
            "documents": f"{reference}'s queries among its documents {stored} find",
            "half": f"{reference}'s queries among documents {stored}, half of them its own, find",
        }[self.side]


_SIDES: tuple[Literal["queries", "documents", "half"], ...] = ("queries", "documents", "half")
MIXTURES: dict[str, Mixture] = {
    mixture.id: mixture
    for mixture in (Mixture(side, storage) for storage in (FLOAT32, Storage("int8", 4)) for side in _SIDES)
}
