"""What a combination's id promises, held against what really ran."""

from __future__ import annotations

from collections.abc import Mapping

from embedgate.core.combination import Combination

# A backend that cannot tell where it runs names its device so.
UNKNOWN_DEVICE = "unknown"

UNPROVEN = "none of its products with weights is known, so what they compute in is not proven"

# The type the products must compute in, per weight precision. A word that is missing here promises nothing checkable.
PROMISED = {
    "fp32": "float32",
    "fp16": "float16",
    "bf16": "bfloat16",
    "amp": "bfloat16",
    "compile": "float16",
    "int8": "int8",
    "int8static": "int8",
    "fp8": "float8_e4m3fn",
    "nf4": "nf4",
}
# Where a device has another type of its own for it.
PROMISED_ON = {("amp", "cuda"): "float16"}


def promised(combination: Combination) -> str | None:
    """The type a combination's products must compute in; None where its weight precision promises nothing checkable."""
    kind = combination.weight_precision
    return PROMISED_ON.get((kind, combination.device)) or PROMISED.get(kind)


def contradictions(combination: Combination, products: Mapping[str, int], device: str) -> tuple[str, ...]:
    """What contradicts a combination's id, one line each.

    `fp32` promises that nothing is reduced, so one product in another type contradicts it. Every other weight precision
    may leave sensitive products in a wider type, so it is contradicted where fewer than half of the products compute in
    the promised type.

    Args:
        combination: The combination asked for.
        products: Matrix products with weights by the type they compute in, as in `Evidence.products`; empty where the
            backend cannot tell.
        device: Where it ran, for example `cpu` or `cuda:0`; `UNKNOWN_DEVICE` where the backend cannot tell.
    """
    found = []
    total = sum(products.values())
    wanted = promised(combination)
    if wanted is not None and total:
        kept = products.get(wanted, 0)
        needed = total if wanted == "float32" else total / 2
        if kept < needed:
            found.append(f"named {combination.weight_precision}, but {_described(products, wanted)}")
    if device != UNKNOWN_DEVICE and device.partition(":")[0] != combination.device:
        found.append(f"named {combination.device}, but it runs on {device}")
    return tuple(found)


def _described(products: Mapping[str, int], wanted: str) -> str:
    total = sum(products.values())
    others = {kind: count for kind, count in products.items() if count and kind != wanted}
    if len(others) == 1:
        kind, count = next(iter(others.items()))
        return f"{f'all {total}' if count == total else f'{count} of {total}'} products compute in {kind}"
    counts = ", ".join(f"{count} in {kind}" for kind, count in sorted(others.items()))
    return f"{sum(others.values())} of {total} products compute in other types: {counts}"
