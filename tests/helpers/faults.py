"""Encoders with a fault, as a host project could add them: factories from a model's folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling


def load(path: Path) -> SentenceTransformer:
    return SentenceTransformer(str(path), device="cpu", model_kwargs={"dtype": torch.float32}, local_files_only=True)


def cls_pooling(path: Path, _: str) -> SentenceTransformer:
    model = load(path)
    return SentenceTransformer(modules=[model[0], Pooling(384, pooling_mode="cls"), Normalize()], device="cpu")


def upper_case_kept(path: Path, _: str) -> SentenceTransformer:
    model = load(path)
    tokenizer = model.tokenizer.backend_tokenizer
    tokenizer.normalizer.lowercase = False
    return model


def sound(path: Path, _: str) -> SentenceTransformer:
    return load(path)


class Wrapped:
    """A sound model whose output is tampered with."""

    def __init__(self, path: Path, tamper: Callable[[np.ndarray, list[str]], np.ndarray]) -> None:
        self.model, self.tamper = load(path), tamper

    def encode(self, texts: list[str], batch_size: int = 32) -> np.ndarray:
        return self.tamper(self.model.encode(list(texts), batch_size=batch_size), list(texts))
