"""Datasets by what a person names: a bundled name, a file, a folder, or a pinned hub id."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

from embedgate.core.errors import DataError
from embedgate.data import beir, beir_files, columns, hub, lines, mteb, splits
from embedgate.data.asked import TABLE_OPTIONS, Asked, identified, refuse_name
from embedgate.data.cards import (
    CALIBRATION,
    CARD,
    GOLDEN,
    Card,
    bundled,
    bundled_folder,
    data_files,
    read_card,
    sha256_of,
)
from embedgate.data.cells import text
from embedgate.data.files import SAVE, refuse_odd, unreadable
from embedgate.data.parts import value
from embedgate.data.rows import (
    DELIMITED,
    OPTIONS,
    SUFFIXES,
    Reading,
    is_data_file,
    open_table,
    refuse_other_kinds,
    stem_of,
    suffix_of,
)
from embedgate.data.spec import Spec
from embedgate.data.types import Dataset, Kind, Origin

# How many objects of a JSONL file tell its columns: what is optional may be missing in the first.
AHEAD = 100
# The files that are read, by their suffix.
FILES = (*SUFFIXES, lines.SUFFIX)
# Keys as they are not written: `file.csv::score`, `file.csv:score=dup`, `file.csv?score=dup`.
_AS_KEYS = re.compile(r"(?P<path>.+?)[:?,;#]+(?P<key>[\w-]+)(=(?P<value>.*))?", re.DOTALL)
SAVE_OR_NAME = f"{SAVE}, or name its encoding by the key encoding=, such as encoding=cp1252"


def load(dataset: str | Spec) -> Dataset:
    """Loads a dataset.

    Args:
        dataset: `PLACE` or `PLACE::key=value,...`, see `embedgate.data.spec`. The place is a bundled name, a CSV, TSV,
            JSONL or Parquet file, a text file of one text a line, a folder with one of them or in BEIR's layout,
            `hub:org/name@<commit>[:config][:split]`, or `mteb:TASK`. A bundled name wins over a path; write `./pairs`
            for the latter. The keys name columns by their role (`embedgate.data.columns.KEYS`), and options
            (`embedgate.data.asked`).

    Raises:
        DataError: If there is no such dataset or it is malformed, with file and line.
    """
    spec = Spec.parse(dataset) if isinstance(dataset, str) else dataset
    refuse_name(spec)
    if spec.place in bundled():
        spec.refuse_unknown(())
        return load_bundled(spec.place)
    if spec.place.startswith(hub.PREFIX):
        return hub.load(spec)
    if spec.place.startswith(mteb.PREFIX):
        return mteb.load(spec)
    path = Path(spec.place).expanduser()
    try:
        if os.path.exists(path) and not spec.given and (whole := beir_files.whole_of(path)):
            raise DataError(f"{path}: is a part of a retrieval dataset", f"give its folder: {whole}")
        if os.path.isdir(path):  # which raises nothing, however long the name is
            return _load_folder(path, str(path), spec)
        if os.path.isfile(path):
            return _load_file(path, spec)
    except OSError as error:
        raise unreadable(error.filename or path, error) from error
    refuse_odd(path)
    raise DataError(f"no dataset {spec.place!r}", _how_to_name(spec.place))


def _how_to_name(place: str) -> str:
    """What to do about a place where nothing is: mostly, keys that are written otherwise, or no name at all."""
    if "://" not in place and (mistaken := _AS_KEYS.fullmatch(place)):  # what follows in a URL may be a secret
        path, key = mistaken["path"], mistaken["key"]
        if mistaken["value"] or "::" in place or os.path.exists(Path(path).expanduser()):
            return f"write keys as {path}::{key}={mistaken['value'] or 'VALUE'}, behind two colons"
    return (
        f"give a bundled name ({', '.join(bundled())}), the path of a file ({', '.join(FILES)}), of a folder or of a "
        f"list of datasets (.toml), {hub.FORM}, or {mteb.PREFIX}TASK"
    )


def load_bundled(name: str) -> Dataset:
    """Loads a bundled dataset and verifies that its files are those its card describes.

    Raises:
        DataError: If there is none of that name, or a file was changed.
    """
    if name not in bundled():
        raise DataError(f"no bundled dataset {name!r}", f"choose from {', '.join(bundled())}")
    return _load_folder(bundled_folder() / name, f"bundled:{name}", Spec(name))


def load_calibration() -> tuple[tuple[str, ...], str]:
    """Loads the texts that calibrate static quantization, none of them in a bundled dataset.

    Returns:
        The texts, and the SHA-256 of their file (see `embedgate.data.cards.sha256_of`).
    """
    return _load_plain(CALIBRATION)


def load_golden() -> tuple[tuple[str, ...], str]:
    """Loads the texts whose token ids and embeddings baselines keep.

    Returns:
        The texts, and the SHA-256 of their file (see `embedgate.data.cards.sha256_of`).
    """
    return _load_plain(GOLDEN)


def _load_plain(name: str) -> tuple[tuple[str, ...], str]:
    folder = bundled_folder() / name
    sha256 = _verified(folder, read_card(folder))
    table = open_table(_only_file(folder))
    return tuple(value(table, line, row, "text", text) for line, row in table.rows), sha256


def _load_file(path: Path, spec: Spec) -> Dataset:
    asked = _asked(path, spec)
    sha256 = sha256_of(path.parent, [path])
    origin = Origin(asked.name or _safe(stem_of(path)), str(path), version="", sha256=sha256)
    return _read(path, origin, asked)


def _read(path: Path, origin: Origin, asked: Asked, kind: Kind | None = None) -> Dataset:
    """Reads the file of a dataset: a table, or one text a line.

    Args:
        path: The file.
        origin: What identifies it, by the hash of its files.
        asked: What a person says about it.
        kind: The kind its card states; None for any.
    """
    reading = _reading(asked, kind)
    refuse_other_kinds(path, FILES)
    if not lines.is_plain(path):
        return columns.read(open_table(path, reading), origin, kind, asked)
    if lines.is_table(asked) or kind not in (None, "texts"):
        return columns.read(lines.open_table(path, reading), origin, kind, asked)
    if not (asked.kind or kind):
        lines.refuse_header(path, reading)
    return lines.read(path, origin, asked.role, reading)


def _asked(path: Path, spec: Spec) -> Asked:
    options = DELIMITED if lines.is_plain(path) else OPTIONS.get(suffix_of(path), ())
    return Asked.of(spec, columns.KEYS, (*TABLE_OPTIONS, *options))


def _reading(asked: Asked, kind: Kind | None = None) -> Reading:
    """How the file of a dataset is read.

    Args:
        asked: What a person says about it.
        kind: The kind its card states; None for any.
    """
    fits = partial(columns.fits, asked=asked, kind=kind)
    quoted, numbered = asked.quotes != "none", asked.header == "none"
    return Reading(asked.delimiter, asked.encoding, quoted, fits, numbered, AHEAD, SAVE_OR_NAME)


def _load_folder(folder: Path, source: str, spec: Spec) -> Dataset:
    splits.refuse_saved(folder)
    if not (folder / CARD).is_file() and (within := beir_files.inside(folder)) != folder:
        return _load_folder(within, str(within), spec)
    card = read_card(folder) if (folder / CARD).is_file() else None
    kind = card.kind if card else None
    match kind:
        case "calibration" | "golden":
            raise DataError(f"{folder / CARD}: {kind} texts are no dataset to judge on", "name another folder")
    name, version = (card.name, card.version) if card else (_safe(folder.resolve().name), "")
    if is_beir := _is_beir(folder, card):
        spec.refuse_unknown(beir.OPTIONS)
    origin = Origin(spec.given.get("name", name), source, version, _verified(folder, card, spec.given.get("split", "")))
    if is_beir:
        return beir.read_folder(folder, origin, spec.given)
    given = dict(spec.given)
    path, origin = _split(folder, origin, given.pop("split", ""), named="name" in given)
    return _read(path, origin, _asked(path, Spec(spec.place, given)), kind)


def _split(folder: Path, origin: Origin, split: str, *, named: bool) -> tuple[Path, Origin]:
    """The file of a folder's split, and what identifies it: a split that is not the usual one has a name of its own."""
    tables = data_files(folder)
    if not tables and not split:
        return _only_file(folder), origin
    path, is_usual = splits.file_of(folder, tables, split)
    if is_usual:
        return path, origin
    name = origin.name if named else f"{origin.name}-{split}"
    return path, replace(origin, name=name, sha256=identified(origin.sha256, {"split": split}))


def _only_file(folder: Path) -> Path:
    """The data file of a folder: a table, or where it has none, one of one text a line."""
    if tables := data_files(folder):
        return splits.file_of(folder, tables)[0]
    found = lines.files_of(folder)
    if not found:
        for path in sorted(filter(is_data_file, folder.iterdir())):
            refuse_odd(path)
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise DataError(f"{folder}: needs one data file, has {names}", "give the path of the file itself")
    return found[0]


def _safe(stem: str) -> str:
    return re.sub(r"[^\w.-]", "_", stem).lstrip(".") or "data"


def _is_beir(folder: Path, card: Card | None) -> bool:
    return (card is None or card.kind == "retrieval") and beir_files.is_beir(folder)


def files_of(folder: Path, card: Card | None, split: str = "") -> list[Path]:
    """The files that are a folder's content: its hash is theirs.

    Args:
        folder: The folder.
        card: Its card; None without one.
        split: Which judgements of retrieval; empty for those that are taken where none are named.

    Raises:
        DataError: If one is missing, or is a link that leaves the folder.
    """
    if not _is_beir(folder, card):
        return data_files(folder) or lines.files_of(folder)
    paths = beir_files.Files.of(folder, split).paths
    return sorted(paths, key=lambda path: path.relative_to(folder).as_posix())


def _verified(folder: Path, card: Card | None, split: str = "") -> str:
    """Hash of a folder's files; refused if its card states another, of those with the judgements that are usual."""
    sha256 = stated = sha256_of(folder, files_of(folder, card, split))
    if card and card.sha256 and split and beir_files.has_usual(folder):
        stated = sha256_of(folder, files_of(folder, card))
    if card and card.sha256 and card.sha256 != stated:
        own = folder.parent == bundled_folder()
        raise DataError(
            f"{folder}: the data has SHA-256 {stated}, its card says {card.sha256}",
            "after an intended change run python tools/card_hash.py" if own else f"correct {CARD} if this is intended",
        )
    return sha256
