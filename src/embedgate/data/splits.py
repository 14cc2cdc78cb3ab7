"""Folders as repositories of the hub are laid out: a file for each split, in the folder or in its folder `data`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from embedgate.core.errors import DataError, listed
from embedgate.data.rows import stem_of

TEST, FOLDER = "test", "data"
# One file of several that a split is cut into.
_SHARD = re.compile(r"(?P<split>.+)-\d{5}-of-\d{5}")


def split_of(path: Path) -> str:
    """The split that a file has, by its name: `test` of `test.csv` and of `test-00000-of-00001.parquet`."""
    shard = _SHARD.fullmatch(stem_of(path))
    return shard["split"] if shard else stem_of(path)


def file_of(folder: Path, tables: Sequence[Path], split: str = "") -> tuple[Path, bool]:
    """The file of a split.

    Args:
        folder: The folder.
        tables: The data files in it and in the folders below.
        split: The split; empty for the only file, or that of `test` in the folder `data`.

    Returns:
        The file, and whether it is the one that is taken where no split is named.

    Raises:
        DataError: If it has no such split, it does not say which it is, or the split is cut into several files.
    """
    above = [path for path in tables if path.parent == folder]
    found = above or [path for path in tables if path.parent == folder / FOLDER]
    names = {*map(split_of, found)}
    usual = next(iter(names)) if len(names) == 1 else TEST if TEST in names and not above else ""
    chosen = split or usual
    files = [path for path in found if split_of(path) == chosen]
    if len(files) == 1:
        return files[0], chosen == usual
    shown = listed([path.name for path in found]) if found else "none"
    if files:
        step = f"join them: datasets.load_dataset({str(folder)!r}, split={chosen!r}).to_parquet('{chosen}.parquet')"
        raise DataError(f"{folder}: split {chosen} is cut into {len(files)} files: {shown}", step)
    if split:
        raise DataError(f"{folder}: no split {split!r}, has {shown}", "name one of these, or give the path of a file")
    step = f", or name a split: {folder}::split={sorted(names)[0]}" if names else ""
    raise DataError(f"{folder}: needs one data file, has {shown}", f"give the path of the file itself{step}")


def refuse_saved(folder: Path) -> None:
    """Refuses a folder that the datasets library wrote in a form of its own.

    Raises:
        DataError: If it is one, with what writes it as Parquet.
    """
    is_dict = (folder / "dataset_dict.json").is_file()
    arrow = sorted(path.name for path in folder.glob("*.arrow"))
    if is_dict or ((folder / "state.json").is_file() and arrow):
        holds = f": {listed(arrow)}" if arrow else ""
        split = f"[{TEST!r}]" if is_dict else ""
        step = f"write it as Parquet: datasets.load_from_disk({str(folder)!r}){split}.to_parquet('data.parquet')"
        raise DataError(f"{folder}: was written by save_to_disk{holds}", step)
