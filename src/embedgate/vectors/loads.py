"""The loads that searching is timed with: storages in engines' indexes, one query at a time and many."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from embedgate.vectors.engines.base import EngineCase
from embedgate.vectors.storage import Kind, Storage

# Queries of a call; one at a time is how a service is asked, many how a batch job asks.
BATCHES = (1, 64)
# What is timed in an exact index, and in a graph. uint8 and ubinary take the same operations as int8 and binary.
TIMED: dict[Kind, tuple[Storage, ...]] = {
    "exact": (Storage("float16"), Storage("int8"), Storage("int8", 4), Storage("binary"), Storage("binary", 4)),
    "hnsw": (Storage("int8", 4), Storage("binary", 4)),
}


@dataclass(frozen=True)
class SearchLoad:
    """Searches that are timed beside the same searches among float32 vectors, in the same engine and kind of index.

    Attributes:
        engine: Name of the engine.
        kind: The kind of index.
        storage: How vectors are stored and searched.
        batch: Queries of a call.
    """

    engine: str
    kind: Kind
    storage: Storage
    batch: int

    @property
    def id(self) -> str:
        """Its name in test ids, baselines and reports, for example `faiss-exact-int8-rescore4-batch1`."""
        return f"{self.engine}-{self.kind}-{self.storage}-batch{self.batch}"

    @property
    def case(self) -> EngineCase:
        """The index that is searched."""
        return EngineCase(self.engine, self.kind, self.storage.precision)

    def __str__(self) -> str:
        queries = "one query" if self.batch == 1 else f"{self.batch} queries"
        return f"{queries} at a time among {self.storage} in {self.engine} ({self.kind})"


def search_loads(cases: Iterable[EngineCase]) -> tuple[SearchLoad, ...]:
    """Returns the loads to time: storages in judged indexes of their precision, where one in float32 is beside it."""
    offered: dict[tuple[str, Kind], set[str]] = {}
    for case in cases:
        if case.kind:
            offered.setdefault((case.engine, case.kind), set()).add(case.precision)
    return tuple(
        SearchLoad(engine, kind, storage, batch)
        for (engine, kind), precisions in offered.items()
        for storage in TIMED[kind]
        if {storage.precision, "float32"} <= precisions
        for batch in BATCHES
    )
