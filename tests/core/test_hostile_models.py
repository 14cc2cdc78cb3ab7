"""Models whose configs would run code, load from elsewhere, or never end: refused before anything is loaded."""

from __future__ import annotations

import json
import os
import pickle
import shlex
from pathlib import Path

import numpy as np
import pytest
from helpers.pickled import Runs
from safetensors.numpy import save

from embedgate.core import model_files
from embedgate.core.errors import ModelError
from embedgate.core.model import resolve

RAN = "ran"


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder that looks like a Sentence Transformers model."""
    found = tmp_path / "model"
    (found / "1_Pooling").mkdir(parents=True)
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    write(found / "modules.json", modules)
    write(found / "config.json", {"model_type": "bert"})
    write(found / "tokenizer.json", {})
    write(found / "1_Pooling" / "config.json", {})
    (found / "model.safetensors").write_bytes(save({"some": np.zeros(1, dtype=np.float32)}))
    return found


def write(file: Path, content: object) -> None:
    file.write_text(json.dumps(content), "utf-8")


def refused(folder: Path, message: str) -> None:
    with pytest.raises(ModelError, match=message) as told:
        resolve(str(folder))
    assert "\n" not in str(told.value)


def add(folder: Path, kind: str, name: str) -> Path:
    modules = json.loads((folder / "modules.json").read_text("utf-8"))
    write(folder / "modules.json", [*modules, {"idx": 2, "name": "2", "path": name, "type": kind}])
    (folder / name).mkdir()
    return folder / name


def test_the_folder_itself_is_sound(folder):
    assert resolve(str(folder)).name == "model"


class TestCode:
    @pytest.mark.parametrize("spelled", ["auto_map", r"auto\u005fmap", r"\u0061uto_map"])
    @pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
    def test_remote_code_is_seen_however_its_key_is_spelled(self, folder, file, spelled):
        write(folder / "config.json", {"model_type": "own"})
        (folder / file).write_text(f'{{"{spelled}": {{"AutoModel": "own.Model"}}}}', "utf-8")
        refused(folder, r"asks for remote code \(auto_map\); embedgate never runs a model's own code")

    @pytest.mark.parametrize(
        "kind",
        [
            "custom_st.Transformer",
            "transformers.AutoModel",
            "os.system",
            "Sentence_Transformers.models.Pooling",
            "sentence_transformersx.models.Pooling",
        ],
    )
    def test_a_module_of_another_package_is_refused(self, folder, kind):
        add(folder, kind, "2_Own")
        refused(folder, f"names the class {kind}; embedgate loads Sentence Transformers' own modules only")

    @pytest.mark.parametrize("name", ["SentenceTransformer", "SentenceTransformerTrainer", "Module", "InputModule"])
    def test_a_class_that_is_no_module_loads_no_folder_that_nobody_looked_at(self, folder, name):
        """As a module, a model of its own was loaded with its own settings, and its folder was not looked at."""
        inner = add(folder, f"sentence_transformers.{name}", "2_Inner")
        write(inner / "modules.json", [{"idx": 0, "name": "0", "path": "", "type": "custom_st.Transformer"}])
        if name in ("Module", "InputModule"):  # bases of modules, which load nothing
            resolve(str(folder))
            return
        refused(
            folder,
            f"sentence_transformers.{name}, which the installed Sentence Transformers does not have among its modules",
        )

    def test_a_router_is_looked_into(self, folder):
        inner = add(folder, "sentence_transformers.models.Router", "2_Router")
        write(inner / "router_config.json", {"types": {"query": "sentence_transformers.SentenceTransformer"}})
        refused(
            folder,
            r"router_config\.json names the class sentence_transformers\.SentenceTransformer, which the installed",
        )

    @pytest.mark.parametrize(
        ("file", "settings", "place"),
        [
            ("config.json", {"attn_implementation": "evil/kernel"}, "attn_implementation"),
            ("config.json", {"_attn_implementation": "evil/kernel@main:run"}, "_attn_implementation"),
            ("config.json", {"_attn_implementation_internal": "evil/kernel"}, "_attn_implementation_internal"),
            ("config.json", {"experts_implementation": "evil/kernel"}, "experts_implementation"),
            ("config.json", {"text_config": {"attn_implementation": "e/k"}}, "text_config.attn_implementation"),
            ("config.json", {"attn_implementation": {"text_config": "e/k"}}, "attn_implementation"),
            (
                "sentence_bert_config.json",
                {"model_args": {"attn_implementation": "e/k"}},
                "model_args.attn_implementation",
            ),
        ],
    )
    def test_compiled_code_of_the_hub_is_refused(self, folder, file, settings, place):
        """transformers fetches `org/name` as a kernel, where the package `kernels` is installed."""
        write(folder / file, {"model_type": "bert", **settings})
        refused(folder, rf"{file} sets {place} to .*, which transformers would fetch from the hub and run; remove it")

    @pytest.mark.parametrize("value", ["eager", "sdpa", None, {"": "eager"}])
    def test_attention_of_transformers_itself_is_allowed(self, folder, value):
        write(folder / "config.json", {"model_type": "bert", "attn_implementation": value})
        resolve(str(folder))


class TestPickles:
    @pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pth", "a.pkl", "a.pickle", "last.ckpt"])
    def test_weights_that_are_a_pickle_alone_are_refused_and_not_opened(self, folder, tmp_path, name):
        (folder / "model.safetensors").unlink()
        (folder / name).write_bytes(pickle.dumps(Runs(tmp_path / RAN)))
        refused(folder, rf"holds pickle weights only \({name}\); convert them")
        assert not (tmp_path / RAN).exists()

    def test_a_module_that_knows_no_index_does_not_load_the_pickle_beside_one(self, folder):
        """Dense looks for model.safetensors, then for pytorch_model.bin: an index is nothing to it."""
        inner = add(folder, "sentence_transformers.models.Dense", "2_Dense")
        write(inner / "config.json", {})
        write(inner / "model.safetensors.index.json", {"weight_map": {"linear.weight": "part.safetensors"}})
        (inner / "part.safetensors").write_bytes(save({"linear.weight": np.zeros((2, 2), dtype=np.float32)}))
        (inner / "pytorch_model.bin").write_bytes(pickle.dumps(Runs(folder / RAN)))
        refused(folder, "2_Dense holds no safetensors weights of its Dense")


class TestElsewhere:
    @pytest.mark.parametrize("base", ["acme/base", "../other", "/srv/models/base"])
    def test_an_adapter_is_refused_whatever_it_adapts(self, folder, base):
        write(folder / "adapter_config.json", {"base_model_name_or_path": base})
        refused(folder, rf"adapter_config\.json makes it an adapter of {base}; merge them")

    def test_the_config_of_another_model_is_refused(self, folder):
        write(folder / "config.json", {"model_type": "bert", "base_model_name_or_path": "evil/base"})
        write(folder / "sentence_bert_config.json", {"transformer_task": "retrieval"})
        refused(folder, r"config\.json is loaded by the config of another model \(evil/base\), as .*bert_config\.json")

    @pytest.mark.parametrize(
        "name", ["../other/tokenizer.4.0.json", "/srv/tokenizer.4.0.json", "a/../../tokenizer.4.0.json"]
    )
    def test_a_tokenizer_of_another_folder_is_refused(self, folder, name):
        """transformers loads the file for its version in the place of tokenizer.json, wherever it lies."""
        write(folder / "tokenizer_config.json", {"fast_tokenizer_files": ["tokenizer.json", name]})
        refused(folder, rf"tokenizer_config\.json points outside its folder: '{name}'")

    def test_files_for_versions_beside_the_tokenizer_are_allowed(self, folder):
        write(folder / "tokenizer_config.json", {"fast_tokenizer_files": ["tokenizer.json", "tokenizer.4.0.json"]})
        resolve(str(folder))

    @pytest.mark.parametrize("name", ["../part.safetensors", "/srv/part.safetensors", "a/../../part.safetensors"])
    def test_parts_of_weights_outside_the_folder_are_refused(self, folder, name):
        (folder / "model.safetensors").rename(folder.parent / "part.safetensors")
        write(folder / "model.safetensors.index.json", {"weight_map": {"some": name}})
        refused(folder, rf"index\.json points outside its folder: '{name}'")

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("weights_only", False),
            ("cache_dir", "/srv"),
            ("local_files_only", False),
            ("offload_folder", "/srv"),
            ("proxies", {"https": "http://evil"}),
            ("allow_all_kernels", True),
            ("kernel_config", {"RMSNorm": "evil/kernel:RMSNorm"}),
        ],
    )
    def test_settings_that_fetch_or_write_elsewhere_are_refused(self, folder, key, value):
        write(folder / "sentence_bert_config.json", {"model_args": {key: value}})
        refused(folder, rf"sets model_args\.{key} to .*, so transformers would load something else")

    @pytest.mark.parametrize("key", ["weights_only", "local_files_only", "use_safetensors"])
    def test_settings_that_say_what_holds_anyway_are_allowed(self, folder, key):
        write(folder / "sentence_bert_config.json", {"model_args": {key: True}})
        resolve(str(folder))

    def test_the_name_that_a_config_was_saved_under_is_nothing(self, folder):
        write(folder / "config.json", {"model_type": "bert", "_name_or_path": "evil/other"})
        resolve(str(folder))


def test_a_folder_is_quoted_where_it_is_to_be_typed(folder):
    """Whoever copies the advice into a shell runs nothing else."""
    hostile = folder.rename(folder.with_name("a; touch ran"))
    write(hostile / "config.json", {"model_type": "bert", "quantization_config": {"quant_method": "gptq"}})
    with pytest.raises(ModelError) as told:
        resolve(str(hostile))
    assert shlex.split(told.value.action.partition("--gate-candidate ")[2]) == [str(hostile)]


class TestLinks:
    def test_a_link_to_its_own_folder_is_refused(self, folder):
        (folder / "again").symlink_to(folder)
        refused(folder, "again is a link to a folder that it is in; remove it")

    def test_links_that_multiply_are_refused(self, folder, monkeypatch):
        """Thirty folders of two links each would be a billion files."""
        monkeypatch.setattr(model_files, "MOST_FILES", 200)
        (folder / "x0").mkdir()
        for level in range(1, 30):
            (folder / f"x{level}").mkdir()
            for name in "ab":
                (folder / f"x{level - 1}" / name).symlink_to(folder / f"x{level}")
        refused(folder, "model holds more than 200 files; give the folder of one model")

    @pytest.mark.parametrize("name", ["more.json", "more.safetensors", "vocab.txt"])
    def test_a_link_to_a_device_is_refused(self, folder, name):
        (folder / name).symlink_to("/dev/zero")
        refused(folder, f"{name} is no file that can be read to its end: a device, a FIFO or a socket")

    def test_a_fifo_is_not_waited_for(self, folder):
        os.mkfifo(folder / "more.json")
        refused(folder, r"more\.json is no file that can be read to its end")
