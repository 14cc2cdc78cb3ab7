"""Drawing with matplotlib, which is imported nowhere else: what it draws becomes SVG that a page can hold.

A page forbids styles that stand in elements, has a dark mode, and shows several drawings beside each other: so styles
become attributes, colours become the page's, and names of parts are each drawing's own. Equal content gives equal text.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from embedgate.core.errors import one_line
from embedgate.core.judgement import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Transform

# In the units of an SVG: a phone shows a drawing at four fifths, a desktop as it is.
WIDTH = 420
SIZE = 12.5
LINE = 16.0
INK, SOFT, GRID, CARD = "#1f2328", "#59636e", "#d8dee4", "#ffffff"
PASS, OPEN, RED = "#1a7f37", "#9a6700", "#cf222e"
# What the page calls these colours.
_THEME = {
    INK: "--text",
    SOFT: "--soft",
    GRID: "--line",
    CARD: "--card",
    PASS: "--pass",
    OPEN: "--inconclusive",
    RED: "--fail",
}
COLOUR = {"pass": PASS, "reference": SOFT, "skipped": SOFT, "inconclusive": OPEN, "expected failure": OPEN}
# A shape as well, for those who see no difference between the colours.
MARK = {PASS: "o", SOFT: "o", OPEN: "D", RED: "X"}

_SVG = "http://www.w3.org/2000/svg"
_HREF = "{http://www.w3.org/1999/xlink}href"
_LINKED = re.compile(r"url\(#([^)]+)\)")
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "embedgate",
    "text.parse_math": False,
    "font.size": SIZE,
    "axes.edgecolor": GRID,
    "axes.labelcolor": SOFT,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelsize": SIZE,
    "ytick.labelsize": SIZE,
    "axes.labelsize": SIZE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}


@dataclass(frozen=True)
class Plot:
    """One drawing.

    Attributes:
        title: What it shows, in a few words.
        about: What is to be seen in it, for those who do not see it.
        svg: The drawing as a file of its own; empty where it could not be drawn.
        inline: The drawing for a page, whose colours are the page's.
        trouble: Why it could not be drawn.
        note: What a reader must know of it.
    """

    title: str
    about: str
    svg: str = ""
    inline: str = ""
    trouble: str = ""
    note: str = ""


@dataclass(frozen=True)
class Frame:
    """The room of a drawing, in the units of its SVG.

    Attributes:
        height: Of all of it.
        left: Room left of the axes.
        right: Room right of them.
        top: Room above them.
        bottom: Room below them.
    """

    height: float
    left: float = 52
    right: float = 12
    top: float = 14
    bottom: float = 30

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The axes as matplotlib has them: left, bottom, width and height, as shares."""
        across, up = WIDTH - self.left - self.right, self.height - self.top - self.bottom
        return self.left / WIDTH, self.bottom / self.height, across / WIDTH, up / self.height


def draw(name: str, title: str, about: str, frame: Frame, paint: Callable[[Axes], None], note: str = "") -> Plot:
    """Draws; a drawing that fails costs the report nothing else.

    Args:
        name: What tells its parts from those of other drawings on a page: letters, digits and hyphens.
        title: What it shows.
        about: What is to be seen in it.
        frame: Its room.
        paint: Paints into the axes.
        note: What a reader must know of it.
    """
    try:
        with _quiet():
            root = _cleaned(_painted(frame, paint), name, title, about)
    except Exception as error:  # of a library that is broken, or a font that is not there
        return Plot(title, about, trouble=one_line(error), note=note)
    return Plot(title, about, _plain(root), _themed(root), note=note)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without matplotlib's warnings: that its cache cannot be written, for example, is nothing to tell of a report."""
    logger = logging.getLogger("matplotlib")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _painted(frame: Frame, paint: Callable[[Axes], None]) -> str:
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # of no matplotlibrc of this folder or user
        matplotlib.rcParams.update(_SETTINGS)
        figure = Figure(figsize=(WIDTH / 72, frame.height / 72), dpi=72, facecolor=CARD)
        FigureCanvasSVG(figure)
        axes = figure.add_axes(frame.box, facecolor="none")
        paint(axes)
        out = StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return out.getvalue()


def _plain(root: ElementTree.Element) -> str:
    root.set("font-family", "system-ui, sans-serif")
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _themed(root: ElementTree.Element) -> str:
    del root.attrib["font-family"]  # the page's
    for part in root.iter():
        for key in ("fill", "stroke"):
            if (colour := part.get(key, "")) in _THEME:
                part.set(key, f"var({_THEME[colour]})")
    return ElementTree.tostring(root, encoding="unicode")


def _cleaned(drawn: str, name: str, title: str, about: str) -> ElementTree.Element:
    """A drawing of matplotlib's without what a page would not have."""
    ElementTree.register_namespace("", _SVG)
    root = ElementTree.fromstring(drawn)
    for parent in [*root.iter()]:
        for child in [*parent]:
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                parent.remove(child)
    linked = {link for part in root.iter() for link in _links(part)}
    for part in root.iter():
        _flatten(part)
        _rename(part, name, linked)
    view = root.get("viewBox", "")
    root.attrib.clear()
    root.attrib |= {
        "viewBox": view,
        "role": "img",
        "aria-labelledby": f"{name}-title {name}-about",
        "font-size": f"{SIZE:g}",
        "stroke-linejoin": "round",
    }
    for place, (tag, text) in enumerate((("title", title), ("desc", about))):
        told = ElementTree.Element(f"{{{_SVG}}}{tag}", {"id": f"{name}-{'title' if tag == 'title' else 'about'}"})
        told.text = printable(text)
        root.insert(place, told)
    ElementTree.indent(root, "")
    return root


def _links(part: ElementTree.Element) -> list[str]:
    found = [link.removeprefix("#") for link in (part.get(_HREF),) if link]
    return found + [link for value in part.attrib.values() for link in _LINKED.findall(value)]


def _flatten(part: ElementTree.Element) -> None:
    """Styles as attributes, each of which a page may forbid less than a style; texts in the page's own font."""
    for rule in filter(None, (part.attrib.pop("style", "")).split(";")):
        key, _, value = (word.strip() for word in rule.partition(":"))
        if key == "font":
            key, value = "font-size", next(word for word in value.split() if word.endswith("px"))
        if key not in ("font-family", "font-size") or (key == "font-size" and value != f"{SIZE:g}px"):
            part.set(key, value.removesuffix("px") if key == "font-size" else value)
    if "d" in part.attrib:
        part.set("d", " ".join(part.attrib["d"].split()))
    if part.get("transform", "").startswith("rotate(-0 "):
        del part.attrib["transform"]


def _rename(part: ElementTree.Element, name: str, linked: set[str]) -> None:
    """Names of parts are the drawing's own; those that nothing asks for go."""
    if (own := part.attrib.pop("id", None)) in linked:
        part.set("id", f"{name}-{own}")
    if link := part.attrib.pop(_HREF, None):
        part.set("href", f"#{name}-{link.removeprefix('#')}")
    for key, value in part.attrib.items():
        if "url(#" in value:
            part.set(key, _LINKED.sub(rf"url(#{name}-\1)", value))


def spread(places: Sequence[float], low: float, high: float, apart: float) -> list[float]:
    """Heights of labels, each as near to its place as the others allow, and none above `high` where there is room.

    Args:
        places: Where they would stand.
        low: The least that any should have.
        high: The most.
        apart: How far from one to the next.
    """
    order = sorted(range(len(places)), key=lambda i: places[i])
    heights = list(places)
    lowest = low - apart
    for i in order:
        heights[i] = lowest = max(places[i], lowest + apart)
    # The whole pile down again where it left the room.
    ceiling = high
    for i in reversed(order):
        heights[i] = min(heights[i], ceiling)
        ceiling = heights[i] - apart
    return heights


def shown(name: str, width: int = 26) -> str:
    """A name that fits beside the axes: its end tells as much as its beginning."""
    line = printable(name)
    return line if len(line) <= width else f"{line[: width - 9]}…{line[-8:]}"


def units() -> Transform:
    """The units of the SVG, from its lower left corner: at 72 dots per inch, a dot is one."""
    from matplotlib.transforms import IdentityTransform

    return IdentityTransform()
