"""What a GGUF file says of itself, read without llama.cpp."""

from __future__ import annotations

import re
import reprlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader, GGUFValueType

from embedgate.core.distrust import distrusting
from embedgate.core.errors import GateError

# How tokens become one embedding, by llama.cpp's numbers. 0 leaves it to whoever runs the file.
POOLINGS = {1: "mean", 2: "cls", 3: "lasttoken"}
RANK = 4
# Weight precisions, and what products are told to compute in, by the types of weights that are floats.
FLOATS = {"F32": ("fp32", "float32"), "F16": ("fp16", "float16"), "BF16": ("bf16", "bfloat16")}
# Matrices that no product reads: tables, and the head that gives words.
NO_PRODUCTS = ("token_embd.", "position_embd.", "token_types.", "per_layer_token_embd.", "output.")
POSITIONS = "rel_b."
ANEW = "fetch or convert it anew"


@dataclass(frozen=True)
class Header:
    """What a GGUF file says of itself.

    Attributes:
        architecture: The architecture's name in llama.cpp, for example `bert`.
        pooling: How tokens become one embedding, one of `POOLINGS`; None where the file leaves it open.
        dim: Dimensions of its token embeddings; None where it does not say.
        longest: Tokens that it takes, at most; None where it does not say.
        has_dense: Whether it holds the dense layers that follow its pooling.
        types: Tensors by the type of their weights, for example `{"Q8_0": 36, "F32": 65}`.
        products: Matrix products with weights by that type.
        weight_bytes: Bytes of all weights.
        product_bytes: Bytes of those of the products.
    """

    architecture: str
    pooling: str | None
    dim: int | None
    longest: int | None
    has_dense: bool
    types: Mapping[str, int]
    products: Mapping[str, int]
    weight_bytes: int
    product_bytes: int

    @property
    def weight_precision(self) -> str:
        """The weight precision that most products have."""
        return precision_of(max(self.products, key=self.products.__getitem__))

    @property
    def is_float(self) -> bool:
        """Whether no weight is quantized."""
        return set(self.types) <= set(FLOATS)

    @property
    def computes_in(self) -> dict[str, int]:
        """Products by what they compute in, as `Evidence.products` names it."""
        found: Counter[str] = Counter()
        for kind, count in self.products.items():
            found[FLOATS[kind][1] if kind in FLOATS else precision_of(kind)] += count
        return dict(found)


def precision_of(kind: str) -> str:
    """The weight precision of a type of weights, as in `int4` for `Q4_K`; others go by their own name."""
    if kind in FLOATS:
        return FLOATS[kind][0]
    bits = re.match(r"I?Q(\d)", kind)
    return f"int{bits[1]}" if bits else kind.lower()


class _Reader(GGUFReader):
    """Takes an array as one block: none is asked for, and each element would take a kilobyte, even beyond the file."""

    def _get_field_parts(self, orig_offs: int, raw_type: int) -> tuple[int, list[Any], list[int], list[Any]]:
        if GGUFValueType(raw_type) is not GGUFValueType.ARRAY:
            found: tuple[int, list[Any], list[int], list[Any]] = super()._get_field_parts(orig_offs, raw_type)
            return found
        kind, count = self._get(orig_offs, np.uint32), self._get(orig_offs + 4, np.uint64)
        of = GGUFValueType(int(kind[0]))
        start = orig_offs + kind.nbytes + count.nbytes
        end = self._end(start, of, int(count[0]))
        return end - orig_offs, [kind, count, self.data[start:end]], [], [GGUFValueType.ARRAY, of]

    def _end(self, start: int, of: Any, count: int) -> int:
        """Where the elements of an array end, which begin at a byte of the file."""
        end = start
        if of is not GGUFValueType.STRING:
            end += count * np.dtype(self.gguf_scalar_to_np[of]).itemsize
        elif count <= len(self.data):
            for _ in range(count):
                end += 8 + int(self._get(end, np.uint64)[0])
        if end > len(self.data) or count > len(self.data):
            raise ValueError(f"an array of {count:,} elements goes beyond its end")
        return end


def read_header(path: Path, origin: str) -> Header:
    """What a file says of itself.

    Args:
        path: The file.
        origin: The path as a person reads it.

    Raises:
        GateError: If it is no GGUF file, a part of one, or of a model that gives no embeddings.
    """
    # Sizes that overflow would be read as others.
    with distrusting(GateError, f"{origin} is no whole GGUF file", ANEW, OSError), np.errstate(over="raise"):
        read = _Reader(path)
        values = {key: field.contents() for key, field in read.fields.items() if not key.startswith("tokenizer.")}
    _refuse_types(values, origin)
    _refuse(values, "tokenizer.ggml.tokens" in read.fields, origin)
    architecture = values["general.architecture"]
    products = [tensor for tensor in read.tensors if _is_product(tensor)]
    if not products:
        raise GateError(f"{origin} holds no weights of a transformer", ANEW)
    return Header(
        architecture=architecture,
        pooling=POOLINGS.get(values.get(f"{architecture}.pooling_type", 0)),
        dim=values.get(f"{architecture}.embedding_length"),
        longest=values.get(f"{architecture}.context_length"),
        has_dense=any(tensor.name.startswith("dense_") for tensor in read.tensors),
        types=dict(Counter(tensor.tensor_type.name for tensor in read.tensors).most_common()),
        products=dict(Counter(tensor.tensor_type.name for tensor in products).most_common()),
        weight_bytes=sum(int(tensor.n_bytes) for tensor in read.tensors),
        product_bytes=sum(int(tensor.n_bytes) for tensor in products),
    )


def _refuse_types(values: Mapping[str, Any], origin: str) -> None:
    """Refuses what has another type than llama.cpp asks for.

    Raises:
        GateError: If something has.
    """
    name, whole = "general.architecture", (".pooling_type", ".embedding_length", ".context_length", "split.count")
    for key in (key for key in values if key == name or key.endswith(whole)):
        fits = isinstance(values[key], str) if key == name else type(values[key]) is int and values[key] >= 0
        if not fits:
            raise GateError(f"{origin} is no whole GGUF file: {key} is {reprlib.repr(values[key])}", ANEW)


def _is_product(tensor: Any) -> bool:
    """Whether a tensor is a matrix that a product reads."""
    name: str = tensor.name
    is_table = name.startswith(NO_PRODUCTS) or POSITIONS in name
    return len(tensor.shape) >= 2 and name.endswith(".weight") and not is_table


def _refuse(values: Mapping[str, Any], has_tokens: bool, origin: str) -> None:
    """Refuses what llama.cpp runs for something else than embeddings, or ends the process over.

    Raises:
        GateError: If it is so.
    """
    architecture = values.get("general.architecture")
    parts = values.get("split.count") or 1
    if parts > 1:
        step = "merge them: llama-gguf-split --merge FIRST_PART WHOLE_FILE"
        raise GateError(f"{origin} is one of the {parts} parts of a GGUF file", step)
    if not architecture or not has_tokens:
        lacks = "the name of an architecture" if not architecture else "a tokenizer"
        raise GateError(f"{origin} is a GGUF file without {lacks}, so it embeds no text", ANEW)
    if values.get(f"{architecture}.pooling_type") == RANK:
        raise GateError(f"{origin} is a reranker, which scores pairs of texts", "give a file of an embedding model")
