"""Models of other structures than BERT's: small, of random weights, held against Sentence Transformers itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Transformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, StaticEmbedding
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3Model, XLMRobertaConfig, XLMRobertaModel

from embedgate import encoders
from embedgate.core.cache import ArtefactCache
from embedgate.core.combination import Combination
from embedgate.core.errors import BuildError
from embedgate.core.model import Model, resolve
from embedgate.encoders import BuildContext, Encoder
from embedgate.encoders.registry import Registry

TEXTS = ["one", "A man is playing a guitar on the street.", "Two men play.", ""]
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
END = "[PAD]"


@pytest.fixture(scope="module")
def context(cache) -> BuildContext:
    return BuildContext(threads=1, cache=ArtefactCache(cache))


@pytest.fixture(scope="module")
def save(tmp_path_factory, minilm):
    """Saves a transformer with the tokenizer of MiniLM and further modules, as its own tools do."""

    def save(name: str, transformer, *modules, template: str, padding_side: str = "right", **options) -> Model:
        torch.manual_seed(7)
        folder, whole = tmp_path_factory.mktemp(name), tmp_path_factory.mktemp(f"{name}-whole")
        tokenizer = Tokenizer.from_file(str(minilm.path / "tokenizer.json"))
        tokens = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]", END)]
        tokenizer.post_processor = TemplateProcessing(single=template, pair=f"{template} $B", special_tokens=tokens)
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, pad_token=END, padding_side=padding_side, model_max_length=128
        ).save_pretrained(folder)
        transformer.save_pretrained(folder)
        whole_model = SentenceTransformer(modules=[Transformer(str(folder)), *modules], device="cpu", **options)
        whole_model.save_pretrained(str(whole))
        return resolve(str(whole))

    return save


def small_xlm_roberta() -> XLMRobertaModel:
    torch.manual_seed(7)
    return XLMRobertaModel(XLMRobertaConfig(vocab_size=30522, max_position_embeddings=130, pad_token_id=0, **SIZES))


@pytest.fixture(scope="module")
def xlm_roberta(save) -> Model:
    """Positions are counted from the attention mask; hidden states reach hundreds, and embeddings are truncated."""
    transformer = small_xlm_roberta()
    with torch.no_grad():
        transformer.encoder.layer[-1].output.LayerNorm.weight *= 300
    return save("xlm_roberta", transformer, Pooling(32, "mean"), template="[CLS] $A [SEP]", truncate_dim=16)


@pytest.fixture(scope="module")
def last_token(save) -> Model:
    """The last token is the embedding; texts are padded on the left, by the token that ends them."""
    torch.manual_seed(7)
    config = Qwen3Config(vocab_size=30522, num_key_value_heads=1, head_dim=16, max_position_embeddings=256, **SIZES)
    return save(
        "last_token",
        Qwen3Model(config),
        Pooling(32, "lasttoken"),
        Normalize(),
        template=f"$A {END}",
        padding_side="left",
    )


@pytest.fixture(scope="module")
def dense(save) -> Model:
    torch.manual_seed(7)
    last = Dense(32, 48, activation_function=torch.nn.Identity())
    return save("dense", small_xlm_roberta(), Pooling(32, "mean"), last, template="[CLS] $A [SEP]")


@pytest.fixture(scope="module")
def static(tmp_path_factory, minilm) -> Model:
    """A table of embeddings, and no product."""
    folder = tmp_path_factory.mktemp("static")
    torch.manual_seed(7)
    tokenizer = Tokenizer.from_file(str(minilm.path / "tokenizer.json"))
    tokenizer.no_padding()
    table = StaticEmbedding(tokenizer, embedding_dim=16)
    SentenceTransformer(modules=[table, Normalize()], device="cpu").save_pretrained(str(folder))
    return resolve(str(folder))


def build(model: Model, id_: str, context: BuildContext) -> Encoder:
    return encoders.build(model, Combination.parse(id_), context, Registry())


def exact(model: Model) -> np.ndarray:
    return SentenceTransformer(str(model.path), device="cpu", model_kwargs={"dtype": torch.float32}).encode(TEXTS)


@pytest.mark.slow("models that are not BERT's kind are exported, and every backend agrees with Sentence Transformers")
@pytest.mark.parametrize("name", ["xlm_roberta", "last_token"])
def test_exported_models_agree_with_sentence_transformers(name, request, context):
    model = request.getfixturevalue(name)
    expected = exact(model)
    assert model.dim == expected.shape[1]
    assert model.normalises is (name == "last_token")
    for backend in ("torch", "onnxruntime", "openvino"):
        encoder = build(model, f"{backend}-fp32-cpu", context)
        found = encoder.encode(TEXTS)
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max(), backend
        assert encoder.evidence().problems == ()
        stages = encoder.stages(TEXTS)
        assert [len(ids) for ids in stages.token_ids] == [len(rows) for rows in stages.token_embeddings]
        encoder.close()


def test_a_token_that_pads_may_end_a_text(last_token, context):
    """It was taken for padding: the embedding's own token was cut off, and every exported combination was red."""
    stages = build(last_token, "torch-fp32-cpu", context).stages(TEXTS)
    assert [int(ids[-1]) for ids in stages.token_ids] == [0] * len(TEXTS)
    assert [len(ids) for ids in stages.token_ids] == [2, 11, 5, 1]


def test_torchao_quantizes_dense_layers_too(dense, context):
    evidence = build(dense, "torchao-int8-cpu", context).evidence()
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
