"""Built artefacts, kept under the user's cache folder by what they were built from."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec
from platformdirs import user_cache_path

from embedgate.core.errors import BuildError, refuses_writing, unwritten
from embedgate.core.files import read_json, to_json, write_whole
from embedgate.core.scratch import is_being_made, scratch_folder

COMPLETE = "artefact.json"
# What to do where the folder cannot be used.
ELSEWHERE = "give another folder by --gate-cache DIR or EMBEDGATE_CACHE"
# For so long a process waits for another one that builds the same, and looks so often.
LONGEST_WAIT_SECONDS, LOOK_SECONDS = 3600.0, 0.1
# Fills the empty folder it is given; what it returns is the artefact's record.
Build = Callable[[Path], Mapping[str, Any] | None]


def cache_root(asked: Path | None = None) -> Path:
    """The folder asked for, else `$EMBEDGATE_CACHE`, else the user's cache folder."""
    chosen = asked or os.environ.get("EMBEDGATE_CACHE")
    return Path(chosen) if chosen else user_cache_path("embedgate")


class _Record(msgspec.Struct):
    kind: str
    key: dict[str, Any]
    record: dict[str, Any]
    seconds: Annotated[float, msgspec.Meta(ge=0)] | None = None


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
        self, kind: str, key: Mapping[str, Any], build: Build, progress: Callable[[str], None] = lambda _: None
    ) -> tuple[Path, dict[str, Any]]:
        """The folder of an artefact, built if it is not there yet.

        The artefact is built in a folder of its own and renamed into place, so that a crash leaves it complete or
        absent. Where another process is at the same work, this one waits, since two builds need twice the memory; it
        builds where the other one has failed or was killed.

        Args:
            kind: Short name that starts the folder's, for example `onnx-fp32`.
            key: Everything the artefact depends on: model fingerprint, library versions, options. JSON values.
            build: Fills the empty folder it is given; what it returns is the artefact's record.
            progress: Takes a line where it waits.

        Returns:
            The folder, and its record: `{"kind", "key", "record", "seconds"}`, as kept in its `artefact.json`.

        Raises:
            BuildError: If what is kept there is damaged or another user's alone, or nothing can be written there.
        """
        digest = hashlib.sha256(to_json([kind, key], sort_keys=True).encode()).hexdigest()[:20]
        folder = self.root / f"{kind}-{digest}"
        kept = _kept(folder)
        if kept is None and self._waits(folder, progress):
            kept = _kept(folder)
        if kept is not None:
            self.taken[folder.name] = kept.seconds
            return folder, msgspec.to_builtins(kept)
        record = self._built(kind, key, build, folder)
        self.taken[folder.name] = record["seconds"]
        return folder, record

    def _waits(self, folder: Path, progress: Callable[[str], None]) -> bool:
        """Waits while another process builds an artefact; whether one did."""
        began, waited = time.monotonic(), False
        while is_being_made(self.root, folder.name) and time.monotonic() < began + LONGEST_WAIT_SECONDS:
            if not waited:
                progress(f"another process builds {folder}: waiting for it")
            waited = True
            time.sleep(LOOK_SECONDS)
        return waited

    def _built(self, kind: str, key: Mapping[str, Any], build: Build, folder: Path) -> dict[str, Any]:
        """Builds an artefact into its folder, unless another process was faster; its record."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with scratch_folder(self.root, folder.name) as scratch:
                started = time.perf_counter()
                own = dict(build(scratch) or {})
                seconds = round(time.perf_counter() - started, 3)
                record = {"kind": kind, "key": dict(key), "record": own, "seconds": seconds}
                write_whole(scratch / COMPLETE, f"{to_json(record, indent=1, sort_keys=True)}\n".encode())
                _place(scratch, folder)
        except OSError as error:
            # What a build cannot read elsewhere is no matter of the cache's.
            if not refuses_writing(error) or not str(error.filename or self.root).startswith(str(self.root)):
                raise
            raise BuildError(*unwritten(folder, error, ELSEWHERE)) from error
        return record


def _kept(folder: Path) -> _Record | None:
    """What is said of a finished artefact; None where there is none.

    Raises:
        BuildError: If it is damaged, or another user's alone.
    """
    if _is_refused(folder / COMPLETE):
        cause = f"{folder} is another user's, who alone can read it"
        raise BuildError(cause, f"make it readable (chmod -R a+rX {shlex.quote(str(folder))}), or {ELSEWHERE}")
    return read_json(folder / COMPLETE, _Record, BuildError, f"delete {folder}") if folder.is_dir() else None


def _is_refused(file: Path) -> bool:
    """Whether a file may not be read."""
    try:
        file.open("rb").close()
    except OSError as error:
        return isinstance(error, PermissionError)
    return False


def _place(scratch: Path, folder: Path) -> None:
    """Renames what was built, unless another process has done so; what is there and not complete goes.

    Raises:
        OSError: If it cannot be renamed.
    """
    try:
        scratch.rename(folder)
    except OSError:
        if not (folder / COMPLETE).is_file():
            shutil.rmtree(folder, ignore_errors=True)
            scratch.rename(folder)
