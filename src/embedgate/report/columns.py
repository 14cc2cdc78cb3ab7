"""The columns of a report's tables: each says itself what it is headed, what it holds and when it is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Literal, TypeVar

from embedgate.core.judgement import Judgement, megabytes
from embedgate.performance.workloads import HEADLINE as HEADLINE_WORKLOAD
from embedgate.performance.workloads import LATENCY
from embedgate.report import agreement
from embedgate.report.summary import HEADLINE, Row, Summary, speed_up

T = TypeVar("T")


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: What it shows.
        verdict: `fail` or `inconclusive`, as what it shows was judged; empty where that is green, or nothing was.
        limit: What is required, such as `>= 99.0%`, where it is not green.
    """

    text: str = ""
    verdict: str = ""
    limit: str = ""

    def __str__(self) -> str:
        return f"{self.text} ({self.limit})" if self.limit else self.text


@dataclass(frozen=True)
class Column(Generic[T]):
    """One column.

    Attributes:
        heading: What it is headed.
        cell: What it holds of a row's subject, a text or a `Cell`; empty where nothing is known.
        note: What a reader must know of it, told below the table where the column says anything.
        shows: Whether it is shown, by the session and its own cells.
        align: Where its cells stand.
        foot: What the table's last row, of smallest detectable losses, holds.
    """

    heading: str
    cell: Callable[[T], str | Cell]
    note: str = ""
    shows: Callable[[Summary, Sequence[str]], bool] = lambda *_: True
    align: Literal["left", "right"] = "right"
    foot: str = ""


# A column, or what makes the columns of a session where their number depends on its data.
Columns = Sequence[Column[T] | Callable[[Summary], Iterable[Column[T]]]]


@dataclass(frozen=True)
class Table(Generic[T]):
    """A table as it is shown.

    Attributes:
        columns: The columns that are shown, from the left.
        subjects: What each row is about.
        rows: The cells of each row.
    """

    columns: tuple[Column[T], ...]
    subjects: tuple[T, ...]
    rows: tuple[tuple[Cell, ...], ...]

    @classmethod
    def of(cls, summary: Summary, columns: Columns[T], subjects: Sequence[T]) -> Table[T]:
        """The table of a session's subjects."""
        made = [one for column in columns for one in ((column,) if isinstance(column, Column) else column(summary))]
        cells = [[_cell(column.cell(subject)) for subject in subjects] for column in made]
        texts = [[each.text for each in mine] for mine in cells]
        shown = [(c, mine) for c, mine, said in zip(made, cells, texts, strict=True) if c.shows(summary, said)]
        rows = zip(*(mine for _, mine in shown), strict=True)
        return cls(tuple(column for column, _ in shown), tuple(subjects), tuple(rows))

    @property
    def headings(self) -> list[str]:
        """The columns' headings."""
        return [column.heading for column in self.columns]

    @property
    def notes(self) -> list[str]:
        """The notes that a reader must know, each once."""
        told = (c.note for place, c in enumerate(self.columns) if any(row[place].text for row in self.rows))
        return list(dict.fromkeys(filter(None, told)))


def _cell(made: str | Cell) -> Cell:
    return made if isinstance(made, Cell) else Cell(made)


def _judged(row: Row, judgement: Judgement | None, text: str, spec: str) -> Cell:
    """A cell that shows a judgement; one that counts and is not green is marked with its limit."""
    if judgement is None or judgement.verdict == "pass" or judgement.unjudged or judgement not in row.counted:
        return Cell(text)
    return Cell(text, judgement.verdict, judgement.required(spec))


def _verdict(row: Row) -> str:
    """The verdict, and of how many checks it was found."""
    if row.verdict not in ("inconclusive", "fail"):
        return row.verdict
    found = [j for j in row.counted if j.verdict == row.verdict]
    # What could not be judged makes a row inconclusive only where nothing else was.
    deciding = [j for j in found if row.strict.counts(j)] or found
    return f"{row.verdict} {len(deciding)}/{len(row.counted)}"


def _retained(summary: Summary) -> Iterator[Column[Row]]:
    for dataset, metric in summary.headlines:
        whole = _of_the_reference(summary, dataset, metric)

        def cell(row: Row, dataset: str = dataset, metric: str = metric, whole: str = whole) -> str | Cell:
            found = row.find(metric, dataset)
            if found is None or found.observed is None:
                return whole if row.reference else ""
            return _judged(row, found, f"{found.observed:.1%} {_absolute(found.value)}".rstrip(), ".1%")

        foot = _detectable(summary, dataset, metric)
        note = "per dataset: share of the reference's quality that is kept, and its value"
        yield Column(f"{dataset} {HEADLINE[metric]}", cell, note, foot=foot)


def _of_the_reference(summary: Summary, dataset: str, metric: str) -> str:
    """The reference's own value, as what is held against it knows it; empty where there are several references."""
    if sum(row.reference for row in summary.rows) != 1:
        return ""
    found = (row.find(metric, dataset) for row in summary.rows)
    known = [j.reference_value for j in found if j and j.is_whole]
    return _absolute(next(filter(None, known), None))


def _absolute(value: float | None) -> str:
    return "" if value is None else f"({value:.4f})"


def _near(summary: Summary) -> Iterator[Column[Row]]:
    """How near embeddings stay to the reference's: over all texts, and over each dataset without labels beside them."""
    datasets = summary.unlabelled
    apart = len(datasets) > 1 or any(agreement.is_over_all(j) for row in summary.rows for j in row.judgements)
    for metric, spec, whole, part in NEAR:
        foot = "" if apart or not datasets else _detectable(summary, datasets[0], metric)
        yield replace(_if_known(whole, _over_all(metric, spec)), foot=foot)
        for name in datasets if apart else ():
            cell = _value(metric, spec, name)
            yield replace(_if_known(f"{name} {part}", cell), foot=_detectable(summary, name, metric))


def _detectable(summary: Summary, dataset: str, metric: str) -> str:
    loss = summary.detectable.get((dataset, metric))
    return f"{loss:.2%}" if loss is not None else ""


def _over_all(metric: str, spec: str) -> Callable[[Row], str | Cell]:
    def cell(row: Row) -> str | Cell:
        return _shown(row, agreement.over_all(row.judgements, metric), spec)

    return cell


def _shown(row: Row, found: Judgement | None, spec: str) -> str | Cell:
    return _judged(row, found, format(found.value, spec), spec) if found and found.value is not None else ""


def _value(metric: str, spec: str, dataset: str | None = None) -> Callable[[Row], str | Cell]:
    def cell(row: Row) -> str | Cell:
        return _shown(row, row.find(metric, dataset), spec)

    return cell


def _largest_move(row: Row) -> str | Cell:
    moves = [j for j in row.judgements if j.check == "invariance" and j.value is not None]
    if not moves:
        return ""
    largest = max(moves, key=lambda j: j.value or 0)
    return _judged(row, largest, f"{largest.value:.1g}", ".1g")


def _speed(row: Row) -> str | Cell:
    speed = speed_up(row)
    found = next((j for j in row.judgements if (j.check, j.metric) == ("speed", HEADLINE_WORKLOAD)), None)
    if not speed:
        return ""
    cell = _judged(row, found, f"{speed:.2f}x", ".2f")
    # Its budget is of time: the most that is within it is the least speed.
    return replace(cell, limit=f">= {1 / found.limit:.2f}x") if cell.limit and found and found.limit else cell


def _latency(row: Row) -> str:
    timed = row.run.speed.get(LATENCY) if row.run else None
    latency = timed.candidate_latency_ms if timed else None
    return "/".join(f"{value:.1f}" for value in (latency.p50, latency.p95) if value is not None) if latency else ""


def _loaded(row: Row) -> str:
    found = row.run.footprint if row.run else None
    return megabytes(found.loaded, ".0f") if found and found.loaded else ""


def _weights(row: Row) -> str:
    return megabytes(row.run.evidence.weight_bytes) if row.run and row.run.evidence.weight_bytes else ""


def where_known(_: Summary, cells: Sequence[str]) -> bool:
    """Shows a column where any of its cells holds something."""
    return any(cells)


def _if_known(heading: str, cell: Callable[[Row], str | Cell], note: str = "") -> Column[Row]:
    return Column(heading, cell, note, where_known)


def _cost(heading: str, cell: Callable[[Row], str | Cell]) -> Column[Row]:
    note = (
        "speed: how many times faster than the reference in batches of 32; latency of one text at a time; memory that "
        "the combination adds to a process once it is loaded"
    )
    return Column(heading, cell, note, shows=lambda summary, _: summary.shows_cost)


# Metric, format and headings, over all texts and over those of one dataset, of how near embeddings stay.
NEAR = (
    (agreement.NEAREST, ".3f", "top-10 overlap", "top-10"),
    ("cosine_p01", ".4f", "p01 cosine", "p01"),
)
COMBINATION: Column[Row] = Column("combination", lambda row: row.combination, align="left")
VERDICT: Column[Row] = Column("verdict", _verdict, align="left")
COLUMNS: Columns[Row] = (
    COMBINATION,
    VERDICT,
    _retained,
    _near,
    _if_known("order kept", _value("order_kept", ".1%")),
    _if_known("rows kept", _value("rows_kept", ".1%")),
    _if_known(
        "largest move",
        _largest_move,
        "largest move: how far an embedding moved when only its surroundings changed, as a share of its length",
    ),
    _cost("speed", _speed),
    _cost("latency p50/p95 ms", _latency),
    _cost("memory loaded", _loaded),
    Column("weights", _weights),
)


def table(summary: Summary) -> Table[Row]:
    """The table a person decides from: a row per combination that was not skipped."""
    return Table.of(summary, COLUMNS, summary.ran)
