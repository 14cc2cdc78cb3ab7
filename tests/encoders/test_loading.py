"""Loading a model's weights: all that embeddings depend on are there, or the model is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import modeling_utils

from embedgate import encoders
from embedgate.core.cache import ArtefactCache
from embedgate.core.combination import Combination
from embedgate.core.errors import BuildError, ModelError
from embedgate.core.model import Model, resolve
from embedgate.encoders import BuildContext
from embedgate.encoders.loading import load
from embedgate.encoders.registry import Registry


@pytest.fixture
def without(small, tmp_path) -> Callable[..., Model]:
    """Makes a model whose file lacks weights."""

    def make(*names: str) -> Model:
        folder = tmp_path / "model"
        shutil.copytree(small.path, folder)
        file = folder / "model.safetensors"
        weights = load_file(file)
        for name in names:
            del weights[name]
        save_file(weights, file, {"format": "pt"})
        return resolve(str(folder))

    return make


@pytest.mark.parametrize(
    "names",
    [
        ["encoder.layer.0.output.dense.weight"],
        ["encoder.layer.0.attention.self.value.bias", "pooler.dense.bias"],
        ["embeddings.LayerNorm.bias"],
    ],
)
def test_weights_that_are_missing_are_not_made_up(without, names):
    with pytest.raises(
        ModelError, match=rf"the weights of .* lack {names[0]}, so transformers would make it up; fetch"
    ):
        load(without(*names), "cpu", torch.float32)


def test_weights_that_no_embedding_is_computed_with_may_be_missing(without):
    loaded = load(without("pooler.dense.weight", "pooler.dense.bias"), "cpu", torch.float32)
    assert all(weight.isfinite().all() for weight in loaded.parameters())


def test_what_is_missing_is_found_where_nothing_is_logged(without, cache):
    """Exports disable logging."""
    context = BuildContext(threads=1, cache=ArtefactCache(cache))
    with pytest.raises(BuildError, match=r"lack encoder\.layer\.0\.output\.dense\.weight, so transformers would"):
        encoders.build(
            without("encoder.layer.0.output.dense.weight"),
            Combination.parse("onnxruntime-fp32-cpu"),
            context,
            Registry(),
        )


def test_transformers_is_left_as_it_was(without):
    report = modeling_utils.log_state_dict_report
    load(without("pooler.dense.bias"), "cpu", torch.float32)
    assert modeling_utils.log_state_dict_report is report


def test_trouble_of_the_machine_is_no_fault_of_the_model(small, monkeypatch):
    def refuse(*_: object, **__: object):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("embedgate.encoders.loading.SentenceTransformer", refuse)
    with pytest.raises(PermissionError):
        load(small, "cpu", torch.float32)


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
