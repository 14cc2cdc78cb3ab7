"""What this CPU computes by way of another type, a tenth to a fortieth as fast as float32."""

from __future__ import annotations

from embedgate.core.combination import Combination
from embedgate.core.machine import this_machine
from embedgate.encoders.torch.encoder import NATIVE

# torchao's int8 products.
INT8 = {"avx512_vnni", "amx_int8", "asimddp"}


def emulated(combination: Combination) -> bool:
    """Whether this CPU has no instructions for the products of a combination."""
    native = {"torch": NATIVE.get(combination.weight_precision), "torchao": INT8}.get(combination.backend)
    return native is not None and native.isdisjoint(this_machine().flags)
