"""The table of slices: what each combination keeps of parts of a dataset, and what was judged of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from embedgate.core.judgement import Judgement, Slice
from embedgate.metrics import METRICS
from embedgate.report.columns import Cell, Column, Columns, Table
from embedgate.report.summary import HEADLINE, Row, Summary


@dataclass(frozen=True)
class Sliced:
    """One slice of a dataset, and what combinations score there.

    Attributes:
        dataset: Name of the dataset.
        metric: The metric that stands for it.
        name: Name of the slice; empty for the whole.
        found: By combination, what it scores there.
    """

    dataset: str
    metric: str
    name: str
    found: dict[str, Slice]

    @property
    def items(self) -> str:
        """How many items it has; the most, where a part of them decided about some combinations."""
        return f"{max(each.items for each in self.found.values()):,}"

    @property
    def reference(self) -> str:
        """The reference's value, over the most items."""
        return f"{max(self.found.values(), key=lambda each: each.items).reference_value:.4f}"


def _combinations(summary: Summary) -> Iterator[Column[Sliced]]:
    for row in _rows(summary):
        yield Column(row.combination, _cell_of(row.combination))


def _cell_of(combination: str) -> Callable[[Sliced], str | Cell]:
    def cell(sliced: Sliced) -> str | Cell:
        found = sliced.found.get(combination)
        if found is None:
            return ""
        change = f"{found.value:.4f} ({found.value - found.reference_value:+.4f})"
        shown = change if f"{found.items:,}" == sliced.items else f"{change} of {found.items}"
        return Cell(shown, "" if found.verdict in (None, "pass") else found.verdict)

    return cell


COLUMNS: Columns[Sliced] = (
    Column("dataset", lambda sliced: sliced.dataset, align="left"),
    Column("metric", lambda sliced: METRICS[sliced.metric].heading or sliced.metric, align="left"),
    Column("slice", lambda sliced: sliced.name, align="left"),
    Column("items", lambda sliced: sliced.items),
    Column("reference", lambda sliced: sliced.reference),
    _combinations,
)


def table(summary: Summary) -> Table[Sliced] | None:
    """A row per slice of each dataset, by the metric that stands for it; None where no dataset has slices."""
    found: dict[tuple[str, str, str], dict[str, Slice]] = {}
    for row in _rows(summary):
        for judgement in _sliced(row):
            counts = judgement in row.counted
            for each in judgement.slices:
                of = found.setdefault((judgement.dataset, judgement.metric, each.name), {})
                of[row.combination] = each if counts else replace(each, verdict=None)
    subjects = [Sliced(*key, mine) for key, mine in sorted(found.items(), key=lambda item: item[0][:2])]
    return Table.of(summary, COLUMNS, subjects) if subjects else None


def _rows(summary: Summary) -> list[Row]:
    return [row for row in summary.ran if any(_sliced(row))]


def _sliced(row: Row) -> Iterator[Judgement]:
    """What shows slices, and after it what judges them."""
    for check in ("retention", "slices"):
        shown = (j for j in row.judgements if j.check == check and j.slices)
        yield from (j for j in shown if j.metric in HEADLINE or check == "slices")
