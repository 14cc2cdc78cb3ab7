"""The one ONNX graph and the tokenizer that feeds it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling

from embedgate.core.cache import ArtefactCache
from embedgate.core.errors import BuildError, ModelError
from embedgate.core.model import Model
from embedgate.core.roles import PLAIN, Role
from embedgate.encoders import BuildContext
from embedgate.encoders.onnx import export
from embedgate.encoders.onnx.graph import file_bytes, read_graph, save_graph, weight_bytes, weight_products
from embedgate.encoders.onnx.tokenizer import Tokenizer

TEXTS = ["A man is eating.", "", "Ünïcode, CAPITALS & 3.14", "word " * 400, "tea", "two words"]


@pytest.fixture(scope="module")
def context(cache) -> BuildContext:
    return BuildContext(threads=1, cache=ArtefactCache(cache))


@pytest.fixture(scope="module")
def exported(model, context) -> Path:
    return export.exported_graph(model, context)


@pytest.fixture(scope="module")
def loaded(model) -> SentenceTransformer:
    return SentenceTransformer(str(model.path), device="cpu", model_kwargs={"dtype": torch.float32})


def copied(model: Model, folder: Path) -> Model:
    """The model's folder with every file but the weights copied, so that a test may change it."""
    shutil.copytree(model.path, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    (folder / "model.safetensors").symlink_to(model.path / "model.safetensors")
    return Model(folder, "copy", str(folder), "copy")


class TestTokenizer:
    def test_ids_are_sentence_transformers_own(self, model, loaded):
        expected = loaded.preprocess(TEXTS)
        lengths = expected["attention_mask"].sum(dim=1).tolist()
        for row, ids in enumerate(Tokenizer(model).ids(TEXTS)):
            np.testing.assert_array_equal(ids, expected["input_ids"][row, : lengths[row]].numpy())

    def test_long_texts_are_cut_at_the_models_own_limit(self, model):
        tokenizer = Tokenizer(model)
        assert tokenizer.max_tokens == 256
        assert len(tokenizer.ids(["word " * 400])[0]) == 256

    def test_batches_are_sentence_transformers_own_the_longest_first(self, model, loaded):
        batches = list(Tokenizer(model).batches(TEXTS, 2))
        assert [batch.rows.tolist() for batch in batches] == [[3, 2], [0, 5], [4, 1]]
        for batch in batches:
            expected = loaded.preprocess([TEXTS[row] for row in batch.rows])
            for name, values in batch.feeds.items():
                np.testing.assert_array_equal(values, expected[name].numpy())

    def test_lower_cases_where_the_model_says_so(self, model, tmp_path):
        folder = copied(model, tmp_path / "model").path
        definition = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
        (folder / "tokenizer_config.json").write_text(json.dumps({**definition, "do_lower_case": False}), "utf-8")
        changed = Model(folder, "copy", str(folder), "copy")
        same, other = Tokenizer(changed).ids(["word", "WORD"])
        assert same.tolist() != other.tolist()
        settings = folder / "sentence_bert_config.json"
        settings.write_text(json.dumps({"max_seq_length": 256, "do_lower_case": True}), "utf-8")
        same, other = Tokenizer(changed).ids(["word", "WORD"])
        assert same.tolist() == other.tolist()

    def test_no_texts_no_batches(self, model):
        assert list(Tokenizer(model).batches([], 32)) == []

    def test_a_model_that_begins_with_another_module_is_refused(self, model, tmp_path):
        changed = copied(model, tmp_path / "model")
        modules = json.loads((changed.path / "modules.json").read_text("utf-8"))
        modules[0]["type"] = "sentence_transformers.models.BoW"
        (changed.path / "modules.json").write_text(json.dumps(modules), "utf-8")
        with pytest.raises(ModelError, match=r"begins with the module sentence_transformers[.]models[.]BoW"):
            Tokenizer(changed)


class TestExport:
    def test_is_the_whole_pipeline_with_dynamic_axes(self, exported):
        proto = onnx.load(exported)
        onnx.checker.check_model(proto)
        assert [value.name for value in proto.graph.input] == ["input_ids", "attention_mask", "token_type_ids"]
        assert [value.name for value in proto.graph.output] == list(export.OUTPUT_NAMES)
        for value in (*proto.graph.input, proto.graph.output[1]):
            assert [axis.dim_param for axis in value.type.tensor_type.shape.dim[:2]] == ["batch", "sequence"]

    def test_products_bear_the_names_of_their_layers(self, exported):
        names = [product.name for product in weight_products(read_graph(exported).proto)]
        assert len(names) == len(set(names)) == 36
        assert {"encoder.layer.0.attention.self.query", "encoder.layer.5.output.dense"} <= set(names)

    def test_keeps_no_path_of_the_machine_it_was_made_on(self, exported):
        proto = onnx.load(exported)
        del proto.graph.initializer[:]
        assert b"site-packages" not in proto.SerializeToString()

    def test_record_says_how_near_it_is_to_torch(self, exported):
        record = json.loads((exported.parent / "artefact.json").read_text("utf-8"))["record"]
        assert 0 <= record["max_difference_to_torch"] <= export.MAX_DIFFERENCE

    def test_is_exported_once(self, model, context, exported, monkeypatch):
        monkeypatch.setattr(export, "_export", lambda *_: pytest.fail("exported again"))
        assert export.exported_graph(model, context) == exported

    def test_weights_are_those_of_the_model_in_float32(self, exported):
        proto = onnx.load(exported)
        assert all(
            numpy_helper.to_array(tensor).dtype != np.float16 and tensor.data_type != onnx.TensorProto.BFLOAT16
            for tensor in proto.graph.initializer
        )
        assert weight_bytes(exported) == pytest.approx(90.3e6, rel=0.01)


class TestRefusals:
    @pytest.fixture
    def pipeline(self, loaded):
        return export._Pipeline(loaded).eval()

    def test_another_graph_than_the_models_is_refused(self, model, exported, pipeline, tmp_path):
        graph = read_graph(exported)
        weight = weight_products(graph.proto)[0].weight
        tensor = graph.tensors[weight]
        tensor.CopyFrom(numpy_helper.from_array(graph.array(tensor) * np.float32(1.02), weight))
        save_graph(graph, tmp_path / "model.onnx")
        with pytest.raises(BuildError, match="the exported graph differs from torch by"):
            export._verify(tmp_path / "model.onnx", export._expected(pipeline, Tokenizer(model)), 1)

    @pytest.mark.parametrize(
        ("found", "exact", "difference"),
        [
            ([300.03, -1.0], [300.0, -1.0], 1e-4),
            ([0.0, 2.0], [0.0, 1.0], 1.0),
            ([0.0, np.nan], [0.0, 1.0], np.inf),
            ([0.0, 1.0], [0.0, np.inf], np.inf),
            ([0.0], [0.0], 0.0),
        ],
    )
    def test_differences_are_shares_of_the_largest_value_and_nan_is_the_largest(self, found, exact, difference):
        arrays = (np.array(values, dtype=np.float32) for values in (found, exact))
        assert export._relative_difference(*arrays) == pytest.approx(difference, rel=1e-3)

    def test_other_tokens_than_sentence_transformers_are_refused(self, model, loaded, monkeypatch):
        tokenizer = Tokenizer(model)
        own = tokenizer._tokenized
        monkeypatch.setattr(tokenizer, "_tokenized", lambda texts: own([f"passage: {text}" for text in texts]))
        with pytest.raises(BuildError, match=r"input_ids of .* differ from Sentence Transformers' own"):
            export._check_tokens(loaded, tokenizer, [PLAIN])

    def test_tokens_are_compared_with_every_prompt(self, model, loaded, monkeypatch):
        tokenizer = Tokenizer(model)
        own = tokenizer._tokenized
        monkeypatch.setattr(
            tokenizer, "_tokenized", lambda texts: own([text.removeprefix("query: ") for text in texts])
        )
        export._check_tokens(loaded, tokenizer, [PLAIN])
        with pytest.raises(BuildError, match=r"input_ids of .* differ from Sentence Transformers' own"):
            export._check_tokens(loaded, tokenizer, [PLAIN, Role("query", "query: ")])

    def test_what_cannot_be_traced_is_named(self, model, tmp_path, monkeypatch):
        class Branching(Pooling):
            def forward(self, features, **kwargs):
                raise RuntimeError("depends on the data")

        monkeypatch.setattr(export, "load", lambda *_, **__: SentenceTransformer(modules=[stub, Branching(384)]).eval())
        stub = SentenceTransformer(str(model.path), device="cpu")[0]
        with pytest.raises(BuildError, match=r"\(Transformer, Branching\) cannot be exported to ONNX"):
            export._export(model, tmp_path / "model.onnx", 1)


def test_weights_lie_beside_their_graph(exported, tmp_path):
    """However big they are: nothing that changes a graph holds all of them."""
    graph = read_graph(exported)
    assert len(graph.proto.SerializeToString()) < 1e6
    save_graph(graph.copy(), tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx.data").stat().st_size > 80e6
    assert file_bytes(tmp_path / "model.onnx") == pytest.approx(weight_bytes(tmp_path / "model.onnx"), rel=0.01)
    assert weight_bytes(tmp_path / "model.onnx") == weight_bytes(exported)
    again = read_graph(tmp_path / "model.onnx")
    for name, tensor in graph.tensors.items():
        np.testing.assert_array_equal(again.array(again.tensors[name]), graph.array(tensor))
