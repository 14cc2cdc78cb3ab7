"""Search among stored vectors: what is still found, where codes are so coarse that many documents score alike.

A search returns the documents with the greatest scores; with rescoring, those candidates are ranked again. Wherever
equal scores meet a cut, which of the tied documents come through is chance, or a library's habit. So every candidate
gets the probability of standing at each of the first ten places, over all orders of equal scores, and metrics are
expectations (McSherry and Najork, ECIR 2008, extended to two cuts one after the other).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from embedgate.metrics import FloatArray, Matrix, Scores, mean_of
from embedgate.metrics.retrieval import CUT, NONE

Ids = npt.NDArray[np.int64]


class Indistinct(ValueError):
    """Documents that score alike in such numbers that a search among them says nothing: lost quality.

    Args:
        documents: How many tie at the cut of a query.
    """

    def __init__(self, documents: int) -> None:
        super().__init__(f"{documents} or more documents score alike for one query: nothing tells them apart")


@dataclass(frozen=True)
class Found:
    """Results of a search, every document that ties with the last one included.

    Attributes:
        scores: Scores of the first search, float32 `[q, k]`, best first; -inf where a query has fewer.
        ids: Rows of the documents, int64 `[q, k]`; what stands beside -inf means nothing.
    """

    scores: Matrix
    ids: Ids

    def without(self, own: Mapping[int, int]) -> Found:
        """The results without the documents that queries are themselves.

        Args:
            own: Of queries, the rows of their own documents.
        """
        if not own:
            return self
        scores, ids = self.scores.copy(), self.ids.copy()
        for query, document in own.items():
            # To the end, since the others stay in their order.
            itself = ids[query] == document
            order = np.argsort(itself, kind="stable")
            scores[query] = np.where(itself, -np.inf, scores[query])[order]
            ids[query] = ids[query, order]
        return Found(scores, ids)


@dataclass(frozen=True)
class Ranking:
    """Where documents stand among the first ten.

    Attributes:
        ids: Rows of the documents, int64 `[q, k]`.
        places: The probability of standing at each place, float64 `[q, k, 10]`.
    """

    ids: Ids
    places: FloatArray

    @cached_property
    def membership(self) -> FloatArray:
        """The probability of being among the first ten, float64 `[q, k]`."""
        return np.asarray(self.places.sum(axis=2))


def ranking(found: Found, candidates: int = CUT, rescored: Matrix | None = None) -> Ranking:
    """Where documents stand among the first ten, over all orders of equal scores.

    Args:
        found: What the first search returned.
        candidates: How many of it are ranked again; without `rescored`, how many are looked at.
        rescored: Scores of the documents in the second ranking, float32 `[q, k]`; None where there is none.
    """
    places = np.zeros((*found.ids.shape, CUT))
    for query, first in enumerate(found.scores):
        known = int(np.count_nonzero(first > -np.inf))
        if rescored is None:
            places[query, :known] = _of_one(first[:known])
        else:
            places[query, :known] = _of_two(first[:known], rescored[query, :known], candidates)
    return Ranking(found.ids, places)


def kept_at_10(candidate: Ranking, truth: Ranking) -> Scores:
    """Share of the ten that exact float32 search finds which are still found.

    Args:
        candidate: What a search among stored vectors finds.
        truth: What exact search among float32 vectors finds, of the same queries.

    Returns:
        Scores, items float64 `[q]`. Where equal scores straddle a cut, what both have is the lesser share.
    """
    items = np.empty(len(truth.ids))
    for query in range(len(items)):
        (wanted, shares), (got, found) = _members(truth, query), _members(candidate, query)
        _, here, there = np.intersect1d(wanted, got, assume_unique=True, return_indices=True)
        items[query] = np.minimum(shares[here], found[there]).sum() / shares.sum()
    return mean_of(items)


def judged(
    candidate: Ranking, relevance: Sequence[Mapping[int, int]], unreachable: Mapping[int, Sequence[int]] = NONE
) -> dict[str, Scores]:
    """NDCG and recall within the first ten, with linear gains as in `embedgate.metrics.retrieval`.

    Args:
        candidate: What a search finds.
        relevance: Per query the row of each judged document and its grade; relevant above 0.
        unreachable: Of queries, the grades, above 0, of relevant documents that are not searched: never found.

    Returns:
        `ndcg_at_10` and `recall_at_10`, items float64 `[q]`.
    """
    discounts = 1 / np.log2(np.arange(CUT) + 2)
    gains, recalls = np.empty(len(relevance)), np.empty(len(relevance))
    for query, grades in enumerate(relevance):
        relevant = {document: grade for document, grade in grades.items() if grade > 0}
        ids = candidate.ids[query].tolist()
        rows = [row for row, document in enumerate(ids) if document in relevant]
        places = candidate.places[query, rows]
        weights = np.array([relevant[ids[row]] for row in rows], dtype=np.float64)
        absent = unreachable.get(query, ())
        best = sorted((*relevant.values(), *absent), reverse=True)[:CUT]
        gains[query] = float(weights @ (places @ discounts)) / float(np.dot(best, discounts[: len(best)]))
        recalls[query] = float(places.sum()) / (len(relevant) + len(absent))
    return {"ndcg_at_10": mean_of(gains), "recall_at_10": mean_of(recalls)}


def _members(ranking: Ranking, query: int) -> tuple[Ids, FloatArray]:
    """The documents that may be among a query's first ten, and how probably."""
    membership = ranking.membership[query]
    inside = membership > 0
    return ranking.ids[query, inside], membership[inside]


def _of_one(scores: Matrix) -> FloatArray:
    """Probabilities of places `[k, 10]` by scores in descending order, each group of equals in any order."""
    ascending = scores[::-1]
    before = len(scores) - np.searchsorted(ascending, scores, side="right")
    equal = len(scores) - np.searchsorted(ascending, scores, side="left") - before
    return _spread(before, equal)


def _spread(before: npt.NDArray[np.intp], equal: npt.NDArray[np.intp]) -> FloatArray:
    """Equal chances of the places from `before` on, `equal` of them, `[..., 10]`; shapes are broadcast."""
    place = np.arange(CUT)
    before, equal = before[..., None], equal[..., None]
    return ((place >= before) & (place < before + equal)) / equal


def _of_two(first: Matrix, second: Matrix, candidates: int) -> FloatArray:
    """Probabilities of places `[k, 10]` of the second ranking, where a first lets so many candidates through."""
    places = np.zeros((len(first), CUT))
    cut = first[min(candidates, len(first)) - 1]
    sure, tied = first > cut, first == cut
    through = min(candidates, len(first)) - int(sure.sum())
    inside = np.flatnonzero(sure | tied)
    order = inside[np.argsort(-second[inside], kind="stable")]
    if through == int(tied.sum()):  # the cut parts no equals
        places[order] = _of_one(second[order])
        return places
    mine, is_tied = second[order], tied[order]
    # How many of either group score more, and how many others as much.
    ahead, level = {}, {}
    for name, group in (("sure", ~is_tied), ("tied", is_tied)):
        ascending = np.sort(mine[group])
        upper = np.searchsorted(ascending, mine, side="right")
        ahead[name] = len(ascending) - upper
        level[name] = upper - np.searchsorted(ascending, mine, side="left") - group
    population = int(tied.sum()) - is_tied
    draws = through - is_tied
    share = np.where(is_tied, through / int(tied.sum()), 1.0)
    found = np.zeros((len(order), CUT))
    alone = (level["sure"] == 0) & (level["tied"] == 0)
    for group in (False, True):
        rows = np.flatnonzero(alone & (ahead["sure"] < CUT) & (is_tied == group))
        if len(rows):
            chances = _chances_ahead(int(tied.sum()) - group, through - group, CUT)[ahead["tied"][rows]]
            place = ahead["sure"][rows, None] + np.arange(CUT)
            row, drawn = np.nonzero(place < CUT)
            found[rows[row], place[row, drawn]] = chances[row, drawn]
    rest = np.flatnonzero(~alone & (ahead["sure"] < CUT))
    # Documents of equal standing have equal chances, and where there are many, they are few kinds.
    standing = np.stack([population, draws, *(of[name] for name in ("sure", "tied") for of in (ahead, level))], axis=1)
    kinds, kind_of = np.unique(standing[rest], axis=0, return_inverse=True)
    if len(rest):
        found[rest] = np.stack([_among_equals(*map(int, kind)) for kind in kinds])[kind_of.ravel()]
    places[order] = found * share[:, None]
    return places


@lru_cache(maxsize=64)  # queries whose ties are as many ask for the same
def _chances_ahead(population: int, draws: int, cut: int) -> FloatArray:
    """The probability that j of the documents ahead are among those drawn, `[population + 1, cut]`: row a for a ahead.

    Args:
        population: How many tie at the cut.
        draws: How many of them come through.
        cut: How many j there are, from 0.
    """
    from scipy.stats import hypergeom

    found = np.asarray(hypergeom.pmf(np.arange(cut), population, np.arange(population + 1)[:, None], draws))
    found.setflags(write=False)
    return found


def _among_equals(
    population: int, draws: int, sure_ahead: int, sure_level: int, tied_ahead: int, tied_level: int
) -> FloatArray:
    """Probabilities of places `[10]` of a document that others score as much as, some of which may not come through."""
    from scipy.stats import multivariate_hypergeom

    more = np.arange(min(tied_ahead, draws, CUT - 1 - sure_ahead) + 1)[:, None]
    equal = np.arange(min(tied_level, draws) + 1)
    drawn = np.stack(np.broadcast_arrays(more, equal, draws - more - equal), axis=-1)
    chances = multivariate_hypergeom.pmf(drawn, [tied_ahead, tied_level, population - tied_ahead - tied_level], draws)
    return np.asarray(np.einsum("me,mep->p", chances, _spread(sure_ahead + more, sure_level + equal + 1)))
