"""Artefacts are complete or absent, and built once."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from embedgate.core import scratch
from embedgate.core.cache import ArtefactCache
from embedgate.core.errors import BuildError
from embedgate.core.scratch import sweep
from embedgate.runtime import crash_notes


def test_built_once_and_its_record_kept(tmp_path):
    cache, built = ArtefactCache(tmp_path), []

    def build(folder):
        built.append(folder)
        (folder / "model.onnx").write_text("graph")
        return {"scale": 2.0}

    first = cache.get_or_build("onnx", {"model": "a"}, build)
    again = cache.get_or_build("onnx", {"model": "a"}, build)
    assert first == again
    assert len(built) == 1
    assert first[1]["record"] == {"scale": 2.0}
    assert (first[0] / "model.onnx").read_text() == "graph"


@pytest.mark.parametrize("other", [{"model": "b"}, {"model": "a", "option": 1}])
def test_another_key_is_another_artefact(tmp_path, other):
    cache = ArtefactCache(tmp_path)
    assert (
        cache.get_or_build("onnx", {"model": "a"}, lambda _: {})[0]
        != cache.get_or_build("onnx", other, lambda _: {})[0]
    )


def test_failed_build_leaves_nothing_behind(tmp_path):
    cache = ArtefactCache(tmp_path)

    def build(folder):
        (folder / "half").write_text("half")
        raise RuntimeError("broke")

    with pytest.raises(RuntimeError, match="broke"):
        cache.get_or_build("onnx", {}, build)
    assert list(tmp_path.iterdir()) == []
    assert cache.get_or_build("onnx", {}, lambda _: {"ok": 1})[1]["record"] == {"ok": 1}


def test_killed_build_is_built_again(tmp_path):
    script = (
        "import os, signal, sys; from pathlib import Path; from embedgate.core.cache import ArtefactCache\n"
        "def build(folder):\n"
        "    (folder / 'half').write_text('half'); os.kill(os.getpid(), signal.SIGKILL)\n"
        "ArtefactCache(Path(sys.argv[1])).get_or_build('onnx', {}, build)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False).returncode < 0
    (left,) = tmp_path.iterdir()
    os.utime(left, (time.time() - 3600,) * 2)
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []
    folder, _ = ArtefactCache(tmp_path).get_or_build("onnx", {}, lambda folder: (folder / "whole").touch())
    assert sorted(file.name for file in folder.iterdir()) == ["artefact.json", "whole"]


def test_artefact_built_by_another_process_meanwhile_is_taken(tmp_path):
    cache = ArtefactCache(tmp_path)

    def build(folder):
        ArtefactCache(tmp_path).get_or_build("onnx", {}, lambda _: {"by": "the other"})
        return {"by": "this one"}

    folder, _ = cache.get_or_build("onnx", {}, build)
    assert [file.name for file in tmp_path.iterdir()] == [folder.name]


BUILDS = """
import sys, time
from pathlib import Path
from embedgate.core.cache import ArtefactCache
root, begun, go = map(Path, sys.argv[1:])
def build(folder):
    begun.touch()
    while not go.exists():
        time.sleep(0.01)
    return {"by": "the other"}
ArtefactCache(root).get_or_build("onnx", {"model": "a"}, build)
"""


@pytest.fixture
def builder(tmp_path):
    """Another process that is at building something, and where it is told to get done with it."""
    begun, go = tmp_path / "begun", tmp_path / "go"
    command = [sys.executable, "-c", BUILDS, tmp_path / "cache", begun, go]
    with subprocess.Popen(command) as process:
        while not begun.exists():
            assert process.poll() is None
            time.sleep(0.01)
        yield process, go
        process.kill()


posix = pytest.mark.skipif(sys.platform == "win32", reason="no process tells there what it holds")


@posix
def test_what_another_process_builds_is_waited_for(tmp_path, builder):
    cache, (process, go), told = ArtefactCache(tmp_path / "cache"), builder, []
    other, _ = cache.get_or_build("onnx", {"model": "b"}, lambda _: {}, told.append)
    assert told == []

    def progress(line):
        told.append(line)
        go.touch()

    folder, record = cache.get_or_build("onnx", {"model": "a"}, lambda _: {"by": "this one"}, progress)
    assert record["record"] == {"by": "the other"}
    assert told == [f"another process builds {folder}: waiting for it"]
    assert process.wait() == 0
    assert sorted(tmp_path.joinpath("cache").iterdir()) == sorted([folder, other])


@posix
def test_what_another_process_was_killed_at_is_built(tmp_path, builder):
    cache, (process, _) = ArtefactCache(tmp_path / "cache"), builder
    _, record = cache.get_or_build("onnx", {"model": "a"}, lambda _: {"by": "this one"}, lambda _: process.kill())
    assert record["record"] == {"by": "this one"}


def told(build):
    """The error of a build, which says in a line what to do."""
    with pytest.raises(BuildError) as caught:
        build()
    assert str(caught.value).isprintable()
    assert "--gate-cache DIR" in caught.value.action
    return caught.value.cause


def refuse(number):
    def call(path, *_, **__):
        raise OSError(number, os.strerror(number), str(path))

    return call


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EMFILE])
@pytest.mark.parametrize("call", ["mkdir", "rename"])
def test_a_cache_that_cannot_be_written_is_told_with_what_to_do(tmp_path, monkeypatch, number, call):
    monkeypatch.setattr(Path, call, refuse(number))
    cause = told(lambda: ArtefactCache(tmp_path / "cache").get_or_build("onnx", {}, lambda _: {}))
    assert cause.endswith(f"cannot be written: {os.strerror(number)}")


def test_a_disk_that_gets_full_while_something_is_built_is_told(tmp_path):
    def build(folder):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    told(lambda: ArtefactCache(tmp_path).get_or_build("onnx", {}, build))
    assert list(tmp_path.iterdir()) == []


def test_what_a_build_cannot_read_elsewhere_is_not_the_caches_trouble(tmp_path):
    with pytest.raises(PermissionError):
        ArtefactCache(tmp_path).get_or_build("onnx", {}, lambda _: refuse(errno.EACCES)("/models/model.onnx"))


def test_a_file_in_the_caches_place_is_told(tmp_path):
    (tmp_path / "taken").write_text("a file")
    told(lambda: ArtefactCache(tmp_path / "taken" / "cache").get_or_build("onnx", {}, lambda _: {}))


def test_an_artefact_can_be_read_by_whom_the_umask_lets(tmp_path):
    folder, _ = ArtefactCache(tmp_path).get_or_build("onnx", {}, lambda _: {})
    own = os.umask(0)
    os.umask(own)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o777 & ~own
    assert stat.S_IMODE((folder / "artefact.json").stat().st_mode) == 0o666 & ~own


def test_an_artefact_that_another_user_alone_can_read_is_told(tmp_path, monkeypatch):
    cache = ArtefactCache(tmp_path)
    folder, _ = cache.get_or_build("onnx", {}, lambda _: {})
    monkeypatch.setattr(Path, "open", refuse(errno.EACCES))
    cause = told(lambda: cache.get_or_build("onnx", {}, lambda _: {}))
    assert cause == f"{folder} is another user's, who alone can read it"


def test_half_an_artefact_that_another_user_left_is_told(tmp_path, monkeypatch):
    cache = ArtefactCache(tmp_path)
    folder, _ = cache.get_or_build("onnx", {}, lambda _: {})
    (folder / "artefact.json").rename(folder / "half")
    monkeypatch.setattr("embedgate.core.cache.shutil.rmtree", lambda *_, **__: None)
    assert told(lambda: cache.get_or_build("onnx", {}, lambda _: {})).startswith(f"{folder} cannot be written")


NOBODY = 65534
AS_NOBODY = """
import os, sys
from pathlib import Path
sys.path[:0] = {path!r}
from embedgate.core.cache import ArtefactCache
from embedgate.core.errors import BuildError
from embedgate.runtime import crash_notes
if os.getuid() == 0:  # once all is imported: nobody may not read it
    os.setgid({nobody})
    os.setuid({nobody})
cache = ArtefactCache(Path(sys.argv[1]))
with crash_notes.running(cache.root, "torch-fp32-cpu"):
    print("ran")
print(crash_notes.interrupted(cache.root))
try:
    print(cache.get_or_build(sys.argv[2], {{}}, lambda _: {{}})[0].name)
except BuildError as error:
    print(error)
"""


def as_nobody(cache, kind="onnx"):
    """What a process prints that may write where everybody may, alone: it notes what runs, and asks for an artefact."""
    script = AS_NOBODY.format(nobody=NOBODY, path=[*map(os.path.abspath, sys.path)])
    ended = subprocess.run(
        [sys.executable, "-c", script, str(cache), kind], capture_output=True, text=True, check=False, cwd="/"
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


@pytest.fixture
def reachable():
    """A folder that every user can reach."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_a_cache_without_write_permission_stops_what_needs_an_artefact_alone(reachable):
    cache = reachable / "cache"
    cache.mkdir()
    cache.chmod(0o555)
    ran, interrupted, answer = as_nobody(cache)
    assert (ran, interrupted) == ("ran", "[]")
    assert answer.startswith(f"{cache}/onnx-")
    assert answer.endswith(
        " cannot be written: Permission denied; give write permission, or give another folder by --gate-cache DIR or EMBEDGATE_CACHE"
    )


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can be two users")
@pytest.mark.parametrize("mode", [0o777, 0o1777], ids=["shared", "sticky"])
def test_two_users_share_a_cache(reachable, mode):
    cache = reachable / "cache"
    cache.mkdir()
    cache.chmod(mode)
    mine, _ = ArtefactCache(cache).get_or_build("onnx", {}, lambda _: {})
    with crash_notes.running(cache, "of root"):
        assert as_nobody(cache) == ["ran", "[]", mine.name]
        assert [*cache.glob(f"running-{os.getpid()}-*.json")]
    theirs = as_nobody(cache, "half")[-1]
    assert ArtefactCache(cache).get_or_build("half", {}, lambda _: 1 / 0)[0].name == theirs


def test_native_crash_is_named_by_the_next_session_once(tmp_path):
    script = (
        "import os, sys; from pathlib import Path; from embedgate.runtime import crash_notes\n"
        "with crash_notes.running(Path(sys.argv[1]), 'acme-int8-cpu'):\n"
        "    os.abort()\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False, capture_output=True)
    assert crash_notes.interrupted(tmp_path) == ["acme-int8-cpu"]
    assert crash_notes.interrupted(tmp_path) == []


def test_session_that_still_runs_or_ended_well_is_not_named(tmp_path):
    with crash_notes.running(tmp_path, "torch-fp32-cpu"):
        assert crash_notes.interrupted(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_pid_taken_by_another_process_is_not_mistaken_for_the_session(tmp_path):
    note = {"pid": os.getpid(), "started": 1.0, "what": "torch-fp32-cpu"}
    (tmp_path / f"running-{os.getpid()}-1.00.json").write_text(json.dumps(note))
    assert crash_notes.interrupted(tmp_path) == ["torch-fp32-cpu"]


@pytest.mark.skipif(not scratch.fcntl, reason="files are held by flock")
def test_a_session_that_runs_in_another_container_is_not_named(tmp_path, monkeypatch):
    def of_another_container(pid: int | None = None) -> psutil.Process:
        raise psutil.NoSuchProcess(pid or 0)

    with crash_notes.running(tmp_path, "torch-fp32-cpu"), monkeypatch.context() as patched:
        patched.setattr(psutil, "Process", of_another_container)
        assert crash_notes.interrupted(tmp_path) == []
        crash_notes.forget(tmp_path, os.getpid())
        assert len([*tmp_path.iterdir()]) == 1


def test_a_nested_note_puts_the_outer_one_back(tmp_path):
    with crash_notes.running(tmp_path, "torch-fp32-cpu: test_sound"):
        (note,) = tmp_path.iterdir()
        outer = note.read_text()
        with crash_notes.running(tmp_path, "acme-int8-cpu"):
            assert "acme-int8-cpu" in note.read_text()
            assert scratch.is_held(note)
        assert note.read_text() == outer
        assert scratch.is_held(note)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [
        b"1",
        b"\xff",
        b"{",
        b"[" * 2000,
        b'{"pid": 1}',
        b'{"pid": -1, "started": 0, "what": "x"}',
        b'{"pid": 1' + b"0" * 30 + b', "started": 0, "what": "x"}',
        b'{"pid": 1, "started": 0, "what": 1}',
        b'{"pid": "1", "started": 0, "what": "x"}',
    ],
)
def test_a_malformed_note_is_removed_and_told_as_nothing(tmp_path, content):
    (tmp_path / "running-1.json").write_bytes(content)
    assert crash_notes.interrupted(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
