"""The cache of the `datasets` library on a machine that cannot reach the hub."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import datasets
import pytest
from datasets.packaged_modules.json.json import Json

# Puts rows into the cache: of a repository at a commit, by config and split. Gives the folder they are in.
Put: TypeAlias = Callable[[str, str, str, str, Sequence[Mapping[str, Any]]], Path]


def offline(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Put:
    """Cuts the hub off, and leaves a cache that is empty at first."""
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "cache")

    def put(repository: str, commit: str, config: str, split: str, rows: Sequence[Mapping[str, Any]]) -> Path:
        file = folder / "rows.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        builder = Json(
            cache_dir=str(folder / "made"),
            dataset_name=repository.partition("/")[2],
            config_name=config,
            hash=commit,
            data_files={split: str(file)},
        )
        builder.download_and_prepare()
        place = folder / "cache" / repository.replace("/", "___") / config / "0.0.0" / commit
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(builder.cache_dir, place)
        return place

    return put
