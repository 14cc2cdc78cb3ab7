"""The collection that stored vectors are searched in: a session's texts, grown to a size."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from embedgate.core.roles import QUERY, Input
from embedgate.data.types import Dataset, Retrieval, Texts
from embedgate.metrics import CORPUS

# Version of how vectors are grown: another one grows other vectors from the same recipe, so other values are found.
METHOD = 1
# Vectors of a collection where nothing else is asked for, and how many times the real ones that may be at most.
DEFAULT_SIZE = 10_000
MOST_GROWTH = 8
# Beyond so many, nothing is known of how what is found compares with real text (docs/corpus.md).
MOST_COMPARED = 16
MOST_QUERIES = 1_000
# With fewer documents, "among the first ten" says little; with fewer queries, a mean does.
FEWEST_DOCUMENTS = 40
FEWEST_QUERIES = 8
# Of data with too few queries of their own, one text in so many is a query.
ONE_IN = 10


@dataclass(frozen=True)
class Collection:
    """A collection of documents that is searched, and the queries that it is searched with.

    Attributes:
        name: The name under which what is found is approved, such as `corpus-10000:pairs+passages`.
        sha256: Hash of what is in it, hex.
        queries: The queries, each in a role in which a dataset has it.
        documents: The real documents, likewise; the others are grown from them.
        size: How many vectors are searched.
    """

    name: str
    sha256: str
    queries: tuple[Input, ...]
    documents: tuple[Input, ...]
    size: int

    @property
    def is_like_real(self) -> bool:
        """Whether no more is grown than was compared with real text, so that floors mean something."""
        return self.size <= MOST_COMPARED * len(self.documents)

    @classmethod
    def of(cls, datasets: Sequence[Dataset], size: int | None) -> Collection | None:
        """The collection of a session's datasets; None where they hold too few texts to search among.

        The queries are those of the datasets of retrieval, and of texts in that role where others are left to be
        searched; where these are too few, a tenth of the texts. The documents are all other texts.

        Args:
            datasets: The datasets.
            size: How many vectors to search; None for 10,000, or eight times the documents where that is fewer.
        """
        datasets = sorted(datasets, key=lambda dataset: dataset.name)
        used: dict[str, Input] = {}
        for each in (each for dataset in datasets for each in dataset.inputs()):
            used.setdefault(each.text, each)
        texts = list(used)
        asked = dict.fromkeys(
            query for dataset in datasets if isinstance(dataset, Retrieval) for query in dataset.queries
        )
        logged = {**asked, **dict.fromkeys(text for dataset in datasets for text in _logged(dataset))}
        if len(texts) - len(logged) >= FEWEST_DOCUMENTS:
            asked = logged
        queries = list(asked) if len(asked) >= FEWEST_QUERIES else _shuffled(texts)[: len(texts) // ONE_IN]
        left_out = set(queries)
        documents = [text for text in texts if text not in left_out]
        queries = queries if len(queries) <= MOST_QUERIES else _shuffled(queries)[:MOST_QUERIES]
        if len(documents) < FEWEST_DOCUMENTS or len(queries) < FEWEST_QUERIES:
            return None
        vectors = size or min(DEFAULT_SIZE, MOST_GROWTH * len(documents))
        hashes = "".join(sorted(dataset.sha256 for dataset in datasets))
        name = f"{CORPUS}{vectors}:{'+'.join(sorted(dataset.name for dataset in datasets))}"
        digest = hashlib.sha256(f"{hashes}{vectors}:{METHOD}".encode()).hexdigest()
        asking, found = (tuple(used[text] for text in some) for some in (queries, documents[:vectors]))
        return cls(name, digest, asking, found, vectors)


def _logged(dataset: Dataset) -> tuple[str, ...]:
    """The queries of a log."""
    return dataset.items if isinstance(dataset, Texts) and dataset.role == QUERY else ()


def stored_name(dataset: str, storage: str) -> str:
    """The name under which what is found of a dataset is approved, its vectors being stored so."""
    return f"{dataset}@{storage}"


def stored_in(name: str) -> str | None:
    """The dataset whose vectors are stored, by a name of `stored_name`; None where it is no such name."""
    dataset, at, _ = name.rpartition("@")
    return dataset if at else None


def _shuffled(texts: Sequence[str]) -> list[str]:
    """Texts in an order of their own, the same every time."""
    return sorted(texts, key=lambda text: hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
