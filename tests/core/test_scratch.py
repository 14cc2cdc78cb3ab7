"""What is being written is nobody else's: no link is written through, and what a killed writer left is swept."""

from __future__ import annotations

import errno
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from embedgate.core import files, scratch
from embedgate.core.errors import GateError, refuses_writing, unwritten
from embedgate.core.files import write_whole
from embedgate.core.scratch import scratch_folder, sweep, temporary_folder

LEFT = f".report.json.embedgate.{'0' * 16}.tmp"


def aged(path: Path, seconds: float = 3600.0) -> Path:
    then = time.time() - seconds
    os.utime(path, (then, then), follow_symlinks=False)
    return path


@pytest.fixture
def known_name(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the next scratch file, as if somebody could foresee it."""
    monkeypatch.setattr(scratch.secrets, "token_hex", lambda _: "0" * 16)
    return LEFT


@pytest.mark.parametrize("kind", ["link", "dangling link", "folder", "fifo", "hard link", "file"])
def test_what_lies_in_the_place_of_the_new_file_is_never_written_through(
    tmp_path: Path, known_name: str, kind: str
) -> None:
    precious, place = tmp_path / "precious", tmp_path / "out" / known_name
    precious.write_text("precious")
    place.parent.mkdir()
    make = {
        "link": lambda: place.symlink_to(precious),
        "dangling link": lambda: place.symlink_to(tmp_path / "new"),
        "folder": place.mkdir,
        "fifo": lambda: os.mkfifo(place),
        "hard link": lambda: os.link(precious, place),
        "file": lambda: place.write_text("another's"),
    }
    make[kind]()
    if kind == "fifo":
        os.open(place, os.O_RDONLY | os.O_NONBLOCK)  # or a writer would wait for a reader
    with pytest.raises(FileExistsError):
        write_whole(tmp_path / "out" / "report.json", b"new")
    assert precious.read_text() == "precious"
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "out" / "report.json").exists()


def test_a_link_in_the_files_own_place_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "report.json").symlink_to("precious")
    write_whole(tmp_path / "report.json", b"new")
    assert (tmp_path / "precious").read_text() == "precious"
    assert not (tmp_path / "report.json").is_symlink()
    assert (tmp_path / "report.json").read_bytes() == b"new"


def test_a_new_file_has_the_mode_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "a", b"new")
        with scratch_folder(tmp_path, "onnx") as folder:
            assert stat.S_IMODE(folder.stat().st_mode) == 0o750
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_what_a_killed_writer_left_is_swept_and_what_is_in_use_is_not(tmp_path: Path) -> None:
    aged_file, young = tmp_path / LEFT, tmp_path / f".report.md.embedgate.{'1' * 16}.tmp"
    aged_file.write_text("half")
    aged(aged_file)
    young.write_text("half")
    folder = tmp_path / f".onnx.embedgate.{'2' * 16}.tmp"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "half").write_text("half")
    aged(folder)
    link = tmp_path / f".x.embedgate.{'3' * 16}.tmp"
    link.symlink_to(tmp_path / "kept")
    aged(link)
    others = ["kept", ".git", ".report.json.tmp", f"report.json.{'0' * 16}.tmp", f".report.json.{'0' * 16}.tmp"]
    for name in others:
        aged_other = tmp_path / name
        aged_other.write_text("of others")
        aged(aged_other)
    with scratch_folder(tmp_path, "held") as held:
        aged(held)
        sweep(tmp_path)
        assert held.is_dir()
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == sorted([*others, young.name])


def test_what_other_programs_left_in_the_temporary_folder_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    others = {f".report.json.{'0' * 16}.tmp", f"other.{'0' * 16}.tmp", f"embedgate.{'0' * 16}.bak", LEFT}
    for name in {*others, f"embedgate.{'1' * 16}.tmp"}:
        (tmp_path / name).write_text("half")
        aged(tmp_path / name)
    sweep()
    assert set(os.listdir(tmp_path)) == others


def test_writing_sweeps_its_folder(tmp_path: Path) -> None:
    (tmp_path / LEFT).write_text("half")
    aged(tmp_path / LEFT)
    write_whole(tmp_path / "another.json", b"new")
    assert os.listdir(tmp_path) == ["another.json"]


KILLED = """
import os, signal, sys
from pathlib import Path
from embedgate.core.scratch import scratch_folder, temporary_folder
with temporary_folder() as own, scratch_folder(Path(sys.argv[1]), "onnx") as built:
    (own / "half").write_text("half")
    (built / "half").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_folders_of_a_killed_process_are_swept_by_the_next_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary, cache = tmp_path / "tmp", tmp_path / "cache"
    temporary.mkdir()
    cache.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary)}
    ended = subprocess.run([sys.executable, "-c", KILLED, str(cache)], env=environment, check=False)
    assert ended.returncode == -signal.SIGKILL
    (own,), (built,) = temporary.iterdir(), cache.iterdir()
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    aged(own)
    aged(built)
    sweep()
    sweep(cache)
    assert [*temporary.iterdir(), *cache.iterdir()] == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_child_removes_nothing_of_its_parents() -> None:
    with ExitStack() as stack:
        folder = stack.enter_context(temporary_folder())
        child = os.fork()
        if child == 0:
            stack.close()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert folder.is_dir()
    assert not folder.exists()


def test_without_locks_only_what_is_very_old_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "fcntl", None)
    (tmp_path / LEFT).write_text("half")
    sweep(aged(tmp_path / LEFT, 86_400).parent)
    assert (tmp_path / LEFT).exists()
    sweep(aged(tmp_path / LEFT, 8 * 86_400).parent)
    assert not (tmp_path / LEFT).exists()


@pytest.mark.parametrize(
    ("number", "step"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "free some of your quota"),
        (errno.EROFS, "mount it for writing"),
        (errno.EACCES, "give write permission"),
        (errno.EMFILE, "allow more open files (ulimit -n)"),
        (errno.EIO, "check the disk"),
        (errno.EFBIG, "allow larger files (ulimit -f)"),
        (errno.ENOENT, "check the folder"),
    ],
)
def test_what_the_system_refuses_is_told_with_what_to_do(tmp_path: Path, number: int, step: str) -> None:
    error = OSError(number, os.strerror(number))
    cause, action = unwritten(tmp_path / "a", error, "name another folder")
    assert cause == f"{tmp_path / 'a'} cannot be written: {os.strerror(number)}"
    assert action == f"{step}, or name another folder"
    assert refuses_writing(error) == (number != errno.ENOENT)


@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EMFILE, errno.EIO, errno.EFBIG]
)
def test_trouble_at_any_call_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    write_whole(tmp_path / "a", b"old")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(files.os, call, refuse)
        with pytest.raises(OSError, match=re.escape(os.strerror(number))):
            write_whole(tmp_path / "a", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"old")]


def test_a_full_folder_of_temporary_files_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(GateError) as caught, temporary_folder():
        pass
    assert "cannot be written: No space left on device" in caught.value.cause
    assert caught.value.action == "free some space, or set TMPDIR to another folder"
