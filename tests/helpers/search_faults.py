"""Engines of a host project's: a sound one, and those with a fault that people really make; and data to search in."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np

from embedgate.data import load_bundled
from embedgate.vectors.codes import Ranges, decode, quantize


def shortened(text: str) -> str:
    """Its first words, which are as different from another's as all of it, and encoded in a fourth of the time."""
    return " ".join(text.split()[:16])


def few_passages(folder: Path) -> Path:
    """A few of the bundled passages: 120 queries among 400 documents, which grow to 3,200."""
    passages = load_bundled("passages")
    (folder / "qrels").mkdir(parents=True)
    queries = [query for query, relevant in enumerate(passages.relevance) if max(relevant) < 400][:120]
    assert len(queries) == 120
    rows = {
        "corpus.jsonl": [
            {"_id": f"d{row}", "title": "", "text": shortened(passages.documents[row])} for row in range(400)
        ],
        "queries.jsonl": [{"_id": f"q{row}", "text": passages.queries[row]} for row in queries],
    }
    for name, records in rows.items():
        (folder / name).write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    lines = [f"q{q}\td{d}\t{grade}\n" for q in queries for d, grade in passages.relevance[q].items()]
    (folder / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines), "utf-8")
    return folder


class Exact:
    """Sound: exact search by cosine."""

    def __init__(self, documents: np.ndarray) -> None:
        self.documents = self.normalised(documents)

    @staticmethod
    def normalised(vectors: np.ndarray) -> np.ndarray:
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def scores(self, queries: np.ndarray) -> np.ndarray:
        return self.normalised(queries) @ self.documents.T

    def search(self, queries: np.ndarray, k: int) -> np.ndarray:
        return np.argsort(-self.scores(queries), axis=1, kind="stable")[:, :k]


class Shuffled(Exact):
    """Documents are stored in another order than their ids say."""

    def __init__(self, documents: np.ndarray) -> None:
        super().__init__(documents[np.random.default_rng(0).permutation(len(documents))])


class OneOff(Exact):
    """Ids count from one, as in many databases."""

    def search(self, queries: np.ndarray, k: int) -> np.ndarray:
        return np.minimum(super().search(queries, k) + 1, len(self.documents) - 1)


class Distance(Exact):
    """L2 distance of vectors as they come."""

    def __init__(self, documents: np.ndarray) -> None:
        self.documents = documents

    def scores(self, queries: np.ndarray) -> np.ndarray:
        return 2 * queries @ self.documents.T - (self.documents**2).sum(axis=1)


class Bits(Exact):
    """Bits, of which documents' are packed in another order than queries'."""

    documents_order = "little"

    def __init__(self, documents: np.ndarray) -> None:
        super().__init__(documents)
        self.bits = np.packbits(self.documents > 0, axis=1, bitorder=self.documents_order)

    def scores(self, queries: np.ndarray) -> np.ndarray:
        asked = np.unpackbits(np.packbits(queries > 0, axis=1), axis=1).astype(np.float32)
        stored = np.unpackbits(self.bits, axis=1).astype(np.float32)
        return (2 * asked - 1) @ (2 * stored - 1).T


class BitsSound(Bits):
    """Bits packed in one order."""

    documents_order = "big"


class BitsFirst(BitsSound):
    """Bits, and eight times as many candidates ranked again by float32 vectors, as it should be."""

    def search(self, queries: np.ndarray, k: int) -> np.ndarray:
        ids = super().search(queries, 80)
        scores = np.einsum("qd,qkd->qk", queries, self.documents[ids])
        return np.take_along_axis(ids, np.argsort(-scores, axis=1, kind="stable")[:, :k], axis=1)


class Rescored(Exact):
    """int8 codes, rescored as it should be."""

    candidates = 40

    def __init__(self, documents: np.ndarray) -> None:
        super().__init__(documents)
        self.ranges = Ranges.of(self.documents)
        self.codes = quantize(self.documents, "int8", self.ranges)

    def scores(self, queries: np.ndarray) -> np.ndarray:
        return quantize(queries, "int8", self.ranges).astype(np.float32) @ self.codes.T.astype(np.float32)

    def again(self, queries: np.ndarray, ids: np.ndarray) -> np.ndarray:
        return np.einsum("qd,qkd->qk", queries, decode(self.codes[ids], "int8", queries.shape[1], self.ranges))

    def search(self, queries: np.ndarray, k: int) -> np.ndarray:
        ids = super().search(queries, self.candidates)
        return np.take_along_axis(ids, np.argsort(-self.again(queries, ids), axis=1, kind="stable")[:, :k], axis=1)


class RescoredByPlace(Rescored):
    """Rescoring that ignores the stored order: it reads the vectors at the candidates' places."""

    def again(self, queries: np.ndarray, ids: np.ndarray) -> np.ndarray:
        return super().again(queries, np.broadcast_to(np.arange(ids.shape[1]), ids.shape))


class Places(Rescored):
    """Rescoring that returns places among the candidates."""

    def search(self, queries: np.ndarray, k: int) -> np.ndarray:
        ids = Exact.search(self, queries, self.candidates)
        return np.argsort(-self.again(queries, ids), axis=1, kind="stable")[:, :k]


class WorstFirst(Rescored):
    """Rescoring that takes inner products for distances."""

    def again(self, queries: np.ndarray, ids: np.ndarray) -> np.ndarray:
        return -super().again(queries, ids)


class Twice(Exact):
    """Returns the nearest twice."""

    def search(self, queries: np.ndarray, k: int) -> np.ndarray:
        ids = super().search(queries, k)
        ids[:, 1] = ids[:, 0]
        return ids


class Missing(Exact):
    """Pads with -1, as faiss does where it finds fewer."""

    def search(self, queries: np.ndarray, k: int) -> np.ndarray:
        ids = super().search(queries, k)
        ids[:, -1] = -1
        return ids


class Spoils(Exact):
    """Changes the vectors it is given, as faiss.normalize_L2 does."""

    def __init__(self, documents: np.ndarray) -> None:
        documents *= -1
        super().__init__(documents)

    def search(self, queries: np.ndarray, k: int) -> np.ndarray:
        queries *= -1
        return super().search(queries, k)


class Exits(Exact):
    """Changes the working directory as it is built, and ends the process as it is asked."""

    def __init__(self, documents: np.ndarray) -> None:
        os.chdir("/")
        super().__init__(documents)

    def search(self, queries: np.ndarray, k: int) -> np.ndarray:
        sys.exit(4)


class Furthest(Exact):
    """The forty nearest, worst first."""

    def search(self, queries: np.ndarray, k: int) -> np.ndarray:
        return super().search(queries, 40)[:, ::-1][:, :k]


class Opposite(Exact):
    """The least similar of all, as where inner products are taken for distances."""

    def scores(self, queries: np.ndarray) -> np.ndarray:
        return -super().scores(queries)


class HalfShuffled(Exact):
    """Every second document is stored under the id of another."""

    def __init__(self, documents: np.ndarray) -> None:
        rows = np.arange(len(documents))
        rows[::2] = np.random.default_rng(0).permutation(rows[::2])
        super().__init__(documents[rows])


class DistanceOfUnitQueries(Distance):
    """L2 distance of documents as they come and normalised queries."""

    def scores(self, queries: np.ndarray) -> np.ndarray:
        return super().scores(self.normalised(queries))
