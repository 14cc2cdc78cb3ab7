"""The promises of a combination's id, held against what really ran."""

from __future__ import annotations

from collections.abc import Mapping

from embedgate.core.combination import Combination
from embedgate.encoders.registry import offers

# A backend that cannot tell where it runs names its device so.
UNKNOWN_DEVICE = "unknown"

IN_TRAINING = "dropout or batch norm modules are in training mode"
UNPROVEN = "none of its products with weights is known, so what they compute in is not proven"


def promised(combination: Combination) -> str | None:
    """The type a combination's products must compute in; None where its weight precision promises nothing checkable.

    A combination that no backend offers promises what its weight precision's word does elsewhere: on its device first.
    """
    offered = offers()
    alike = [found for found in offered if found.weight_precision == combination.weight_precision]
    nearest = min(alike, key=lambda found: (found != combination, found.device != combination.device), default=None)
    return offered[nearest].computes_in if nearest else None


def contradictions(combination: Combination, products: Mapping[str, int], device: str) -> tuple[str, ...]:
    """Tells what contradicts a combination's id, one line each.

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
