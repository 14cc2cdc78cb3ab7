"""Combinations: backend + weight precision + device. Which ones exist is told by `embedgate.encoders.registry`."""

from __future__ import annotations

from dataclasses import dataclass

from embedgate.core.errors import GateError

REFERENCE_WEIGHT_PRECISION = "fp32"
# Of a server of which nothing is promised.
SERVED = "served"


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
