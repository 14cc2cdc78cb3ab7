"""An encoder whose embeddings depend on what stands beside a text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class Leaning:
    """Moves every embedding by as much as a test says, where it is encoded beside others."""

    def __init__(self, move: float) -> None:
        self.move = move

    def encode(self, texts: Sequence[str], batch_size: int = 32) -> np.ndarray:
        rows = np.zeros((len(texts), 4), np.float32)
        rows[:, 0], rows[:, 1] = 1, self.move if len(texts) > 1 else 0
        return rows

    def stages(self, texts: Sequence[str]) -> None:
        return None
