"""Loading a model's weights: all that embeddings depend on are there, or the model is refused."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable

import pytest
import torch
from safetensors.torch import load_file, save_file

from embedgate.core.errors import ModelError
from embedgate.core.model import Model, resolve
from embedgate.encoders.loading import _pattern, load


@pytest.fixture
def without(small, tmp_path) -> Callable[..., Model]:
    """Makes a model whose file lacks weights."""

    def make(*names: str) -> Model:
        folder = tmp_path / "model"
        shutil.copytree(small.path, folder)
        file = folder / "model.safetensors"
        save_file(
            {name: weight for name, weight in load_file(file).items() if name not in names}, file, {"format": "pt"}
        )
        return resolve(str(folder))

    return make


@pytest.mark.parametrize(
    "names",
    [
        ["encoder.layer.0.output.dense.weight"],
        ["encoder.layer.0.attention.self.key.bias", "encoder.layer.1.attention.self.key.bias", "pooler.dense.bias"],
        ["embeddings.LayerNorm.bias"],
    ],
)
def test_weights_that_are_missing_are_not_drawn_at_random(without, names):
    with pytest.raises(
        ModelError, match=rf"the weights of .* lack {names[0]}, so transformers draws it at random; fetch"
    ):
        load(without(*names), "cpu", torch.float32)


def test_weights_that_no_embedding_depends_on_may_be_missing(without, caplog):
    loaded = load(without("pooler.dense.weight", "pooler.dense.bias"), "cpu", torch.float32)
    assert all(weight.isfinite().all() for weight in loaded.parameters())
    assert "LOAD REPORT" not in caplog.text


def test_transformers_logging_is_left_as_it_was(without):
    logger = logging.getLogger("transformers.modeling_utils")
    level, filters = logger.level, list(logger.filters)
    load(without("pooler.dense.bias"), "cpu", torch.float32)
    assert (logger.level, logger.filters) == (level, filters)


def test_many_layers_are_told_from_others_by_number():
    few, many = _pattern("layer.{0, 12}.bias"), _pattern("layer.{0...23}.bias")
    assert [bool(few.fullmatch(f"layer.{number}.bias")) for number in (0, 1, 12)] == [True, False, True]
    assert many.fullmatch("layer.7.bias")
    assert not many.fullmatch("layer.7_bias")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("tokenizer.json", '{"version": "1.0"}'),
        ("1_Pooling/config.json", '{"word_embedding_dimension": 384, "pooling_mode": "median"}'),
        ("config.json", '{"model_type": "bert", "hidden_size": 100, "num_attention_heads": 12}'),
    ],
)
def test_a_file_that_sentence_transformers_cannot_use_is_told_in_one_line(small, tmp_path, file, text):
    folder = tmp_path / "model"
    shutil.copytree(small.path, folder)
    (folder / file).write_text(text, "utf-8")
    with pytest.raises(ModelError) as caught:
        load(resolve(str(folder)), "cpu", torch.float32)
    assert caught.value.cause.startswith(f"Sentence Transformers cannot load {folder}: ")
    assert "\n" not in str(caught.value)
