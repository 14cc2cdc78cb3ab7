"""A git repository, as far as it knows what files were at another commit. Nothing here writes to it."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from embedgate.core.errors import GateError, one_line

SECONDS = 60


@dataclass(frozen=True)
class Repository:
    """A repository.

    Attributes:
        root: Its top folder, links resolved.
    """

    root: Path

    @classmethod
    def around(cls, folder: Path) -> Repository | None:
        """The repository that a folder is in; None where it is in none, or git is not installed."""
        try:
            top = _git(folder, "rev-parse", "--show-toplevel").decode().strip()
        except GateError:
            return None
        return cls(Path(top).resolve()) if top else None

    def commit(self, name: str) -> str | None:
        """The commit that a name means, 40 hex digits; None where this clone has none."""
        try:
            return _git(self.root, "rev-parse", "--verify", "--end-of-options", f"{name}^{{commit}}").decode().strip()
        except GateError:
            return None

    def fork_point(self, commit: str) -> str:
        """The last commit that HEAD shares with another; that itself where a shallow clone knows of none."""
        try:
            return _git(self.root, "merge-base", commit, "HEAD").decode().strip()
        except GateError:
            return commit

    def files(self, commit: str, folder: str) -> list[str]:
        """The files below a folder at a commit, their paths from the top of the repository.

        Raises:
            GateError: If git cannot tell.
        """
        listed = _git(
            self.root, "ls-tree", "-r", "-z", "--name-only", "--full-tree", commit, "--", f":(literal){folder}"
        )
        return [name for name in listed.decode().split("\0") if name]

    def content(self, commit: str, path: str) -> bytes:
        """A file at a commit, as a checkout would write it.

        Raises:
            GateError: If git cannot tell.
        """
        return _git(self.root, "cat-file", "--filters", f"{commit}:{path}")


def _git(folder: Path, *arguments: str) -> bytes:
    """What git prints.

    Raises:
        GateError: If it fails, takes too long or is not installed.
    """
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}  # asking must not disturb another git
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GateError(f"git cannot be asked in {folder}: {one_line(error)}") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit status {done.returncode}"]
        raise GateError(f"git {arguments[0]} failed in {folder}: {said[-1]}")
    return done.stdout
