"""Models: found, pinned, safe to load, and identified by what an embedding depends on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from embedgate.core import model as models
from embedgate.core.errors import ModelError
from embedgate.core.model import DEFAULT_MODEL, DEFAULT_WEIGHTS_SHA256, resolve


def weights(name: str) -> bytes:
    """The smallest safetensors file, of one number by the name."""
    return save({name: np.zeros(1, dtype=np.float32)})


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder that looks like a Sentence Transformers model; nothing in it is loaded."""
    (tmp_path / "1_Pooling").mkdir()
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(weights("some"))
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "1_Pooling" / "config.json").write_text("{}")
    return tmp_path


def test_bundled_model_is_the_official_one():
    found = resolve(DEFAULT_MODEL)
    assert found.name == "all-MiniLM-L6-v2"
    assert models.sha256_of(found.path / "model.safetensors") == DEFAULT_WEIGHTS_SHA256


def test_bundled_model_with_other_weights_is_refused(tmp_path, monkeypatch):
    package = tmp_path / models.DEFAULT_PACKAGE
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('must not be imported')")
    (package / "model" / "model.safetensors").write_bytes(weights("other"))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelError, match="is not the official all-MiniLM-L6-v2"):
        resolve(DEFAULT_MODEL)


def test_local_folder_is_found_and_named_after_its_folder(folder):
    assert resolve(str(folder)).name == folder.name


@pytest.mark.parametrize(
    "file",
    [
        "model.safetensors",
        "tokenizer.json",
        "modules.json",
        "config.json",
        "1_Pooling/config.json",
        "router_config.json",
        "preprocessor_config.json",
        "chat_template.jinja",
        "additional_chat_templates/query.jinja",
        "1_Pooling/own_settings.json",
    ],
)
def test_fingerprint_changes_with_what_an_embedding_depends_on(folder, file):
    (folder / file).parent.mkdir(exist_ok=True)
    if not (folder / file).exists():
        (folder / file).write_text("{}")
    before = resolve(str(folder)).fingerprint
    content = (folder / file).read_bytes()
    (folder / file).write_bytes(weights("other") if file.endswith(".safetensors") else content + b" ")
    assert resolve(str(folder)).fingerprint != before
    (folder / file).write_bytes(content)
    assert resolve(str(folder)).fingerprint == before


@pytest.mark.parametrize(
    "file", ["README.md", "onnx/model.safetensors", "openvino/config.json", "data_config.json", "trainer_state.json"]
)
def test_fingerprint_leaves_documents_and_other_formats_out(folder, file):
    before = resolve(str(folder)).fingerprint
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_text("anything")
    assert resolve(str(folder)).fingerprint == before


def test_pickle_weights_only_are_refused(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"holds pickle weights only \(pytorch_model\.bin\)"):
        resolve(str(folder))


def test_pickle_weights_of_a_later_module_are_refused(folder):
    add_module(folder, "sentence_transformers.models.Dense", "2_Dense")
    (folder / "2_Dense").mkdir()
    (folder / "2_Dense" / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ModelError, match="2_Dense holds pickle weights only"):
        resolve(str(folder))


def test_pickles_are_not_loaded_where_safetensors_of_another_name_lie_beside_them(folder):
    (folder / "model.safetensors").rename(folder / "decoy.safetensors")
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ModelError, match="holds no safetensors weights of its Transformer"):
        resolve(str(folder))


@pytest.mark.parametrize("content", [b"", b"weights", weights("some")[:-2]])
def test_broken_weights_are_told(folder, content):
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.safetensors is no whole safetensors file: .*; restore it"):
        resolve(str(folder))


def test_a_missing_part_of_the_weights_is_told(folder):
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}))
    with pytest.raises(ModelError, match=r"model-2\.safetensors is missing, which .*index\.json names; restore it"):
        resolve(str(folder))


@pytest.mark.parametrize("name", ["onnx", "2_Dense"])
def test_every_module_counts_for_the_fingerprint_whatever_and_wherever_its_folder_is(folder, tmp_path_factory, name):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "config.json").write_text("{}")
    (elsewhere / "model.safetensors").write_bytes(weights("some"))
    (folder / name).symlink_to(elsewhere)
    add_module(folder, "sentence_transformers.models.Dense", name)
    before = resolve(str(folder)).fingerprint
    (elsewhere / "model.safetensors").write_bytes(weights("other"))
    assert resolve(str(folder)).fingerprint != before


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("modules.json", [], r"modules\.json names no module; restore it"),
        ("modules.json", {}, r"modules\.json names no module; restore it"),
        ("config_sentence_transformers.json", {"similarity_fn_name": ["cosine"]}, "names the similarity"),
        ("config_sentence_transformers.json", {"truncate_dim": "many"}, "truncate_dim that is no number of dimensions"),
        ("config_sentence_transformers.json", {"truncate_dim": -1}, "truncate_dim that is no number of dimensions"),
        ("config_sentence_transformers.json", {"truncate_dim": True}, "truncate_dim that is no number of dimensions"),
        ("sentence_bert_config.json", {"max_seq_length": "lots"}, "max_seq_length that is no number of tokens: 'lots'"),
        ("sentence_bert_config.json", {"max_seq_length": True}, "max_seq_length that is no number of tokens: True"),
        ("sentence_roberta_config.json", {"max_seq_length": 0}, "max_seq_length that is no number of tokens: 0"),
        ("tokenizer_config.json", {"model_max_length": "lots"}, "model_max_length that is no number of tokens"),
        (
            "1_Pooling/config.json",
            {"word_embedding_dimension": "wide"},
            r"config\.json says word_embedding_dimension 'wide', which is no",
        ),
        ("sentence_bert_config.json", [], r"sentence_bert_config\.json holds no JSON object"),
    ],
)
def test_configs_of_another_form_are_told(folder, file, content, message):
    (folder / file).write_text(json.dumps(content))
    with pytest.raises(ModelError, match=message):
        resolve(str(folder))


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("name_of_class", ["Router", "Asym"])
def test_a_router_of_earlier_versions_and_one_in_another_are_looked_into(folder, depth, name_of_class):
    """They keep their config in config.json."""
    inner = folder
    for level in range(depth):
        name = "router" if level == 0 else "query"
        if level == 0:
            add_module(folder, f"sentence_transformers.models.{name_of_class}", name)
        inner = inner / name
        inner.mkdir()
        kind = "evil.Module" if level == depth - 1 else f"sentence_transformers.models.{name_of_class}"
        (inner / "config.json").write_text(json.dumps({"types": {"query": kind}}))
    with pytest.raises(ModelError, match=r"config\.json names the class evil\.Module"):
        resolve(str(folder))


def test_pickles_beside_safetensors_are_never_loaded_and_do_not_matter(folder):
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    resolve(str(folder))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"type": "evil.Module"}, "names the class evil.Module"),
        ({"path": "../outside"}, "points outside its folder"),
        ({"path": "/etc"}, "points outside its folder"),
    ],
)
def test_modules_that_could_run_or_read_something_else_are_refused(folder, change, message):
    modules = json.loads((folder / "modules.json").read_text())
    modules[1].update(change)
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ModelError, match=message):
        resolve(str(folder))


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_remote_code_is_refused(folder, file):
    (folder / file).write_text('{"auto_map": {"AutoModel": "own.Model"}}')
    with pytest.raises(ModelError, match="asks for remote code"):
        resolve(str(folder))


def test_an_architecture_that_transformers_has_needs_no_remote_code(folder):
    """With remote code off, transformers takes its own class."""
    settings = {"model_type": "nomic_bert", "auto_map": {"AutoModel": "own.Model"}}
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "tokenizer_config.json").write_text(json.dumps({"auto_map": {"AutoTokenizer": "own.Tokenizer"}}))
    resolve(str(folder))


ADAPTER = {"base_model_name_or_path": "acme/base", "peft_type": "LORA"}
QUANTIZED = {"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}}


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config_sentence_transformers.json", {"model_type": "CrossEncoder"}, "says that the model is a CrossEncoder"),
        (
            "config_sentence_transformers.json",
            {"model_type": "SparseEncoder"},
            "says that the model is a SparseEncoder",
        ),
        (
            "config.json",
            QUANTIZED,
            r"its weights are quantized already \(bitsandbytes\); give the model it was made of",
        ),
        ("config.json", {"quantization_config": {}, "model_type": "bert"}, None),
        ("adapter_config.json", ADAPTER, "makes it an adapter of acme/base; merge them"),
        ("adapter_config.json", {}, "makes it an adapter of another model; merge them"),
        ("sentence_bert_config.json", {"model_args": QUANTIZED}, r"are quantized already \(bitsandbytes\); give"),
        ("sentence_bert_config.json", {"config_kwargs": QUANTIZED}, r"are quantized already \(bitsandbytes\); give"),
        ("sentence_bert_config.json", {"model_kwargs": {"load_in_8bit": True}}, "are quantized already"),
    ],
)
def test_what_is_another_kind_of_model_is_refused(folder, file, content, message):
    (folder / file).write_text(json.dumps(content))
    if message is None:
        resolve(str(folder))
        return
    with pytest.raises(ModelError, match=message) as told:
        resolve(str(folder))
    assert str(told.value).startswith(str(folder / file))


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("model_args", "use_safetensors", False),
        ("model_kwargs", "variant", "fp16"),
        ("model_kwargs", "trust_remote_code", True),
        ("model_kwargs", "gguf_file", "model.gguf"),
        ("tokenizer_args", "trust_remote_code", True),
        ("processor_kwargs", "subfolder", "other"),
        ("config_args", "revision", "main"),
    ],
)
def test_settings_that_load_something_else_are_refused(folder, section, key, value):
    file = folder / "sentence_bert_config.json"
    file.write_text(json.dumps({section: {key: value}}))
    with pytest.raises(ModelError, match=rf"{section}\.{key} to {value!r}, .*; remove it: embedgate loads") as told:
        resolve(str(folder))
    assert str(told.value).startswith(f"{file} sets ")


@pytest.mark.parametrize(
    "settings",
    [
        {"model_args": {"use_safetensors": True, "attn_implementation": "eager", "variant": None}},
        {"tokenizer_args": {"trust_remote_code": False, "padding_side": "left"}, "max_seq_length": 128},
        {"max_seq_length": None, "do_lower_case": False},
    ],
)
def test_settings_that_load_the_same_are_passed_on(folder, settings):
    (folder / "sentence_bert_config.json").write_text(json.dumps(settings))
    resolve(str(folder))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model_args": None}, "has model_args that are no settings by name"),
        ({"tokenizer_name_or_path": "org/other"}, r"takes the tokenizer from elsewhere \(tokenizer_name_or_path"),
    ],
)
def test_settings_of_another_form_or_place_are_told(folder, settings, message):
    (folder / "sentence_bert_config.json").write_text(json.dumps(settings))
    with pytest.raises(ModelError, match=message):
        resolve(str(folder))


def test_a_candidates_settings_may_quantize_it(folder):
    (folder / "sentence_bert_config.json").write_text(json.dumps({"model_args": QUANTIZED}))
    resolve(str(folder), quantized=True)


@pytest.mark.parametrize(
    "files",
    [["vocab.txt"], ["vocab.json", "merges.txt"], ["spiece.model"], ["sentencepiece.bpe.model"], ["tekken.json"]],
)
def test_a_transformer_needs_a_file_of_its_tokenizer(folder, files):
    (folder / "tokenizer.json").unlink()
    (folder / "special_tokens_map.json").write_text("{}")
    with pytest.raises(ModelError, match=r"has no tokenizer\.json, and no other file .*; restore it") as told:
        resolve(str(folder))
    assert str(told.value).startswith(str(folder))
    for file in files:
        (folder / file).write_text("")
    resolve(str(folder))


def test_a_tokenizer_that_reads_bytes_needs_no_file(folder):
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "ByT5Tokenizer"}')
    resolve(str(folder))


def test_the_tokenizer_of_a_static_model_is_told(folder):
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.StaticEmbedding"}]
    (folder / "modules.json").write_text(json.dumps(modules))
    resolve(str(folder))
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"tokenizer\.json is missing, without which no StaticEmbedding can be loaded"):
        resolve(str(folder))


def header_of(dtype: str, shape: list[int], name: str = "layer.weight") -> bytes:
    """A safetensors file of one tensor of zeros, of types that NumPy lacks, too."""
    size = int(np.prod(shape)) * {"I64": 8}.get(dtype, 1)
    header = json.dumps({name: {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(size)


@pytest.mark.parametrize("dtype", ["I8", "U8", "F8_E4M3", "F8_E5M2"])
@pytest.mark.parametrize("quantized", [False, True])
def test_weights_quantized_without_a_config_are_refused(folder, dtype, quantized):
    """They would be taken for floats as they are."""
    (folder / "model.safetensors").write_bytes(header_of(dtype, [2, 3]))
    with pytest.raises(ModelError, match=rf"quantized already \(layer\.weight in {dtype}\), and no config says how"):
        resolve(str(folder), quantized=quantized)


def test_quantized_weights_of_a_candidate_whose_config_says_how_are_allowed(folder):
    (folder / "model.safetensors").write_bytes(header_of("U8", [2, 3]))
    (folder / "config.json").write_text(json.dumps(QUANTIZED))
    resolve(str(folder), quantized=True)


@pytest.mark.parametrize(
    ("dtype", "shape", "name"),
    [("I64", [1, 4], "embeddings.position_ids"), ("BOOL", [2, 2], "mask"), ("U8", [1, 1, 2, 2], "attn.bias")],
)
def test_buffers_that_are_no_weights_are_allowed(folder, dtype, shape, name):
    (folder / "model.safetensors").write_bytes(header_of(dtype, shape, name))
    resolve(str(folder))


@pytest.mark.parametrize("file", ["config.json", "1_Pooling/config.json"])
def test_a_module_without_its_config_is_told(folder, file):
    (folder / file).unlink()
    with pytest.raises(
        ModelError, match=r"config\.json is missing, without which no \w+ can be loaded; restore it"
    ) as e:
        resolve(str(folder))
    assert str(e.value).startswith(str(folder / file))


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        (slice(1), "names no module that makes an embedding of a text's tokens, such as Pooling; add the one"),
        (slice(1, 2), "begins with the module Pooling, which reads no text; put first"),
    ],
)
def test_modules_that_come_to_no_embedding_are_told(folder, kept, message):
    file = folder / "modules.json"
    file.write_text(json.dumps(json.loads(file.read_text())[kept]))
    with pytest.raises(ModelError, match=message) as told:
        resolve(str(folder))
    assert str(told.value).startswith(str(file))


@pytest.mark.parametrize(
    ("takes", "message"),
    [("sentence_embedding", "names no module that makes an embedding"), ("token_embeddings", None)],
)
def test_a_module_may_make_the_embedding_of_anything_but_an_embedding(folder, takes, message):
    """Normalize and Dense say of themselves what they make, which is no embedding where they are given none."""
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["type"] = "sentence_transformers.base.modules.normalize.Normalize"
    (folder / "modules.json").write_text(json.dumps(modules))
    names = {"module_input_name": takes, "module_output_name": "sentence_embedding"}
    (folder / "1_Pooling/config.json").write_text(json.dumps(names))
    if message is None:
        resolve(str(folder))
        return
    with pytest.raises(ModelError, match=message):
        resolve(str(folder))


def test_a_transformer_may_make_the_embedding_itself(folder):
    file = folder / "modules.json"
    file.write_text(json.dumps(json.loads(file.read_text())[:1]))
    (folder / "sentence_bert_config.json").write_text('{"module_output_name": "sentence_embedding"}')
    resolve(str(folder))


@pytest.mark.parametrize(
    ("structure", "message"),
    [
        ({"query": ["read"]}, "makes an embedding of a text's tokens in its route query, such as Pooling"),
        ({"query": ["pool"]}, "begins with the module Pooling, which reads no text in its route query"),
        ({"query": []}, "has no module in its route query"),
        ({"query": ["other"]}, "has the module other in its route query, and no type of it"),
        ({"query": "read"}, "has a structure that is no modules by route"),
        ({"query": ["read", "pool"]}, None),
    ],
)
def test_the_routes_of_a_router_are_checked(folder, structure, message):
    types = {"read": "sentence_transformers.models.Transformer", "pool": "sentence_transformers.models.Pooling"}
    (folder / "modules.json").write_text('[{"path": "", "type": "sentence_transformers.models.Router"}]')
    (folder / "1_Pooling").rename(folder / "pool")
    (folder / "read").mkdir()
    for file in ("config.json", "model.safetensors", "tokenizer.json"):
        (folder / file).rename(folder / "read" / file)
    (folder / "router_config.json").write_text(json.dumps({"types": types, "structure": structure}))
    if message is None:
        resolve(str(folder))
        return
    with pytest.raises(ModelError, match=message) as told:
        resolve(str(folder))
    assert str(told.value).startswith(str(folder / "router_config.json"))


def test_a_class_that_sentence_transformers_lacks_is_told(folder):
    add_module(folder, "sentence_transformers.models.Poolin", "1_Pooling")
    with pytest.raises(ModelError, match=r"names the class sentence_transformers\.models\.Poolin, which the installed"):
        resolve(str(folder))


def test_a_class_of_another_version_is_left_to_sentence_transformers(folder):
    add_module(folder, "sentence_transformers.base.modules.module.Module", "1_Pooling")
    resolve(str(folder))


def add_module(folder: Path, kind: str, place: str) -> None:
    modules = json.loads((folder / "modules.json").read_text())
    modules.append({"idx": 2, "name": "2", "path": place, "type": kind})
    (folder / "modules.json").write_text(json.dumps(modules))


def test_a_sparse_encoder_of_an_early_version_is_refused_by_its_modules(folder):
    add_module(folder, "sentence_transformers.sparse_encoder.models.SpladePooling", "2_SpladePooling")
    with pytest.raises(ModelError, match=r"modules\.json says that the model is a SparseEncoder"):
        resolve(str(folder))


def test_a_model_of_several_vectors_per_text_is_refused_by_its_modules(folder):
    add_module(folder, "sentence_transformers.multi_vector_encoder.modules.MultiVectorMask", "1_Pooling")
    with pytest.raises(ModelError, match=r"modules\.json says that the model is a MultiVectorEncoder"):
        resolve(str(folder))


def test_a_module_without_its_folder_or_weights_is_told(folder):
    add_module(folder, "sentence_transformers.models.Dense", "2_Dense")
    with pytest.raises(ModelError, match=r"modules\.json names the folder .*2_Dense, which is missing; restore it"):
        resolve(str(folder))
    (folder / "2_Dense").mkdir()
    with pytest.raises(ModelError, match="2_Dense holds no safetensors weights of its Dense; restore them"):
        resolve(str(folder))
    (folder / "2_Dense/model.safetensors").write_bytes(weights("some"))
    with pytest.raises(ModelError, match=r"2_Dense/config\.json is missing, without which no Dense can be loaded"):
        resolve(str(folder))
    (folder / "2_Dense/config.json").write_text("{}")
    resolve(str(folder))


def test_pooling_without_its_folder_is_told(folder):
    shutil.rmtree(folder / "1_Pooling")
    with pytest.raises(ModelError, match=r"modules\.json names the folder .*1_Pooling, which is missing; restore it"):
        resolve(str(folder))


def test_a_pointer_of_git_lfs_is_told(folder):
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(ModelError, match=r"model\.safetensors is a pointer of Git LFS, not weights; run git lfs pull"):
        resolve(str(folder))


def test_a_module_without_weights_needs_no_folder(folder):
    add_module(folder, "sentence_transformers.models.Normalize", "2_Normalize")
    resolve(str(folder))


@pytest.mark.parametrize("file", ["config.json", "config_sentence_transformers.json", "tokenizer_config.json"])
@pytest.mark.parametrize(("content", "message"), [("{", "is no JSON"), ("[]", "holds no JSON object")])
def test_a_config_that_is_no_json_is_told(folder, file, content, message):
    (folder / file).write_text(content)
    with pytest.raises(ModelError, match=f"{message}.*; restore it, or fetch the model anew") as told:
        resolve(str(folder))
    assert str(told.value).startswith(str(folder / file))


def test_a_router_on_its_own_route_is_told(folder):
    add_module(folder, "sentence_transformers.models.Router", "2_Router")
    (folder / "2_Router").mkdir()
    (folder / "2_Router/router_config.json").write_text(
        json.dumps({"types": {"": "sentence_transformers.models.Asym"}})
    )
    with pytest.raises(ModelError, match=r"router_config\.json names its own folder as one of its modules; restore it"):
        resolve(str(folder))


def test_what_a_router_chooses_among_is_checked_too(folder):
    add_module(folder, "sentence_transformers.base.modules.router.Router", "2_Router")
    routes = {"types": {"query_0_StaticEmbedding": "sentence_transformers.models.StaticEmbedding"}}
    (folder / "2_Router/query_0_StaticEmbedding").mkdir(parents=True)
    (folder / "2_Router/router_config.json").write_text(json.dumps(routes))
    with pytest.raises(ModelError, match="query_0_StaticEmbedding holds no safetensors weights of its StaticEmbedding"):
        resolve(str(folder))
    routes["types"]["query_0_StaticEmbedding"] = "evil.Module"
    (folder / "2_Router/router_config.json").write_text(json.dumps(routes))
    with pytest.raises(ModelError, match=r"router_config\.json names the class evil\.Module"):
        resolve(str(folder))


def test_a_reranker_of_transformers_is_not_advised_to_be_saved_with_a_pooling(folder):
    (folder / "modules.json").unlink()
    (folder / "config.json").write_text('{"architectures": ["BertForSequenceClassification"]}')
    with pytest.raises(
        ModelError, match="is a BertForSequenceClassification: a cross-encoder or classifier, which"
    ) as e:
        resolve(str(folder))
    assert "save_pretrained" not in str(e.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [("[", "is no JSON"), ('[{"idx": 0}]', "number 1, whose type is no text"), (None, "has no modules.json")],
)
def test_no_sentence_transformers_folder_is_told(folder, content, message):
    if content is None:
        (folder / "modules.json").unlink()
    else:
        (folder / "modules.json").write_text(content)
    with pytest.raises(ModelError, match=message):
        resolve(str(folder))


@pytest.mark.parametrize("source", ["acme/encoder", "acme/encoder@main", "acme/encoder@v1.0", "acme/encoder@abc123"])
def test_unpinned_hub_id_is_refused_with_the_pinned_form(source, monkeypatch):
    monkeypatch.setattr(models, "current_commit", lambda hub_id: "c" * 40)
    with pytest.raises(ModelError, match=f"write acme/encoder@{'c' * 40}"):
        resolve(source)


def test_pinned_hub_id_is_fetched_without_pickles(folder, monkeypatch):
    asked = {}

    def snapshot_download(hub_id, **options):
        asked.update(hub_id=hub_id, **options)
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    found = resolve(f"acme/encoder@{'a' * 40}")
    assert (found.name, asked["hub_id"], asked["revision"]) == ("encoder", "acme/encoder", "a" * 40)
    assert not any(pattern.endswith(".bin") for pattern in asked["allow_patterns"])


def test_hub_out_of_reach_is_told_in_one_line(monkeypatch):
    def unreachable(*_, **__):
        raise OSError("no route to the hub\nand a second line")

    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)
    with pytest.raises(ModelError) as caught:
        resolve(f"acme/encoder@{'a' * 40}")
    assert str(caught.value).splitlines() == [str(caught.value)]


def test_missing_folder_is_told():
    with pytest.raises(ModelError, match=r"no model folder at '\./nowhere'"):
        resolve("./nowhere")


def test_renamed_copy_has_the_same_fingerprint(folder, tmp_path_factory):
    copy = tmp_path_factory.mktemp("copy") / "other"
    shutil.copytree(folder, copy)
    assert resolve(str(copy)).fingerprint == resolve(str(folder)).fingerprint
