"""Conditions of an approval: all of them must hold again for the same bits to be expected."""

from __future__ import annotations

from dataclasses import replace

import pytest

from embedgate.approved.conditions import Conditions, changed_libraries
from embedgate.approved.entries import Provenance

THEN = Conditions("0123456789abcdef", ("avx2", "fma"), None, 2, 32, "a" * 64)
PROVENANCE = Provenance("a CPU", THEN.flags, None, "Linux 6", "3.12.1", 2, 32, {}, "0.1.0", machine=THEN.machine)


def test_nothing_departs_where_all_is_the_same():
    assert THEN.departs(replace(THEN)) == ""


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"machine": "f" * 16}, "another machine approved it"),
        ({"flags": ("avx2",)}, "the CPU had other instruction sets when it was approved"),
        ({"gpu": "NVIDIA H200"}, "it was approved on no GPU"),
        ({"threads": 1}, "it was approved with 2 threads, and this session has 1"),
        ({"batch_size": 8}, "it was approved in batches of 32, and this session has batches of 8"),
        ({"reference": "b" * 64}, "its reference gives other bits than when it was approved"),
    ],
)
def test_each_condition_that_does_not_hold_is_named(change, told):
    assert THEN.departs(replace(THEN, **change)) == told


def test_they_are_those_of_where_it_was_measured():
    assert Conditions.of(PROVENANCE, THEN.reference) == THEN


def test_libraries_that_changed_are_named_with_both_versions():
    then = {"onnxruntime": "1.23.0", "torch": "2.9.1"}
    assert changed_libraries(then, dict(then)) == ""
    now = {"onnxruntime": "1.24.0", "torch": "2.9.1", "openvino": "2025.4"}
    assert changed_libraries(then, now) == "onnxruntime 1.23.0 -> 1.24.0, openvino absent -> 2025.4"
    assert changed_libraries(now, then) == "onnxruntime 1.24.0 -> 1.23.0, openvino 2025.4 -> absent"
