"""A plot per dataset of the share of quality that each combination keeps, its interval and its limit: what decides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from embedgate.core.judgement import Judgement
from embedgate.report import agreement
from embedgate.report.drawing import COLOUR, INK, MARK, RED, WIDTH, Frame, Plot, draw, shown
from embedgate.report.summary import PLOTTED, Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# More of either are no plot to look at; all of them are in the table.
DATASETS, ROWS = 12, 24
STEP = 20.0
FRAME = Frame(0, left=176, right=54, top=8, bottom=30)
# Of what the limit tolerates, how much more than it is shown: a model that keeps nothing would hide all others.
BEYOND = 4.0


def plots(summary: Summary) -> list[Plot]:
    """The plots, in the order of the table's columns."""
    return [
        _plot(number, dataset, metric, _worst(found), len(found))
        for number, (dataset, metric) in enumerate(summary.plotted[:DATASETS])
        if (found := _retained(summary, dataset, metric))
    ]


def _retained(summary: Summary, dataset: str, metric: str) -> list[Judgement]:
    """What is known of each combination."""
    of_rows = (row.find(metric, dataset) for row in summary.rows if not row.reference)
    return [j for j in of_rows if j and j.check in agreement.KEPT and j.observed is not None]


def _worst(found: Sequence[Judgement]) -> list[Judgement]:
    """Those that are furthest beyond their limits or least within them, in their order; all, where these are few."""
    worst = sorted(found, key=lambda j: (j.observed or 0) - (j.limit or 0))[:ROWS]
    return [j for j in found if j in worst]


def _plot(number: int, dataset: str, metric: str, found: Sequence[Judgement], of: int) -> Plot:
    frame = Frame(STEP * len(found) + FRAME.top + FRAME.bottom, FRAME.left, FRAME.right, FRAME.top, FRAME.bottom)
    about = "; ".join(map(_told, found))
    note = f"The worst {len(found)} of {of}, by what is left to the limit." if of > len(found) else ""
    title = f"{dataset}: {PLOTTED[metric]} kept"
    return draw(f"kept-{number}", title, about, frame, lambda axes: _paint(axes, found), note)


def _told(judgement: Judgement) -> str:
    interval = "" if None in _ends(judgement) else " ({:.2%} to {:.2%})".format(*_ends(judgement))
    limit = "" if judgement.limit is None else f", limit {judgement.limit:.2%}"
    return f"{judgement.combination}: {judgement.observed:.2%}{interval}{limit}: {judgement.verdict}"


def _ends(judgement: Judgement) -> tuple[float | None, float | None]:
    return judgement.low, judgement.high


def _paint(axes: Axes, found: Sequence[Judgement]) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    low, high = _room(found)
    axes.set_xlim(low, high)
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.axvline(1.0, color=INK, linewidth=0.8)
    for place, judgement in enumerate(found):
        _paint_one(axes, place, judgement, low)
    axes.set_yticks(range(len(found)), [shown(j.combination) for j in found])
    for label, judgement in zip(axes.get_yticklabels(), found, strict=True):
        label.set_color(COLOUR.get(judgement.verdict, RED))
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g}%"))


def _paint_one(axes: Axes, place: int, judgement: Judgement, low: float) -> None:
    """A line from end to end of the interval, the share itself, and the limit, which is shaded up to there."""
    assert judgement.observed is not None, "what is plotted was observed"
    colour = COLOUR.get(judgement.verdict, RED)
    ends = [max(low, end) for end in _ends(judgement) if end is not None]
    if len(ends) == 2:
        axes.plot(ends, [place, place], color=colour, linewidth=2, solid_capstyle="butt")
    beyond = judgement.observed < low
    mark = "<" if beyond else MARK[colour]
    at = max(low, judgement.observed)
    axes.plot([at], [place], mark, color=colour, markersize=7, markeredgewidth=0, clip_on=False)
    if judgement.limit is not None:
        axes.barh(place, judgement.limit - low, height=1.0, left=low, color=RED, alpha=0.09, linewidth=0, zorder=0)
        axes.plot([judgement.limit] * 2, [place - 0.5, place + 0.5], color=RED, linewidth=1.4)
    right = (WIDTH - FRAME.right - FRAME.left + 6) / (WIDTH - FRAME.right - FRAME.left)
    axes.text(
        right, place, f"{judgement.observed:.1%}", transform=axes.get_yaxis_transform(), color=colour, va="center"
    )


def _room(found: Sequence[Judgement]) -> tuple[float, float]:
    """From just below what decides, not below what is lost altogether, to just above the most."""
    limits = [j.limit for j in found if j.limit is not None]
    values = [value for j in found for value in (j.observed, j.low, j.high, j.limit) if value is not None]
    least, most = min(values), max([*values, 1.0])
    if limits:
        least = max(least, min(limits) - BEYOND * max(1 - min(limits), 0.002))
    room = 0.05 * (most - least) or 0.001
    return least - room, most + room
