"""Texts of a length in tokens, to try a model's limit of length."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeGuard

if TYPE_CHECKING:
    from embedgate.encoders.onnx.tokenizer import Tokenizer

# A limit of length beyond this is not tried, nor is none: it could take minutes and gigabytes. In tokens.
LONGEST = 2048
WITHOUT_LIMIT = 512
# Words to fill a text with, one of which is a single token in most vocabularies.
FILLERS = ("word", "the", "a", "x")


def of_length(tokenizer: Tokenizer | None, beyond: int) -> str:
    """A text that is so many tokens longer than the model's limit of length, where a word of one token exists.

    Args:
        tokenizer: The model's tokenizer; None where it has none of its own.
        beyond: How many tokens longer; negative for shorter. Where there is no limit, 512 tokens count as it.
    """
    if not has_limit(tokenizer):
        return " ".join([FILLERS[0]] * (WITHOUT_LIMIT + beyond))

    def lengths(word: str) -> tuple[int, int]:
        one, two = tokenizer.ids([word, f"{word} {word}"])
        return len(one), max(1, len(two) - len(one))

    word = min(FILLERS, key=lambda word: lengths(word)[1])
    first, each = lengths(word)
    return " ".join([word] * max(1, (tokenizer.max_tokens + beyond - first) // each + 1))


def has_limit(tokenizer: Tokenizer | None) -> TypeGuard[Tokenizer]:
    """Whether the model is known to cut texts at a length short enough to be tried."""
    return tokenizer is not None and tokenizer.max_tokens <= LONGEST
