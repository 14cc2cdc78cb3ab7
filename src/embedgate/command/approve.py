"""`embedgate approve`: approves what a report measured elsewhere, such as in CI, without a second run."""

from __future__ import annotations

import argparse
import reprlib
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from embedgate.approved.entries import Key
from embedgate.approved.proposal import SECTION, SUFFIXES, Proposal, approve, files_of
from embedgate.approved.transaction import settle
from embedgate.command.telling import say
from embedgate.core.distrust import distrusting
from embedgate.core.errors import BaselineError, GateError, counted
from embedgate.core.git import git_identity
from embedgate.core.model_files import LONGEST_NAME, LONGEST_PATH
from embedgate.core.scratch import temporary_folder
from embedgate.core.settings import bundled_baselines
from embedgate.core.version import __version__
from embedgate.report.receipt import other_code, read
from embedgate.report.summary import SCHEMA
from embedgate.report.terminal import changes

# What to do where the report's baselines are no longer those that there are.
AGAIN = "measure again; a report is approved once, with all that is chosen of it in one command"


def declare(parser: argparse.ArgumentParser) -> None:
    """Adds what can be given."""
    parser.add_argument("report", type=Path, help="a report.json, as embedgate wrote it")
    parser.add_argument("--reason", required=True, help="why the baseline changes")
    parser.add_argument("--baselines", type=Path, help="folder of the approved values (default: that of the report)")
    for what in ("combination", "dataset", "metric"):
        parser.add_argument(
            f"--{what}", action="append", default=[], metavar="GLOB", help=f"of this {what} alone (repeatable)"
        )
    parser.add_argument("--in-ci", action="store_true", help="allow it where the environment says that this is CI")
    parser.add_argument("--dry-run", action="store_true", help="show what would change, and change nothing")


def run(options: argparse.Namespace) -> int:
    """Approves.

    Raises:
        GateError: If the report is not whole, of another checkout, or there is nothing in it to approve.
    """
    measured = _read(options.report)
    report, found = measured.report, measured.proposals
    folder = options.baselines or measured.folder
    if finished := settle(folder):
        say(finished)
    _refuse_unfit(report, options.report, found, folder)
    chosen = [each for proposal in found if not (each := _chosen(proposal, options)).is_empty]
    if not chosen:
        if found:
            cause = f"nothing in {options.report} is of the combinations, datasets and metrics that were given"
            raise BaselineError(cause, "see those that it holds by --dry-run, without these")
        cause = f"{options.report} holds nothing to approve"
        raise BaselineError(
            cause, "ask test_baseline.py, at --gate-depth=standard, and let the session come to its end"
        )
    allowed = options.in_ci or options.dry_run
    with _copy_of(folder) if options.dry_run else nullcontext(folder) as place:
        rows = approve(chosen, place, reason=options.reason, who=git_identity(), in_ci_allowed=allowed)
    did = "would change" if options.dry_run else "changed"
    print(changes(rows, f"baseline: {counted(len(rows), 'value')} {did} in {folder}, as measured {_where(chosen)}"))
    if measured.timed:
        say("budgets of time take two processes and are approved by pytest --gate-update alone")
    return 0


@dataclass(frozen=True)
class _Measured:
    """What a report to approve says.

    Attributes:
        path: Its file.
        report: The report.
        proposals: What it measured.
        judged_by: The folder of baselines that its session judged by; empty for embedgate's own.
        timed: Whether it measured times.
    """

    path: Path
    report: Mapping[str, Any]
    proposals: list[Proposal]
    judged_by: str
    timed: bool

    @property
    def folder(self) -> Path:
        """The folder of baselines that its session judged by, as seen from where it was called.

        Raises:
            GateError: If that is none of this folder's: it was called elsewhere.
        """
        if not self.judged_by:
            return bundled_baselines()
        folder, parts = Path(self.judged_by), Path(self.judged_by).parts
        cannot_be = len(self.judged_by) > LONGEST_PATH or max(map(len, parts), default=0) > LONGEST_NAME
        if folder.is_absolute() or ".." in parts or "\0" in self.judged_by or cannot_be:
            cause = f"{self.path} was judged by {self.judged_by[:100]!r}, as seen from where pytest was called"
            raise GateError(cause, "name the folder as seen from here: --baselines DIR")
        return folder


def _read(path: Path) -> _Measured:
    """Reads a report to approve.

    Raises:
        GateError: If it is not whole, or lacks what embedgate writes.
    """
    report = read(path, SCHEMA, "report to approve")
    with distrusting(GateError, f"{path} lacks what this embedgate writes", "approve reports of this version"):
        proposals = _together(Proposal.from_json(each, str(path)) for each in report.get(SECTION, ()))
        timed = any(row["run"].get("speed") for row in report["combinations"])
        judged_by = report.get("baselines") or ""
        if not isinstance(judged_by, str):
            raise TypeError(f"baselines is {reprlib.repr(judged_by)}")
        return _Measured(path, report, proposals, judged_by, timed)


def _together(proposals: Iterable[Proposal]) -> list[Proposal]:
    """Proposals of one machine as one: each process of pytest-xdist, and each shard of a CI matrix, makes its own."""
    found: dict[tuple[str, str, str], Proposal] = {}
    for each in proposals:
        key = each.profile, each.model.name, each.provenance.machine
        found[key] = found[key].with_more(each) if key in found else each
    return list(found.values())


def _refuse_unfit(report: Mapping[str, Any], path: Path, proposals: Sequence[Proposal], folder: Path) -> None:
    """Refuses a report that was measured by other code, or against other baselines than there are now.

    Raises:
        GateError: If it was.
    """
    step = "check out what it was made of, or measure again"
    with distrusting(GateError, f"{path} lacks what this embedgate writes", step):
        others, version = other_code(report), report["embedgate"]
    if others:
        cause = f"{path} was measured by another embedgate: other {', '.join(others)}"
        raise GateError(f"{cause} (its version is {version}, this one's {__version__})", step)
    for each in proposals:
        now = files_of(folder, each.profile, each.model.name)
        changed = [suffix for suffix in SUFFIXES if now.get(suffix) != each.before.get(suffix)]
        if changed and not (folder / each.profile).is_dir():
            raise BaselineError(f"there is nothing of {each.profile} in {folder}", "name the folder: --baselines DIR")
        if changed:
            files = ", ".join(f"{folder / each.profile / each.model.name}{suffix}" for suffix in changed)
            raise BaselineError(f"{files} changed since {path} was measured", AGAIN)


def _chosen(proposal: Proposal, options: argparse.Namespace) -> Proposal:
    def matches(text: str, globs: Sequence[str]) -> bool:
        return not globs or any(fnmatchcase(text, glob) for glob in globs)

    def entry(key: Key) -> bool:
        return matches(key.dataset, options.dataset) and matches(key.metric, options.metric)

    some = entry if options.dataset or options.metric else None
    return proposal.only(some, lambda combination: matches(combination, options.combination))


@contextmanager
def _copy_of(folder: Path) -> Iterator[Path]:
    with temporary_folder() as scratch:
        copy = scratch / folder.name
        if folder.is_dir():
            shutil.copytree(folder, copy)
        yield copy


def _where(proposals: Sequence[Proposal]) -> str:
    """Who measured, when and where."""
    told = dict.fromkeys(
        " ".join(filter(None, ("by", ran.who or "an unknown person", "on", ran.when, ran.url)))
        for proposal in proposals
        if (ran := proposal.provenance.ran) is not None
    )
    return " and ".join(told)
