"""Fuzzing: holds a reader against damaged files, and makes what it finds small.

A reader reads a file, or refuses it by an error of embedgate's own: one line that can be printed, that names the file and
says what to do, without a warning, in bounded time and memory.
"""

from __future__ import annotations

import hashlib
import re
import resource
import signal
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from embedgate.core.errors import GateError
from helpers.damage import damaged
from helpers.paths import ROOT, TESTS
from helpers.readers import Reader

CORPUS = TESTS / "fuzz/corpus"
# Seconds that nothing so small takes, on however busy a machine.
PATIENCE = 30
# Bytes beyond those in use that nothing so small needs.
MEMORY = 2**32
LONGEST = 1100
TRIES = 400


class Hung(BaseException):
    """A reader that does not come to an end; of no class that readers catch."""


@dataclass(frozen=True)
class Find:
    """An input that a reader does not take as it should.

    Attributes:
        reader: The reader.
        content: The input.
        fault: What is wrong.
    """

    reader: Reader
    content: bytes
    fault: str

    def told(self, folder: Path) -> str:
        """What to do about it, and the input itself, which is put into a folder."""
        file = folder / hashlib.sha256(self.content).hexdigest()[:8]
        file.write_bytes(self.content)
        place = (CORPUS / self.reader.name).relative_to(ROOT)
        return (
            f"{self.reader.name}: {self.fault}, of {self.content[:1000]!r}\n"
            f"once it is mended: mkdir -p {place} && cp {file} {place}"
        )


class Tried:
    """A reader in a folder of its own.

    Args:
        reader: The reader.
        folder: An empty folder.
    """

    def __init__(self, reader: Reader, folder: Path) -> None:
        self.reader = reader
        self.seeds = [reader.seal(seed) for seed in reader.seeds(_made(folder / "seeds"))]
        self._folder = _made(folder / "tried")
        reader.around(self._folder)
        self._file = next(iter(self._folder.glob(reader.file)), self._folder / reader.file)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self.refused: set[str] = set()
        self.read = 0

    def input(self, number: int) -> bytes:
        """The damaged file of a number."""
        return self.reader.seal(damaged(self.reader.kind, self.seeds, self.reader.name, number))

    def fault(self, content: bytes) -> str:
        """What is wrong with how some content is taken; empty where nothing is."""
        # A new file: of one that is cut and written anew, file systems wait for the disk.
        self._file.unlink(missing_ok=True)
        self._file.write_bytes(content)
        try:
            with warnings.catch_warnings(), _bounded():
                warnings.simplefilter("error")
                self.reader.read(self._folder, self._file)
        except GateError as error:
            self.refused.add(_without_words(str(error)))
            return self._misspoken(error)
        except (Exception, SystemExit, Hung) as error:
            return f"{type(error).__name__}: {str(error)[:200]!r} at {_where(error)}"
        self.read += 1
        return ""

    def _misspoken(self, error: GateError) -> str:
        """What is wrong with an error."""
        told = str(error)
        named = str(self._folder) if self.reader.named == "folder" else self._file.name
        if self.reader.quiet:
            return f"an error of what counts for nothing: {told!r}"
        if not told.isprintable():
            return f"an error that cannot be printed: {told!r}"
        if max(len(error.cause), len(error.action)) > LONGEST:
            return f"an error of {len(told)} characters: {told[:200]!r}"
        if named not in told:
            return f"an error that does not name {named}: {told!r}"
        return "" if error.action else f"an error that does not say what to do: {told!r}"

    def find(self, numbers: Iterable[int]) -> Iterator[Find]:
        """What is found among inputs, each kind once, made small."""
        known: set[str] = set()
        for number in numbers:
            content = self.input(number)
            if (fault := self.fault(content)) and _without_words(fault) not in known:
                known.add(_without_words(fault))
                small = smallest(
                    content, lambda tried, kind=fault: _without_words(self.fault(tried)) == _without_words(kind)
                )
                yield Find(self.reader, small, fault)


def smallest(content: bytes, still: Callable[[bytes], bool]) -> bytes:
    """The content without what can be left out of it while something still holds of it."""
    size, tries = len(content) // 2, 0
    while size and tries < TRIES:
        at = 0
        while at < len(content) and tries < TRIES:
            shorter = content[:at] + content[at + size :]
            tries += 1
            if still(shorter):
                content = shorter
            else:
                at += size
        size //= 2
    return content


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _without_words(told: str) -> str:
    """A message as far as it is the same of other words: without quotes, paths and numbers."""
    return " ".join(re.findall(r"[a-zA-Z]{2,}", re.sub(r"'[^']*'|\"[^\"]*\"|\S*[\d/]\S*", " ", told)))[:160]


def _where(error: BaseException) -> str:
    """The innermost line of embedgate's own that an exception passed."""
    trace, found = error.__traceback__, ""
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        if file.is_relative_to(ROOT):
            found = f"{file.relative_to(ROOT)}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found


@contextmanager
def _bounded() -> Iterator[None]:
    """Ends what takes far too long, and refuses memory to what asks for far too much."""

    def end(signum: int, frame: FrameType | None) -> None:
        raise Hung(f"it has not ended after {PATIENCE} seconds")

    before = signal.signal(signal.SIGALRM, end)
    limit = resource.getrlimit(resource.RLIMIT_AS)
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (_in_use() + MEMORY, limit[1]))
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_AS, limit)
        signal.signal(signal.SIGALRM, before)


def _in_use() -> int:
    """Bytes of address space that the process has."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
