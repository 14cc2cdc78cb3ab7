"""A TensorRT engine, as it is served: from the model's folder, or from anywhere."""

from __future__ import annotations

import shlex
from pathlib import Path

from embedgate.core.errors import GateError
from embedgate.core.model import Model
from embedgate.core.spec import PROMISE, Spec
from embedgate.deployed import files
from embedgate.deployed.backend_file import BackendFile
from embedgate.encoders import BuildContext, Encoder
from embedgate.encoders.sources import Source

OUTPUT = "output"
# Weight precisions that engines are built in, beside fp16.
KINDS = ("fp32", "bf16", "int8", "fp8")


def source(spec: Spec, model: Model) -> Source:
    """What runs an engine.

    Raises:
        GateError: If there is no such file, or neither its name nor a key says what it promises.
    """
    spec.refuse_unknown((OUTPUT,))
    path = files.find(spec, model)
    origin = files.shown(path, model)
    if not files.bytes_of([path]):
        raise GateError(f"{origin} is empty", "build or fetch it anew")
    promise = spec.given.get(PROMISE) or files.promise_of(path)
    if promise is None:  # an engine tells nothing before a GPU has loaded it
        step = f"say it: {spec.flag} {shlex.quote(f'{spec.where}::promise=fp16')}, or {', '.join(KINDS)}"
        raise GateError(f"the name of {origin} does not say what it computes in", step)
    combination = spec.combination(files.name_of(path), promise, "cuda")
    if combination.device != "cuda":
        raise GateError(f"{origin}: TensorRT runs on CUDA alone", "leave out device=cpu")
    return TensorRTFile([path], combination, origin, spec.given.get(OUTPUT))


def beside(_: Path) -> list[str]:
    """Nothing: an engine is whole."""
    return []


class TensorRTFile(BackendFile):
    """Runs an engine by TensorRT; see `BackendFile`."""

    backend = "tensorrt"

    def build(self, model: Model, context: BuildContext) -> Encoder:
        """Loads the file; see `Source.build`."""
        from embedgate.deployed.tensorrt_encoder import load

        return load(model, self._parts[0], self.combination, context, self.origin, self._output)
