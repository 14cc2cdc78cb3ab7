"""The bar of the base branch: tolerances, expected failures and approved values that a change began from.

A pull request can change these together with the code that they judge. Reports name what differs, and say what the
verdict had been by the base's.
"""

from __future__ import annotations

import atexit
import os
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from embedgate.approved.baseline import BaselineStore, changes_between, format_changes, shown
from embedgate.approved.entries import Entry, Place
from embedgate.approved.examples import FILE_NAME as PINNED
from embedgate.approved.expected_failures import Expected
from embedgate.core.errors import BaselineError, GateError, counted, unwritten
from embedgate.core.files import portable_content
from embedgate.core.git import Repository
from embedgate.core.scratch import temporary_folder
from embedgate.core.settings import EXPECTED, TOLERANCES, Settings

# What `--gate-base` takes for: compare with nothing.
NONE = "none"
# Where CI says which branch a change is to be merged into, and what stands before its name there.
VARIABLES = {
    "GITHUB_BASE_REF": "",
    "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "",
    "BITBUCKET_PR_DESTINATION_BRANCH": "",
    "SYSTEM_PULLREQUEST_TARGETBRANCH": "refs/heads/",
    "BUILDKITE_PULL_REQUEST_BASE_BRANCH": "",
    "CHANGE_TARGET": "",
    "CI_COMMIT_TARGET_BRANCH": "",
}
REMOTE = "origin/"
# What people write in a folder of baselines.
DECISIONS = (TOLERANCES, EXPECTED, PINNED)
# Changed values that are named one by one.
FEW = 8


@dataclass(frozen=True)
class Base:
    """The bar of the base branch.

    Attributes:
        ref: The branch, as it was named.
        commit: The commit that is compared with, 40 hex digits; empty where it cannot be.
        own: The folder of baselines that the session judges by.
        name: That folder, as seen from the top of the repository.
        missing: Why nothing can be compared; empty where it can.
        folder: The folder of baselines as it was there; None where nothing can be compared.
        note: What a reader must know of it.
    """

    ref: str
    commit: str
    own: Path
    name: str = ""
    missing: str = ""
    folder: Path | None = None
    note: str = ""

    @cached_property
    def changed(self) -> list[str]:
        """The files that are not as they were there, their paths within the folder; sorted."""
        if self.folder is None:
            return []
        names = {name for folder in (self.folder, self.own) for name in _names(folder)}
        return sorted(name for name in names if _content(self.folder / name) != _content(self.own / name))

    def named(self, text: str) -> str:
        """A text in which the folder as it was is called by branch and name."""
        return text.replace(str(self.folder), f"{self.ref}:{self.name}") if self.folder else text

    def value_lines(self) -> list[str]:
        """Approved values that are not as they were there, a line for each file."""
        return [self._values_line(name) for name in self.changed if not name.endswith(".toml")]

    def _values_line(self, name: str) -> str:
        assert self.folder is not None, "only what is compared has changed"
        was, now = (_entries(folder / name) for folder in (self.folder, self.own))
        there, here = ((folder / name).is_file() for folder in (self.folder, self.own))
        if not (there and here):
            return f"{name}: {'gone' if there else 'new'}"
        if was is None or now is None:
            return f"{name}: changed"
        lines = [
            f"{combination} {dataset} {metric} {shown(metric, old) or 'none'} -> {shown(metric, new) or 'none'}"
            for combination, dataset, metric, old, new, _ in format_changes(changes_between(was, now))
        ]
        what = f"{counted(len(lines), 'value')} changed{_first(lines)}" if lines else "no value changed"
        return f"{name}: {what}"


def base_of(settings: Settings, environment: Mapping[str, str] = os.environ) -> Base | None:
    """The bar of the base branch that was named, or that CI names; None where there is nothing to compare with.

    Args:
        settings: The session's.
        environment: Where CI says which branch that is.

    Raises:
        GateError: If the branch that was named cannot be compared with; under `--gate-strict`, the one that CI names.
    """
    of_ci, own = _of_ci(environment), settings.baselines_folder.resolve()
    ref = settings.base or of_ci
    if settings.update or ref is None or (ref == NONE and of_ci is None):
        return None
    if ref == NONE:
        return Base(str(of_ci), "", own, missing=f"--gate-base={NONE}")
    try:
        found = _found(ref, settings.baselines_folder, settings.folder)
        note = f"{ref} was given by --gate-base, and CI names {of_ci}" if of_ci not in (None, ref) else ""
        return replace(found, note=note)
    except GateError as error:
        # What an installation brings along is no part of a repository.
        if settings.base is None and settings.baselines is None:
            return None
        if settings.base is not None or settings.strict.is_full:
            cause = f"the bar of {ref} cannot be compared with: {error.cause}"
            raise GateError(cause, error.action or f"--gate-base={NONE} compares with nothing") from error
        return Base(ref, "", own, missing=str(error))


def _found(ref: str, baselines: Path, called_in: Path) -> Base:
    """The bar of a branch.

    Raises:
        GateError: If it cannot be compared with.
    """
    repository, own = Repository.around(called_in), baselines.resolve()
    if not own.is_relative_to(repository.root):
        raise GateError(f"{own} is not in the repository {repository.root}")
    commit = repository.commit(ref)
    if commit is None:
        raise GateError(f"{ref} is not in this clone", f"fetch it: git fetch {_fetched(ref, repository)}")
    commit = repository.fork_point(commit)
    # A link may have taken the place of the folder.
    places = (place for place in (own, Path(os.path.abspath(baselines))) if place.is_relative_to(repository.root))
    names = dict.fromkeys(place.relative_to(repository.root).as_posix() for place in places)
    for name in names:
        listed = repository.files(commit, name)
        if paths := {path: target for path, target in listed.items() if _judges(path.removeprefix(f"{name}/"))}:
            break
    else:
        name = next(iter(names))
        step = f"merge the folder first; --gate-base={NONE} compares with nothing"
        raise GateError(f"{ref} has no {name}, so there is no bar", step)
    kept = ExitStack()
    scratch = kept.enter_context(temporary_folder())
    atexit.register(kept.close)
    for path, target in paths.items():
        file, content = scratch / path, repository.content(commit, target)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        except OSError as error:
            raise GateError(*unwritten(file, error, "set TMPDIR to another folder")) from error
    return Base(ref, commit, own, name, folder=scratch / name)


def _fetched(ref: str, repository: Repository) -> str:
    """What is to be fetched for a branch to be there, with its history."""
    branch = ref.removeprefix(REMOTE)
    what = f"{branch}:refs/remotes/{REMOTE}{branch}" if ref.startswith(REMOTE) else branch
    return f"{'--unshallow ' * repository.is_shallow()}origin {shlex.quote(what)}"


def _of_ci(environment: Mapping[str, str]) -> str | None:
    named = (environment.get(variable, "").removeprefix(before) for variable, before in VARIABLES.items())
    branch = next(filter(None, named), None)
    return REMOTE + branch if branch else None


def expected_lines(was: Iterable[Expected], now: Iterable[Expected]) -> list[str]:
    """Entries of expected failures that are not as they were, a line each.

    Args:
        was: The entries on the base branch.
        now: The entries that the session judges by.
    """
    before, after = [*map(_told, was)], [*map(_told, now)]
    gone, new = Counter(before) - Counter(after), Counter(after) - Counter(before)
    lines = [*(f"gone: {entry}" for entry in gone.elements()), *(f"new: {entry}" for entry in new.elements())]
    return lines or (["entries in another order: the first that matches counts"] if before != after else [])


def _told(entry: Expected) -> str:
    about = " ".join((entry.combination, entry.dataset, entry.check, entry.metric, entry.profile))
    return f"{about}: {entry}" + (f", until {entry.expires}" if entry.expires else "")


def _first(lines: list[str]) -> str:
    more = f", and {len(lines) - FEW} more" if len(lines) > FEW else ""
    return f": {', '.join(lines[:FEW])}{more}"


def _entries(file: Path) -> Mapping[Place, Entry] | None:
    """The approved values of a file; None where it has none that can be read."""
    if not file.name.endswith(BaselineStore.suffix):
        return None
    try:
        found = BaselineStore(file.parent).read(file)
    except BaselineError:
        return None
    return found.entries if found else None


def _names(folder: Path) -> list[str]:
    """The files of a folder that judge, their paths within it."""
    found = (file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    return [name for name in found if _judges(name)]


def _judges(name: str) -> bool:
    """Whether a file of a folder of baselines is judged by: a decision of a person's, or approved for a profile."""
    return name in DECISIONS or (name.count("/") == 1 and name.endswith((".json", ".safetensors")))


def _content(file: Path) -> bytes | None:
    return portable_content(file) if file.is_file() else None
