"""Trouble with memory and with CUDA, told from what libraries raise: no lost quality, and not the combination's id."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from typing import Literal

from embedgate.core.combination import Combination
from embedgate.core.errors import AnswerError, ResourceError, Unavailable, one_line
from embedgate.core.host_code import BUILDING
from embedgate.encoders import gpu

Kind = Literal["memory", "host memory", "context"]

# torch, cuBLAS, ONNX Runtime and TensorRT, in the words of each.
_OUT_OF_MEMORY = re.compile(
    r"\bout of memory\b|\bOutOfMemory\b|CUDA_ERROR_OUT_OF_MEMORY|cudaErrorMemoryAllocation"
    r"|CUBLAS_STATUS_ALLOC_FAILED|Failed to allocate memory|BFCArena"
)
_HOST_OUT_OF_MEMORY = re.compile(r"DefaultCPUAllocator|std::bad_alloc|\bbad allocation\b")
_CUDA_FAILED = re.compile(r"CUDA error: |CUDA failure \d+: |Cuda Runtime \(|device-side assert")


def kind_of(error: BaseException) -> Kind | None:
    """Returns the kind of trouble that an exception tells of, itself or by what it came from; None for any other.

    A CUDA error breaks this process's context unless the GPU still answers: a wrong argument does not.
    """
    if isinstance(error, AnswerError):
        return None
    chain = [each for each in _chain(error) if not isinstance(each, Unavailable)]
    texts = [str(each) for each in chain]
    if any(isinstance(each, MemoryError) for each in chain) or any(map(_HOST_OUT_OF_MEMORY.search, texts)):
        return "host memory"
    if any(type(each).__name__ == "OutOfMemoryError" for each in chain) or any(map(_OUT_OF_MEMORY.search, texts)):
        return "memory"
    if any(map(_CUDA_FAILED.search, texts)) and gpu.works() is not True:
        return "context"
    return None


def told(error: BaseException, combination: Combination, doing: str) -> ResourceError | None:
    """Trouble as a person reads it, free of the exception, whose traceback would keep tensors alive.

    Args:
        error: What was raised.
        combination: What raised it.
        doing: What it was doing, as in "while encoding".
    """
    if isinstance(error, ResourceError):
        return error.anew()
    kind = kind_of(error)
    if kind is None:
        return None
    if kind == "context":
        first = next(each for each in _chain(error) if _CUDA_FAILED.search(str(each)))
        cause = f"{combination} broke this process's CUDA context while {doing}: {one_line(first)}"
        return ResourceError(cause, f"run it alone: --gate-combination {combination}")
    step = "use a smaller model" if doing == BUILDING else "lower --gate-batch-size"
    if kind == "host memory" or combination.device != "cuda":
        return ResourceError(f"{combination} ran out of memory while {doing}", step)
    shown = gpu.memory_told()
    cause = f"{combination} ran out of the GPU's memory while {doing}{f' ({shown})' if shown else ''}"
    return ResourceError(cause, f"{step}, or end other processes on the GPU (nvidia-smi names them)")


def forget(error: BaseException) -> None:
    """Frees what the frames of an exception hold, where others keep the exception, as `sys.last_value` does."""
    for each in _chain(error):
        traceback.clear_frames(each.__traceback__)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and those it came from."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)
