"""What `embedgate data check` shows of datasets in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO

from rich.table import Table

from embedgate.core.errors import counted
from embedgate.core.judgement import printable
from embedgate.data.survey import MOST_CHARACTERS, QUANTILES, Lengths, Part, Survey
from embedgate.metrics import METRICS
from embedgate.metrics.ends import FEW
from embedgate.report import console as consoles

LEAST_WIDTH = 80
# Slices that are told one by one, and languages or scripts.
MOST_SLICES, MOST_SHARES = 20, 6
ITEMS = {"similarity": "pairs", "retrieval": "queries", "labelled": "labelled texts", "texts": "texts"}
LENGTHS = "lengths are the least / the median / what 95% have at most / the largest; words are what blanks separate"
ESTIMATE = (
    "shows: an estimate for int8 by the number of items, before any model has run; reports have what was measured"
)


@dataclass(frozen=True)
class Shown:
    """What the items of a dataset can show by one metric.

    Attributes:
        loss: About the smallest loss that they can, as a share of the reference's value.
        tolerated: What is tolerated of int8, as such a share.
        needed: About how many items show what is tolerated; None where nothing is.
    """

    loss: float
    tolerated: float
    needed: int | None


@dataclass(frozen=True)
class Told:
    """What is told of a dataset.

    Attributes:
        survey: What it is made of.
        shows: By metric, what its items can show.
        bounded: By metric that is a quantile of its items, how many of these bound it.
    """

    survey: Survey
    shows: Mapping[str, Shown]
    bounded: Mapping[str, int] = field(default_factory=dict)

    @property
    def too_small(self) -> tuple[str, ...]:
        """What its items are too few for, a line each."""
        return tuple(_too_small(self))


def render(told: Sequence[Told], *, width: int = LEAST_WIDTH, colour: bool = False) -> str:
    """Datasets as text, a table each.

    Args:
        told: The datasets.
        width: Columns of the terminal.
        colour: Whether to write ANSI colours.
    """
    out = StringIO()
    shown = consoles.console(out, width=max(width, LEAST_WIDTH), colour=colour)
    for each in told:
        shown.print(consoles.told(_head(each.survey), style="bold"))
        shown.print(_table(each))
        shown.print()
    for line in (*([LENGTHS] if told else []), *([ESTIMATE] if any(each.shows for each in told) else [])):
        shown.print(consoles.told(line, style="dim"))
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines())


def _head(found: Survey) -> str:
    weight = f", weight {found.weight}" if found.weight > 1 else ""
    return printable(f"{found.name}: {found.kind}{weight}, {found.source}")


def _table(told: Told) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for label, line in _rows(told):
        style = "yellow" if label in ("look at", "too small") else ""
        table.add_row(f"  {label}", consoles.told(printable(line), style=style))
    return table


def _rows(told: Told) -> Iterator[tuple[str, str]]:
    found = told.survey
    yield "items", _items(found)
    if found.labels:
        yield "labels", found.labels
    for role, lengths in found.lengths.items():
        yield "texts", _lengths(role, lengths)
    yield "script", _shares(found.scripts)
    if found.languages is not None:
        yield "language", _shares(found.languages)
    yield from (("slice", line) for line in _slices(found.slices))
    for metric, shown in told.shows.items():
        name = METRICS[metric].heading or metric
        loss = f"a loss of about {shown.loss:.2%}" if shown.loss < 1 else "no loss for sure, not even of all"
        yield "shows", f"{loss} of {name}; {shown.tolerated:.2%} is tolerated"
    yield from (("too small", line) for line in told.too_small)
    yield from (("look at", line) for line in found.odd)
    yield from (("note", line) for line in found.notes)


def _slices(slices: Mapping[str, Part]) -> Iterator[str]:
    for name, part in [*slices.items()][:MOST_SLICES]:
        needs = f": too few to be judged, {FEW} are needed" if part.independent < FEW else ""
        apart = f", which count as {part.independent:,}" if part.independent < part.items else ""
        yield f"{name}: {counted(part.items, 'item')}{apart}{needs}"
    if more := [*slices.values()][MOST_SLICES:]:
        few = sum(part.independent < FEW for part in more)
        yield f"and {len(more):,} more, {few:,} of them too few to be judged: --json has them"


def _items(found: Survey) -> str:
    line = f"{found.items:,} {ITEMS.get(found.kind, found.kind)}, {found.texts:,} different texts"
    if found.equal:
        repeat = "repeats an item before it" if found.equal == 1 else "repeat an item before them"
        line += f"; {found.equal:,} {repeat} word for word"
    if not found.compared:
        millions = MOST_CHARACTERS // 10**6
        return f"{line}; nearly equal ones were not looked for in more than {millions} million characters: --thorough"
    if found.independent < found.items:
        line += f"; with {' and '.join(found.together)} drawn together, they count as {found.independent:,}"
    return line


def _lengths(role: str, found: Lengths) -> str:
    """Lengths, each as the least, the middle, what 95% have at most, and the largest."""
    words, characters = (
        " / ".join(f"{lengths[name]:,}" for name in QUANTILES) for lengths in (found.words, found.characters)
    )
    used = f"as {role}" if role else "without a role"
    return f"{found.texts:,} {used}: {words} words, {characters} characters"


def _shares(shares: Mapping[str, float]) -> str:
    shown = [f"{name} {share:.1%}" for name, share in [*shares.items()][:MOST_SHARES]]
    more = len(shares) - MOST_SHARES
    return ", ".join([*shown, *([f"{more} more"] if more > 0 else [])])


def _too_small(told: Told) -> Iterator[str]:
    for metric, shown in told.shows.items():
        if shown.loss > shown.tolerated:
            name, needed = METRICS[metric].heading or metric, f"{shown.needed:,}" if shown.needed else "no number of"
            yield f"for {name}: about {needed} items show a loss of {shown.tolerated:.2%}; expect inconclusive verdicts"
    for metric, least in told.bounded.items():
        if told.survey.independent < least:
            yield f"for {metric}: {least:,} texts are needed, fewer leave it open; expect inconclusive verdicts"
