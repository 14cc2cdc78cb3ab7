"""The layer of a cause: named where stages are seen, unknown where they are not."""

from __future__ import annotations

import numpy as np
import pytest

from embedgate.core.embeddings import Embeddings
from embedgate.core.roles import Input
from embedgate.diagnosis.arm import Arm
from embedgate.diagnosis.layers import diagnose
from embedgate.encoders import Evidence, Stages

TEXTS = [f"text {i}" for i in range(8)]


def arm(moved: float = 0.0, *, states: bool = True, pooled: bool = True) -> Arm:
    random = np.random.default_rng(0)
    rows = random.standard_normal((len(TEXTS), 16)).astype(np.float32)
    hidden = [np.tile(row, (3, 1)) for row in rows]
    rows += np.float32(moved) * random.standard_normal(rows.shape).astype(np.float32)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    ids = [np.arange(3, dtype=np.int64) for _ in TEXTS]
    stages = Stages(ids, hidden if states else None, rows if pooled else None, unit)
    evidence = Evidence("cpu", 1, 0, {"float32": 6}, "acme 1")
    return Arm(Embeddings([Input(text) for text in TEXTS], unit), evidence, stages)


def test_the_layer_is_named_where_all_are_seen():
    assert diagnose(arm(0.5), arm(), TEXTS).layer == "pooling"
    assert diagnose(arm(0.001), arm(), TEXTS).layer == "scores"


@pytest.mark.parametrize(
    ("shown", "told"),
    [
        ({"states": False, "pooled": False}, "no hidden states and no pooled embeddings are shown"),
        ({"pooled": False}, "no pooled embeddings are shown"),
    ],
)
def test_what_is_not_seen_is_not_said_to_agree(shown, told):
    found = diagnose(arm(0.5, **shown), arm(), TEXTS)
    assert found.layer == "unknown"
    assert told in found.cause


def test_the_references_stages_are_needed_as_well():
    assert diagnose(arm(0.001), arm(states=False, pooled=False), TEXTS).layer == "unknown"
