"""Builds what torch runs: see the package."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch.utils._triton import has_triton

from embedgate.core.combination import Combination
from embedgate.core.errors import BuildError
from embedgate.core.machine import this_machine
from embedgate.core.model import Model
from embedgate.encoders import BuildContext, Encoder, Evidence
from embedgate.encoders.evidence import promised
from embedgate.encoders.loading import PROBE, load
from embedgate.encoders.sentence_transformer import SentenceTransformerEncoder, without_cuda
from embedgate.encoders.torch import BACKEND

STORED = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "amp": torch.float32,
    "compile": torch.float16,
}

COMPILED_ON_CUDA = Combination("torch", "compile", "cuda")


def unavailable(combination: Combination) -> str | None:
    """Why this machine cannot run the combination, in one line; None where it can."""
    reason = without_cuda(combination)
    if reason is None and combination == COMPILED_ON_CUDA and not has_triton():
        return "torch.compile needs Triton on CUDA: pip install triton"
    return reason


def build(model: Model, combination: Combination, context: BuildContext) -> Encoder:
    """Builds the encoder.

    Raises:
        BuildError: If the reference does not compute in float32 throughout.
    """
    kind = combination.weight_precision
    loaded = load(model, combination.device, STORED[kind])
    if kind == "compile":
        context.progress(f"{combination}: torch.compile compiles while the first texts are encoded")
        # Sentence Transformers calls `forward` itself, so what `model.compile()` puts in front of it would never run.
        transformer: Any = loaded[0].model
        transformer.forward = torch.compile(transformer.forward, dynamic=True)
        return CompiledEncoder(loaded, combination, threads=context.threads, dtype=STORED[kind])
    encoder = SentenceTransformerEncoder(
        loaded,
        combination,
        threads=context.threads,
        dtype=STORED[kind],
        autocast=getattr(torch, str(promised(combination))) if kind == "amp" else None,
        details=_native(combination) if combination.device == "cpu" else {},
    )
    if combination.is_reference and (problems := encoder.evidence().problems):
        raise BuildError(f"the reference is not float32 throughout: {problems[0]}", "restore torch's defaults")
    return encoder


class CompiledEncoder(SentenceTransformerEncoder):
    """A transformer that torch.compile compiles as it runs; its evidence counts the graphs that were made of it."""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self._before = _compiled()

    def evidence(self) -> Evidence:
        """Tells what really ran: products as without the compiler, which no hook sees into, and what it compiled."""
        self.encode([PROBE])
        graphs, breaks = (now - before for now, before in zip(_compiled(), self._before, strict=True))
        self._details |= {"compiled graphs": graphs, "graph breaks": breaks}
        with torch.compiler.set_stance("force_eager"):
            found = super().evidence()
        if graphs:
            return found
        return replace(found, problems=(*found.problems, "named compile, but torch.compile has compiled nothing"))


def _compiled() -> tuple[int, int]:
    """Graphs that torch.compile has made in this process, and where it had to break one."""
    from torch._dynamo.utils import counters  # a second's import that no other combination needs

    return counters["stats"]["unique_graphs"], sum(counters["graph_break"].values())


def _native(combination: Combination) -> dict[str, Any]:
    native = BACKEND.combinations()[combination].native
    return {"native instructions": sorted(native.intersection(this_machine().flags))}
