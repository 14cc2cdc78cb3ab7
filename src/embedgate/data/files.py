"""Data files as lines of text: unpacked from gzip, decoded, and counted."""

from __future__ import annotations

import codecs
import errno
import gzip
import io
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from embedgate.core.errors import DataError, GateError
from embedgate.core.git import Repository

GZIP = b"\x1f\x8b"
PACKED = ".gz"
# What an archive of tar has, also within gzip, and from which byte on.
TAR, TAR_AT = b"ustar", 257
SAVE = "save the file as UTF-8"
# Bytes that tell how a file is written.
HEAD = 1 << 16
# A file that unpacks to more than this many times its size, and to more than this many bytes, is made to fill memory.
LARGEST_RATIO, LARGE = 200, 1 << 26
UTF_8 = "utf-8"
# What is there and is no file, by its kind.
ODD = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
RELINK = "correct the link, or put the file itself there"
# Longer marks first: that of UTF-32 begins as that of UTF-16.
MARKS = {
    codecs.BOM_UTF8: UTF_8,
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}


@dataclass(frozen=True)
class Writing:
    """How a text file is written.

    Attributes:
        encoding: As Python calls it.
        end: What ends a line: a line feed, also after a carriage return, or a carriage return alone.
        notes: What a reader of a report should know about it.
        asked: The encoding, where a person names it and another would have been found; else empty.
    """

    encoding: str = UTF_8
    end: str = "\n"
    notes: tuple[str, ...] = ()
    asked: str = ""

    @classmethod
    def of(cls, path: Path, encoding: str = "") -> Writing:
        """Finds out from a file's first bytes.

        Args:
            path: The file.
            encoding: The encoding that a person names; empty to find it.

        Raises:
            DataError: If the file cannot be read, is damaged, or is an archive.
        """
        head = _head(path)
        if head[TAR_AT:].startswith(TAR):
            raise DataError(f"{path}: is a tar archive, whatever its name says", "unpack it: tar -xf, and name a file")
        found = _encoding(head, encoding)
        text = head.decode(found, "ignore")
        end = "\r" if "\r" in text and "\n" not in text else "\n"
        notes = [f"read as {_shown(found)}"] if found != UTF_8 else []
        if end == "\r":
            notes.append("lines end in carriage returns alone")
        asked = "" if found == _encoding(head, "") else found
        return cls(found, end, (*(["unpacked from gzip"] if is_packed(path) else []), *notes), asked)


def _shown(encoding: str) -> str:
    return encoding.removesuffix("-le").removesuffix("-be").upper()


def _head(path: Path) -> bytes:
    """The first bytes, as many as can be unpacked."""
    head = b""
    with suppress(_Damaged), unpacked(path) as stream:
        while len(head) < HEAD and (part := stream.read(1 << 10)):
            head += part
    return head


def _encoding(head: bytes, asked: str) -> str:
    """The encoding: as asked, else by its mark, else UTF-16 if every other byte of the first two characters is null."""
    marked = next((encoding for mark, encoding in MARKS.items() if head.startswith(mark)), "")
    null = [byte == 0 for byte in head[:4]]
    by_nulls = "utf-16-le" if null == [False, True] * 2 else "utf-16-be" if null == [True, False] * 2 else UTF_8
    found = marked or by_nulls
    if not asked:
        return found
    name = codecs.lookup(asked).name.removesuffix("-sig")
    if found.startswith(name):
        return found
    return f"{name}-le" if name in ("utf-16", "utf-32") else name


def refuse_odd(path: Path) -> None:
    """Refuses what is there and is no file that can be read, before it is opened: a FIFO would wait for its writer.

    Raises:
        DataError: If it is a link to nowhere, a FIFO, a device or a socket, or may not be read.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:  # the latter where a name holds a null character
        number = getattr(error, "errno", None)
        if number in (errno.EACCES, errno.EPERM):
            raise unreadable(path, error) from error
        if number == errno.ELOOP:
            raise DataError(f"{path}: is a link that leads back to itself", RELINK) from error
        if os.path.islink(path):
            raise DataError(f"{path}: is a link to nowhere", RELINK) from error
        return
    if what := next((what for kind, what in ODD.items() if stat.S_IFMT(mode) == kind), ""):
        raise DataError(f"{path}: is {what}, not a file", "write what it gives into a file, and name that")


def refuse_link_out(path: Path) -> None:
    """Refuses what a link leads to out of the git repository that keeps it: its texts would stand in reports.

    Whoever adds files to a repository could so show what the machine holds that reads them. A link that git does not
    keep is a person's own.

    Raises:
        DataError: If a link does, and git keeps it or cannot tell.
    """
    whole = Path(os.path.abspath(path))
    top = next((folder for folder in whole.parents if (folder / ".git").exists()), None)
    if top is None or Path(os.path.realpath(whole)).is_relative_to(os.path.realpath(top)):
        return
    within = (each for each in (whole, *whole.parents) if each != top and each.is_relative_to(top))
    if any(_keeps(top, each.relative_to(top)) for each in within if each.is_symlink()):
        raise DataError(f"{path}: a link out of its repository", "name what it leads to, or put that there")


def _keeps(top: Path, path: Path) -> bool:
    """Whether git keeps a file of a repository; also where it cannot tell."""
    try:
        return Repository(top).keeps(path.as_posix())
    except GateError:
        return True


def unreadable(path: Path | str, error: BaseException) -> DataError:
    """The refusal of what the system does not let be read."""
    cause = f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}"
    return DataError(cause, "give read permission, or fetch it anew")


def is_packed(path: Path) -> bool:
    """Whether a file is gzip, by its first bytes: names can be wrong.

    Raises:
        DataError: If it cannot be read.
    """
    return first_bytes(path, len(GZIP)) == GZIP


def first_bytes(path: Path, count: int) -> bytes:
    """What a file begins with.

    Raises:
        DataError: If it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return stream.read(count)
    except OSError as error:
        raise unreadable(path, error) from error


@contextmanager
def unpacked(path: Path) -> Iterator[BinaryIO]:
    """Opens a file, and unpacks it while it is read.

    Raises:
        DataError: If it cannot be read, or unpacks to far more than a table does.
    """
    if not is_packed(path):
        with path.open("rb") as stream:
            yield stream
        return
    with gzip.open(path) as stream:
        whole = io.BufferedReader(_Bounded(path, stream), 1 << 20)
        yield cast(BinaryIO, whole)


def refuse_bomb(path: Path, packed: int, unpacked: int) -> None:
    """Refuses a file that is made to fill memory.

    Args:
        path: The file.
        packed: Its bytes.
        unpacked: Bytes that were unpacked from it so far.

    Raises:
        DataError: If these are more than a table has.
    """
    most = max(LARGE, LARGEST_RATIO * packed)
    if unpacked > most:
        cause = f"{path}: unpacks from {packed:,} bytes to more than {most >> 20:,} MiB"
        raise DataError(cause, "if it really is a table, give it unpacked")


class _Bounded(io.RawIOBase):
    """Bytes that are unpacked, up to what a table can have."""

    def __init__(self, path: Path, stream: gzip.GzipFile) -> None:
        self._path, self._stream, self._read = path, stream, 0
        self._size = path.stat().st_size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        try:
            part = self._stream.read1(len(buffer))
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            cause = "ends too early" if isinstance(error, EOFError) else f"is damaged ({error})"
            raise _Damaged(f"the gzip file {cause}") from error
        self._read += len(part)
        refuse_bomb(self._path, self._size, self._read)
        buffer[: len(part)] = part
        return len(part)


class _Damaged(Exception):
    """A gzip file that cannot be unpacked to its end."""


def lines(path: Path, writing: Writing | None = None, save: str = SAVE) -> Iterator[tuple[int, str]]:
    """Lines of a file, counted from 1, each decoded on its own; gzip is unpacked.

    Args:
        path: The file.
        writing: How it is written; None to find out.
        save: What to do where a line is not in its encoding.

    Raises:
        DataError: If one is not, or the file is damaged, with its number.
    """
    number = 0
    try:
        found = writing or Writing.of(path)
        with unpacked(path) as stream:
            plain = found.encoding == UTF_8 and found.end == "\n"
            for number, text in _lines_of(stream) if plain else _decoded(stream, found):
                yield number, text
    except _Damaged as error:
        raise DataError(f"{path}:{number + 1}: {error}", "fetch it anew, or pack it anew") from error
    except _Misread as error:
        raise DataError(f"{path}:{error.line}: {error}", save) from error


class _Misread(Exception):
    """A line that is not in the encoding of its file."""

    def __init__(self, line: int, encoding: str, byte: int, at: int | None = None) -> None:
        where = f" at position {at}" if at else ""
        super().__init__(f"not {_shown(encoding)} (byte 0x{byte:02x}{where})")
        self.line = line


def _lines_of(stream: BinaryIO) -> Iterator[tuple[int, str]]:
    # Lines end at "\n" alone: str.splitlines would also cut texts at U+2028 and its like. They are decoded one by one,
    # so that a bad byte can be found again.
    for number, raw in enumerate(stream, 1):
        try:
            yield number, raw.decode("utf-8-sig" if number == 1 else UTF_8)
        except UnicodeDecodeError as error:
            raise _Misread(number, UTF_8, error.object[error.start], error.start + 1) from error


def _decoded(stream: BinaryIO, writing: Writing) -> Iterator[tuple[int, str]]:
    """Lines of an encoding in which a byte may be part of a line end and of something else."""
    number = 0
    text = io.TextIOWrapper(stream, writing.encoding, newline=writing.end)
    try:
        for number, line in enumerate(text, 1):
            yield number, line.removeprefix("\ufeff") if number == 1 else line
    except UnicodeDecodeError as error:
        # It read ahead: the lines before the bad byte were not given yet.
        good = error.object[: error.start].decode(writing.encoding, "ignore")
        bad = number + 1 + good.count(writing.end)
        raise _Misread(bad, writing.encoding, error.object[error.start]) from error
    finally:
        text.detach()
