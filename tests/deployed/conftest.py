"""A model's folder with the files that people ship in it, and a server with a model that fits it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock
from helpers import shipped
from helpers.served import DIM, Served, serving

from embedgate.core.model import Model, resolve

CALIBRATION = ("The old baker sold three loaves of bread before sunrise.", "Sit down!", "password reset does not work")


@pytest.fixture(scope="session")
def ships(small, shared) -> Model:
    """The small model with files of every form beside it: made once, in whatever process asks first."""
    made = shared / "ships"
    with FileLock(shared / "ships.lock"):
        if not made.is_dir():
            _fill(shipped.copied(small.path, shared / "ships.unfinished"), small)
            (shared / "ships.unfinished").rename(made)
    return resolve(str(made))


@pytest.fixture
def tiny(tmp_path):
    """A model of as many dimensions as the server's, without a tokenizer."""
    tmp_path.joinpath("modules.json").write_text(json.dumps([{"type": "StaticEmbedding", "path": ""}]))
    return SimpleNamespace(name="tiny", path=tmp_path, dim=DIM, has_folder=True)


@pytest.fixture
def served():
    with serving(Served()) as running:
        yield running


def _fill(folder: Path, model: Model) -> None:
    from embedgate.encoders.onnx.tokenizer import Tokenizer

    onnx, openvino = folder / "onnx", folder / "openvino"
    tokens = shipped.export(folder, onnx / "model.onnx")
    whole = shipped.export(folder, onnx / "whole.onnx", whole=True)
    shipped.export(folder, onnx / "fixed.onnx", fixed=(2, 64))
    shipped.finished_only(whole, onnx / "finished.onnx")
    shipped.beside(tokens, onnx / "beside.onnx")
    shipped.half(tokens, onnx / "model_fp16.onnx")
    shipped.dynamic_int8(tokens, onnx / "model_qint8_avx512_vnni.onnx")
    shipped.ir(tokens, openvino / "openvino_model.xml", half=True)
    batches = [batch.feeds for text in CALIBRATION for batch in Tokenizer(model).batches([text], 1)]
    shipped.ir(tokens, openvino / "openvino_model_qint8_quantized.xml", batches)
