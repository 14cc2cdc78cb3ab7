"""Retrieval: are the relevant documents among a query's first ten?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from embedgate.core.similarity import COSINE, Similarity
from embedgate.metrics import Matrix, Scores, mean_of, require_finite

CUT = 10
# Similarities held at once: 2^22 float32 are 16 MiB.
_CHUNK = 2**22
_FEWEST_QUERIES = 16
# Rows of documents that are not there, from this one down.
_ABSENT = -1
# Of no query anything.
NONE: Mapping[int, Any] = MappingProxyType({})

Rows = npt.NDArray[np.intp]


def evaluate(
    queries: Matrix,
    documents: Matrix,
    relevance: Sequence[Mapping[int, int]],
    similarity: Similarity = COSINE,
    *,
    own: Mapping[int, int] = NONE,
    unreachable: Mapping[int, Sequence[int]] = NONE,
) -> dict[str, Scores]:
    """nDCG, recall and mean reciprocal rank within the first ten documents by the model's similarity.

    Gains are linear in the grade and recall is over all relevant documents, as in trec_eval and MTEB. Documents whose
    float32 scores are equal have no order: a query with such a tie scores its expectation over all orders of the tied
    documents (McSherry and Najork, "Computing information retrieval performance measures efficiently in the presence
    of tied scores", ECIR 2008). Every other query is scored by pytrec_eval.

    Args:
        queries: What is compared of the queries, float32 `[q, dim]`.
        documents: What is compared of the documents, float32 `[m, dim]`.
        relevance: Per query the row of each judged document and its grade; relevant above 0.
        similarity: How the model compares them.
        own: Of each query that is a document itself, its row among the documents: left out of the query's ranking, as
            BEIR does (Thakur et al. 2021), and never found where it is judged relevant.
        unreachable: Of queries, the grades, above 0, of relevant documents that are not among these: never found.

    Returns:
        `ndcg_at_10`, `recall_at_10` and `mrr_at_10`, each the mean of its per-query items, float64 `[q]`.

    Raises:
        NotFinite: If an embedding holds NaN or infinity.
        ValueError: If a query has no relevant document, so that nothing could be found.
    """
    require_finite(queries, "queries")
    require_finite(documents, "documents")
    relevant = [
        {row: grade for row, grade in judged.items() if grade > 0}
        | {_ABSENT - i: grade for i, grade in enumerate(unreachable.get(query, ()))}
        for query, judged in enumerate(relevance)
    ]
    if not all(relevant):
        raise ValueError(f"query {[bool(found) for found in relevant].index(False)} has no relevant document")
    items = np.empty((len(relevant), 3))
    for rows, scores in similarities(queries, documents, similarity):
        leave_out(own, rows, scores)
        ranked = top_k(scores, CUT + 1)
        ranked_scores = np.take_along_axis(scores, ranked, axis=1)
        tied = (ranked_scores[:, 1:] == ranked_scores[:, :-1]).any(axis=1)
        found = [row[score > -np.inf][:CUT] for row, score in zip(ranked, ranked_scores, strict=True)]
        untied = np.flatnonzero(~tied)
        items[rows[untied]] = _by_pytrec_eval([found[i] for i in untied], [relevant[rows[i]] for i in untied])
        for i in np.flatnonzero(tied):
            items[rows[i]] = _in_expectation(scores[i], found[i], relevant[rows[i]])
    return {name: mean_of(items[:, i]) for i, name in enumerate(("ndcg_at_10", "recall_at_10", "mrr_at_10"))}


def similarities(queries: Matrix, documents: Matrix, similarity: Similarity = COSINE) -> Iterator[tuple[Rows, Matrix]]:
    """Similarities of a few queries at a time with all documents, so that memory stays bounded.

    Identical documents get identical scores, which a matrix product alone does not promise: the last columns may be
    summed in another order than the rest.

    Args:
        queries: What is compared of the queries, float32 `[q, dim]`.
        documents: What is compared of the documents, float32 `[m, dim]`.
        similarity: How the model compares them.

    Yields:
        The rows of the queries, and their scores, float32 `[rows, m]`, which the caller may overwrite.
    """
    copies, originals = _duplicates(documents)
    step = max(_FEWEST_QUERIES, _CHUNK // len(documents))
    for start in range(0, len(queries), step):
        rows = np.arange(start, min(start + step, len(queries)))
        scores = similarity.crossed(queries[rows], documents)
        scores[:, copies] = scores[:, originals]
        yield rows, scores


def leave_out(own: Mapping[int, int], rows: Rows, scores: Matrix) -> None:
    """Puts a query's own document below all others, in place.

    Args:
        own: Of queries, the rows of their own documents.
        rows: The queries that are scored, `[rows]`.
        scores: Their scores, float32 `[rows, m]`; one that is left out becomes -inf.
    """
    asking = [i for i, query in enumerate(rows.tolist()) if query in own]
    scores[asking, [own[int(rows[i])] for i in asking]] = -np.inf


def top_k(scores: Matrix, k: int) -> Rows:
    """Columns of the `k` greatest scores of each row, best first, intp `[rows, min(k, columns)]`."""
    k = min(k, scores.shape[1])
    found = np.argpartition(scores, -k, axis=1)[:, -k:]
    order = np.argsort(-np.take_along_axis(scores, found, axis=1), axis=1, kind="stable")
    return np.take_along_axis(found, order, axis=1)


def _duplicates(documents: Matrix) -> tuple[Rows, Rows]:
    """Rows that repeat an earlier row, and the rows they repeat."""
    first: dict[int, int] = {}
    copies, originals = [], []
    for row, document in enumerate(documents):
        seen = first.setdefault(hash(document.tobytes()), row)
        if seen != row and np.array_equal(documents[seen], document):
            copies.append(row)
            originals.append(seen)
    return np.array(copies, dtype=np.intp), np.array(originals, dtype=np.intp)


def _by_pytrec_eval(ranked: Sequence[Rows], relevant: Sequence[Mapping[int, int]]) -> npt.NDArray[np.float64]:
    """nDCG, recall and reciprocal rank of each query's first ten documents, float64 `[q, 3]`."""
    import pytrec_eval

    qrels = {str(q): {str(row): grade for row, grade in found.items()} for q, found in enumerate(relevant)}
    # Ranks instead of scores: pytrec_eval breaks ties by the documents' ids.
    run = {str(q): {str(row): float(-rank) for rank, row in enumerate(rows.tolist())} for q, rows in enumerate(ranked)}
    scored = pytrec_eval.RelevanceEvaluator(qrels, {f"ndcg_cut.{CUT}", f"recall.{CUT}", "recip_rank"}).evaluate(run)
    names = (f"ndcg_cut_{CUT}", f"recall_{CUT}", "recip_rank")
    return np.array([[scored[str(q)][name] for name in names] for q in range(len(ranked))]).reshape(-1, 3)


def _in_expectation(scores: Matrix, ranked: Rows, relevant: Mapping[int, int]) -> tuple[float, float, float]:
    """Expected nDCG, recall and reciprocal rank of one query over all orders of equal scores.

    Args:
        scores: Scores of all documents, float32 `[m]`.
        ranked: The query's first ten documents, in any order of equal scores.
        relevant: Row of each relevant document and its grade, above 0; rows below 0 are not among the documents.
    """
    discounts = 1 / np.log2(np.arange(CUT) + 2)
    gain, found, reciprocal = 0.0, 0.0, 0.0
    none_yet = 1.0  # probability that no relevant document came before
    before = 0
    for score in dict.fromkeys(scores[ranked].tolist()):
        grades = [grade for row, grade in relevant.items() if row >= 0 and scores[row] == score]
        size = int(np.count_nonzero(scores == score))
        places = min(size, CUT - before)
        gain += sum(grades) / size * float(discounts[before : before + places].sum())
        found += len(grades) * places / size
        for place in range(places):
            here = min(1.0, len(grades) / (size - place))
            reciprocal += none_yet * here / (before + place + 1)
            none_yet *= 1 - here
        before += places
    best = sorted(relevant.values(), reverse=True)[:CUT]
    return gain / float(np.dot(best, discounts[: len(best)])), found / len(relevant), reciprocal
