"""What a model's settings would have loaded from elsewhere than the files that were looked at: found, and refused."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from embedgate.core.errors import ModelError
from embedgate.core.model_files import RESTORE, json_of, within

# In which settings a Transformer passes some on to transformers.
PASSED_ON = ("model_args", "model_kwargs", "tokenizer_args", "processor_kwargs", "config_args", "config_kwargs")
TOKENIZER_ELSEWHERE = ("tokenizer_name_or_path", "processor_name")
QUANTIZES = ("quantization_config", "load_in_8bit", "load_in_4bit")
# With these, transformers would load something else than the files that were looked at here, or write elsewhere.
LOADS_ELSE = {
    "adapter_kwargs",
    "allow_all_kernels",
    "cache_dir",
    "code_revision",
    "gguf_file",
    "kernel_config",
    "local_files_only",
    "merges_file",
    "offload_folder",
    "proxies",
    "revision",
    "subfolder",
    "tokenizer_file",
    "trust_remote_code",
    "use_kernels",
    "use_safetensors",
    "variant",
    "vocab_file",
    "weights_only",
}
# How layers compute. Transformers takes `org/name` here for compiled code of the hub, which it fetches and runs.
IMPLEMENTATIONS = re.compile(r"_?(attn|experts)_implementation(_internal)?")
# What a setting says that is taken for unset: the loader says so itself, or it is what happens without.
USUAL = {"use_safetensors": True, "weights_only": True, "local_files_only": True}


def refuse_kernels(file: Path, settings: Mapping[str, Any]) -> None:
    """Refuses settings, those of models within a model too, that name code of the hub for layers."""
    left = [("", settings)]
    while left:
        above, some = left.pop()
        for key, value in some.items():
            if IMPLEMENTATIONS.fullmatch(key) and any("/" in str(each) for each in _values(value)):
                raise ModelError(
                    f"{file} sets {above}{key} to {value!r}, which transformers would fetch from the hub and run",
                    "remove it: embedgate never runs a model's own code",
                )
            if isinstance(value, dict):
                left.append((f"{above}{key}.", value))


def _values(value: object) -> Iterable[object]:
    return value.values() if isinstance(value, dict) else (value,)


def refuse_base(file: Path, settings: Mapping[str, Any], config: Path) -> None:
    """Refuses a model that is loaded by the config of another one."""
    base = json_of(config).get("base_model_name_or_path")
    if settings.get("transformer_task") == "retrieval" and base:
        raise ModelError(f"{config} is loaded by the config of another model ({base}), as {file} asks", RESTORE)


def check_versions(folder: Path, names: object) -> None:
    """Refuses files for versions of transformers that lie elsewhere: one is loaded in the place of tokenizer.json."""
    for name in names if isinstance(names, list) else ():
        within(folder, folder / "tokenizer_config.json", str(name))


def passed_on(file: Path, settings: dict[str, Any]) -> Iterator[tuple[str, object]]:
    """What a Transformer's config passes on to transformers that changes what is loaded, by its place and name."""
    for section in (section for section in PASSED_ON if section in settings):
        if not isinstance(settings[section], dict):
            raise ModelError(f"{file} has {section} that are no settings by name", "remove them")
        for key, value in settings[section].items():
            usual = value in (None, "") or value is USUAL.get(key, False)
            if key in LOADS_ELSE.union(QUANTIZES) and not usual:
                yield f"{section}.{key}", value
