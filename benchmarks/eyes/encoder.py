"""An encoder with a fault, as fp16 or on top of int8, and what the fault does to the texts that are asked.

What is sound about an encoder is computed once for each text and kept, so that forty faults around one model cost as
much as one. It is the only thing shared: every fault is asked anew in every session.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from causes.fault import Encode, Fault, Rows, load, untouched
from sentence_transformers import SentenceTransformer

from eyes import layers
from eyes.zoo import PROMISES, Case, Promise

# A call of so many texts is one for a dataset's.
MANY = 200
# A text is touched where its embedding moves by more than this share of its length.
TOUCHED = 0.01


def model_of(folder: Path, fault: Fault, promise: Promise) -> SentenceTransformer:
    """A model with what a fault does within it, in float32 or with products in int8."""
    model = load(folder)
    if fault.change is not None:
        fault.change(model)
    if promise == "int8":
        layers.dynamic_int8(model)
    return model


def plain(model: SentenceTransformer, promise: Promise) -> Encode:
    """How a model is encoded with, texts having their prompts: fp16 answers with as many digits as it has."""
    kind = np.float16 if promise == "fp16" else np.float32

    def encoded(given: list[str], size: int) -> Rows:
        found: Rows = model.encode(given, batch_size=size, prompt="").astype(kind).astype(np.float32)
        return found

    return encoded


class Kept:
    """A sound encoder that keeps what it gave, also for later sessions.

    Args:
        folder: The model.
        promise: Its weight precision.
        file: Where embeddings are kept.
    """

    def __init__(self, folder: Path, promise: Promise, file: Path) -> None:
        self._folder, self._promise, self._file = folder, promise, file
        self._encode: Encode | None = None
        self._rows: dict[str, Rows] = {}
        self._new, self._lock = 0, threading.Lock()
        if file.exists():
            with np.load(file) as held:
                self._rows = dict(zip(json.loads(held["texts"].tobytes()), held["rows"], strict=True))

    def encode(self, given: list[str], size: int) -> Rows:
        """Embeddings, float32 `[n, dim]`."""
        with self._lock:
            if missing := [text for text in dict.fromkeys(given) if text not in self._rows]:
                self._rows.update(zip(missing, self._encoded(missing, size), strict=True))
                self._new += len(missing)
            return np.stack([self._rows[text] for text in given])

    def _encoded(self, given: list[str], size: int) -> Rows:
        if self._encode is None:
            self._encode = plain(model_of(self._folder, Fault("", ""), self._promise), self._promise)
        return self._encode(given, size)

    def write(self) -> None:
        """Keeps them for later sessions, where there are new ones."""
        if not self._new:
            return
        texts = np.frombuffer(json.dumps(list(self._rows)).encode(), dtype=np.uint8)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self._file.with_suffix(".unfinished.npz")
        np.savez(unfinished, texts=texts, rows=np.stack(list(self._rows.values())))
        unfinished.replace(self._file)
        self._new = 0


class Faulty:
    """An encoder of a case.

    Args:
        case: The case.
        folder: The model.
        sound: The same without the fault.
        told: Where what the fault does is written when it closes.
    """

    def __init__(self, case: Case, folder: Path, sound: Kept, told: Path) -> None:
        self._sound, self._told = sound, told
        self._encode = _encode_of(case, folder, sound)
        self._given: dict[str, Rows] = {}

    def encode(self, texts: Sequence[str], batch_size: int = 32) -> Any:
        """Embeddings, float32 `[n, dim]`."""
        found = self._encode(list(texts), batch_size)
        if len(texts) >= MANY:
            for text, row in zip(texts, np.array(found), strict=True):
                self._given.setdefault(text, row)
        return found

    def close(self) -> None:
        """Writes what the fault does, and keeps what was computed."""
        if self._given:
            harm = harm_of(np.stack(list(self._given.values())), self._sound.encode(list(self._given), 32))
            before = json.loads(self._told.read_text("utf-8")) if self._told.exists() else {"texts": 0}
            if harm["texts"] >= before["texts"]:
                self._told.write_text(json.dumps(harm), "utf-8")
        self._sound.write()


def _encode_of(case: Case, folder: Path, sound: Kept) -> Encode:
    fault = case.fault
    if fault.boxed is not None:  # it does around a black box what the change does within a model
        return fault.boxed(sound.encode)
    is_within = fault.change is not None
    inner = plain(model_of(folder, fault, case.promise), case.promise) if is_within else sound.encode
    return (fault.around or untouched)(inner)


def harm_of(found: Rows, right: Rows) -> dict[str, float]:
    """What a fault does to embeddings.

    Args:
        found: With the fault, `[n, dim]`.
        right: Without it.

    Returns:
        `texts`, the `touched` share of these, and the least and the mean cosine.
    """
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(right, axis=1)
        cosines = np.nan_to_num((found * right).sum(axis=1) / lengths)
        moves = np.linalg.norm(found - right, axis=1) / np.linalg.norm(right, axis=1)
    return {
        "texts": len(found),
        "touched": round(float((~(moves <= TOUCHED)).mean()), 4),
        "least": round(float(cosines.min()), 4),
        "mean": round(float(cosines.mean()), 4),
    }


def sound_ones(folder: Path, kept: Path) -> dict[Promise, Kept]:
    """The sound encoders of a model, by what they promise."""
    return {promise: Kept(folder, promise, kept / f"{folder.name}-{promise}.npz") for promise in PROMISES}
