"""Which combinations there are: those that the backends offer, and those that a host project adds.

Every folder of `embedgate.encoders` whose `__init__` says `BACKEND` is a backend, and no other place lists them. That
file holds the backend's facts and imports no library of weight. Beside it, `encoder.py` imports the backend's library,
once one of its combinations is asked for, and has two functions:

    def unavailable(combination: Combination) -> str | None:
        '''The reason, in one line, why this machine or installation cannot run the combination; None where it can.'''

    def build(model: Model, combination: Combination, context: BuildContext) -> Encoder:
        '''Builds the encoder.'''
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from embedgate import encoders
from embedgate.core.combination import Combination
from embedgate.core.errors import GateError, Unavailable
from embedgate.core.machine import this_machine
from embedgate.encoders import LEAST_STABILITY, Stability
from embedgate.encoders.sources import BackendSource, EncoderFactory, HostSource, Source


@dataclass(frozen=True)
class Offer:
    """One weight precision of a backend on one device.

    Attributes:
        weight_precision: Its word, the second of a combination's id.
        computes_in: The type that products with weights must compute in, as `Evidence.products` names it. `fp32`
            promises it of all products, every other weight precision of half of them.
        stability: How far a text's embedding may move while the text stays the same.
        least_capability: The first CUDA compute capability that can run it, for example `(8, 9)`.
        native: Instruction sets, as Linux names x86-64's and aarch64's, by any of which a CPU computes its products.
            Without them it goes by way of another type, at a fortieth to a quarter of float32's speed. Empty for what
            runs natively on every CPU that can run it.
    """

    weight_precision: str
    computes_in: str
    stability: Stability
    least_capability: tuple[int, int] = (0, 0)
    native: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Backend:
    """The facts of one backend.

    Attributes:
        name: The first word of its combinations' ids, and the name of its folder in `embedgate.encoders`.
        offers: What it offers per device, in the order of the report.
        distributions: Names on PyPI of what computes; their installed versions go into reports and baselines.
        extras: The extras of embedgate that install its library, per device; none where the core installs it.
        order: Its place in reports: the lower, the earlier; by name where two are equal.
        runs_exported: Whether it runs the exported graph, which only a model that begins with a Transformer has.
    """

    name: str
    offers: Mapping[str, tuple[Offer, ...]]
    distributions: tuple[str, ...] = ()
    extras: Mapping[str, str] = field(default_factory=dict)
    order: int = 100
    runs_exported: bool = False

    def module(self, device: str) -> Any:
        """The backend's module `encoder`, with its functions `unavailable` and `build`.

        Raises:
            Unavailable: If what it imports is not installed; told with the extras that install it for the device.
        """
        try:
            return importlib.import_module(f"{encoders.__name__}.{self.name}.encoder")
        except ImportError as error:
            extras = self.extras.get(device)
            step = f"pip install 'embedgate[{extras}]'" if extras else "reinstall embedgate"
            raise Unavailable(f"a library of {self.name} cannot be imported ({error})", step) from error

    def unavailable(self, combination: Combination) -> str | None:
        """Why it cannot run a combination here, in one line; None where it can."""
        try:
            module = self.module(combination.device)
        except Unavailable as error:
            return str(error)
        reason: str | None = module.unavailable(combination)
        return reason

    def combinations(self) -> dict[Combination, Offer]:
        """All it offers, in the order of the report."""
        return {
            Combination(self.name, offer.weight_precision, device): offer
            for device, offers in self.offers.items()
            for offer in offers
        }


@cache
def backends() -> tuple[Backend, ...]:
    """The backends of embedgate's own, in the order of the report."""
    folders = [name for _, name, is_folder in pkgutil.iter_modules(encoders.__path__) if is_folder]
    modules = [importlib.import_module(f"{encoders.__name__}.{name}") for name in folders]
    found: list[Backend] = [module.BACKEND for module in modules if hasattr(module, "BACKEND")]
    return tuple(sorted(found, key=lambda backend: (backend.order, backend.name)))


def backend_named(name: str) -> Backend:
    """The backend of a name.

    Raises:
        GateError: If there is none.
    """
    for backend in backends():
        if backend.name == name:
            return backend
    raise GateError(f"no backend is named {name!r}", f"choose from {', '.join(each.name for each in backends())}")


def distributions() -> tuple[str, ...]:
    """Names on PyPI of what computes in any backend, sorted."""
    return tuple(sorted({name for backend in backends() for name in backend.distributions}))


def offers() -> dict[Combination, Offer]:
    """Returns the backends' offers, in the order of the report; nothing of what a host project adds."""
    return {combination: offer for backend in backends() for combination, offer in backend.combinations().items()}


def is_emulated(combination: Combination) -> bool:
    """Whether this CPU has no instructions for a combination's products; not where the system does not tell."""
    offer, flags = offers().get(combination), this_machine().flags
    return offer is not None and bool(offer.native and flags) and offer.native.isdisjoint(flags)


def stability_of(combination: Combination) -> Stability:
    """How far a text's embedding may move, where its encoder declares nothing itself.

    A combination that no backend offers may move as torch's of its weight precision on the CPU, whose sums differ in
    their last bit in another order (docs/properties.md). What torch does not have there may move as far as int8 whose
    scales depend on the batch.
    """
    torch = Combination(combination.default_reference.backend, combination.weight_precision, "cpu")
    offer = offers().get(combination) or offers().get(torch)
    return offer.stability if offer else LEAST_STABILITY


@dataclass
class Registry:
    """The combinations of a session: the backends' own, those a host project adds, and other candidates.

    A host project adds one in the hook `pytest_gate_combinations(registry)`.
    """

    _added: dict[Combination, Source] = field(default_factory=dict)
    _against: Combination | None = None
    _asked: list[str] = field(default_factory=list)
    _apart: dict[Combination, Source] = field(default_factory=dict)

    def add(self, combination: str, factory: EncoderFactory) -> None:
        """Adds a combination built by a host project.

        Args:
            combination: Its id, for example `acme-int8-cpu`; `torch-fp32-*` is the reference and cannot be replaced.
            factory: `(model_path, device) -> encoder`, where an encoder is anything with Sentence Transformers'
                `encode(texts, batch_size=)`.

        Raises:
            GateError: If the id is malformed, names the reference, or is taken already.
        """
        self.add_source(HostSource(Combination.parse(combination), factory))

    def add_source(self, source: Source, *, asked: bool = False) -> None:
        """Adds whatever makes an encoder.

        Args:
            source: What makes it.
            asked: Whether the session is to judge it, as it does candidates that are named.

        Raises:
            GateError: If its combination is the reference, or is taken already.
        """
        added = source.combination
        taken = "is the reference" if added == added.default_reference else "exists already" if added in self else ""
        if taken and source.origin:
            cause = f"{source.origin} would be called {added}, which {taken}"
            raise GateError(cause, f"give it another name: {source.origin}::name=other")
        if taken:
            raise GateError(f"{added} {taken}", "give the added combination another id")
        self._added[added] = source
        if asked:
            self._asked.append(added.id)

    @property
    def changes(self) -> list[str]:
        """What encoders of a host project have changed of this process, and embedgate put back, a line each."""
        return [line for source in (*self._added.values(), *self._apart.values()) for line in source.changes]

    @property
    def asked(self) -> tuple[str, ...]:
        """The ids of those that the session is to judge as candidates that are named."""
        return tuple(self._asked)

    def add_apart(self, source: Source) -> None:
        """Adds what makes the encoder of what is no combination of the session's, such as an incumbent.

        Raises:
            GateError: If a combination has its name.
        """
        if source.combination in self:
            cause = f"{source.origin} would be called {source.combination}, which exists already"
            raise GateError(cause, f"give it another name: {source.origin}::name=other")
        self._apart[source.combination] = source

    def source(self, combination: Combination) -> Source:
        """What makes a combination's encoder.

        Raises:
            GateError: If nothing does.
        """
        found = self._added.get(combination) or self._apart.get(combination)
        return found or BackendSource(combination, backend_named(combination.backend))

    def judge_against(self, reference: Combination) -> None:
        """Judges every combination against one of them, in the place of fp32 in torch."""
        self._against = reference

    def find(self, id_: str) -> Combination | None:
        """A combination by its id, with what it is judged against; None where there is none."""
        return next((combination for combination in self if combination.id == id_), None)

    def named(self, id_: str) -> Combination:
        """As `find`, of an id that must be there.

        Raises:
            GateError: If there is none.
        """
        found = self.find(id_)
        if found is None:
            raise GateError(f"there is no combination {id_!r}", f"choose from {', '.join(map(str, self))}")
        return found

    def select(self, globs: Iterable[str]) -> tuple[Combination, ...]:
        """The combinations that match any of the globs, all where there is no glob, in the order of the report.

        Raises:
            GateError: If a glob matches nothing.
        """
        patterns = list(globs)
        known = list(self)
        for pattern in patterns:
            if not any(fnmatchcase(combination.id, pattern) for combination in known):
                raise GateError(f"no combination matches {pattern!r}", f"choose from {', '.join(map(str, known))}")
        return tuple(c for c in known if not patterns or any(fnmatchcase(c.id, p) for p in patterns))

    def __iter__(self) -> Iterator[Combination]:
        known = (*offers(), *self._added)
        if self._against is None:
            yield from known
        else:  # the reference first, as it runs
            stamped = (replace(combination, against=self._against) for combination in known)
            yield from sorted(stamped, key=lambda combination: not combination.is_reference)
