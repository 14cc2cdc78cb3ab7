"""A small model with prompts, as e5, EmbeddingGemma and their like have them, and encoders that miss these."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from sentence_transformers import SentenceTransformer

from embedgate.core.model import Model, resolve
from helpers.faults import load
from helpers.small import copy_with

PROMPTS = {
    "query": "search query: ",
    "document": "passage of text: ",
    "STS": "sentence similarity: ",
    "Clustering": "topic of: ",
}


def with_prompts(small: Model, folder: Path, **settings: Any) -> Model:
    """A copy of the small model whose config has prompts."""
    return resolve(str(copy_with(small, folder / "prompted", **{"prompts": PROMPTS, **settings})))


class ByRole:
    """A sound encoder that treats queries and documents itself."""

    def __init__(self, path: Path, _: str = "") -> None:
        self.model = load(path)

    def encode_query(self, texts: list[str], batch_size: int = 32) -> np.ndarray:
        return self.model.encode_query(texts, batch_size=batch_size)

    def encode_document(self, texts: list[str], batch_size: int = 32) -> np.ndarray:
        return self.model.encode_document(texts, batch_size=batch_size)

    def encode(self, texts: list[str], batch_size: int = 32) -> np.ndarray:
        return self.model.encode(texts, batch_size=batch_size, prompt="")


class Alone:
    """A sound encoder that has `encode` alone and adds no prompt: it gets the prompts with the texts."""

    def __init__(self, path: Path, _: str = "") -> None:
        self.model = load(path)

    def encode(self, texts: list[str], batch_size: int = 32) -> np.ndarray:
        return self.model.encode(texts, batch_size=batch_size, prompt="")


class Drops(ByRole):
    """Encodes queries without their prompt."""

    def encode_query(self, texts: list[str], batch_size: int = 32) -> np.ndarray:
        return self.encode(texts, batch_size=batch_size)


class DropsSome(ByRole):
    """Encodes each third query of a call without its prompt."""

    dropped = slice(None, None, 3)

    def encode_query(self, texts: list[str], batch_size: int = 32) -> np.ndarray:
        rows = super().encode_query(texts, batch_size)
        if some := texts[self.dropped]:
            rows[self.dropped] = self.encode(some, batch_size)
        return rows


class DropsMost(DropsSome):
    """Encodes all queries of a call but the first four without their prompt."""

    dropped = slice(4, None)


class Mixes(ByRole):
    """Encodes each query in another wrong way: without its prompt, with it twice, and as a document."""

    def encode_query(self, texts: list[str], batch_size: int = 32) -> np.ndarray:
        prompt, other = PROMPTS["query"], PROMPTS["document"]
        wrong = [("", prompt * 2, other)[sum(map(ord, text)) % 3] + text for text in texts]
        return self.encode(wrong, batch_size)


class DropsAlone(ByRole):
    """Encodes a text that comes alone without its prompt, in every role."""

    def encode_query(self, texts: list[str], batch_size: int = 32) -> np.ndarray:
        return super().encode_query(texts, batch_size) if len(texts) > 1 else super().encode(texts, batch_size)

    def encode(self, texts: list[str], batch_size: int = 32) -> np.ndarray:
        bare = [text.removeprefix(PROMPTS["STS"]) for text in texts]
        return super().encode(texts if len(texts) > 1 else bare, batch_size)


class DropsLater(ByRole):
    """Adds no prompt from the third call on."""

    calls = 0

    def encode_query(self, texts: list[str], batch_size: int = 32) -> np.ndarray:
        return self._counted(super().encode_query, texts, batch_size)

    def encode_document(self, texts: list[str], batch_size: int = 32) -> np.ndarray:
        return self._counted(super().encode_document, texts, batch_size)

    def _counted(self, encode: Any, texts: list[str], batch_size: int) -> np.ndarray:
        self.calls += 1
        return (encode if self.calls < 3 else self.encode)(texts, batch_size)


class PutsBehind(ByRole):
    """Puts the prompt of queries behind them."""

    def encode_query(self, texts: list[str], batch_size: int = 32) -> np.ndarray:
        return self.encode([f"{text} {PROMPTS['query']}" for text in texts], batch_size)


class Doubles(ByRole):
    """Puts the prompt of documents before them twice."""

    def encode_document(self, texts: list[str], batch_size: int = 32) -> np.ndarray:
        return super().encode_document([PROMPTS["document"] + text for text in texts], batch_size)


class CachesByText(ByRole):
    """Keeps embeddings by the text alone, whatever it was encoded as first."""

    def __init__(self, path: Path, _: str = "") -> None:
        super().__init__(path)
        self.known: dict[str, np.ndarray] = {}

    def encode_query(self, texts: list[str], batch_size: int = 32) -> np.ndarray:
        return self._kept(texts, super().encode_query(texts, batch_size))

    def encode_document(self, texts: list[str], batch_size: int = 32) -> np.ndarray:
        return self._kept(texts, super().encode_document(texts, batch_size))

    def _kept(self, texts: list[str], found: np.ndarray) -> np.ndarray:
        return np.stack([self.known.setdefault(text, row) for text, row in zip(texts, found, strict=True)])


class Exchanges(ByRole):
    """Encodes queries as documents."""

    def encode_query(self, texts: list[str], batch_size: int = 32) -> np.ndarray:
        return self.encode_document(texts, batch_size)


class Swaps(ByRole):
    """Takes queries for documents and documents for queries."""

    def encode_query(self, texts: list[str], batch_size: int = 32) -> np.ndarray:
        return super().encode_document(texts, batch_size)

    def encode_document(self, texts: list[str], batch_size: int = 32) -> np.ndarray:
        return super().encode_query(texts, batch_size)


class AddsItsOwn(Alone):
    """Says that it adds prompts, and always adds that of queries."""

    adds_prompts = True

    def encode(self, texts: list[str], batch_size: int = 32) -> np.ndarray:
        return self.model.encode_query(texts, batch_size=batch_size)


class AddsUnsaid(AddsItsOwn):
    """Adds the prompt of queries and does not say so: texts come with their own already."""

    adds_prompts = False


def without_prompts(path: Path, _: str) -> SentenceTransformer:
    """Loaded with a config that lost the prompt of queries."""
    return SentenceTransformer(str(path), device="cpu", local_files_only=True, prompts={"query": ""})
