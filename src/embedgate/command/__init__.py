"""The command `embedgate`: what is no test. Each subcommand is a module with `declare(parser)` and `run(options)`."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from embedgate.core.errors import GateError
from embedgate.core.inert import inert
from embedgate.core.version import __version__

# In the order of the help.
SUBCOMMANDS = {
    "init": "write what a repository needs to gate its model: ini lines, a folder of baselines, CI and owners",
    "data": "check datasets without a model: how they were understood, and what they can show",
    "approve": "approve what a report measured, without a second run",
    "merge": "join the reports of several machines and shards into one, as one session would have judged",
    "recover": "write the report of what a session had judged that was killed",
    "stamp": "write what an index's queries are held against: canary texts and their vectors",
}
# As argparse ends, and pytest where it was called wrongly.
MISUSE = 2
# As shells say of a process that SIGPIPE ends.
CLOSED = 128 + 13


class _Parser(argparse.ArgumentParser):
    """A parser, and of its subcommands, that says what it was given inert: names of files, for example."""

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Ends the process."""
        super().exit(status, message and inert(message))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a subcommand; its exit status.

    Args:
        arguments: What follows the command; the process's own where None.
    """
    parser = _Parser(prog="embedgate", description="What is no test of embedgate's.")
    parser.add_argument("--version", action="version", version=f"embedgate {__version__}")
    chosen = parser.add_subparsers(dest="subcommand", required=True, metavar="SUBCOMMAND")
    for name, about in SUBCOMMANDS.items():
        own = chosen.add_parser(name, help=about, description=f"{about[:1].upper()}{about[1:]}.")
        _module(name).declare(own)
    options = parser.parse_args(arguments)
    try:
        status = int(_module(options.subcommand).run(options))
        sys.stdout.flush()
    except GateError as error:
        print(f"embedgate {options.subcommand}: {error}", file=sys.stderr)
        return MISUSE
    except BrokenPipeError:
        # Whoever reads has enough, as `head` has. What is still to be written at exit goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED
    return status


def _module(name: str) -> Any:
    return importlib.import_module(f"{__name__}.{name}")
