"""How much of a GPU's memory a combination takes, as the device itself accounts for it."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any

POLL_SECONDS = 0.01
# Bytes in use before anything is built that are more than this process's own CUDA context, which is some hundred MB.
IDLE = 2**30


class DeviceMemory:
    """Watches the memory of the GPU that is seen first, from entering to leaving.

    torch's allocator knows of torch's tensors alone, and not of what ONNX Runtime, TensorRT or cuBLAS take from the
    driver. So the device is asked what it has left, again and again by a thread, since it remembers no lowest value.
    What is held for less than `POLL_SECONDS` may be missed, so torch's own peak counts where it is higher. The device
    accounts for all its processes: another one that takes or gives back memory meanwhile disturbs the figure. The CUDA
    context is there before the first look, and no part of it.

    Args:
        cuda: torch.cuda; imported where None.
    """

    def __init__(self, cuda: Any = None) -> None:
        if cuda is None:
            import torch

            cuda = torch.cuda
        self._cuda = cuda
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)
        self._before = self._highest = self._used()
        cuda.reset_peak_memory_stats(0)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes of what may disturb the figure, one line each."""
        if self._before <= IDLE:
            return ()
        return (f"the GPU was not idle before: {self._before / 1e6:.0f} MB of its memory were in use",)

    @property
    def peak(self) -> int:
        """The most that was taken, in bytes."""
        return max(0, self._highest - self._before, int(self._cuda.max_memory_reserved(0)))

    def __enter__(self) -> DeviceMemory:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()
        if error is None:
            self._look()

    def _poll(self) -> None:
        try:
            while not self._stopped.wait(POLL_SECONDS):
                self._look()
        except RuntimeError:
            return  # a device that no longer answers is told of by whoever computes on it

    def _look(self) -> None:
        self._highest = max(self._highest, self._used())

    def _used(self) -> int:
        free, total = self._cuda.mem_get_info(0)
        return int(total - free)
