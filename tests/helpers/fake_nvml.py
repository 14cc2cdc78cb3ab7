"""As much of NVIDIA's management library as is asked, under its own names."""

# ruff: noqa: N801, N802

from __future__ import annotations

from types import ModuleType


class FakeNvml(ModuleType):
    """As much of NVML as is asked: a whole A100, an H100 in two slices of seven places, one in none, an old card."""

    NVML_DEVICE_MIG_ENABLE = 1
    GPUS = ({"uuid": "GPU-a", "slices": None}, {"uuid": "GPU-b", "slices": {0: "MIG-x", 4: "MIG-y"}})
    GPUS += ({"uuid": "GPU-c", "slices": {}}, {"uuid": "GPU-d"})

    class NVMLError(Exception):
        """NVML's own base of its errors."""

    class NVMLError_NotSupported(NVMLError):
        """Of a card that knows no slices."""

    class NVMLError_NotFound(NVMLError):
        """Of a place that no slice takes."""

    def __init__(self, fails_in=()):
        super().__init__("pynvml")
        self.fails_in, self.open = fails_in, 0

    def nvmlInit(self):
        self._may_fail("init")
        self.open += 1

    def nvmlShutdown(self):
        self.open -= 1

    def nvmlSystemGetDriverVersion(self):
        self._may_fail("driver")
        return "580.65.06"

    def nvmlDeviceGetCount(self):
        return len(self.GPUS)

    def nvmlDeviceGetHandleByIndex(self, place):
        self._may_fail("handle")
        return self.GPUS[place]

    def nvmlDeviceGetMigMode(self, gpu):
        if "slices" not in gpu:
            raise self.NVMLError_NotSupported
        return [int(gpu["slices"] is not None), 0]

    def nvmlDeviceGetMaxMigDeviceCount(self, gpu):
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, gpu, place):
        if place not in gpu["slices"]:
            raise self.NVMLError_NotFound
        return {"uuid": gpu["slices"][place]}

    def nvmlDeviceGetUUID(self, device):
        return device["uuid"]

    def _may_fail(self, where):
        if where in self.fails_in:
            raise self.NVMLError(where)
