"""Models that would run code if they were asked to: what they have beside their weights is left alone as they load."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.pickled import Runs
from sentence_transformers.base.modules import Dense

from embedgate.core.model import resolve
from embedgate.encoders import loading
from embedgate.encoders.loading import load

TEXTS = ["a text", "another one"]


@pytest.fixture
def ran(tmp_path) -> Path:
    """What is there once anything has run."""
    return tmp_path / "ran"


@pytest.fixture
def copied(small, tmp_path) -> Path:
    return Path(shutil.copytree(small.path, tmp_path / "model"))


@pytest.fixture(scope="module")
def right(small) -> np.ndarray:
    return load(small, "cpu", torch.float32).encode(TEXTS)


def change(file: Path, **settings: object) -> None:
    found = json.loads(file.read_text("utf-8")) if file.exists() else {}
    file.write_text(json.dumps({**found, **settings}), "utf-8")


def with_code(folder: Path, ran: Path) -> None:
    """Code of its own for an architecture that transformers has: with remote code off, its own class is taken."""
    code = f"from pathlib import Path\nPath({str(ran)!r}).touch()\nOwn = OwnConfig = OwnTokenizer = None\n"
    (folder / "own.py").write_text(code, "utf-8")
    maps = {"AutoConfig": "own.OwnConfig", "AutoModel": "own.Own"}
    change(folder / "config.json", auto_map=maps, custom_pipelines={"own": {"impl": "own.Own"}})
    tokenizers = {"AutoTokenizer": ["own.OwnTokenizer", None]}
    change(folder / "tokenizer_config.json", tokenizer_class="OwnTokenizer", auto_map=tokenizers)
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(code, "utf-8")
    (folder / "conftest.py").write_text(code, "utf-8")


def with_pickles(folder: Path, ran: Path) -> None:
    evil = pickle.dumps(Runs(ran))
    for name in ("pytorch_model.bin", "model.pt", "tokenizer.pkl", "vocab.pkl", "training_args.bin", "optimizer.pt"):
        (folder / name).write_bytes(evil)
    np.save(folder / "embeddings.npy", np.array([Runs(ran)], dtype=object), allow_pickle=True)
    shutil.copy(folder / "embeddings.npy", folder / "1_Pooling" / "extra.npz")


def with_names_of_others(folder: Path, ran: Path) -> None:
    change(folder / "config.json", _name_or_path="evil/other")
    change(folder / "tokenizer_config.json", name_or_path="evil/other", tokenizer_file="/etc/passwd")
    change(folder / "tokenizer_config.json", vocab_file="/etc/passwd", special_tokens_map_file="/etc/passwd")


def with_a_template(folder: Path, ran: Path) -> None:
    """A chat template of a tokenizer: Jinja, which embeddings of texts never render."""
    code = f"{{{{ cycler.__init__.__globals__.os.mknod({str(ran)!r}) }}}}{{% for i in range(10**9) %}}{{% endfor %}}"
    change(folder / "tokenizer_config.json", chat_template=code)
    (folder / "chat_template.jinja").write_text(code, "utf-8")


@pytest.mark.parametrize("add", [with_code, with_pickles, with_names_of_others, with_a_template])
def test_what_a_model_has_beside_its_weights_is_left_alone(add, copied, ran, right):
    add(copied, ran)
    found = load(resolve(str(copied)), "cpu", torch.float32).encode(TEXTS)
    assert (found == right).all()
    assert not ran.exists()


@pytest.mark.parametrize(
    ("file", "settings"),
    [
        ("processor_config.json", {"auto_map": {"AutoProcessor": "own.Own"}}),
        ("preprocessor_config.json", {"auto_map": {"AutoProcessor": "own.Own"}}),
    ],
)
def test_what_would_need_code_of_its_own_is_refused_and_does_not_run(file, settings, copied, ran):
    with_code(copied, ran)
    change(copied / file, **settings)
    with pytest.raises(loading.ModelError, match=r"asks for remote code, .*; embedgate never runs a model's own code"):
        load(resolve(str(copied)), "cpu", torch.float32)
    assert not ran.exists()


def test_every_library_is_told_to_run_no_code_and_ask_no_network(small, monkeypatch):
    asked = {}

    def note(*_: object, **given: object):
        asked.update(given)
        raise ValueError

    monkeypatch.setattr(loading, "SentenceTransformer", note)
    with pytest.raises(loading.ModelError):
        load(small, "cpu", torch.float32)
    assert asked["trust_remote_code"] is False
    assert asked["local_files_only"] is True
    assert asked["model_kwargs"]["use_safetensors"] is True


@pytest.mark.parametrize("named", ["os.abort", "own.Own", "torch.hub.list", "torch.utils.data.DataLoader"])
def test_an_activation_is_a_module_of_torch(named, tmp_path):
    """Of any other name, Sentence Transformers takes its own, or refuses it."""
    Dense(2, 2).save(str(tmp_path))
    change(tmp_path / "config.json", activation_function=named)
    if named.startswith("torch."):
        with pytest.raises(ValueError, match=r"must be a torch\.nn\.Module class"):
            Dense.load(str(tmp_path))
        return
    assert isinstance(Dense.load(str(tmp_path)).activation_function, torch.nn.Tanh)
