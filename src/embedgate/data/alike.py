"""Items that repeat one another: they say one thing several times, and are drawn together.

Items are in one cluster where the data says so, where their texts are equal but for case, punctuation and spaces, or
nearly equal, and where queries ask for the same documents. What joins two joins all that they are joined with. In which
order the items come changes nothing.

Sources:
    Miller, "Adding error bars to evals: a statistical approach to language model evaluations", arXiv 2411.00640 (2024),
    on clusters of items.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from embedgate.data.nearly import likely, nearly_equal

Clusters = npt.NDArray[np.intp]


def clusters_of(texts: Sequence[str], *keys: Iterable[Hashable | None]) -> Clusters | None:
    """The cluster of each item.

    Args:
        texts: The text of each item.
        *keys: What else joins items: those of equal keys are in one cluster; None joins nothing.

    Returns:
        Numbers from 0, `[n]`; None where each item is alone.
    """
    joined = _Joined(len(texts))
    plain = _plain(texts)
    for values in (plain, *keys):
        joined.all_equal(values)
    first = {text: item for item, text in enumerate(plain)}
    distinct = sorted(first)
    same = nearly_equal(distinct)
    for one, other in likely(distinct):
        items = first[distinct[one]], first[distinct[other]]
        if not joined.are(*items) and same(one, other):
            joined.both(*items)
    return numbered([joined.root(item) for item in range(len(texts))])


def numbered(roots: npt.ArrayLike) -> Clusters | None:
    """Clusters of items by anything that those of one share, numbered from 0; None where each item is alone."""
    _, numbers = np.unique(roots, return_inverse=True)
    return None if numbers.max() + 1 == len(numbers) else numbers.astype(np.intp)


def folded(text: str) -> str:
    """A text as those are compared that may differ by case and blanks alone."""
    return " ".join(text.casefold().split())


def rows_by_text(texts: Iterable[str]) -> dict[str, list[int]]:
    """The rows that each text stands in, ascending, by the text as `folded` has it."""
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for row, text in enumerate(texts):
        rows[folded(text)].append(row)
    return rows


class _Joined:
    """Items in sets that grow together (union-find)."""

    def __init__(self, items: int) -> None:
        self._parents = list(range(items))

    def root(self, item: int) -> int:
        while self._parents[item] != item:
            self._parents[item] = self._parents[self._parents[item]]
            item = self._parents[item]
        return item

    def are(self, one: int, other: int) -> bool:
        return self.root(one) == self.root(other)

    def both(self, one: int, other: int) -> None:
        first, last = sorted((self.root(one), self.root(other)))
        self._parents[last] = first

    def all_equal(self, values: Iterable[Hashable | None]) -> None:
        first: dict[Hashable, int] = {}
        for item, value in enumerate(values):
            if value is not None:
                self.both(first.setdefault(value, item), item)


def _plain(texts: Sequence[str]) -> list[str]:
    """Texts as they are compared: their words and symbols in lower case; of one without any, itself."""
    folded = [unicodedata.normalize("NFC", text.casefold()) for text in texts]
    apart = {ord(sign): " " for sign in set().union(*folded) if not _is_of_a_word(sign)}
    return [" ".join(plain.translate(apart).split()) or text for plain, text in zip(folded, texts, strict=True)]


def _is_of_a_word(sign: str) -> bool:
    """Whether a character is a letter, a figure or a mark of one, such as a vowel of Hindi, or a symbol."""
    kind = unicodedata.category(sign)
    if kind.startswith("M"):
        return not unicodedata.name(sign, "").startswith("VARIATION SELECTOR")  # these colour pictures
    return sign.isalnum() or sign == "_" or kind.startswith("S")


def repeats(values: Iterable[Hashable]) -> bool:
    """Whether one of some values is there twice, but for those that are nothing."""
    given = [each for each in values if each]
    return len({*given}) < len(given)
