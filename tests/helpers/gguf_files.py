"""GGUF files of a BERT, as llama.cpp's own convert_hf_to_gguf.py writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, PoolingType, TokenType
from gguf.quants import quantize
from safetensors.numpy import load_file

SPACE = "\u2581"
OUTSIDE = {
    "embeddings.word_embeddings": "token_embd",
    "embeddings.position_embeddings": "position_embd",
    "embeddings.token_type_embeddings": "token_types",
    "embeddings.LayerNorm": "token_embd_norm",
}
INSIDE = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
# Weights that the converter leaves in float32, whatever type was asked for.
KEPT = ("embeddings.position_embeddings", "embeddings.token_type_embeddings")


def write(
    folder: Path,
    file: Path,
    kind: str = "F32",
    *,
    pooling: PoolingType | None = PoolingType.MEAN,
    architecture: str = "bert",
    tokenizer: bool = True,
    ends: bool = True,
    noise: float = 0.0,
    parts: int = 1,
    dim: int | None = None,
) -> Path:
    """Writes a model as a GGUF file.

    Args:
        folder: A folder that begins with a BERT of transformers.
        file: Where it goes.
        kind: The type of its matrices, as ggml names it.
        pooling: What it says of its pooling; None for nothing.
        architecture: The name that it gives itself.
        tokenizer: Whether its tokens are in it.
        ends: Whether its tokenizer has the model's own token that ends a text; else every text ends with [PAD].
        noise: Standard deviation of what is added to its matrices, as a share of theirs: a wrong conversion.
        parts: How many parts it says to be one of.
        dim: The dimensions that it claims; None for those it has.
    """
    config = json.loads((folder / "config.json").read_text("utf-8"))
    made = GGUFWriter(file, architecture)
    made.add_context_length(config["max_position_embeddings"])
    made.add_embedding_length(dim or config["hidden_size"])
    made.add_feed_forward_length(config["intermediate_size"])
    made.add_block_count(config["num_hidden_layers"])
    made.add_head_count(config["num_attention_heads"])
    made.add_layer_norm_eps(config["layer_norm_eps"])
    made.add_causal_attention(False)
    if pooling is not None:
        made.add_pooling_type(pooling)
    if parts > 1:
        made.add_uint16("split.count", parts)
    if tokenizer:
        _add_tokens(made, json.loads((folder / "tokenizer.json").read_text("utf-8")), ends)
    random = np.random.default_rng(0)
    for name, weights in load_file(folder / "model.safetensors").items():
        if (known := _named(name)) is None:
            continue
        values, wanted = weights.astype(np.float32), GGMLQuantizationType.F32
        if values.ndim == 2 and not name.startswith(KEPT):
            values += random.normal(0, 1, values.shape).astype(np.float32) * noise * values.std()
            wanted = GGMLQuantizationType[kind]
        made.add_tensor(known, quantize(values, wanted), raw_dtype=wanted)
    made.write_header_to_file()
    made.write_kv_data_to_file()
    made.write_tensors_to_file()
    made.close()
    return file


def _add_tokens(made: GGUFWriter, tokenizer: dict[str, Any], ends: bool) -> None:
    vocab = tokenizer["model"]["vocab"]
    special = {each["content"] for each in tokenizer["added_tokens"]}
    words = sorted(vocab, key=vocab.__getitem__)
    made.add_tokenizer_model("bert")
    made.add_token_type_count(2)
    made.add_token_list([word if word in special else _spaced(word) for word in words])
    made.add_token_types([TokenType.CONTROL if word in special else TokenType.NORMAL for word in words])
    made.add_bos_token_id(vocab["[CLS]"])
    made.add_sep_token_id(vocab["[SEP]" if ends else "[PAD]"])
    made.add_unk_token_id(vocab["[UNK]"])
    made.add_pad_token_id(vocab["[PAD]"])


def _spaced(word: str) -> str:
    """As llama.cpp has pieces of words: what begins a word is marked, and not what goes on."""
    return word.removeprefix("##") if word.startswith("##") else SPACE + word


def _named(name: str) -> str | None:
    """A tensor's name in the file; None for those of BERT's own pooler."""
    weight, _, part = name.rpartition(".")
    if weight in OUTSIDE:
        return f"{OUTSIDE[weight]}.{part}"
    if not weight.startswith("encoder.layer."):
        return None
    _, _, number, inner = weight.split(".", 3)
    return f"blk.{number}.{INSIDE[inner]}.{part}"
