"""A plot of what a combination keeps against what it saves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from embedgate.core.judgement import printable
from embedgate.report.drawing import COLOUR, GRID, LINE, MARK, RED, SOFT, WIDTH, Frame, Plot, draw, shown, spread, units
from embedgate.report.summary import Summary, kept, speed_up

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "Quality kept against speed"
# What the axis of quality shows: how many nearest texts stay is no share of quality, and stands alone or not at all.
QUALITY = "least kept, over labelled datasets"
NEAREST = "least of the nearest ten kept, over datasets"
HEIGHT = 300
# Below it, it makes no difference how far.
FLOOR = 0.92
# Of the axis of quality, the least that it covers.
LEAST = 0.005
FRAME = Frame(HEIGHT, left=56, right=180, top=30, bottom=48)


@dataclass(frozen=True)
class Point:
    """One combination.

    Attributes:
        name: Its id.
        verdict: Of its row.
        speed: How many times faster than the reference.
        kept: Least share of the reference's quality that it keeps; without any labels, of its nearest texts.
    """

    name: str
    verdict: str
    speed: float
    kept: float


def points(summary: Summary) -> list[Point]:
    """The combinations of which both speed and quality are known."""
    found = [(row, speed_up(row), kept(summary, row)) for row in summary.rows]
    return [Point(row.combination, row.verdict, x, y) for row, x, y in found if x is not None and y is not None]


def front(found: Sequence[Point]) -> list[Point]:
    """Those that no other beats in both, from the slowest to the fastest."""
    best: list[Point] = []
    for point in sorted(found, key=lambda p: (-p.speed, -p.kept)):
        if not best or point.kept > best[-1].kept:
            best.append(point)
    return best[::-1]


def plot(summary: Summary) -> Plot | None:
    """The plot; None where fewer than two combinations have a place in it."""
    found = tuple(points(summary))
    return _plot(found, QUALITY if summary.headlines else NEAREST) if len(found) > 1 else None


@lru_cache(maxsize=4)  # the page holds it, and it is a file of its own
def _plot(found: tuple[Point, ...], kept: str) -> Plot:
    best = front(found)
    note = (
        "The dashed line joins those that no other beats in both."
        if len(best) > 1
        else (f"{printable(best[0].name)} is the best in both.")
    )
    about = "; ".join(f"{p.name}: {p.speed:.2f} times as fast, keeps {p.kept:.2%}" for p in found)
    height = max(HEIGHT, LINE * len(found) + FRAME.top + FRAME.bottom)
    frame = Frame(height, FRAME.left, FRAME.right, FRAME.top, FRAME.bottom)
    return draw("pareto", TITLE, about, frame, lambda axes: _paint(axes, found, frame, kept), note)


def _paint(axes: Axes, found: Sequence[Point], frame: Frame, kept: str) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.margins(0.08)
    axes.set_xlabel("times faster than the reference", labelpad=6)
    axes.text(8, frame.height - 16, kept, transform=units(), color=SOFT)
    floor, best = _floor(found), front(found)
    axes.plot([p.speed for p in best], [max(p.kept, floor) for p in best], color=SOFT, linestyle="--", linewidth=1)
    for point in found:
        colour, low = COLOUR.get(point.verdict, RED), point.kept < floor
        mark = "v" if low else MARK[colour]
        axes.plot([point.speed], [max(point.kept, floor)], mark, color=colour, markersize=7, markeredgewidth=0)
    axes.set_xlim(_at_least(axes.get_xlim(), 0.1))
    axes.set_ylim(_at_least(axes.get_ylim(), LEAST))  # what follows moves neither
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g}%"))
    _label(axes, found, frame, floor)


def _at_least(ends: tuple[float, float], room: float) -> tuple[float, float]:
    """Ends of an axis, as far apart as that differences of nothing do not fill it."""
    more = max(0.0, room - (ends[1] - ends[0])) / 2
    return ends[0] - more, ends[1] + more


def _floor(found: Sequence[Point]) -> float:
    """The least that is shown as it is: a combination that keeps little would hide what tells the others apart."""
    return FLOOR if max(p.kept for p in found) > FLOOR else min(p.kept for p in found)


def _label(axes: Axes, found: Sequence[Point], frame: Frame, floor: float) -> None:
    """Names in a column right of the axes, each with a line to its point."""
    places = [tuple(map(float, axes.transData.transform((p.speed, max(p.kept, floor))))) for p in found]
    start = WIDTH - frame.right + 14
    heights = spread([y for _, y in places], frame.bottom, frame.height - frame.top, LINE)
    for point, (x, y), height in zip(found, places, heights, strict=True):
        colour = COLOUR.get(point.verdict, RED)
        line = axes.plot([x, start - 4], [y, height], color=GRID, linewidth=1, transform=units(), clip_on=False)
        line[0].set_zorder(0.5)
        name = shown(point.name, 19) + f" {point.kept:.0%}" if point.kept < floor else shown(point.name)
        axes.text(start, height, name, transform=units(), color=colour, va="center")
