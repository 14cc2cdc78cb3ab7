"""Each process of pytest-xdist computes on a GPU of its own, as far as there are enough."""

from __future__ import annotations

import os
import re
import stat
import sys
from pathlib import Path

import pytest
from helpers.fake_nvml import FakeNvml

from embedgate.encoders import gpu
from embedgate.encoders.gpu import listing, nvml
from embedgate.encoders.gpu.listing import VARIABLE, gpus
from embedgate.plugin.xdist import gpu_for_next, shared

TWO = """\
GPU 0: NVIDIA A100-SXM4-80GB (UUID: GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)
GPU 1: NVIDIA H200 (UUID: GPU-b4d5ba0d-d33d-2b2c-524d-9e3d8d2b8a78)
"""
SLICED = """\
GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)
  MIG 1g.10gb     Device  0: (UUID: MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f)
  MIG 1g.10gb     Device  1: (UUID: MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-b4d5ba0d-d33d-2b2c-524d-9e3d8d2b8a78)
"""


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Makes a machine of so many GPUs in `/proc`, and an `nvidia-smi` where it lists some or fails; without NVML."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    absent = tmp_path / "without"
    absent.mkdir()
    (absent / "pynvml.py").write_text("raise ImportError('not installed')\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(absent), os.environ.get("PYTHONPATH")))))

    def make(proc=0, listed=None, fails=False):
        monkeypatch.delenv(VARIABLE, raising=False)
        folder = tmp_path / "gpus"
        for number in range(proc):
            (folder / f"0000:{number:02}:00.0").mkdir(parents=True)
        monkeypatch.setattr(listing, "PROC", folder)
        programs = tmp_path / "bin"
        programs.mkdir()
        if listed is not None or fails:
            tool = programs / "nvidia-smi"
            (tmp_path / "listed").write_text(listed or "")
            tool.write_text(f"#!{sys.executable}\nprint(open({str(tmp_path / 'listed')!r}).read(), end='')\n")
            tool.write_text(tool.read_text() + f"raise SystemExit({9 if fails else 0})\n")
            tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(programs))
        return folder

    return make


def test_the_gpus_of_a_machine_are_those_that_nvidia_smi_lists(machine):
    machine(proc=3, listed=TWO)
    assert gpus({}) == ["0", "1"]


def test_slices_of_a_gpu_count_one_by_one(machine):
    machine(listed=SLICED)
    assert gpus({}) == ["MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f", "MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb", "1"]


@pytest.mark.parametrize("fails", [True, False])
def test_without_nvidia_smi_they_are_counted_where_linux_tells(machine, fails):
    machine(proc=2, fails=fails)
    assert gpus({}) == ["0", "1"]


def test_a_machine_without_a_gpu_has_none(machine):
    machine()
    assert gpus({}) == []


def test_a_tool_that_hangs_is_not_waited_for(machine, monkeypatch):
    machine(proc=1, listed=TWO)
    tool = listing.PROC.parent / "bin/nvidia-smi"
    tool.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(60)\n")
    monkeypatch.setattr(listing, "TIMEOUT_SECONDS", 0.5)
    assert gpus({}) == ["0"]


@pytest.fixture
def with_nvml(monkeypatch):
    def install(**options):
        found = FakeNvml(**options)
        monkeypatch.setitem(sys.modules, "pynvml", found)
        return found

    return install


def test_nvml_names_gpus_and_slices_by_uuid(machine, with_nvml):
    machine(proc=3, listed=TWO)
    library = with_nvml()
    assert gpus({}) == ["GPU-a", "MIG-x", "MIG-y", "GPU-c", "GPU-d"]
    assert gpus({VARIABLE: "1"}) == ["1"], "what the environment names counts before"
    assert library.open == 0, "it is closed again"


@pytest.mark.parametrize("where", ["init", "handle"])
def test_where_nvml_does_not_answer_nvidia_smi_is_asked(machine, with_nvml, where):
    machine(listed=TWO)
    library = with_nvml(fails_in=(where,))
    assert gpus({}) == ["0", "1"]
    assert library.open == 0


def test_nvml_tells_the_driver_and_linux_where_it_does_not(machine, with_nvml, monkeypatch, tmp_path):
    machine()
    monkeypatch.setattr(gpu, "DRIVER", tmp_path / "version")
    gpu.DRIVER.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\n")
    assert gpu.versions()["nvidia-driver"] == "550.54.15"
    with_nvml(fails_in=("driver",))
    assert gpu.versions()["nvidia-driver"] == "550.54.15"
    with_nvml()
    assert gpu.versions()["nvidia-driver"] == "580.65.06"


def test_every_name_of_nvml_that_is_asked_is_there():
    """The stub above may not have what the library lacks."""
    library = pytest.importorskip("pynvml")
    asked = set(re.findall(r"nvml\.((?:nvml|NVML)\w+)", Path(nvml.__file__).read_text("utf-8")))
    assert len(asked) >= 12
    assert [name for name in asked if not hasattr(library, name) or not hasattr(FakeNvml, name)] == []


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ("3, 1", ["3", "1"]),
        ("GPU-5d5b,MIG-c6d4", ["GPU-5d5b", "MIG-c6d4"]),
        ("2", ["2"]),
        ("", []),
        ("-1", []),
        ("1,-1,0", ["1"]),
    ],
)
def test_what_the_environment_names_already_is_what_there_is(machine, named, expected):
    machine(listed=TWO)
    assert gpus({VARIABLE: named}) == expected


def test_processes_take_the_gpus_in_turn():
    taken = []
    for _ in range(4):
        taken.append(gpu_for_next(["3", "1"], taken))
    assert taken == ["3", "1", "3", "1"]


def test_where_there_is_nothing_to_choose_from_nothing_is_set():
    assert gpu_for_next([], []) is None
    assert gpu_for_next(["0"], ["0"]) is None


def test_that_several_share_a_gpu_is_said():
    assert shared(3, ["0", "1"]) == "embedgate: 3 processes share 2 GPUs, and with it the memory"
    assert shared(2, ["0"]) == "embedgate: 2 processes share 1 GPU, and with it the memory"
    assert shared(2, ["0", "1"]) == shared(2, []) == ""


PROBE = """
import os, sys
import pytest

def pytest_configure(config):
    config.gpu_then = os.environ.get("CUDA_VISIBLE_DEVICES")

@pytest.fixture
def seen(request):
    return request.config.gpu_then
"""
# The two tests wait for each other, so that each process runs one.
TESTS = """
import os, pathlib, sys, time
import pytest

@pytest.mark.parametrize("mine", [0, 1])
def test_gpu(mine, seen):
    here = pathlib.Path(os.environ["MEETING"])
    (here / f"{mine}").write_text(f"{os.environ['PYTEST_XDIST_WORKER']} {seen} {'torch' in sys.modules}")
    until = time.monotonic() + 20
    while not (here / f"{1 - mine}").exists() and time.monotonic() < until:
        time.sleep(0.05)
"""


@pytest.mark.parametrize(
    ("named", "count", "expected"),
    [
        (None, "2", {"gw0 0 False", "gw1 1 False"}),
        ("7,5", "2", {"gw0 7 False", "gw1 5 False"}),
        ("4", "2", {"gw0 4 False", "gw1 4 False"}),
    ],
)
def test_each_process_sees_its_own_before_any_hook_of_a_conftest(
    pytester, machine, monkeypatch, tmp_path, named, count, expected
):
    machine(listed=TWO)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.defpath}")
    if named is not None:
        monkeypatch.setenv(VARIABLE, named)
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    monkeypatch.setenv("MEETING", str(meeting))
    pytester.makeconftest(PROBE)
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_subprocess("-n", count, "-p", "no:cacheprovider")
    result.assert_outcomes(passed=2)
    assert {file.read_text() for file in meeting.iterdir()} == expected
    assert ("2 processes share 1 GPU" in result.stdout.str()) == (named == "4")


CRASHES = """
import os, pathlib, time
import pytest

@pytest.mark.parametrize("mine", [0, 1, 2, 3])
def test_gpu(mine, seen):
    here = pathlib.Path(os.environ["MEETING"])
    file = here / f"{os.environ['PYTEST_XDIST_WORKER']} {seen}"
    file.touch()
    until = time.monotonic() + 20
    while len(list(here.iterdir())) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    if file.name.startswith("gw1"):
        os._exit(1)
    while len(list(here.iterdir())) < 3 and time.monotonic() < until:
        time.sleep(0.05)
"""


@pytest.mark.slow("the process that replaces a crashed one takes its GPU")
def test_a_process_that_replaces_a_crashed_one_takes_its_gpu(pytester, machine, monkeypatch, tmp_path):
    machine(listed=TWO)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.defpath}")
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    monkeypatch.setenv("MEETING", str(meeting))
    pytester.makeconftest(PROBE)
    pytester.makepyfile(CRASHES)
    pytester.runpytest_subprocess("-n", "2", "-p", "no:cacheprovider")
    assert {file.name for file in meeting.iterdir()} == {"gw0 0", "gw1 1", "gw2 1"}
