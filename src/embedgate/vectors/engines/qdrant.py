"""Qdrant: beyond one machine, through its own client.

Without a server, the client's embedded mode stands in: it keeps float32 vectors and compares a query with each,
whatever a collection's configuration says, so no more than exact float32 search is asked of it. Where the environment's
`EMBEDGATE_QDRANT_URL` names a server, it is asked for float32, float16 and uint8 vectors, exact and by HNSW. **What
only a server does is not verified**: it is written from Qdrant's documentation, and tested no further than that the
client takes the requests.

A collection has a name of its own, and is deleted by `close`.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from embedgate.core.errors import BuildError, GateError, Unavailable, one_line
from embedgate.metrics import Matrix
from embedgate.vectors.codes import Codes
from embedgate.vectors.engines.base import (
    CONNECTIVITY,
    EXPANSION_ADD,
    Engine,
    Ids,
    accepting,
    chunks,
    expansion_search,
)
from embedgate.vectors.storage import EmbeddingPrecision, Kind

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

SERVED: tuple[EmbeddingPrecision, ...] = ("float32", "float16", "uint8")
ENGINE = Engine("qdrant", ("qdrant-client",), "qdrant", offers={"exact": SERVED, "hnsw": SERVED}, usual=False)
URL = "EMBEDGATE_QDRANT_URL"
# Documents of the embedded mode: beyond so many, the client itself advises against it.
MOST_EMBEDDED = 20_000
# Vectors per upload and queries per request: requests of about a megabyte.
BATCH = 256
# Seconds an answer may take, and a graph to be built after the last upload.
PATIENCE = 60
BUILDING = 3600


def unavailable(documents: int = 0, kind: Kind = "exact", precision: EmbeddingPrecision = "float32") -> str | None:
    """Why Qdrant cannot run here; None where it can.

    There is no client, no answer from the server that is named, or without one it is an index that the embedded mode
    does not have: it searches float32 vectors exactly, and copies all it has with every batch.
    """
    if reason := ENGINE.not_importable("qdrant_client") or _needs_server(documents, kind, precision):
        return reason
    try:
        client = _client()
        try:
            with _told():
                client.get_collections()
        finally:
            client.close()
    except GateError as error:
        return str(error)
    return None


def build(codes: Codes, kind: Kind, threads: int) -> QdrantIndex:
    """An index of documents, in a collection of its own.

    Args:
        codes: The documents; uploaded in batches.
        kind: `exact` or `hnsw`.
        threads: Threads that build a graph; the embedded mode takes those that numpy has, and a server its own.

    Raises:
        BuildError: If it is not offered.
        Unavailable: If it takes a server, and none is named or the one that is gives no answer.
        GateError: If the server refuses.
    """
    ENGINE.require_offered(codes, kind)
    if reason := _needs_server(0, kind, codes.precision):
        raise Unavailable(reason)
    return QdrantIndex(codes, kind, threads)


def _needs_server(documents: int, kind: Kind, precision: EmbeddingPrecision) -> str | None:
    """Why the embedded mode will not do, in one line; None where it does, or a server is named."""
    if os.environ.get(URL):
        return None
    if (kind, precision) != ("exact", "float32"):
        return f"Qdrant's embedded mode has no {kind} index of {precision} vectors: name a server in {URL}"
    if documents > MOST_EMBEDDED:
        return f"Qdrant's embedded mode takes {MOST_EMBEDDED:,} documents, not {documents:,}: name a server in {URL}"
    return None


class QdrantIndex:
    """An index in a collection of its own, deleted when closed or when it cannot be filled.

    Args:
        codes: The documents.
        kind: The kind of index.
        threads: Threads that build a graph.
    """

    float_queries = False

    def __init__(self, codes: Codes, kind: Kind, threads: int) -> None:
        from qdrant_client import models

        self._accept = accepting(codes)
        self._params: Any = None
        served: dict[str, Any] = {}
        if os.environ.get(URL):  # the embedded mode warns of parameters, which it does not heed
            self._params = models.SearchParams(exact=kind == "exact", hnsw_ef=expansion_search(len(codes)))
            # Without a threshold of their own, small collections would have no graph, or not use it.
            served["hnsw_config"] = models.HnswConfigDiff(
                m=CONNECTIVITY if kind == "hnsw" else 0,
                ef_construct=EXPANSION_ADD,
                full_scan_threshold=10,
                max_indexing_threads=threads,
            )
            served["optimizers_config"] = models.OptimizersConfigDiff(indexing_threshold=1)
        vectors = models.VectorParams(
            size=codes.dim, distance=models.Distance.DOT, datatype=models.Datatype(codes.precision)
        )
        # A collection does not tell its bytes: these are the vectors alone.
        self.size = len(codes) * codes.bytes_per_vector
        self._name = f"embedgate-{uuid.uuid4().hex}"
        self._client = _client()
        try:
            with _told():
                self._client.create_collection(self._name, vectors_config=vectors, **served)
                self._fill(codes)
                if kind == "hnsw":
                    self._wait(len(codes))
        except BaseException:
            self.close()
            raise

    def _fill(self, codes: Codes) -> None:
        """Uploads vectors, their rows as ids."""
        first = 0
        for part in chunks(codes):
            ids = range(first, first + len(part))
            vectors = part.astype(np.float32, copy=False)
            self._client.upload_collection(self._name, vectors, ids=ids, batch_size=BATCH, wait=True)
            first += len(part)

    def _wait(self, vectors: int) -> None:
        """Waits until the server has built the graph, which it does beside answering."""
        from qdrant_client import models

        deadline = time.monotonic() + BUILDING
        while time.monotonic() < deadline:
            found = self._client.get_collection(self._name)
            if found.status == models.CollectionStatus.GREEN and (found.indexed_vectors_count or 0) >= vectors:
                return
            time.sleep(0.2)
        raise BuildError(f"Qdrant did not build a graph of {vectors} vectors within {BUILDING} seconds")

    def search(self, queries: npt.NDArray[Any], k: int) -> tuple[Matrix, Ids]:
        """See `Index.search`."""
        from qdrant_client import models

        self._accept(queries, k)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        ids = np.full((len(queries), k), -1, np.int64)
        for start in range(0, len(queries), BATCH):
            requests = [
                models.QueryRequest(query=query, limit=k, params=self._params)
                for query in queries[start : start + BATCH].astype(np.float32).tolist()
            ]
            with _told():
                answers = self._client.query_batch_points(self._name, requests)
            for row, answer in enumerate(answers, start):
                found = len(answer.points)
                ids[row, :found] = [point.id for point in answer.points]
                scores[row, :found] = [point.score for point in answer.points]
        return scores, ids

    def close(self) -> None:
        """Deletes the collection; a server that no longer answers keeps it, which is no reason to fail."""
        try:
            self._client.delete_collection(self._name)
        except Exception as error:
            if not _is_of_client(error):
                raise
        finally:
            self._client.close()


def _client() -> QdrantClient:
    from qdrant_client import QdrantClient

    if not (url := os.environ.get(URL)):
        return QdrantClient(":memory:")
    try:
        # The comparison of versions is a request of its own, and warns where there is no answer.
        return QdrantClient(url=url, timeout=PATIENCE, check_compatibility=False)
    except ValueError as error:
        raise _absent(url, error) from error


@contextmanager
def _told() -> Iterator[None]:
    """Tells errors of the client's and the server's in one line.

    Raises:
        Unavailable: If there is no such server, or no answer.
        GateError: If the server refuses.
    """
    from qdrant_client.http.exceptions import UnexpectedResponse

    url = os.environ.get(URL)
    try:
        yield
    except UnexpectedResponse as error:
        said = " ".join(str(error).split())
        raise GateError(f"Qdrant refused: {said}", f"see the server's log, or unset {URL}") from error
    except Exception as error:
        if url is None or not _is_of_client(error):
            raise
        raise _absent(url, error) from error


def _absent(url: str, error: Exception) -> Unavailable:
    return Unavailable(
        f"the Qdrant server at {url} gives no answer ({one_line(error)})", f"start it, or correct or unset {URL}"
    )


def _is_of_client(error: Exception) -> bool:
    from qdrant_client.http.exceptions import ApiException

    return isinstance(error, ApiException | OSError)
