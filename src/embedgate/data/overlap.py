"""Refuses calibration on the texts a combination is judged with."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable

from embedgate.errors import DataError


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
            f"{len(shared)} calibration texts are evaluation texts too, for example {shared[0][:60]!r}",
            "a combination must not be calibrated on what it is judged with: remove them from one of the two",
        )


def text_sha256(text: str) -> str:
    """SHA-256 of a text as it is compared, hex."""
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return hashlib.sha256(folded.encode("utf-8", "surrogatepass")).hexdigest()
