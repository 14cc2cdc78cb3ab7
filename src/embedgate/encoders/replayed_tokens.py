"""The tokens of a text as a model's tokenizer makes them, as it is or as it is changed to play a fault through."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer

from embedgate.encoders.change import AS_IT_IS, Change, Unplayable


class Tokens:
    """A model's tokenizer, with what it does looked into.

    Args:
        model: The model.

    Attributes:
        pad: The id that texts are filled up with.
        limit: Tokens that a text is cut to, special ones included; None where it is not cut.
        folds: Whether it folds case; None where it has no such switch.
        strips: Whether it strips accents; None where it has no such switch.
        has_types: Whether the model is given token types.

    Raises:
        Unplayable: If it cannot be looked into, or its tokens cannot be made anew.
    """

    def __init__(self, model: SentenceTransformer) -> None:
        self._own = model.tokenizer
        backend = getattr(self._own, "backend_tokenizer", None)
        if not isinstance(backend, Tokenizer):
            raise Unplayable("the reference's tokenizer cannot be looked into")
        self._content = json.loads(backend.to_str())
        self._made: dict[tuple[bool | None, bool | None], Tokenizer] = {}
        self._known: dict[tuple[str, bool | None, bool | None], tuple[list[int], list[int]]] = {}
        self._transformer: Any = model[0]
        self.pad = int(self._own.pad_token_id or 0)
        limit = getattr(model, "max_seq_length", None)
        self.limit = int(limit) if limit is not None and limit < 1 << 30 else None
        self.folds, self.strips = _folds(self._content["normalizer"]), _strips(self._content["normalizer"])
        probe = ["A probe: Éa b", "two"]
        found = model.preprocess(probe)
        self.has_types = "token_type_ids" in found
        if "input_ids" not in found or "attention_mask" not in found:
            raise Unplayable("the reference's tokens cannot be looked into")
        kept = [
            ids[mask.bool()].tolist() for ids, mask in zip(found["input_ids"], found["attention_mask"], strict=True)
        ]
        if kept != [ids for ids, _ in self.ids(probe, AS_IT_IS)]:
            raise Unplayable("the reference's tokens cannot be made anew")

    def prompt(self, prompt: str) -> int:
        """Tokens at the start of a text that are its prompt's."""
        return int(self._transformer._get_prompt_length(prompt) or 0) if prompt else 0

    def ids(self, texts: Sequence[str], change: Change) -> list[tuple[list[int], list[bool]]]:
        """Per text, its token ids and which of them are special."""
        key = change.lower, change.accents
        tokenizer = self._tokenizer(*key)
        fresh = [text for text in dict.fromkeys(texts) if (text, *key) not in self._known]
        for text, found in zip(fresh, tokenizer.encode_batch(fresh, add_special_tokens=True), strict=True):
            self._known[text, *key] = found.ids, found.special_tokens_mask
        return [self._cut(*self._known[text, *key], change) for text in texts]

    def _cut(self, ids: list[int], special: list[int], change: Change) -> tuple[list[int], list[bool]]:
        """What is left of a text: special tokens at both ends are kept apart from what is between them."""
        start = next((i for i, each in enumerate(special) if not each), len(special))
        stop = len(special) - next((i for i, each in enumerate(special[::-1]) if not each), 0)
        front, body, back = ids[:start], ids[start : max(start, stop)], ids[max(start, stop) :]
        if not body and change.specials != "kept":  # nothing tells which ends of an empty text they are
            half = (len(ids) + 1) // 2
            front, back = ids[:half], ids[half:]
        if change.specials in ("missing", "first missing"):
            front = []
        if change.specials in ("missing", "last missing"):
            back = []
        if change.specials == "twice":
            front, back = front * 2, back * 2
        longest = change.longest or self.limit
        if longest is not None:
            room = max(longest - len(front) - len(back), 0)
            body = body[len(body) - min(room, len(body)) :] if change.left else body[:room]
        marks = [True] * len(front) + [False] * len(body) + [True] * len(back)
        return [*front, *body, *back], marks

    def _tokenizer(self, lower: bool | None, accents: bool | None) -> Tokenizer:
        if (lower, accents) not in self._made:
            content = json.loads(json.dumps(self._content))
            if lower is not None:
                content["normalizer"] = _with_switch(content["normalizer"], "lowercase", "Lowercase", lower)
            if accents is not None:
                content["normalizer"] = _with_switch(
                    content["normalizer"], "strip_accents", "StripAccents", not accents
                )
            made = Tokenizer.from_str(json.dumps(content))
            made.no_truncation()
            made.no_padding()
            self._made[lower, accents] = made
        return self._made[lower, accents]


def _parts(normalizer: Any) -> list[dict[str, Any]]:
    if not normalizer:
        return []
    if normalizer.get("type") == "Sequence":
        return [each for part in normalizer["normalizers"] for each in _parts(part)]
    return [normalizer]


def _folds(normalizer: Any) -> bool | None:
    """Whether a tokenizer folds case; None where nothing of it could."""
    kinds = _parts(normalizer)
    bert = next((each for each in kinds if each["type"] == "BertNormalizer"), None)
    if bert is not None:
        return bool(bert["lowercase"])
    return any(each["type"] == "Lowercase" for each in kinds)


def _strips(normalizer: Any) -> bool | None:
    """Whether a tokenizer strips accents."""
    kinds = _parts(normalizer)
    bert = next((each for each in kinds if each["type"] == "BertNormalizer"), None)
    if bert is not None:
        given = bert["strip_accents"]
        return bool(bert["lowercase"]) if given is None else bool(given)
    return any(each["type"] == "StripAccents" for each in kinds)


def _with_switch(normalizer: Any, bert: str, kind: str, on: bool) -> Any:
    """A normalizer with a step switched on or off: an attribute of BERT's, else a step of its own."""
    parts = _parts(normalizer)
    if any(each["type"] == "BertNormalizer" for each in parts):
        strips = _strips(normalizer)
        changed = [
            # Where it is not said, accents follow the case.
            {**each, "strip_accents": strips, bert: on} if each["type"] == "BertNormalizer" else each
            for each in parts
        ]
    elif on:
        decomposed = [{"type": "NFD"}] if kind == "StripAccents" else []
        changed = [*decomposed, {"type": kind}, *parts]
    else:
        changed = [each for each in parts if each["type"] != kind]
    return {"type": "Sequence", "normalizers": changed}
