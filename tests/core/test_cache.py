"""Artefacts are complete or absent, and built once."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from embedgate.core.cache import ArtefactCache
from embedgate.runtime import journal


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
    folder, _ = ArtefactCache(tmp_path).get_or_build("onnx", {}, lambda folder: (folder / "whole").touch())
    assert sorted(file.name for file in folder.iterdir()) == ["artefact.json", "whole"]


def test_artefact_built_by_another_process_meanwhile_is_taken(tmp_path):
    cache = ArtefactCache(tmp_path)

    def build(folder):
        ArtefactCache(tmp_path).get_or_build("onnx", {}, lambda _: {"by": "the other"})
        return {"by": "this one"}

    folder, _ = cache.get_or_build("onnx", {}, build)
    assert [file.name for file in tmp_path.iterdir()] == [folder.name]


def test_native_crash_is_named_by_the_next_session_once(tmp_path):
    script = (
        "import os, sys; from pathlib import Path; from embedgate.runtime import journal\n"
        "with journal.running(Path(sys.argv[1]), 'acme-int8-cpu'):\n"
        "    os.abort()\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False, capture_output=True)
    assert journal.interrupted(tmp_path) == ["acme-int8-cpu"]
    assert journal.interrupted(tmp_path) == []


def test_session_that_still_runs_or_ended_well_is_not_named(tmp_path):
    with journal.running(tmp_path, "torch-fp32-cpu"):
        assert journal.interrupted(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_pid_taken_by_another_process_is_not_mistaken_for_the_session(tmp_path):
    with journal.running(tmp_path, "torch-fp32-cpu"):
        note = tmp_path / f"running-{os.getpid()}.json"
        note.write_text(note.read_text().replace('"started": ', '"started": 1'))
        assert journal.interrupted(tmp_path) == ["torch-fp32-cpu"]


def test_a_nested_note_puts_the_outer_one_back(tmp_path):
    with journal.running(tmp_path, "torch-fp32-cpu: test_sound"):
        note = tmp_path / f"running-{os.getpid()}.json"
        outer = note.read_text()
        with journal.running(tmp_path, "acme-int8-cpu"):
            assert "acme-int8-cpu" in note.read_text()
        assert note.read_text() == outer
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
    assert journal.interrupted(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
