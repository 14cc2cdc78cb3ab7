"""An approval is all of its files or none, whenever it is killed and whatever the system refuses."""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from embedgate.approved import transaction as transactions
from embedgate.approved.baseline import BaselineStore
from embedgate.approved.entries import Entry, Key, Provenance
from embedgate.approved.form import Identified
from embedgate.approved.golden import GoldenStore
from embedgate.approved.proposal import Proposal, approve, files_of
from embedgate.approved.ranges import RangesStore
from embedgate.approved.transaction import FOLDER, JOURNAL, LOCK, settle, transaction
from embedgate.core.errors import BaselineError
from embedgate.core.machine import profile
from embedgate.diagnosis.golden import Golden
from embedgate.vectors.codes import Ranges

MODEL = Identified("MiniLM", "acme/MiniLM@1", "a" * 64)
INT8 = "onnxruntime-int8-cpu"
PROVENANCE = Provenance(
    cpu="a CPU",
    flags=(),
    gpu=None,
    os="Linux 6",
    python="3.12.1",
    threads=2,
    batch_size=32,
    libraries={},
    embedgate="0.1.0",
    commit="",
)
# What begins each step by which a file system changes, or is asked.
STEPS = ("open", "os.", "shutil.", "fcntl.")
FILES = ["cpu/MiniLM.golden.safetensors", "cpu/MiniLM.json", "cpu/MiniLM.ranges.safetensors"]


def proposal(value: float, name: str = "cpu") -> Proposal:
    rows = np.full((4, 8), value, np.float32)
    return Proposal(
        name,
        MODEL,
        PROVENANCE,
        tuple(Entry(Key(INT8, "pairs", f"metric_{i}", "c" * 64), value, value, value, 5) for i in range(3)),
        golden={INT8: Golden(rows, None, None)},
        golden_sha256="d" * 64,
        ranges={INT8: Ranges(rows[0] - 1, rows[0], 500)},
    )


def approve_all(folder: Path, value: float) -> None:
    approve([proposal(value)], folder, reason="because", who="Ada", in_ci_allowed=True)


def approved(folder: Path) -> set[float]:
    """The value that every file holds; two where they are not of one approval."""
    cpu = profile("cpu")
    found = BaselineStore(folder).find(cpu, MODEL)
    golden = GoldenStore(folder).find(cpu, MODEL, INT8, "d" * 64)
    ranges = RangesStore(folder).find(cpu, MODEL, INT8)
    assert found
    assert golden
    assert ranges
    values = {round(entry.value, 6) for entry in found.baseline.entries.values()}
    return values | {round(float(golden.value.embeddings[0, 0]), 6), round(float(ranges.value.high[0]), 6)}


def at_step(number: int, act: Callable[[], None]) -> None:
    """Acts before the n-th step of this process from now on; the process is to end soon."""
    count = 0

    def hook(event: str, _: object) -> None:
        nonlocal count
        if event.startswith(STEPS):
            count += 1
            if count == number:
                act()

    sys.addaudithook(hook)


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refusal(number: int) -> Callable[[], None]:
    def refuse() -> None:
        raise OSError(number, os.strerror(number))

    return refuse


def in_child(body: Callable[[], None]) -> int:
    """Runs a body in a forked process: how that ended, as `waitpid` tells it."""
    child = os.fork()
    if child == 0:
        try:
            body()
            os._exit(0)
        except BaselineError as error:
            os._exit(10 if "\n" not in str(error) and error.action else 11)
        except BaseException:
            os._exit(12)
    return os.waitpid(child, 0)[1]


def killed_at(step: int, body: Callable[[], None]) -> bool:
    """Whether a body was killed before a step; False where it has fewer."""

    def run() -> None:
        at_step(step, kill)
        body()

    status = in_child(run)
    assert status in (0, signal.SIGKILL), (step, status)
    return status == signal.SIGKILL


def steps(most: int = 2000) -> Iterator[int]:
    return iter(range(1, most))


def seen_by_git(folder: Path) -> set[str]:
    """The files that `git add --all` would take."""
    told = subprocess.run(
        ["git", "-C", str(folder), "ls-files", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(told.stdout.split())


@pytest.mark.parametrize("name", FILES)
def test_where_an_old_file_cannot_be_trusted_none_is_touched(old: Path, name: str) -> None:
    (old / name).write_bytes(b"{")
    before = {each: (old / each).read_bytes() for each in FILES}
    alone = dataclasses.replace(proposal(0.2), golden={}, ranges={})
    with pytest.raises(BaselineError, match="git checkout"):
        approve([alone], old, reason="r", who="Ada", in_ci_allowed=True)
    assert {each: (old / each).read_bytes() for each in FILES} == before
    assert os.listdir(old) == ["cpu"]


def cut_short(folder: Path, monkeypatch: pytest.MonkeyPatch, moves: int = 0) -> None:
    """Leaves an approval as where a process was killed once its journal and so many of its files were in their places."""
    with monkeypatch.context() as patch:
        patch.setattr(transactions, "_carry_out", lambda _, planned, **__: [move.make() for move in planned[:moves]])
        approve_all(folder, 0.2)
    assert (folder / FOLDER / JOURNAL).is_file()


@pytest.fixture
def old(tmp_path: Path) -> Path:
    folder = tmp_path / "old"
    approve_all(folder, 0.1)
    return folder


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here outlives the system, so nothing need be on the disk."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")


@needs_fork
def test_an_approval_killed_at_any_step_is_all_old_or_all_new(old: Path, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    kept, seen, in_git = {0.1: 0, 0.2: 0}, [], set()
    for step in steps():
        folder = tmp_path / "now"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(old, folder)
        if not killed_at(step, lambda folder=folder: approve_all(folder, 0.2)):
            break
        if (folder / FOLDER).exists():
            in_git |= seen_by_git(folder) - set(FILES)
        (value,) = approved(folder)
        kept[value] += 1
        seen.append(value)
        approve_all(folder, 0.3)
        assert approved(folder) == {0.3}
        assert sorted(os.listdir(folder)) == ["cpu"]
    assert seen == sorted(seen), "once it is new, it stays so"
    assert min(kept.values()) > 10, kept
    # Git ignores the folder from the moment that its .gitignore says so.
    assert in_git <= {f"{FOLDER}/.gitignore"}


@needs_fork
def test_going_on_with_an_approval_can_be_killed_at_any_step(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kills = 0
    for moves in range(3):
        cut = shutil.copytree(old, tmp_path / f"cut-{moves}")
        cut_short(cut, monkeypatch, moves)
        for step in steps():
            folder = tmp_path / "now"
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(cut, folder)
            again = killed_at(step, lambda folder=folder: settle(folder))
            assert approved(folder) == {0.2}
            if not again:
                break
            kills += 1
        assert sorted(os.listdir(folder)) == ["cpu"]
    assert kills > 50


@needs_fork
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES], ids=errno.errorcode.get)
def test_what_the_system_refuses_at_any_step_is_told_and_leaves_all_files_as_one(
    old: Path, tmp_path: Path, number: int
) -> None:
    told = 0
    for step in steps():
        folder = tmp_path / "now"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(old, folder)
        reached = tmp_path / "reached"
        reached.unlink(missing_ok=True)

        def run(folder: Path = folder, step: int = step, reached: Path = reached) -> None:
            mark = os.open(reached, os.O_CREAT | os.O_WRONLY)

            def refuse() -> None:
                os.write(mark, b"x")
                refusal(number)()

            at_step(step, refuse)
            approve_all(folder, 0.2)

        status = os.waitstatus_to_exitcode(in_child(run))
        if not reached.stat().st_size:
            break
        assert status in (0, 10), (step, status)
        told += status == 10
        assert approved(folder) == {0.2 if status == 0 else 0.1}, step
    assert told > 20


def refusing(suffix: str) -> Callable[[Path, Path], Path]:
    """What renames files, but none into the place of one whose name ends so."""
    replace = Path.replace

    def refuse(path: Path, target: Path) -> Path:
        if Path(target).name.endswith(suffix) and path.suffix != ".old":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return replace(path, target)

    return refuse


def test_what_cannot_be_put_in_its_place_takes_all_back(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: (old / name).read_bytes() for name in FILES}
    monkeypatch.setattr(Path, "replace", refusing(".ranges.safetensors"))
    with pytest.raises(BaselineError) as caught:
        approve_all(old, 0.2)
    file = old / "cpu/MiniLM.ranges.safetensors"
    assert str(caught.value) == (
        f"{file} cannot be written: Input/output error; check the disk, or name another folder of baselines"
    )
    assert {name: (old / name).read_bytes() for name in FILES} == before
    assert os.listdir(old) == ["cpu"]


def test_a_killed_approval_that_cannot_be_gone_on_with_is_kept(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: (old / name).read_bytes() for name in FILES}
    cut_short(old, monkeypatch, 1)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", refusing(".ranges.safetensors"))
        with pytest.raises(BaselineError) as caught:
            settle(old)
    file = old / "cpu/MiniLM.ranges.safetensors"
    assert str(caught.value) == (
        f"an approval was cut short, and {file} cannot be written: Input/output error; "
        "check the disk, or name another folder of baselines"
    )
    assert {name: (old / name).read_bytes() for name in FILES} == before
    assert approved(old) == {0.2}
    assert not (old / FOLDER).exists()


def test_all_profiles_of_an_approval_are_one(tmp_path: Path) -> None:
    approve([proposal(0.1), proposal(0.1, "nvidia-h200")], tmp_path, reason="r", who="Ada", in_ci_allowed=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cpu", "nvidia-h200"]
    broken = proposal(float("nan"), "nvidia-h200")
    before = files_of(tmp_path, "cpu", "MiniLM")
    with pytest.raises(BaselineError, match="only finite numbers"):
        approve([proposal(0.2), broken], tmp_path, reason="r", who="Ada", in_ci_allowed=True)
    assert files_of(tmp_path, "cpu", "MiniLM") == before


def test_going_on_is_told_in_a_line(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settle(old) == ""
    cut_short(old, monkeypatch)
    told = settle(old)
    assert (
        told == f"an approval in {old} was cut short, and is now whole: {', '.join(sorted(FILES, key=_order))} written"
    )
    assert settle(old) == ""
    assert approved(old) == {0.2}


def test_an_update_goes_on_with_what_was_cut_short_first(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_short(old, monkeypatch, 1)
    new = proposal(0.2).entries[:1]
    given = {"reason": "another", "who": "Ada", "provenance": PROVENANCE, "in_ci_allowed": True}
    assert not BaselineStore(old).update(profile("cpu"), MODEL, new, **given), "it has this value by now"
    assert not (old / FOLDER).exists()
    assert approved(old) == {0.2}


def _order(name: str) -> int:
    return [".json", ".golden.safetensors", ".ranges.safetensors"].index(name.removeprefix("cpu/MiniLM"))


def test_what_was_restored_from_git_since_is_not_overwritten(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_short(old, monkeypatch)
    (old / "cpu/MiniLM.json").write_bytes((old / "cpu/MiniLM.json").read_bytes() + b"\n")
    with pytest.raises(BaselineError) as caught:
        approved(old)
    assert str(caught.value) == (
        f"an approval was cut short, and {old / 'cpu/MiniLM.json'} has changed since; "
        f"delete {old / FOLDER}, restore the files from git, and approve again"
    )


@pytest.mark.parametrize(
    "path",
    ["../outside.json", "cpu/../../outside.json", "/etc/outside.json", "cpu/a/b.json", "cpu/tolerances.toml", "cpu"],
)
def test_a_journal_that_leads_elsewhere_is_refused(old: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """Whoever makes a pull request can write one."""
    cut_short(old, monkeypatch)
    journal = old / FOLDER / JOURNAL
    journal.write_text(journal.read_text().replace("cpu/MiniLM.json", path))
    with pytest.raises(BaselineError, match="which is no file of an approval; delete"):
        settle(old)
    assert not (old.parent / "outside.json").exists()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b'{"schema": 2, "files": []}', b"[" * 100_000])
def test_a_journal_that_is_none_says_what_to_delete(old: Path, content: bytes) -> None:
    (old / FOLDER).mkdir()
    (old / FOLDER / JOURNAL).write_bytes(content)
    with pytest.raises(BaselineError) as caught:
        approve_all(old, 0.2)
    assert str(old / FOLDER) in str(caught.value)
    assert caught.value.action
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [FOLDER, f"{FOLDER}/{LOCK}", f"{FOLDER}/.gitignore", f"{FOLDER}/0", f"{FOLDER}/0.old"])
def test_nothing_is_written_through_a_link_that_lies_there(old: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "precious").write_text("precious")
    (old / FOLDER).mkdir()
    link = old / name
    if name == FOLDER:
        link.rmdir()
    link.symlink_to(tmp_path if name == FOLDER else tmp_path / "precious")
    if name in (FOLDER, f"{FOLDER}/{LOCK}"):
        with pytest.raises(BaselineError):
            approve_all(old, 0.2)
    else:
        approve_all(old, 0.2)
        assert approved(old) == {0.2}
    assert (tmp_path / "precious").read_text() == "precious"


def test_a_link_in_a_files_place_is_replaced(old: Path, tmp_path: Path) -> None:
    (old / "cpu/MiniLM.json").rename(old / "kept.json")
    (old / "cpu/MiniLM.json").symlink_to("../kept.json")
    before = (old / "kept.json").read_bytes()
    approve_all(old, 0.2)
    assert not (old / "cpu/MiniLM.json").is_symlink()
    assert (old / "kept.json").read_bytes() == before


def test_an_approval_needs_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setenv("EMBEDGATE_CACHE", str(tmp_path / "taken"))
    approve_all(tmp_path / "gate", 0.2)
    assert approved(tmp_path / "gate") == {0.2}


def test_a_folder_that_may_not_be_written_is_told(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", refuse)
        with pytest.raises(BaselineError) as caught:
            approve_all(old, 0.2)
    assert str(caught.value) == (
        f"{old / FOLDER} cannot be written: Permission denied; "
        "give write permission, or name another folder of baselines"
    )
    cut_short(old, monkeypatch)
    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(BaselineError, match=r"^an approval was cut short, and .* cannot be written"):
        approved(old)


def test_a_second_writer_waits_and_then_is_told(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions, "LOCK_SECONDS", 0.01)
    with transaction(old), pytest.raises(BaselineError) as caught:
        approve_all(old, 0.2)
    assert str(caught.value) == f"another update of {old} is running; wait until it ends, then try again"
    approve_all(old, 0.2)
