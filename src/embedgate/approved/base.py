"""The bar of the base branch: tolerances, expected failures and approved values that a change began from.

A pull request can change these together with the code that they judge. Reports name what differs, and say what the
verdict had been by the base's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

from embedgate.approved.baseline import BaselineStore, shown
from embedgate.approved.entries import Entry, Place
from embedgate.approved.expected_failures import Expected
from embedgate.core.errors import BaselineError, GateError, counted
from embedgate.core.files import portable_content
from embedgate.core.git import Repository
from embedgate.core.settings import Settings

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
    """

    ref: str
    commit: str
    own: Path
    name: str = ""
    missing: str = ""
    _repository: Repository | None = None

    @cached_property
    def _scratch(self) -> TemporaryDirectory[str]:
        return TemporaryDirectory(prefix="embedgate-base-")

    @cached_property
    def folder(self) -> Path | None:
        """The folder of baselines as it was there; None where it was not there, or nothing can be compared.

        Raises:
            GateError: If git cannot tell what a file was.
        """
        repository = self._repository
        if repository is None or self.missing:
            return None
        files = repository.files(self.commit, self.name)
        for path in files:
            file = Path(self._scratch.name, path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(repository.content(self.commit, path))
        return Path(self._scratch.name, self.name) if files else None

    @cached_property
    def changed(self) -> list[str]:
        """The files that are not as they were there, their paths within the folder; sorted."""
        if self.folder is None:
            return []
        names = {_name(file, folder) for folder in (self.folder, self.own) for file in _files(folder)}
        return sorted(name for name in names if _content(self.folder / name) != _content(self.own / name))

    def named(self, text: str) -> str:
        """A text in which the folder as it was is called by branch and name."""
        return text.replace(str(self.folder), f"{self.ref}:{self.name}") if self.folder else text

    def value_lines(self) -> list[str]:
        """Approved values that are not as they were there, a line for each file."""
        return [self._values_line(name) for name in self.changed if not name.endswith(".toml")]

    def _values_line(self, name: str) -> str:
        was, now = (_entries(folder / name) for folder in (self.folder or self.own, self.own))
        if was is None or now is None or not name.endswith(BaselineStore.suffix):
            there, here = ((folder / name).is_file() for folder in (self.folder or self.own, self.own))
            return f"{name}: {'changed' if there and here else 'gone' if there else 'new'}"
        told = [_value_line(place, was.get(place), now.get(place)) for place in dict.fromkeys((*was, *now))]
        lines = [line for line in told if line]
        return (
            f"{name}: {counted(len(lines), 'value')} changed{_first(lines)}" if lines else f"{name}: no value changed"
        )


def base_of(settings: Settings, environment: Mapping[str, str] = os.environ) -> Base | None:
    """The bar of the base branch that was named, or that CI names; None where there is nothing to compare with.

    Args:
        settings: The session's.
        environment: Where CI says which branch that is.

    Raises:
        GateError: If the branch that was named, or under `--gate-strict` the one that CI names, cannot be found.
    """
    ref = settings.base or _of_ci(environment)
    if settings.update or ref in (None, NONE):
        return None
    asked = settings.base is not None
    repository, own = Repository.around(settings.folder), settings.baselines_folder.resolve()
    if repository is None or not own.is_relative_to(repository.root):
        where = f"{settings.folder} is in no git repository" if repository is None else f"{own} is not in it"
        if asked:
            raise GateError(
                f"--gate-base {ref} cannot be compared with: {where}", "call pytest in a clone, or leave it out"
            )
        return None
    name = own.relative_to(repository.root).as_posix()
    commit = repository.commit(str(ref))
    if commit is None:
        cause = f"{ref} is not in this clone"
        step = f"fetch it, with its history: git fetch --unshallow origin {str(ref).removeprefix(REMOTE)}"
        if asked or settings.strict:
            raise GateError(f"--gate-base: {cause}", f"{step}; --gate-base={NONE} compares with nothing")
        return Base(str(ref), "", own, name, f"{cause}: {step}")
    return Base(str(ref), repository.fork_point(commit), own, name, "", repository)


def _of_ci(environment: Mapping[str, str]) -> str | None:
    named = ((environment.get(variable, "").removeprefix(before)) for variable, before in VARIABLES.items())
    branch = next(filter(None, named), None)
    return REMOTE + branch if branch else None


def exception_lines(was: Iterable[Expected], now: Iterable[Expected]) -> list[str]:
    """Expected failures that are not as they were, a line each.

    Args:
        was: The entries on the base branch.
        now: The entries that the session judges by.
    """
    before, after = ({_subject(entry): entry for entry in entries} for entries in (was, now))
    told = []
    for subject in dict.fromkeys((*before, *after)):
        old, new = before.get(subject), after.get(subject)
        if old is None and new is not None:
            told.append(f"new, {' '.join(subject)}: {new}{_until(new)}")
        elif new is None and old is not None:
            told.append(f"gone, {' '.join(subject)}: {old}")
        elif old is not None and new is not None and (str(old), old.expires) != (str(new), new.expires):
            told.append(f"changed, {' '.join(subject)}: {old}{_until(old)} -> {new}{_until(new)}")
    return told


def _subject(entry: Expected) -> tuple[str, ...]:
    return entry.combination, entry.dataset, entry.check, entry.metric, entry.profile


def _until(entry: Expected) -> str:
    return f", until {entry.expires}" if entry.expires else ""


def _first(lines: list[str]) -> str:
    more = f", and {len(lines) - FEW} more" if len(lines) > FEW else ""
    return f": {', '.join(lines[:FEW])}{more}"


def _value_line(place: Place, was: Entry | None, now: Entry | None) -> str:
    """What became of an approved value; empty where it says the same, whoever approved it."""
    if was is not None and now is not None and _said(was) == _said(now):
        return ""
    told = [shown(place[2], each.value) if each else "none" for each in (was, now)]
    return f"{' '.join(place)} {' -> '.join(told)}"


def _said(entry: Entry) -> tuple[object, ...]:
    return entry.key, entry.value, entry.low, entry.high, tuple(session.value for session in entry.sessions)


def _entries(file: Path) -> Mapping[Place, Entry] | None:
    """The approved values of a file; None where it has none that can be read."""
    if not file.name.endswith(BaselineStore.suffix):
        return None
    try:
        found = BaselineStore(file.parent).read(file)
    except BaselineError:
        return None
    return found.entries if found else None


def _files(folder: Path) -> Iterable[Path]:
    """What judges, and nothing that lies beside it."""
    kept: Callable[[Path], bool] = lambda file: file.suffix in (".toml", ".json", ".jsonl", ".safetensors")  # noqa: E731
    return (file for file in folder.rglob("*") if kept(file) and file.is_file())


def _name(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix()


def _content(file: Path) -> bytes | None:
    return portable_content(file) if file.is_file() else None
