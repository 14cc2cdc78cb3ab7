"""The types that an engine's layers compute in, as TensorRT's engine inspector tells them.

The inspector gives JSON, one object per layer and optimisation profile. TensorRT fuses what the graph has as several
nodes; a layer's name and metadata list the nodes it came from, by which a product is found. A matrix product computes
in the type of what it reads: an int8 product reads int8, however wide its result. TensorRT 10 tells it as
`Format/Datatype` ("Row major linear FP16 format", or just "Half"), TensorRT 11 as `DataType` ("Half").
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# What the inspector calls a type, whole or within a sentence, and its name here; the narrowest first.
TYPES = (
    (re.compile(r"\b(fp8|e4m3\w*)\b", re.IGNORECASE), "float8_e4m3fn"),
    (re.compile(r"\bint8\b", re.IGNORECASE), "int8"),
    (re.compile(r"\b(bf16|bfloat16)\b", re.IGNORECASE), "bfloat16"),
    (re.compile(r"\b(half|fp16|float16)\b", re.IGNORECASE), "float16"),
    (re.compile(r"\b(float|fp32|float32)\b", re.IGNORECASE), "float32"),
)
# From the narrowest on; what a product reads at its narrowest is what it multiplies.
WIDTH = {name: place for place, (_, name) in enumerate(TYPES)}
UNKNOWN = "unknown"
# Kernels name the types they multiply, as `sm80_xmma_gemm_i8i8_i8i32_f32_tn_n`.
KERNELS = (
    (re.compile(r"(?<![a-z0-9])(e4m3)+", re.IGNORECASE), "float8_e4m3fn"),
    (re.compile(r"(?<![a-z0-9])i8i8"), "int8"),
    (re.compile(r"(?<![a-z0-9])bf16bf16"), "bfloat16"),
    (re.compile(r"(?<![a-z0-9])f16f16"), "float16"),
    (re.compile(r"(?<![a-z0-9])(f32f32|tf32)"), "float32"),
)
# Of the layers that a product has become, those that multiply count.
MULTIPLIES = re.compile(r"gemm|matrixmultiply|matmul|\bfc|fcmul|fusedfc|mma", re.IGNORECASE)
# Of these, fused attention multiplies activations with one another.
ATTENDS = re.compile(r"mha|attention", re.IGNORECASE)
# What the name of a layer ends with that is made again for another profile.
PROFILE = re.compile(r"\s*\[profile \d+\]")
# A layer of this kind may stand between two others, and multiplies nothing.
MOVES = ("Reformat", "reformat", "Constant", "constant", "NoOp", "Shuffle", "shape_call", "move", "signal", "wait")


@dataclass(frozen=True)
class Inspection:
    """The results of inspecting an engine's layers.

    Attributes:
        products: Products with weights by the type they compute in, the widest of all profiles; `unknown` where no
            layer names the product.
        wider: Names of the products that do not compute in the narrowest type, with their type.
        layers: Layers of all profiles.
    """

    products: dict[str, int]
    wider: dict[str, str]
    layers: int


def inspect(information: Iterable[str], products: Iterable[str]) -> Inspection:
    """Finds what every product of a graph computes in.

    Args:
        information: What `get_engine_information` gives as JSON, once per optimisation profile, of an engine built with
            detailed verbosity.
        products: Names of the graph's product nodes.
    """
    layers = _layers(information)
    texts = [f"{layer.get('Metadata', '')}\n{layer.get('Name', '')}" for layer in layers]
    found = {}
    for product in products:
        named = re.compile(rf"(?<![\w./]){re.escape(product)}(?:_myl\d+_\d+)?(?![\w./])")
        mine = [layer for layer, text in zip(layers, texts, strict=True) if named.search(text)]
        found[product] = _widest(_multiplying(mine) or mine)
    return _inspection(found, layers)


def inspect_unnamed(information: Iterable[str]) -> Inspection:
    """Finds what the products of an engine compute in, of whose graph no name is known.

    Every layer that multiplies counts as a product, but for fused attention, which multiplies no weights. Where
    TensorRT has left attention in parts, these cannot be told from products with weights, and count. What several
    profiles tell of one layer counts once, at its widest.

    Args:
        information: As `inspect` takes it.
    """
    layers = _layers(information)
    same: dict[str, list[Mapping[str, Any]]] = {}
    for layer in _multiplying(layers):
        if not ATTENDS.search(f"{layer.get('LayerType', '')} {layer.get('TacticName', '')}"):
            own = str(layer.get("Metadata") or PROFILE.sub("", str(layer.get("Name", ""))))
            same.setdefault(" ".join(own.split()), []).append(layer)
    return _inspection({name: _widest(mine) for name, mine in same.items()}, layers)


def _layers(information: Iterable[str]) -> list[Mapping[str, Any]]:
    """The layers that may compute; none of an engine that tells their names alone."""
    return [
        layer
        for told in information
        for layer in json.loads(told).get("Layers", ())
        if isinstance(layer, Mapping) and layer.get("LayerType") not in MOVES
    ]


def _widest(layers: Sequence[Mapping[str, Any]]) -> str:
    """What layers compute in that are one product.

    A profile tells no types of another's layers. What several tell counts as the widest.
    """
    known = {reads(layer) for layer in layers} - {UNKNOWN}
    return max(known, key=WIDTH.__getitem__) if known else UNKNOWN


def _inspection(found: Mapping[str, str], layers: Sequence[Mapping[str, Any]]) -> Inspection:
    narrowest = min(found.values(), key=lambda kind: WIDTH.get(kind, len(WIDTH)), default=UNKNOWN)
    wider = {name: kind for name, kind in found.items() if kind != narrowest}
    return Inspection(dict(Counter(found.values())), wider, len(layers))


def reads(layer: Mapping[str, Any]) -> str:
    """The narrowest type among what a layer reads, else what its kernel's name says; `unknown` where neither tells."""
    kinds = {kind for tensor in layer.get("Inputs", ()) for kind in _type_of(tensor)}
    if kinds:
        return min(kinds, key=WIDTH.__getitem__)
    kernel = str(layer.get("TacticName", ""))
    return next((name for pattern, name in KERNELS if pattern.search(kernel)), UNKNOWN)


def _multiplying(layers: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The layers that multiply, as their kind or kernel says; none where TensorRT has fused all into one of its own."""
    return [
        layer
        for layer in layers
        if MULTIPLIES.search(str(layer.get("LayerType", ""))) or MULTIPLIES.search(str(layer.get("TacticName", "")))
    ]


def _type_of(tensor: Any) -> Iterator[str]:
    if not isinstance(tensor, Mapping):
        return
    told = tensor.get("DataType") or tensor.get("Datatype") or tensor.get("Format/Datatype") or ""
    for pattern, name in TYPES:
        if pattern.search(str(told)):
            yield name
            return
