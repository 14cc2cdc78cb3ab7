"""Built artefacts, kept under the user's cache folder by what they were built from."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from platformdirs import user_cache_path

from embedgate.core.errors import BuildError
from embedgate.core.files import read_json, to_json, write_whole

COMPLETE = "artefact.json"


def default_root() -> Path:
    """`$EMBEDGATE_CACHE`, or the user's cache folder."""
    chosen = os.environ.get("EMBEDGATE_CACHE")
    return Path(chosen) if chosen else user_cache_path("embedgate")


class _Record(msgspec.Struct):
    kind: str
    key: dict[str, Any]
    record: dict[str, Any]
    seconds: float | None = None


@dataclass(frozen=True)
class ArtefactCache:
    """Folders of built artefacts, each complete or absent.

    Attributes:
        root: Folder of the cache; made when first needed.
        taken: What was asked of it so far, by folder, and the seconds it took to build; None where an older version,
            which kept no seconds, built it.
    """

    root: Path
    taken: dict[str, float | None] = field(default_factory=dict, compare=False)

    def get_or_build(
        self, kind: str, key: Mapping[str, Any], build: Callable[[Path], Mapping[str, Any] | None]
    ) -> tuple[Path, dict[str, Any]]:
        """The folder of an artefact, built if it is not there yet.

        The artefact is built in a folder of its own and renamed into place, so that a crash or a second process at the
        same work leaves it complete or absent.

        Args:
            kind: Short name that starts the folder's, for example `onnx-fp32`.
            key: Everything the artefact depends on: model fingerprint, library versions, options. JSON values.
            build: Fills the empty folder it is given; what it returns is the artefact's record.

        Returns:
            The folder, and its record: `{"kind", "key", "record", "seconds"}`, as kept in its `artefact.json`.

        Raises:
            BuildError: If what is kept there is damaged.
        """
        digest = hashlib.sha256(to_json([kind, key], sort_keys=True).encode()).hexdigest()[:20]
        folder = self.root / f"{kind}-{digest}"
        kept = read_json(folder / COMPLETE, _Record, BuildError, f"delete {folder}")
        if kept is not None:
            self.taken[folder.name] = kept.seconds
            return folder, msgspec.to_builtins(kept)
        self.root.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{kind}-", dir=self.root))
        try:
            started = time.perf_counter()
            own = dict(build(scratch) or {})
            seconds = round(time.perf_counter() - started, 3)
            record = {"kind": kind, "key": dict(key), "record": own, "seconds": seconds}
            write_whole(scratch / COMPLETE, f"{to_json(record, indent=1, sort_keys=True)}\n".encode())
            try:
                scratch.rename(folder)
            except OSError:
                if not (folder / COMPLETE).is_file():
                    shutil.rmtree(folder, ignore_errors=True)
                    scratch.rename(folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        self.taken[folder.name] = seconds
        return folder, record
