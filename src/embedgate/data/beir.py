"""Retrieval datasets in the layout of BEIR: a corpus, queries, and judgements (qrels) of which answers which.

The layout, joining title and text by a space, and leaving a query's own document out of its ranking are those of Thakur
et al. 2021, "BEIR: A Heterogeneous Benchmark for Zero-shot Evaluation of Information Retrieval Models",
https://github.com/beir-cellar/beir.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from embedgate.core.errors import DataError, counted, listed
from embedgate.data.cells import CellError, identifier, is_empty, maybe_blank, text
from embedgate.data.files import PACKED
from embedgate.data.parts import Parts, find, value
from embedgate.data.qrels import MOST_STRAY, ROLES, is_judgements, judgements_of, open_judgements
from embedgate.data.rows import Table, is_data_file, open_table, shown, stem_of, suffix_of
from embedgate.data.types import Origin, Retrieval

CORPUS, QUERIES, QRELS = "corpus.jsonl", "queries.jsonl", "qrels"
LAYOUT = f"a retrieval dataset is {CORPUS}, {QUERIES} and {QRELS}/test.tsv"
TEST = "test"
QRELS_ROLES = ROLES
# What may be said of a folder.
OPTIONS = ("split", "ignore_identical_ids", "name")
SAID = {"true": True, "yes": True, "false": False, "no": False}
DOCUMENT_ID = (("id", "docid", "documentid", "corpusid", "passageid", "pid"),)
QUERY_ID = (("id", "queryid", "qid"),)
TEXT = ("text", "contents", "content", "body", "passage")
QUERY_TEXT = (("text", "query", "question"),)
TITLE = "title"


def is_beir(folder: Path) -> bool:
    """Whether a folder has files that only this layout has."""
    found = [_part(folder, name) for name in (CORPUS, QUERIES)]
    return all(found) or any(path is not None and suffix_of(path) == ".jsonl" for path in found)


def inside(folder: Path) -> Path:
    """The folder itself, or the one in it that has this layout, as archives unpack to `nq/nq`.

    Raises:
        DataError: If there are several.
    """
    if is_beir(folder) or any(is_data_file(path) for path in folder.iterdir()):
        return folder
    below = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.is_symlink() and is_beir(path)]
    if len(below) > 1:
        names = listed([path.name for path in below])
        raise DataError(f"{folder}: holds several retrieval datasets: {names}", f"name one, such as {below[0]}")
    return below[0] if below else folder


@dataclass(frozen=True)
class Files:
    """The files of a dataset.

    Attributes:
        corpus: The documents.
        queries: The queries.
        qrels: The judgements.
        split: Which ones these are; empty where they are those that are taken where none are named.
    """

    corpus: Path
    queries: Path
    qrels: Path
    split: str = ""

    @classmethod
    def of(cls, folder: Path, split: str = "") -> Files:
        """Finds the files of a folder.

        Args:
            folder: The folder.
            split: Which judgements; empty for those of `test`, or the only ones.

        Raises:
            DataError: If one is missing, or there are several.
        """
        parts = [_part(folder, name) for name in (CORPUS, QUERIES)]
        for name, path in zip((CORPUS, QUERIES), parts, strict=True):
            if path is None:
                raise DataError(f"{folder}: no {name}", LAYOUT)
        corpus, queries = (path for path in parts if path is not None)
        splits = _splits(folder)
        usual = TEST if TEST in splits else next(iter(splits)) if len(splits) == 1 else ""
        chosen = split or usual
        if chosen not in splits:
            missing = f"but no split {chosen or TEST}"
            names = ", ".join(path.name for path in splits.values())
            named = sorted(filter(None, splits))
            step = f"choose one: {folder}::split={named[0]}" if named else "leave the key split out"
            raise DataError(f"{folder / QRELS}: {names}, {missing}", step)
        return cls(corpus, queries, splits[chosen], split if split != usual else "")


def files_of(folder: Path) -> tuple[Path, ...]:
    """Every file of a dataset, those of all splits included.

    Raises:
        DataError: If there are no judgements, or two files are the same part.
    """
    parts = (_part(folder, name) for name in (CORPUS, QUERIES))
    return (*(path for path in parts if path is not None), *_splits(folder).values())


def _part(folder: Path, name: str) -> Path | None:
    """The file of documents or of queries; the unpacked one where there are two."""
    stem = Path(name).stem
    found = sorted(path for path in folder.iterdir() if is_data_file(path) and stem_of(path) == stem)
    plain = [path for path in found if not _is_packed_copy(path, found)]
    if len(plain) > 1:
        raise DataError(f"{folder}: {', '.join(path.name for path in plain)}", f"keep one, such as {name}")
    return plain[0] if plain else None


def _splits(folder: Path) -> dict[str, Path]:
    """By split, the file of judgements, in the folder `qrels` or, where there is none, called so."""
    within = folder / QRELS
    inner = within.is_dir()
    named = [path for path in sorted((within if inner else folder).iterdir()) if path.is_file()]
    found = [path for path in named if path.stem == QRELS or (is_judgements(path) and (inner or QRELS in path.name))]
    splits: dict[str, Path] = {}
    for path in (within, *found):
        if not path.resolve().is_relative_to(folder.resolve()):
            raise DataError(f"{path}: a link out of its folder", "put the file or folder itself there")
    for path in found:
        if _is_packed_copy(path, found):
            continue
        name = stem_of(path) if inner else _split_of(path)
        if name in splits:
            raise DataError(f"{path.parent}: {splits[name].name}, {path.name}", "keep one of them")
        splits[name] = path
    if not splits:
        raise DataError(f"{within}: no judgements", f"put them into {within / TEST}.tsv")
    return splits


def _is_packed_copy(path: Path, among: Sequence[Path]) -> bool:
    return path.suffix.lower() == PACKED and path.with_suffix("") in among


def _split_of(path: Path) -> str:
    """The split of a file that is called after judgements: `dev` of `qrels.dev.tsv` and of `qrels.dev`."""
    whole = stem_of(path) if is_judgements(path) else path.name
    return whole.replace(QRELS, "").strip("._-")


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
    said = given.get("ignore_identical_ids", "")
    if said.lower() not in ("", *SAID):
        raise DataError(f"{folder}: ignore_identical_ids is {said!r}", f"choose from {', '.join(SAID)}")
    changes = [files.split and f"split={files.split}", said and f"ignore_identical_ids={SAID[said.lower()]}"]
    if any(changes):
        sha256 = hashlib.sha256("\0".join((origin.sha256, *filter(None, changes))).encode()).hexdigest()
        origin = replace(origin, sha256=sha256)
    if files.split and "name" not in given:
        origin = replace(origin, name=f"{origin.name}-{files.split}")
    corpus, queries, qrels = open_table(files.corpus), open_table(files.queries), open_judgements(files.qrels)
    return read(corpus, queries, qrels, origin, ignore_identical_ids=SAID.get(said.lower()))


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
            or most such documents have theirs.

    Raises:
        DataError: With the place of the row, if one is malformed, or if the three do not belong together.
    """
    documents, asked = _Documents.of(corpus), _Queries.of(queries)
    judged = judgements_of(qrels, asked.texts, documents.texts)
    rows = {id_: row for row, id_ in enumerate(documents.texts)}
    relevant = {id_: _relevant(judged.grades.get(id_, {})) for id_ in asked.texts}
    kept = {id_: item for item, id_ in enumerate(asked.texts) if relevant[id_]}
    if not any(id_ in rows for query in kept for id_ in relevant[query]):
        raise DataError(f"{qrels.source}: no query has a relevant document (a score above 0)")
    own, other = _own(kept, asked.texts, documents, ignore_identical_ids)
    dataset = Retrieval(
        **vars(origin),
        **asked.parts.of(kept.values()),
        document_ids=tuple(documents.texts),
        documents=tuple(documents.texts.values()),
        query_ids=tuple(kept),
        queries=tuple(asked.texts[id_] for id_ in kept),
        relevance=tuple({rows[id_]: grade for id_, grade in relevant[query].items() if id_ in rows} for query in kept),
        own={item: rows[query] for item, query in enumerate(kept) if query in own},
        unreachable={item: lost for item, query in enumerate(kept) if (lost := _lost(relevant[query], rows))},
    )
    again = {"documents": documents.repeated, "queries": asked.repeated}
    said = [f"{noun} said again with the same id and text: {count:,}" for noun, count in again.items() if count]
    notes = (*corpus.notes, *queries.notes, *judged.notes, *said, *notes_of(dataset, len(asked.texts), len(other)))
    return replace(dataset, notes=tuple(dict.fromkeys(notes)))


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
        return _plain(query) in {_plain(each) for each in (self.texts[id_], *self.joined.get(id_, ()))}


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


def _plain(words: str) -> str:
    return " ".join(words.casefold().split())


def _own(
    kept: Mapping[str, int], queries: Mapping[str, str], documents: _Documents, ignore_identical_ids: bool | None
) -> tuple[set[str], set[str]]:
    """Queries whose id a document has: those that are this document, and those that only share its id."""
    shared = {id_ for id_ in kept if id_ in documents.texts}
    if ignore_identical_ids is not None:
        return (shared, set()) if ignore_identical_ids else (set(), set())
    same = {id_ for id_ in shared if documents.is_called(id_, queries[id_])}
    own = shared if len(same) > MOST_STRAY * len(shared) else same
    return own, shared - own


def notes_of(dataset: Retrieval, asked: int, other: int = 0) -> Iterator[str]:
    """What a reader of a report should know about documents and queries.

    Args:
        dataset: The dataset.
        asked: How many queries there were.
        other: How many of those kept only share their id with a document.
    """
    if unanswered := asked - len(dataset):
        yield f"left out {unanswered:,} of {asked:,} queries: no relevant document"
    if dataset.own:
        yield (
            f"{len(dataset.own):,} of {len(dataset):,} queries are documents too, under the same id: each is left out "
            "of its own ranking, as in BEIR"
        )
    if judged := sum(document in dataset.relevance[query] for query, document in dataset.own.items()):
        yield f"{judged:,} of these are judged relevant to themselves, which counts as never found, as in BEIR"
    if other:
        yield (
            f"{counted(other, 'document')} share the id of a query and have another text, so they stay in its ranking; "
            "ignore_identical_ids=true leaves them out, as BEIR does"
        )
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
    rows: dict[str, list[int]] = {}
    for row, document in enumerate(dataset.documents):
        rows.setdefault(_plain(document), []).append(row)
    return sum(
        any(row != dataset.own.get(item) and row not in dataset.relevance[item] for row in rows.get(_plain(query), ()))
        for item, query in enumerate(dataset.queries)
    )
