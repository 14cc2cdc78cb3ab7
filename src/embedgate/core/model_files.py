"""The files of a model's folder: its modules, and which files decide its embeddings."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterator
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
# What stands in the place of a large file in a clone without Git LFS.
POINTER = b"version https://git-lfs"
# Modules that choose among others; of the latter, earlier versions have written the name.
ROUTERS = {"Router", "Asym"}
SETTINGS = "config_sentence_transformers.json"
# Checkpoints of training lie in some models' folders, and are no more than this.
MOST_FILES = 100_000
RESTORE = "restore it, or fetch the model anew"
# Bytes of a name and of a path below the model's folder, as file systems have them.
LONGEST_NAME, LONGEST_PATH = 255, 1024
_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def is_pointer(file: Path) -> bool:
    """Whether a file is what stands in a large one's place in a clone without Git LFS."""
    with file.open("rb") as stream:
        return stream.read(len(POINTER)) == POINTER


def fingerprint(path: Path) -> str:
    """SHA-256 over names and contents of the files an embedding depends on, hex."""
    digest = hashlib.sha256()
    for name, sha256 in digests(path).items():
        digest.update(f"{name}\0{sha256}\0".encode())
    return digest.hexdigest()


def digests(path: Path) -> dict[str, str]:
    """SHA-256 of each file that the fingerprint is over, hex, by its path in the folder."""
    return {file.relative_to(path).as_posix(): sha256_of(file) for file in fingerprinted_files(path)}


def tensors_sha256(path: Path) -> str:
    """SHA-256 over a model's weights, whatever the order, the files or the metadata they are stored with, hex.

    Of each module's folder, the tensors of all safetensors files count together: in one file or in several.
    """
    places: dict[tuple[str, str], tuple[Path, int, dict[str, Any]]] = {}
    for file in fingerprinted_files(path, "*.safetensors"):
        refuse_broken(file)
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length))
        module = file.parent.relative_to(path).as_posix()
        for name, tensor in header.items():
            if name != "__metadata__":
                places[module, name] = file, 8 + length, tensor
    digest = hashlib.sha256()
    for (module, name), (file, data, tensor) in sorted(places.items()):
        first, last = tensor["data_offsets"]
        digest.update(f"{module}\0{name}\0{tensor['dtype']}\0{tensor['shape']}\0".encode())
        with file.open("rb") as stream:
            stream.seek(data + first)
            digest.update(stream.read(last - first))
    return digest.hexdigest()


def refuse_broken(weights: Path) -> None:
    """Refuses a file that is no whole safetensors file, by its header.

    Raises:
        ModelError: If it is none.
    """
    from safetensors import SafetensorError, safe_open  # and NumPy, which options do without

    try:
        with safe_open(weights, "np"):
            return
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{weights} is no whole safetensors file: {one_line(error)}", RESTORE) from error


def modules_of(path: Path) -> list[dict[str, Any]]:
    """The modules that a model's `modules.json` names, in their order: `type`, `path` and more of each.

    Raises:
        ModelError: If it is no list of such.
    """
    file = path / "modules.json"
    found = _json_of(file)
    if not found:
        raise ModelError(f"{file} names no module", RESTORE)
    if not isinstance(found, list) or not all(isinstance(module, dict) for module in found):
        raise ModelError(f"{file} holds no list of modules", RESTORE)
    for place, module in enumerate(found):
        for key in ("type", "path"):
            if not isinstance(module.get(key), str):
                raise ModelError(f"{file} has a module, number {place + 1}, whose {key} is no text", RESTORE)
    return found


def described(path: Path) -> Iterator[tuple[Path, str, Path]]:
    """Each module: the file that names it, its class, and its folder; those that a Router chooses among, too.

    Raises:
        ModelError: If a file is missing or malformed, or names a folder outside its own.
    """
    file = path / "modules.json"
    if not file.is_file():
        raise ModelError(
            f"{path} has no modules.json, so it is no Sentence Transformers folder",
            "make one of a folder of transformers: SentenceTransformer(folder).save_pretrained(new_folder)",
        )
    for module in modules_of(path):
        kind, folder = module["type"], within(path, file, module["path"])
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
        place = within(folder, file, inner)
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


def within(folder: Path, file: Path, relative: str) -> Path:
    """A path below a folder, as a file names it.

    Raises:
        ModelError: If it leads elsewhere.
    """
    parts = PurePosixPath(relative).parts
    if PurePosixPath(relative).is_absolute() or ".." in parts:
        raise ModelError(f"{file} points outside its folder: {relative!r}", RESTORE)
    sizes = [len(part.encode()) for part in parts]
    if "\0" in relative or sum(sizes) + len(sizes) > LONGEST_PATH or max(sizes, default=0) > LONGEST_NAME:
        raise ModelError(f"{file} names what cannot be a file: {relative[:60]!r}", RESTORE)
    return folder / relative


def json_of(file: Path) -> dict[str, Any]:
    """A file's JSON object; an empty one where there is no such file."""
    if not file.is_file():
        return {}
    found = _json_of(file)
    if not isinstance(found, dict):
        raise ModelError(f"{file} holds no JSON object", RESTORE)
    return found


def _json_of(file: Path) -> Any:
    """A file's JSON, as the libraries that load the model read it, but for texts that none of them could use."""
    try:
        text = file.read_text("utf-8")
        found = json.loads(text)
        if _HALF.search(text):
            json.dumps(found, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ModelError(f"{file} is no JSON: it is nested too deeply", RESTORE) from error
    except UnicodeEncodeError as error:
        raise ModelError(f"{file} holds half of a surrogate pair", RESTORE) from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} is no JSON: {error}", RESTORE) from error
    return found


def fingerprinted_files(path: Path, *patterns: str) -> list[Path]:
    """Files that an embedding may depend on, or of these, those of some patterns; sorted by their paths."""
    # A module's folder may have any name.
    modules = {part for _, _, folder in described(path) for part in folder.relative_to(path).parts}
    found = {
        file
        for file in _walked(path, OTHER_FORMATS - modules)
        for pattern in patterns or FINGERPRINTED
        if fnmatch(file.name, pattern) and not any(fnmatch(file.name, note) for note in NOTES)
    }
    for file in found:
        if file.exists() and not file.is_file():
            raise ModelError(f"{file} is no file that can be read to its end: a device, a FIFO or a socket", RESTORE)
    return sorted(found, key=lambda file: file.relative_to(path).as_posix())


def _walked(path: Path, leaves_out: Collection[str]) -> Iterator[Path]:
    """The files of a folder and of those below it; links are followed, since caches are made of them.

    Raises:
        ModelError: If links lead back, or multiply, so that there are more than a model can have.
    """
    count = 0
    for folder, names, files in os.walk(path, followlinks=True):
        names[:] = [name for name in names if name not in leaves_out]
        here = os.path.realpath(folder)
        for name in names:
            link = os.path.join(folder, name)
            if os.path.islink(link) and Path(here).is_relative_to(os.path.realpath(link)):
                raise ModelError(f"{link} is a link to a folder that it is in", "remove it")
        count += len(names) + len(files)
        if count > MOST_FILES:
            raise ModelError(f"{path} holds more than {MOST_FILES:,} files", "give the folder of one model")
        yield from (Path(folder, name) for name in files)


def sha256_of(file: Path) -> str:
    """SHA-256 of a file's content, hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
