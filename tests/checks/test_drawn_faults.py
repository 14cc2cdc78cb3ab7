"""What explains wrong rows takes no more than it must of many of them."""

from __future__ import annotations

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

from embedgate.checks.drawn import Drawn
from embedgate.checks.drawn_faults import copies, exchanged
from embedgate.core.roles import DOCUMENT, Input
from embedgate.core.similarity import COSINE
from embedgate.deployed.stored.rows import Rows

COUNT, DIM = 4000, 8


class Counted(list):
    """A list that counts how often it is gone through."""

    rounds = 0

    def __iter__(self):
        self.rounds += 1
        return super().__iter__()


@pytest.fixture
def drawn():
    """Makes what was drawn of stored vectors, beside those that are right."""
    today = np.random.default_rng(0).normal(size=(COUNT, DIM)).astype(np.float32)
    today /= np.linalg.norm(today, axis=1, keepdims=True)
    reader = SimpleNamespace(name=lambda number: f"row {number + 1}")

    def made(stored):
        vectors = stored(today)
        rows = Rows(np.arange(COUNT), tuple(Input(str(i), DOCUMENT) for i in range(COUNT)), vectors)
        source = SimpleNamespace(precision="float32", dims=None, reader=reader)
        return Drawn(source, rows, COUNT, vectors, today, None, COSINE, cosine=0.999, length=0.99)

    return made


def test_wrong_rows_are_gone_through_once_for_copies(drawn):
    """They were gone through once for each row: an hour for a hundred thousand."""
    left = Counted(range(COUNT))
    (found,) = copies(None, None, drawn(lambda today: np.repeat(today[:1], COUNT, axis=0)), left)
    assert len(found.places) == COUNT
    assert left.rounds == 1


def test_exchanged_rows_are_found_in_blocks(drawn):
    """Every wrong row was compared with every row at once: 64 MB of these, 40 GB of a hundred thousand."""
    turned = drawn(lambda today: today[::-1].copy())
    tracemalloc.start()
    (found,) = exchanged(None, None, turned, range(COUNT))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.places) == COUNT
    assert "(row 1 that of row 4000, " in found.about
    assert peak < 4 * COUNT * COUNT / 2
