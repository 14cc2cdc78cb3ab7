"""Facts that NVIDIA's management library (NVML) tells of the driver and the GPUs, without starting CUDA.

Its Python package, nvidia-ml-py, comes with the extra `gpu`; all is None where it is not installed or does not answer.
NVML tells of the machine. Which of its GPUs CUDA sees first, CUDA alone knows, and so tells its name and memory itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def driver_version() -> str | None:
    """Version of the driver, for example `580.65.06`."""
    return _asked(lambda nvml: str(nvml.nvmlSystemGetDriverVersion()))


def uuids() -> list[str] | None:
    """UUIDs of the GPUs; in place of a GPU that is cut into slices (MIG), those of its slices."""

    def ask(nvml: Any) -> list[str]:
        whole = [nvml.nvmlDeviceGetHandleByIndex(place) for place in range(nvml.nvmlDeviceGetCount())]
        return [str(nvml.nvmlDeviceGetUUID(part)) for gpu in whole for part in _slices(nvml, gpu) or [gpu]]

    return _asked(ask)


def _slices(nvml: Any, gpu: Any) -> list[Any]:
    try:
        current, _ = nvml.nvmlDeviceGetMigMode(gpu)
    except nvml.NVMLError_NotSupported:
        return []
    found = []
    for place in range(nvml.nvmlDeviceGetMaxMigDeviceCount(gpu)) if current == nvml.NVML_DEVICE_MIG_ENABLE else ():
        try:
            found.append(nvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, place))
        except nvml.NVMLError_NotFound:  # a place that no slice takes
            continue
    return found


def _asked(question: Callable[[Any], T]) -> T | None:
    try:
        import pynvml as nvml
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
        try:
            return question(nvml)
        finally:
            nvml.nvmlShutdown()
    except nvml.NVMLError:
        return None
