"""Every fault that must turn a gate red does, with its cause named; a sound model stays green.

Each fault is a combination a host project could have added: a factory from model folder to encoder.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Normalize, Pooling

from embedgate.combination import Combination
from embedgate.judgement import Judgement


def load(path: Path) -> SentenceTransformer:
    return SentenceTransformer(str(path), device="cpu", model_kwargs={"dtype": torch.float32}, local_files_only=True)


def cls_pooling(path: Path, _: str) -> SentenceTransformer:
    model = load(path)
    return SentenceTransformer(modules=[model[0], Pooling(384, pooling_mode="cls"), Normalize()], device="cpu")


def dropped_layer(path: Path, _: str) -> SentenceTransformer:
    model = load(path)
    model[0].model.encoder.layer = model[0].model.encoder.layer[:-1]
    return model


def noisy_weights(path: Path, _: str) -> SentenceTransformer:
    model = load(path)
    noise = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.02 * weight.std() * torch.randn(weight.shape, generator=noise)
    return model


def upper_case_kept(path: Path, _: str) -> SentenceTransformer:
    model = load(path)
    tokenizer = model.tokenizer.backend_tokenizer
    tokenizer.normalizer.lowercase = False
    return model


class Wrapped:
    """A sound model whose output is tampered with."""

    def __init__(self, path: Path, tamper: Callable[[np.ndarray, list[str]], np.ndarray]) -> None:
        self.model, self.tamper = load(path), tamper

    def encode(self, texts: list[str], batch_size: int = 32) -> np.ndarray:
        return self.tamper(self.model.encode(list(texts), batch_size=batch_size), list(texts))


def other_order(path: Path, _: str) -> Wrapped:
    return Wrapped(path, lambda rows, texts: rows[np.argsort([len(text.split()) for text in texts], kind="stable")])


def nan_in_one_row(path: Path, _: str) -> Wrapped:
    def tamper(rows: np.ndarray, texts: list[str]) -> np.ndarray:
        rows = rows.copy()
        rows[17, 3] = np.nan
        return rows

    return Wrapped(path, tamper)


def sound(path: Path, _: str) -> SentenceTransformer:
    return load(path)


class OtherBatches:
    """A sound model that is handed the texts in another order and in other batches."""

    def __init__(self, path: Path) -> None:
        self.model = load(path)

    def encode(self, texts: list[str], batch_size: int = 32) -> np.ndarray:
        order = np.random.default_rng(1).permutation(len(texts))
        rows = self.model.encode([texts[i] for i in order], batch_size=7)
        restored = np.empty_like(rows)
        restored[order] = rows
        return restored


FAULTS = {
    "cls-fp16-cpu": (cls_pooling, "pooling", "it pools by CLS, the reference by mean"),
    "dropped-fp16-cpu": (dropped_layer, "hidden states", "layers are missing"),
    "noisy-fp16-cpu": (noisy_weights, "hidden states", "the weights themselves differ"),
    "upper-fp16-cpu": (upper_case_kept, "tokens", "the tokenizer gives other ids"),
    "order-fp16-cpu": (other_order, "order", "embeddings come back in another order"),
    "nan-fp16-cpu": (nan_in_one_row, "finiteness", "1 of "),
}
SOUND = {"twice-fp32-cpu": sound, "batches-fp32-cpu": lambda path, _: OtherBatches(path)}


@pytest.fixture(scope="module")
def judge(judge_with):
    factories = {name: factory for name, (factory, *_) in FAULTS.items()}
    return judge_with(
        {**factories, **SOUND, "disguised-int8-cpu": sound}, data=("pairs", "triplets"), combinations=("*-cpu",)
    )


def judgements(judge, name: str) -> list[Judgement]:
    combination = Combination.parse(name)
    found = [judge.effective(combination)]
    for dataset in judge.session.datasets:
        found += [judge.retention(combination, dataset, metric) for metric in metrics_of(dataset)]
    return found + [judge.agreement(combination, metric) for metric in ("cosine_mean", "cosine_p01", "top10_overlap")]
