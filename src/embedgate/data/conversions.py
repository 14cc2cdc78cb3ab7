"""From the values of rows to items: pairs, triplets, labelled texts, and retrieval from pairs of query and answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np

from embedgate.core.errors import DataError, counted
from embedgate.data.alike import folded, rows_by_text
from embedgate.data.grades import LARGEST_GRADE, NO_GRADE, SMALLER_GRADES
from embedgate.data.parts import Parts
from embedgate.data.rows import Table
from embedgate.data.types import Dataset, Labelled, Origin, Retrieval, Similarity, Texts, Triplets

WHOLE_GRADES = (
    "grades of retrieval are whole numbers from 0, which is not relevant; pairs with a grade of how alike they are "
    "have kind=similarity, sentence1=COLUMN and sentence2=COLUMN"
)


@dataclass
class Values:
    """The values of a table's rows, by role.

    Attributes:
        table: The table.
        origin: What identifies it.
        parts: The slices and the cluster of each row.
        by_role: Per role its value in each row.
        lines: Number of each row's line.
    """

    table: Table
    origin: Origin
    parts: Parts
    by_role: dict[str, list[Any]]
    lines: list[int] = field(default_factory=list)

    def repeated(self) -> tuple[str, ...]:
        """A note of how many rows equal another; nothing where none does."""
        rows = [tuple(map(_hashable, row)) for row in zip(*self.by_role.values(), strict=True)]
        repeated = len(rows) - len({*rows})
        repeat = "repeats" if repeated == 1 else "repeat"
        return (f"{repeated:,} of {counted(len(rows), 'row')} {repeat} another exactly",) if repeated else ()

    def texts(self, role: str) -> Iterator[str]:
        """The texts of a role, also those of lists."""
        for found in self.by_role[role]:
            yield from [found] if isinstance(found, str) else found


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def similarity(values: Values, notes: Sequence[str]) -> Dataset:
    """Graded pairs, one for each row."""
    grades = np.array(values.by_role["score"], dtype=np.float64)
    first, second = (tuple(values.by_role[role]) for role in ("sentence1", "sentence2"))
    return Similarity(
        **vars(values.origin), **values.parts.of(), notes=tuple(notes), first=first, second=second, grades=grades
    )


def labelled(values: Values, notes: Sequence[str]) -> Dataset:
    """Labelled texts, one for each row."""
    items, labels = (tuple(values.by_role[role]) for role in ("text", "label"))
    return Labelled(**vars(values.origin), **values.parts.of(), notes=tuple(notes), items=items, labels=labels)


def plain_texts(values: Values, notes: Sequence[str], role: str, why: str) -> Dataset:
    """Unlabelled texts, each once.

    Args:
        values: The values.
        notes: What is to be told of them.
        role: How the texts are used; empty for plain `encode`.
        why: What says so.
    """
    told = (*notes, f"encoded in the role {role}, {why}") if role else tuple(notes)
    return Texts.once(values.by_role["text"], **vars(values.origin), **values.parts.of(), role=role, notes=told)


def triplets(values: Values, notes: Sequence[str]) -> Dataset:
    """Triplets: of each row, one for each two of a positive and a negative.

    Those of a row share its anchor, so they are one cluster: four negatives make no verdict four times as sure.
    """
    anchors, positives, negatives = (values.by_role[role] for role in ("anchor", "positive", "negative"))
    made = [
        (row, positive, negative)
        for row in range(len(anchors))
        for positive in positives[row]
        for negative in negatives[row]
    ]
    common = values.parts.joined([(row,) for row, _, _ in made])
    told: list[str] = []
    if len(made) > len(anchors):
        told = [f"{counted(len(anchors), 'row')} are {len(made):,} triplets, those of a row in one cluster"]
        common["groups"] = _clusters(common["groups"], [row for row, _, _ in made], values)
    return Triplets(
        **vars(values.origin),
        **common,
        notes=(*notes, *told),
        anchors=tuple(anchors[row] for row, _, _ in made),
        positives=tuple(positive for _, positive, _ in made),
        negatives=tuple(negative for _, _, negative in made),
    )


def _clusters(groups: tuple[str, ...] | None, rows: Sequence[int], values: Values) -> tuple[str, ...]:
    """The cluster of each triplet: what the data says, else its row."""
    named = groups or ("",) * len(rows)
    return tuple(group or f"row {values.lines[row]}" for group, row in zip(named, rows, strict=True))


def retrieval(values: Values, notes: Sequence[str]) -> Dataset:
    """Retrieval: each distinct query is one, each distinct text that answers one is a document.

    Raises:
        DataError: With the row's place, if one judges a document in another way than a row before it.
    """
    queries: dict[str, list[int]] = {}
    for row, query in enumerate(values.by_role["query"]):
        queries.setdefault(query, []).append(row)
    answers = values.by_role["positive"]
    others = values.by_role.get("negative", [])
    documents = {text: number for number, text in enumerate(dict.fromkeys(chain(*answers, *others)))}
    judged = [dict(_judged(values, rows, documents)) for rows in queries.values()]
    kept = [number for number, grades in enumerate(judged) if any(grades.values())]
    asked = list(queries)
    if not kept:
        raise DataError(f"{values.table.source}: no query has a relevant document (a grade above 0)", "correct grades")
    relevant = [{row: grade for row, grade in judged[number].items() if grade} for number in kept]
    own = _own([asked[number] for number in kept], documents, relevant)
    return Retrieval(
        **vars(values.origin),
        **values.parts.joined([queries[asked[number]] for number in kept]),
        notes=(*notes, *_told(values, len(asked), len(documents), len(kept)), *_left_out(own)),
        document_ids=tuple(str(number) for number in range(1, len(documents) + 1)),
        documents=tuple(documents),
        query_ids=tuple(str(number + 1) for number in kept),
        queries=tuple(asked[number] for number in kept),
        relevance=tuple(relevant),
        own=own,
    )


def _own(queries: Sequence[str], documents: Mapping[str, int], relevant: Sequence[Mapping[int, int]]) -> dict[int, int]:
    """Of each query that is a document itself and none of its answers, that document: the one written alike, if any."""
    alike, found = rows_by_text(documents), {}
    for item, query in enumerate(queries):
        rows = sorted(alike.get(folded(query), ()), key=lambda row: row != documents.get(query))
        if mine := [row for row in rows if row not in relevant[item]]:
            found[item] = mine[0]
    return found


def _left_out(own: Mapping[int, int]) -> Iterator[str]:
    if own:
        queries = "1 query is a document" if len(own) == 1 else f"{len(own):,} queries are documents"
        yield f"{queries} too, as where pairs stand in both directions: each is left out of its own ranking"


def _judged(values: Values, rows: Sequence[int], documents: dict[str, int]) -> Iterator[tuple[int, int]]:
    """The documents that rows of one query judge, and their grades."""
    found: dict[str, int] = {}
    for row in rows:
        grade = _grade(values, row)
        for text in values.by_role["positive"][row]:
            if found.setdefault(text, grade) != grade:
                place = values.table.at(values.lines[row])
                cause = f"{place}: one document has two grades for one query: {found[text]} and {grade}"
                raise DataError(cause, "leave one of the rows")
            yield documents[text], grade


def _grade(values: Values, row: int) -> int:
    if "score" not in values.by_role:
        return 1
    grade = values.by_role["score"][row]
    if grade < 0 or not grade.is_integer():
        raise DataError(f"{values.table.at(values.lines[row])}: the grade is {grade:g}", WHOLE_GRADES)
    if grade > LARGEST_GRADE:
        raise DataError(f"{values.table.at(values.lines[row])}: the grade is {grade:g}, {NO_GRADE}", SMALLER_GRADES)
    return int(grade)


def _told(values: Values, queries: int, documents: int, kept: int) -> Iterator[str]:
    rows = counted(len(values.lines), "row")
    others = " and the negatives" if "negative" in values.by_role else ""
    judged = "as graded" if "score" in values.by_role else "each relevant to its query"
    yield f"{rows} as retrieval: {queries:,} distinct queries, {documents:,} distinct documents{others}, {judged}"
    if left := queries - kept:
        yield f"left out {left:,} of {queries:,} queries: no relevant document"
