"""Sound encoders that are unusual: other arithmetic, other batches, other answers, and every text's own embedding."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize
from torch import nn

from causes.fault import Change, Encode, Rows
from causes.pipeline import Features, inputs


def dtype(kind: torch.dtype) -> Change:
    """Everything is computed in another type."""

    def change(model: SentenceTransformer) -> None:
        model.to(kind)

    return change


def eager_attention(model: SentenceTransformer) -> None:
    """Attention by plain products, not by a fused kernel."""
    model[0].model.set_attn_implementation("eager")


def gelu_by_tanh(model: SentenceTransformer) -> None:
    """GELU as many engines approximate it."""
    for layer in model[0].model.encoder.layer:
        layer.intermediate.intermediate_act_fn = nn.GELU(approximate="tanh")


def other_epsilon(model: SentenceTransformer) -> None:
    """LayerNorm with PyTorch's own epsilon."""
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-5


def normalised_twice(model: SentenceTransformer) -> None:
    """A second Normalize."""
    model.append(Normalize())


def padded_to(multiple: int) -> Change:
    """Batches are padded to a multiple of so many tokens."""

    def change(model: SentenceTransformer) -> None:
        own = model[0].preprocess

        def preprocess(*args: Any, **given: Any) -> Any:
            features = own(*args, **given)
            more = -features["input_ids"].shape[1] % multiple
            return {
                name: nn.functional.pad(value, (0, more)) if torch.is_tensor(value) and value.ndim == 2 else value
                for name, value in features.items()
            }

        model[0].preprocess = preprocess

    return change


def padded_on_the_left(model: SentenceTransformer) -> None:
    """Padding comes first, and positions count a text's own tokens."""
    model.tokenizer.padding_side = "left"

    def own(given: Features) -> Features:
        return {"position_ids": (given["attention_mask"].cumsum(dim=1) - 1).clamp(min=0)}

    inputs(own)(model)


def dynamic_int8(per_channel: bool) -> Change:
    """Dynamic int8, as torch has it, of all products of the layers."""

    def change(model: SentenceTransformer) -> None:
        import warnings

        quantization = torch.ao.quantization
        known = quantization.per_channel_dynamic_qconfig if per_channel else quantization.default_dynamic_qconfig
        bert = model[0].model
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            bert.encoder = quantization.quantize_dynamic(bert.encoder, {nn.Linear: known})

    return change


def weights_through_int8(model: SentenceTransformer) -> None:
    """Weights were stored in int8, a scale per row, and are float32 again."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear):
                scale = module.weight.abs().amax(dim=1, keepdim=True) / 127
                module.weight.copy_((module.weight / scale).round() * scale)


# Around the model.


def sorted_and_restored(encode: Encode) -> Encode:
    """Texts are sorted by length, and embeddings put back."""

    def encoded(given: list[str], size: int) -> Rows:
        order = sorted(range(len(given)), key=lambda i: -len(given[i]))
        found = encode([given[i] for i in order], size)
        restored = np.empty_like(found)
        restored[order] = found
        return restored

    return encoded


def one_at_a_time(encode: Encode) -> Encode:
    """Every text comes alone."""
    return lambda given, _: np.concatenate([encode([text], 1) for text in given])


def in_threads(encode: Encode) -> Encode:
    """Two threads take the halves of a request."""

    def encoded(given: list[str], size: int) -> Rows:
        parts = [part for part in (given[::2], given[1::2]) if part]
        with ThreadPoolExecutor(2) as threads:
            answers = list(threads.map(lambda part: encode(part, size), parts))
        found = np.empty((len(given), answers[0].shape[1]), dtype=np.float32)
        for start, answer in enumerate(answers):
            found[start::2] = answer
        return found

    return encoded


def whitespace_collapsed(text: str) -> str:
    """Runs of white space are one space: the model's tokenizer splits at both alike."""
    return " ".join(text.split())


def as_json(found: Rows) -> Rows:
    """Written as JSON with six significant digits, and read again."""
    return np.array([json.loads(json.dumps([float(f"{value:.6g}") for value in row])) for row in found])


def in_half(found: Rows) -> Any:
    """Rounded to float16."""
    return found.astype(np.float16)


def four_decimals(found: Rows) -> Rows:
    """Rounded to four decimals."""
    return found.round(4)


def int8_by_vector(found: Rows) -> Rows:
    """int8 codes with a scale for each vector, and decoded."""
    scale = np.abs(found).max(axis=1, keepdims=True) / 127
    return (found / scale).round() * scale
