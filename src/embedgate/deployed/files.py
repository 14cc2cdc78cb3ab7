"""Files that a candidate is: found, named and hashed, without the library that runs them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from embedgate.core.errors import GateError
from embedgate.core.formats import shipped_among
from embedgate.core.hub import Repository
from embedgate.core.model import Model
from embedgate.core.model_files import is_pointer, sha256_of
from embedgate.core.spec import Spec

# What stands in a file's name for a weight precision, as those who publish models write it; of ONNX Runtime's levels of
# optimization, O4 is in float16.
WORDS = {
    "fp32": ("fp32", "float32", "f32"),
    "fp16": ("fp16", "float16", "f16", "o4"),
    "bf16": ("bf16", "bfloat16"),
    "fp8": ("fp8", "float8", "e4m3"),
    "int8": ("int8", "uint8", "qint8", "quint8", "quantized", "quant", "q8"),
    "int4": ("int4", "uint4", "q4", "bnb4", "q4f16"),
}
# Names that tell nothing of a file, since every folder has one.
PLAIN = ("model",)
# Folders whose files go by their own name.
USUAL = ("onnx", "openvino")


def find(spec: Spec, model: Model) -> Path:
    """The file or folder that a candidate names: as seen from here, else in the model's folder.

    Raises:
        GateError: If there is none, or Git LFS has not fetched it.
    """
    own = Path(spec.where).expanduser()
    path = next((each for each in (own, model.path / own) if each.exists()), None)
    if path is None:
        has = [each.relative_to(model.path).as_posix() for each in shipped(model)]
        told = f"that folder has {', '.join(has)}" if has else "that folder has no such files"
        raise GateError(f"{spec.flag}: no {spec.where} here, and none in {model.path}", told)
    refuse_pointer(path)
    return path


def place_of(spec: Spec, model: Model) -> Path:
    """Where what a candidate names is, or would be once it is fetched; two that name one file have one place.

    A link itself is not followed: in the hub's cache, files of one content are links to one.
    """
    own = Path(spec.where).expanduser()
    path = own if own.exists() else model.path / own
    return path.parent.resolve() / path.name


def fetch(spec: Spec, model: Model, beside: Callable[[Path], Iterable[str]], progress: Callable[[str], None]) -> None:
    """Fetches the file that a candidate names, where the model is of the hub and neither it nor this folder has one.

    Args:
        spec: The candidate.
        model: The model; what is fetched goes into its folder.
        beside: Names the files that one needs beside it, which are fetched as well.
        progress: Told what is fetched.

    Raises:
        ModelError: If there is no such file, or it cannot be fetched.
    """
    repository, own = Repository.of(model.source), Path(spec.where).expanduser()
    if own.is_relative_to(model.path):
        own = own.relative_to(model.path)
    elif own.exists():
        return
    if repository is None or not stays_within(own):
        return
    if not (model.path / own).exists():
        repository.fetch(own.as_posix(), progress)
    for part in (own.parent / name for name in beside(model.path / own)):
        if stays_within(part) and not (model.path / part).exists():
            repository.fetch(part.as_posix(), progress)


def stays_within(path: Path) -> bool:
    """Whether a path below a folder cannot lead out of it by its words alone."""
    return not path.is_absolute() and ".." not in path.parts


def first_bytes(path: Path, count: int = 64) -> bytes:
    """What a file begins with."""
    with path.open("rb") as stream:
        return stream.read(count)


def refuse_pointer(path: Path) -> None:
    """Refuses what stands in a file's place in a clone without Git LFS.

    Raises:
        GateError: If it does.
    """
    if path.is_file() and is_pointer(path):
        raise GateError(f"{path} is a pointer of Git LFS, not the file", "run git lfs pull in its folder")


def shipped(model: Model) -> list[Path]:
    """The files of other backends in the model's folder."""
    if not model.has_folder:
        return []
    names = {file.relative_to(model.path).as_posix() for file in model.path.rglob("*") if file.exists()}
    return [model.path / name for name in shipped_among(names)]


def spec_of(name: str, model: Model) -> str:
    """A file in the model's folder as a candidate names it: whole where its name means another file from here."""
    here, its = Path(name), model.path / name
    shadowed = here.exists() and not (its.exists() and here.samefile(its))
    return str(its) if shadowed else name


def name_of(path: Path) -> str:
    """What a file is called: its name without the suffix; with its folder's, where the name alone tells nothing."""
    folder = path.absolute().parent.name
    return f"{folder}_{path.stem}" if path.stem in PLAIN or folder not in USUAL else path.stem


def promise_of(path: Path) -> str | None:
    """The weight precision that the name of a file or folder promises; None where it promises none."""
    name = path.name if path.is_dir() else path.stem  # a folder's may have a version: bge-small-en-v1.5-int8
    words = set(re.split(r"[^a-z0-9]+", name.lower()))
    return next((kind for kind, known in WORDS.items() if words.intersection(known)), None)


def sha256_of_all(files: Sequence[Path]) -> str:
    """SHA-256 of one file's content; of several, of their hashes in order. Hex."""
    hashes = [sha256_of(file) for file in files]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def bytes_of(files: Iterable[Path]) -> int:
    """Bytes of files, together."""
    return sum(file.stat().st_size for file in files)


def unfit(model: Model) -> str | None:
    """Why no file of a transformer can be the model's, in one line; None where one can."""
    kind = model.module_kinds[0]
    if kind != "Transformer":
        return f"files hold a Transformer, and {model.name} begins with the module {kind}"
    if not model.pools_prompts and len(model.roles.distinct) > 1:
        return f"{model.name} leaves its prompts out of the pooling, which is not done with files"
    return None


def shown(path: Path, model: Model) -> str:
    """A path as a person reads it: of a file in the model's folder, as seen from there."""
    # Not resolved alone: the hub's cache has links to files that lie elsewhere.
    places = (each for each in (path.absolute(), path.resolve()) if each.is_relative_to(model.path))
    return next((each.relative_to(model.path).as_posix() for each in places), str(path))


def not_among(gated: Iterable[str], model: Model) -> Iterator[str]:
    """Files of other backends in the model's folder that no candidate names, as seen from there."""
    known = set(gated)
    yield from (name for name in (shown(file, model) for file in shipped(model)) if name not in known)
