"""How files of a model are called: one table, which candidates, the hub and messages go by."""

from __future__ import annotations

import pytest

from embedgate.core import formats
from embedgate.core.formats import SHIPPED, Format, shipped_among, shipped_names
from embedgate.deployed import KINDS


def test_files_that_ship_are_found_where_they_are_whole():
    names = ["b.onnx", "a/c.gguf", "d.xml", "d.bin", "e.xml", "f.engine", "model.safetensors"]
    assert shipped_among(names) == ["a/c.gguf", "b.onnx", "d.xml"]
    assert shipped_names() == "ONNX, OpenVINO or GGUF"


def test_one_entry_makes_a_format_ship(monkeypatch):
    monkeypatch.setattr(formats, "SHIPPED", (*SHIPPED, Format("TFLite", (".tflite",))))
    assert shipped_among(["a.tflite"]) == ["a.tflite"]
    assert shipped_names() == "ONNX, OpenVINO, GGUF or TFLite"


@pytest.mark.parametrize("form", SHIPPED, ids=lambda form: form.name)
def test_what_ships_can_be_gated(form):
    for suffix in form.suffixes:
        kind = next(kind for kind in KINDS if kind.fits(f"onnx/model{suffix}"))
        assert kind.of_model
        assert suffix in kind.about


def test_the_first_kind_that_fits_counts():
    first = [
        next(kind.module for kind in KINDS if kind.fits(where)) for where in ("a.answers.jsonl", "a.jsonl", "a-v1")
    ]
    assert first == ["recorded", "stored", "folder"]
