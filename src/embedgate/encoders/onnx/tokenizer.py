"""Token ids as Sentence Transformers would make them, without loading the model's weights.

The encoders that run an exported graph share this. `embedgate.encoders.onnx.export` compares it with Sentence
Transformers' own `preprocess` whenever it exports a model, so a tokenizer loaded in another way is refused and not
misread.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sentence_transformers.base.modules import Transformer
from tokenizers.normalizers import Lowercase
from tokenizers.normalizers import Sequence as Normalizers
from transformers import AutoConfig, AutoTokenizer

from embedgate.core.errors import ModelError
from embedgate.core.model import Model
from embedgate.core.model_files import modules_of
from embedgate.encoders.loading import no_pad_token

IntArray = npt.NDArray[np.int64]

# What a fast tokenizer may give, in the order the exported graph takes it.
INPUT_NAMES = ("input_ids", "attention_mask", "token_type_ids")
TEXTS_PER_CALL = 4096


class Batch(NamedTuple):
    """Texts of similar length, padded to the longest of them.

    Attributes:
        rows: Position of each text in the sequence that was asked for, int64 `[n]`.
        input_ids: int64 `[n, tokens]`.
        attention_mask: 1 for a token and 0 for padding, int64 `[n, tokens]`.
        token_type_ids: int64 `[n, tokens]`; None where the model's tokenizer makes none.
    """

    rows: IntArray
    input_ids: IntArray
    attention_mask: IntArray
    token_type_ids: IntArray | None

    @property
    def feeds(self) -> dict[str, IntArray]:
        """The inputs of the exported graph, by name."""
        return {name: value for name in INPUT_NAMES if (value := getattr(self, name)) is not None}

    def parts(self, most: int) -> Iterator[Batch]:
        """The batch, in as few and equal parts as hold so many texts at most."""
        for rows in np.array_split(np.arange(len(self.rows)), math.ceil(len(self.rows) / most)):
            kinds = None if self.token_type_ids is None else self.token_type_ids[rows]
            yield Batch(self.rows[rows], self.input_ids[rows], self.attention_mask[rows], kinds)


class Tokenizer:
    """A model's own fast tokenizer, with the length limit and lower-casing of its Sentence Transformer.

    Texts are read as they are: a prompt that belongs to them stands in front already.

    Args:
        model: A model whose first module is a `Transformer`.
        most: Tokens that a text is cut to, where that is fewer than the model takes; None for as many as that.

    Attributes:
        own_max_tokens: Longest input that the model takes, in tokens.

    Raises:
        ModelError: If the first module is no `Transformer`, or the tokenizer cannot be loaded, is slow, or has no pad
            token.
    """

    def __init__(self, model: Model, most: int | None = None) -> None:
        folder = _transformer_folder(model.path)
        settings = Transformer.load_config(str(folder))
        options: dict[str, Any] = dict(settings.get("processor_kwargs") or settings.get("tokenizer_args") or {})
        if settings.get("max_seq_length") is not None:
            options.setdefault("model_max_length", settings["max_seq_length"])
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                str(folder), **{**options, "local_files_only": True, "trust_remote_code": False}
            )
            config = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise ModelError(f"the tokenizer in {folder} cannot be loaded: {str(error).splitlines()[0]}") from error
        if tokenizer.pad_token_id is None:
            raise no_pad_token(folder)
        if not tokenizer.is_fast:
            raise ModelError(f"{folder} has a slow tokenizer ({type(tokenizer).__name__})", "save it as tokenizer.json")
        positions = getattr(config, "max_position_embeddings", -1)
        if "model_max_length" not in options and positions != -1:
            tokenizer.model_max_length = min(tokenizer.model_max_length, positions)
        self.own_max_tokens = int(tokenizer.model_max_length)
        if most is not None:
            tokenizer.model_max_length = min(tokenizer.model_max_length, most)
        if settings.get("do_lower_case"):
            own = tokenizer.backend_tokenizer.normalizer
            tokenizer.backend_tokenizer.normalizer = Normalizers([Lowercase(), own] if own else [Lowercase()])
        self._tokenizer = tokenizer
        self.input_names = tuple(name for name in INPUT_NAMES if name in tokenizer("probe"))

    @classmethod
    def known(cls, model: Model) -> Tokenizer | None:
        """The tokenizer of a model; None where the model has none that can be loaded by itself."""
        if not model.has_folder:
            return None
        try:
            return cls(model)
        except ModelError:
            return None

    @property
    def max_tokens(self) -> int:
        """Longest input in tokens, special tokens included; longer texts are cut."""
        return int(self._tokenizer.model_max_length)

    @property
    def pad_token_id(self) -> int:
        """The token that shorter texts of a batch are filled up with."""
        return int(self._tokenizer.pad_token_id)

    @property
    def pads_left(self) -> bool:
        """Whether padding comes before the text."""
        return bool(self._tokenizer.padding_side == "left")

    def ids(self, texts: Sequence[str]) -> list[IntArray]:
        """Token ids of each text without padding, int64 `[tokens]`, special tokens included."""
        return [np.asarray(ids, dtype=np.int64) for ids in self._tokenized(texts)["input_ids"]]

    def spelt(self, ids: Sequence[int]) -> str:
        """Token ids as text, special tokens included."""
        return str(self._tokenizer.decode(list(ids)))

    def cut(self, text: str, most: int) -> str:
        """What is left of a text that is cut so that it has so many tokens at most; all of it where it has no more."""
        if self._length(text) <= most:
            return text
        made = self._tokenizer(
            text, truncation=True, max_length=most, return_offsets_mapping=True, return_special_tokens_mask=True
        )
        spans = zip(made["offset_mapping"], made["special_tokens_mask"], strict=True)
        own = [span for span, special in spans if not special]
        if self._tokenizer.truncation_side == "left":
            pieces = (text[start:] for start, _ in own)
        else:
            pieces = (text[:end] for _, end in reversed(own))
        # A word that is cut may have more tokens than it had of the whole.
        return next((piece for piece in pieces if self._length(piece) <= most), "")

    def _length(self, text: str) -> int:
        return len(self._tokenizer(text, truncation=False, verbose=False)["input_ids"])

    def batches(self, texts: Sequence[str], batch_size: int) -> Iterator[Batch]:
        """Batches of texts, the longest first, so that trouble with memory comes at once and padding is little.

        All texts are tokenised in one call; texts of equal length keep their order.
        """
        if not texts:
            return
        columns = self._tokenized(texts)
        lengths = np.fromiter(map(len, columns["input_ids"]), dtype=np.int64, count=len(texts))
        order = np.argsort(-lengths, kind="stable")
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            padded = {name: self._padded(name, [column[row] for row in rows]) for name, column in columns.items()}
            yield Batch(rows, padded["input_ids"], padded["attention_mask"], padded.get("token_type_ids"))

    def _tokenized(self, texts: Sequence[str]) -> dict[str, list[list[int]]]:
        columns: dict[str, list[list[int]]] = {name: [] for name in self.input_names}
        for start in range(0, len(texts), TEXTS_PER_CALL):
            some = list(texts[start : start + TEXTS_PER_CALL])
            made = self._tokenizer(some, truncation="longest_first", padding=False)
            for name, column in columns.items():
                column.extend(made[name])
        return columns

    def _padded(self, name: str, sequences: list[list[int]]) -> IntArray:
        padding = {
            "input_ids": self.pad_token_id,
            "attention_mask": 0,
            "token_type_ids": self._tokenizer.pad_token_type_id,
        }[name]
        width = max(map(len, sequences))
        matrix = np.full((len(sequences), width), padding, dtype=np.int64)
        for row, sequence in zip(matrix, sequences, strict=True):
            if self.pads_left:
                row[width - len(sequence) :] = sequence
            else:
                row[: len(sequence)] = sequence
        return matrix


def _transformer_folder(path: Path) -> Path:
    first = modules_of(path)[0]
    if first["type"].rpartition(".")[2] != "Transformer":
        raise ModelError(f"{path} begins with the module {first['type']}, not with a Transformer")
    return path / str(first["path"])
