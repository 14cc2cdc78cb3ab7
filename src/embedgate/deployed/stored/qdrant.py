"""Stored vectors in a collection of Qdrant: an embedded folder, or a server.

What only a server does is not verified: it is asked by the same calls as an embedded folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from embedgate.core.errors import DataError, one_line
from embedgate.core.roles import DOCUMENT, Input
from embedgate.core.secrets import without_secrets
from embedgate.core.spec import COLLECTION, QDRANT
from embedgate.data import cells
from embedgate.data.rows import Table, shown
from embedgate.deployed.stored.points import RefusedPickle, guarded
from embedgate.deployed.stored.rows import TEXTS, Layout, Reader, Rows, role_of, vectors_of
from embedgate.deployed.stored.tables import Asked, column

FORM = f"write {QDRANT}FOLDER{COLLECTION}COLLECTION"
# Points per request.
BATCH = 1024
PATIENCE = 60


class QdrantRows(Reader):
    """Reads a collection; points are in the order of their ids.

    Args:
        where: `qdrant:FOLDER#COLLECTION`, or a server's URL in the folder's place.
        asked: What a person says about it: the payload's key of the text, and the name of the vector.

    Raises:
        DataError: If it has another form.
    """

    def __init__(self, where: str, asked: Asked) -> None:
        self._place, _, self._collection = where.removeprefix(QDRANT).rpartition(COLLECTION)
        if not self._place or not self._collection:
            raise DataError(f"{where} names no collection", FORM)
        if without_secrets(where) != where:
            raise DataError(f"{where} was given with a login or a query, which reports show", "leave it out")
        self.origin = where
        self._asked = asked
        self._vector: str | None = asked.vector or None

    @cached_property
    def _ids(self) -> list[Any]:
        """The ids of all points."""
        found: list[Any] = []
        after: Any = None
        with self._client() as client:
            while True:
                points, after = client.scroll(
                    self._collection, limit=BATCH, offset=after, with_payload=False, with_vectors=False
                )
                found += [point.id for point in points]
                if after is None:
                    return found

    @cached_property
    def _layout(self) -> Layout:
        with self._client() as client:
            params = client.get_collection(self._collection).config.params.vectors
        if isinstance(params, dict):
            if self._vector is None and len(params) == 1:
                (self._vector,) = params
            if self._vector not in params:
                has = f"no vector {self._vector!r}" if self._vector else "several vectors per point"
                raise DataError(f"{self.origin} has {has}: {shown(params)}", "name one of them: vector=NAME")
            params = params[self._vector]
        elif self._vector:
            raise DataError(f"{self.origin} has one vector, which has no name", f"leave out vector={self._vector}")
        if params is None or params.multivector_config is not None:
            raise DataError(f"{self.origin} has no single dense vector per point", "give a collection that has")
        if not self._ids:
            raise DataError(f"{self.origin}: holds no points", "give the collection that holds the vectors")
        return Layout(params.size, np.dtype(np.float32), len(self._ids))

    def layout(self) -> Layout:
        """What it holds, by its configuration and the ids of its points; see `Reader.layout`."""
        return self._layout

    @cached_property
    def _text(self) -> str:
        with self._client() as client:
            (point,) = client.retrieve(self._collection, self._ids[:1], with_payload=True)
        table = Table(self.origin, tuple(point.payload or ()), iter(()))
        found = column(table, self._asked.text, TEXTS)
        if found is None:
            cause = f"{self.origin}: the payload has no text; it has {shown(table.columns) or 'no keys'}"
            raise DataError(cause, "name the payload's key: text=KEY")
        return found

    def take(self, numbers: Sequence[int]) -> Rows:
        """Points by their places among all; see `Reader.take`."""
        layout, key = self.layout(), self._text
        wanted = [number for number in numbers if 0 <= number < len(self._ids)]
        ids = [self._ids[number] for number in wanted]
        points: dict[Any, Any] = {}
        with self._client() as client:
            for start in range(0, len(ids), BATCH):
                some = ids[start : start + BATCH]
                found = client.retrieve(self._collection, some, with_payload=True, with_vectors=True)
                points |= {point.id: point for point in found}
        inputs, values, places = [], [], []
        for id_ in ids:
            place = f"{self.origin} point {id_}"
            point = points[id_]
            vector = point.vector.get(self._vector) if isinstance(point.vector, dict) else point.vector
            inputs.append(self._input(point.payload or {}, key, place))
            values.append(vector)
            places.append(place)
        return Rows(
            np.array(wanted, dtype=np.int64), tuple(inputs), vectors_of(values, layout.width, layout.dtype, places)
        )

    def name(self, number: int) -> str:
        """What a point is called in a message."""
        return f"point {self._ids[number]}"

    def _input(self, payload: dict[str, Any], key: str, place: str) -> Input:
        try:
            text = cells.maybe_blank(payload.get(key))
        except ValueError as error:
            raise DataError(f"{place}: {key!r} {error}", "give each point its text") from error
        role = self._asked.role or payload.get("role", DOCUMENT)
        return Input(text, role_of(role, place))

    @contextmanager
    def _client(self) -> Iterator[Any]:
        """A client, closed again at once: an embedded folder is locked as long as one is open."""
        try:
            from qdrant_client import QdrantClient
        except ImportError as error:
            raise DataError(f"{self.origin}: Qdrant needs its client", "pip install 'embedgate[qdrant]'") from error
        self.library = f"qdrant-client {version('qdrant-client')}"
        folder = Path(self._place).expanduser()
        on_server = "://" in self._place
        # The client would make a folder that is missing.
        if not on_server and not (folder / "meta.json").is_file():
            raise DataError(f"{folder} is no folder of Qdrant's embedded mode", FORM)
        client: Any = None
        try:
            client = QdrantClient(url=self._place, timeout=PATIENCE) if on_server else _embedded(folder)
            names = [each.name for each in client.get_collections().collections]
            if self._collection not in names:
                cause = f"{self._place} has no collection {self._collection!r}; it has {shown(names) or 'none'}"
                raise DataError(cause, FORM)
            yield client
        except DataError:
            raise
        except RefusedPickle as error:
            raise DataError(f"{self._place} cannot be read: {error}", "write its points as Parquet or JSONL") from error
        except Exception as error:  # the client raises errors of many libraries
            locked = "already accessed" in str(error)
            cause = "another process has it open" if locked else one_line(error)
            step = "stop that process, or give a copy of the folder" if locked else "see whether it is Qdrant's"
            raise DataError(f"{self._place} cannot be read: {cause}", step) from error
        finally:
            if client is not None:
                client.close()


def _embedded(folder: Path) -> Any:
    """A client of a folder; it reads all points at once."""
    from qdrant_client import QdrantClient

    with guarded():
        return QdrantClient(path=str(folder))
