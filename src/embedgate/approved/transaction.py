"""One approval's files, written as one: all are as they were, or all are new.

What an approval writes is first put into a hidden folder of the baselines, `.approving`, which git ignores. A journal
then names it all: from that moment the approval is made. Each file is renamed into its place, and the folder goes.
Where a process is killed in between, the next one that reads or writes baselines goes on, or, where there is no
journal yet, throws away what there is. Where it cannot go on, all files are as they were, and the journal stays.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import msgspec
from filelock import FileLock, Timeout

from embedgate.core.errors import BaselineError, listed, unwritten
from embedgate.core.files import read_json, sync_folder, to_json, write_whole
from embedgate.core.model import PLAIN_NAME
from embedgate.core.scratch import NEW_FILE

FOLDER = ".approving"
JOURNAL, LOCK, IGNORED, ALL = "journal", "lock", ".gitignore", b"*\n"
LOCK_SECONDS = 10.0
SCHEMA = 1
ELSEWHERE = "name another folder of baselines"


class _File(msgspec.Struct, forbid_unknown_fields=True):
    """A file of an approval.

    Attributes:
        path: Where it lies in the folder of baselines.
        staged: What its content is called until it is there.
        sha256: SHA-256 of what it will hold, hex.
        before: SHA-256 of what it held, hex; None where there was none.
    """

    path: str
    staged: str
    sha256: str
    before: str | None


class _Journal(msgspec.Struct, forbid_unknown_fields=True):
    schema: int
    files: list[_File]


class Transaction:
    """What one approval writes; nobody else writes meanwhile.

    Args:
        folder: The folder of baselines.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._staged: dict[Path, Path] = {}

    def current(self, file: Path) -> Path:
        """Where a file's content lies, as this approval has it so far."""
        return self._staged.get(file, file)

    def write(self, file: Path, content: bytes) -> None:
        """Takes what a file will hold.

        Raises:
            BaselineError: If it cannot be written; then nothing is approved.
        """
        staged = self._staged.setdefault(file, self._folder / FOLDER / str(len(self._staged)))
        with _told(file):
            write_whole(staged, content)

    def commit(self) -> None:
        """Puts every file in its place.

        Raises:
            BaselineError: If one cannot be; all are then as they were.
        """
        if not self._staged:
            return
        journal = self._folder / FOLDER / JOURNAL
        try:
            with _told(self._folder):
                moves = [
                    _Move(file, staged, _sha256(staged) or "", _sha256(file)) for file, staged in self._staged.items()
                ]
                for folder in {move.file.parent for move in moves}:
                    folder.mkdir(parents=True, exist_ok=True)
                write_whole(journal, _rendered(self._folder, moves))
                sync_folder(self._folder)
        except BaselineError:
            journal.unlink(missing_ok=True)
            raise
        _carry_out(self._folder, moves)


@contextmanager
def transaction(folder: Path) -> Iterator[Transaction]:
    """Keeps other writers of a folder of baselines out, and writes all of an approval, or nothing where it raises.

    Raises:
        BaselineError: If another one is being written, or it cannot be written.
    """
    with _alone(folder):
        _finish(folder)
        found = Transaction(folder)
        yield found
        found.commit()


def settle(folder: Path) -> str:
    """Goes on with an approval that was cut short, before anybody reads half of it; tells so in a line, else nothing.

    Raises:
        BaselineError: If it cannot be gone on with.
    """
    if not _is_there(folder / FOLDER / JOURNAL):
        return ""
    with _alone(folder, "an approval was cut short, and "):
        files = _finish(folder)
    names = [file.relative_to(folder).as_posix() for file in files]
    return f"an approval in {folder} was cut short, and is now whole: {listed(names)} written" if names else ""


@dataclass(frozen=True)
class _Move:
    """A file's way into its place: from where, and the SHA-256 of what it will hold and of what it held, hex."""

    file: Path
    staged: Path
    sha256: str
    before: str | None

    @property
    def old(self) -> Path:
        """A copy of what the file held."""
        return self.staged.with_suffix(".old")

    def require_possible(self) -> None:
        """Checks that nobody has written the file since.

        Raises:
            BaselineError: If somebody has.
        """
        now = _sha256(self.file)
        if now == self.sha256 or (now == self.before and _sha256(self.staged) == self.sha256):
            return
        folder = self.staged.parent
        cause = f"an approval was cut short, and {self.file} has changed since"
        raise BaselineError(cause, f"delete {folder}, restore the files from git, and approve again")

    def make(self) -> None:
        """Puts the file in its place, and a copy of what it held beside the others; nothing where that is done."""
        if _sha256(self.file) == self.sha256:
            return
        if self.before is not None:
            self.old.unlink(missing_ok=True)  # or it might be a link
            shutil.copy2(self.file, self.old)
            shutil.copymode(self.file, self.staged)
        self.staged.replace(self.file)
        sync_folder(self.file.parent)

    def take_back(self) -> None:
        """Puts back what the file held; what it was to hold is staged again first, so that a crash loses nothing."""
        if _is_there(self.staged):
            return
        shutil.copy2(self.file, self.staged)
        if self.before is None:
            self.file.unlink()
        else:
            self.old.replace(self.file)


def _carry_out(folder: Path, moves: Sequence[_Move], *, goes_on: bool = False) -> None:
    """Makes all moves of a journal, and removes it.

    Args:
        folder: The folder of baselines.
        moves: The moves.
        goes_on: Whether another process began: its approval is made, and so the journal stays where a move cannot be.

    Raises:
        BaselineError: If one cannot be made; those that were are taken back.
    """
    made: list[_Move] = []
    try:
        for move in moves:
            made.append(move)
            with _told(move.file):
                move.make()
    except BaselineError:
        with suppress(OSError):  # then the journal stays, and the next one goes on
            for move in reversed(made):
                move.take_back()
            if not goes_on:
                (folder / FOLDER / JOURNAL).unlink()
        raise
    with suppress(OSError):  # then the next one finds that all is done
        (folder / FOLDER / JOURNAL).unlink()
        sync_folder(folder / FOLDER)


def _finish(folder: Path) -> list[Path]:
    """Goes on with what a killed approval began, and clears away what it left; the files that it wrote."""
    staging = folder / FOLDER
    step = f"delete {staging}, and approve again"
    found = read_json(staging / JOURNAL, _Journal, BaselineError, step, SCHEMA)
    moves = [_move(folder, each, step) for each in found.files] if found else []
    with _told(folder):
        for move in moves:
            move.require_possible()
    try:
        if found:
            _carry_out(folder, moves, goes_on=True)
    except BaselineError as error:
        raise BaselineError(f"an approval was cut short, and {error.cause}", error.action) from error
    _clear(staging)
    return [move.file for move in moves]


def _move(folder: Path, named: _File, step: str) -> _Move:
    """What a journal says of a file; anybody can have written it.

    Raises:
        BaselineError: If it leads elsewhere.
    """
    parts = PurePosixPath(named.path).parts
    file, staged = folder / named.path, folder / FOLDER / named.staged
    numbered = named.staged.isdecimal() and len(named.staged) < 10
    plain = numbered and len(parts) == 2 and all(map(PLAIN_NAME.fullmatch, parts))
    plain = plain and named.path.endswith((".json", ".safetensors"))
    if not plain or not file.resolve().is_relative_to(folder.resolve()) or staged.is_symlink():
        raise BaselineError(f"{folder / FOLDER / JOURNAL} names {named.path}, which is no file of an approval", step)
    return _Move(file, staged, named.sha256, named.before)


def _rendered(folder: Path, moves: Sequence[_Move]) -> bytes:
    files = [
        _File(move.file.relative_to(folder).as_posix(), move.staged.name, move.sha256, move.before) for move in moves
    ]
    return to_json(msgspec.to_builtins(_Journal(SCHEMA, files)), indent=1).encode()


@contextmanager
def _alone(folder: Path, why: str = "") -> Iterator[None]:
    """Keeps every other process out, by a lock in the folder that holds what is staged; both go at the end.

    Args:
        folder: The folder of baselines.
        why: How an error begins.

    Raises:
        BaselineError: If another one stays in, or the folder cannot be written.
    """
    new = not folder.exists()
    staging, lock = folder / FOLDER, FileLock(folder / FOLDER / LOCK, timeout=LOCK_SECONDS)
    try:
        _acquire(lock, staging)
    except Timeout as error:
        raise BaselineError(f"another update of {folder} is running", "wait until it ends, then try again") from error
    except OSError as error:
        with suppress(OSError):
            if not _is_there(staging / LOCK):
                (staging / IGNORED).unlink(missing_ok=True)
                staging.rmdir()
        cause, step = unwritten(staging, error, ELSEWHERE)
        raise BaselineError(why + cause, step) from error
    try:
        yield
    finally:
        if not _is_there(staging / JOURNAL):
            _clear(staging)
            with suppress(OSError):
                # Who waits for the lock sees that it is gone, and makes another one.
                (staging / LOCK).unlink()
                (staging / IGNORED).unlink(missing_ok=True)
                staging.rmdir()
                if new:
                    folder.rmdir()
        with suppress(OSError):  # it ends with the process
            lock.release()


def _acquire(lock: FileLock, staging: Path) -> None:
    """Waits for a lock in a folder that comes and goes with it.

    Raises:
        OSError: If it cannot be had.
    """
    for attempt in range(100):
        if staging.is_symlink():
            raise BaselineError(f"{staging} is a link", "delete it")
        staging.mkdir(parents=True, exist_ok=True)
        try:
            _ignore(staging)
            lock.acquire()
            _ignore(staging)  # another one may have cleared it away meanwhile
            return
        except FileNotFoundError:
            lock.release()
            if attempt == 99:
                raise


def _ignore(staging: Path) -> None:
    """Has git ignore a folder."""
    file = staging / IGNORED
    if file.is_file() and not file.is_symlink() and file.read_bytes() == ALL:
        return
    file.unlink(missing_ok=True)
    with suppress(FileExistsError), os.fdopen(os.open(file, NEW_FILE, 0o666), "wb") as stream:
        stream.write(ALL)


def _clear(staging: Path) -> None:
    """Removes what is staged, and leaves what keeps others out."""
    with suppress(OSError):
        for path in staging.iterdir():
            if path.name not in (LOCK, IGNORED):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


@contextmanager
def _told(file: Path) -> Iterator[None]:
    """Tells what the system refuses.

    Raises:
        BaselineError: If it does.
    """
    try:
        yield
    except OSError as error:
        raise BaselineError(*unwritten(file, error, ELSEWHERE)) from error


def _is_there(path: Path) -> bool:
    """Whether there is something of a name, as far as one may know."""
    try:
        path.lstat()
    except OSError:
        return False
    return True


def _sha256(file: Path) -> str | None:
    """SHA-256 of a file, hex; None where there is none."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except FileNotFoundError:
        return None
