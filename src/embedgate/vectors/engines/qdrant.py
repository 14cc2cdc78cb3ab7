"""Qdrant: beyond one machine, through its own client.

Without a server, the client's embedded mode stands in: it keeps float32 vectors and compares a query with each,
whatever a collection's configuration says, so no more than exact float32 search is offered of it. Where the
environment's `EMBEDGATE_QDRANT_URL` names a server, it is asked for float32, float16 and uint8 vectors, exact and by
HNSW; and `Quantized` has it make codes of its own. **What only a server does is not verified**: it is written from
Qdrant's documentation, and tested no further than that the client takes the requests.

A collection has a name of its own, and is deleted by `close`.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from embedgate.core.errors import BuildError, GateError, Unavailable, one_line
from embedgate.metrics import Matrix
from embedgate.vectors.codes import Codes
from embedgate.vectors.engines.base import (
    CONNECTIVITY,
    EXPANSION_ADD,
    Ids,
    accepting,
    chunks,
    expansion_search,
    require_offered,
)
from embedgate.vectors.storage import EmbeddingPrecision, Kind

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

NAME = "qdrant"
URL = "EMBEDGATE_QDRANT_URL"
EMBEDDED: tuple[EmbeddingPrecision, ...] = ("float32",)
SERVED: tuple[EmbeddingPrecision, ...] = ("float32", "float16", "uint8")
# Documents of the embedded mode: beyond so many, the client itself advises against it.
MOST_EMBEDDED = 20_000
# Vectors per upload and queries per request: requests of about a megabyte.
BATCH = 256
# Seconds an answer may take, and a graph to be built after the last upload.
PATIENCE = 60
BUILDING = 3600


def unavailable(documents: int = 0) -> str | None:
    """Why Qdrant cannot run here; None where it can.

    There is no client, no answer from the server that is named, or there are too many documents for the embedded mode,
    which copies all it has with every batch.
    """
    try:
        import qdrant_client  # noqa: F401
    except ImportError as error:
        return f"qdrant-client cannot be imported ({one_line(error)}): install embedgate[qdrant]"
    if documents > MOST_EMBEDDED and not os.environ.get(URL):
        return f"Qdrant's embedded mode takes {MOST_EMBEDDED:,} documents, not {documents:,}: name a server in {URL}"
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


def offers() -> Mapping[Kind, tuple[EmbeddingPrecision, ...]]:
    """Embedding precisions by kind of index: of the server where one is named, else of the embedded mode."""
    return {"exact": SERVED, "hnsw": SERVED} if os.environ.get(URL) else {"exact": EMBEDDED}


def build(codes: Codes, kind: Kind, threads: int) -> QdrantIndex:
    """An index of documents, in a collection of its own.

    Args:
        codes: The documents; uploaded in batches.
        kind: `exact`, or with a server `hnsw`.
        threads: Threads that build a graph; the embedded mode takes those that numpy has, and a server its own.

    Raises:
        BuildError: If it is not offered.
        Unavailable: If the server gives no answer.
        GateError: If the server refuses.
    """
    require_offered(NAME, offers(), codes, kind)
    return QdrantIndex(codes, kind, threads)


class _Collection:
    """A collection with the inner product as its score, deleted when closed or when it cannot be filled.

    Args:
        dim: Number of dimensions.
        served: What only a server heeds, as `create_collection` takes it.
        datatype: What the server keeps elements in.
        client: Of which server; by default the one that the environment names, or the embedded mode.
    """

    def __init__(
        self, dim: int, served: Mapping[str, Any], datatype: str = "float32", client: QdrantClient | None = None
    ) -> None:
        from qdrant_client import models

        self.name = f"embedgate-{uuid.uuid4().hex}"
        self.client = client or _client()
        self.served = bool(os.environ.get(URL)) or client is not None
        try:
            with _told():
                self.client.create_collection(
                    self.name,
                    vectors_config=models.VectorParams(
                        size=dim, distance=models.Distance.DOT, datatype=models.Datatype(datatype)
                    ),
                    **(served if self.served else {}),
                )
        except BaseException:
            self.close()
            raise

    def fill(self, parts: Iterator[Matrix], graph: bool) -> None:
        """Uploads vectors, their rows as ids, and waits until a graph holds them."""
        first = 0
        try:
            with _told():
                for part in parts:
                    self.client.upload_collection(
                        self.name, part, ids=range(first, first + len(part)), batch_size=BATCH, wait=True
                    )
                    first += len(part)
                if graph:
                    self._wait(first)
        except BaseException:
            self.close()
            raise

    def _wait(self, vectors: int) -> None:
        """Waits until the server has built the graph, which it does beside answering."""
        from qdrant_client import models

        deadline = time.monotonic() + BUILDING
        while time.monotonic() < deadline:
            found = self.client.get_collection(self.name)
            if found.status == models.CollectionStatus.GREEN and (found.indexed_vectors_count or 0) >= vectors:
                return
            time.sleep(0.2)
        raise BuildError(f"Qdrant did not build a graph of {vectors} vectors within {BUILDING} seconds")

    def search(self, queries: npt.NDArray[Any], k: int, params: Any) -> tuple[Matrix, Ids]:
        """The documents with the greatest scores; as `Index.search`."""
        from qdrant_client import models

        scores = np.full((len(queries), k), -np.inf, np.float32)
        ids = np.full((len(queries), k), -1, np.int64)
        for start in range(0, len(queries), BATCH):
            requests = [
                # The embedded mode warns of parameters, which it does not heed.
                models.QueryRequest(query=query, limit=k, params=params if self.served else None)
                for query in queries[start : start + BATCH].astype(np.float32).tolist()
            ]
            with _told():
                answers = self.client.query_batch_points(self.name, requests)
            for row, answer in enumerate(answers, start):
                found = len(answer.points)
                ids[row, :found] = [point.id for point in answer.points]
                scores[row, :found] = [point.score for point in answer.points]
        return scores, ids

    def close(self) -> None:
        """Deletes the collection; a server that no longer answers keeps it, which is no reason to fail."""
        try:
            self.client.delete_collection(self.name)
        except Exception as error:
            if not _is_of_client(error):
                raise
        finally:
            self.client.close()


class QdrantIndex:
    """An index in a collection of its own.

    Args:
        codes: The documents.
        kind: The kind of index.
        threads: Threads that build a graph.
    """

    float_queries = False

    def __init__(self, codes: Codes, kind: Kind, threads: int) -> None:
        from qdrant_client import models

        self._accept = accepting(codes)
        # Without a threshold of their own, small collections would have no graph, or not use it.
        served = {
            "hnsw_config": models.HnswConfigDiff(
                m=CONNECTIVITY if kind == "hnsw" else 0,
                ef_construct=EXPANSION_ADD,
                full_scan_threshold=10,
                max_indexing_threads=threads,
            ),
            "optimizers_config": models.OptimizersConfigDiff(indexing_threshold=1),
        }
        self._params = models.SearchParams(exact=kind == "exact", hnsw_ef=expansion_search(len(codes)))
        self._collection = _Collection(codes.dim, served, codes.precision)
        self._collection.fill((chunk.astype(np.float32, copy=False) for chunk in chunks(codes)), kind == "hnsw")
        # A collection does not tell its bytes: these are the vectors alone.
        self.size = len(codes) * codes.bytes_per_vector

    def search(self, queries: npt.NDArray[Any], k: int) -> tuple[Matrix, Ids]:
        """See `Index.search`."""
        self._accept(queries, k)
        return self._collection.search(queries, k, self._params)

    def close(self) -> None:
        """Deletes the collection."""
        self._collection.close()


class Quantized:
    """Float vectors that a server quantizes by itself: its codes are its own, and so they are no `Codes`.

    Scalar quantization takes one range for all dimensions, and rescoring reads the float vectors, which the server
    keeps beside the codes; both differ from Sentence Transformers'. The embedded mode would ignore all of it. Not
    verified against a server.

    Args:
        vectors: Normalised vectors, float32 `[n, dim]`.
        precision: Scalar (`int8`) or binary quantization.
        threads: Threads that build the graph.
        client: Of which server; by default the one that the environment names.

    Raises:
        Unavailable: If no server is named, or it gives no answer.
        GateError: If the server refuses.
    """

    def __init__(
        self,
        vectors: Matrix,
        precision: Literal["int8", "binary"],
        threads: int = 1,
        client: QdrantClient | None = None,
    ) -> None:
        from qdrant_client import models

        if client is None and not os.environ.get(URL):
            raise Unavailable("only a Qdrant server quantizes", f"set {URL} to one's address")
        quantization: Any = (
            models.ScalarQuantization(
                scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
            )
            if precision == "int8"
            else models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True))
        )
        served = {
            "hnsw_config": models.HnswConfigDiff(
                m=CONNECTIVITY, ef_construct=EXPANSION_ADD, full_scan_threshold=10, max_indexing_threads=threads
            ),
            "optimizers_config": models.OptimizersConfigDiff(indexing_threshold=1),
            "quantization_config": quantization,
        }
        self._collection = _Collection(vectors.shape[1], served, client=client)
        documents = Codes("float32", vectors, vectors.shape[1])
        self._expansion = expansion_search(len(documents))
        self._collection.fill(chunks(documents), graph=True)

    def search(self, queries: Matrix, k: int, rescore: int = 0) -> tuple[Matrix, Ids]:
        """The documents with the greatest scores, float32 `[q, k]`, and their rows, int64 `[q, k]`.

        Args:
            queries: Normalised queries, float32 `[q, dim]`.
            k: How many.
            rescore: How many candidates per result the server ranks again by their float vectors; 0 for none.
        """
        from qdrant_client import models

        quantization = models.QuantizationSearchParams(
            rescore=rescore > 0, oversampling=float(rescore) if rescore else None
        )
        return self._collection.search(
            queries, k, models.SearchParams(hnsw_ef=self._expansion, quantization=quantization)
        )

    def close(self) -> None:
        """Deletes the collection."""
        self._collection.close()


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
