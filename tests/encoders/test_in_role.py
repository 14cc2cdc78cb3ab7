"""Encoders by role: the reference as Sentence Transformers to the bit, graphs as the reference, host projects' as they are."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from helpers.prompted import PROMPTS, with_prompts
from helpers.zoo import by_sentence_transformers
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, StaticEmbedding
from tokenizers import Tokenizer

from embedgate import encoders
from embedgate.core.cache import ArtefactCache
from embedgate.core.combination import Combination
from embedgate.core.model import Model, resolve
from embedgate.core.roles import ROLES, Role
from embedgate.encoders import BuildContext, Encoder, InRole
from embedgate.encoders.custom import CustomEncoder
from embedgate.encoders.registry import Registry

pytestmark = pytest.mark.model

TEXTS = ["A man is playing a guitar.", "Hi", "The parcel arrives on Thursday, as she was told."]


@pytest.fixture(scope="module")
def context(cache) -> BuildContext:
    return BuildContext(threads=1, cache=ArtefactCache(cache))


@pytest.fixture(scope="module")
def prompted(small, tmp_path_factory) -> Model:
    return with_prompts(small, tmp_path_factory.mktemp("model"), default_prompt_name="Clustering")


@pytest.fixture(scope="module")
def router(minilm, small, tmp_path_factory) -> Model:
    """Queries by a table, documents by a transformer."""
    folder = tmp_path_factory.mktemp("router")
    tokenizer = Tokenizer.from_file(str(minilm.path / "tokenizer.json"))
    tokenizer.no_padding()
    torch.manual_seed(7)
    table = StaticEmbedding(tokenizer, embedding_dim=384)
    transformer = SentenceTransformer(str(small.path), device="cpu")[0]
    routes = Router.for_query_document([table], [transformer, Pooling(384, "mean")])
    SentenceTransformer(modules=[routes, Normalize()], device="cpu").save_pretrained(str(folder))
    return resolve(str(folder))


def expected(model: Model) -> dict[str, np.ndarray]:
    return by_sentence_transformers(model, TEXTS)


def build(model: Model, id_: str, context: BuildContext) -> Encoder:
    return encoders.build(model, Combination.parse(id_), context, Registry())


@pytest.mark.parametrize("name", ["prompted", "router", "small"])
def test_the_reference_is_sentence_transformers_to_the_bit(name, context, request):
    model = request.getfixturevalue(name)
    encoder, wanted = build(model, "torch-fp32-cpu", context), expected(model)
    for role in ("", *ROLES):
        np.testing.assert_array_equal(encoder.encode_as(model.roles[role], TEXTS), wanted[role], role)


def test_a_router_counts_the_products_of_every_route(router, small, context):
    routed, alone = (build(model, "torch-fp32-cpu", context).evidence() for model in (router, small))
    assert routed.products == alone.products
    assert not routed.problems


@pytest.mark.parametrize("id_", ["onnxruntime-fp32-cpu", "openvino-fp32-cpu"])
def test_a_graph_reads_the_prompts_of_every_role(id_, prompted, context):
    if encoders.unavailable(Combination.parse(id_), Registry()):
        pytest.skip("its library is not installed")
    encoder, wanted = build(prompted, id_, context), expected(prompted)
    for role in ("", *ROLES):
        np.testing.assert_allclose(encoder.encode_as(prompted.roles[role], TEXTS), wanted[role], atol=1e-5)


def test_stages_show_the_tokens_of_the_prompt(prompted, context):
    encoder = build(prompted, "torch-fp32-cpu", context)
    plain, query = (encoder.stages_as(prompted.roles[role], TEXTS) for role in ("pairclassification", "query"))
    assert all(len(a) != len(b) for a, b in zip(plain.token_ids, query.token_ids, strict=True))
    wanted = InRole(encoder, prompted.roles["query"]).encode(TEXTS)
    np.testing.assert_array_equal(query.embeddings, wanted)


class Recorder:
    """Notes by which method it was asked, and for what."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[str]]] = []

    def encode(self, texts, batch_size=32):
        return self._note("encode", texts)

    def _note(self, method, texts):
        self.asked.append((method, list(texts)))
        return np.ones((len(texts), 2), np.float32)


class ByRole(Recorder):
    def encode_query(self, texts, batch_size=32):
        return self._note("encode_query", texts)

    def encode_document(self, texts, batch_size=32):
        return self._note("encode_document", texts)


class Own(Recorder):
    adds_prompts = True


@pytest.mark.parametrize(
    ("inner", "name", "asked"),
    [
        (ByRole, "query", ("encode_query", ["text"])),
        (ByRole, "document", ("encode_document", ["text"])),
        (ByRole, "sts", ("encode", ["p: text"])),
        (Recorder, "query", ("encode", ["p: text"])),
        (Own, "query", ("encode", ["text"])),
        (Own, "sts", ("encode", ["text"])),
    ],
)
def test_a_host_projects_encoder_is_asked_by_role(inner, name, asked, context):
    made = inner()
    CustomEncoder(made, Combination.parse("acme-int8-cpu"), context).encode_as(Role(name, "p: "), ["text"])
    assert made.asked == [asked]


class OwnEncode(SentenceTransformer):
    """As many projects have it: `encode` with the arguments that they use."""

    def encode(self, texts, batch_size=32, prompt=None):
        return super().encode(texts, batch_size=batch_size, prompt=prompt)


def test_a_sentence_transformer_is_asked_as_it_is_deployed(prompted, context):
    wanted = expected(prompted)
    acme = Combination.parse("acme-fp32-cpu")
    without = SentenceTransformer(str(prompted.path), device="cpu", prompts={"query": ""})
    for inner, query in (
        (SentenceTransformer(str(prompted.path), device="cpu"), wanted["query"]),
        (OwnEncode(str(prompted.path), device="cpu"), wanted["query"]),
        (without, without.encode(TEXTS, prompt="")),  # what it lost is not given back
    ):
        encoder = CustomEncoder(inner, acme, context)
        np.testing.assert_array_equal(encoder.encode_as(prompted.roles["query"], TEXTS), query)
        np.testing.assert_array_equal(encoder.encode_as(prompted.roles["sts"], TEXTS), wanted["sts"])
    chosen = resolve(str(prompted.path), {"query": "Find: "}).roles["query"]
    found = CustomEncoder(without, acme, context).encode_as(chosen, TEXTS)
    np.testing.assert_array_equal(found, without.encode(TEXTS, prompt="Find: "))
    assert PROMPTS["query"] != "Find: "


class ShortEncode(SentenceTransformer):
    """Takes no prompt."""

    def encode(self, texts, batch_size=32):
        return super().encode(texts, batch_size=batch_size, prompt="")


def test_an_encode_that_takes_no_prompt_gets_it_with_the_texts(prompted, context):
    encoder = CustomEncoder(ShortEncode(str(prompted.path), device="cpu"), Combination.parse("acme-fp32-cpu"), context)
    np.testing.assert_allclose(
        encoder.encode_as(prompted.roles["query"], TEXTS), expected(prompted)["query"], atol=1e-6
    )


@pytest.mark.parametrize("role", ["sts", "clustering"])
def test_a_tasks_prompt_that_a_sentence_transformer_lost_is_not_given_back(prompted, context, role):
    lost = SentenceTransformer(str(prompted.path), device="cpu")
    lost.prompts, lost.default_prompt_name = {}, None
    found = CustomEncoder(lost, Combination.parse("acme-fp32-cpu"), context).encode_as(prompted.roles[role], TEXTS)
    np.testing.assert_array_equal(found, lost.encode(TEXTS))
    assert np.abs(found - expected(prompted)[role]).max() > 0.01
    stages = CustomEncoder(lost, Combination.parse("acme-fp32-cpu"), context).stages_as(prompted.roles[role], TEXTS)
    assert [len(ids) for ids in stages.token_ids] == lost.preprocess(TEXTS)["attention_mask"].sum(dim=1).tolist()


def test_a_prompt_left_out_of_the_pooling_is_no_graphs_business(small, tmp_path):
    """As of Instructor: the graph pools all tokens."""
    model = with_prompts(small, tmp_path)
    onnx = Combination.parse("onnxruntime-fp32-cpu")
    assert encoders.unfit(model, onnx, Registry()) is None
    file = model.path / "1_Pooling" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "include_prompt": False}))
    reason = "prompted leaves its prompts out of the pooling, which an exported graph cannot"
    assert encoders.unfit(resolve(str(model.path)), onnx, Registry()) == reason
