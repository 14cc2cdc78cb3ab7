"""Judgements of retrieval (qrels): which documents are relevant to which query, and how much.

Files are those of BEIR (a header, tabs) and of TREC (`query 0 document grade`, blanks or tabs). What a grade means is
as in trec_eval, https://github.com/usnistgov/trec_eval: documents without a grade above 0 are not relevant.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from embedgate.core.errors import DataError, counted
from embedgate.data.cells import CellError, identifier, number
from embedgate.data.files import Writing, lines
from embedgate.data.grades import LARGEST_GRADE, NO_GRADE, SMALLER_GRADES, is_numeral
from embedgate.data.parts import find, value
from embedgate.data.rows import Row, Table, disguise_of, is_data_file, open_table, refuse_disguised, shown, suffix_of
from embedgate.data.table import empty

# Files of plain text; others are tables as any.
PLAIN_TEXT = ".txt"
SUFFIXES = (".tsv", PLAIN_TEXT, ".qrels", ".trec", ".csv")
ROLES = (
    ("queryid", "qid"),
    ("corpusid", "documentid", "docid", "passageid", "pid"),
    ("score", "relevance", "grade", "label", "rel"),
)
UNNAMED = {
    3: ("query-id", "corpus-id", "score"),
    4: ("query-id", "iteration", "corpus-id", "score"),
}
# Words in the names of files that tell about the others.
TELLING = ("readme", "license", "licence", "notice", "changelog", "citation", "version", "checksums", "notes")
GRADES = "write 0 for not relevant, and more for more relevant"
WITHOUT_QUOTES = "write judgements without quotes, or call the file .csv"
NEEDED = "needs query-id, corpus-id and score"
# Columns of a file that says what was found, in TREC's form.
RUN = 6
# Of the judgements, the share that may name what is not there: beyond it, the files are of several datasets.
MOST_STRAY = 0.5

# By query and document, the grade.
Graded = dict[str, dict[str, int]]


def is_judgements(path: Path) -> bool:
    """Whether a file may hold judgements, by what its name ends in; one without a suffix may."""
    return suffix_of(path) in ("", *SUFFIXES) or is_data_file(path)


def judgements_among(paths: Iterable[Path]) -> list[Path]:
    """Those files that hold judgements: none that is hidden or tells about the others.

    Where some are judgements, files without a suffix and `.txt` that begin like prose are none.

    Raises:
        DataError: If one cannot be read.
    """
    named = [path for path in paths if not _is_beside_data(path) and (is_judgements(path) or path.stem == "qrels")]
    return [path for path in named if _is_table(path) or not _is_prose(path)] or named


def _is_table(path: Path) -> bool:
    """Whether the name of a file says that it is a table: one of plain text may be anything."""
    return (suffix_of(path) in SUFFIXES and suffix_of(path) != PLAIN_TEXT) or is_data_file(path)


def _is_beside_data(path: Path) -> bool:
    words = {*re.split(r"[\W_]+", path.name.lower())}
    return path.name.startswith((".", "_")) or (not _is_table(path) and not words.isdisjoint(TELLING))


def _is_prose(path: Path) -> bool:
    """Whether a file begins with another line than those of judgements, or of a run, or holds nothing."""
    if disguise_of(path):
        return False
    first = next((text for _, text in lines(path) if text.strip()), "")
    cells = _cut_by(first)[0](first)
    graded = len(cells) in UNNAMED and is_numeral(cells[-1])
    run = len(cells) == RUN and is_numeral(cells[-2])
    return not graded and not run and find(Table(str(path), tuple(cells), iter(())), *ROLES) is None


def open_judgements(path: Path) -> Table:
    """Opens a file of judgements, with or without a header; also packed by gzip.

    Raises:
        DataError: If it cannot be read; and from `rows`, with file and line, on the first malformed row.
    """
    if suffix_of(path) not in SUFFIXES and is_data_file(path):
        return open_table(path)
    refuse_disguised(path)
    writing = Writing.of(path)
    records = ((line, text.rstrip("\r\n")) for line, text in lines(path, writing) if text.strip())
    line, first = next(records, (0, ""))
    if not line:
        raise empty(path)
    cut, note = _cut_by(first, quoted=suffix_of(path) == ".csv")
    cells = cut(first)
    unnamed = UNNAMED.get(len(cells)) if is_numeral(cells[-1]) else None
    notes = (*writing.notes, *([note] if note else []))

    def rows() -> Iterator[tuple[int, Row]]:
        columns = unnamed or tuple(cells)
        if unnamed:
            yield line, dict(zip(columns, cells, strict=True))
        for number_, text in records:
            row = cut(text)
            if len(row) != len(columns):
                cause = f"{path}:{number_}: {counted(len(row), 'column')}, not {len(columns)}: {shown(columns)}"
                raise DataError(cause, "write each judgement in a line of its own, with all its cells")
            yield number_, dict(zip(columns, row, strict=True))

    return Table(str(path), unnamed or tuple(cells), rows(), first=line, notes=notes)


def _cut_by(first: str, quoted: bool = False) -> tuple[Callable[[str], list[str]], str]:
    """What cuts lines like the first into cells, and a note of it where it is not tabs.

    Args:
        first: The line.
        quoted: Whether quotes are those of CSV.
    """
    if "\t" in first:
        return partial(_cells, delimiter="\t", quoted=quoted), ""
    by_blanks = not quoted and len(first.split()) in UNNAMED
    for delimiter, name in {",": "commas", ";": "semicolons"}.items():
        cells = _cells(first, delimiter, quoted)
        # An id may hold the sign, where blanks stand between the cells.
        if len(cells) in UNNAMED and not (by_blanks and any(len(cell.split()) > 1 for cell in cells)):
            return partial(_cells, delimiter=delimiter, quoted=quoted), f"judgements are separated by {name}"
    by_blanks = len(first.split()) in UNNAMED
    return str.split, "judgements are separated by blanks" if by_blanks else ""


def _cells(line: str, delimiter: str, quoted: bool) -> list[str]:
    # The reader of CSV refuses longer cells, and carriage returns: the number of cells then tells what is wrong.
    if quoted and '"' in line and "\r" not in line and len(line) < csv.field_size_limit():
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))]
    return [cell.strip() for cell in line.split(delimiter)]


def _bare(id_: str) -> str:
    """An id without what spreadsheets and databases add to numbers."""
    return id_.strip().removesuffix(".0").lstrip("0") or "0"


@dataclass
class _Strays:
    """Judgements that name an id which is nowhere."""

    noun: str
    known: Collection[str]
    count: int = 0
    first: tuple[int, str] = (0, "")

    def add(self, line: int, id_: str) -> None:
        self.count += 1
        self.first = self.first if self.count > 1 else (line, id_)

    def refused(self, table: Table, judgements: int, known: Collection[str], others: Collection[str]) -> DataError:
        """The refusal of judgements most of which name such an id.

        Args:
            table: The judgements.
            judgements: How many there are.
            known: The ids that could be meant.
            others: The ids of the other column.
        """
        line, id_ = self.first
        cause = f"{table.at(line)}: no {self.noun} has the id {id_!r}"
        more = f", and {self.count:,} of {judgements:,} judgements name such" if self.count > 1 else ""
        if (bare := _unquoted(id_)) in self.known:
            return DataError(f"{cause}{more}; one has {bare!r}, without quotes", WITHOUT_QUOTES)
        return DataError(f"{cause}{more}", self._step(known, others))

    def _step(self, known: Collection[str], others: Collection[str]) -> str:
        id_ = self.first[1]
        if id_ in others:
            return f"swap its columns: {id_!r} is the id of a {'document' if self.noun == 'query' else 'query'}"
        if near := next((each for each in known if _bare(each) == _bare(id_)), ""):
            return f"write ids alike: {near!r} differs from it by zeros, '.0' or blanks alone"
        return "give corpus, queries and judgements of one dataset"


def _unquoted(cell: str) -> str:
    """A cell without the quotes around it."""
    return cell[1:-1] if len(cell) > 1 and cell[0] == cell[-1] and cell[0] in "\"'" else cell


@dataclass
class Judgements:
    """The judgements of a dataset.

    Attributes:
        grades: By query and document of those judged: 0 is not relevant, more is more relevant. Documents may be those
            that the corpus lacks.
        notes: What a reader of a report should know about them.
    """

    grades: Graded
    notes: tuple[str, ...]


@dataclass
class _Reader:
    """Reads judgements row by row, and counts what is odd."""

    table: Table
    queries: Collection[str]
    documents: Collection[str]
    grades: Graded = field(default_factory=lambda: defaultdict(dict))
    judgements: int = 0
    repeated: int = 0
    negative: int = 0

    def __post_init__(self) -> None:
        self.lost_queries, self.lost_documents = _Strays("query", self.queries), _Strays("document", self.documents)

    def read(self) -> None:
        columns = find(self.table, *ROLES)
        if columns is None:
            run = "; this may be a run, which says what was found" if len(self.table.columns) == RUN else ""
            at = self.table.at(self.table.first)
            raise DataError(f"{at}: columns {shown(self.table.columns)}", f"{NEEDED}{run}")
        for line, row in self.table.rows:
            query, document = (value(self.table, line, row, column, _id) for column in columns[:2])
            self._add(line, query, document, value(self.table, line, row, columns[2], _grade))

    def _add(self, line: int, query: str, document: str, grade: int) -> None:
        self.judgements += 1
        if query not in self.queries:
            self.lost_queries.add(line, query)
            return
        if document not in self.documents:
            self.lost_documents.add(line, document)
        self.negative += grade < 0
        grade = max(grade, 0)
        known = self.grades[query]
        self.repeated += document in known
        if known.setdefault(document, grade) != grade:
            cause = f"document {document!r} has two scores for query {query!r}: {known[document]} and {grade}"
            raise DataError(f"{self.table.at(line)}: {cause}", "keep one of them")

    def require_fit(self) -> None:
        """Refuses files that do not belong together.

        Judgements may be of more queries than are asked, as of a sample of them; not where most of these have none.
        """
        unasked = self.lost_queries.count > MOST_STRAY * self.judgements
        if unasked and len(self.grades) < (1 - MOST_STRAY) * len(self.queries):
            raise self.lost_queries.refused(self.table, self.judgements, self.queries, self.documents)
        judged = self.judgements - self.lost_queries.count
        if self.lost_documents.count > MOST_STRAY * judged:
            raise self.lost_documents.refused(self.table, judged, self.documents, self.queries)

    def notes(self) -> Iterator[str]:
        yield from self.table.notes
        if self.lost_queries.count:
            yield (
                f"left out {self.lost_queries.count:,} of {counted(self.judgements, 'judgement')}: no query has the "
                f"id, such as {self.lost_queries.first[1]!r}"
            )
        if self.lost_documents.count:
            yield (
                f"{self.lost_documents.count:,} of {counted(self.judgements, 'judgement')}: the corpus lacks the "
                f"document, such as {self.lost_documents.first[1]!r}; where it is relevant, it counts as never found, "
                "as in BEIR"
            )
        if self.negative:
            yield f"{counted(self.negative, 'judgement')} below 0: not relevant, as in trec_eval"
        if self.repeated:
            yield f"{counted(self.repeated, 'judgement')} said again with the same score"


def judgements_of(table: Table, queries: Collection[str], documents: Collection[str]) -> Judgements:
    """Reads the judgements of queries.

    Ids that are nowhere are counted, since public datasets have some; they are refused where they are many.

    Args:
        table: Columns `query-id`, `corpus-id` and `score`.
        queries: The ids of all queries.
        documents: The ids of all documents.

    Raises:
        DataError: With the place of the row, if one is malformed, two contradict each other, or more than half name
            ids that are nowhere.
    """
    reader = _Reader(table, queries, documents)
    reader.read()
    reader.require_fit()
    return Judgements(dict(reader.grades), tuple(reader.notes()))


def _id(cell: object) -> str:
    try:
        return identifier(cell)
    except ValueError as error:
        raise CellError(str(error), "write the id of a query or of a document") from error


def _grade(cell: object) -> int:
    try:
        score = number(cell)
    except ValueError as error:
        quoted = isinstance(cell, str) and is_numeral(_unquoted(cell))
        raise CellError(str(error), WITHOUT_QUOTES if quoted else GRADES) from error
    if not score.is_integer():
        raise CellError(f"is {score:g}, not a whole number", "round it, since trec_eval knows whole grades alone")
    if score > LARGEST_GRADE:
        raise CellError(f"is {score:g}, {NO_GRADE}", SMALLER_GRADES)
    return int(score)
