"""What is seldom read lies in a file, of which nothing is left, and what was freed goes back to the system."""

from __future__ import annotations

import os
import subprocess
import sys
from textwrap import dedent

import numpy as np
import pytest

from embedgate.core.memory import aside


@pytest.fixture
def large():
    return np.random.default_rng(0).standard_normal((2**16, 33)).astype(np.float32)


BEGIN = """
import pathlib, resource, signal, sys
import numpy as np
from embedgate.core import memory

def held():
    lines = open("/proc/self/status")
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))

folder = pathlib.Path(sys.argv[1])
"""
ALONE = {
    "stays-where-the-disk-is-full": """
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
        large = np.ones((2**16, 33), np.float32)
        assert memory.aside(large, folder) is large
        assert not [*folder.iterdir()]
    """,
    "aside-takes-no-memory": """
        before, large = held(), np.ones((2**16, 330), np.float32)
        size = large.nbytes
        assert held() - before > 0.9 * size
        large = memory.aside(large, folder)
        assert large.sum() == large.size
        assert held() - before < 0.1 * size
    """,
    "freed-between-what-is-in-use": """
        if memory._malloc_trim() is not None:
            pieces = [b"x" * 16_000 for _ in range(8_000)]
            del pieces[::2]
            before = held()
            memory.give_back()
            assert before - held() > 0.5 * 4_000 * 16_000
    """,
}


def test_values_are_the_same_and_the_file_has_no_name(large, tmp_path):
    folder = tmp_path / "not" / "there"
    kept = aside(large, folder)
    assert isinstance(kept.base, np.memmap)
    assert (kept.dtype, type(kept)) == (large.dtype, np.ndarray)
    assert np.array_equal(kept, large)
    assert os.listdir(folder) == []
    assert aside(kept, folder) is kept


def test_what_is_small_or_cannot_be_written_stays(large, tmp_path):
    small = large[:9]
    assert aside(small, tmp_path) is small
    tmp_path.joinpath("file").write_text("")
    assert aside(large, tmp_path / "file") is large


@pytest.mark.skipif(sys.platform != "linux", reason="memory is told, and files limited, as Linux does it")
@pytest.mark.parametrize("code", ALONE.values(), ids=ALONE)
def test_in_a_process_of_its_own(code, tmp_path):
    subprocess.run([sys.executable, "-c", BEGIN + dedent(code), str(tmp_path)], check=True)
