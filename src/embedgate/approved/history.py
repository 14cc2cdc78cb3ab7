"""How approved values have changed, by what git knows of the files that they stand in."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import astuple
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from embedgate.approved.baseline import Approved
from embedgate.approved.entries import Baseline, Key, place_of
from embedgate.approved.form import parse
from embedgate.core.errors import BaselineError, GateError
from embedgate.core.git import Repository, Version

# Commits of a file that are read, from the newest on, and how long git may take for each question.
MOST, SECONDS = 20, 10.0
# What the processes of a session tell of it, before one of them asks git.
SERVED = "served"
# What stands for the commit of what is not committed.
UNCOMMITTED = ""
SHALLOW = (
    "this clone is shallow, and older approvals are not in it: fetch all of the history, as git fetch --unshallow does"
)

# By combination, dataset and metric.
Values: TypeAlias = dict[str, dict[str, dict[str, float]]]


def row(approved: Approved) -> list[str]:
    """An approved measurement as plain words, which one process can hand to another."""
    return [approved.profile, str(approved.file), *astuple(approved.entry.key)]


def trend(served: Iterable[Sequence[str]]) -> dict[str, Any]:
    """What approved measurements were, over the commits of the files that they stand in.

    Args:
        served: The `row` of each measurement.

    Returns:
        In `profiles`, by hardware profile, the `file` from the top of its repository and its `approvals`; of each, by
        its commit, `when` that was made, the `model`'s fingerprint, the `values` by combination, dataset and metric, of
        the same dataset as now, and in `by`, by combination, `who` approved the latest of them and the `reason`. Beside
        them what is `missing`, and why. Empty where no file is git's.
    """
    files: dict[tuple[str, Path], list[Key]] = {}
    for profile, name, *key in served:
        files.setdefault((profile, Path(name).resolve()), []).append(Key(*key))
    found: dict[str, Any] = {}
    missing: dict[str, None] = {}
    for (profile, file), keys in files.items():
        if (top := _top(file)) is None:  # in no repository, as what an installation brings along
            continue
        path = file.relative_to(top).as_posix()
        try:
            repository = Repository.around(file.parent, SECONDS)
            path = file.relative_to(repository.root).as_posix()
            versions = repository.versions(path, MOST, SECONDS)
            if repository.is_shallow(SECONDS):
                missing[SHALLOW] = None
        except ValueError:  # the environment names another repository, as git's hooks do
            continue
        except GateError as error:
            missing[f"the history of {path} is not known: {error}"] = None
            continue
        if versions:
            found[profile] = {"file": path, "approvals": _approvals(file, versions, keys)}
    return {"missing": "; ".join(missing), "profiles": found} if found or missing else {}


def _top(file: Path) -> Path | None:
    """The top of the repository that a file is in, as it looks without git; None where it is in none."""
    return next((folder for folder in file.parents if (folder / ".git").exists()), None)


def _approvals(file: Path, versions: Collection[Version], keys: Collection[Key]) -> dict[str, Any]:
    """What each version of a file approved, oldest first, and what is not committed yet."""
    told: dict[str, Any] = {}
    known: Values = {}
    for commit, when, baseline in _read(file, versions):
        now = _told(baseline, keys, when)
        # A merge, or a value that nothing here shows.
        if now["values"] and now["values"] != known:
            told[commit], known = now, now["values"]
    return told


def _read(file: Path, versions: Collection[Version]) -> Iterator[tuple[str, str, Baseline]]:
    for version in reversed([*versions]):
        try:
            yield version.commit, _utc(version.when), parse(version.content, file)
        except BaselineError:
            continue  # half merged, or of an embedgate that wrote another form
    try:
        yield UNCOMMITTED, _utc(int(file.stat().st_mtime)), parse(file.read_bytes(), file)
    except (BaselineError, OSError):
        return


def _told(baseline: Baseline, keys: Collection[Key], when: str) -> dict[str, Any]:
    values: Values = {}
    last: dict[str, int] = {}
    for key in keys:
        entry = baseline.entries.get(place_of(key))
        if entry and entry.key == key:
            values.setdefault(key.combination, {}).setdefault(key.dataset, {})[key.metric] = entry.value
            last[key.combination] = max(last.get(key.combination, 0), entry.approval)
    by = {combination: baseline.approvals[place - 1] for combination, place in last.items() if place}
    return {
        "when": when,
        "model": baseline.fingerprint,
        "values": values,
        "by": {combination: {"who": each.who, "reason": each.reason} for combination, each in by.items()},
    }


def _utc(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
