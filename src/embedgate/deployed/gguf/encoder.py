"""Runs a GGUF file; imports llama.cpp and torch."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from sentence_transformers.sentence_transformer.modules import Pooling

from embedgate.core.combination import Combination
from embedgate.core.errors import BuildError, EncodeError, ModelError
from embedgate.core.judgement import quoted
from embedgate.core.model import Model
from embedgate.core.roles import Role
from embedgate.deployed.gguf.header import FLOATS, Header
from embedgate.deployed.gguf.llama import POOLINGS, Llama, ends_by, version
from embedgate.deployed.pipeline import finish, modules_after
from embedgate.encoders import BuildContext, Encoder, Evidence, FloatArray, Stability, Stages
from embedgate.encoders.evidence import contradictions, promised
from embedgate.encoders.onnx.tokenizer import Tokenizer
from embedgate.encoders.registry import stability_of

CUT = (
    "llama.cpp cuts no text: embedgate cut those beyond {} tokens and kept their end token "
    "(llama-server refuses texts beyond its batch, and llama-cpp-python cuts their end token away)"
)
HALF = (
    "llama.cpp rounds what attention and GELU take to float16, whatever type the weights have: expect it by "
    "::promise=fp16"
)


# About three times what was measured of all-MiniLM-L6-v2 (Q8_0 0.035, Q4_0 0.047, Q4_K_M 0.056): the last bits of sums
# depend on the batch, and move activations across a step of 8 bits.
QUANTIZED = Stability(batch=0.15)
# Characters of a text in a message.
QUOTED = 40


class GgufEncoder(Encoder):
    """Any GGUF file that gives embeddings, followed by the model's own modules after its pooling.

    Args:
        model: The model that it is a file of.
        path: The file.
        header: What it says of itself.
        combination: What it is called.
        context: Threads to use.
        origin: The path as a person reads it.
        repacks: Whether llama.cpp may rearrange weights for this CPU.
        told: Whether the weight precision was told, and not only read from the file or its name.

    Raises:
        BuildError: If llama.cpp does not load it, or it gives embeddings of another width than the model's.
    """

    def __init__(
        self,
        model: Model,
        path: Path,
        header: Header,
        combination: Combination,
        context: BuildContext,
        origin: str,
        *,
        repacks: bool = True,
        told: bool = False,
    ) -> None:
        self.stability = stability_of(combination) if header.is_float else QUANTIZED
        self._header = header
        self._combination = combination
        self._threads = context.threads
        self._origin = origin
        self._free = threading.Lock()
        self._told = told
        self._pooling, pooled_by = _pooling(model, header, origin)
        if repacks and not header.is_float and (name := ends_by(path)):
            raise BuildError(
                f"llama.cpp ends the process with {origin} on this CPU ({name})",
                "gate it by ::repack=off, and serve it by llama-server --no-repack; or build llama.cpp without AMX",
            )
        self._runs = Llama(path, origin, context.threads, repacks)
        self._modules = [
            module
            for module in modules_after(model, "pooled", self._runs.dim)
            if not (header.has_dense and type(module).__name__ == "Dense")
        ]
        self._kept = model.truncate_dim
        self._longest = _longest(model, header)
        self._ends = self._special_at_the_end()
        self._cut_any = False
        self._size = path.stat().st_size
        self._details = {
            "file": origin,
            "architecture": header.architecture,
            "types": dict(header.types),
            "pooling": pooled_by,
            "then": [type(module).__name__ for module in self._modules],
            "repacked for this CPU": "as llama.cpp chooses" if repacks else "no",
            "longest text": f"{self._longest} tokens" if self._longest else "any",
        }

    def encode(self, texts: Sequence[str], batch_size: int = 32) -> FloatArray:
        """Embeds texts; see `Encoder.encode`.

        Raises:
            EncodeError: If the file's tokenizer finds no token in a text, or llama.cpp fails.
        """
        return self._finished(self._ids(texts), batch_size)[0]

    def stages(self, texts: Sequence[str]) -> Stages:
        """Intermediate results for a few texts; see `Encoder.stages`."""
        ids = self._ids(texts)
        finished, pooled = self._finished(ids, len(ids))
        hidden = None
        if not self._header.has_dense:  # llama.cpp puts each token through these as well
            with self._free:
                hidden = [self._runs.hidden(each) for each in ids]
        return Stages([np.asarray(each, dtype=np.int64) for each in ids], hidden, pooled, finished)

    def tokens_as(self, role: Role, texts: Sequence[str]) -> list[npt.NDArray[np.int64]] | None:
        """Token ids of texts with the prompt of a role; see `Encoder.tokens_as`."""
        return [np.asarray(each, dtype=np.int64) for each in self._ids(role.prompted(texts))]

    def evidence(self) -> Evidence:
        """Products by the type of their weights; the details tell what llama.cpp multiplies them with."""
        products = self._header.computes_in
        return Evidence(
            device="cpu",
            threads=self._threads,
            weight_bytes=self._header.weight_bytes,
            products=products,
            library=version(),
            details=self._details | {"computes in": _computes_in(self._header)},
            problems=self._problems(products),
            artefact_bytes=self._size,
            product_bytes=self._header.product_bytes,
            notes=(CUT.format(self._longest),) if self._cut_any else (),
        )

    def _problems(self, products: Mapping[str, int]) -> tuple[str, ...]:
        wanted = self._combination.weight_precision
        if wanted == "fp32":
            return (*contradictions(self._combination, products, "cpu"), HALF)
        if wanted == "fp16" and self._told and set(products) == {"float32"}:  # as HALF says
            return ()
        if promised(self._combination) is None and wanted.startswith("int") and wanted not in products:
            kinds = ", ".join(f"{count} in {kind}" for kind, count in products.items())
            return (f"named {wanted}, but its products compute in other types: {kinds}",)
        return contradictions(self._combination, products, "cpu")

    def close(self) -> None:
        """Frees the file; see `Encoder.close`."""
        with self._free:
            self._runs.close()

    def _finished(self, ids: Sequence[Sequence[int]], batch_size: int) -> tuple[FloatArray, FloatArray | None]:
        with self._free:
            pooled = self._runs.pooled(ids, self._pooling, batch_size)
        return finish(self._modules, {"sentence_embedding": torch.from_numpy(pooled)}, self._kept)

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids by the file's own tokenizer, cut as Sentence Transformers cuts: what ends every text is kept."""
        found = [self._runs.tokens(text) for text in texts]
        for row, ids in enumerate(found):
            if not ids:
                cause = f"the tokenizer of {self._origin} finds no token in {quoted(texts[row], QUOTED)}"
                raise EncodeError(cause, "convert it with the tokens that begin and end a text")
            if self._longest and len(ids) > self._longest:
                found[row] = [*ids[: self._longest - len(self._ends)], *self._ends]
                self._cut_any = True
        return found

    def _special_at_the_end(self) -> list[int]:
        """The tokens that the file's tokenizer puts behind every text."""
        bare, whole = self._runs.tokens("a", special=False), self._runs.tokens("a")
        start = next((at for at in range(len(whole)) if whole[at : at + len(bare)] == bare), len(whole))
        return whole[start + len(bare) :]


def _pooling(model: Model, header: Header, origin: str) -> tuple[str, str]:
    """How tokens become one embedding, and who says so.

    Raises:
        BuildError: If llama.cpp does not have it, or the file is of another width than the model.
    """
    place = next((each for each in model.modules if str(each["type"]).endswith(".Pooling")), None)
    config = Pooling.load_config(str(model.path), subfolder=str(place["path"])) if place else {}
    width = config.get("embedding_dimension")
    if width is not None and header.dim is not None and header.dim != width:
        cause = f"{origin} gives {header.dim} dimensions, and {model.name} has {width}"
        raise BuildError(cause, "give the file that was converted from this model")
    if header.pooling is not None:
        return header.pooling, f"{header.pooling}, as the file says"
    own = str(config.get("pooling_mode"))
    if own not in POOLINGS:
        raise BuildError(
            f"{origin} names no pooling, and llama.cpp does not have the one of {model.name} ({own})",
            "convert it with its pooling, as llama.cpp's convert_hf_to_gguf.py does in the model's folder",
        )
    return own, f"{own}, as the model's; the file names none"


def _longest(model: Model, header: Header) -> int | None:
    """Tokens that a text is cut to: as many as the model takes, or the file where that is fewer; None for any."""
    try:
        limits = [Tokenizer(model).max_tokens, header.longest]
    except ModelError:  # a tokenizer that the model needs, and the file does not
        limits = [header.longest]
    return min((limit for limit in limits if limit), default=None)


def _computes_in(header: Header) -> str:
    """What llama.cpp computes its products in on a CPU, as its source says of each type of weights."""
    kinds = [
        FLOATS[kind][1] if kind in FLOATS else f"{kind} weights with activations rounded to 8 bits"
        for kind in header.products
    ]
    return f"{'; '.join(kinds)}; summed in float32 at last"
