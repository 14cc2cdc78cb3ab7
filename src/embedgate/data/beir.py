"""Retrieval datasets in the layout of BEIR: a corpus, queries, and judgements (qrels) of which answers which.

The layout, joining title and text by a space, and leaving a query's own document out of its ranking are those of Thakur
et al. 2021, "BEIR: A Heterogeneous Benchmark for Zero-shot Evaluation of Information Retrieval Models",
https://github.com/beir-cellar/beir.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from embedgate.core.errors import DataError
from embedgate.data.alike import folded, rows_by_text
from embedgate.data.asked import identified
from embedgate.data.beir_files import Files
from embedgate.data.cells import CellError, identifier, is_empty, maybe_blank, text
from embedgate.data.parts import Parts, find, value
from embedgate.data.qrels import MOST_STRAY, judgements_of, open_judgements
from embedgate.data.rows import Table, open_table, shown
from embedgate.data.types import Origin, Retrieval

IGNORE = "ignore_identical_ids"
# What may be said of a folder.
OPTIONS = ("split", IGNORE, "name")
LEAVES_OUT = "ignore_identical_ids=true leaves it out, as BEIR does"
KEEPS_OWN = "ignore_identical_ids=false keeps it"
# By query and relevant document, the grade.
Relevant = Mapping[str, Mapping[str, int]]
SAID = {"true": True, "yes": True, "false": False, "no": False}
DOCUMENT_ID = (("id", "docid", "documentid", "corpusid", "passageid", "pid"),)
QUERY_ID = (("id", "queryid", "qid"),)
TEXT = ("text", "contents", "content", "body", "passage")
QUERY_TEXT = (("text", "query", "question"),)
TITLE = "title"


def read_folder(folder: Path, origin: Origin, given: Mapping[str, str] = {}) -> Retrieval:
    """Reads a folder, as `read` does.

    Args:
        folder: The folder.
        origin: What identifies it; the split and what else changes its content are added.
        given: Values of `OPTIONS` that a person gives.

    Raises:
        DataError: If a file is missing or malformed, with file and line.
    """
    files = Files.of(folder, given.get("split", ""))
    ignored = ignored_by(str(folder), given)
    changes = {"split": files.split, IGNORE: said_of(ignored)}
    origin = replace(origin, sha256=identified(origin.sha256, changes))
    if files.split and "name" not in given:
        origin = replace(origin, name=f"{origin.name}-{files.split}")
    corpus, queries, qrels = open_table(files.corpus), open_table(files.queries), open_judgements(files.qrels)
    dataset = read(corpus, queries, qrels, origin, ignore_identical_ids=ignored)
    return replace(dataset, notes=(*dataset.notes, *files.notes))


def ignored_by(place: str, given: Mapping[str, str]) -> bool | None:
    """Whether a person wants documents left out by their id; None where they do not say.

    Raises:
        DataError: If it is neither true nor false.
    """
    said = given.get(IGNORE, "")
    if said.lower() not in ("", *SAID):
        raise DataError(f"{place}: {IGNORE} is {said!r}", f"choose from {', '.join(SAID)}")
    return SAID.get(said.lower())


def said_of(ignored: bool | None) -> str:
    """What `ignore_identical_ids` changes of a dataset, for its hash."""
    return "" if ignored is None else str(ignored)


def read(
    corpus: Table, queries: Table, qrels: Table, origin: Origin, *, ignore_identical_ids: bool | None = None
) -> Retrieval:
    """Joins documents, queries and judgements.

    Queries without a relevant document are left out, since no ranking of theirs can be scored; a note counts them.

    Args:
        corpus: Columns `_id`, `text` and, optionally, `title`. Blank documents are kept, as BEIR does.
        queries: Columns `_id`, `text` and, optionally, `slices` and `cluster`.
        qrels: Columns `query-id`, `corpus-id` and `score`: 0 is not relevant, more is more relevant.
        origin: What identifies the dataset.
        ignore_identical_ids: Whether the document that has a query's id is left out of its ranking, as BEIR's and
            MTEB's option of this name has it. None to leave it out where it is the query's own: where it has its text,
            or most such documents have theirs, and it is not judged relevant to it.

    Raises:
        DataError: With the place of the row, if one is malformed, or if the three do not belong together.
    """
    documents, asked = _Documents.of(corpus), _Queries.of(queries)
    judged = judgements_of(qrels, asked.texts, documents.texts)
    relevant = {id_: found for id_ in asked.texts if (found := _relevant(judged.grades.get(id_, {})))}
    shared = _Shared.of(relevant, asked.texts, documents, ignore_identical_ids)
    _require_answers(qrels, relevant, documents.texts, shared.own)
    dataset = _joined(documents, asked, relevant, shared.own, origin)
    again = {"documents": documents.repeated, "queries": asked.repeated}
    said = [f"{noun} said again with the same id and text: {count:,}" for noun, count in again.items() if count]
    told = notes_of(dataset, len(asked.texts), KEEPS_OWN)
    notes = (*corpus.notes, *queries.notes, *judged.notes, *said, *told, *shared.notes())
    return replace(dataset, notes=tuple(dict.fromkeys(notes)))


def _require_answers(qrels: Table, relevant: Relevant, documents: Collection[str], own: Collection[str]) -> None:
    """Refuses judgements by which no query has an answer that its ranking can hold."""
    found = {query: [id_ for id_ in grades if id_ in documents] for query, grades in relevant.items()}
    if not any(found.values()):
        raise DataError(f"{qrels.source}: no query has a relevant document (a score above 0)", "correct the scores")
    if not any(id_ != query or query not in own for query, ids in found.items() for id_ in ids):
        cause = f"{qrels.source}: each query's relevant document has its id, and ignore_identical_ids leaves it out"
        raise DataError(cause, "give ignore_identical_ids=false, or leave the key out")


def _joined(
    documents: _Documents, asked: _Queries, relevant: Relevant, own: Collection[str], origin: Origin
) -> Retrieval:
    """The dataset of those queries that have a relevant document."""
    rows = {id_: row for row, id_ in enumerate(documents.texts)}
    places = {id_: place for place, id_ in enumerate(asked.texts)}
    return Retrieval(
        **vars(origin),
        **asked.parts.of(places[query] for query in relevant),
        document_ids=tuple(documents.texts),
        documents=tuple(documents.texts.values()),
        query_ids=tuple(relevant),
        queries=tuple(asked.texts[query] for query in relevant),
        relevance=tuple(
            {rows[id_]: grade for id_, grade in grades.items() if id_ in rows} for grades in relevant.values()
        ),
        own={item: rows[query] for item, query in enumerate(relevant) if query in own},
        unreachable={item: lost for item, grades in enumerate(relevant.values()) if (lost := _lost(grades, rows))},
    )


@dataclass
class _Documents:
    """Documents by id: their texts, and of those with a title what it is joined of; and how many are said again."""

    texts: dict[str, str] = field(default_factory=dict)
    joined: dict[str, tuple[str, str]] = field(default_factory=dict)
    repeated: int = 0

    @classmethod
    def of(cls, table: Table) -> _Documents:
        (id_column,) = find(table, *DOCUMENT_ID) or ("",)
        (text_column,) = find(table, TEXT) or ("text",)
        (title_column,) = find(table, (TITLE,)) or (TITLE,)
        if not id_column or not {text_column, title_column} & {*table.columns}:
            raise _lacks(table, "_id, text and, optionally, title")
        found = cls()
        for line, row in table.rows:
            id_ = value(table, line, row, id_column, _id)
            title, body = (
                "" if is_empty(row.get(column)) else value(table, line, row, column, _words)
                for column in (title_column, text_column)
            )
            words = f"{title} {body}" if title.strip() else body
            found.repeated += id_ in found.texts
            if found.texts.setdefault(id_, words) != words:
                raise _second(table, line, "document", id_)
            if title.strip():
                found.joined[id_] = title, body
        return found

    def is_called(self, id_: str, query: str) -> bool:
        """Whether a query is a document's text, its title, or what stands below it."""
        return folded(query) in {folded(each) for each in (self.texts[id_], *self.joined.get(id_, ()))}


@dataclass
class _Queries:
    """Queries by id, which slices and clusters they are in, and how many are said again."""

    texts: dict[str, str]
    parts: Parts
    repeated: int = 0

    @classmethod
    def of(cls, table: Table) -> _Queries:
        columns = find(table, *QUERY_ID, *QUERY_TEXT)
        if columns is None:
            raise _lacks(table, "_id and text")
        found = cls({}, Parts(table))
        for line, row in table.rows:
            id_, words = value(table, line, row, columns[0], _id), value(table, line, row, columns[1], _question)
            if found.texts.get(id_, words) != words:
                raise _second(table, line, "query", id_)
            if id_ in found.texts:
                found.repeated += 1
                continue
            found.texts[id_] = words
            found.parts.add(line, row)
        return found


def _id(cell: object) -> str:
    return _acted(identifier, cell, "give each an id of its own, a text or a whole number")


def _words(cell: object) -> str:
    return _acted(maybe_blank, cell, "write it as a text in quotes")


def _question(cell: object) -> str:
    return _acted(text, cell, "write what is asked, or delete the query")


def _acted(parse: Callable[[object], str], cell: object, action: str) -> str:
    """A cell, with what to do where it is not what it must be."""
    try:
        return parse(cell)
    except ValueError as error:
        raise CellError(str(error), action) from error


def _second(table: Table, line: int, noun: str, id_: str) -> DataError:
    return DataError(f"{table.at(line)}: a second {noun} has the id {id_!r}, and another text", "give each its own id")


def _lacks(table: Table, needed: str) -> DataError:
    return DataError(f"{table.at(table.first)}: columns {shown(table.columns)}", f"needs {needed}")


def _relevant(grades: Mapping[str, int]) -> dict[str, int]:
    return {document: grade for document, grade in grades.items() if grade}


def _lost(relevant: Mapping[str, int], rows: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(grade for document, grade in relevant.items() if document not in rows)


@dataclass(frozen=True)
class _Shared:
    """Queries whose id a document has.

    Attributes:
        kept: How many queries there are.
        own: Those that are this document.
        answered: Those that are another text by a judgement: the document is relevant to them.
        other: Those that only share its id.
    """

    kept: int
    own: frozenset[str] = frozenset()
    answered: frozenset[str] = frozenset()
    other: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls, relevant: Relevant, queries: Mapping[str, str], documents: _Documents, ignore_identical_ids: bool | None
    ) -> _Shared:
        shared = frozenset(id_ for id_ in relevant if id_ in documents.texts)
        if ignore_identical_ids is not None:
            return cls(len(relevant), shared if ignore_identical_ids else frozenset())
        # In a list of questions, a document may be the answer, called by the question.
        answered = frozenset(id_ for id_ in shared if id_ in relevant[id_])
        asked = shared - answered
        same = frozenset(id_ for id_ in asked if documents.is_called(id_, queries[id_]))
        own = asked if len(same) > MOST_STRAY * len(asked) else same
        return cls(len(relevant), own, answered, asked - own)

    def notes(self) -> Iterator[str]:
        """What of those that stay in their ranking a reader should know."""
        for ids, what in ((self.answered, "is judged relevant to the query"), (self.other, "has another text")):
            if ids:
                of = f"{len(ids):,} of {self.kept:,} queries"
                yield f"{of}: the document with the same id {what}, so it stays in the ranking; {LEAVES_OUT}"


def notes_of(dataset: Retrieval, asked: int, keeps: str = "") -> Iterator[str]:
    """What a reader of a report should know about documents and queries.

    Args:
        dataset: The dataset.
        asked: How many queries there were.
        keeps: What a person can do to keep queries in their own rankings; empty for nothing.
    """
    if unanswered := asked - len(dataset):
        yield f"left out {unanswered:,} of {asked:,} queries: no relevant document"
    if dataset.own:
        yield (
            f"{len(dataset.own):,} of {len(dataset):,} queries are documents too, under the same id: each is left out "
            f"of its own ranking, as in BEIR{keeps and f'; {keeps}'}"
        )
    if judged := sum(document in dataset.relevance[query] for query, document in dataset.own.items()):
        yield f"{judged:,} of these are judged relevant to themselves, which counts as never found, as in BEIR"
    if lost := sum(not {*grades} - {dataset.own.get(item)} for item, grades in enumerate(dataset.relevance)):
        of = f"{lost:,} of {len(dataset):,} queries"
        yield f"{of} have no relevant document that can be found: they score 0, as in BEIR"
    if repeats := _repeats(dataset):
        yield f"{repeats:,} queries are word for word a document of another id, which stays in their rankings"
    blank = sum(not document.strip() for document in dataset.documents)
    if blank:
        yield f"{blank:,} of {len(dataset.documents):,} documents are blank"
    distinct = len({document for document in dataset.documents if document.strip()})
    if copies := len(dataset.documents) - blank - distinct:
        yield f"{copies:,} of {len(dataset.documents):,} documents repeat another: they tie, and count in expectation"


def _repeats(dataset: Retrieval) -> int:
    """How many queries are the text of a document that is not their own, nor relevant."""
    rows = rows_by_text(dataset.documents)
    return sum(
        any(row != dataset.own.get(item) and row not in dataset.relevance[item] for row in rows.get(folded(query), ()))
        for item, query in enumerate(dataset.queries)
    )
