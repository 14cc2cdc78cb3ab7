"""Datasets: texts, mostly with labels, identified by a hash, one frozen class per kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from embedgate.core.errors import DataError, counted
from embedgate.core.roles import CLUSTERING, DOCUMENT, PAIR_CLASSIFICATION, QUERY, STS, Input
from embedgate.data.alike import Clusters, clusters_of, numbered, repeats
from embedgate.data.grades import LARGEST_GRADE, NO_GRADE, SMALLER_GRADES

Kind = Literal["similarity", "retrieval", "labelled", "triplets", "texts"]
# Of fewer texts, the neighbours are all there are.
FEWEST_TEXTS = 3


@dataclass(frozen=True)
class Origin:
    """Where a dataset comes from and what identifies it.

    Attributes:
        name: Short name, fit for a file name.
        source: The file, folder, bundled name or hub id it was read from, for messages.
        version: As its card or hub commit says; empty where there is neither.
        sha256: Hash of its data files (see `embedgate.data.cards.sha256_of`) or of its pinned hub id, hex.
    """

    name: str
    source: str
    version: str
    sha256: str


@dataclass(frozen=True, eq=False, kw_only=True)
class Dataset(ABC):
    """Texts, with labels or without.

    Attributes:
        by_item: The fields that have an entry per item, where an item can be scored without the others: then a part of
            the items is a dataset as well. Empty where it cannot, as where documents are ranked or clusters found.
        name: Short name, fit for a file name.
        source: The file, folder, bundled name or hub id it was read from, for messages.
        version: As its card or hub commit says; empty where there is neither.
        sha256: What identifies its content, hex.
        slices: Name of a slice to the indices of its items, ascending.
        notes: What a reader of a report should know about how it was read.
        groups: Per item what it shares with others that say the same, as the data has it, such as the passage that a
            question was written about; empty for an item of its own. None where the data says nothing.
        weight: As how many checks each of its checks counts, where several share a level, see `embedgate.core.family`.
        part_of: Of a part, the dataset it was taken from, and the number of each of its items there. None elsewhere.
    """

    kind: ClassVar[Kind]
    by_item: ClassVar[tuple[str, ...]] = ()
    name: str
    source: str
    version: str
    sha256: str
    slices: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    groups: tuple[str, ...] | None = None
    weight: int = 1
    part_of: tuple[Dataset, tuple[int, ...]] | None = field(default=None, repr=False)

    @property
    @abstractmethod
    def roles(self) -> tuple[str, ...]:
        """The roles that its texts are used in."""

    @abstractmethod
    def inputs(self) -> tuple[Input, ...]:
        """Every unique text to encode with its role, in the order of its first use."""

    def texts(self) -> tuple[str, ...]:
        """Every unique text, in the order of its first use."""
        return tuple(dict.fromkeys(each.text for each in self.inputs()))

    def part(self, items: Sequence[int]) -> Dataset:
        """A dataset of some of the items, in the order given; of one whose items cannot be scored alone, itself.

        Args:
            items: Numbers of the items.

        Raises:
            DataError: If these items alone cannot be measured, as where all have one grade.
        """
        if not self.by_item:
            return self
        place = {item: place for place, item in enumerate(items)}
        slices = {name: tuple(place[row] for row in rows if row in place) for name, rows in self.slices.items()}
        fields: dict[str, Any] = {name: _taken(getattr(self, name), items) for name in self.by_item}
        return replace(
            self,
            **fields,
            slices={name: rows for name, rows in slices.items() if rows},
            groups=None if self.groups is None else _taken(self.groups, items),
            part_of=(self, tuple(items)),
        )

    def inputs_of(self, items: Sequence[int]) -> tuple[Input, ...]:
        """Every unique text of some of the items, as `inputs`; of a dataset whose items cannot be scored alone, all."""
        texts = (getattr(self, name) for name in self.by_item)
        parts = [_taken(values, items) for values in texts if not isinstance(values, np.ndarray)]
        return _unique(self.roles[0], *parts) if parts else self.inputs()

    @cached_property
    def clusters(self) -> Clusters | None:
        """The cluster of each item, see `embedgate.data.alike`, `[n]`; None where each item is alone.

        Those of a part are those of the whole, which are looked for once: another item may join two of the part.
        """
        if self.part_of is not None:
            whole, items = self.part_of
            return None if whole.clusters is None else numbered(whole.clusters[list(items)])
        return clusters_of(
            [self._said(item) for item in range(len(self))],
            *self._shared(),
            [group or None for group in self.groups or ()],
        )

    def repeated(self) -> tuple[str, ...]:
        """A note of how many items repeat others, where it has been looked for; nothing where none does."""
        clusters = self.__dict__.get("clusters")
        if clusters is None:
            return ()
        alone = int(clusters.max()) + 1
        return (
            f"{len(self):,} items count as {alone:,}: {' and '.join(('repeated', *self.together))} are drawn together",
        )

    @property
    def together(self) -> tuple[str, ...]:
        """Which items may be drawn together, beside equal ones."""
        shared = {"those of one cluster": [self.groups or ()], "those with the same relevant documents": self._shared()}
        return ("nearly equal ones", *(why for why, values in shared.items() if any(map(repeats, values))))

    def _shared(self) -> Iterable[Sequence[Hashable]]:
        """What else joins items that have it in common: relevant documents."""
        return ()

    def _said(self, item: int) -> str:
        """What is compared to tell whether an item repeats another."""
        return self.item_text(item)

    @abstractmethod
    def item_text(self, item: int) -> str:
        """The text of one item, for a report."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of items a metric scores: pairs, queries, labelled texts or triplets."""

    def __post_init__(self) -> None:
        if len(self) < 2:
            few = f"{self.source}: {counted(len(self), 'item')}, but a metric needs at least two"
            raise DataError(few, "give more")


@dataclass(frozen=True, eq=False, kw_only=True)
class Similarity(Dataset):
    """Pairs of texts, graded by how alike they are.

    Attributes:
        first: First text of each pair.
        second: Second text of each pair.
        grades: Grade of each pair on any scale, higher is more alike, float64 `[pairs]`, read-only.
    """

    kind = "similarity"
    roles = (STS,)
    by_item = ("first", "second", "grades")
    first: tuple[str, ...]
    second: tuple[str, ...]
    grades: npt.NDArray[np.float64]

    def inputs(self) -> tuple[Input, ...]:
        """Every unique text, first ones before second ones."""
        return _unique(STS, self.first, self.second)

    def item_text(self, item: int) -> str:
        """The text of one item, for a report."""
        return f"{self.first[item]} | {self.second[item]}"

    def __len__(self) -> int:
        return len(self.first)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.grades.setflags(write=False)
        if np.all(self.grades == self.grades[0]):
            cause = f"{self.source}: every grade is {self.grades[0]:g}, so nothing can correlate with them"
            raise DataError(cause, "give pairs of several grades")


@dataclass(frozen=True, eq=False, kw_only=True)
class Retrieval(Dataset):
    """Queries and the documents that answer them.

    Attributes:
        document_ids: Id of each document.
        documents: Text of each document: title and text joined by a space where there is a title.
        query_ids: Id of each query.
        queries: Text of each query.
        relevance: Per query the index of each relevant document and its grade, 1 or more.
        own: Of each query that is a document itself, the index of that document. It is left out of the query's own
            ranking, as in BEIR's evaluation, even where it is judged relevant.
        unreachable: Of queries that are judged with documents that the corpus lacks, the grades of those relevant, 1
            or more. They count as never found, as in trec_eval.
    """

    kind = "retrieval"
    roles = (DOCUMENT, QUERY)
    document_ids: tuple[str, ...]
    documents: tuple[str, ...]
    query_ids: tuple[str, ...]
    queries: tuple[str, ...]
    relevance: tuple[dict[int, int], ...]
    own: Mapping[int, int] = field(default_factory=dict)
    unreachable: Mapping[int, tuple[int, ...]] = field(default_factory=dict)

    def inputs(self) -> tuple[Input, ...]:
        """Every unique document, and then every unique query."""
        return (*_unique(DOCUMENT, self.documents), *_unique(QUERY, self.queries))

    def item_text(self, item: int) -> str:
        """The text of one item, for a report."""
        return self.queries[item]

    def _shared(self) -> Iterable[Sequence[Hashable]]:
        # Where one document stands decides of all.
        return [[frozenset(grades) or None for grades in self.relevance]]

    def __len__(self) -> int:
        return len(self.queries)

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.documents)) < 2:
            cause = f"{self.source}: fewer than two different documents, so there is nothing to rank"
            raise DataError(cause, "give more documents")
        largest = max(chain.from_iterable((*map(dict.values, self.relevance), *self.unreachable.values())), default=0)
        if largest > LARGEST_GRADE:
            raise DataError(f"{self.source}: a grade is {largest:g}, {NO_GRADE}", SMALLER_GRADES)


@dataclass(frozen=True, eq=False, kw_only=True)
class Labelled(Dataset):
    """Texts with one label each.

    Attributes:
        items: The labelled texts.
        labels: Label of each text.
    """

    kind = "labelled"
    roles = (CLUSTERING,)
    items: tuple[str, ...]
    labels: tuple[str, ...]

    def inputs(self) -> tuple[Input, ...]:
        """Every unique text."""
        return _unique(CLUSTERING, self.items)

    def item_text(self, item: int) -> str:
        """The text of one item, for a report."""
        return f"{self.labels[item]}: {self.items[item]}"

    def _said(self, item: int) -> str:
        return self.items[item]

    def __len__(self) -> int:
        return len(self.items)

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes = Counter(self.labels)
        if len(sizes) < 2:
            cause = f"{self.source}: {self.labels[0]!r} is the only label, but clusters need at least two"
            raise DataError(cause, "give texts of several labels")
        if max(sizes.values()) < 2:
            cause = f"{self.source}: no two texts share a label, so there are no clusters to find"
            raise DataError(cause, "give several texts of each label")


@dataclass(frozen=True, eq=False, kw_only=True)
class Triplets(Dataset):
    """Texts with one closer and one less close text each.

    Attributes:
        anchors: The texts compared with.
        positives: The closer text of each triplet.
        negatives: The less close text of each triplet.
    """

    kind = "triplets"
    roles = (PAIR_CLASSIFICATION,)
    by_item = ("anchors", "positives", "negatives")
    anchors: tuple[str, ...]
    positives: tuple[str, ...]
    negatives: tuple[str, ...]

    def inputs(self) -> tuple[Input, ...]:
        """Every unique text, anchors before positives before negatives."""
        return _unique(PAIR_CLASSIFICATION, self.anchors, self.positives, self.negatives)

    def item_text(self, item: int) -> str:
        """The text of one item, for a report."""
        return f"{self.anchors[item]} | {self.positives[item]} | {self.negatives[item]}"

    def __len__(self) -> int:
        return len(self.anchors)


@dataclass(frozen=True, eq=False, kw_only=True)
class Texts(Dataset):
    """Texts without labels, each once, such as those of a log of queries.

    What is judged on them is how near embeddings and nearest texts stay to the reference's.

    Attributes:
        items: The texts, all different.
        role: How they are used, one of `embedgate.core.roles.ROLES`; empty for plain `encode`.
    """

    kind = "texts"
    by_item = ("items",)
    items: tuple[str, ...]
    role: str = ""

    @classmethod
    def once(
        cls,
        texts: Sequence[str],
        *,
        slices: Mapping[str, Sequence[int]] | None = None,
        groups: Sequence[str] | None = None,
        **common: Any,
    ) -> Texts:
        """A dataset of texts that may repeat one another: each counts once, and a note says how many there are.

        Args:
            texts: The texts.
            slices: Name of a slice to the numbers of its texts: one that repeats is in every slice of any of its rows.
            groups: As of `Dataset`, per text: the first that a text has counts.
            **common: The other attributes.

        Raises:
            DataError: If fewer than three differ.
        """
        item = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        sliced = {name: tuple(sorted({item[texts[row]] for row in rows})) for name, rows in (slices or {}).items()}
        notes = common.pop("notes", ())
        if repeats := len(texts) - len(item):
            also = "repeats another" if repeats == 1 else "repeat others"
            notes += (f"{len(item):,} different texts of {len(texts):,}: {repeats:,} {also}, each counts once",)
        return cls(**common, items=tuple(item), slices=sliced, groups=_of_first(texts, groups), notes=notes)

    @property
    def roles(self) -> tuple[str, ...]:
        """The role that its texts are used in."""
        return (self.role,)

    def inputs(self) -> tuple[Input, ...]:
        """Every text."""
        return _unique(self.role, self.items)

    def item_text(self, item: int) -> str:
        """The text of one item, for a report."""
        return self.items[item]

    def __len__(self) -> int:
        return len(self.items)

    def __post_init__(self) -> None:
        if len(self) < FEWEST_TEXTS:
            told = f"{counted(len(self), 'different text')}, but neighbours need at least {FEWEST_TEXTS}"
            raise DataError(f"{self.source}: {told}", "give more texts")


def _of_first(texts: Sequence[str], groups: Sequence[str] | None) -> tuple[str, ...] | None:
    """The first group that each different text has, in the order of the texts; None where nothing has any."""
    if groups is None:
        return None
    found: dict[str, str] = {}
    for text, group in zip(texts, groups, strict=True):
        found[text] = found.get(text) or group
    return tuple(found.values())


def _unique(role: str, *texts: Iterable[str]) -> tuple[Input, ...]:
    return tuple(Input(text, role) for text in dict.fromkeys(chain(*texts)))


def _taken(values: Any, items: Sequence[int]) -> Any:
    return values[list(items)] if isinstance(values, np.ndarray) else tuple(values[item] for item in items)
