"""What git knows: who works here, on which commit, and what files were at another one. Nothing here writes to it."""

from __future__ import annotations

import os
import posixpath
import re
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from embedgate.core.errors import GateError, one_line

SECONDS = 60
PARTIAL = "this clone is partial, and git would fetch what it lacks: clone without --filter"
# Settings by which a clone knows who has what it left out.
_PROMISED = re.compile(r"extensions\.partialclone|remote\..*\.(promisor|partialclonefilter)", re.DOTALL)
# How the mode of a symbolic link begins.
LINK = "12"


@dataclass(frozen=True)
class Version:
    """A file as a commit left it.

    Attributes:
        commit: The commit, 40 hex digits.
        when: When that was made, in seconds since 1970.
        content: The file.
    """

    commit: str
    when: int
    content: bytes


@dataclass(frozen=True)
class Repository:
    """A repository.

    Attributes:
        root: Its top folder, links resolved.
    """

    root: Path

    @classmethod
    def around(cls, folder: Path, seconds: float = SECONDS) -> Repository:
        """The repository that a folder is in.

        Args:
            folder: The folder.
            seconds: How long git may take.

        Raises:
            GateError: If it is in none, or git cannot tell: it is not installed, or trusts nobody's folder but its own.
        """
        top = os.fsdecode(_git(folder, "rev-parse", "--show-toplevel", seconds=seconds)).rstrip("\r\n")
        return cls(Path(top).resolve())

    def commit(self, name: str) -> str | None:
        """The commit that a name means, 40 hex digits, a branch's before a tag's; None where this clone has none."""
        for kind in ("refs/remotes/", "refs/heads/", ""):
            with suppress(GateError):
                found = _git(self.root, "rev-parse", "--verify", "--end-of-options", f"{kind}{name}^{{commit}}")
                return found.decode().strip()
        return None

    def is_shallow(self, seconds: float = SECONDS) -> bool:
        """Whether this clone lacks a part of the history."""
        return _git(self.root, "rev-parse", "--is-shallow-repository", seconds=seconds).strip() == b"true"

    def is_partial(self, seconds: float = SECONDS) -> bool:
        """Whether this clone has left contents elsewhere, which git fetches as soon as it is asked for them."""
        listed = _git(self.root, "config", "--list", "--name-only", "-z", seconds=seconds)
        return any(_PROMISED.fullmatch(name) for name in os.fsdecode(listed).split("\0"))

    def fork_point(self, commit: str) -> str:
        """The last commit that HEAD shares with another; that itself where a shallow clone knows of none."""
        try:
            return _git(self.root, "merge-base", commit, "HEAD").decode().strip()
        except GateError:
            return commit

    def files(self, commit: str, folder: str) -> dict[str, str]:
        """The files below a folder at a commit, their paths from the top of the repository: a link's is where it leads.

        Raises:
            GateError: If git cannot tell: the folder is a submodule, for example, or holds one.
        """
        below = [] if folder == "." else [folder]
        listed = _git(self.root, "ls-tree", "-r", "-z", "--full-tree", commit, "--", *below)
        found = [line.partition("\t") for line in os.fsdecode(listed).split("\0") if line]
        for about, _, name in found:
            if about.split()[1] == "commit":
                raise GateError(f"{name} is a submodule, and its files are another repository's")
        return {name: self._target(commit, name) if about.startswith(LINK) else name for about, _, name in found}

    def _target(self, commit: str, link: str) -> str:
        leads_to = os.fsdecode(_git(self.root, "cat-file", "blob", f"{commit}:{link}"))
        return posixpath.normpath(posixpath.join(posixpath.dirname(link), leads_to))

    def keeps(self, path: str) -> bool:
        """Whether a file, its path from the top, is one of those that git keeps.

        Raises:
            GateError: If git cannot tell.
        """
        return bool(_git(self.root, "ls-files", "-z", "--", f":(top,literal){path}"))

    def content(self, commit: str, path: str) -> bytes:
        """A file at a commit; of weights, what Git LFS keeps elsewhere.

        Of anything else, no attribute of this checkout's decides what it was.

        Raises:
            GateError: If git cannot tell.
        """
        kind = "--filters" if path.endswith(".safetensors") else "blob"
        return _git(self.root, "cat-file", kind, f"{commit}:{path}")

    def versions(self, path: str, most: int, seconds: float = SECONDS) -> list[Version]:
        """A file at the last commits that changed it, the newest first; not where it was gone.

        Nothing is fetched.

        Args:
            path: The file, from the top of the repository.
            most: How many, at most.
            seconds: How long each of three questions may take.

        Raises:
            GateError: If git cannot tell, takes longer, or would have to fetch.
        """
        # By GIT_NO_LAZY_FETCH, git refuses to fetch as of 2.44 alone.
        if self.is_partial(seconds):
            raise GateError(PARTIAL)
        listed = _git(
            self.root,
            "rev-list",
            "--timestamp",
            f"--max-count={most}",
            "HEAD",
            "--",
            f":(top,literal){path}",
            seconds=seconds,
        )
        found = [line.split() for line in listed.decode().splitlines()]
        asked = "".join(f"{commit}:{path}\n" for _, commit in found)
        contents = _blobs(_git(self.root, "cat-file", "--batch", given=os.fsencode(asked), seconds=seconds))
        return [
            Version(commit, int(when), content)
            for (when, commit), content in zip(found, contents, strict=True)
            if content is not None
        ]


def git_identity(folder: Path | None = None) -> str:
    """`Name <email>` from git's config as seen from a folder (the current one); empty where git knows neither."""
    name, email = _said("config", "user.name", folder=folder), _said("config", "user.email", folder=folder)
    return f"{name} <{email}>" if name and email else name or email


def git_commit(folder: Path | None = None) -> str:
    """The commit checked out in a folder (the current one), 40 hex digits, and `-dirty` where tracked files differ.

    Empty outside a repository, in one without a commit, and where git is not installed.
    """
    return _said("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*", folder=folder)


def git_origin(folder: Path | None = None) -> str:
    """Where a folder (the current one) was cloned from, its remote `origin`; empty where git knows none."""
    return _said("config", "--get", "remote.origin.url", folder=folder)


def _said(*arguments: str, folder: Path | None) -> str:
    """What git prints, as text; empty where it fails, or is not there."""
    try:
        return _git(folder or Path(), *arguments).decode(errors="replace").strip()
    except GateError:
        return ""


def _blobs(batch: bytes) -> Iterator[bytes | None]:
    """The files in what `git cat-file --batch` prints, in the order they were asked for; None for each that is none."""
    start = 0
    while start < len(batch):
        end = batch.index(b"\n", start)
        head, start = batch[start:end], end + 1
        if head.endswith(b" missing"):
            yield None
            continue
        _, kind, size = head.split()
        content, start = batch[start : start + int(size)], start + int(size) + 1
        yield content if kind == b"blob" else None


def _git(folder: Path, *arguments: str, given: bytes = b"", seconds: float = SECONDS) -> bytes:
    """What git prints.

    Args:
        folder: Where it is asked.
        *arguments: What it is asked.
        given: What it reads.
        seconds: How long it may take.

    Raises:
        GateError: If it fails, takes too long or is not installed.
    """
    # Asking must not disturb another git, and no person is asked for a password.
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=folder,
            env=environment,
            input=given,
            capture_output=True,
            timeout=seconds,
            check=False,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:  # the second of a name with a null character
        raise GateError(f"git cannot be asked in {folder}: {one_line(error)}") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit status {done.returncode}"]
        raise GateError(f"git {arguments[0]} failed in {folder}: {said[-1]}")
    return done.stdout
