"""`embedgate recover`: writes the report of what a session had judged that was killed."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from embedgate.command.telling import say
from embedgate.core.distrust import distrusting
from embedgate.core.errors import GateError, unwritten
from embedgate.report import terminal
from embedgate.report.files import write
from embedgate.report.journal import NAME, STEP, discard, recover
from embedgate.report.summary import Summary, summarise

# As pytest ends where it is interrupted: no session that was cut short is green.
INTERRUPTED = 2


def declare(parser: argparse.ArgumentParser) -> None:
    """Adds what can be given."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder that --gate-report named")


def run(options: argparse.Namespace) -> int:
    """Shows and writes what had been judged; the exit status of a session that was interrupted.

    Raises:
        GateError: If no session was killed that was to write its report there.
    """
    summary, shown = recovered(options.folder, shutil.get_terminal_size().columns, colour=sys.stdout.isatty())
    print(shown, end="")
    with distrusting(GateError, f"{options.folder / NAME} is not what a session wrote", STEP):
        try:
            files = write(summary, options.folder)
            discard(options.folder)
        except OSError as error:
            raise GateError(*unwritten(options.folder, error)) from error
    for file in files:
        say(f"wrote {file}")
    return INTERRUPTED


def recovered(folder: Path, width: int, *, colour: bool) -> tuple[Summary, str]:
    """What a session that was killed had judged, and as the terminal shows it.

    Args:
        folder: Where its report was to be written.
        width: Columns of the terminal.
        colour: Whether the terminal shows colours.

    Raises:
        GateError: If none was killed that was to write its report there, or its journal is malformed.
    """
    from embedgate.checks import CheckRegistry

    with distrusting(GateError, f"{folder / NAME} is not what a session wrote", STEP):
        summary = summarise(recover(folder), CheckRegistry().known)
        return summary, terminal.render(summary, width=width, colour=colour)
