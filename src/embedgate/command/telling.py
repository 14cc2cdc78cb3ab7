"""What a subcommand says: lines that hold names and texts of others, inert."""

from __future__ import annotations

import sys

from embedgate.core.inert import inert


def say(line: str) -> None:
    """Prints a line, or several."""
    print(inert(line))


def say_aside(line: str) -> None:
    """Prints a line that is no result: on standard error."""
    print(inert(line), file=sys.stderr)
