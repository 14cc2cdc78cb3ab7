"""A weight as it is stored, and how far rounding alone may have moved it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# Largest share of a number by which storing it in these types rounds it off.
FLOAT16, BFLOAT16 = 2.0**-11, 2.0**-8


@dataclass(frozen=True, eq=False)
class Weight:
    """A tensor of weights.

    Attributes:
        values: As they are multiplied with, dequantized, float32 in any shape; of a product `[out, in]`.
        rounding: Largest distance to what was rounded to be stored so, as a share of the length of that.
        may_be_scaled: Whether its input channels may have been scaled against what gives them, as is done before
            quantization: both together compute the same then.
    """

    values: npt.NDArray[np.float32]
    rounding: float = 0.0
    may_be_scaled: bool = False


def rounding_of_steps(values: npt.NDArray[np.float32], steps: npt.ArrayLike) -> float:
    """How far rounding may have moved values that are whole multiples of steps, as a share of their length.

    Args:
        values: The values.
        steps: The distance of neighbouring values, of a shape that broadcasts to theirs.
    """
    length = float(np.linalg.norm(values))
    moved = float(np.linalg.norm(np.broadcast_to(np.asarray(steps, dtype=np.float32) / 2, values.shape)))
    return moved / length if length else 0.0
