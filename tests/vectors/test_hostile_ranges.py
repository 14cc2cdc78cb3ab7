"""Files of ranges that are no ranges: nothing in one runs, and none asks for memory that it does not have."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from embedgate.core.errors import GateError
from embedgate.vectors.codes import Ranges


class Runs:
    """A pickle that leaves a file behind once it is loaded."""

    def __init__(self, left: Path) -> None:
        self._left = left

    def __reduce__(self):
        return Path.touch, (self._left,)


def objects(file: Path, left: Path) -> None:
    with file.open("wb") as stream:
        np.save(stream, np.array([[Runs(left)], [Runs(left)]], dtype=object), allow_pickle=True)


def archive(file: Path, left: Path) -> None:
    with file.open("wb") as stream:
        np.savez(stream, a=np.array([Runs(left)], dtype=object))


def plain(file: Path, left: Path) -> None:
    file.write_bytes(pickle.dumps(Runs(left)))


@pytest.mark.parametrize("write", [objects, archive, plain])
def test_a_pickle_is_refused_and_does_not_run(write, tmp_path):
    write(tmp_path / "ranges.npy", tmp_path / "ran")
    with pytest.raises(
        GateError, match=r"ranges\.npy cannot be read: .*; save ranges \[2, dim\] by numpy\.save"
    ) as told:
        Ranges.load(tmp_path / "ranges.npy", 1)
    assert not (tmp_path / "ran").exists()
    assert "\n" not in str(told.value)
