"""Approved ranges come back as they were, for the weights they were taken with and no others."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from embedgate.approved.form import Identified
from embedgate.approved.ranges import RangesStore
from embedgate.approved.tensors import TensorApproval
from embedgate.core.errors import BaselineError
from embedgate.core.machine import profile
from embedgate.vectors.codes import Ranges

AMX, CPU = profile("cpu-x86_64-amx"), profile("cpu")
MODEL = Identified("MiniLM", "acme/MiniLM@1", "a" * 64)
APPROVAL = TensorApproval("2026-01-01T00:00:00Z", "Ada <ada@example.org>", "first", {"numpy": "2.4.6"})
APPROVED = dict.fromkeys(("torch-fp32-cpu", "acme-int8-cpu"), APPROVAL)


def ranges(seed: int = 0, vectors: int = 500) -> Ranges:
    drawn = np.random.default_rng(seed).standard_normal((vectors, 12)).astype(np.float32)
    return Ranges.of(drawn)


def test_what_was_approved_is_found_by_profile_and_combination(tmp_path):
    store = RangesStore(tmp_path)
    assert store.find(AMX, MODEL, "torch-fp32-cpu") is None
    assert store.update(CPU, MODEL, {"torch-fp32-cpu": ranges()}, APPROVED) == {"torch-fp32-cpu": "recorded"}
    found = store.find(AMX, MODEL, "torch-fp32-cpu")
    assert found is not None
    assert found.profile == "cpu", "inherited"
    assert np.array_equal(found.value.both, ranges().both)
    assert found.value.vectors == 500
    assert store.find(AMX, MODEL, "acme-int8-cpu") is None


def test_an_update_leaves_others_and_what_is_the_same(tmp_path):
    store = RangesStore(tmp_path)
    store.update(CPU, MODEL, {"torch-fp32-cpu": ranges()}, APPROVED)
    assert store.update(CPU, MODEL, {"torch-fp32-cpu": ranges(), "acme-int8-cpu": ranges(1)}, APPROVED) == {
        "acme-int8-cpu": "recorded"
    }
    assert np.array_equal(store.find(CPU, MODEL, "torch-fp32-cpu").value.both, ranges().both)


def test_other_weights_have_other_ranges(tmp_path):
    store = RangesStore(tmp_path)
    store.update(CPU, MODEL, {"torch-fp32-cpu": ranges()}, APPROVED)
    other = msgspec.structs.replace(MODEL, fingerprint="b" * 64)
    with pytest.raises(BaselineError, match="recorded for another model"):
        store.find(CPU, other, "torch-fp32-cpu")
    assert store.update(CPU, other, {"acme-int8-cpu": ranges()}, APPROVED) == {
        "acme-int8-cpu": "recorded",
        "torch-fp32-cpu": "dropped",
    }


def test_what_is_not_finite_is_not_approved(tmp_path):
    broken = replace(ranges(), low=np.full(12, np.nan, np.float32))
    with pytest.raises(BaselineError, match="ranges of torch-fp32-cpu are not finite"):
        RangesStore(tmp_path).update(CPU, MODEL, {"torch-fp32-cpu": broken}, APPROVED)


def test_a_corrupt_file_is_told_in_one_line(tmp_path):
    store = RangesStore(tmp_path)
    store.update(CPU, MODEL, {"torch-fp32-cpu": ranges()}, APPROVED)
    file = tmp_path / "cpu/MiniLM.ranges.safetensors"
    upside_down = replace(ranges(), low=ranges().high, high=ranges().low)
    store.update(CPU, MODEL, {"torch-fp32-cpu": upside_down}, APPROVED)
    with pytest.raises(BaselineError, match="torch-fp32-cpu has no ranges"):
        store.find(CPU, MODEL, "torch-fp32-cpu")
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(BaselineError, match="is corrupt") as told:
        store.find(CPU, MODEL, "torch-fp32-cpu")
    assert "\n" not in str(told.value)
    assert str(file) in str(told.value)
