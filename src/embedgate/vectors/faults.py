"""Names what is wrong with an index that does not find what is there, by what it returns.

Each known fault is played through on the same vectors: if its results are the index's, that is the fault. Where none
is, the stage at fault is told by what its results have in common with the nearest documents, and with their order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from embedgate.core.embeddings import normalised
from embedgate.core.judgement import Diagnosis
from embedgate.metrics import Matrix
from embedgate.metrics.search import Ids
from embedgate.vectors.codes import Codes, Ranges, quantize, stored
from embedgate.vectors.nearest import nearest
from embedgate.vectors.rescoring import rescored
from embedgate.vectors.storage import RESULTS

# Documents that are searched by their own vectors.
PROBES = 200
# Share of its results that a fault must explain, and by how much more than the truth does.
EXPLAINS = 0.7
MORE_THAN_TRUTH = 0.15
# Share of its results that leaves no doubt about a fault, and by how much more than the truth's.
CERTAIN = 0.97
CLEARLY = 0.02
# Share of documents that are still found by their own vectors where ids have nothing to do with them.
SHUFFLED = 0.05
# Share of documents that a sound index, however coarse, finds by their own vectors.
FOUND = 0.9
# Lengths that differ by less are a unit's rounding.
UNIT = 1e-2
# Candidates per result that rescoring is played through with.
RESCORING = 4

# Nearest documents that a sound first search takes its candidates from: ten, sixteen times. Of a collection that is not
# so many times as large, being among them says little.
NEARBY = 160
FEW_OF = 8
# Share of results among them that speaks for the first search, and rank correlations of results with their cosines
# that do, and do not, for the second: sound ones have 1.0, and what reads other vectors -0.1 to 0.15 (the faults of
# tests/search_faults.py among 2,000 to 10,000 documents).
AMONG = 0.7
IN_ORDER, NO_ORDER = 0.9, 0.3
GIVE_BACK = "look candidates up by their ids, and give their ids back in the order of the new scores"

Search = Callable[[Matrix, int], Ids]


def malformed(ids: npt.NDArray[Any], queries: int, documents: int) -> str | None:
    """What is wrong with results as such; None where they are rows of documents, each once per query.

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


def suspect(found: Ids, truth: Ids, queries: Matrix, documents: Matrix, threads: int) -> Suspect:
    """Plays known faults through; none where nearly all is found, since none could explain more.

    Args:
        found: What the index returned, `[q, 10]`.
        truth: What exact search by cosine finds, `[q, 10]`.
        queries: Queries as the encoder gave them, float32 `[q, dim]`.
        documents: Documents as the encoder gave them, float32 `[n, dim]`.
        threads: Threads to search with.
    """
    kept = overlap(found, truth)
    likeliest, most = None, 0.0
    if kept < CERTAIN:
        for diagnosis, results in _suspects(queries, documents, threads):
            if (share := overlap(found, results)) > most:
                likeliest, most = diagnosis, share
    return Suspect(likeliest, most, kept)


def diagnose(
    search: Search, known: Suspect, found: Ids, queries: Matrix, documents: Matrix, threads: int
) -> Diagnosis | None:
    """What explains an index's results; None where nothing does.

    Args:
        search: The index: float32 queries `[q, dim]` and a number of results in, rows of documents out.
        known: The likeliest of the faults that were played through.
        found: What the index returned, `[q, 10]`.
        queries: Queries as the encoder gave them, float32 `[q, dim]`.
        documents: Documents as the encoder gave them, float32 `[n, dim]`.
        threads: Threads to search with.
    """
    if known.is_likely:
        return known.diagnosis
    return _stage(found, normalised(queries), normalised(documents), threads) or _ids(search, documents)


def _stage(found: Ids, queries: Matrix, documents: Matrix, threads: int) -> Diagnosis | None:
    """Which of two stages is at fault, by where its results lie and how they are ordered; None where neither tells.

    However many candidates are ranked again, and by whatever: results of a sound first search are among the nearest,
    and those of a sound second one are in the order of their cosines.

    Args:
        found: What the index returned, `[q, 10]`.
        queries: Normalised, float32 `[q, dim]`.
        documents: Normalised, float32 `[n, dim]`.
        threads: Threads to search with.
    """
    if len(documents) < FEW_OF * NEARBY:
        return None
    if found.max() < NEARBY:
        cause = f"rescoring returns places among its candidates instead of ids: none is beyond {found.max()}"
        return Diagnosis("index", cause, GIVE_BACK)
    cosines = np.einsum("qd,qkd->qk", queries, documents[found])
    whole = Codes("float32", documents, documents.shape[1])
    least = nearest(whole, queries, NEARBY, threads).scores[:, NEARBY - 1, None]
    near = float((cosines >= least).mean())
    order = _order(cosines)
    if order < -IN_ORDER:
        return Diagnosis("index", "it ranks the worst of its candidates first", GIVE_BACK)
    if near >= AMONG and order < NO_ORDER:
        return Diagnosis(
            "index",
            f"rescoring ignores the stored order: {near:.0%} of its results are among the {NEARBY} nearest, in an "
            f"order that has nothing to do with their cosines (rank correlation {order:.2f}), as where other vectors "
            "than the candidates' are read",
            GIVE_BACK,
        )
    if near < AMONG and order >= IN_ORDER:
        return Diagnosis(
            "index",
            "the first search finds wrong candidates: results are in the order of their cosines, but "
            f"{1 - near:.0%} of them are not among the {NEARBY} nearest",
            "see its metric, the order of its bits, and by which ranges documents and queries were quantized",
        )
    return None


def _order(cosines: Matrix) -> float:
    """Mean rank correlation (Spearman's) of results' places with their cosines, best first: 1 where it is theirs."""
    places = -np.arange(cosines.shape[1])
    told = [spearmanr(row, places).statistic for row in cosines if np.ptp(row) > 0]
    return float(np.mean(told)) if told else 1.0


def overlap(one: Ids, other: Ids) -> float:
    """Mean share of results that two searches have in common."""
    return float(np.mean([len(np.intersect1d(a, b)) / len(a) for a, b in zip(one, other, strict=True)]))


def _ids(search: Search, documents: Matrix) -> Diagnosis | None:
    """Whether documents are found by their own vectors, under their own ids."""
    rows = np.linspace(0, len(documents) - 1, min(PROBES, len(documents))).astype(np.int64)
    found = np.asarray(search(np.ascontiguousarray(documents[rows]), RESULTS))
    own = (found == rows[:, None]).any(axis=1)
    if own.mean() > FOUND:
        return None
    shifts = found[:, 0].astype(np.int64) - rows
    step = "see how rows of vectors come to the ids they are stored under"
    if (shifts == shifts[0]).mean() > 0.5:
        return Diagnosis("ids", f"documents are stored under ids that are {shifts[0]:+d} off", step)
    if own.mean() > SHUFFLED:
        missed = f"{int((~own).sum())} of {len(rows)} documents are not found by their own vectors"
        example = f"{step}, and what it scores for one of them, such as {rows[np.argmin(own)]}, and its own vector"
        return Diagnosis("index", missed, example)
    hits = f"of {len(rows)}, {int(own.sum())} are found by their own vectors"
    return Diagnosis("ids", f"documents are shuffled against their ids: {hits}", step)


def _suspects(queries: Matrix, documents: Matrix, threads: int) -> Iterator[tuple[Diagnosis, Ids]]:
    """Known faults, and what each would return."""
    lengths = np.linalg.norm(documents, axis=1)
    unit, unit_queries = documents, normalised(queries)
    if float(np.ptp(lengths)) > UNIT * float(lengths.mean()):
        step = "normalise vectors before they are stored, and queries; or have the index rank by cosine"
        yield (
            Diagnosis("index", "it ranks by L2 distance of vectors that are not normalised", step),
            _by_distance(queries, documents, threads),
        )
        yield (
            Diagnosis("index", "it ranks by L2 distance of documents that are not normalised, as queries are", step),
            _by_distance(unit_queries, documents, threads),
        )
        yield (
            Diagnosis("index", "it ranks by the inner product of vectors that are not normalised", step),
            _ids_of(Codes("float32", documents, documents.shape[1]), queries, RESULTS, threads),
        )
        unit = normalised(documents)
    bits = stored(unit, "ubinary")
    little = Codes("ubinary", _turned(bits.matrix), bits.dim)
    asked = quantize(unit_queries, "ubinary")
    step = "pack and unpack bits in one order: numpy.packbits puts the first dimension into the highest bit"
    yield (
        Diagnosis("codes", "bits of documents are packed in another order than those of queries", step),
        _ids_of(little, asked, RESULTS, threads),
    )
    candidates = _ids_of(little, asked, RESULTS * RESCORING, threads)
    yield (
        Diagnosis("codes", "bits of documents are packed in another order than those of queries", step),
        _best(candidates, rescored(unit_queries, bits, candidates)),
    )
    candidates = _ids_of(bits, asked, RESULTS * RESCORING, threads)
    scores = rescored(unit_queries, little, candidates)
    yield (
        Diagnosis(
            "codes", "bits are unpacked in another order than they were packed in when candidates are rescored", step
        ),
        _best(candidates, scores),
    )
    ranges = Ranges.of(unit)
    whole = Codes("float32", unit, unit.shape[1])
    eight = stored(unit, "int8", ranges)
    for codes, first in ((bits, asked), (eight, quantize(unit_queries, "int8", ranges)), (whole, unit_queries)):
        if codes is not bits:
            candidates = _ids_of(codes, first, RESULTS * RESCORING, threads)
        places = np.broadcast_to(np.arange(candidates.shape[1]), candidates.shape)
        step = GIVE_BACK
        about = f"rescoring of {codes.precision} candidates"
        yield (
            Diagnosis(
                "index", f"{about} ignores the stored order: it reads the vectors at the candidates' places", step
            ),
            _best(candidates, rescored(unit_queries, codes, places)),
        )
        scores = rescored(unit_queries, codes, candidates)
        by_id = rescored(unit_queries, codes, np.sort(candidates, axis=1))
        yield (
            Diagnosis(
                "index", f"{about} ignores the stored order: its scores are of the candidates in order of ids", step
            ),
            _best(candidates, by_id),
        )
        yield (
            Diagnosis("index", f"{about} returns places among the candidates instead of ids", step),
            _best(places, scores),
        )
        yield (
            Diagnosis("index", f"{about} ranks the worst first", step),
            _best(candidates, -scores),
        )


def _ids_of(codes: Codes, queries: npt.NDArray[Any], k: int, threads: int) -> Ids:
    return nearest(codes, queries, k, threads).ids[:, : min(k, len(codes))]


def _by_distance(queries: Matrix, documents: Matrix, threads: int) -> Ids:
    """The nearest by L2 distance: q.d - |d|^2 / 2 ranks them, as an inner product with one dimension more."""
    squares = (np.linalg.norm(documents, axis=1, keepdims=True) ** 2) / 2
    wide = np.concatenate([documents, -squares], axis=1, dtype=np.float32)
    asked = np.concatenate([queries, np.ones((len(queries), 1))], axis=1, dtype=np.float32)
    return _ids_of(Codes("float32", wide, wide.shape[1]), asked, RESULTS, threads)


def _best(ids: Ids, scores: Matrix) -> Ids:
    order = np.argsort(-scores, axis=1, kind="stable")[:, :RESULTS]
    return np.take_along_axis(ids, order, axis=1)


def _turned(matrix: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Bytes with their bits in the other order."""
    return np.packbits(np.unpackbits(matrix, axis=-1), axis=-1, bitorder="little")
