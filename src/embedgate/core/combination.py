"""Combinations: backend + weight precision + device. Which ones exist is told by `embedgate.encoders.registry`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from embedgate.core.errors import GateError

REFERENCE_WEIGHT_PRECISION = "fp32"
# Of what is asked for embeddings elsewhere: nothing is promised of how it computes.
SERVED = "served"


@dataclass(frozen=True, order=True)
class Combination:
    """One way of running a model: a backend, a weight precision and a device.

    Attributes:
        backend: Name of the library that runs the transformer, for example `onnxruntime`.
        weight_precision: How the transformer computes, for example `int8`.
        device: `cpu` or `cuda`.
        against: What it is judged against, where that is not fp32 in torch on its own device (`--gate-reference`).
    """

    backend: str
    weight_precision: str
    device: str
    against: Combination | None = field(default=None, compare=False, repr=False)

    @property
    def id(self) -> str:
        """The id used in options, reports and baselines, for example `onnxruntime-int8-cpu`."""
        return f"{self.backend}-{self.weight_precision}-{self.device}"

    @property
    def is_reference(self) -> bool:
        """Whether this is the reference every other combination is judged against."""
        return self.reference == self

    @property
    def reference(self) -> Combination:
        """What it is judged against: `torch-fp32-<device>`, unless another reference was chosen."""
        if self.against is None:
            return self.default_reference
        # Of the reference itself, too: it is judged against itself.
        return replace(self.against, against=self.against)

    @property
    def default_reference(self) -> Combination:
        """The reference where none was chosen: `torch-fp32-<device>`."""
        return Combination("torch", REFERENCE_WEIGHT_PRECISION, self.device)

    def __str__(self) -> str:
        return self.id

    @classmethod
    def parse(cls, text: str) -> Combination:
        """Reads an id such as `onnxruntime-int8-cpu`.

        Raises:
            GateError: If the text is not three words joined by hyphens.
        """
        if not text.isprintable() or {*text} & {*'"\\'}:
            cause = f"{text!r} is no combination"
            raise GateError(cause, "leave out control characters, quotes and backslashes")
        parts = text.split("-")
        if len(parts) != 3 or not all(parts):
            raise GateError(
                f"{text!r} is no combination", "write backend-weightprecision-device, for example onnxruntime-int8-cpu"
            )
        backend, weight_precision, device = parts
        return cls(backend, weight_precision, device)


def device_of(id_: str) -> str:
    """The device of a combination that is known by its id alone, as in a report; of each, there is one reference."""
    return id_.rpartition("-")[2]
