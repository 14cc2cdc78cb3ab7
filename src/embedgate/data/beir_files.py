"""Which files of a folder are a retrieval dataset in the layout of BEIR."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from embedgate.core.errors import DataError, listed
from embedgate.data.files import PACKED
from embedgate.data.qrels import is_judgements, judgements_among
from embedgate.data.rows import is_data_file, stem_of, suffix_of
from embedgate.data.splits import FOLDER, TEST, split_of

CORPUS, QUERIES, QRELS = "corpus.jsonl", "queries.jsonl", "qrels"
LAYOUT = f"a retrieval dataset is {CORPUS}, {QUERIES} and {QRELS}/test.tsv"
# Folders of judgements in repositories of the hub.
HUB_QRELS = (FOLDER, "default")


def is_beir(folder: Path) -> bool:
    """Whether a folder has files that only this layout has."""
    found = [_part(folder, name) for name in (CORPUS, QUERIES)]
    return all(found) or any(path is not None and suffix_of(path) == ".jsonl" for path in found)


def inside(folder: Path) -> Path:
    """The folder itself, or the one in it that has this layout, as archives unpack to `nq/nq`.

    Raises:
        DataError: If there are several.
    """
    if is_beir(folder) or any(is_data_file(path) for path in folder.iterdir()):
        return folder
    inner = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.is_symlink()]
    below = [path for path in inner if os.access(path, os.R_OK | os.X_OK) and is_beir(path)]
    if len(below) > 1:
        names = listed([path.name for path in below])
        raise DataError(f"{folder}: holds several retrieval datasets: {names}", f"name one, such as {below[0]}")
    return below[0] if below else folder


def whole_of(path: Path) -> Path | None:
    """The folder of a dataset that a file or folder is a part of; None where it is none."""
    within = (Path(CORPUS).stem, Path(QUERIES).stem, QRELS)
    folder = path.parent if stem_of(path) in within else path.parent.parent if path.parent.name == QRELS else None
    is_whole = folder is not None and all(_part(folder, name) for name in (CORPUS, QUERIES))
    return folder if is_whole else None


@dataclass(frozen=True)
class Files:
    """The files of a dataset.

    Attributes:
        corpus: The documents.
        queries: The queries.
        qrels: The judgements.
        split: Which ones these are; empty where they are those that are taken where none are named.
        notes: What a reader of a report should know about which files were taken.
    """

    corpus: Path
    queries: Path
    qrels: Path
    split: str = ""
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, folder: Path, split: str = "") -> Files:
        """Finds the files of a folder.

        Args:
            folder: The folder.
            split: Which judgements; empty for those of `test`, or the only ones.

        Raises:
            DataError: If one is missing, or there are several.
        """
        parts = [_part(folder, name) for name in (CORPUS, QUERIES)]
        for name, path in zip((CORPUS, QUERIES), parts, strict=True):
            if path is None:
                raise DataError(f"{folder}: no {name}", LAYOUT)
        corpus, queries = (path for path in parts if path is not None)
        splits = _splits(folder)
        usual = _usual(splits) or ""
        chosen = split or usual
        if chosen not in splits:
            missing = f"but no split {chosen or TEST}"
            names = ", ".join(path.name for path in splits.values())
            named = sorted(filter(None, splits))
            step = f"choose one: {folder}::split={named[0]}" if named else "leave the key split out"
            raise DataError(f"{folder / QRELS}: {names}, {missing}", step)
        only = not split and chosen not in ("", TEST)
        notes = ([f"judged on {chosen}, the only split"] if only else []) + list(_left(folder, (corpus, queries)))
        return cls(corpus, queries, splits[chosen], split if split != usual else "", tuple(notes))

    @property
    def paths(self) -> tuple[Path, ...]:
        """All that the dataset is read from."""
        return self.corpus, self.queries, self.qrels


def has_usual(folder: Path) -> bool:
    """Whether a folder has judgements that are taken where none are named."""
    return _usual(_splits(folder)) is not None


def _usual(splits: Mapping[str, Path]) -> str | None:
    return TEST if TEST in splits else next(iter(splits)) if len(splits) == 1 else None


def _part(folder: Path, name: str) -> Path | None:
    """The file of documents or of queries; the unpacked one where there are two."""
    stem = Path(name).stem
    found = sorted(
        path for path in folder.iterdir() if is_data_file(path) and not path.is_dir() and stem_of(path) == stem
    )
    if not found and (folder / stem).is_dir():  # as in repositories of the hub
        found = sorted(path for path in (folder / stem).iterdir() if is_data_file(path))
    plain = [path for path in found if not _is_packed_copy(path, found)]
    if len(plain) > 1:
        step = f"keep one, such as {name}" if plain[0].parent == folder else f"join them into one, {folder / name}"
        raise DataError(f"{plain[0].parent}: {', '.join(path.name for path in plain)}", step)
    _require_within(folder, plain)
    return plain[0] if plain else None


def _left(folder: Path, taken: Iterable[Path]) -> Iterator[str]:
    """A note of each file that stands beside one that is read and could be read in its place."""
    for path in taken:
        packed = path.with_name(path.name + PACKED)
        if packed.is_file():
            yield f"{path.name} is read, and {packed.name} is not"
    if (folder / QRELS).is_dir():
        beside = judgements_among(path for path in sorted(folder.iterdir()) if path.is_file() and _is_called_so(path))
        yield from (f"the folder {QRELS} is read, and {path.name} is not" for path in beside)


def _require_within(folder: Path, paths: Iterable[Path]) -> None:
    for path in paths:
        if not Path(os.path.realpath(path)).is_relative_to(folder.resolve()):
            raise DataError(f"{path}: a link out of its folder", "put the file or folder itself there")


def _splits(folder: Path) -> dict[str, Path]:
    """By split, the file of judgements, in the folder `qrels` or, where there is none, called so."""
    below = [folder / name for name in (QRELS, *HUB_QRELS) if (folder / name).is_dir()]
    within, inner = (below[0], True) if below else (folder / QRELS, False)
    named = [path for path in sorted((within if inner else folder).iterdir()) if path.is_file()]
    found = judgements_among(path for path in named if inner or _is_called_so(path))
    _require_within(folder, (within, *found))
    splits: dict[str, Path] = {}
    for path in found:
        if _is_packed_copy(path, found):
            continue
        name = split_of(path) if inner else _split_of(path)
        if name in splits:
            raise DataError(f"{path.parent}: {splits[name].name}, {path.name}", "keep one of them")
        splits[name] = path
    if not splits:
        raise DataError(f"{within}: no judgements", f"put them into {within / TEST}.tsv")
    return splits


def _is_called_so(path: Path) -> bool:
    """Whether the name of a file beside the corpus begins or ends with `qrels`, as a word."""
    words = re.split(r"[\W_]+", _whole(path))
    return QRELS in (words[0], words[-1]) or path.suffix == f".{QRELS}"


def _is_packed_copy(path: Path, among: Sequence[Path]) -> bool:
    return path.suffix.lower() == PACKED and path.with_suffix("") in among


def _split_of(path: Path) -> str:
    """The split of a file that is called after judgements: `dev` of `qrels.dev.tsv` and of `qrels.dev`."""
    return _whole(path).replace(QRELS, "").strip("._-")


def _whole(path: Path) -> str:
    return stem_of(path) if is_judgements(path) else path.name
