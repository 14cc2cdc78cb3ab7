"""What tests found, kept as it comes: of a session that is killed, it is all that is left, and makes a report."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import msgspec

from embedgate.core.distrust import distrusting
from embedgate.core.errors import GateError
from embedgate.core.files import parse_json, to_json, write_whole
from embedgate.core.plain import finite, to_plain
from embedgate.core.scratch import hold
from embedgate.report.collector import Collector
from embedgate.report.files import NAMES
from embedgate.report.records import Record

NAME = "journal.jsonl"
# What stands in the place of an earlier report until there is one.
NOTHING = """# embedgate: nothing was judged

The session that began at {began} ended before anything was judged.
"""
UNFINISHED = """# embedgate: no report yet

The session that writes into this folder has not ended, or was killed. It began at {began}.

Once it has ended, its report stands here. If it was killed, `embedgate recover` and this folder's path write the report
of what it had judged by then, from `{name}`.
"""
STEP = "delete it, and run the session again"


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    began: str = ""
    record: dict[str, Any] | None = None
    facts: dict[str, Any] | None = None


class Journal:
    """The journal of one session.

    Args:
        folder: Where its report is to be written.

    Attributes:
        trouble: Why nothing is kept, a line; empty where it is.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stream: IO[str] | None = None
        self._has_begun = False
        self._began = self.trouble = ""

    def begin(self) -> None:
        """Takes an earlier session's report away, and begins; a second time does nothing."""
        if self._has_begun:
            return
        self._has_begun = True
        self._began = began = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        if _is_written(self._folder / NAME):
            self.trouble = f"another session writes into {self._folder}: what was judged was not kept as it came"
            return
        with self._telling():
            self._folder.mkdir(parents=True, exist_ok=True)
            withdraw(self._folder)
            (self._folder / NAME).unlink(missing_ok=True)
            write_whole(self._folder / "report.md", UNFINISHED.format(began=began, name=NAME).encode())
            # Anew: a link that lay there would be written through.
            self._stream = (self._folder / NAME).open("x", encoding="utf-8")
            hold(self._stream.fileno())
        self._add("began", began)

    def add_record(self, record: Record) -> None:
        """Keeps what a test found."""
        self.begin()
        self._add("record", record.to_builtins())

    def add_facts(self, facts: Mapping[str, Any]) -> None:
        """Keeps what the session ran on."""
        if self._has_begun:
            self._add("facts", facts)

    def end(self, *, reported: bool = True) -> None:
        """Removes the journal.

        Args:
            reported: Whether the report is written; else there was nothing to report.
        """
        if self._stream is None:
            return
        self._stream.close()
        self._stream = None
        with self._telling():
            (self._folder / NAME).unlink(missing_ok=True)
            if not reported:
                write_whole(self._folder / "report.md", NOTHING.format(began=self._began).encode())

    def _add(self, kind: str, value: Any) -> None:
        if self._stream is not None:
            with self._telling():
                self._stream.write(f"{to_json({kind: finite(to_plain(value))})}\n")
                self._stream.flush()

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Goes on without a journal where it cannot be written: the report tells the trouble, or cannot be, either."""
        try:
            yield
        except OSError as error:
            self._stream = None
            self.trouble = f"what was judged could not be kept as it came: {error}"


def _is_written(file: Path) -> bool:
    """Whether a session that still runs writes a journal."""
    try:
        with file.open("rb") as stream:
            return hold(stream.fileno()) is False
    except OSError:
        return False


def withdraw(folder: Path) -> None:
    """Removes an earlier session's report, unless another session is about to write one.

    Raises:
        OSError: If it cannot be.
    """
    if not _is_written(folder / NAME):
        for name in NAMES:
            (folder / name).unlink(missing_ok=True)


def discard(folder: Path) -> None:
    """Removes the journal of a session that was killed, once its report is written.

    Raises:
        OSError: If it cannot be.
    """
    (folder / NAME).unlink(missing_ok=True)


def recover(folder: Path) -> Collector:
    """What a session that was killed had found by then.

    Args:
        folder: Where its report was to be written.

    Raises:
        GateError: If there is no journal of such a session, or it is malformed.
    """
    file = folder / NAME
    if _is_written(file):
        raise GateError(f"the session that writes {file} still runs", "wait until it ends: it writes its report itself")
    try:
        lines = file.read_bytes().decode("utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        cause = f"{folder} has no {NAME}: no session that was to write its report there was killed"
        raise GateError(cause, "give the folder that --gate-report named") from None
    except OSError as error:
        raise GateError(f"{file} cannot be read: {error}", STEP) from error
    found, began = Collector(), ""
    # The last line has no end where the session was killed as it wrote it.
    for number, line in enumerate(lines[:-1], 1):
        where = f"{file}:{number}"
        said = parse_json(line, _Line, GateError, where, STEP)
        began = said.began or began
        if said.facts is not None:
            found.facts = said.facts
        if said.record is not None:
            found.records.append(_record(said.record, where))
    found.trouble.append(f"the session of {began} was killed: this covers what it had judged by then")
    return found


def _record(plain: Mapping[str, Any], where: str) -> Record:
    with distrusting(GateError, f"{where} is no finding of a test", STEP):
        return Record.from_builtins(plain)
