"""Combinations: backend + weight precision + device, and what each backend offers.

`BACKENDS` is the one place that knows which combinations exist. It imports no backend's library: each backend is one
module under `embedgate.encoders`, imported when one of its combinations is built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from embedgate.core.errors import GateError

REFERENCE_WEIGHT_PRECISION = "fp32"


@dataclass(frozen=True, order=True)
class Combination:
    """One way of running a model: a backend, a weight precision and a device.

    Attributes:
        backend: Name of the library that runs the transformer, for example `onnxruntime`.
        weight_precision: How the transformer computes, for example `int8`.
        device: `cpu` or `cuda`.
    """

    backend: str
    weight_precision: str
    device: str

    @property
    def id(self) -> str:
        """The id used in options, reports and baselines, for example `onnxruntime-int8-cpu`."""
        return f"{self.backend}-{self.weight_precision}-{self.device}"

    @property
    def is_reference(self) -> bool:
        """Whether this is the reference every other combination on its device is judged against."""
        return self.backend == "torch" and self.weight_precision == REFERENCE_WEIGHT_PRECISION

    @property
    def reference(self) -> Combination:
        """The reference on the same device: `torch-fp32-<device>`."""
        return Combination("torch", REFERENCE_WEIGHT_PRECISION, self.device)

    def __str__(self) -> str:
        return self.id

    @classmethod
    def parse(cls, text: str) -> Combination:
        """Reads an id such as `onnxruntime-int8-cpu`.

        Raises:
            GateError: If the text is not three words joined by hyphens.
        """
        parts = text.split("-")
        if len(parts) != 3 or not all(parts):
            raise GateError(
                f"{text!r} is no combination", "write backend-weightprecision-device, for example onnxruntime-int8-cpu"
            )
        return cls(*parts)


@dataclass(frozen=True)
class Backend:
    """What one backend offers.

    Attributes:
        name: Name of the backend, the first word of its combinations' ids.
        module: Module that builds its encoders, with functions `unavailable` and `build` (see `embedgate.encoders`).
        extra: The extras of this distribution that install its library; empty where the core installs it.
        offers: Weight precisions per device, in the order of the report.
    """

    name: str
    module: str
    extra: str
    offers: Mapping[str, tuple[str, ...]]


BACKENDS: tuple[Backend, ...] = (
    Backend(
        "torch",
        "embedgate.encoders.torch",
        "",
        {"cpu": ("fp32", "bf16", "fp16", "amp"), "cuda": ("fp32", "fp16", "bf16", "amp", "compile")},
    ),
    Backend(
        "bitsandbytes",
        "embedgate.encoders.bitsandbytes",
        "bitsandbytes",
        {"cpu": ("int8",), "cuda": ("int8", "nf4")},
    ),
    Backend("torchao", "embedgate.encoders.torchao", "torchao", {"cpu": ("int8",), "cuda": ("int8", "fp8")}),
    Backend(
        "onnxruntime",
        "embedgate.encoders.onnxruntime",
        "onnx",
        {"cpu": ("fp32", "int8", "int8static"), "cuda": ("fp16",)},
    ),
    Backend("openvino", "embedgate.encoders.openvino", "openvino", {"cpu": ("fp32", "bf16", "int8")}),
    Backend("tensorrt", "embedgate.encoders.tensorrt", "gpu,tensorrt", {"cuda": ("fp16", "int8", "fp8")}),
)

# (model folder, device) -> anything with Sentence Transformers' `encode(texts, batch_size=)`.
EncoderFactory = Callable[[Any, str], Any]


@dataclass
class Registry:
    """The combinations of a session: the backends' own, and those a host project adds.

    A host project adds one in the hook `pytest_gate_combinations(registry)`.
    """

    backends: tuple[Backend, ...] = field(default_factory=lambda: BACKENDS)
    _factories: dict[Combination, EncoderFactory] = field(default_factory=dict)

    def add(self, combination: str, factory: EncoderFactory) -> None:
        """Adds a combination built by a host project.

        Args:
            combination: Its id, for example `acme-int8-cpu`; `torch-fp32-*` is the reference and cannot be replaced.
            factory: `(model_path, device) -> encoder`, where an encoder is anything with Sentence Transformers'
                `encode(texts, batch_size=)`.

        Raises:
            GateError: If the id is malformed, names the reference, or is taken already.
        """
        added = Combination.parse(combination)
        if added.is_reference:
            raise GateError(f"{combination} is the reference", "give the added combination another id")
        if added in self._factories or added in self._built_in():
            raise GateError(f"{combination} exists already", "give the added combination another id")
        self._factories[added] = factory

    def factory(self, combination: Combination) -> EncoderFactory | None:
        """The host project's factory for a combination; None where a backend of embedgate's own builds it."""
        return self._factories.get(combination)

    def backend(self, combination: Combination) -> Backend:
        """The backend that builds a combination.

        Raises:
            GateError: If no backend has that name.
        """
        for backend in self.backends:
            if backend.name == combination.backend:
                return backend
        raise GateError(f"no backend is named {combination.backend!r}", f"choose from {', '.join(map(str, self))}")

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

    def _built_in(self) -> Iterator[Combination]:
        for backend in self.backends:
            for device, weight_precisions in backend.offers.items():
                for weight_precision in weight_precisions:
                    yield Combination(backend.name, weight_precision, device)

    def __iter__(self) -> Iterator[Combination]:
        yield from self._built_in()
        yield from self._factories
