"""A model small enough for tests of structure: all-MiniLM-L6-v2 with one of its layers and a fourth of its words.

Its feed-forward layer keeps a fourth of its channels. Its files are those of a real model, similar texts are similar in
it, and its embeddings spread as those of the whole model do, so that codes of 8 bits and 1 bit tell them apart. What is
claimed of the quality of real models, or of several layers, is tested with the whole one.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from safetensors import safe_open
from safetensors.numpy import save_file
from sentence_transformers import SentenceTransformer

from embedgate.core.model import DEFAULT_MODEL, Model, resolve
from embedgate.data import load_calibration

LAYERS = 1
WORDS = 8000
WIDTH = 384
MAX_SEQ_LENGTH = 128


def small_model(folder: Path) -> Model:
    """The small model in a folder `small` of the given one: made once, in whatever process asks first."""
    made = folder / "small"
    with FileLock(folder / "small.lock"):
        if not made.is_dir():
            unfinished = folder / "small.unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            _cut(resolve(DEFAULT_MODEL).path, unfinished)
            unfinished.rename(made)
    return resolve(str(made))


def copy_with(model: Model, folder: Path, **settings: Any) -> Path:
    """A copy of a model in a new folder, whose config of Sentence Transformers says what is given."""
    shutil.copytree(model.path, folder)
    _change(folder / "config_sentence_transformers.json", **settings)
    return folder


def _cut(whole: Path, target: Path) -> None:
    left_out = shutil.ignore_patterns("*.safetensors", "data_config.json", "vocab.txt")
    shutil.copytree(whole, target, ignore=left_out)
    _change(target / "config.json", num_hidden_layers=LAYERS, vocab_size=WORDS, intermediate_size=WIDTH)
    _change(target / "sentence_bert_config.json", max_seq_length=MAX_SEQ_LENGTH)
    tokenizer = json.loads((whole / "tokenizer.json").read_text("utf-8"))
    vocab = {word: number for word, number in tokenizer["model"]["vocab"].items() if number < WORDS}
    _change(target / "tokenizer.json", model=tokenizer["model"] | {"vocab": vocab})
    with safe_open(whole / "model.safetensors", "np") as tensors:
        kept = {name: tensors.get_tensor(name) for name in tensors.keys() if _layer(name) < LAYERS}  # noqa: SIM118
    name = "embeddings.word_embeddings.weight"
    kept[name] = kept[name][:WORDS].copy()
    for layer in range(LAYERS):
        _narrow(kept, f"encoder.layer.{layer}")
    save_file(kept, target / "model.safetensors", {"format": "pt"})
    # After so few layers, all embeddings lie in one direction. Mean pooling commutes with the last bias.
    kept[f"encoder.layer.{LAYERS - 1}.output.LayerNorm.bias"] -= _mean_pooled(target)
    save_file(kept, target / "model.safetensors", {"format": "pt"})


def _narrow(weights: dict[str, np.ndarray], layer: str) -> None:
    """Keeps the channels of a layer's feed-forward that can add most to its result."""
    first, second = f"{layer}.intermediate.dense", f"{layer}.output.dense.weight"
    size = np.linalg.norm(weights[f"{first}.weight"], axis=1) * np.linalg.norm(weights[second], axis=0)
    most = np.sort(np.argsort(-size, kind="stable")[:WIDTH])
    for name in (f"{first}.weight", f"{first}.bias"):
        weights[name] = weights[name][most].copy()
    weights[second] = weights[second][:, most].copy()


def _mean_pooled(folder: Path) -> np.ndarray:
    """Mean embedding before normalisation, rounded so that every CPU finds the same."""
    transformer, pooling, _ = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    texts, _ = load_calibration()
    unnormalised = SentenceTransformer(modules=[transformer, pooling], device="cpu")
    return unnormalised.encode(list(texts[:100])).mean(axis=0).round(3)


def _layer(tensor: str) -> int:
    found = re.match(r"encoder\.layer\.(\d+)\.", tensor)
    return int(found[1]) if found else -1


def _change(file: Path, **changed: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | changed), "utf-8")
