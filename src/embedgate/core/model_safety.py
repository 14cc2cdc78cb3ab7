"""Whether a model's folder is one that embedgate gates: whole, safe to load, and not quantized already."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from embedgate.core.errors import ModelError, one_line
from embedgate.core.model_elsewhere import (
    QUANTIZES,
    TOKENIZER_ELSEWHERE,
    check_versions,
    passed_on,
    refuse_base,
    refuse_kernels,
)
from embedgate.core.model_files import (
    RESTORE,
    ROUTERS,
    SETTINGS,
    described,
    fingerprinted_files,
    is_pointer,
    json_of,
    router_of,
    within,
)


@dataclass(frozen=True)
class _Kind:
    """A class of modules.

    Attributes:
        file: Without it, the module is not what was saved; empty where there need be none.
        has_weights: Whether its folder holds weights.
        reads_texts: Whether a model can begin with it.
        embeds: Whether it makes one embedding of a text.
    """

    file: str = "config.json"
    has_weights: bool = False
    reads_texts: bool = False
    embeds: bool = False


KINDS = {
    "Transformer": _Kind(has_weights=True, reads_texts=True),
    "CLIPModel": _Kind(has_weights=True, reads_texts=True, embeds=True),
    "StaticEmbedding": _Kind("tokenizer.json", has_weights=True, reads_texts=True, embeds=True),
    "WordEmbeddings": _Kind("wordembedding_config.json", has_weights=True, reads_texts=True),
    "BoW": _Kind(reads_texts=True, embeds=True),
    **{name: _Kind("", reads_texts=True, embeds=True) for name in ROUTERS},
    "Pooling": _Kind(embeds=True),
    "CNN": _Kind("cnn_config.json", has_weights=True),
    "LSTM": _Kind("lstm_config.json", has_weights=True),
    "Dense": _Kind(has_weights=True),
    "LayerNorm": _Kind(has_weights=True),
    "WeightedLayerPooling": _Kind(has_weights=True),
    "WordWeights": _Kind(),
    "Normalize": _Kind(""),
    "Dropout": _Kind(""),
}
OF_TRANSFORMERS = {"Transformer", "CLIPModel"}
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
OWN_KIND = "SentenceTransformer"
OTHER_KINDS = {
    "sparse_encoder": "SparseEncoder",
    "cross_encoder": "CrossEncoder",
    "multi_vector_encoder": "MultiVectorEncoder",
}
# What a Transformer's tokenizer can be loaded from.
TOKENIZERS = (
    "tokenizer.json",
    "tokenizer.*.json",
    "tekken.json",
    "vocab.*",
    "vocab-*",
    "dict.txt",
    "*.model",
    "*.model.v*",
    "*.spm",
    "*.codes",
    "*.tiktoken",
    "*.tokenizer",
)
# Settings of a Transformer, by names of several versions.
CONFIGS = "sentence_*_config.json"
# Types of 8 bits and fewer, as a safetensors file names them: of these, weights would be taken for floats as they are.
QUANTIZED = re.compile(r"[IU][48]|F[468](_.*)?")


def check_safe(path: Path, *, quantized: bool = False) -> None:
    """Refuses a folder that is no whole Sentence Transformers model, would unpickle, or would run code of its own.

    Args:
        path: The folder.
        quantized: Whether its weights may be quantized already.

    Raises:
        ModelError: With the file at fault.
    """
    if not (path / "modules.json").is_file():
        _refuse_classifier(path / "config.json")
    settings = path / SETTINGS
    _refuse_kind(settings, str(json_of(settings).get("model_type") or OWN_KIND))
    for file, kind, folder in described(path):
        if not kind.startswith("sentence_transformers."):
            raise ModelError(
                f"{file} names the class {kind}", "embedgate loads Sentence Transformers' own modules only"
            )
        _refuse_kind(file, next((own for part, own in OTHER_KINDS.items() if f".{part}." in kind), OWN_KIND))
        name = kind.rpartition(".")[2]
        if name not in KINDS and name not in _defined():
            raise ModelError(
                f"{file} names the class {kind}, which the installed Sentence Transformers does not have among its"
                " modules",
                "correct its type, or install the version that the model was saved with",
            )
        module = KINDS.get(name, _Kind(""))
        if folder.is_dir():
            _check_folder(folder, name, module, quantized)
        elif module.file:
            raise ModelError(f"{file} names the folder {folder}, which is missing", RESTORE)
    _check_ways(path)
    if not any(fingerprinted_files(path, "*.safetensors")):
        raise ModelError(f"{path} holds no safetensors weights")


@cache
def _defined() -> frozenset[str]:
    """The classes of modules that Sentence Transformers has, by its source, since importing it takes seconds.

    What is no module, such as `SentenceTransformer` itself, would load a folder that nobody has looked at.
    """
    package = find_spec("sentence_transformers")
    places = package.submodule_search_locations if package else None
    files = (file for place in places or () for file in Path(place).glob("**/modules/**/*.py"))
    found = re.compile(r"^class (\w+)", re.MULTILINE)
    return frozenset(name for file in files for name in found.findall(file.read_text("utf-8")))


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


def _check_ways(path: Path) -> None:
    """Refuses modules of which the first reads no text, or none makes an embedding; the same of a Router's routes."""
    file = path / "modules.json"
    modules = [(kind.rpartition(".")[2], folder) for named_in, kind, folder in described(path) if named_in == file]
    _check_way(file, modules)
    (first, folder), *after = modules
    if first not in ROUTERS:
        return
    routed, config = router_of(folder)
    types, structure = config.get("types", {}), config.get("structure", {})
    if not isinstance(structure, dict) or not all(map(_are_names, structure.values())):
        raise ModelError(f"{routed} has a structure that is no modules by route", RESTORE)
    for route, names in structure.items():
        if unknown := [name for name in names if name not in types]:
            raise ModelError(f"{routed} has the module {unknown[0]} in its route {route}, and no type of it", RESTORE)
        own = [(str(types[name]).rpartition(".")[2], folder / name) for name in names]
        _check_way(routed, [*own, *after], f" in its route {route}")


def _are_names(found: object) -> bool:
    return isinstance(found, list) and all(isinstance(each, str) for each in found)


def _check_way(file: Path, modules: Sequence[tuple[str, Path]], where: str = "") -> None:
    if any(name not in KINDS for name, _ in modules):
        return
    if not modules or not KINDS[modules[0][0]].reads_texts:
        found = f"begins with the module {modules[0][0]}, which reads no text" if modules else "has no module"
        raise ModelError(f"{file} {found}{where}", "put first what the model was trained with, such as a Transformer")
    if not any(KINDS[name].embeds or _embeds_by_itself(folder) for name, folder in modules):
        raise ModelError(
            f"{file} names no module that makes an embedding of a text's tokens{where}, such as Pooling",
            "add the one that the model was trained with, or save the model anew",
        )


def _embeds_by_itself(folder: Path) -> bool:
    """Whether a module's configs say that it makes the embedding, of something else than an embedding."""
    configs = [json_of(file) for file in (*folder.glob(CONFIGS), folder / "config.json")]
    embedding = "sentence_embedding"
    return any(config.get("module_output_name") == embedding != config.get("module_input_name") for config in configs)


def _check_folder(folder: Path, name: str, module: _Kind, may_be_quantized: bool) -> None:
    """Refuses a module whose files are missing, pickled, quantized or elsewhere, or which brings its own code."""
    safe = sorted(folder.glob("*.safetensors"))
    pickles = sorted(
        file.name for file in folder.iterdir() if file.suffix in PICKLES and file.name != "training_args.bin"
    )
    if pickles and not safe:
        raise ModelError(
            f"{folder} holds pickle weights only ({', '.join(pickles)})",
            "convert them: SentenceTransformer(folder).save_pretrained(new_folder, safe_serialization=True)",
        )
    adapter = folder / "adapter_config.json"
    if adapter.is_file():
        raise ModelError(
            f"{adapter} makes it an adapter of {json_of(adapter).get('base_model_name_or_path', 'another model')}",
            "merge them: model[0].model.merge_and_unload(), then model.save_pretrained(new_folder)",
        )
    config = json_of(folder / "config.json")
    if config.get("quantization_config") and not may_be_quantized:
        _refuse_quantized(folder / "config.json", folder, config["quantization_config"])
    if module.has_weights:
        _check_weights(folder, name, bool(config.get("quantization_config")))
    if module.file and not (folder / module.file).is_file():
        raise ModelError(f"{folder / module.file} is missing, without which no {name} can be loaded", RESTORE)
    for other in ("tokenizer.json", "special_tokens_map.json", "generation_config.json"):
        json_of(folder / other)
    for file in (folder / "config.json", folder / "tokenizer_config.json"):
        if "auto_map" in json_of(file) and not _transformers_has(config.get("model_type")):
            raise ModelError(f"{file} asks for remote code (auto_map)", "embedgate never runs a model's own code")
    refuse_kernels(folder / "config.json", config)
    if name in OF_TRANSFORMERS:
        _check_transformer(folder, may_be_quantized)


def _refuse_quantized(file: Path, folder: Path, how: object) -> None:
    method = how.get("quant_method", "some method") if isinstance(how, dict) else how
    raise ModelError(
        f"{file} says that its weights are quantized already ({method})",
        f"give the model it was made of, and this one as a candidate: --gate-candidate {shlex.quote(str(folder))}",
    )


def _check_transformer(folder: Path, may_be_quantized: bool) -> None:
    """Refuses settings of a Transformer that would load something else, and a tokenizer without its files."""
    reads_texts = True
    for file in sorted(folder.glob(CONFIGS)):
        settings = json_of(file)
        _check_lengths(file, settings.get("max_seq_length"), "max_seq_length")
        if elsewhere := next((key for key in TOKENIZER_ELSEWHERE if settings.get(key)), None):
            raise ModelError(
                f"{file} takes the tokenizer from elsewhere ({elsewhere}: {settings[elsewhere]})",
                "copy its files beside the weights, and remove the setting",
            )
        refuse_kernels(file, settings)
        refuse_base(file, settings, folder / "config.json")
        for key, value in passed_on(file, settings):
            if key.rpartition(".")[2] not in QUANTIZES:
                raise ModelError(
                    f"{file} sets {key} to {value!r}, so transformers would load something else than was looked at",
                    "remove it: embedgate loads a folder's own safetensors only, and runs no code of it",
                )
            if not may_be_quantized:
                _refuse_quantized(file, folder, value if isinstance(value, dict) else key)
        modalities = settings.get("modality_config")
        reads_texts &= not isinstance(modalities, dict) or any("text" in key.split("+") for key in modalities)
    settings = json_of(folder / "tokenizer_config.json")
    check_versions(folder, settings.get("fast_tokenizer_files"))
    _check_lengths(folder / "tokenizer_config.json", settings.get("model_max_length"), "model_max_length")
    if reads_texts and not any(any(folder.glob(pattern)) for pattern in TOKENIZERS) and _needs_files(folder):
        raise ModelError(
            f"{folder} has no tokenizer.json, and no other file that its tokenizer can be loaded from", RESTORE
        )


def _check_lengths(file: Path, found: object, key: str) -> None:
    if found is not None and (isinstance(found, bool) or not isinstance(found, int | float) or not found >= 1):
        raise ModelError(
            f"{file} has a {key} that is no number of tokens: {found!r}", "write a whole number, or remove it"
        )


def _needs_files(folder: Path) -> bool:
    """Whether a tokenizer has any files; some read bytes as they are."""
    from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES, tokenizer_class_from_name

    named = json_of(folder / "tokenizer_config.json").get("tokenizer_class")
    usual = TOKENIZER_MAPPING_NAMES.get(str(json_of(folder / "config.json").get("model_type")))
    found: Any = tokenizer_class_from_name(str(named or usual))
    return found is None or bool(getattr(found, "vocab_files_names", True))


def _check_weights(folder: Path, kind: str, says_quantized: bool) -> None:
    """Refuses weights that are not where they are loaded from, broken, or quantized without a word.

    Others would be loaded in their place, or integers be taken for floats.
    """
    from safetensors import SafetensorError, safe_open  # and NumPy, which options do without

    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    # Other modules know no index, and would load what lies beside it.
    parts = json_of(index).get("weight_map", {}) if kind in OF_TRANSFORMERS else {}
    if not isinstance(parts, dict):
        raise ModelError(f"{index} has no files by tensor", RESTORE)
    needed = [whole] if whole.is_file() else sorted({within(folder, index, str(name)) for name in parts.values()})
    if not needed:
        raise ModelError(
            f"{folder} holds no safetensors weights of its {kind}", "restore them, or fetch the model anew"
        )
    for weights in needed:
        if not weights.is_file():
            raise ModelError(f"{weights} is missing, which {index} names", RESTORE)
        if is_pointer(weights):
            raise ModelError(f"{weights} is a pointer of Git LFS, not weights", "run git lfs pull in its folder")
        try:
            with safe_open(weights, "np") as tensors:
                slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118
                found = {name: each.get_dtype() for name, each in slices.items() if len(each.get_shape()) == 2}
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{weights} is no whole safetensors file: {one_line(error)}", RESTORE) from error
        quantized = next((name for name, dtype in found.items() if QUANTIZED.fullmatch(dtype)), None)
        if quantized and not says_quantized:
            raise ModelError(
                f"{weights} holds weights that are quantized already ({quantized} in {found[quantized]}), and no config"
                " says how",
                "give the model it was made of",
            )


def _transformers_has(model_type: object) -> bool:
    """Whether transformers itself has an architecture: with remote code off, it takes its own class then."""
    from transformers import CONFIG_MAPPING

    return isinstance(model_type, str) and model_type in CONFIG_MAPPING
