"""Tables that are made to fill memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from embedgate.core.errors import DataError
from embedgate.data import load
from embedgate.deployed.stored.tables import Asked, ParquetRows

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
ROWS, LONG = 2000, "a" * (1 << 17)


def bomb(path: Path, **columns: object) -> Path:
    """A file of some kilobytes; each row shares one text of 128 KiB, a quarter of a gigabyte in all."""
    text = pa.DictionaryArray.from_arrays(pa.array([0] * ROWS, pa.int32()), pa.array([LONG])).cast(pa.string())
    pq.write_table(pa.table({"text": text, **columns}), path, compression="zstd")
    assert path.stat().st_size < 1 << 20
    return path


def test_a_table_of_parquet_is_refused_while_it_unpacks(tmp_path):
    path = bomb(tmp_path / "bomb.parquet")
    tracemalloc.start()
    try:
        with pytest.raises(DataError) as told:
            load(str(path))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    size = f"{path.stat().st_size:,} bytes"
    assert str(told.value) == (
        f"{path}: unpacks from {size} to more than 64 MiB; if it really is a table, give it unpacked"
    )
    assert most < 128 << 20


def test_so_are_stored_vectors(tmp_path):
    path = bomb(tmp_path / "bomb.parquet", vector=[[0.0, 1.0]] * ROWS)
    with pytest.raises(DataError, match=r"bomb\.parquet: unpacks from .* bytes to more than 64 MiB"):
        ParquetRows(path, Asked("", "", "")).take(range(ROWS))


def test_rows_that_share_their_texts_are_a_table_all_the_same(tmp_path):
    path = tmp_path / "sound.parquet"
    shared = ["a text", "another text", "a third"]
    pq.write_table(pa.table({"text": [shared[row % 3] for row in range(ROWS)]}), path)
    assert load(str(path)).kind == "texts"
