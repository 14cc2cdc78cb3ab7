"""Which of TensorRT's two packages there is: `tensorrt` for any NVIDIA GPU, or `tensorrt_rtx` for RTX cards.

They share an API, but an engine of one is none of the other's. Where both can be imported, `tensorrt` is taken; the
evidence names which.
"""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from typing import Any

from embedgate.core.errors import Unavailable, one_line
from embedgate.encoders.gpu.stream import Gpu

PACKAGES = ("tensorrt", "tensorrt_rtx")
# From here on, a network can be strongly typed, and streams and tensors are bound by name.
OLDEST = {"tensorrt": (10, 13), "tensorrt_rtx": (1, 7)}


@dataclass(frozen=True)
class Library:
    """An installed TensorRT.

    Attributes:
        module: The imported package.
        package: Its name, one of `PACKAGES`.
        version: Its version, for example `11.4.0.106`.
    """

    module: Any
    package: str
    version: str

    @property
    def for_rtx(self) -> bool:
        """Whether it is TensorRT for RTX."""
        return self.package == "tensorrt_rtx"

    def __str__(self) -> str:
        return f"{self.package} {self.version}"


def installed() -> Library:
    """The installed TensorRT.

    Raises:
        Unavailable: If there is none, it cannot be imported, or it is too old.
    """
    broken = []
    for package in PACKAGES:
        try:
            module = importlib.import_module(package)
        except ModuleNotFoundError as error:
            if error.name != package:
                broken.append(f"{package} cannot be imported ({one_line(error)})")
            continue
        except (Exception, SystemExit) as error:  # its own loading of libraries raises what it likes
            broken.append(f"{package} cannot be imported ({one_line(error)})")
            continue
        version = str(getattr(module, "__version__", ""))
        numbers = re.match(r"(\d+)\.(\d+)", version)
        if numbers is None:
            broken.append(f"{package} is no TensorRT (version {version!r})")
            continue
        found = Library(module, package, version)
        oldest = OLDEST[package]
        if (int(numbers[1]), int(numbers[2])) < oldest:
            broken.append(f"{found} is older than {'.'.join(map(str, oldest))}")
            continue
        return found
    if broken:
        step = "install it anew: its libraries come from NVIDIA's own package index while it is installed"
        raise Unavailable("; ".join(broken), step)
    step = "pip install 'embedgate[gpu,tensorrt]', which needs NVIDIA's package index, or 'embedgate[gpu,tensorrt-rtx]'"
    raise Unavailable("neither tensorrt nor tensorrt_rtx is installed", step)


def unsupported(found: Library, gpu: Gpu) -> str | None:
    """Why a TensorRT cannot use a GPU, in one line; None where it can.

    TensorRT for RTX names the compute capabilities that it has kernels for; TensorRT tells only when it builds.
    """
    if not found.for_rtx:
        return None
    members = found.module.ComputeCapability.__members__
    # Turing (7.5) has to be asked for when an engine is built, and has no int8 there.
    if gpu.capability >= (8, 0) and f"SM{gpu.capability[0]}{gpu.capability[1]}" in members:
        return None
    known = ", ".join(name.removeprefix("SM") for name in members if name.startswith("SM") and name != "SM75")
    major, minor = gpu.capability
    return f"{found} runs on compute capability {known} alone, and {gpu.name} has {major}{minor}: install tensorrt"
