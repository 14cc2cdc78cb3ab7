"""Files of a model that another library than torch runs: what they are called, in one table."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes:
        name: What it is called.
        suffixes: How such files end, in lower case.
        beside: The suffix of the file that one is nothing without; empty where it is whole.
        ships: Whether files of this kind are published beside models, so that `--gate-shipped` gates them.
    """

    name: str
    suffixes: tuple[str, ...]
    beside: str = ""
    ships: bool = True

    def among(self, names: Collection[str]) -> list[str]:
        """Those of this kind among the names of files."""
        found = ((name, suffix) for name in names for suffix in self.suffixes if name.endswith(suffix))
        return [name for name, suffix in found if not self.beside or name.removesuffix(suffix) + self.beside in names]


ONNX = Format("ONNX", (".onnx",))
OPENVINO = Format("OpenVINO", (".xml",), beside=".bin")
GGUF = Format("GGUF", (".gguf",))
# An engine runs on one kind of GPU alone, so nobody publishes one.
TENSORRT = Format("TensorRT", (".engine", ".plan", ".trt"), ships=False)
SHIPPED = tuple(each for each in (ONNX, OPENVINO, GGUF, TENSORRT) if each.ships)


def shipped_among(names: Collection[str]) -> list[str]:
    """The files among a model's that `--gate-shipped` gates, sorted."""
    return sorted(name for each in SHIPPED for name in each.among(names))


def shipped_names() -> str:
    """What these are called, as in `ONNX or GGUF`."""
    *others, last = (each.name for each in SHIPPED)
    return f"{', '.join(others)} or {last}"
