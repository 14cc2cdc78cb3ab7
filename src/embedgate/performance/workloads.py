"""Workloads that are timed: how many texts of which length in one batch, always the same texts of the bundled data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from embedgate.core.depth import NIGHTLY, Depth
from embedgate.core.roles import DOCUMENT, QUERY
from embedgate.data import load_bundled

BATCH_SIZES = (1, 8, 32, 128)
# Characters of a text: about the fifth, the fiftieth and the ninety-second percentile of the bundled data.
LENGTHS = {"short": 28, "medium": 65, "long": 220}
# The workload that stands for all in tables and plots.
HEADLINE = "batch_32_medium"
LATENCY = "batch_1_medium"
# A query alone, and documents in batches; the other ten are for the night.
USUAL = (LATENCY, HEADLINE)
# The datasets the texts are of, by name: one more dataset would change what every budget is about.
DATASETS = ("pairs", "passages", "topics", "triplets")
# Single texts are encoded this often in a turn: one would be as short as what disturbs it, and the first look must
# hold enough of them for a p95 (`core.quantiles.at_most`).
CALLS_ALONE = 9


@dataclass(frozen=True)
class Workload:
    """The texts that one turn of a timed arm encodes.

    Attributes:
        batch_size: Texts per batch, and per call.
        length: `short`, `medium` or `long`, see `LENGTHS`.
    """

    batch_size: int
    length: str

    @property
    def id(self) -> str:
        """Its name in test ids, baselines and reports, for example `batch_32_medium`."""
        return f"batch_{self.batch_size}_{self.length}"

    @property
    def role(self) -> str:
        """How its texts are used: a text that comes alone is a query, those of a batch are documents."""
        return QUERY if self.batch_size == 1 else DOCUMENT

    @property
    def slack(self) -> str:
        """Name of the slack of its budget in `tolerances.toml`."""
        return "latency" if self.batch_size == 1 else "time"

    @property
    def calls(self) -> tuple[tuple[str, ...], ...]:
        """The texts of each call of one turn."""
        count = CALLS_ALONE if self.batch_size == 1 else 1
        texts = iter(texts_of(self.length))
        return tuple(tuple(islice(texts, self.batch_size)) for _ in range(count))

    @property
    def texts(self) -> int:
        """Texts of one turn."""
        return sum(map(len, self.calls))

    @property
    def sha256(self) -> str:
        """The hash that identifies the texts of a turn, hex."""
        digest = hashlib.sha256()
        for text in (text for call in self.calls for text in call):
            digest.update(text.encode() + b"\0")
        return digest.hexdigest()

    def __str__(self) -> str:
        return f"{'one text at a time' if self.batch_size == 1 else f'batches of {self.batch_size}'}, {self.length}"


WORKLOADS = {w.id: w for w in (Workload(size, length) for size in BATCH_SIZES for length in LENGTHS)}


def workloads(depth: Depth) -> tuple[Workload, ...]:
    """Returns the workloads that are timed at a depth: a few that are usual, or through the night all."""
    return tuple(WORKLOADS.values()) if depth == NIGHTLY else tuple(WORKLOADS[name] for name in USUAL)


@lru_cache(maxsize=len(LENGTHS))
def texts_of(length: str) -> tuple[str, ...]:
    """The bundled texts nearest in length, as many as memory and time need, in an order that is no order of theirs."""
    wanted = LENGTHS[length]
    nearest = sorted(set(_bundled_texts()), key=lambda text: (abs(len(text) - wanted), text))[:1024]
    largest = BATCH_SIZES[-1]
    # The first are those of a batch, so they are near in length whatever the order of the others.
    return (*_shuffled(nearest[:largest]), *_shuffled(nearest[largest:]))


def _shuffled(texts: list[str]) -> list[str]:
    return sorted(texts, key=lambda text: hashlib.sha256(text.encode()).digest())


def _bundled_texts() -> Iterator[str]:
    for name in DATASETS:
        yield from load_bundled(name).texts()
