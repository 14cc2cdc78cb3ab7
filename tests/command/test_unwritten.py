"""Whatever is written, and whatever the system refuses: one line with the place and what to do, and the old file stays."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import made_up

from embedgate.calling.report import Report
from embedgate.command import changes
from embedgate.core.errors import GateError
from embedgate.deployed.recorded import About, Asked
from embedgate.deployed.recorded import write as write_answers
from embedgate.report.journal import Journal
from embedgate.stamp import Canary, Stamp
from embedgate.stamp import write as write_stamp

STAMP = Stamp(
    "m", "m", "f" * 64, "torch-fp32-cpu", "cosine", 2, True, "float32", {}, 0.9, (Canary("a", "query", np.ones(2)),)
)
WRITERS: dict[str, Callable[[Path], object]] = {
    "report": lambda folder: Report(made_up.green()).save(folder),
    "stamp": lambda folder: write_stamp(STAMP, folder / "stamp.json"),
    "answers": lambda folder: write_answers(folder / "a.jsonl", About("x"), [(Asked("text"), np.ones(2, np.float32))]),
    "init": lambda folder: changes.make(folder, [changes.Change("gate/tolerances.toml", b"", "write")]),
}
NUMBERS = [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EMFILE, errno.EIO, errno.EFBIG]


@pytest.mark.parametrize("number", NUMBERS, ids=errno.errorcode.get)
@pytest.mark.parametrize("call", ["mkdir", "open", "fsync", "replace"])
@pytest.mark.parametrize("writer", WRITERS)
def test_what_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: str, call: str, number: int
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    folder = tmp_path / "new" if call == "mkdir" and writer != "init" else tmp_path
    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        with pytest.raises(GateError) as caught:
            WRITERS[writer](folder)
    assert f"cannot be written: {os.strerror(number)}" in caught.value.cause
    assert caught.value.action
    assert str(caught.value).isprintable()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", ["report.json", "report.md", "report.html", "journal.jsonl"])
def test_nothing_is_written_through_a_link_in_the_folder_of_a_report(tmp_path: Path, name: str) -> None:
    """A checkout of a pull request can hold such a folder."""
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).symlink_to("../precious")
    journal = Journal(tmp_path / "out")
    journal.begin()
    journal.add_facts({"texts": 1})
    assert (tmp_path / "out" / "journal.jsonl").read_text("utf-8").count("\n") == 2
    Report(made_up.green()).save(tmp_path / "out")
    journal.end()
    assert (tmp_path / "precious").read_text() == "precious"
    assert not any(path.is_symlink() for path in (tmp_path / "out").iterdir())
