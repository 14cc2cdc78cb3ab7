"""How approved values have changed over the commits of the baselines, and where today's stand: plots and a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from embedgate.core.combination import device_of
from embedgate.core.judgement import Judgement
from embedgate.report import agreement
from embedgate.report.drawing import COLOUR, GRID, LINE, MARK, RED, SOFT, WIDTH, Frame, Plot, draw, shown, spread, units
from embedgate.report.facts import TREND
from embedgate.report.summary import PLOTTED, Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# More of either are no plot to look at; all of them are in the table.
DATASETS, SERIES = 12, 14
HEIGHT = 190.0
FRAME = Frame(HEIGHT, left=52, right=184, top=10, bottom=30)
NOW = "now"
PARTLY = "Today's values are of a part of the items, or of none: they are not drawn beside those of all."
HEADINGS = ("approved", "commit", "hardware profile", "combination", "dataset", "metric", "value", "by", "reason")


@dataclass(frozen=True)
class Point:
    """One approved value.

    Attributes:
        when: When its commit was made, UTC, ISO 8601.
        commit: The commit, 40 hex digits; empty of what is not committed.
        value: The value.
    """

    when: str
    commit: str
    value: float


@dataclass(frozen=True)
class Series:
    """The approved values of one metric of one combination on one dataset, oldest first.

    Attributes:
        combination: Its id.
        verdict: What it came to today, against the reference; empty where it was not judged.
        points: The approved values.
        now: Today's value; None where it is not known of all items.
    """

    combination: str
    verdict: str
    points: tuple[Point, ...]
    now: float | None

    @property
    def marks(self) -> int:
        """How many values there are to be seen."""
        return len(self.points) + (self.now is not None)


def missing(summary: Summary) -> str:
    """What is not known of earlier approvals, and why; empty where all is."""
    return str(summary.facts.get(TREND, {}).get("missing", ""))


def rows(summary: Summary) -> list[tuple[str, ...]]:
    """Every approved value that is known, the newest first, under `HEADINGS`."""
    found = sorted(_approvals(summary), key=lambda each: each[2]["when"], reverse=True)
    return [
        (
            approval["when"][:10],
            commit[:10] or "not committed",
            profile,
            combination,
            dataset,
            metric,
            f"{value:.4f}",
            approval["by"].get(combination, {}).get("who", ""),
            approval["by"].get(combination, {}).get("reason", ""),
        )
        for profile, commit, approval in found
        for combination, dataset, metric, value in _values(approval)
    ]


def plots(summary: Summary) -> list[Plot]:
    """A plot for each dataset of which there are two values or more to be seen, in the order of the table's columns."""
    asked = [(each, _series(summary, *each)) for each in summary.plotted]
    known = [(each, found) for each, found in asked if any(series.marks > 1 for series in found)][:DATASETS]
    return [_plot(number, *each, found[:SERIES], len(found)) for number, (each, found) in enumerate(known)]


def _approvals(summary: Summary) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Hardware profile, commit and what it approved."""
    for profile, of in summary.facts.get(TREND, {}).get("profiles", {}).items():
        for commit, approval in of["approvals"].items():
            yield profile, commit, approval


def _values(approval: Mapping[str, Any]) -> Iterator[tuple[str, str, str, float]]:
    for combination, datasets in approval["values"].items():
        for dataset, metrics in datasets.items():
            for metric, value in metrics.items():
                yield combination, dataset, metric, value


def _series(summary: Summary, dataset: str, metric: str) -> list[Series]:
    points: dict[str, list[Point]] = {}
    for _, commit, approval in sorted(_approvals(summary), key=lambda each: each[2]["when"]):
        for combination, datasets in approval["values"].items():
            if (value := datasets.get(dataset, {}).get(metric)) is not None:
                points.setdefault(combination, []).append(Point(approval["when"], commit, value))
    found = {row.combination: row.find(metric, dataset) for row in summary.rows}
    now = _now(summary, found.values())
    return [
        Series(id_, _verdict(judgement), tuple(points[id_]), now.get(id_))
        for id_, judgement in found.items()
        if id_ in points
    ]


def _now(summary: Summary, found: Iterable[Judgement | None]) -> dict[str, float | None]:
    """Today's values, by combination: not of a part of the items, which says nothing of what was approved of all."""
    whole = [j for j in found if j and j.check in agreement.KEPT and j.is_whole]
    references = {device_of(j.combination): j.reference_value for j in whole if j.reference_value is not None}
    of_reference = {
        row.combination: references.get(device_of(row.combination)) for row in summary.rows if row.reference
    }
    return of_reference | {j.combination: j.value for j in whole}


def _verdict(judgement: Judgement | None) -> str:
    return judgement.verdict if judgement and judgement.check in agreement.KEPT else ""


def _plot(number: int, dataset: str, metric: str, found: Sequence[Series], of: int) -> Plot:
    height = max(HEIGHT, LINE * len(found) + FRAME.top + FRAME.bottom)
    frame = Frame(height, FRAME.left, FRAME.right, FRAME.top, FRAME.bottom)
    about = "; ".join(map(_told, found))
    title = f"{dataset}: {PLOTTED[metric]} as approved, and now"
    notes = [
        f"The first {len(found)} of {of} combinations; the table has all." * (of > len(found)),
        PARTLY * all(series.now is None for series in found),
    ]
    note = " ".join(filter(None, notes))
    return draw(f"trend-{number}", title, about, frame, lambda axes: _paint(axes, found, frame), note)


def _told(series: Series) -> str:
    approved = ", ".join(f"{point.value:.4f} on {point.when[:10]}" for point in series.points)
    return f"{series.combination}: {approved}" + (f", now {series.now:.4f}" if series.now is not None else "")


def _paint(axes: Axes, found: Sequence[Series], frame: Frame) -> None:
    from matplotlib.ticker import FormatStrFormatter, MaxNLocator

    moments = sorted({point.when for series in found for point in series.points})
    last = len(moments)
    for series in found:
        _paint_one(axes, series, moments)
    axes.set_xlim(-0.3, last + 0.3)
    axes.margins(y=0.12)
    axes.set_ylim(axes.get_ylim())
    axes.grid(visible=False, axis="x")
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FormatStrFormatter("%.3f"))
    _dates(axes, moments, today=any(series.now is not None for series in found))
    _label(axes, found, frame, last)


def _paint_one(axes: Axes, series: Series, moments: Sequence[str]) -> None:
    """A step from approval to approval, and the mark of today's verdict."""
    colour = COLOUR.get(series.verdict, RED) if series.verdict else SOFT
    line = RED if colour == RED else SOFT
    across = [moments.index(point.when) for point in series.points]
    values = [point.value for point in series.points]
    now = [] if series.now is None else [series.now]
    axes.plot([*across, len(moments)][: len(values) + len(now)], [*values, *now], color=line, linewidth=1.1, alpha=0.75)
    axes.plot(across, values, "o", color=line, markersize=3.5, markeredgewidth=0)
    axes.plot([len(moments)] * len(now), now, MARK[colour], color=colour, markersize=7, markeredgewidth=0)


def _dates(axes: Axes, moments: Sequence[str], *, today: bool) -> None:
    """The first and the last approval by their dates: more do not fit a phone."""
    named = {0: moments[0][:10], len(moments): NOW * today}
    if len(moments) > 3 or not today:
        named[len(moments) - 1] = moments[-1][:10]
    axes.set_xticks([*named], [*named.values()])
    if len(moments) > 1:
        axes.get_xticklabels()[0].set_horizontalalignment("left")


def _label(axes: Axes, found: Sequence[Series], frame: Frame, last: int) -> None:
    ends = [series.now if series.now is not None else series.points[-1].value for series in found]
    places = [float(axes.transData.transform((last, end))[1]) for end in ends]
    x, _ = map(float, axes.transData.transform((last, ends[0])))
    start = WIDTH - frame.right + 8
    heights = spread(places, frame.bottom, frame.height - frame.top, LINE)
    for series, y, height in zip(found, places, heights, strict=True):
        colour = COLOUR.get(series.verdict, RED) if series.verdict else SOFT
        axes.plot([x, start - 3], [y, height], color=GRID, linewidth=1, transform=units(), clip_on=False, zorder=0.5)
        axes.text(start, height, shown(series.combination), transform=units(), color=colour, va="center")
