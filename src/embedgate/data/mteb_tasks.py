"""From what mteb loads for a task to a dataset: what is judged, and what of MTEB's score that is not."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, TypeAlias

import numpy as np

from embedgate.core.errors import DataError, counted
from embedgate.data import beir
from embedgate.data.cells import identifier, label, maybe_blank, number
from embedgate.data.parts import value
from embedgate.data.rows import Table
from embedgate.data.types import Dataset, Kind, Labelled, Origin, Retrieval, Similarity

Columns: TypeAlias = Mapping[str, Any]
# Texts with a label each.
Pairs: TypeAlias = Sequence[tuple[str, str]]
# Per query, relevant documents and their grades, by ids.
Relevant: TypeAlias = Mapping[str, Mapping[str, int]]

# Types of MTEB's tasks that a kind of dataset fits.
TYPES: Mapping[str, Kind] = {
    "STS": "similarity",
    "PairClassification": "similarity",
    "Retrieval": "retrieval",
    "Clustering": "labelled",
    "Classification": "labelled",
}
# By kind, what it is judged by, and the main scores of MTEB that this reproduces.
_JUDGED_BY: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "similarity": ("Spearman's rank correlation", ("cosine_spearman", "spearman")),
    "retrieval": ("nDCG, recall and MRR at 10", ("ndcg_at_10", "recall_at_10", "mrr_at_10")),
    "labelled": ("the V-measure of k-means with the same starts in every combination", ()),
}


@dataclass(frozen=True)
class Chosen:
    """A task of mteb, and what is asked for of it.

    Attributes:
        task: The task, an `AbsTask` of mteb; its data loaded where it is read.
        subset: One of its subsets; `default` of a task that has none.
        split: One of its splits.
        version: The version of mteb.
        name: What the user calls the dataset; empty to name it by the task.
    """

    task: Any
    subset: str
    split: str
    version: str
    name: str = ""

    @property
    def source(self) -> str:
        """The same as it is written."""
        subset = f"subset={self.subset}," if self.task.metadata.is_multilingual else ""
        return f"mteb:{self.task.metadata.name}@{self._revision}::{subset}split={self.split}"

    @property
    def kind(self) -> Kind:
        """The kind of dataset that fits it."""
        return TYPES[self.task.metadata.type]

    @property
    def _revision(self) -> str:
        return str(self.task.metadata.dataset["revision"])

    @property
    def table(self) -> Table:
        """Its rows as far as messages go: where one stands."""
        return Table(self.source, (), iter(()), unit=" row ")

    def origin(self, content: Iterable[object]) -> Origin:
        """What identifies the dataset.

        Args:
            content: All that is judged on, as JSON can hold it.
        """
        metadata = self.task.metadata
        parts = [metadata.name, *[self.subset] * metadata.is_multilingual, *[self.split] * (self.split != "test")]
        sha256 = hashlib.sha256(self.source.encode())
        for each in content:
            sha256.update(json.dumps(each).encode())
        return Origin(
            name=self.name or "-".join(parts),
            source=self.source,
            version=f"{self._revision} (mteb {self.version})",
            sha256=sha256.hexdigest(),
        )


def read(chosen: Chosen) -> Dataset:
    """The dataset of a task that is loaded, with notes of what differs from mteb's own evaluation.

    Raises:
        DataError: If the task lacks the subset or split, or holds what no dataset can.
    """
    rows = _rows(chosen)
    match chosen.kind:
        case "retrieval":
            return _retrieval(chosen, rows)
        case "labelled":
            return _labelled(chosen, rows)
        case _:
            return _similarity(chosen, rows)


def _rows(chosen: Chosen) -> Columns:
    """The columns of the subset and split; of a retrieval task, its corpus, queries and judgements."""
    task = chosen.task
    if chosen.kind == "retrieval":
        task.convert_v1_dataset_format_to_v2(num_proc=None)
    data = task.dataset
    splits = data if chosen.subset == "default" and "default" not in data else data.get(chosen.subset, {})
    if chosen.split not in splits:
        step = f"name one of {', '.join(splits)}" if splits else ""
        raise DataError(f"{chosen.source}: the data has no such split", step)
    rows: Columns = splits[chosen.split]
    return rows


def _cells(chosen: Chosen, rows: Columns, column: str, parse: Callable[[object], Any]) -> list[Any]:
    """The cells of a column, in the order of its rows."""
    if column not in getattr(rows, "column_names", rows):
        raise DataError(f"{chosen.source}: its data has no column {column!r}")
    table = chosen.table
    return [value(table, row, {column: cell}, column, parse) for row, cell in enumerate(rows[column], 1)]


def _notes(chosen: Chosen, *texts: Sequence[str]) -> tuple[str, ...]:
    """What a reader should know of any task's data: how it is judged here and by mteb, and what is odd in it."""
    metadata = chosen.task.metadata
    how, reproduced = _JUDGED_BY[chosen.kind]
    notes = []
    if metadata.main_score not in reproduced:
        notes.append(f"judged by {how}; mteb's main score of {metadata.name} is {metadata.main_score}")
    if metadata.prompt:
        notes.append("mteb's prompt of the task, for models that follow instructions, is not applied")
    if blank := sum(not text.strip() for part in texts for text in part):
        notes.append(f"{blank:,} of {sum(map(len, texts)):,} texts are blank")
    if newer := chosen.task.superseded_by:
        notes.append(f"mteb has {newer} in the place of {metadata.name}")
    return tuple(notes)


def _similarity(chosen: Chosen, rows: Columns) -> Similarity:
    task = chosen.task
    if task.metadata.type == "STS":
        columns, graded = task.column_names, "score"
    else:
        columns, graded = (task.input1_column_name, task.input2_column_name), task.label_column_name
        rows = _unpacked(rows, graded)
    first, second = (tuple(_cells(chosen, rows, column, maybe_blank)) for column in columns)
    grades = _cells(chosen, rows, graded, _grade)
    return Similarity(
        **vars(chosen.origin(zip(first, second, grades, strict=True))),
        notes=_notes(chosen, first, second),
        first=first,
        second=second,
        grades=np.array(grades, dtype=np.float64),
    )


def _grade(cell: object) -> float:
    return number(int(cell) if isinstance(cell, bool) else cell)


def _unpacked(rows: Any, column: str) -> Columns:
    """Columns that stand as lists in one row, as MTEB kept pairs at first; others as they are."""
    unpacked: Columns = rows[0] if len(rows) == 1 and isinstance(rows[0].get(column), list) else rows
    return unpacked


def _labelled(chosen: Chosen, rows: Any) -> Labelled:
    task = chosen.task
    kept, notes = _drawn(task, rows) if task.metadata.type == "Clustering" else (rows, [])
    texts = _cells(chosen, kept, task.input_column_name, _each(maybe_blank))
    labels = _cells(chosen, kept, task.label_column_name, _each(label))
    if len(rows) and isinstance(rows[0][task.input_column_name], list):
        pairs, more = _joined(chosen, texts, labels)
    else:
        pairs, more = _first_level(texts, labels, getattr(task, "max_depth", None))
    items, named = zip(*pairs, strict=True) if pairs else ((), ())
    return Labelled(
        **vars(chosen.origin(pairs)),
        notes=(*_notes(chosen, items), *notes, *more),
        items=items,
        labels=named,
    )


def _drawn(task: Any, rows: Any) -> tuple[Any, list[str]]:
    """The rows that mteb embeds, which it draws where the task has it so, and a note of it."""
    share, most = (getattr(task, f"max_{name}_to_embed", None) for name in ("fraction_of_documents", "document"))
    count = int(share * len(rows)) if share is not None else most
    if count is None or count >= len(rows):
        return rows, []
    # The state of a new task: what mteb draws where it evaluates this subset before any other.
    drawn = rows.select(task.rng_state.sample(range(len(rows)), k=count))
    return drawn, [f"{count:,} of {len(rows):,} texts, which are those that mteb draws"]


def _joined(chosen: Chosen, texts: Sequence[list[str]], labels: Sequence[list[str]]) -> tuple[Pairs, list[str]]:
    """The different texts of several sets, each with the label that it first has, and a note of it."""
    found: dict[str, str] = {}
    for row, (texts_of_set, labels_of_set) in enumerate(zip(texts, labels, strict=True), 1):
        if len(texts_of_set) != len(labels_of_set):
            sizes = f"{counted(len(texts_of_set), 'text')}, but {counted(len(labels_of_set), 'label')}"
            raise DataError(f"{chosen.table.at(row)}: {sizes}")
        for text, named in zip(texts_of_set, labels_of_set, strict=True):
            found.setdefault(text, named)
    if len(texts) == 1:
        return list(found.items()), []
    note = f"mteb clusters {len(texts)} sets, each by itself; embedgate their {len(found):,} different texts at once"
    return list(found.items()), [note]


def _first_level(texts: Sequence[list[str]], labels: Sequence[list[str]], depth: int | None) -> tuple[Pairs, list[str]]:
    """Texts with the first of their labels, which go from coarse to fine, and a note of it."""
    pairs = [(text, of_text[0]) for [text], of_text in zip(texts, labels, strict=True) if of_text]
    levels = min(max(map(len, labels), default=0), depth or sys.maxsize)
    if levels < 2:
        return pairs, []
    return pairs, [f"labels have {levels} levels: the first is judged, where mteb takes the mean over all"]


def _each(parse: Callable[[object], Any]) -> Callable[[object], list[Any]]:
    """Parses a cell that is a list or one value."""
    return lambda cell: [parse(each) for each in (cell if isinstance(cell, list) else [cell])]


def _retrieval(chosen: Chosen, parts: Columns) -> Retrieval:
    _refuse_other_rankings(chosen, parts)
    documents = _by_id(chosen, parts["corpus"], "documents", _document)
    queries = _by_id(chosen, parts["queries"], "queries", lambda _, text: text)
    judged = {id_: _relevant(grades) for id_ in queries if (grades := parts["relevant_docs"].get(id_))}
    kept = {id_: relevant for id_, relevant in judged.items() if relevant}
    if not kept:
        raise DataError(f"{chosen.source}: no query has a relevant document", "choose another split, or task")
    row_of = {id_: row for row, id_ in enumerate(documents)}
    asked = tuple(queries[id_] for id_ in kept)
    absent, own = _absent(kept, row_of), _own(chosen, kept, row_of)
    dataset = Retrieval(
        **vars(chosen.origin(chain(documents.items(), zip(asked, kept.items(), strict=True), own.items()))),
        document_ids=tuple(documents),
        documents=tuple(documents.values()),
        query_ids=tuple(kept),
        queries=asked,
        relevance=tuple(_present(found, row_of) for found in kept.values()),
        unreachable=absent,
        own=own,
    )
    return replace(dataset, notes=tuple(_rankings_notes(chosen, dataset, len(judged))))


def _refuse_other_rankings(chosen: Chosen, parts: Columns) -> None:
    """Refuses what is more than a query that ranks a corpus."""
    if parts.get("top_ranked") is not None:
        cause = "each query ranks candidates of its own, which no kind of dataset has"
        raise DataError(f"{chosen.source}: {cause}", "name a task whose queries rank the whole corpus")
    if "instruction" in parts["queries"].column_names:
        raise DataError(f"{chosen.source}: its queries come with instructions", "name a task without them")


def _by_id(chosen: Chosen, rows: Any, what: str, joined: Callable[[str, str], str]) -> dict[str, str]:
    """Texts by their ids, each joined with its title; what is said again counts once."""
    ids, texts = _cells(chosen, rows, "id", identifier), _cells(chosen, rows, "text", maybe_blank)
    titles = _cells(chosen, rows, "title", _title) if "title" in rows.column_names else [""] * len(texts)
    found: dict[str, str] = {}
    for id_, text in zip(ids, map(joined, titles, texts), strict=True):
        if found.setdefault(id_, text) != text:
            raise DataError(f"{chosen.source}: two of its {what} have the id {id_!r}")
    return found


def _title(cell: object) -> str:
    return "" if cell is None else maybe_blank(cell)


def _document(title: str, text: str) -> str:
    """A document as mteb encodes it."""
    return f"{title} {text}".strip()


def _relevant(grades: Mapping[str, int]) -> dict[str, int]:
    """The documents that are relevant and their grades, in an order that does not depend on how they were read."""
    return {id_: int(grade) for id_, grade in sorted(grades.items()) if grade > 0}


def _present(found: Mapping[str, int], row_of: Mapping[str, int]) -> dict[int, int]:
    return {row_of[id_]: grade for id_, grade in found.items() if id_ in row_of}


def _absent(kept: Relevant, row_of: Mapping[str, int]) -> dict[int, tuple[int, ...]]:
    """Of queries, the grades of relevant documents that the corpus lacks."""
    absent = [tuple(grade for id_, grade in found.items() if id_ not in row_of) for found in kept.values()]
    return {item: grades for item, grades in enumerate(absent) if grades}


def _own(chosen: Chosen, kept: Relevant, row_of: Mapping[str, int]) -> dict[int, int]:
    """Of queries, the document of the same id, where mteb leaves it out of the query's ranking."""
    if not chosen.task.ignore_identical_ids:
        return {}
    return {item: row_of[id_] for item, id_ in enumerate(kept) if id_ in row_of}


def _rankings_notes(chosen: Chosen, dataset: Retrieval, judged: int) -> Iterator[str]:
    """Notes of a retrieval task.

    Args:
        chosen: The task.
        dataset: What was read of it.
        judged: How many of its queries are judged, with a relevant document or without.
    """
    yield from _notes(chosen, dataset.queries)
    if judged > len(dataset):
        yield f"mteb scores queries without a relevant document as 0: its value is {len(dataset) / judged:.4f} of this"
    if absent := sum(map(len, dataset.unreachable.values())):
        yield f"{absent:,} relevant documents are not in the corpus: they count as never found, as in mteb"
    yield from beir.notes_of(dataset, judged)
