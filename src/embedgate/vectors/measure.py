"""Results of searching stored vectors, compared with those of exact search among float32 vectors.

Also across two combinations, which share an index whenever a change rolls out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from embedgate.core.similarity import COSINE, Similarity
from embedgate.metrics import Matrix, Scores
from embedgate.metrics.retrieval import NONE
from embedgate.metrics.search import Indistinct, Ranking, kept_at_10, ranking
from embedgate.vectors.codes import NEEDS_RANGES, Codes, Ranges, stored
from embedgate.vectors.nearest import nearest
from embedgate.vectors.rescoring import first_queries, rescored
from embedgate.vectors.storage import MIXTURES, RESULTS, Storage


@dataclass(frozen=True, eq=False)
class Vectors:
    """Queries and documents of one arm.

    Attributes:
        queries: As they are compared, float32 `[q, dim]`: normalised for cosines.
        documents: Likewise, float32 `[n, dim]`; may be mapped from a file.
        similarity: How they are compared, by inner product.
    """

    queries: Matrix
    documents: Matrix
    similarity: Similarity = COSINE

    def truncated(self, dims: int | None) -> Vectors:
        """The first dimensions alone, for cosines normalised anew."""
        if dims is None:
            return self
        queries, documents = (self.similarity.prepared(part[:, :dims]) for part in (self.queries, self.documents))
        return Vectors(queries, documents, self.similarity)


def rankings(
    vectors: Vectors,
    storages: Sequence[Storage],
    ranges: Mapping[int | None, Ranges],
    threads: int,
    own: Mapping[int, int] = NONE,
) -> Iterator[tuple[str, Ranking | Indistinct]]:
    """Yields what is found in each storage, one after the other, since a ranking may be large.

    Args:
        vectors: Queries and documents.
        storages: The storages; those that differ in rescoring alone should follow each other, since they are searched
            once.
        ranges: What 8-bit codes are steps of, by the number of dimensions kept; None for all.
        threads: Threads to search with.
        own: Of each query that is a document itself, its row among the documents, which it does not find.

    Yields:
        The storage's id, and what is found; the error instead where too many documents score alike, which says nothing
        about the storages after it.
    """
    for dims, of_dims in groupby(storages, key=lambda storage: storage.dims):
        arm = vectors.truncated(dims)
        for precision, of_precision in groupby(of_dims, key=lambda storage: storage.precision):
            codes = stored(arm.documents, precision, ranges[dims] if precision in NEEDS_RANGES else None)
            for _, alike in groupby(of_precision, key=lambda storage: storage.float_queries):
                yield from _of_codes(arm.queries, codes, list(alike), threads, own)


def _of_codes(
    queries: Matrix, codes: Codes, storages: Sequence[Storage], threads: int, own: Mapping[int, int]
) -> Iterator[tuple[str, Ranking | Indistinct]]:
    """Yields what storages of the same codes find: one search for as many candidates as any of them ranks again."""
    asked = first_queries(queries, codes, storages[0])
    candidates = max(storage.candidates for storage in storages)
    try:
        first = nearest(codes, asked, candidates + bool(own), threads).without(own)
    except Indistinct as error:
        yield from ((storage.id, error) for storage in storages)
        return
    again = rescored(queries, codes, first.ids) if any(storage.rescore for storage in storages) else None
    for storage in storages:
        yield storage.id, ranking(first, storage.candidates, again if storage.rescore else None)


def exact(vectors: Vectors, threads: int) -> Ranking:
    """Returns what exact search among float32 vectors finds."""
    codes = Codes("float32", vectors.documents, vectors.documents.shape[1])
    return ranking(nearest(codes, vectors.queries, RESULTS, threads))


def within_ranges(vectors: Matrix, ranges: Ranges) -> np.ndarray:
    """Share of each vector's dimensions that lie within ranges, so that their codes are not cut off, float64 `[n]`."""
    return np.asarray(ranges.hold(vectors).mean(axis=1, dtype=np.float64))


def mixed(candidate: Vectors, reference: Vectors, ranges: Ranges, truth: Ranking, threads: int) -> dict[str, Scores]:
    """Compares what is found in each mixture with what the reference finds alone, by the mixture's id.

    Args:
        candidate: Vectors of the combination.
        reference: Vectors of the reference, of the same texts and grown from the same.
        ranges: What the index's 8-bit codes are steps of: the reference's, since its vectors were there first.
        truth: What exact float32 search finds with the reference alone.
        threads: Threads to search with.

    Raises:
        embedgate.metrics.search.Indistinct: If too many documents score alike.
    """
    found: dict[str, Scores] = {}
    for side in dict.fromkeys(mixture.side for mixture in MIXTURES.values()):
        if side == "queries":
            arm = Vectors(candidate.queries, reference.documents, reference.similarity)
        elif side == "documents":
            arm = Vectors(reference.queries, candidate.documents, reference.similarity)
        else:
            every_second = np.arange(len(reference.documents))[:, None] % 2 == 0
            half = np.where(every_second, candidate.documents, reference.documents)
            arm = Vectors(reference.queries, half, reference.similarity)
        asked = {mixture.storage.id: mixture for mixture in MIXTURES.values() if mixture.side == side}
        storages = [mixture.storage for mixture in asked.values()]
        for storage, result in rankings(arm, storages, {None: ranges}, threads):
            if isinstance(result, Indistinct):
                raise result
            found[asked[storage].id] = kept_at_10(result, truth)
    return found
