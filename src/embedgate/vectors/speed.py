"""Searches timed in turns with the same searches among float32 vectors."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np

from embedgate.metrics import Matrix
from embedgate.performance.paired import Blocks, candidate_seconds, reference_seconds
from embedgate.vectors.codes import Ranges
from embedgate.vectors.engines.base import EngineCase
from embedgate.vectors.figures import SearchFigures
from embedgate.vectors.indexes import Built, build
from embedgate.vectors.loads import SearchLoad
from embedgate.vectors.measure import Vectors
from embedgate.vectors.rescoring import find
from embedgate.vectors.storage import FLOAT32, Storage

# Seconds that a turn takes at least: calls are repeated until it does, since one is as short as what disturbs it.
TURN_SECONDS = 5e-3
WARM_UP = 3


class SearchTiming:
    """Times searches; of indexes, one is kept beside the float32 one that it is compared with.

    Args:
        vectors: Queries and documents, normalised.
        ranges: What 8-bit codes are steps of.
        threads: Threads that build and search.
    """

    def __init__(self, vectors: Vectors, ranges: Ranges, threads: int) -> None:
        self._vectors = vectors
        self._ranges = ranges
        self.threads = threads
        self._kept: dict[str, tuple[EngineCase, Built]] = {}
        self._last: tuple[SearchLoad, Blocks] | None = None

    def blocks(self, load: SearchLoad) -> Blocks:
        """Turns of a storage's searches and of float32's, both warm; every turn asks the same queries.

        Asked again for the last load, it gives the same with the turns that were taken, until `close`.

        Raises:
            embedgate.core.errors.BuildError: If an index cannot be built.
        """
        if self._last is None or self._last[0] != load:
            self._last = load, self._blocks(load)
        return self._last[1]

    def _blocks(self, load: SearchLoad) -> Blocks:
        reference = self.built("reference", EngineCase(load.engine, load.kind))
        candidate = self.candidate(load)
        queries, batch = self._vectors.queries, self.asked(load)
        batches = [queries[start : start + batch] for start in range(0, len(queries) - batch + 1, batch)]
        arms = ((reference, FLOAT32), (candidate, load.storage))
        fastest = min(min(_turn(built, storage, batches[:1] * WARM_UP)) for built, storage in arms)
        calls = max(1, math.ceil(TURN_SECONDS / max(fastest, 1e-7)))
        asked = [batches[place % len(batches)] for place in range(calls)]
        return Blocks(lambda: _turn(*arms[0], asked), lambda: _turn(*arms[1], asked))

    def asked(self, load: SearchLoad) -> int:
        """Queries of a call; all there are where they are fewer."""
        return min(load.batch, len(self._vectors.queries))

    def candidate(self, load: SearchLoad) -> Built:
        """The index that a load searches."""
        return self.built("candidate", load.case)

    def built(self, role: str, case: EngineCase) -> Built:
        """The index of a case, kept until another takes its role (`reference` or `candidate`)."""
        if role not in self._kept or self._kept[role][0] != case:
            if role in self._kept:
                self._kept.pop(role)[1].index.close()
            self._kept[role] = case, build(case, self._vectors.documents, self._ranges, self.threads)
        return self._kept[role][1]

    def close(self) -> None:
        """Gives the indexes' memory back."""
        for _, built in self._kept.values():
            built.index.close()
        self._kept.clear()
        self._last = None


def figures_of(load: SearchLoad, blocks: Blocks, timing: SearchTiming, ratio: float) -> SearchFigures:
    """Returns the figures that were measured of a load."""
    built = timing.candidate(load)
    queries = timing.asked(load) * len(blocks.calls["candidate"]) / len(blocks.rows)
    return SearchFigures(
        ratio=ratio,
        queries_per_second=queries / float(np.median(candidate_seconds(blocks.rows))),
        reference_queries_per_second=queries / float(np.median(reference_seconds(blocks.rows))),
        bytes_per_vector=built.bytes_per_vector,
        build_seconds=built.build_seconds,
        blocks=len(blocks.rows),
        threads=timing.threads,
    )


def _turn(built: Built, storage: Storage, batches: Sequence[Matrix]) -> list[float]:
    """Searches batch after batch; the seconds of each call."""
    seconds = []
    for batch in batches:
        started = time.perf_counter()
        find(built.index, built.codes, storage, batch)
        seconds.append(time.perf_counter() - started)
    return seconds
