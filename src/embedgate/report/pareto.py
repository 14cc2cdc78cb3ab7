"""A plot in SVG of what a combination keeps against what it saves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import inf

import numpy as np

from embedgate.report.summary import Summary, kept, speed_up

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 64, 200, 24, 52
LINE = 15
COLOUR = {"pass": "#1a7f37", "reference": "#57606a", "inconclusive": "#bf8700", "expected failure": "#bf8700"}
RED = "#cf222e"


@dataclass(frozen=True)
class Point:
    """One combination.

    Attributes:
        name: Its id.
        verdict: Of its row.
        speed: How many times faster than the reference.
        kept: Least share of the reference's quality that it keeps.
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


def render(summary: Summary) -> str | None:
    """The plot, self-contained; None where fewer than two combinations have a place in it."""
    found = points(summary)
    if len(found) < 2:
        return None
    across = _scale([p.speed for p in found], LEFT, WIDTH - RIGHT)
    up = _scale([p.kept for p in found], HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        'font-family="system-ui, sans-serif" font-size="12">',
        "<title>Quality kept against speed, per combination</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
    ]
    for tick in across.ticks:
        x = across(tick)
        parts.append(f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}" stroke="#eaeef2"/>')
        parts.append(_text(x, HEIGHT - BOTTOM + 18, f"{tick:g}x", "middle"))
    for tick in up.ticks:
        y = up(tick)
        parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#eaeef2"/>')
        parts.append(_text(LEFT - 8, y + 4, f"{100 * tick:.4g}%", "end"))
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(_text(middle, HEIGHT - 12, "times faster than fp32 (batches of 32)", "middle"))
    parts.append(_text(8, TOP - 8, "quality kept (least over datasets)", "start"))
    corners = " ".join(f"{across(p.speed):.1f},{up(p.kept):.1f}" for p in front(found))
    parts.append(f'<polyline points="{corners}" fill="none" stroke="#8c959f" stroke-dasharray="4 4"/>')
    labels = _spread([up(p.kept) for p in found])
    for point, label in zip(found, labels, strict=True):
        x, y, colour = across(point.speed), up(point.kept), COLOUR.get(point.verdict, RED)
        end = WIDTH - RIGHT + 14
        parts.append(
            f'<polyline points="{x:.1f},{y:.1f} {end - 6},{label:.1f}" fill="none" stroke="{colour}" opacity="0.25"/>'
        )
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}"/>')
        parts.append(_text(end, label + 4, point.name, "start", colour))
    return "\n".join([*parts, "</svg>"]) + "\n"


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def _scale(values: Sequence[float], start: float, end: float) -> _Scale:
    """From a round number below the least value to one above the largest."""
    low, high = min(values), max(values)
    room = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    low, high = low - room, high + room
    step = 10 ** np.floor(np.log10((high - low) / 4))
    step *= min((1, 2, 5, 10), key=lambda factor: abs((high - low) / (factor * step) - 5))
    ticks = np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step
    return _Scale(low, high, start, end, tuple(float(f"{tick:.6g}") for tick in ticks))


def _spread(places: Sequence[float]) -> list[float]:
    """Heights of labels, each as near to its place as those above it allow."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    # All of them below the last of those above; then the whole pile up again where it left the plot.
    heights = list(places)
    lowest = -inf
    for i in order:
        heights[i] = lowest = max(places[i], lowest + LINE)
    floor = float(HEIGHT - BOTTOM)
    for i in reversed(order):
        heights[i] = min(heights[i], floor)
        floor = heights[i] - LINE
    return heights


def _text(x: float, y: float, text: str, anchor: str, colour: str = "#57606a") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'
