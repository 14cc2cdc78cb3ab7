"""Engines: the libraries that search stored vectors in production, behind one interface.

A module per engine in this package: its facts are an `Engine` named `ENGINE` at its top, and its functions import the
library when they are called. A module that has an `ENGINE` is an engine, and there is no other list of them.

Graphs of all engines have the same parameters, so that what they find differs by the codes and not by the defaults.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from embedgate.core.errors import BuildError, GateError, one_line
from embedgate.core.host_code import HostCode
from embedgate.metrics import Matrix
from embedgate.vectors.codes import BITS, Codes, unsigned
from embedgate.vectors.storage import EMBEDDING_PRECISIONS, EmbeddingPrecision, Kind

Ids = npt.NDArray[np.int64]

# Links per document and layer of a graph, as in Sentence Transformers' `semantic_search_faiss`; twice that in the
# lowest.
CONNECTIVITY = 16
# How many nearest documents a graph looks at when one is added, and in a search: usearch's defaults. Those of faiss, 40
# and 16, find visibly less, and losses of the graph would hide those of the codes.
EXPANSION_ADD = 128
EXPANSION_SEARCH = 64
# Beyond 65,536 documents, a quarter of the square root of their number: with 64 of a million, a graph of int8 codes
# finds 82% (docs/engines.md).
PER_ROOT = 0.25
_NAME = re.compile(r"\w[\w-]*")
# Documents that are converted at a time, so that memory stays bounded whatever their number.
CHUNK = 16_384


class Index(Protocol):
    """Documents that an engine searches.

    Attributes:
        size: Bytes that it takes in memory: codes and, of a graph, its links.
        float_queries: Whether it takes float32 queries of 8-bit documents.
    """

    size: int
    float_queries: bool

    def search(self, queries: npt.NDArray[Any], k: int) -> tuple[Matrix, Ids]:
        """The documents with the greatest scores.

        Args:
            queries: Queries as documents are stored (`embedgate.vectors.codes.quantize`), `[q, width]`; where the index
                takes them, float32 ones of 8-bit documents, multiplied by what a step is worth.
            k: How many; no more than there are documents.

        Returns:
            Scores, float32 `[q, k]`, best first, higher being better: inner products of codes, or of bits the Hamming
            distance negated; and rows of the documents, int64 `[q, k]`. Where a graph finds fewer, the rest has the row
            -1 and the score -inf.

        Raises:
            ValueError: If there are fewer than `k` documents, or queries are none or of another type or width.
        """

    def close(self) -> None:
        """Gives its memory back."""


class HostIndex(Protocol):
    """The index that the factory of a host project's engine makes.

    Where it has a `close()`, that is called once the index is judged; `Index` must have one.
    """

    def search(self, queries: Matrix, k: int, /) -> Any:
        """The rows of the `k` nearest documents of each query, `[q, k]`, best first; or `(scores, rows)`.

        Args:
            queries: Queries as the encoder gave them, float32 `[q, dim]`.
            k: How many.
        """


# (documents, float32 `[n, dim]` as the encoder gave them) -> an index of them.
EngineFactory = Callable[[Matrix], HostIndex]


@dataclass(frozen=True)
class Engine:
    """The facts of an engine, true whatever is installed.

    Attributes:
        name: Its name in options and reports, which is that of its module.
        distributions: The packages that it comes in, as pip names them; reports and baselines name their versions.
        extra: The extra of this distribution that installs them.
        offers: Embedding precisions that it stores as they are, by kind of index.
        usual: Whether its indexes are judged where nothing else is asked for; those of a service's client are not.
    """

    name: str
    distributions: tuple[str, ...]
    extra: str
    offers: Mapping[Kind, tuple[EmbeddingPrecision, ...]]
    usual: bool = True

    def not_importable(self, library: str) -> str | None:
        """Why a library that it needs cannot be imported, in one line; None where it can."""
        try:
            import_module(library)
        except ImportError as error:
            return (
                f"{library.partition('.')[0]} cannot be imported ({one_line(error)}): install embedgate[{self.extra}]"
            )
        return None

    def require_offered(self, codes: Codes, kind: Kind) -> None:
        """Checks that it offers what is asked of it.

        Raises:
            BuildError: If it does not.
        """
        if codes.precision not in self.offers.get(kind, ()):
            raise BuildError(f"{self.name} has no {kind} index of {codes.precision} vectors")


class EngineModule(Protocol):
    """The interface of an engine's module. Its top imports no library: it is imported wherever engines are listed."""

    ENGINE: Engine

    def unavailable(
        self, documents: int = 0, kind: Kind = "exact", precision: EmbeddingPrecision = "float32"
    ) -> str | None:
        """Why an index cannot be had here, in one line; None where it can.

        Args:
            documents: How many documents it is to hold.
            kind: The kind of index, of those that are offered.
            precision: The embedding precision of the documents, of those that are offered.
        """

    def build(self, codes: Codes, kind: Kind, threads: int) -> Index:
        """An index of documents.

        Args:
            codes: The documents; their matrix may be memory-mapped, and must stay as it is while the index is in use,
                which may search it in place.
            kind: The kind of index.
            threads: Threads that build it and search it.

        Raises:
            BuildError: If the engine does not offer it.
        """


@cache
def engines() -> Mapping[str, EngineModule]:
    """The modules of embedgate's own engines by the engine's name, the usual ones first."""
    found = (import_module(f"{__package__}.{info.name}") for info in iter_modules([str(Path(__file__).parent)]))
    modules: list[EngineModule] = [module for module in found if hasattr(module, "ENGINE")]
    return {module.ENGINE.name: module for module in sorted(modules, key=lambda module: not module.ENGINE.usual)}


def distributions() -> tuple[str, ...]:
    """The packages that embedgate's own engines come in, installed or not, as pip names them."""
    return tuple(name for module in engines().values() for name in module.ENGINE.distributions)


@dataclass(frozen=True)
class EngineCase:
    """One index of one engine, to be judged.

    Attributes:
        engine: Name of the engine.
        kind: The kind of index; empty for an engine that a host project adds, which has what it has.
        precision: The embedding precision of its documents; float32 for an engine that a host project adds, which is
            given float32 vectors.
    """

    engine: str
    kind: Kind | Literal[""] = ""
    precision: EmbeddingPrecision = "float32"

    @property
    def id(self) -> str:
        """Its name in options and reports, for example `faiss-hnsw-int8`."""
        return f"{self.engine}-{self.kind}-{self.precision}" if self.kind else self.engine

    def __str__(self) -> str:
        return self.id


@dataclass
class EngineRegistry:
    """The engines of a session: embedgate's own, and those a host project adds in `pytest_gate_engines(registry)`."""

    _factories: dict[str, EngineFactory] = field(default_factory=dict)
    _code: dict[str, HostCode] = field(default_factory=dict)

    def add(self, name: str, factory: EngineFactory) -> None:
        """Adds an engine of a host project's.

        Args:
            name: Its name, for example `acme`: letters, digits, `_` and `-`.
            factory: `documents -> index`: of float32 vectors `[n, dim]`, as the encoder gave them, it makes a
                `HostIndex`: anything with `search(queries, k)`.

        Raises:
            GateError: If the name is malformed or taken.
        """
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise GateError(f"{name!r} cannot name an engine", "use letters, digits, '_' and '-'")
        if not callable(factory):
            raise GateError(f"the factory of engine {name!r} is no function: {factory!r}", "give documents -> index")
        if name in self._factories or name.partition("-")[0] in engines():
            raise GateError(f"an engine is named {name!r} already", "give the added engine another name")
        if name == "default" or name.split("-")[0] in EMBEDDING_PRECISIONS:
            # Its floor would be that of the storage, which `tolerances.toml` names as it names engines.
            raise GateError(f"{name!r} names a storage, and cannot name an engine", "give it another name")
        self._factories[name] = factory
        self._code[name] = HostCode(f"engine {name}")

    def code_of(self, name: str) -> HostCode:
        """Calls what a host project has written for an engine that it adds."""
        return self._code[name]

    @property
    def changes(self) -> list[str]:
        """What engines of a host project have changed of this process, and embedgate put back, a line each."""
        return [line for code in self._code.values() for line in code.changes]

    @property
    def added(self) -> Mapping[str, EngineFactory]:
        """Factories of the engines that a host project adds, by name."""
        return self._factories

    def unavailable(self, case: EngineCase, documents: int) -> str | None:
        """Why an index of so many documents cannot be had here, in one line; None where it can, as a host project's."""
        return engines()[case.engine].unavailable(documents, case.kind, case.precision) if case.kind else None

    def known_cases(self) -> tuple[EngineCase, ...]:
        """Every index that there can be, whatever is installed: of embedgate's own engines, and one per added one."""
        own = (module.ENGINE for module in engines().values())
        cases = (EngineCase(e.name, kind, p) for e in own for kind, precisions in e.offers.items() for p in precisions)
        return (*cases, *map(EngineCase, self._factories))

    def select(self, globs: Sequence[str]) -> tuple[EngineCase, ...]:
        """Returns the cases to judge: those that match any of the globs; without globs, the usual ones and all added.

        Raises:
            GateError: If a glob matches nothing.
        """
        known = self.known_cases()
        if not globs:
            return tuple(case for case in known if not case.kind or engines()[case.engine].ENGINE.usual)
        for glob in globs:
            if not any(fnmatchcase(case.id, glob) for case in known):
                raise GateError(f"no engine matches {glob!r}", f"choose from {', '.join(map(str, known))}")
        return tuple(case for case in known if any(fnmatchcase(case.id, glob) for glob in globs))


def expansion_search(documents: int) -> int:
    """How many of so many documents a graph looks at in a search, `ef` of Malkov and Yashunin's HNSW (TPAMI 2020)."""
    return max(EXPANSION_SEARCH, round(PER_ROOT * math.sqrt(documents)))


def chunks(codes: Codes) -> Iterator[npt.NDArray[Any]]:
    """Documents in chunks, `[up to CHUNK, width]`; those of bits as uint8, which is how engines read them."""
    for start in range(0, len(codes), CHUNK):
        chunk = np.ascontiguousarray(codes.matrix[start : start + CHUNK])
        yield unsigned(chunk, codes.precision) if codes.precision in BITS else chunk


def accepting(codes: Codes, float_queries: bool = False) -> Callable[[npt.NDArray[Any], int], None]:
    """A check of what `Index.search` is given. A search may take no longer than 30 microseconds, so it is quick.

    Args:
        codes: The documents.
        float_queries: Whether float32 queries of 8-bit documents are taken.

    Returns:
        `(queries, k) -> None`, which raises ValueError if there are fewer than `k` documents, or queries are none or of
        another type or width.
    """
    precision, (count, width) = codes.precision, codes.matrix.shape
    dtypes = (codes.matrix.dtype, *([np.dtype(np.float32)] if float_queries else []))

    def accept(queries: npt.NDArray[Any], k: int) -> None:
        if queries.dtype not in dtypes:
            raise ValueError(f"{queries.dtype} queries do not fit documents stored as {precision}")
        if queries.ndim != 2 or queries.shape[1] != width:
            raise ValueError(f"queries of shape {queries.shape} do not fit documents of width {width}")
        if not 0 < k <= count:
            raise ValueError(f"{k} results were asked for among {count} documents")
        if not len(queries):
            raise ValueError("no query was given")

    return accept
