"""Portions of the items: which texts are encoded at first, and which ones each look at a verdict scores.

A session need not encode all texts before it is certain. Items are taken in a random order that the data decides, so
that the same data give the same portions. Where a metric needs all of a dataset, as a ranking needs all documents, the
whole dataset belongs to the first portion.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from embedgate.core.combination import Combination
from embedgate.core.errors import DataError
from embedgate.core.roles import Input
from embedgate.data.types import Dataset
from embedgate.metrics.sequential import GROWTH, looks


@dataclass(frozen=True)
class Needs:
    """Which texts the combinations of a session must encode; all of them where nothing is said.

    Attributes:
        early: The combinations that a part of the texts may decide about: the others are encoded when needed.
        none: The combinations of which nothing is asked that needs a text of the datasets, such as budgets alone.
        searched: The combinations whose stored vectors are searched; None for all.
    """

    early: frozenset[Combination] = frozenset()
    none: frozenset[Combination] = frozenset()
    searched: frozenset[Combination] | None = None


# Where it is not known what a session asks.
EVERYTHING = Needs()


class Portions:
    """The portions of a session's datasets.

    Args:
        datasets: The datasets.
        seed: What the order of the items is drawn from, with each dataset's hash.
    """

    def __init__(self, datasets: Sequence[Dataset], seed: int = 0) -> None:
        self._datasets = datasets
        self._seed = seed
        self._parts: dict[str, tuple[Dataset, ...]] = {}

    def of(self, dataset: Dataset) -> tuple[Dataset, ...]:
        """A dataset's parts, each within the next; the last is the dataset itself."""
        if dataset.name not in self._parts:
            self._parts[dataset.name] = (*self._some(dataset), dataset)
        return self._parts[dataset.name]

    @cached_property
    def first(self) -> tuple[Input, ...]:
        """The texts without which nothing can be judged: those of every dataset's first part."""
        return _unique(each for dataset in self._datasets for each in self.of(dataset)[0].inputs())

    @cached_property
    def samples(self) -> tuple[tuple[Input, ...], ...]:
        """Random texts of all datasets together, each sample a part of the next; the last is all of them."""
        everything = _unique(each for dataset in self._datasets for each in dataset.inputs())
        steps = len(looks(len(everything)))
        found: list[tuple[Input, ...]] = []
        for each in (*(self._sample(GROWTH**-step) for step in range(steps - 1, 0, -1)), everything):
            # Where many items share few texts, some of the items may hold all of these already.
            while found and len(found[-1]) >= len(each):
                found.pop()
            found.append(each)
        return tuple(found)

    def _some(self, dataset: Dataset) -> Iterable[Dataset]:
        order = self._order(dataset, len(dataset)) if dataset.by_item else []
        for size in looks(len(dataset))[:-1] if dataset.by_item else ():
            try:
                yield dataset.part(order[:size])
            except DataError:  # so few cannot be measured, as where all have one grade
                continue

    def _sample(self, share: float) -> tuple[Input, ...]:
        found: list[Input] = []
        for dataset in self._datasets:
            if dataset.by_item:
                found += dataset.inputs_of(self._order(dataset, len(dataset))[: round(share * len(dataset))])
            else:
                inputs = dataset.inputs()
                found += [inputs[row] for row in self._order(dataset, len(inputs))[: round(share * len(inputs))]]
        return _unique(found)

    def _order(self, dataset: Dataset, count: int) -> list[int]:
        digest = hashlib.sha256(f"{self._seed} {dataset.sha256}".encode()).digest()
        order: list[int] = np.random.default_rng(int.from_bytes(digest[:8])).permutation(count).tolist()
        return order


def items_taken(dataset: Dataset) -> tuple[tuple[int, ...], ...]:
    """Which items a part is made of, for each time that a part was taken; nothing where a dataset is whole."""
    found = []
    while dataset.part_of is not None:
        dataset, items = dataset.part_of
        found.append(items)
    return tuple(found)


def _unique(inputs: Iterable[Input]) -> tuple[Input, ...]:
    return tuple(dict.fromkeys(inputs))
