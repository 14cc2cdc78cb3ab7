"""How text is written for a terminal: nothing in it is markup, and nothing in it acts."""

from __future__ import annotations

from typing import IO, Literal

from rich.console import Console
from rich.text import Text

from embedgate.core.inert import inert, one_line_inert


def console(file: IO[str] | None = None, *, width: int, colour: bool | None = False) -> Console:
    """What tables and lines are written by.

    Args:
        file: Where to; None for standard output.
        width: Columns.
        colour: Whether to write ANSI colours; None to find out.
    """
    colours: Literal["standard", "auto"] | None = "auto" if colour is None else "standard" if colour else None
    return Console(
        file=file,
        width=width,
        force_terminal=colour,
        color_system=colours,
        highlight=False,
        markup=False,
        emoji=False,
    )


def told(text: object, style: str = "") -> Text:
    """A text in a style, inert and on one line."""
    return Text(one_line_inert(str(text)), style)


def told_in_lines(text: str, style: str = "") -> Text:
    """A text of ours that has several lines, in a style, inert."""
    return Text(inert(text), style)
