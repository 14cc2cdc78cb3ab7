"""The base of every encoder that runs as a `SentenceTransformer`: encoding, stages and evidence."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from sentence_transformers.sentence_transformer.modules import Normalize
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from embedgate.core.combination import REFERENCE_WEIGHT_PRECISION, Combination
from embedgate.core.errors import EncodeError
from embedgate.core.roles import DOCUMENT, PLAIN, QUERY, Role
from embedgate.encoders import Encoder, Evidence, FloatArray, Stages
from embedgate.encoders.change import Replay
from embedgate.encoders.evidence import IN_TRAINING, UNKNOWN_DEVICE, contradictions
from embedgate.encoders.inside import ModuleWeights, layers_of
from embedgate.encoders.loading import PROBE
from embedgate.encoders.registry import offers, stability_of
from embedgate.encoders.weights import Weight

# The methods for texts in a role; by `encode`, every other one is encoded.
BY_ROLE = {QUERY: "encode_query", DOCUMENT: "encode_document"}


def without_cuda(combination: Combination) -> str | None:
    """Why the GPU, as torch sees it, cannot run a combination of CUDA, in one line; None where it can."""
    if combination.device != "cuda":
        return None
    if not torch.cuda.is_available():
        return "torch sees no CUDA device"
    offer, capability = offers().get(combination), torch.cuda.get_device_capability()
    if offer is not None and capability < offer.least_capability:
        needed, found = (".".join(map(str, version)) for version in (offer.least_capability, capability))
        kind = combination.weight_precision
        return f"{kind} needs a GPU of compute capability {needed}, {torch.cuda.get_device_name()} has {found}"
    return None


class SentenceTransformerEncoder(Encoder):
    """Runs a `SentenceTransformer` as it is.

    Args:
        model: The loaded model.
        combination: What it is to be; its evidence is held against this.
        threads: Threads for torch, whose pool is the whole process's.
        library: Distribution whose version the evidence names.
        dtype: Type that all weights which are not quantized must be stored in; None where nothing is promised.
        autocast: Type that torch's autocast casts the inputs of products to; None for none.
        details: Put into the evidence as they are.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        combination: Combination,
        *,
        threads: int,
        library: str = "torch",
        dtype: torch.dtype | None = None,
        autocast: torch.dtype | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        self.stability = stability_of(combination)
        self._threads = threads
        self._model = model
        self._combination = combination
        self._library = library
        self._dtype = dtype
        self._autocast = autocast
        self._details = dict(details or {})
        # Encoding puts the model into evaluation mode by itself, so what was handed over is looked at first.
        self._in_training = _in_training(model)

    def encode(self, texts: Sequence[str], batch_size: int = 32) -> FloatArray:
        """Embeds texts; see `Encoder.encode`."""
        return self.encode_as(PLAIN, texts, batch_size)

    def encode_as(self, role: Role, texts: Sequence[str], batch_size: int = 32) -> FloatArray:
        """Embeds texts as Sentence Transformers does in a role; see `Encoder.encode_as`.

        Raises:
            EncodeError: If the model does not give one vector per text.
        """
        if not texts:
            return np.empty((0, self._model.get_embedding_dimension() or 0), dtype=np.float32)
        encode = getattr(self._model, BY_ROLE.get(role.name, "encode"))
        with self._running():
            matrix = np.asarray(encode(list(texts), prompt=role.prompt, batch_size=batch_size, show_progress_bar=False))
        if matrix.ndim != 2 or len(matrix) != len(texts):
            raise EncodeError(f"{self._combination} gave an array of shape {matrix.shape} for {len(texts)} texts")
        return matrix.astype(np.float32, copy=False)

    def stages(self, texts: Sequence[str]) -> Stages | None:
        """Intermediate results for a few texts; see `Stages`."""
        return self.stages_as(PLAIN, texts)

    def stages_as(self, role: Role, texts: Sequence[str]) -> Stages | None:
        """Intermediate results for a few texts in a role; see `Stages`."""
        task = self._task(role)
        modules = list(self._model)
        normalize = next((i for i, module in enumerate(modules) if isinstance(module, Normalize)), len(modules))
        keeps_pooled = modules[max(normalize - 1, 0)].register_forward_hook(_keep_pooled)
        try:
            with self._running():
                # Not self._model.encode: a subclass may have overridden it without `output_value`.
                rows: list[Any] = SentenceTransformer.encode(
                    self._model,
                    list(texts),
                    prompt=role.prompt,
                    batch_size=len(texts),
                    show_progress_bar=False,
                    output_value=None,
                    **task,
                )
        finally:
            keeps_pooled.remove()
        read = self._read(role, texts)
        # A table of embeddings has no ids, and CLIP gives no embedding of a token.
        if (masks := _mask(read)) is None:
            return None
        if any(part not in row for row in rows for part in ("input_ids", "token_embeddings")):
            return None
        kept = [mask.to(row["input_ids"].device) for mask, row in zip(masks, rows, strict=True)]
        return Stages(
            token_ids=[row["input_ids"][mask].cpu().numpy() for row, mask in zip(rows, kept, strict=True)],
            token_embeddings=[_numpy(row["token_embeddings"][mask]) for row, mask in zip(rows, kept, strict=True)],
            pooled=np.stack([_numpy(row["pooled"]) for row in rows]),
            embeddings=self.encode_as(role, texts),
        )

    def tokens_as(self, role: Role, texts: Sequence[str]) -> list[npt.NDArray[np.int64]] | None:
        """Token ids of texts in a role, which takes no run of the model; see `Encoder.tokens_as`."""
        read = self._read(role, texts)
        masks, ids = _mask(read), read.get("input_ids")
        if masks is None or ids is None:
            return None
        return [row[mask].cpu().numpy() for row, mask in zip(ids, masks, strict=True)]

    def layers_as(self, role: Role, texts: Sequence[str]) -> dict[str, list[FloatArray]] | None:
        """Hidden states of texts in a role after each layer of the transformer; see `Encoder.layers_as`."""
        read = self._read(role, texts)
        if (masks := _mask(read)) is None:
            return None
        with self._running():
            return layers_of(self._model, read, masks, self._task(role))

    def weights(self) -> Mapping[str, Weight] | None:
        """The model's weights; see `Encoder.weights`."""
        return ModuleWeights(self._model)

    def _task(self, role: Role) -> dict[str, Any]:
        return {"task": role.name} if self._routed and role.name in BY_ROLE else {}

    def _read(self, role: Role, texts: Sequence[str]) -> dict[str, Any]:
        """What the tokenizer makes of a batch of texts. Its mask tells tokens from padding.

        A model may lose its attention mask on the way, and a token that pads may end a text.
        """
        return dict(self._model.preprocess(list(texts), prompt=role.prompt, **self._task(role)))

    def evidence(self) -> Evidence:
        """Tells what really ran, from the stored weights and from one more run of a short text."""
        products = products_of(self._model, self._run_all)
        wide = _kept_in_float32(self._model)
        devices = sorted({str(weight.device) for weight in self._model.parameters()})
        device = " and ".join(devices) or UNKNOWN_DEVICE
        stored = Counter(
            type_name(weight.dtype)
            for name, weight in self._model.named_parameters()
            if not is_traceable_wrapper_subclass(weight) and not (wide and wide.search(name))
        )
        problems = [*contradictions(self._combination, products, device), *self._unexpected(stored)]
        if self._combination.weight_precision == REFERENCE_WEIGHT_PRECISION:
            problems += reduced_float32() or reduced_products(self._model.device.type)
        in_training = self._in_training or _in_training(self._model)
        if in_training:
            problems.append(f"{in_training} {IN_TRAINING}: call eval()")
        return Evidence(
            device=device,
            threads=torch.get_num_threads(),
            weight_bytes=sum(tensor.nbytes for tensor in self._stored(self._weights())),
            products=products,
            library=f"{self._library} {version(self._library)}",
            details={
                "sentence-transformers": version("sentence-transformers"),
                "transformers": version("transformers"),
                "torch": version("torch"),
                "parameters": dict(stored),
                **self._details,
            },
            problems=tuple(problems),
            product_bytes=sum(tensor.nbytes for tensor in self._stored(self._product_weights())),
        )

    def replay(self) -> Replay:
        """What plays known faults through on its model; see `Encoder.replay`."""
        from embedgate.encoders.replay import replay_of  # where something is red alone

        with self._running():
            return replay_of(self._model, self._running)

    def close(self) -> None:
        """Releases the model."""
        del self._model

    def _run_all(self) -> None:
        """Encodes a short text by every route that a text takes."""
        for role in self._ways():
            self.encode_as(role, [PROBE])

    def _ways(self) -> Iterator[Role]:
        """Roles that together take every route of a text; plain `encode` alone where the model has one way."""
        if not self._routed:
            yield PLAIN
            return
        for role in (PLAIN, *map(Role, BY_ROLE)):
            try:
                self.encode_as(role, [PROBE])
            except ValueError:  # a Router may have no route for one of them
                continue
            yield role

    @property
    def _routed(self) -> bool:
        return any(isinstance(module, Router) for module in self._model)

    def _running(self) -> torch.autocast:
        torch.set_num_threads(self._threads)  # the pool is the whole process's: another encoder may have set it
        device = self._model.device.type
        return torch.autocast(device, dtype=self._autocast, enabled=self._autocast is not None)

    def _unexpected(self, stored: Mapping[str, int]) -> Iterator[str]:
        if self._dtype is None:
            return
        expected = type_name(self._dtype)
        for kind, count in stored.items():
            if kind != expected and getattr(torch, kind).is_floating_point:
                yield f"{count} of {sum(stored.values())} parameters are stored in {kind}, not in {expected}"

    def _stored(self, weights: Iterator[Tensor]) -> Iterator[Tensor]:
        """Every plain tensor that weights are stored in, once, whoever shares it."""
        # Holding them keeps a tensor that was unpacked for this from leaving its address to the next one.
        found = {tensor.data_ptr(): tensor for weight in weights for tensor in plain_tensors(weight)}
        yield from found.values()

    def _weights(self) -> Iterator[Tensor]:
        yield from self._model.parameters()
        yield from self._model.buffers()
        yield from self._product_weights()

    def _product_weights(self) -> Iterator[Tensor]:
        yield from (weight_of(module) for module in self._model.modules() if is_product(module))


def is_product(module: nn.Module) -> bool:
    """Whether a module is a matrix product with weights: `nn.Linear`, or what a library puts in its place."""
    return all(hasattr(module, name) for name in ("in_features", "out_features", "weight"))


def weight_of(product: nn.Module) -> Tensor:
    """A product's weights; torch's own quantized layers unpack them on a call."""
    weight: Any = product.weight
    return weight() if callable(weight) else weight  # type: ignore[no-any-return]


def plain_tensors(tensor: Tensor) -> Iterator[Tensor]:
    """The tensors that a tensor is stored in: itself, or those that a quantized subclass is made of."""
    if not is_traceable_wrapper_subclass(tensor):
        yield tensor
        return
    names, _ = tensor.__tensor_flatten__()
    for name in names:
        yield from plain_tensors(getattr(tensor, name))


def type_name(dtype: torch.dtype) -> str:
    """A type's name without torch's prefix: `float32`, `int8`; torch's `qint8` is `int8` too."""
    return str(dtype).removeprefix("torch.").replace("qint", "int")


def products_of(model: nn.Module, run: Callable[[], object]) -> dict[str, int]:
    """Counts the products that take part in a run by the type they compute in.

    A product with quantized weights computes in the weights' type. One with float weights computes in the type of its
    result, which autocast makes another than the weights'.

    Args:
        model: The model.
        run: Makes the model embed something.
    """
    found: dict[nn.Module, str] = {}

    def look(module: nn.Module, _: Any, result: Any) -> None:
        if not isinstance(result, Tensor):
            return
        weight = weight_of(module)
        largest = max(plain_tensors(weight), key=lambda tensor: tensor.nbytes)
        # bitsandbytes packs two 4-bit codes into a uint8: its own name says which code.
        packed = getattr(weight, "quant_type", None) if largest.dtype == torch.uint8 else None
        found[module] = packed or type_name(result.dtype if _computes_wider(weight, largest) else largest.dtype)

    hooks = [module.register_forward_hook(look) for module in model.modules() if is_product(module)]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return dict(Counter(found.values()))


def _computes_wider(weight: Tensor, stored: Tensor) -> bool:
    """Whether a product computes in the type of its result: weights in float, or in 8 bits that are widened first."""
    if stored.dtype.is_floating_point and stored.dtype.itemsize > 1:
        return True
    # torchao's weights say by what their product's activations are quantized, and None where they are not.
    return getattr(weight, "act_quant_kwargs", ...) is None


def reduced_products(device: str) -> list[str]:
    """Whether float32 products lose bits on a device, as measured: TF32 keeps 10 bits of each factor, bfloat16 7.

    Whole numbers of 12 bits are multiplied by the identity, from which float32 gives them back as they are.
    """
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(2048, 4096, (64, 64), generator=generator).float()
    unit = torch.eye(64)
    lost = (rows.to(device) @ unit.to(device)).cpu() != rows
    if not lost.any():
        return []
    return [f"float32 products lose bits on {device}: {int(lost.sum())} of {lost.numel()} are not exact"]


def reduced_float32() -> list[str]:
    """Settings under which torch computes float32 products in a narrower type, one line each."""
    # What torch.set_float32_matmul_precision and torch.backends.fp32_precision set shows here too. The getter of the
    # former raises where the latter is set.
    backends: Any = torch.backends
    found = [
        f"torch.backends.{name}.matmul.fp32_precision is {backend.matmul.fp32_precision!r}, not 'ieee'"
        for name, backend in (("mkldnn", backends.mkldnn), ("cuda", backends.cuda))
        if backend.matmul.fp32_precision not in ("none", "ieee")
    ]
    found += [
        f"{name} is {os.environ[name]!r}, not 'STRICT'"
        for name in ("ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE")
        if os.environ.get(name, "STRICT").upper() != "STRICT"
    ]
    if os.environ.get("NVIDIA_TF32_OVERRIDE", "0") != "0":
        found.append(f"NVIDIA_TF32_OVERRIDE is {os.environ['NVIDIA_TF32_OVERRIDE']!r}, not '0'")
    return found


def _keep_pooled(_: nn.Module, __: Any, features: dict[str, Any]) -> None:
    features["pooled"] = features["sentence_embedding"]


def _kept_in_float32(model: nn.Module) -> re.Pattern[str] | None:
    """Names of weights that an architecture keeps in float32 whatever the type, as T5 its `wo`; None for none."""
    names = {
        name
        for module in model.modules()
        for listed in ("_keep_in_fp32_modules", "_keep_in_fp32_modules_strict")
        for name in getattr(module, listed, None) or ()
    }
    return re.compile(rf"\b({'|'.join(map(re.escape, sorted(names)))})\b") if names else None


def _mask(read: Mapping[str, Any]) -> Tensor | None:
    """Where a batch of texts has tokens and no padding, bool `[n, tokens]`; None where the model has no such mask."""
    mask = read.get("attention_mask")
    return mask.bool() if mask is not None else None


def _in_training(model: nn.Module) -> int:
    """Counts the modules in training mode that compute otherwise then."""
    return sum(
        module.training and (isinstance(module, _BatchNorm) or (isinstance(module, _DropoutNd) and module.p > 0))
        for module in model.modules()
    )


def _numpy(tensor: Tensor) -> FloatArray:
    return tensor.float().cpu().numpy()
