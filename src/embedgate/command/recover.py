"""`embedgate recover`: writes the report of what a session had judged that was killed."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from embedgate.command.telling import say
from embedgate.core.errors import GateError, unwritten
from embedgate.report import terminal
from embedgate.report.files import write
from embedgate.report.journal import Journal, recover
from embedgate.report.summary import summarise

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
    from embedgate.checks import CheckRegistry

    summary = summarise(recover(options.folder), CheckRegistry().known)
    print(terminal.render(summary, width=shutil.get_terminal_size().columns, colour=sys.stdout.isatty()), end="")
    try:
        files = write(summary, options.folder)
    except OSError as error:
        raise GateError(*unwritten(options.folder, error)) from error
    Journal(options.folder).end()
    for file in files:
        say(f"wrote {file}")
    return INTERRUPTED
