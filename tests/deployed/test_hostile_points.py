"""Folders of Qdrant's embedded mode are pickles: what one asks for beside points is refused, and does not run."""

from __future__ import annotations

import datetime
import pickle
import sqlite3
import uuid
from pathlib import Path

import numpy as np
import pytest
from helpers import indexes
from helpers.pickled import Runs

from embedgate.core.errors import DataError
from embedgate.deployed.stored import points
from embedgate.deployed.stored.qdrant import QdrantRows
from embedgate.deployed.stored.tables import Asked

pytest.importorskip("qdrant_client")

TEXTS = ("one text", "another")
VECTORS = np.eye(2, 4, dtype=np.float32)


@pytest.fixture
def where(tmp_path) -> str:
    return indexes.qdrant(tmp_path / "points", TEXTS, VECTORS)


def storage(where: str) -> Path:
    (found,) = Path(where.removeprefix("qdrant:").partition("#")[0]).rglob("storage.sqlite")
    return found


def with_point(where: str, value: object) -> None:
    with sqlite3.connect(storage(where)) as rows:
        rows.execute("INSERT INTO points VALUES ('evil', ?)", (pickle.dumps(value),))
    rows.close()


def reader(where: str) -> QdrantRows:
    return QdrantRows(where, Asked("", "", ""))


def test_points_are_read_as_ever(where):
    rows = reader(where).take([0, 1])
    assert [each.text for each in rows.inputs] == list(TEXTS)
    np.testing.assert_array_equal(rows.codes, VECTORS)


def test_a_point_that_runs_code_is_refused_and_does_not_run(where, tmp_path):
    with_point(where, Runs(tmp_path / "ran"))
    with pytest.raises(DataError) as told:
        reader(where).layout()
    assert "a point is a pickle that asks for pathlib.Path.touch, which could run code" in str(told.value)
    assert "write its points as Parquet or JSONL" in str(told.value)
    assert not (tmp_path / "ran").exists()


def test_a_point_that_runs_code_within_its_payload_does_not_run(where, tmp_path):
    from qdrant_client.http.models import models

    point = models.PointStruct.model_construct(id=1, vector=[0.0] * 4, payload={"a": [Runs(tmp_path / "ran")]})
    with_point(where, point)
    with pytest.raises(DataError, match="which could run code"):
        reader(where).layout()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "eval"),
        ("os", "system"),
        ("qdrant_client.http.models.models", "BaseModel"),
        ("qdrant_client.http.models.models", "PointStruct.model_validate_json"),
        ("datetime", "sys.modules"),
        ("uuid", "os"),
        ("uuid", "uuid1"),
    ],
)
def test_names_that_lead_out_of_a_points_classes_are_refused(module, name):
    """By the opcode of protocol 4, which follows points in a name."""
    data = b"\x80\x04" + b"".join(b"\x8c" + bytes([len(each)]) + each.encode() for each in (module, name)) + b"\x93."
    with pytest.raises(points.RefusedPickle, match=rf"asks for {module}\.{name}"):
        points.loads(data)


def test_what_payloads_are_made_of_is_read():
    from qdrant_client.http.models import models

    values = [
        datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
        datetime.date(2026, 1, 1),
        uuid.UUID(int=1),
        {1},
        None,
    ]
    sparse = models.SparseVector(indices=[1], values=[0.5])
    point = models.PointStruct.model_construct(id=1, vector={"a": sparse}, payload={"a": values})
    assert points.loads(pickle.dumps(point)) == point


def test_the_library_is_left_as_it_was(where):
    from qdrant_client.local import persistence

    reader(where).layout()
    assert persistence.pickle is pickle
