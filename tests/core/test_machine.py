"""The machine is described on every system, and its hardware profile inherits as documented."""

import dataclasses
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import pytest

from embedgate.core import machine
from embedgate.core.errors import GateError
from embedgate.core.git import git_commit, git_identity, git_origin
from embedgate.core.machine import (
    Machine,
    default_threads,
    detect,
    library_versions,
    machine_id,
    parse_cpuinfo,
    profile,
    this_machine,
)

SAPPHIRE_RAPIDS = """\
processor\t: 0
model name\t: Intel(R) Xeon(R) Platinum 8481C
flags\t\t: fpu sse2 fma avx2 f16c avx512f avx512bw avx512vl avx512_vnni avx512_bf16 amx_bf16 amx_tile amx_int8

processor\t: 1
model name\t: Intel(R) Xeon(R) Platinum 8481C
flags\t\t: fpu sse2 fma avx2 f16c avx512f avx512bw avx512vl avx512_vnni avx512_bf16 amx_bf16 amx_tile amx_int8
"""
GRAVITON = """\
processor\t: 0
BogoMIPS\t: 2100.00
Features\t: fp asimd evtstrm aes asimdhp asimddp sve i8mm bf16
CPU implementer\t: 0x41
"""


def a_machine(**facts: Any) -> Machine:
    machine = Machine("a CPU", "x86_64", (), 8, 2**34, "Linux 6", "3.12.1")
    return dataclasses.replace(machine, **facts)


@pytest.mark.parametrize(
    ("architecture", "flags", "chain"),
    [
        (
            "x86_64",
            ("amx_int8", "amx_tile", "avx2", "avx512_vnni"),
            ("cpu-x86_64-amx", "cpu-x86_64-vnni", "cpu-x86_64", "cpu"),
        ),
        ("x86_64", ("avx2", "avx512_vnni"), ("cpu-x86_64-vnni", "cpu-x86_64", "cpu")),
        ("x86_64", ("avx2", "avx_vnni"), ("cpu-x86_64-avx2", "cpu-x86_64", "cpu")),
        ("x86_64", (), ("cpu-x86_64", "cpu")),
        ("aarch64", ("asimd", "i8mm"), ("cpu-aarch64", "cpu")),
        ("riscv64", (), ("cpu-riscv64", "cpu")),
        ("", (), ("cpu",)),
    ],
)
def test_a_cpu_has_the_profile_of_its_instruction_sets(
    architecture: str, flags: tuple[str, ...], chain: tuple[str, ...]
) -> None:
    assert detect(a_machine(architecture=architecture, flags=flags)).chain == chain


@pytest.mark.parametrize(
    ("gpu", "chain"),
    [
        ("NVIDIA H200", ("nvidia-h200", "nvidia")),
        ("Tesla T4", ("nvidia-tesla-t4", "nvidia-tesla", "nvidia")),
        ("NVIDIA H100 80GB HBM3", ("nvidia-h100-80gb-hbm3", "nvidia-h100-80gb", "nvidia-h100", "nvidia")),
    ],
)
def test_a_gpu_has_the_profile_of_its_name(gpu: str, chain: tuple[str, ...]) -> None:
    assert detect(a_machine(flags=("avx2",), gpu=gpu)).chain == chain


def test_an_unknown_name_inherits_by_its_words() -> None:
    assert profile("acme-box-2").chain == ("acme-box-2", "acme-box", "acme")
    assert profile("acme").parents == ()


@pytest.mark.parametrize("name", ["", "../cpu", "cpu/x86", "CPU", "cpu--x86", "-cpu", "cpu-", "cpu.json", "cpu x86"])
def test_a_malformed_name_is_refused(name: str) -> None:
    with pytest.raises(GateError) as caught:
        profile(name)
    assert str(caught.value) == (
        f"{name!r} is no name of a hardware profile; "
        "write lower-case words joined by hyphens, for example cpu-x86_64-amx"
    )


def test_cpuinfo_of_x86_gives_model_and_flags() -> None:
    assert parse_cpuinfo(SAPPHIRE_RAPIDS) == (
        "Intel(R) Xeon(R) Platinum 8481C",
        tuple("amx_bf16 amx_int8 amx_tile avx2 avx512_bf16 avx512_vnni avx512bw avx512f avx512vl f16c fma".split()),
    )


def test_cpuinfo_of_aarch64_has_features_and_no_model() -> None:
    assert parse_cpuinfo(GRAVITON) == ("", ("asimd", "asimddp", "asimdhp", "bf16", "i8mm", "sve"))


def test_a_flag_that_one_core_lacks_does_not_count() -> None:
    assert parse_cpuinfo("flags : avx2 avx512_vnni\n\nflags : avx2\n") == ("", ("avx2",))


@pytest.mark.parametrize(
    ("system", "architecture", "processor", "cpu", "expected"),
    [
        ("Darwin", "arm64", "arm", "arm", "cpu-aarch64"),
        ("Windows", "AMD64", "Intel64 Family 6", "Intel64 Family 6", "cpu-x86_64"),
        ("Linux", "aarch64", "", "aarch64", "cpu-aarch64"),
    ],
)
def test_a_system_without_cpuinfo_is_described(
    monkeypatch: pytest.MonkeyPatch, system: str, architecture: str, processor: str, cpu: str, expected: str
) -> None:
    monkeypatch.setattr(machine, "CPUINFO", Path("/nowhere/cpuinfo"))
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: architecture)
    monkeypatch.setattr(platform, "processor", lambda: processor)
    found = this_machine()
    assert (found.cpu, found.flags, found.gpu) == (cpu, (), None)
    assert found.os.startswith(system)
    assert detect(found).name == expected


def test_this_machine_is_described() -> None:
    found = this_machine()
    assert found.cpu
    assert found.cores == default_threads() >= 1
    assert found.memory_bytes > 2**28
    assert found.python == platform.python_version()
    assert found.gpu is None


def test_only_usable_cores_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    assert default_threads() == 1


def test_versions_are_read_without_importing_and_sorted() -> None:
    assert list(library_versions(["pytest", "no-such-distribution", "numpy"])) == ["numpy", "pytest"]
    assert library_versions(["pytest"]) == {"pytest": pytest.__version__}


def test_git_tells_who_and_which_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    git("init", "-q")
    assert git_commit(tmp_path) == git_origin(tmp_path) == ""
    git("remote", "add", "origin", "git@example.org:acme/search.git")
    assert git_origin(tmp_path) == "git@example.org:acme/search.git"
    git("config", "user.name", "Ada")
    git("config", "user.email", "ada@example.org")
    assert git_identity(tmp_path) == "Ada <ada@example.org>"
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-qm", "first")
    commit = git("rev-parse", "HEAD").strip()
    assert git_commit(tmp_path) == commit
    (tmp_path / "file").write_text("2")
    assert git_commit(tmp_path) == f"{commit}-dirty"


def test_without_git_nobody_and_no_commit_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_identity() == ""
    assert git_commit() == git_origin() == ""


def test_memory_is_what_a_container_may_use(tmp_path, monkeypatch):
    limit, other = tmp_path / "memory.max", tmp_path / "limit"
    monkeypatch.setattr(machine, "MEMORY_LIMITS", (limit, other))
    whole = machine.usable_memory_bytes()
    assert whole == machine._memory_bytes()
    for text in ("max\n", f"{2 * whole}\n"):
        limit.write_text(text)
        assert machine.usable_memory_bytes() == whole
    other.write_text("4096\n")
    assert machine.usable_memory_bytes() == 4096


class TestId:
    """`machine_id` of a system whose files are these."""

    @pytest.fixture
    def told(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
        monkeypatch.setattr(machine.sys, "platform", "linux")
        monkeypatch.setattr(machine, "MACHINE_IDS", (tmp_path / "etc", tmp_path / "dbus"))
        monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")

        def told(
            cores: int = 8, memory: int = 16 * 2**30, cpu: str = "a CPU", node: str = "host", **numbers: str
        ) -> str:
            monkeypatch.setattr(machine.psutil, "cpu_count", lambda: cores)
            monkeypatch.setattr(machine, "_memory_bytes", lambda: memory)
            monkeypatch.setattr(machine.platform, "node", lambda: node)
            (tmp_path / "cpuinfo").write_text(f"model name : {cpu}\n")
            for name in ("etc", "dbus"):
                (tmp_path / name).write_text(numbers.get(name, ""))
            machine_id.cache_clear()
            return machine_id()

        yield told
        machine_id.cache_clear()

    def test_is_a_hash_and_the_same_again(self, told: Any) -> None:
        number = "0123456789abcdef0123456789abcdef"
        first = told(etc=f"{number}\n")
        assert len(first) == 16
        assert set(first) <= set("0123456789abcdef")
        assert first not in number
        assert told(etc=number, node="renamed") == first, "a host's name does not count where there is a number"
        assert told(etc=number, memory=16 * 2**30 - 10**8) == first, "a kernel keeps back another amount of memory"

    def test_clones_of_an_image_differ_by_their_hardware(self, told: Any) -> None:
        of = [told(etc="a"), told(etc="a", cores=4), told(etc="a", memory=2**33), told(etc="a", cpu="b"), told(etc="b")]
        assert len(set(of)) == len(of)

    def test_without_a_number_dbus_then_the_host_tells(self, told: Any) -> None:
        assert told(dbus="a") == told(etc="a")
        assert told(node="one") != told(node="other")

    def test_of_another_system_is_asked_of_it(self, told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(machine.sys, "platform", "darwin")
        monkeypatch.setattr(machine, "_output", lambda *_: '  "IOPlatformUUID" = "1-2-3"\n')
        assert told(node="one") == told(node="other")
        monkeypatch.setattr(machine, "_output", lambda *_: "")
        assert told(node="one") != told(node="other")
