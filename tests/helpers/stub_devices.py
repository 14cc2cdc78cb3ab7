"""Encoders of no library on devices of no machine, for what a session does with several devices."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from embedgate import encoders
from embedgate.core.combination import Combination
from embedgate.core.errors import BuildError, one_line
from embedgate.encoders import BuildContext, Encoder, Evidence, FloatArray, Stages

GPU = "NVIDIA H200"
TYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16", "amp": "bfloat16"}


class Stub(Encoder):
    """Gives every text a vector of its own; other weight precisions than fp32 miss it by a little."""

    def __init__(self, combination: Combination) -> None:
        self.combination = combination
        self.closed = False

    def encode(self, texts: Sequence[str], batch_size: int = 32) -> FloatArray:
        return np.array([self.row(text) for text in texts], dtype=np.float32).reshape(len(texts), 384)

    def row(self, text: str) -> FloatArray:
        number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")
        row = np.random.default_rng(number).standard_normal(384)
        if not self.combination.is_reference:
            row += 1e-3 * np.random.default_rng(number + 1).standard_normal(384)
        return (row / np.linalg.norm(row)).astype(np.float32)

    def stages(self, texts: Sequence[str]) -> Stages | None:
        return None

    def evidence(self) -> Evidence:
        combination = self.combination
        return Evidence(combination.device, 1, 10**6, {TYPES[combination.weight_precision]: 36}, "stub 1")

    def close(self) -> None:
        self.closed = True


def install(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[Combination], Encoder] = Stub, gpu: str | None = GPU
) -> list[Combination]:
    """Has every combination built as a stub, on a machine with a GPU; what was built, in order."""
    built: list[Combination] = []

    def build(model: object, combination: Combination, context: BuildContext, registry: object) -> Encoder:
        built.append(combination)
        try:
            return make(combination)
        except Exception as error:
            raise BuildError(f"{combination} could not be built: {one_line(error)}") from error

    monkeypatch.setattr(encoders, "build", build)
    monkeypatch.setattr(encoders, "unavailable", lambda *_: None)
    monkeypatch.setattr("embedgate.encoders.gpu.name", lambda: gpu)
    monkeypatch.setattr("embedgate.encoders.gpu.versions", lambda: {"cuda": "13.0", "nvidia-driver": "580.65.06"})
    return built
