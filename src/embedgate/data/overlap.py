"""Refuses calibration on the texts a combination is judged with."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import overload

from embedgate.core.errors import DataError, counted


def check_no_overlap(calibration: Iterable[str], evaluation: Iterable[str]) -> None:
    """Refuses calibration texts that are evaluation texts too.

    Texts are compared by SHA-256 after Unicode NFKC, case folding and collapsing of white space.

    Raises:
        DataError: With how many are shared, and one of them.
    """
    judged = {text_sha256(text) for text in evaluation}
    shared = [text for text in calibration if text_sha256(text) in judged]
    if shared:
        raise DataError(
            f"evaluation texts are calibration texts too: {counted(len(shared), 'text')}, first {shared[0][:60]!r}",
            "a combination must not be calibrated on what it is judged with: leave them out of --gate-data",
        )


def text_sha256(text: str) -> str:
    """SHA-256 of a text as it is compared, hex."""
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return hashlib.sha256(folded.encode("utf-8", "surrogatepass")).hexdigest()


class Unjudged(Sequence[str]):
    """Calibration texts that are checked when first used, so that only what calibrates is refused.

    Args:
        calibration: The calibration texts.
        evaluation: The texts a combination is judged with.
        as_read: Puts the prompts of a model in front of them.
    """

    def __init__(
        self,
        calibration: Sequence[str],
        evaluation: Iterable[str],
        as_read: Callable[[Sequence[str]], Sequence[str]] = lambda texts: texts,
    ) -> None:
        self._texts = calibration
        self._unchecked: Iterable[str] | None = evaluation
        self._as_read = as_read

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        return self._checked()[index]

    def __len__(self) -> int:
        return len(self._checked())

    def _checked(self) -> Sequence[str]:
        if self._unchecked is not None:
            check_no_overlap(self._texts, self._unchecked)
            self._unchecked, self._texts = None, self._as_read(self._texts)
        return self._texts
