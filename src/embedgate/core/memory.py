"""Memory of this process: what it frees goes back to the system, and what it seldom reads may lie in a file."""

from __future__ import annotations

import ctypes
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

# Smaller arrays stay in memory: each in a file takes a descriptor.
LEAST_ASIDE = 2**23


def give_back() -> None:
    """Gives what was freed back to the system, where that is glibc's to do.

    It keeps free memory that lies between what is in use. After a model in a half type, whose every shape leaves a
    kernel of oneDNN's behind, that is several hundred megabytes.
    """
    if (trim := _malloc_trim()) is not None:
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):
            return ctypes.CDLL(None).malloc_trim
    return None


def aside(array: npt.NDArray[Any], folder: Path) -> npt.NDArray[Any]:
    """The same values, of which the system keeps in memory what is being read, and can let go of the rest.

    Args:
        array: The values; below `LEAST_ASIDE` bytes, they stay where they are.
        folder: Where their file lies. It has no name there, so nothing is left of it in whatever way this process ends.

    Returns:
        Values of the same dtype and shape, to be read; `array` itself where nothing can be written to the folder.
    """
    if array.nbytes < LEAST_ASIDE or isinstance(array.base, np.memmap):
        return array
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            array.tofile(file)
            file.flush()
            # Not read-only, of which torch warns; what is written stays in memory.
            return np.asarray(np.memmap(file, dtype=array.dtype, mode="c", shape=array.shape))
    except OSError:
        return array
