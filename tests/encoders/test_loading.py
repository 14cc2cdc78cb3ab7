"""Loading a model's weights: all that embeddings depend on are there, or the model is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers.base.modules import Dense
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
def copied(small, tmp_path) -> Path:
    """A copy of the small model's folder, to be broken."""
    return Path(shutil.copytree(small.path, tmp_path / "model"))


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
    ("file", "text", "where"),
    [
        ("tokenizer.json", '{"version": "1.0"}', "{}/tokenizer.json: Exception: Model missing"),
        (
            "1_Pooling/config.json",
            '{"word_embedding_dimension": 384, "pooling_mode": "median"}',
            "the Pooling of {}/1_Pooling: ValueError: Invalid pooling mode",
        ),
        ("config.json", '{"model_type": "bert", "hidden_size": 100, "num_attention_heads": 12}', "{}: ValueError"),
    ],
)
def test_a_file_that_sentence_transformers_cannot_use_is_told_in_one_line(copied, file, text, where):
    (copied / file).write_text(text, "utf-8")
    with pytest.raises(ModelError) as caught:
        load(resolve(str(copied)), "cpu", torch.float32)
    assert caught.value.cause.startswith(f"Sentence Transformers cannot load {where.format(copied)}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("sentence_transformers.models.nowhere.Pooling", "No module named"),
        ("sentence_transformers.base.modules.dense.Pooling", "does not define"),
    ],
)
def test_a_class_that_is_not_where_modules_say_is_no_fault_of_the_machine(copied, kind, message):
    file = copied / "modules.json"
    modules = json.loads(file.read_text("utf-8"))
    modules[1]["type"] = kind
    file.write_text(json.dumps(modules), "utf-8")
    with pytest.raises(ModelError, match=rf"cannot load the Pooling of .*{message}"):
        load(resolve(str(copied)), "cpu", torch.float32)


def test_a_library_that_is_not_installed_is_no_fault_of_the_model(small, monkeypatch):
    def refuse(*_: object, **__: object):
        raise ImportError("No module named 'sentencepiece'")

    monkeypatch.setattr("embedgate.encoders.loading.SentenceTransformer", refuse)
    with pytest.raises(ImportError):
        load(small, "cpu", torch.float32)


def test_a_weight_of_another_shape_is_told_with_both_shapes(copied):
    weights = load_file(copied / "model.safetensors")
    name = "embeddings.word_embeddings.weight"
    save_file({**weights, name: weights[name][:-10].clone()}, copied / "model.safetensors", {"format": "pt"})
    words, width = weights[name].shape
    told = rf"hold {name} of shape \[{words - 10}, {width}\], and its config\.json asks for \[{words}, {width}\]; fetch"
    with pytest.raises(ModelError, match=told):
        load(resolve(str(copied)), "cpu", torch.float32)


def test_a_weight_that_a_dense_layer_lacks_is_told_with_its_folder(copied):
    """Of two dense layers, one lacks its bias."""
    file = copied / "modules.json"
    modules = json.loads(file.read_text("utf-8"))
    for place in (3, 4):
        folder = copied / f"{place}_Dense"
        folder.mkdir()
        Dense(384, 384).save(str(folder))
        kind = "sentence_transformers.base.modules.dense.Dense"
        modules.append({"idx": place, "name": str(place), "path": folder.name, "type": kind})
    file.write_text(json.dumps(modules), "utf-8")
    weights = load_file(folder / "model.safetensors")
    save_file({"linear.weight": weights["linear.weight"]}, folder / "model.safetensors")
    told = r"the Dense of .*4_Dense: .* for Dense: Missing key\(s\) in state_dict: \"linear\.bias\"; fetch"
    with pytest.raises(ModelError, match=told):
        load(resolve(str(copied)), "cpu", torch.float32)


def test_a_vocabulary_is_not_made_up(copied):
    """The file that is there is of another kind of tokenizer."""
    for file in copied.glob("*token*"):
        file.unlink()
    (copied / "vocab.json").write_text("{}", "utf-8")
    told = (
        r"model has neither tokenizer\.json nor vocab\.txt, so transformers makes up a vocabulary of 5 tokens; restore"
    )
    with pytest.raises(ModelError, match=told):
        load(resolve(str(copied)), "cpu", torch.float32)


def test_a_vocabulary_without_the_whole_tokenizer_is_enough(copied, small):
    vocab = json.loads((copied / "tokenizer.json").read_text("utf-8"))["model"]["vocab"]
    (copied / "tokenizer.json").unlink()
    (copied / "vocab.txt").write_text("\n".join(sorted(vocab, key=vocab.__getitem__)), "utf-8")
    found = load(resolve(str(copied)), "cpu", torch.float32).encode(["a text"])
    assert (found == load(small, "cpu", torch.float32).encode(["a text"])).all()


def test_transformers_is_told_to_load_no_pickle(small, monkeypatch):
    asked = {}

    def note(*_: object, **given: object):
        asked.update(given)
        raise ValueError

    monkeypatch.setattr("embedgate.encoders.loading.SentenceTransformer", note)
    with pytest.raises(ModelError):
        load(small, "cpu", torch.float32)
    assert asked["model_kwargs"]["use_safetensors"] is True
