"""Runs a TensorRT engine that embedgate did not build; imports torch, and TensorRT where one is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from embedgate.core.combination import Combination
from embedgate.core.errors import BuildError
from embedgate.core.model import Model
from embedgate.deployed.pipeline import Pipeline, Port, Sizes, Values
from embedgate.encoders import BuildContext, Encoder, Evidence, FloatArray, Stages
from embedgate.encoders.evidence import UNPROVEN
from embedgate.encoders.gpu.stream import CudaStream, Gpu, this_gpu
from embedgate.encoders.registry import stability_of
from embedgate.encoders.tensorrt.inspection import inspect_unnamed
from embedgate.encoders.tensorrt.library import Library, installed
from embedgate.encoders.tensorrt.loaded import EngineEncoder

# Types of inputs, as TensorRT names them.
INPUT_TYPES = {"INT64": np.int64, "INT32": np.int32, "FLOAT": np.float32}
ELSEWHERE = "an engine runs with the TensorRT and the GPU that it was built with: build it here"
SILENT = "an engine tells what its layers compute in where it is built for it: trtexec --profilingVerbosity=detailed"

Shape = tuple[int, int]


@dataclass(frozen=True)
class Profile:
    """An optimisation profile: shapes `[texts, tokens]` that it takes.

    Attributes:
        least: The smallest.
        likely: The one that kernels were chosen for.
        most: The largest.
    """

    least: Shape
    likely: Shape
    most: Shape

    def takes(self, texts: int, tokens: int) -> bool:
        """Whether inputs of a shape fit, once they are filled up."""
        return texts <= self.most[0] and tokens <= self.most[1]

    def around(self, texts: int, tokens: int) -> Shape:
        """The shape that inputs of a shape are filled up to."""
        return max(texts, self.least[0]), max(tokens, self.least[1])


class Profiles(Sizes):
    """The shapes that an engine takes: those of its profiles.

    Args:
        profiles: Its profiles, in their order.
    """

    def __init__(self, profiles: Sequence[Profile]) -> None:
        super().__init__(None, max(profile.most[1] for profile in profiles))
        self.all = tuple(profiles)

    def most(self, tokens: int) -> int:
        """Texts of a length that any profile takes at once, at most."""
        return max(profile.most[0] for profile in self.all if tokens <= profile.most[1])

    def around(self, texts: int, tokens: int) -> Shape:
        """The shape that inputs of a shape are filled up to."""
        return self.all[self.place(texts, tokens)].around(texts, tokens)

    def place(self, texts: int, tokens: int) -> int:
        """Which profile inputs of a shape come by: the one with the least to fill up, and of several, the narrowest."""
        fit = [place for place, profile in enumerate(self.all) if profile.takes(texts, tokens)]
        return min(
            fit, key=lambda place: (np.prod(self.all[place].around(texts, tokens)), np.prod(self.all[place].most))
        )


def load(
    model: Model, path: Path, combination: Combination, context: BuildContext, origin: str, output: str | None
) -> Encoder:
    """Loads an engine with the TensorRT and the GPU that are here; arguments as of `TensorRTFileEncoder`.

    Raises:
        BuildError: If it cannot be loaded here, or gives nothing that embeddings can be made of.
    """
    return TensorRTFileEncoder(model, path, combination, context, origin, output, installed(), this_gpu(), CudaStream())


class TensorRTFileEncoder(EngineEncoder):
    """Any engine of a transformer, followed by what is left of the model's own modules.

    Args:
        model: The model that it is an engine of.
        path: The engine's file.
        combination: What it is called.
        context: Threads of the session, which an engine has no use for.
        origin: The path as a person reads it.
        output: The output to use; None to choose it.
        library: TensorRT.
        gpu: The GPU that it runs on.
        stream: Where on it.

    Raises:
        BuildError: If it cannot be loaded, or gives nothing that embeddings can be made of.
    """

    def __init__(
        self,
        model: Model,
        path: Path,
        combination: Combination,
        context: BuildContext,
        origin: str,
        output: str | None,
        library: Library,
        gpu: Gpu,
        stream: CudaStream,
    ) -> None:
        plan = path.read_bytes()
        refusal = (f"{origin} on {gpu.name}", f"{ELSEWHERE}, or fetch the file anew where it is damaged")
        super().__init__(library, plan, combination, stream, context.threads, refusal)
        self.stability = stability_of(replace(combination, backend="tensorrt"))
        self._bytes = len(plan)
        self._profiles = Profiles(self._read_profiles(origin))
        self._names = self._outputs
        inputs = {name: self._port(name, origin) for name in self._inputs}
        self._pipeline = Pipeline(origin, model, inputs, self._run, output, self._profiles)
        self._names = (self._pipeline.output,)
        self._details: dict[str, Any] = {"file": origin, "gpu": gpu.name, "driver": gpu.driver}

    def encode(self, texts: Sequence[str], batch_size: int = 32) -> FloatArray:
        """Embeds texts; see `Encoder.encode`."""
        return self._pipeline.encode(texts, batch_size)

    def stages(self, texts: Sequence[str]) -> Stages:
        """Intermediate results for a few texts; see `Encoder.stages`."""
        return self._pipeline.stages(texts)

    def evidence(self) -> Evidence:
        """Layers that multiply by the type they compute in, as the engine inspector tells it of every profile."""
        profiles = self._profiles.all
        found = inspect_unnamed(self._inspected(place, profile.likely) for place, profile in enumerate(profiles))
        problems = self._problems(found.products)
        if UNPROVEN in problems:
            problems = (*problems, SILENT)
        return Evidence(
            device=self._stream.device,
            threads=self._threads,
            weight_bytes=self._weight_bytes,
            products=found.products,
            library=self._called,
            details={
                **self._details,
                **self._pipeline.described,
                "profiles": [f"{profile.least} to {profile.most}" for profile in profiles],
                "layers": found.layers,
                "wider products": found.wider,
            },
            problems=problems,
            artefact_bytes=self._bytes,
            notes=self._pipeline.notes,
        )

    def _port(self, name: str, origin: str) -> Port:
        kind = self._type_of(name)
        if kind not in INPUT_TYPES:
            raise BuildError(f"{origin} has the input {name} of {kind}", "export it with integer inputs")
        return Port(INPUT_TYPES[kind], (None, None))

    def _read_profiles(self, origin: str) -> list[Profile]:
        """The profiles, as far as all inputs agree.

        Raises:
            BuildError: If an input is no matrix of texts and tokens.
        """
        shapes = {name: tuple(self._engine.get_tensor_shape(name)) for name in self._inputs}
        for name, shape in shapes.items():
            if len(shape) != 2:
                cause = f"{origin} has the input {name} of shape {list(shape)}"
                raise BuildError(cause, "export it for feature extraction, with inputs [batch, tokens]")
        return [self._profile(place, shapes) for place in range(self._engine.num_optimization_profiles)]

    def _profile(self, place: int, shapes: Mapping[str, Sequence[int]]) -> Profile:
        # A profile speaks of what is free: -1.
        bounds = [
            [shape] * 3 if min(shape) >= 0 else self._engine.get_tensor_profile_shape(name, place)
            for name, shape in shapes.items()
        ]
        least, likely, most = (np.array([[*each] for each in own]) for own in zip(*bounds, strict=True))
        return Profile(_shape(least.max(axis=0)), _shape(likely.min(axis=0)), _shape(most.min(axis=0)))

    def _run(self, feeds: Mapping[str, Values]) -> dict[str, Values]:
        texts, tokens = next(iter(feeds.values())).shape
        place = self._profiles.place(texts, tokens)
        with self._one_at_a_time, self._stream.active():
            inputs = {name: self._stream.upload(values) for name, values in feeds.items()}
            ready = self._ready(self._context(place), place, inputs)
            ready.run()
            copies = {name: self._stream.download(ready.outputs[name]) for name in self._names}
            self._stream.wait()
        # NumPy has no bfloat16.
        return {name: copy.float().numpy() for name, copy in copies.items()}


def _shape(sizes: Sequence[int]) -> Shape:
    texts, tokens = sizes
    return int(texts), int(tokens)
