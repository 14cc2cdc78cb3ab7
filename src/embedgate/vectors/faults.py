"""Names what is wrong with an index that does not find what is there, by what it returns.

What users meet is known: results of another shape, ids that are not the documents', vectors that are not normalised,
and a metric the wrong way round. A fault is named where what it would return is what the index returned, or where the
order of its results shows it; anything else is left to be called unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from embedgate.core.judgement import Diagnosis
from embedgate.core.similarity import COSINE, normalised
from embedgate.metrics import Matrix
from embedgate.metrics.search import Ids
from embedgate.vectors.codes import Codes
from embedgate.vectors.measure import Vectors
from embedgate.vectors.nearest import nearest
from embedgate.vectors.storage import RESULTS

# Queries whose true results are searched by their own vectors, to see under which ids they are stored.
PROBES = 20
# Share of its results that a fault must explain, and by how much more than the truth does.
EXPLAINS = 0.7
MORE_THAN_TRUTH = 0.15
# Share of its results that leaves no doubt about a fault, and by how much more than the truth's.
CERTAIN = 0.97
CLEARLY = 0.02
# Lengths that differ by less are a unit's rounding.
UNIT = 1e-2
# Rank correlation of results' places with their cosines that shows the worst first: sound ones have 1.0, and what reads
# other vectors than those it ranks -0.1 to 0.15.
WORST_FIRST = -0.7

Search = Callable[[Matrix, int], Ids]


def malformed(ids: npt.NDArray[Any], queries: int, documents: int) -> str | None:
    """Tells what is wrong with results as such; None where they are rows of documents, each once per query.

    Args:
        ids: What the index returned.
        queries: How many queries it was given.
        documents: How many documents it holds.
    """
    if ids.shape != (queries, RESULTS) or ids.dtype.kind not in "iu":
        return f"returns {ids.dtype} {ids.shape}, not the rows of {RESULTS} documents for each of {queries} queries"
    if ids.size and (ids.min() < 0 or ids.max() >= documents):
        wrong = int(ids.max() if ids.max() >= documents else ids.min())
        return f"returns {wrong}, and there are documents 0 to {documents - 1}"
    ordered = np.sort(ids, axis=1)
    twice = int((ordered[:, 1:] == ordered[:, :-1]).any(axis=1).sum())
    return f"returns a document twice for {twice} of {queries} queries" if twice else None


@dataclass(frozen=True)
class Suspect:
    """The known fault that explains most of an index's results.

    Attributes:
        diagnosis: The fault; None where none explains any.
        share: Share of the results that it explains.
        kept: Share of the results that are the truth's.
    """

    diagnosis: Diagnosis | None
    share: float
    kept: float

    @property
    def is_certain(self) -> bool:
        """Whether the results are the fault's own, however little it costs."""
        return self.share >= CERTAIN and self.share >= self.kept + CLEARLY

    @property
    def is_likely(self) -> bool:
        """Whether it explains enough, and more than the truth does, to be the cause of what is lost."""
        return self.share >= max(EXPLAINS, self.kept + MORE_THAN_TRUTH)


def suspect(found: Ids, truth: Ids, raw: Vectors, threads: int) -> Suspect:
    """Plays faults of the metric through; none where nearly all is found, since none could explain more.

    Args:
        found: What the index returned, `[q, 10]`.
        truth: What exact search finds, `[q, 10]`.
        raw: Queries and documents as the encoder gave them.
        threads: Threads to search with.
    """
    kept = overlap(found, truth)
    likeliest, most = None, 0.0
    if kept < CERTAIN:
        for diagnosis, results in _suspects(raw, threads):
            if (share := overlap(found, results)) > most:
                likeliest, most = diagnosis, share
    return Suspect(likeliest, most, kept)


def diagnose(search: Search, known: Suspect, found: Ids, raw: Vectors, threads: int) -> Diagnosis | None:
    """Tells what explains an index's results; None where nothing that is known does.

    Args:
        search: The index: float32 queries `[q, dim]` and a number of results in, rows of documents out.
        known: The likeliest of the faults that were played through.
        found: What the index returned, `[q, 10]`.
        raw: Queries and documents as the encoder gave them.
        threads: Threads to search with.
    """
    if known.is_likely:
        return known.diagnosis
    if (worst_first := _metric(found, raw)) or raw.similarity is not COSINE:
        return worst_first  # by dot product, longer documents may be nearer to a vector than itself
    some = np.linspace(0, len(raw.queries) - 1, min(PROBES, len(raw.queries))).astype(np.int64)
    return _ids(search, found[some], raw.queries[some], raw.documents, threads)


def overlap(one: Ids, other: Ids) -> float:
    """Mean share of results that two searches have in common."""
    return float(np.mean([len(np.intersect1d(a, b)) / len(a) for a, b in zip(one, other, strict=True)]))


def _metric(found: Ids, raw: Vectors) -> Diagnosis | None:
    """Whether results stand in ascending order of their similarities, whichever they are."""
    from scipy.stats import spearmanr

    scores = np.einsum("qd,qkd->qk", raw.queries, raw.documents[found])
    if raw.similarity is COSINE:
        scores /= np.maximum(np.linalg.norm(raw.documents[found], axis=2), np.float32(1e-12))
    places = -np.arange(scores.shape[1])
    orders = [spearmanr(row, places).statistic for row in scores if np.ptp(row) > 0]
    if not orders or np.mean(orders) > WORST_FIRST:
        return None
    cause = f"it ranks the worst first: its results are in ascending order of their {raw.similarity.measure}s"
    return Diagnosis("index", cause, "see whether it takes similarities for distances, of which the least is best")


def _ids(search: Search, found: Ids, queries: Matrix, documents: Matrix, threads: int) -> Diagnosis | None:
    """Whether the index finds what it should under the ids that it gives for documents' own vectors."""
    unit = normalised(documents)
    truth = _ids_of(Codes("float32", unit, unit.shape[1]), normalised(queries), threads)
    rows, places = np.unique(truth, return_inverse=True)
    under = np.asarray(search(np.ascontiguousarray(documents[rows]), RESULTS))[:, 0].astype(np.int64)
    if not Suspect(None, overlap(found, under[places].reshape(truth.shape)), overlap(found, truth)).is_likely:
        return None
    step = "see how rows of vectors come to the ids they are stored under"
    shifts = under - rows
    values, counts = np.unique(shifts[shifts != 0], return_counts=True)
    if counts.max(initial=0) > len(rows) / 2:
        shift = values[counts.argmax()]
        return Diagnosis("ids", f"documents are stored under ids that are {shift:+d} off", step)
    hits = f"of {len(rows)}, {int((shifts == 0).sum())} are found by their own vectors"
    return Diagnosis("ids", f"documents are shuffled against their ids: {hits}", step)


def _suspects(raw: Vectors, threads: int) -> Iterator[tuple[Diagnosis, Ids]]:
    """Faults of the metric, and what each would return; none where all vectors have one length."""
    queries, documents = raw.queries, raw.documents
    lengths = np.linalg.norm(documents, axis=1)
    if float(np.ptp(lengths)) <= UNIT * float(lengths.mean()):
        return
    if raw.similarity is COSINE:
        step = "normalise vectors before they are stored, and queries; or have the index rank by cosine"
        cause, ranked = "it ranks by the inner product of vectors that are not normalised", documents
    else:
        step = "have the index rank by inner product, of vectors as the encoder gives them"
        cause, ranked = "it ranks by cosine, and the model compares by dot product", normalised(documents)
    yield (
        Diagnosis("index", "it ranks by L2 distance of vectors that are not normalised", step),
        _by_distance(queries, documents, threads),
    )
    yield (
        Diagnosis("index", "it ranks by L2 distance of documents that are not normalised, as queries are", step),
        _by_distance(normalised(queries), documents, threads),
    )
    yield Diagnosis("index", cause, step), _ids_of(Codes("float32", ranked, ranked.shape[1]), queries, threads)


def _ids_of(codes: Codes, queries: Matrix, threads: int) -> Ids:
    return nearest(codes, queries, RESULTS, threads).ids[:, : min(RESULTS, len(codes))]


def _by_distance(queries: Matrix, documents: Matrix, threads: int) -> Ids:
    """The nearest by L2 distance: q.d - |d|^2 / 2 ranks them, as an inner product with one dimension more."""
    squares = (np.linalg.norm(documents, axis=1, keepdims=True) ** 2) / 2
    wide = np.concatenate([documents, -squares], axis=1, dtype=np.float32)
    asked = np.concatenate([queries, np.ones((len(queries), 1))], axis=1, dtype=np.float32)
    return _ids_of(Codes("float32", wide, wide.shape[1]), asked, threads)
