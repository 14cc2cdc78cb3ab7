"""The table of stored vectors: what each storage keeps, takes and costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from embedgate.core.judgement import Judgement
from embedgate.metrics import CORPUS, KEPT
from embedgate.report.columns import Column, Columns, Table, where_known
from embedgate.report.summary import Row, Summary
from embedgate.vectors.collection import stored_in
from embedgate.vectors.figures import SearchFigures
from embedgate.vectors.loads import BATCHES

_LABELS = {"ndcg_at_10": "nDCG@10", "recall_at_10": "recall@10"}


@dataclass(frozen=True)
class Stored:
    """One storage, and what was judged of vectors stored so.

    Attributes:
        storage: Its id.
        whose: The row that what a storage takes and keeps is told of: the reference's, where it ran.
        found: Every row's judgements.
    """

    storage: str
    whose: Row
    found: Sequence[tuple[Row, Judgement]]

    def share(self, dataset: str, metric: str) -> str:
        """Returns the share that is kept of a judged metric, of what float32 vectors score."""
        mine = (j for row, j in self.found if row is self.whose)
        found = next((j for j in mine if (stored_in(j.dataset), j.metric) == (dataset, metric)), None)
        return _share(found.observed if found else None)

    @property
    def kept(self) -> str:
        """Of what exact float32 search finds."""
        return _share(next((j.value for row, j in self.found if row is self.whose and j.metric == KEPT), None))

    @property
    def least(self) -> str:
        """The least that any combination keeps, and which it is."""
        found = [(j.value, row.combination) for row, j in self.found if j.metric == KEPT and j.value is not None]
        return f"{min(found)[0]:.1%} {min(found)[1]}" if len(found) > 1 else ""

    @property
    def bytes_per_vector(self) -> str:
        """The bytes that a vector takes; empty where the reference did not run."""
        if not (self.whose.run and self.whose.run.dim):
            return ""
        dim, words = self.whose.run.dim, self.storage.split("-")
        if words[0].endswith("d") and words[0][:-1].isdecimal():
            dim, words = int(words[0][:-1]), words[1:]
        width = {"float32": 4 * dim, "float16": 2 * dim, "int8": dim, "uint8": dim}
        return str(width.get(words[0], -(-dim // 8)))


def _judged(summary: Summary) -> Iterator[Column[Stored]]:
    """A column per dataset and metric that is judged by its loss against float32 vectors."""
    seen = dict.fromkeys((j.dataset.rpartition("@")[0], j.metric) for _, j in _searches(summary))
    for dataset, metric in seen:
        if dataset.startswith(CORPUS):
            continue

        def cell(stored: Stored, dataset: str = dataset, metric: str = metric) -> str:
            return stored.share(dataset, metric)

        note = "shares of judged metrics are of what float32 vectors score"
        yield Column(f"{dataset} {_LABELS.get(metric, metric)}", cell, note, where_known)


def _speeds(summary: Summary) -> Iterator[Column[Stored]]:
    """A column per engine whose exact search was timed."""
    timed = _timed(summary)
    for engine in dict.fromkeys(load.partition("-exact-")[0] for load in timed):

        def cell(stored: Stored, engine: str = engine) -> str:
            found = [timed.get(f"{engine}-exact-{stored.storage}-batch{batch}") for batch in BATCHES]
            return " / ".join(f"{1 / figures.ratio:.1f}x" for figures in found if figures)

        batches = f"exact search of one query at a time and of {BATCHES[-1]}"
        note = f"speed is how many times faster than float32 in the same engine, {batches}"
        yield Column(f"{engine} speed", cell, note, where_known)


def _column(heading: str, cell: Callable[[Stored], str], note: str = "") -> Column[Stored]:
    return Column(heading, cell, note, where_known)


COLUMNS: Columns[Stored] = (
    Column("storage", lambda stored: stored.storage, align="left"),
    _column("bytes/vector", lambda stored: stored.bytes_per_vector),
    _column(
        "kept",
        lambda stored: stored.kept,
        "kept is the share of exact float32 search's ten that is still found by the reference",
    ),
    _column("least kept", lambda stored: stored.least, "least kept by the combination that keeps least"),
    _judged,
    _speeds,
)


def table(summary: Summary) -> Table[Stored] | None:
    """A row per storage; None where no stored vectors were judged or timed."""
    found, timed = _searches(summary), _timed(summary)
    if not found and not timed:
        return None
    in_loads = (load.partition("-exact-")[2].rpartition("-batch")[0] for load in timed)
    ran = [row for row, _ in found] or summary.rows
    whose = next((row for row in ran if row.reference), ran[0])
    mine: dict[str, list[tuple[Row, Judgement]]] = {}
    for row, judgement in found:
        mine.setdefault(judgement.dataset.rpartition("@")[2], []).append((row, judgement))
    storages = [Stored(storage, whose, mine.get(storage, ())) for storage in dict.fromkeys((*mine, *in_loads))]
    return Table.of(summary, COLUMNS, storages)


def note(shown: Table[Stored]) -> str:
    """Joins the notes of a table's columns in one line."""
    return f"stored vectors: {'; '.join(shown.notes)}"


def _searches(summary: Summary) -> list[tuple[Row, Judgement]]:
    return [(row, j) for row in summary.ran for j in row.judgements if j.check == "search" and stored_in(j.dataset)]


def _timed(summary: Summary) -> dict[str, SearchFigures]:
    timed = {name: figures for row in summary.rows if row.run for name, figures in row.run.search_speed.items()}
    return {name: figures for name, figures in timed.items() if "-exact-" in name}


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"
