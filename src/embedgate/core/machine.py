"""The machine a session runs on, its hardware profile, and the software versions and commit behind a measurement."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
import sys
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import joblib
import psutil

from embedgate.core.errors import GateError
from embedgate.core.git import git_identity

CPUINFO = Path("/proc/cpuinfo")
# What Linux limits a container to, by the second and the first version of its control groups.
MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))

# Where Linux keeps a number of its own for each installation; in a container it is empty, missing or the image's.
MACHINE_IDS = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))

# Instruction sets that change how, or how fast, a transformer computes; x86-64's, then aarch64's.
_FLAGS_OF_INTEREST = re.compile(
    r"avx2|fma|f16c|avx_vnni\w*|avx512(f|bw|vl|_vnni|_bf16|_fp16)|amx_\w+"
    r"|asimd(hp|dp)?|bf16|i8mm|sve\w*"
)
_NAME = re.compile(r"[a-z0-9][a-z0-9_]*(-[a-z0-9_]+)*")
_ARCHITECTURES = {"amd64": "x86_64", "x64": "x86_64", "arm64": "aarch64"}
# A profile inherits from the one named by all but its last word; only what departs from that is listed.
_PARENTS = {"cpu-x86_64-amx": "cpu-x86_64-vnni"}


@dataclass(frozen=True)
class Machine:
    """The machine that a measurement depends on, besides model, software and data.

    Attributes:
        cpu: Name of the CPU model; the architecture where the system does not tell.
        architecture: `x86_64`, `aarch64`, or as the system names it.
        flags: The CPU's instruction sets of interest, sorted; empty where the system does not tell (not Linux).
        cores: Logical cores this process may use: affinity and container limits count.
        memory_bytes: Physical memory of the machine.
        os: Name and release of the operating system.
        python: Version of Python.
        gpu: Name of the GPU as CUDA tells it; None where none is used, empty where one is that does not tell.
    """

    cpu: str
    architecture: str
    flags: tuple[str, ...]
    cores: int
    memory_bytes: int
    os: str
    python: str
    gpu: str | None = None


@dataclass(frozen=True)
class HardwareProfile:
    """A named class of machine.

    Attributes:
        name: Its name, for example `cpu-x86_64-amx`.
        parents: The profiles whose baselines serve where it has none, nearest first.
    """

    name: str
    parents: tuple[str, ...] = ()

    @property
    def chain(self) -> tuple[str, ...]:
        """Its own name, then its parents', nearest first."""
        return (self.name, *self.parents)

    def __str__(self) -> str:
        return self.name


def this_machine() -> Machine:
    """Describes the machine this process runs on, without its GPU, of which core knows nothing."""
    cpu, flags = parse_cpuinfo(_read(CPUINFO))
    architecture = platform.machine().lower()
    return Machine(
        cpu=cpu or platform.processor() or architecture,
        architecture=_ARCHITECTURES.get(architecture, architecture),
        flags=flags,
        cores=default_threads(),
        memory_bytes=_memory_bytes(),
        os=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
    )


def parse_cpuinfo(text: str) -> tuple[str, tuple[str, ...]]:
    """Reads Linux's `/proc/cpuinfo`.

    Args:
        text: Its content; may be empty.

    Returns:
        The CPU model's name (empty where there is none, as on most aarch64), and its flags of interest, sorted.
        Only what all cores have counts.
    """
    names: list[str] = []
    flags: list[set[str]] = []
    for line in text.splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key == "model name":
            names.append(value)
        elif key in ("flags", "Features"):
            flags.append(set(value.split()))
    common = set.intersection(*flags) if flags else set()
    return names[0] if names else "", tuple(sorted(filter(_FLAGS_OF_INTEREST.fullmatch, common)))


def detect(machine: Machine) -> HardwareProfile:
    """The hardware profile of a machine: its GPU's where it names one, else its CPU's."""
    if machine.gpu is not None:
        words = re.findall(r"[a-z0-9_]+", machine.gpu.lower())
        return profile("-".join(["nvidia", *(word for word in words if word != "nvidia")]))
    architecture = re.sub(r"[^a-z0-9_]", "_", machine.architecture.lower())
    name = f"cpu-{architecture}" if architecture else "cpu"
    if architecture == "x86_64":
        name += _x86_level(set(machine.flags))
    return profile(name)


def profile(name: str) -> HardwareProfile:
    """The hardware profile of a name, with the profiles it inherits from.

    A profile inherits from the one that lacks its last word (`acme-box-2` from `acme-box` from `acme`); only
    `cpu-x86_64-amx` inherits from `cpu-x86_64-vnni` first, since every CPU with AMX has VNNI.

    Raises:
        GateError: If the name is not lower-case words joined by hyphens.
    """
    if not _NAME.fullmatch(name):
        raise GateError(
            f"{name!r} is no name of a hardware profile",
            "write lower-case words joined by hyphens, for example cpu-x86_64-amx",
        )
    parents: list[str] = []
    parent = _parent(name)
    while parent:
        parents.append(parent)
        parent = _parent(parent)
    return HardwareProfile(name, tuple(parents))


def default_threads() -> int:
    """The logical cores this process may use: affinity and container limits count."""
    return int(joblib.cpu_count())


def usable_memory_bytes() -> int:
    """Memory that this process may use: the machine's, or what its container is limited to where that is less."""
    return min([_memory_bytes(), *(int(text) for file in MEMORY_LIMITS if (text := _read(file)).isdecimal())])


def _memory_bytes() -> int:
    return int(psutil.virtual_memory().total)


def _read(file: Path) -> str:
    """Returns what a file of the system says; empty where the system does not tell (not Linux)."""
    try:
        return file.read_text("utf-8", errors="replace").strip()
    except OSError:
        return ""


def in_ci() -> bool:
    """Whether the environment says that this is CI, where nobody watches."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def library_versions(names: Iterable[str]) -> dict[str, str]:
    """Versions of installed distributions, sorted by name, without importing them; those not installed are left out."""
    found: dict[str, str] = {}
    for name in sorted(names):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def changed_versions(then: Mapping[str, str], now: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Libraries that have another version now than then, by name, with both; empty for what is not known."""
    apart = {name: (then.get(name, ""), now.get(name, "")) for name in sorted({*then, *now})}
    return {name: versions for name, versions in apart.items() if versions[0] != versions[1]}


def who_runs() -> str:
    """Whoever a session runs for: as CI names them, else as git's config does; empty where neither is known."""
    return os.environ.get("GITHUB_ACTOR") or os.environ.get("GITLAB_USER_LOGIN") or git_identity()


def run_url() -> str:
    """Where the run of a session can be looked at, on GitHub or GitLab; empty elsewhere."""
    server, repository, run = (os.environ.get(f"GITHUB_{name}", "") for name in ("SERVER_URL", "REPOSITORY", "RUN_ID"))
    return f"{server}/{repository}/actions/runs/{run}" if run else os.environ.get("CI_JOB_URL", "")


def _x86_level(flags: set[str]) -> str:
    if "avx512_vnni" in flags:
        return "-amx" if {"amx_tile", "amx_int8"} <= flags else "-vnni"
    return "-avx2" if "avx2" in flags else ""


def _parent(name: str) -> str:
    return _PARENTS.get(name) or name.rpartition("-")[0]


def _output(*command: str) -> str:
    """Returns what a command prints; empty where it fails, or is not there."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


@cache
def machine_id() -> str:
    """Returns this very machine's id among others, 16 hex digits; a hash, from which nothing can be read back.

    It is made of the installation's own number, where the system tells one (Linux's machine-id, macOS's
    IOPlatformUUID, Windows's MachineGuid), else of host name and network address; and of the CPU model, the number of
    its logical cores and the memory in GiB, since clones of an image share the number, and containers may have none.

    So it is the same until the system is installed anew, or CPU or memory are changed. Clones of one image on hardware
    of the same kind and size have the same; a container without a number of its own has another each time it is made.
    """
    number = _installation() or f"{platform.node()} {uuid.getnode():x}"
    cpu = parse_cpuinfo(_read(CPUINFO))[0] or platform.processor()
    # Kernels keep back a little memory for themselves, each another amount.
    facts = ("embedgate", number, cpu, str(psutil.cpu_count()), str(round(_memory_bytes() / 2**30)))
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()[:16]


def _installation() -> str:
    """The number that the system gave itself when it was installed; empty where it tells none."""
    if sys.platform == "win32":
        import winreg

        try:
            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"SOFTWARE\Microsoft\Cryptography") as key:
                return str(winreg.QueryValueEx(key, "MachineGuid")[0])
        except OSError:
            return ""
    if sys.platform == "darwin":
        told = _output("ioreg", "-rd1", "-c", "IOPlatformExpertDevice")
        found = re.search(r'"IOPlatformUUID" = "([^"]+)"', told)
        return found[1] if found else ""
    return next(filter(None, map(_read, MACHINE_IDS)), "")
