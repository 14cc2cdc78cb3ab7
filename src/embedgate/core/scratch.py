"""What is there only while something is being written: each writer's own, and swept where one was killed.

Whoever makes such a file or folder holds a lock of the system's on it, which ends with the process. So the next writer
tells what was left behind from what is in use, whoever uses it, and in whatever container.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from errno import EACCES, EAGAIN, EWOULDBLOCK
from pathlib import Path

from embedgate.core.errors import GateError, unwritten

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

TEMPORARY = "embedgate"
# How such a file or folder is called: by our name, since other programs have such files as well; hidden beside what it
# becomes, and without more in the system's folder of temporary files.
_OURS = re.compile(rf"{TEMPORARY}\.[0-9a-f]{{16}}\.tmp")
_HIDDEN = re.compile(rf"\..+\.{_OURS.pattern}")
# Seconds after which it may be swept: it is made before it is held, and closed before it is renamed.
_YOUNG = 60.0
# As long, where the system has no such locks: more than any session takes.
_LONG = 7 * 86_400.0
# For so long a new folder may be looked at by others, who hold it for as long as that takes.
_LOOKED_AT_SECONDS = 1.0
# Folders that this process makes.
_own: set[Path] = set()
_BUSY = (EACCES, EAGAIN, EWOULDBLOCK)
# A link is never followed, and whatever else lies there never opened.
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_LOOK = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


def beside(path: Path) -> Path:
    """The name of a new file beside one, which nobody else has or can foresee."""
    return path.with_name(f".{path.name}.{_new_name()}")


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that nobody else can look into, in the system's folder of temporary files; removed at the end.

    Raises:
        GateError: If it cannot be made.
    """
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(scratch_folder(Path(tempfile.gettempdir()), mode=0o700))
        except OSError as error:
            place = Path(error.filename or os.environ.get("TMPDIR", tempfile.gettempprefix()))
            raise GateError(*unwritten(place, error, "set TMPDIR to another folder")) from error
        yield folder


@contextmanager
def scratch_folder(parent: Path, name: str = "", mode: int = 0o777) -> Iterator[Path]:
    """A new folder that is removed at the end, unless it was renamed by then, and never by a forked child.

    Args:
        parent: The folder it lies in.
        name: How its hidden name begins; empty for one in the system's folder of temporary files, which is not hidden.
        mode: Its permissions, as far as the process's umask lets them be.

    Raises:
        OSError: If it cannot be made.
    """
    folder = parent / (f".{name}.{_new_name()}" if name else _new_name())
    folder.mkdir(mode)
    descriptor, owner = _opened(folder), os.getpid()
    _own.add(folder)
    try:
        by = time.monotonic() + _LOOKED_AT_SECONDS
        while descriptor is not None and hold(descriptor) is False and time.monotonic() < by:
            time.sleep(0.001)
        yield folder
    finally:
        _own.discard(folder)
        if os.getpid() == owner:
            shutil.rmtree(folder, ignore_errors=True)
        if descriptor is not None:
            os.close(descriptor)


def is_being_made(parent: Path, name: str) -> bool:
    """Whether another process makes something in a scratch folder of that name; False where the system cannot tell."""
    begin = f".{name}.{TEMPORARY}."
    with suppress(OSError), os.scandir(parent) as entries:
        found = [Path(entry.path) for entry in entries if entry.name.startswith(begin)]
        return any(is_held(path) for path in found if path not in _own)
    return False


def sweep(folder: Path | None = None) -> None:
    """Removes what killed writers left in a folder; in the system's folder of temporary files where None is given.

    What another user left, who alone may remove it, stays; and so does what other programs left.
    """
    ours = _OURS if folder is None else _HIDDEN
    try:
        with os.scandir(folder or tempfile.gettempdir()) as entries:
            found = [Path(entry.path) for entry in entries if ours.fullmatch(entry.name)]
    except OSError:
        return
    for path in found:
        if _is_left(path):
            with suppress(OSError):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _new_name() -> str:
    return f"{TEMPORARY}.{secrets.token_hex(8)}.tmp"


def hold(descriptor: int) -> bool | None:
    """Whether nobody else holds what a descriptor is of; held from now on, until that is closed.

    Returns:
        None where the file system has no such locks.
    """
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in _BUSY else None
    return True


def _is_left(path: Path) -> bool:
    try:
        age = time.time() - path.lstat().st_mtime
    except OSError:
        return False
    if age < _YOUNG or path.is_symlink():
        return age >= _YOUNG
    held = is_held(path)
    return age > _LONG if held is None else not held


def is_held(path: Path) -> bool | None:
    """Whether somebody holds a file or folder; None where the system cannot tell."""
    descriptor = _opened(path)
    if descriptor is None:
        return None
    try:
        free = hold(descriptor)
    finally:
        os.close(descriptor)
    return None if free is None else not free


def _opened(path: Path) -> int | None:
    """A descriptor of a file or folder; None where it may not be opened, as no folder may on Windows."""
    try:
        return os.open(path, _LOOK)
    except OSError:
        return None
