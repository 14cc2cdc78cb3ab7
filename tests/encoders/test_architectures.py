"""Models of other structures than BERT's: small, of random weights, held against Sentence Transformers itself."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import families, zoo
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer

from embedgate import encoders
from embedgate.core.cache import ArtefactCache
from embedgate.core.combination import Combination
from embedgate.core.errors import BuildError, ModelError
from embedgate.core.model import Model, resolve
from embedgate.encoders import BuildContext, Encoder, loading
from embedgate.encoders.loading import load
from embedgate.encoders.registry import Registry

pytestmark = pytest.mark.model

TEXTS = ["one", "A man is playing a guitar on the street.", "Two men play.", ""]


@pytest.fixture(scope="module")
def context(cache) -> BuildContext:
    return BuildContext(threads=1, cache=ArtefactCache(cache))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Writes a model of a family, once."""

    @cache
    def write(name: str) -> Model:
        folder = tmp_path_factory.mktemp(name)
        getattr(families, name)(folder)
        return resolve(str(folder))

    return write


@pytest.fixture(scope="module")
def last_token(written) -> Model:
    """The last token is the embedding; texts are padded on the left, by the token that ends them."""
    return written("qwen3")


@pytest.fixture(scope="module")
def large_states(tmp_path_factory) -> Model:
    """Hidden states reach hundreds, and embeddings are truncated; positions are counted from the attention mask."""
    folder = tmp_path_factory.mktemp("large_states")
    families.xlm_roberta(folder, modules=lambda: [], truncate_dim=16)
    weights = load_file(folder / "model.safetensors")
    (last,) = (name for name in weights if name.endswith("layer.1.output.LayerNorm.weight"))
    save_file({**weights, last: weights[last] * 300}, folder / "model.safetensors", {"format": "pt"})
    return resolve(str(folder))


@pytest.fixture(scope="module")
def static(written) -> Model:
    """A table of embeddings, and no product."""
    return written("static")


def build(model: Model, id_: str, context: BuildContext) -> Encoder:
    return encoders.build(model, Combination.parse(id_), context, Registry())


def exact(model: Model) -> np.ndarray:
    return SentenceTransformer(str(model.path), device="cpu", model_kwargs={"dtype": torch.float32}).encode(TEXTS)


@pytest.mark.slow("a model of large hidden states is exported, and every backend agrees with Sentence Transformers")
def test_an_exported_model_agrees_with_sentence_transformers(large_states, context):
    expected = exact(large_states)
    assert large_states.dim == expected.shape[1]
    assert not large_states.normalises
    for backend in ("torch", "onnxruntime", "openvino"):
        encoder = build(large_states, f"{backend}-fp32-cpu", context)
        found = encoder.encode(TEXTS)
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max(), backend
        assert encoder.evidence().problems == ()
        stages = encoder.stages(TEXTS)
        assert [len(ids) for ids in stages.token_ids] == [len(rows) for rows in stages.token_embeddings]
        encoder.close()


@pytest.mark.slow(
    "models as people use them are encoded in every role as by Sentence Transformers; `tox run -e zoo` for all"
)
@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("xlm_roberta", ("torch-fp32-cpu", "torchao-int8-cpu")),
        ("qwen3", ("torch-fp32-cpu", "onnxruntime-fp32-cpu", "openvino-fp32-cpu")),
        ("gemma", ("torch-fp32-cpu", "torchao-int8-cpu")),
        ("albert", ("onnxruntime-fp32-cpu", "onnxruntime-int8-cpu")),
        ("static", ("torch-fp32-cpu", "torch-bf16-cpu")),
        ("router", ("torch-fp32-cpu", "torch-bf16-cpu", "torchao-int8-cpu")),
        ("mapped_router", ("torch-fp32-cpu", "torchao-int8-cpu")),
        ("asym", ("torch-fp32-cpu", "torchao-int8-cpu")),
    ],
)
def test_a_family_is_encoded_in_every_role_as_by_sentence_transformers(name, ids, written, context):
    model = written(name)
    wanted = zoo.by_sentence_transformers(model)
    for combination in map(Combination.parse, ids):
        found = zoo.compared(model, combination, context, wanted)
        assert found.problems == (), combination
        if combination.is_reference:
            assert found.difference == 0.0
        elif combination.weight_precision == "fp32":
            assert found.difference < zoo.MAX_DIFFERENCE, combination
        else:
            assert found.cosine > zoo.LEAST_COSINE, combination


@pytest.mark.parametrize("refused", families.REFUSED, ids=str)
def test_what_embedgate_cannot_gate_is_told_in_one_line(refused, tmp_path):
    families.bert(tmp_path)
    refused.change(tmp_path)
    with pytest.raises(ModelError) as caught:
        load(resolve(str(tmp_path)), "cpu", torch.float32)
    assert str(tmp_path) in caught.value.cause
    assert refused.says in caught.value.cause
    assert "\n" not in str(caught.value)
    assert caught.value.action


def test_a_model_of_images_and_texts_needs_pillow(written, monkeypatch):
    monkeypatch.setattr(loading, "find_spec", lambda _: None)
    with pytest.raises(ModelError, match=r"reads images, too, and loads with Pillow alone.*; pip install pillow"):
        load(written("clip"), "cpu", torch.float32)


def test_a_token_that_pads_may_end_a_text(last_token, context):
    """It was taken for padding: the embedding's own token was cut off, and every exported combination was red."""
    stages = build(last_token, "torch-fp32-cpu", context).stages(TEXTS)
    assert [int(ids[-1]) for ids in stages.token_ids] == [0] * len(TEXTS)
    assert len(stages.token_ids[-1]) == 1


def test_torchao_quantizes_dense_layers_too(written, context):
    evidence = build(written("t5"), "torchao-int8-cpu", context).evidence()
    assert evidence.problems == ()
    assert set(evidence.products) == {"int8"}


def test_a_model_without_products_is_the_reference_all_the_same(static, context_with):
    from embedgate.checks.effective import EFFECTIVE

    context = context_with(model=str(static.path), combinations=("torch-fp32-cpu",), data=("pairs",))
    (case,) = EFFECTIVE.cases(context.plan)
    assert context.judge(case).verdict == "pass"
    assert context.run(case).evidence.products == {}


def test_a_changed_route_is_another_model(tmp_path, minilm):
    """The route that texts take by default decides their embeddings."""
    from sentence_transformers.base.modules import Router

    torch.manual_seed(7)
    tokenizer = Tokenizer.from_file(str(minilm.path / "tokenizer.json"))
    tables = [StaticEmbedding(tokenizer, embedding_dim=16) for _ in range(2)]
    router = Router.for_query_document(query_modules=[tables[0]], document_modules=[tables[1]])
    SentenceTransformer(modules=[router], device="cpu").save_pretrained(str(tmp_path))
    before = resolve(str(tmp_path)).fingerprint
    file = Path(tmp_path, "router_config.json")
    config = json.loads(file.read_text("utf-8"))
    config["parameters"]["default_route"] = "query"
    file.write_text(json.dumps(config), "utf-8")
    assert resolve(str(tmp_path)).fingerprint != before


@pytest.mark.parametrize(
    ("id_", "why"),
    [
        (
            "onnxruntime-fp32-cpu",
            "onnxruntime runs exported Transformers, and {} begins with the module StaticEmbedding",
        ),
        ("torchao-int8-cpu", "{} is a table of embeddings, without a matrix product that could compute in int8"),
        ("torch-amp-cpu", "{} is a table of embeddings, without a matrix product that could compute in amp"),
        ("torch-bf16-cpu", None),
        ("torch-fp32-cpu", None),
    ],
)
def test_what_a_static_model_cannot_be_is_skipped_and_not_red(static, context_with, id_, why):
    session = context_with(model=str(static.path), data=("pairs",)).session
    assert session.unavailable(Combination.parse(id_)) == (why.format(static.name) if why else None)


def test_a_host_projects_combination_is_left_to_it(static):
    registry = Registry()
    registry.add("acme-int8-cpu", lambda path, device: None)
    assert encoders.unfit(static, Combination.parse("acme-int8-cpu"), registry) is None


@pytest.mark.parametrize("id_", ["torch-fp32-cpu", "onnxruntime-fp32-cpu"])
def test_a_tokenizer_without_a_pad_token_is_told(small, tmp_path, context, id_):
    folder = tmp_path / "model"
    shutil.copytree(small.path, folder)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        file = folder / name
        if file.is_file():
            kept = {key: value for key, value in json.loads(file.read_text("utf-8")).items() if key != "pad_token"}
            file.write_text(json.dumps(kept | {"tokenizer_class": "PreTrainedTokenizerFast"}), "utf-8")
    file = folder / "tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | {"padding": None}), "utf-8")
    with pytest.raises(
        BuildError, match="has no pad token, so it cannot make batches; name one in its tokenizer_config"
    ):
        build(resolve(str(folder)), id_, context)
