"""The files of a model's folder: which of them decide its embeddings, and whether it is safe to load."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

from embedgate.core.errors import ModelError, one_line

# What an embedding may depend on. Documents and other formats of the same weights (onnx/, openvino/) are left out.
FINGERPRINTED = (
    "*.safetensors",
    "*.json",
    "*.jinja",
    "vocab.*",
    "merges.txt",
    "*.model",
    "*.model.v*",
    "*.spm",
    "*.codes",
    "*.tiktoken",
)
# What was noted in training.
NOTES = ("data_config.json", "trainer_state.json", "*_results.json")
OTHER_FORMATS = {"onnx", "openvino"}
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
# Modules that have weights, by the names of their classes.
WITH_WEIGHTS = {
    "CLIPModel",
    "CNN",
    "Dense",
    "LayerNorm",
    "LSTM",
    "StaticEmbedding",
    "Transformer",
    "WeightedLayerPooling",
}
WITH_FOLDER = {*WITH_WEIGHTS, "Pooling"}
# Modules that choose among others. The latter is the name of earlier versions, under which the former loads still.
ROUTERS = {"Router", "Asym"}
# What stands in the place of a large file in a clone without Git LFS.
POINTER = b"version https://git-lfs"
SETTINGS = "config_sentence_transformers.json"
RESTORE = "restore it, or fetch the model anew"
OWN_KIND = "SentenceTransformer"
OTHER_KINDS = {"sparse_encoder": "SparseEncoder", "cross_encoder": "CrossEncoder"}


def fingerprint(path: Path) -> str:
    """SHA-256 over names and contents of the files an embedding depends on, hex."""
    digest = hashlib.sha256()
    for file in _fingerprinted_files(path):
        digest.update(file.relative_to(path).as_posix().encode() + b"\0")
        digest.update(sha256_of(file).encode() + b"\0")
    return digest.hexdigest()


def check_safe(path: Path, *, quantized: bool = False) -> None:
    """Refuses a folder that is no Sentence Transformers model, would unpickle, or would run code of its own.

    Args:
        path: The folder.
        quantized: Whether its weights may be quantized already.

    Raises:
        ModelError: With the file at fault.
    """
    for file, kind, folder in _described(path):
        if not kind.startswith("sentence_transformers."):
            raise ModelError(
                f"{file} names the class {kind}", "embedgate loads Sentence Transformers' own modules only"
            )
        _refuse_kind(file, next((own for part, own in OTHER_KINDS.items() if f".{part}." in kind), OWN_KIND))
        module = kind.rpartition(".")[2]
        if folder.is_dir():
            _check_folder(folder, module, quantized)
        elif module in WITH_FOLDER:
            raise ModelError(f"{file} names the folder {folder}, which is missing", RESTORE)
    settings = path / SETTINGS
    _refuse_kind(settings, str(json_of(settings).get("model_type") or OWN_KIND))
    if not any(_fingerprinted_files(path, "*.safetensors")):
        raise ModelError(f"{path} holds no safetensors weights")


def _described(path: Path) -> Iterator[tuple[Path, str, Path]]:
    """Each module: the file that names it, its class, and its folder; those that a Router chooses among, too."""
    file = path / "modules.json"
    if not file.is_file():
        _refuse_classifier(path / "config.json")
        raise ModelError(
            f"{path} has no modules.json, so it is no Sentence Transformers folder",
            "make one of a folder of transformers: SentenceTransformer(folder).save_pretrained(new_folder)",
        )
    try:
        described = [(str(module["type"]), str(module["path"])) for module in json.loads(file.read_text("utf-8"))]
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{file} cannot be read: {error}", RESTORE) from error
    if not described:
        raise ModelError(f"{file} names no module", RESTORE)
    for kind, relative in described:
        folder = _within(path, file, relative)
        yield file, kind, folder
        yield from _routed(folder, kind)


def _routed(folder: Path, kind: str) -> Iterator[tuple[Path, str, Path]]:
    """The modules that a Router chooses among, those of a Router in a Router, too."""
    if not is_router(kind):
        return
    file, config = router_of(folder)
    types = config.get("types", {})
    if not isinstance(types, dict):
        raise ModelError(f"{file} has types that are no modules by name", RESTORE)
    for inner, own in types.items():
        place = _within(folder, file, inner)
        if is_router(str(own)) and place == folder:
            raise ModelError(f"{file} names its own folder as one of its modules", RESTORE)
        yield file, str(own), place
        yield from _routed(place, str(own))


def is_router(kind: str) -> bool:
    """Whether a class, as a config names it, chooses among modules of its own."""
    return kind.rpartition(".")[2] in ROUTERS


def router_of(folder: Path) -> tuple[Path, dict[str, Any]]:
    """A Router's file and what it says: `config.json` where it has none of its own, as earlier versions wrote it."""
    own = folder / "router_config.json"
    file = own if own.is_file() else folder / "config.json"
    return file, json_of(file)


def _within(folder: Path, file: Path, relative: str) -> Path:
    if PurePosixPath(relative).is_absolute() or ".." in PurePosixPath(relative).parts:
        raise ModelError(f"{file} points outside its folder: {relative!r}")
    return folder / relative


def _refuse_kind(file: Path, kind: str) -> None:
    if kind != OWN_KIND:
        raise ModelError(
            f"{file} says that the model is a {kind}, which gives no dense embedding per text",
            f"embedgate gates models of the class {OWN_KIND}",
        )


def _refuse_classifier(config: Path) -> None:
    """Refuses a folder of transformers that scores texts, as rerankers do: with a pooling, it would embed badly."""
    named = json_of(config).get("architectures")
    classes = map(str, named if isinstance(named, list) else ())
    classifier = next((each for each in classes if each.endswith("ForSequenceClassification")), None)
    if classifier:
        _refuse_kind(config, f"{classifier}: a cross-encoder or classifier")


def _check_folder(folder: Path, kind: str, may_be_quantized: bool) -> None:
    """Refuses a module whose weights are missing, pickled, quantized or elsewhere, or which brings its own code."""
    safe = sorted(folder.glob("*.safetensors"))
    pickles = sorted(
        file.name for file in folder.iterdir() if file.suffix in PICKLES and file.name != "training_args.bin"
    )
    if pickles and not safe:
        raise ModelError(
            f"{folder} holds pickle weights only ({', '.join(pickles)})",
            "convert them: SentenceTransformer(folder).save_pretrained(new_folder, safe_serialization=True)",
        )
    if adapter := json_of(folder / "adapter_config.json"):
        raise ModelError(
            f"{folder / 'adapter_config.json'} makes it an adapter of {adapter.get('base_model_name_or_path')}",
            "merge them: model[0].model.merge_and_unload(), then model.save_pretrained(new_folder)",
        )
    if kind in WITH_WEIGHTS:
        _check_weights(folder, kind)
    for name in ("sentence_bert_config.json", "tokenizer.json", "special_tokens_map.json", "generation_config.json"):
        json_of(folder / name)
    config = json_of(folder / "config.json")
    if (quantized := config.get("quantization_config")) and not may_be_quantized:
        method = quantized.get("quant_method", "some method") if isinstance(quantized, dict) else quantized
        raise ModelError(
            f"{folder / 'config.json'} says that its weights are quantized already ({method})",
            f"give the model it was made of, and this one as a candidate: --gate-candidate {folder}",
        )
    for file, settings in (
        (folder / name, json_of(folder / name)) for name in ("config.json", "tokenizer_config.json")
    ):
        if "auto_map" in settings and not _transformers_has(config.get("model_type")):
            raise ModelError(f"{file} asks for remote code (auto_map)", "embedgate never runs a model's own code")


def _check_weights(folder: Path, kind: str) -> None:
    """Refuses weights that are not where they are loaded from, or broken: others would be loaded in their place."""
    from safetensors import SafetensorError, safe_open  # and NumPy, which options do without

    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    parts = json_of(index).get("weight_map", {})
    if not isinstance(parts, dict):
        raise ModelError(f"{index} has no files by tensor", RESTORE)
    needed = [whole] if whole.is_file() else sorted({_within(folder, index, str(name)) for name in parts.values()})
    if not needed:
        raise ModelError(
            f"{folder} holds no safetensors weights of its {kind}", "restore them, or fetch the model anew"
        )
    for weights in needed:
        if not weights.is_file():
            raise ModelError(f"{weights} is missing, which {index} names", RESTORE)
        with weights.open("rb") as stream:
            if stream.read(len(POINTER)) == POINTER:
                raise ModelError(f"{weights} is a pointer of Git LFS, not weights", "run git lfs pull in its folder")
        try:
            with safe_open(weights, "np"):
                pass
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{weights} is no whole safetensors file: {one_line(error)}", RESTORE) from error


def _transformers_has(model_type: object) -> bool:
    """Whether transformers itself has an architecture: with remote code off, it takes its own class then."""
    from transformers import CONFIG_MAPPING

    return model_type in CONFIG_MAPPING


def json_of(file: Path) -> dict[str, Any]:
    """A file's JSON object; an empty one where there is no such file."""
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} is no JSON: {error}", RESTORE) from error
    if not isinstance(found, dict):
        raise ModelError(f"{file} holds no JSON object", RESTORE)
    return found


def _fingerprinted_files(path: Path, *patterns: str) -> list[Path]:
    # A module's folder may have any name.
    modules = {part for _, _, folder in _described(path) for part in folder.relative_to(path).parts}
    everything = []
    for folder, names, files in os.walk(path, followlinks=True):
        names[:] = [name for name in names if name not in OTHER_FORMATS - modules]
        everything += [Path(folder, name) for name in files]
    found = {
        file
        for pattern in patterns or FINGERPRINTED
        for file in everything
        if fnmatch(file.name, pattern) and not any(fnmatch(file.name, note) for note in NOTES)
    }
    return sorted(found, key=lambda file: file.relative_to(path).as_posix())


def sha256_of(file: Path) -> str:
    """SHA-256 of a file's content, hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
