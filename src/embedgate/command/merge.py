"""`embedgate merge`: joins the reports of several machines and shards, and judges them as one session would."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

from embedgate.command.telling import say
from embedgate.core.distrust import distrusting
from embedgate.core.errors import GateError, unwritten
from embedgate.core.files import refuse_no_folder
from embedgate.report import terminal
from embedgate.report.collector import NOT_JUDGED, Collector
from embedgate.report.files import write
from embedgate.report.merged import in_order, join
from embedgate.report.merged.unlike import Report, differences
from embedgate.report.receipt import read
from embedgate.report.summary import SCHEMA, KnownChecks, Summary, summarise

AGAIN = "merge reports of this version"
# Columns that what a report says is tried in.
WIDTH = 100
# As pytest ends where a test fails.
RED = 1


def declare(parser: argparse.ArgumentParser) -> None:
    """Adds what can be given."""
    parser.add_argument("reports", type=Path, nargs="+", help="report.json files, as embedgate wrote them")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the joined report")


def run(options: argparse.Namespace) -> int:
    """Joins the reports, shows and writes what comes of it; the exit status that pytest would have had.

    Raises:
        GateError: If a report is not whole, or they cannot be joined.
    """
    from embedgate.checks import CheckRegistry

    refuse_no_folder(options.out, "--out")
    if any(path.parent.resolve() == options.out.resolve() for path in options.reports):
        raise GateError(f"--out {options.out} holds a report that is to be merged", "name another folder")
    reports = {path: read(path, SCHEMA, "report to merge") for path in options.reports}
    known = CheckRegistry().known
    for path, report in reports.items():
        _refuse_malformed(path, report, known)
    _refuse_unlike(reports)
    together = f"{', '.join(map(str, reports))} together are not what this embedgate writes"
    with distrusting(GateError, together, AGAIN):
        collector = join(in_order(reports.values()), known)
        summary = summarise(collector, known)
        shown = terminal.render(summary, width=shutil.get_terminal_size().columns, colour=sys.stdout.isatty())
    print(shown, end="")
    with distrusting(GateError, together, AGAIN):
        try:
            files = write(summary, options.out)
        except OSError as error:
            raise GateError(*unwritten(options.out, error, "name another folder by --out")) from error
    for file in files:
        say(f"wrote {file}")
    return _status(summary, collector)


def _refuse_malformed(path: Path, report: Report, known: KnownChecks) -> None:
    """Refuses a report from which nothing can be read back.

    Raises:
        GateError: If it is one.
    """
    with distrusting(GateError, f"{path} lacks what this embedgate writes", AGAIN):
        summary = summarise(join(in_order([report]), known), known)
        terminal.render(summary, width=WIDTH, colour=False)
        differences(report, report)


def _refuse_unlike(reports: Mapping[Path, Report]) -> None:
    """Refuses reports that are not of the same model, data, code and decisions.

    Raises:
        GateError: If any two differ: what is approved for a hardware profile, not all of them have.
    """
    for (path, report), (other_path, other) in combinations(reports.items(), 2):
        if found := differences(report, other):
            cause = f"{path} and {other_path} cannot be joined, since they have other {'; other '.join(found)}"
            raise GateError(cause, "join reports of one checkout, with the same model, data and options")


def _status(summary: Summary, collector: Collector) -> int:
    if collector.lost_nothing:
        return NOT_JUDGED
    return RED if summary.verdict == "fail" or collector.others_failed else 0
