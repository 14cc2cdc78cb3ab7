"""A file that the library of one of embedgate's own backends runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from embedgate.core.combination import Combination
from embedgate.core.model import Model
from embedgate.deployed import files
from embedgate.encoders.registry import backend_named
from embedgate.encoders.sources import Source


class BackendFile(Source):
    """Runs a file by a backend's library; a kind of file says how in `build`.

    Args:
        parts: The file, and those that lie beside it.
        combination: What it is called.
        origin: The path as a person reads it.
        output: The output to use; None to choose it.

    Attributes:
        backend: The name of the backend.
    """

    backend: str

    def __init__(self, parts: Sequence[Path], combination: Combination, origin: str, output: str | None) -> None:
        super().__init__(combination)
        self.origin = origin
        self._parts = parts
        self._output = output

    @cached_property
    def identity(self) -> Mapping[str, str]:
        """The hash of the file and of those beside it; see `Source.identity`."""
        return {"sha256": files.sha256_of_all(self._parts)}

    def unavailable(self) -> str | None:
        """Why the library cannot run it here; see `Source.unavailable`."""
        return backend_named(self.backend).unavailable(self.combination)

    def unfit(self, model: Model) -> str | None:
        """Why it cannot be this model's; see `Source.unfit`."""
        return files.unfit(model)

    def tokenizes_as(self, model: Model) -> Model | None:
        """The model that it was made of; see `Source.tokenizes_as`."""
        return model

    def prepare(self) -> None:
        """Imports the library; see `Source.prepare`."""
        backend_named(self.backend).module(self.combination.device)
