"""The parts of CUDA that the encoders outside torch need, and that torch gives: memory, one stream, CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from embedgate.encoders import gpu

# How often a call runs before it is captured: kernels and workspaces must have been chosen by then.
WARM_UPS = 2


@dataclass(frozen=True)
class Gpu:
    """A GPU as engines and their cache keys see it.

    Attributes:
        name: As CUDA tells it, for example `NVIDIA H200`.
        capability: Its compute capability, for example `(9, 0)`.
        driver: Version of the driver; empty where the system does not tell.
        memory_bytes: All of its memory.
    """

    name: str
    capability: tuple[int, int]
    driver: str
    memory_bytes: int


def this_gpu() -> Gpu:
    """The GPU that torch uses."""
    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    capability = (int(properties.major), int(properties.minor))
    return Gpu(properties.name, capability, gpu.versions().get("nvidia-driver", ""), int(properties.total_memory))


class CudaStream:
    """One stream: what is done on it happens in order, while Python goes on.

    Memory comes from torch's allocator under this stream, so that a tensor freed while the stream still reads it is
    given to nothing but later work on the same stream.
    """

    device = "cuda"

    def __init__(self) -> None:
        self._stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    @property
    def handle(self) -> int:
        """The stream as CUDA knows it, a `cudaStream_t`."""
        return int(self._stream.cuda_stream)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Has torch work on this stream while the body runs."""
        with torch.cuda.stream(self._stream):
            yield

    def upload(self, array: npt.NDArray[Any]) -> Tensor:
        """Copies an array to the device, without waiting: from pinned memory, which torch keeps until it is read."""
        return torch.from_numpy(np.ascontiguousarray(array)).pin_memory().to(self.device, non_blocking=True)

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Memory on the device."""
        return torch.empty(shape, dtype=dtype, device=self.device)

    def download(self, tensor: Tensor) -> Tensor:
        """Begins to copy a tensor to pinned memory; what it holds counts once `wait` has returned."""
        return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)

    def wait(self) -> None:
        """Waits until all that was begun is done."""
        self._stream.synchronize()

    def capture(self, call: Callable[[], None]) -> Callable[[], None]:
        """Captures what a call does on this stream as a CUDA graph; the result does it again, on the same memory."""
        graph: Any = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            call()
        replay: Callable[[], None] = graph.replay
        return replay
