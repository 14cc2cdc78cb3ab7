"""Retrieval datasets in the layout of BEIR: a corpus, queries, and judgements (qrels) of which answers which.

The layout, and joining title and text by a space, are those of Thakur et al. 2021, "BEIR: A Heterogeneous Benchmark
for Zero-shot Evaluation of Information Retrieval Models", https://github.com/beir-cellar/beir.
"""

from __future__ import annotations

from pathlib import Path

from embedgate.core.errors import DataError
from embedgate.data.cells import identifier, maybe_blank, number, text
from embedgate.data.parts import Parts, find, value
from embedgate.data.rows import Table, delimited, json_lines, shown
from embedgate.data.types import Origin, Retrieval

CORPUS, QUERIES, QRELS = "corpus.jsonl", "queries.jsonl", "qrels"
UNNAMED_QRELS = ("query-id", "corpus-id", "score")
ID = ("id",)
TEXT = ("text",)
QRELS_ROLES = (("queryid", "qid"), ("corpusid", "documentid", "docid"), ("score", "relevance"))


def is_beir(folder: Path) -> bool:
    """Whether a folder has a file that only this layout has."""
    return (folder / CORPUS).is_file() or (folder / QUERIES).is_file()


def read_folder(folder: Path, origin: Origin) -> Retrieval:
    """Reads `corpus.jsonl`, `queries.jsonl` and `qrels/test.tsv` (or the only file in `qrels`).

    Raises:
        DataError: If one is missing or malformed, with file and line.
    """
    for name in (CORPUS, QUERIES):
        if not (folder / name).is_file():
            raise DataError(f"{folder}: no {name}", f"a retrieval dataset is {CORPUS}, {QUERIES} and {QRELS}/test.tsv")
    return read(
        json_lines(folder / CORPUS),
        json_lines(folder / QUERIES),
        delimited(_qrels(folder / QRELS), "\t", unnamed=UNNAMED_QRELS, quoted=False),
        origin,
    )


def read(corpus: Table, queries: Table, qrels: Table, origin: Origin) -> Retrieval:
    """Joins documents, queries and judgements.

    Queries without a relevant document are left out, since no ranking of theirs can be scored; a note counts them.

    Args:
        corpus: Columns `_id`, `text` and, optionally, `title`. Blank documents are kept, as BEIR does.
        queries: Columns `_id`, `text` and, optionally, `slices` and `cluster`.
        qrels: Columns `query-id`, `corpus-id` and `score`: 0 is not relevant, more is more relevant.
        origin: What identifies the dataset.

    Raises:
        DataError: With the place of the row, if one is malformed or names an unknown id.
    """
    documents = _documents(corpus)
    asked, parts = _queries(queries)
    relevance = _relevance(qrels, {id_: row for row, id_ in enumerate(documents)}, set(asked))
    kept = {id_: item for item, id_ in enumerate(asked) if relevance.get(id_)}
    if not kept:
        raise DataError(f"{qrels.source}: no query has a relevant document (a score above 0)")
    notes = []
    if unanswered := len(asked) - len(kept):
        notes.append(f"left out {unanswered} of {len(asked)} queries: no relevant document")
    if blank := sum(not document.strip() for document in documents.values()):
        notes.append(f"{blank} of {len(documents)} documents are blank")
    return Retrieval(
        **vars(origin),
        **parts.of(kept.values()),
        notes=tuple(notes),
        document_ids=tuple(documents),
        documents=tuple(documents.values()),
        query_ids=tuple(kept),
        queries=tuple(asked[id_] for id_ in kept),
        relevance=tuple(relevance[id_] for id_ in kept),
    )


def _qrels(folder: Path) -> Path:
    files = sorted(folder.glob("*.tsv"))
    test = folder / "test.tsv"
    if test in files:
        return test
    if len(files) == 1:
        return files[0]
    if not files:
        raise DataError(f"{folder}: no judgements", f"put them into {test}")
    raise DataError(f"{folder}: {', '.join(file.name for file in files)}, but no test.tsv", f"name one of them {test}")


def _columns(table: Table, *roles: tuple[str, ...], named: str) -> tuple[str, ...]:
    found = find(table, *roles)
    if found is None:
        raise DataError(f"{table.at(table.first)}: columns {shown(table.columns)}", f"needs {named}")
    return found


def _documents(table: Table) -> dict[str, str]:
    id_column, text_column = _columns(table, ID, TEXT, named="_id, text and, optionally, title")
    documents: dict[str, str] = {}
    for line, row in table.rows:
        id_ = value(table, line, row, id_column, identifier)
        if id_ in documents:
            raise DataError(f"{table.at(line)}: a second document has the id {id_!r}")
        body = value(table, line, row, text_column, maybe_blank)
        title = value(table, line, row, "title", maybe_blank) if row.get("title") else ""
        documents[id_] = f"{title} {body}" if title.strip() else body
    return documents


def _queries(table: Table) -> tuple[dict[str, str], Parts]:
    id_column, text_column = _columns(table, ID, TEXT, named="_id and text")
    queries: dict[str, str] = {}
    parts = Parts(table)
    for line, row in table.rows:
        id_ = value(table, line, row, id_column, identifier)
        if id_ in queries:
            raise DataError(f"{table.at(line)}: a second query has the id {id_!r}")
        queries[id_] = value(table, line, row, text_column, text)
        parts.add(line, row)
    return queries, parts


def _grade(cell: object) -> int:
    score = number(cell)
    if not score.is_integer():
        raise ValueError(f"is {score:g}, not a whole number")
    if score < 0:
        raise ValueError(f"is {score:g}; write 0 for a document that is not relevant")
    return int(score)


def _relevance(table: Table, rows: dict[str, int], queries: set[str]) -> dict[str, dict[int, int]]:
    """Per query the rows of its relevant documents and their grades."""
    query_column, document_column, score_column = _columns(table, *QRELS_ROLES, named="query-id, corpus-id and score")
    judged: dict[str, dict[int, int]] = {}
    for line, row in table.rows:
        query = value(table, line, row, query_column, identifier)
        if query not in queries:
            raise DataError(f"{table.at(line)}: no query has the id {query!r}")
        document = value(table, line, row, document_column, identifier)
        if document not in rows:
            raise DataError(f"{table.at(line)}: no document has the id {document!r}")
        grade = value(table, line, row, score_column, _grade)
        if judged.setdefault(query, {}).setdefault(rows[document], grade) != grade:
            raise DataError(f"{table.at(line)}: document {document!r} has two scores for query {query!r}")
    return {query: {document: grade for document, grade in grades.items() if grade} for query, grades in judged.items()}
