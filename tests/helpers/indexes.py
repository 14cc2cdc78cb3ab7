"""Stores of vectors as people keep them, and what becomes of them: written for tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def parquet(
    file: Path, texts: Sequence[str], vectors: np.ndarray, *, names: tuple[str, str] = ("text", "vector"), **more
) -> Path:
    """A Parquet file with a column of lists, in row groups of a hundred rows."""
    kind = pa.list_(pa.from_numpy_dtype(vectors.dtype))
    table = pa.table({names[0]: list(texts), names[1]: pa.array([*vectors], kind), **more})
    pq.write_table(table, file, row_group_size=100)
    return file


def jsonl(file: Path, texts: Sequence[str], vectors: np.ndarray) -> Path:
    """A file of one object a line."""
    rows = ({"text": text, "embedding": row.tolist()} for text, row in zip(texts, vectors, strict=True))
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return file


def npy(file: Path, texts: Sequence[str], vectors: np.ndarray) -> str:
    """A matrix, and a file of its texts beside it; as `--gate-candidate` takes both."""
    np.save(file, vectors, allow_pickle=False)
    beside = file.with_suffix(".txt")
    beside.write_text("".join(f"{text}\n" for text in texts), "utf-8")
    return f"{file}::texts={beside}"


def qdrant(folder: Path, texts: Sequence[str], vectors: np.ndarray, *, name: str = "docs") -> str:
    """An embedded folder of Qdrant; as `--gate-candidate` takes it."""
    from qdrant_client import QdrantClient, models

    client = QdrantClient(path=str(folder))
    size = vectors.shape[1]
    client.create_collection(name, models.VectorParams(size=size, distance=models.Distance.COSINE))
    points = [
        models.PointStruct(id=10 + row, vector=vector.tolist(), payload={"page_content": text})
        for row, (text, vector) in enumerate(zip(texts, vectors, strict=True))
    ]
    client.upsert(name, points)
    client.close()
    return f"qdrant:{folder}#{name}"
