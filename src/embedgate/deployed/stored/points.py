"""Points of Qdrant's embedded mode, which keeps each as a pickle: nothing in one is called but what points are made of.

qdrant-client gives every row of `storage.sqlite` to `pickle.loads`, which runs whatever a pickle asks for.
"""

from __future__ import annotations

import importlib
import io
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from types import SimpleNamespace
from typing import Any

# Where the classes are that a point is made of: Qdrant's own, and values of a payload.
MODULES = ("qdrant_client.http.models.models", "datetime", "uuid")
_one_at_a_time = Lock()


class RefusedPickle(Exception):
    """A pickle that asks for something else than what points are made of."""


class _Points(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """The class of a name, of those alone that are defined in one of `MODULES`."""
        if module in MODULES and "." not in name:
            found = super().find_class(module, name)
            if isinstance(found, type) and found.__module__ == module:
                return found
        raise RefusedPickle(f"a point is a pickle that asks for {module}.{name}, which could run code")


def loads(data: bytes) -> Any:
    """A point out of a pickle.

    Raises:
        RefusedPickle: If it asks for something else; nothing of it has run then.
    """
    return _Points(io.BytesIO(data)).load()


@contextmanager
def guarded() -> Iterator[None]:
    """Has qdrant-client read points by `loads` while it opens a folder."""
    persistence: Any = importlib.import_module("qdrant_client.local.persistence")
    with _one_at_a_time:
        usual = persistence.pickle
        persistence.pickle = SimpleNamespace(loads=loads, dumps=pickle.dumps)
        try:
            yield
        finally:
            persistence.pickle = usual
