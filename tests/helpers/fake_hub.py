"""A hub of one repository: a folder, and a cache that what is fetched from it is linked into, as huggingface_hub does."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from types import SimpleNamespace

from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError

from embedgate.core.hub import known

HUB_ID, COMMIT = "acme/encoder", "a" * 40
OTHER = ("onnx", "openvino")


class Hub:
    """A repository, and the functions of huggingface_hub that ask for it.

    Args:
        remote: What the repository holds.
        cache: Where it goes.
    """

    def __init__(self, remote: Path, cache: Path) -> None:
        self.remote = remote
        self.fetched: list[str] = []
        self.listed = 0
        self.trouble: Exception | None = None
        self._blobs, self._snapshot = cache / "blobs", cache / "snapshots" / COMMIT
        self._blobs.mkdir(parents=True)

    source = f"{HUB_ID}@{COMMIT}"

    def patch(self, monkeypatch) -> None:
        """Has huggingface_hub ask this hub, with a network."""
        known.cache_clear()  # another test's hub has the same name
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.snapshot_download", self.snapshot_download)
        monkeypatch.setattr("huggingface_hub.hf_hub_download", self.hf_hub_download)
        monkeypatch.setattr("huggingface_hub.hf_hub_url", lambda hub_id, name, *, revision: name)
        monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", self.get_hf_file_metadata)
        monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", self.try_to_load_from_cache)
        monkeypatch.setattr("huggingface_hub.HfApi", lambda: self)

    def snapshot_download(self, hub_id, *, revision, allow_patterns, ignore_patterns) -> str:
        assert (hub_id, revision) == (HUB_ID, COMMIT)
        for name in self._names():
            if name.partition("/")[0] not in OTHER:
                self._link(name)
        return str(self._snapshot)

    def list_repo_tree(self, hub_id, *, revision, recursive):
        assert (hub_id, revision, recursive) == (HUB_ID, COMMIT, True)
        if self.trouble:
            raise self.trouble
        self.listed += 1
        yield SimpleNamespace(path="onnx", tree_id="0")
        for name in self._names():
            yield SimpleNamespace(path=name, size=(self.remote / name).stat().st_size)

    def try_to_load_from_cache(self, hub_id, name, *, revision) -> str | None:
        assert (hub_id, revision) == (HUB_ID, COMMIT)
        return str(self._snapshot / name) if (self._snapshot / name).is_file() else None

    def get_hf_file_metadata(self, name, *, timeout) -> None:
        assert timeout
        if self.trouble:
            raise self.trouble
        if not (self.remote / name).is_file():
            raise RemoteEntryNotFoundError(f"404: no {name}", response=SimpleNamespace(headers={}, request=None))

    def hf_hub_download(self, hub_id, name, *, revision) -> str:
        assert (hub_id, revision) == (HUB_ID, COMMIT)
        if self.trouble:
            raise LocalEntryNotFoundError(f"we cannot find {name} in the local cache\nand more")
        self.fetched.append(name)
        return str(self._link(name))

    def _names(self) -> list[str]:
        return sorted(file.relative_to(self.remote).as_posix() for file in self.remote.rglob("*") if file.is_file())

    def _link(self, name: str) -> Path:
        link, blob = self._snapshot / name, self._blobs / hashlib.sha256(name.encode()).hexdigest()
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            shutil.copy(self.remote / name, blob)
            link.symlink_to(blob)
        return link
