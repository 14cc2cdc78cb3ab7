"""Builds what torchao runs: see the package."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torchao.quantization import (
    Float8DynamicActivationFloat8WeightConfig,
    Int8DynamicActivationInt8WeightConfig,
    PerRow,
    quantize_,
)

from embedgate.core.combination import Combination
from embedgate.core.model import Model
from embedgate.core.roles import Role
from embedgate.encoders import BuildContext, Encoder, Evidence
from embedgate.encoders.loading import PROBE, load
from embedgate.encoders.sentence_transformer import (
    SentenceTransformerEncoder,
    is_product,
    products_of,
    weight_of,
    without_cuda,
)

REST = {"cpu": torch.float32, "cuda": torch.bfloat16}
# The operators that multiply in 8 bits; torchao asks for int8 on CUDA by `out_dtype`, and for fp8 by mslk where it is.
KERNELS = {
    "int8": ("aten._int_mm.default", "out_dtype"),
    "fp8": ("aten._scaled_mm.default", "mslk.f8f8bf16_rowwise.default"),
}


def unavailable(combination: Combination) -> str | None:
    """Why this machine cannot run the combination, in one line; None where it can."""
    return without_cuda(combination)


def build(model: Model, combination: Combination, context: BuildContext) -> Encoder:
    """Builds the encoder."""
    loaded = load(model, combination.device, REST[combination.device])
    fp8 = combination.weight_precision == "fp8"
    # Its settings for Inductor would be the whole process's, other combinations' torch.compile among it.
    config = (
        Float8DynamicActivationFloat8WeightConfig(granularity=PerRow(), set_inductor_config=False)
        if fp8
        else Int8DynamicActivationInt8WeightConfig(set_inductor_config=False)
    )
    quantize_(loaded, config)  # dense layers after the transformer as well
    classes = Counter(type(weight_of(module)).__name__ for module in loaded.modules() if is_product(module))
    return TorchaoEncoder(
        loaded,
        combination,
        threads=context.threads,
        library="torchao",
        details={"weight classes": dict(classes)},
    )


class TorchaoEncoder(SentenceTransformerEncoder):
    """Counts the 8-bit kernels that ran, too: where one refuses, torchao multiplies in float32 and says nothing."""

    def evidence(self) -> Evidence:
        """Tells what really ran. cuBLAS has no int8 kernel for 16 rows or fewer, so a short text is told apart."""
        found = super().evidence()
        kernels = KERNELS[self._combination.weight_precision]
        # Of several routes, the one that lacks most; else the one that has most.
        ran = (self._ran(kernels, role) for role in self._ways())
        products, short, batch = max(ran, key=lambda counts: (counts[0] - counts[2], counts[0]))
        details = {**found.details, "8-bit kernels": {"one short text": short, "a batch": batch, "of": products}}
        problem = f"an 8-bit kernel ran for {batch} of {products} products: torchao computed the others in float"
        problems = found.problems if batch >= products else (*found.problems, problem)
        return replace(found, details=details, problems=problems)

    def _ran(self, kernels: Collection[str], role: Role) -> tuple[int, int, int]:
        """Products on the route of a role, and how many of them 8-bit kernels do, of one short text and of a batch."""
        products = products_of(self._model, partial(self.encode_as, role, [PROBE]))
        # A product after pooling has a row per text.
        batches = (["Short."], [PROBE] * 32)
        short, batch = (_done(kernels, partial(self.encode_as, role, texts)) for texts in batches)
        return sum(products.values()), short, batch


class _Done(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts operators that return; torchao calls one that may refuse, and catches what it raises."""

    supports_higher_order_operators = True

    def __init__(self, names: Collection[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count: int = 0
        self._names = names

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.count += str(func) in self._names
        return result


def _done(names: Collection[str], run: Callable[[], object]) -> int:
    """How often an operator has done its work while something is encoded."""
    with _Done(names) as done:
        run()
    return int(done.count)
