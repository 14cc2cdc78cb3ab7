"""Rows of data files, streamed, each with the line or row it stands on: which kind of file is opened how."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from embedgate.core.distrust import MALFORMED, distrusting
from embedgate.core.errors import DataError
from embedgate.data.delimited import delimited
from embedgate.data.files import PACKED, first_bytes, lines, refuse_bomb
from embedgate.data.json_rows import open_json, parse_object
from embedgate.data.table import PLAIN, Reading, Row, Table, empty, in_one_line, shown

__all__ = [
    "OPTIONS",
    "SUFFIXES",
    "Reading",
    "Row",
    "Table",
    "disguise_of",
    "is_data_file",
    "lines",
    "open_table",
    "parse_object",
    "refuse_disguised",
    "refuse_other_kinds",
    "shown",
    "stem_of",
    "suffix_of",
]

DELIMITED = ("delimiter", "encoding", "quotes", "header")
# Options that a file has, by its suffix.
OPTIONS = {
    ".csv": DELIMITED,
    ".tsv": DELIMITED,
    ".jsonl": ("encoding",),
    ".ndjson": ("encoding",),
    ".json": ("encoding",),
    ".parquet": (),
}
SUFFIXES = tuple(OPTIONS)
_UNPACK = "unpack it, or pack it by gzip"
_AS_PARQUET = "write it as Parquet: pyarrow.parquet.write_table(pyarrow.feather.read_table(...), 'data.parquet')"
_AS_CSV = "save the sheet as CSV"
_AS_JSONL = "write its rows as JSONL, one object a line: embedgate reads no format that can run code"
_ANEW = "write it anew by pyarrow.parquet.write_table, or fetch it anew"
_AS_TABLE = "write its texts as CSV or JSONL"
# What to do about files that are not read.
REFUSED = {
    **dict.fromkeys((".arrow", ".feather"), _AS_PARQUET),
    **dict.fromkeys((".xlsx", ".xls", ".ods", ".numbers"), _AS_CSV),
    **dict.fromkeys((".zip", ".bz2", ".xz", ".zst", ".7z", ".tar", ".tgz"), _UNPACK),
    **dict.fromkeys((".pkl", ".pickle", ".pt", ".joblib"), _AS_JSONL),
}
# What other files begin with, what they are, and what to do.
PARQUET = b"PAR1"
DISGUISED = (
    (b"version https://git-lfs", "a pointer of Git LFS", "fetch what it stands for: git lfs pull"),
    (b"PK\x03\x04", "a ZIP archive or a spreadsheet", f"{_UNPACK}, or save the sheet as CSV"),
    (PARQUET, "Parquet", "call it .parquet"),
    (b"ARROW1\0", "an Arrow or Feather file", _AS_PARQUET),
    *((b"BZh%d1AY&SY" % level, "packed by bzip2", _UNPACK) for level in range(1, 10)),
    (b"\xfd7zXZ\0", "packed by xz", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "packed by zstd", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old spreadsheet or document of Office", _AS_CSV),
    (b"{\\rtf", "a document in RTF", _AS_TABLE),
    (b"%PDF-", "a PDF", _AS_TABLE),
    (b"\x89PNG\r\n\x1a\n", "a picture (PNG)", _AS_TABLE),
    (b"\xff\xd8\xff", "a picture (JPEG)", _AS_TABLE),
    (b"GIF87a", "a picture (GIF)", _AS_TABLE),
    (b"GIF89a", "a picture (GIF)", _AS_TABLE),
    (b"SQLite format 3\0", "an SQLite database", "write the table as CSV: sqlite3 -header -csv FILE 'select ...'"),
    (b"<?xml", "XML", _AS_TABLE),
    (b"\x93NUMPY", "an array of numpy", _AS_TABLE),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", _AS_TABLE),
    (b"Obj\x01", "an Avro file", _AS_TABLE),
    *((bytes((0x80, version)), "a pickle", _AS_JSONL) for version in range(2, 6)),
)
# Rows of a Parquet file that are decoded at once: a value that many rows share is stored once, and decoded for each.
AT_ONCE = 256
# In lower case.
PAGES = (b"<!doctype", b"<html")


def suffix_of(path: Path) -> str:
    """What tells the kind of a data file, in lower case; without that of gzip."""
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() if suffix == PACKED else suffix


def stem_of(path: Path) -> str:
    """The name of a data file without what tells its kind."""
    return Path(path.stem).stem if path.suffix.lower() == PACKED else path.stem


def is_data_file(path: Path) -> bool:
    """Whether a file is read, by its name. Parquet packs its columns by itself."""
    packed = path.suffix.lower() == PACKED
    return suffix_of(path) in SUFFIXES and not (packed and suffix_of(path) == ".parquet")


def open_table(path: Path, reading: Reading = PLAIN) -> Table:
    """Opens a data file by its suffix.

    Args:
        path: The file; also packed by gzip, but for Parquet.
        reading: How it is to be read.

    Raises:
        DataError: If the suffix is unknown or the file cannot be read; and from `rows`, with file and line, on the
            first malformed row.
    """
    refuse_other_kinds(path)
    refuse_disguised(path)
    match suffix_of(path):
        case ".csv":
            return delimited(path, ",", reading=reading)
        case ".tsv":
            return delimited(path, "\t", reading=reading)
        case ".parquet":
            return parquet(path)
    return open_json(path, reading)


def refuse_other_kinds(path: Path, suffixes: Sequence[str] = SUFFIXES) -> None:
    """Refuses a file that is not read, by its name.

    Args:
        path: The file.
        suffixes: Those of files that are.

    Raises:
        DataError: If its suffix is none of them, with what to do about it.
    """
    if suffix_of(path) in suffixes and (is_data_file(path) or suffix_of(path) not in SUFFIXES):
        return
    step = f"give one that ends in {', '.join(suffixes)}, with {PACKED} or without"
    raise DataError(f"{path}: unknown kind of file", REFUSED.get(path.suffix.lower(), step))


def refuse_disguised(path: Path) -> None:
    """Refuses what its first bytes show to be something else, whatever its name says.

    Raises:
        DataError: If they do, or it cannot be read.
    """
    if found := disguise_of(path):
        what, step = found
        raise DataError(f"{path}: is {what}, whatever its name says", step)


def disguise_of(path: Path) -> tuple[str, str] | None:
    """What a file is by its first bytes, and what to do; None where these do not contradict its name."""
    head = first_bytes(path, 1 << 6)
    if head.removeprefix(codecs.BOM_UTF8).lstrip().lower().startswith(PAGES):
        return "a web page", "fetch the file itself"
    for begins, what, step in DISGUISED:
        if head.startswith(begins) and not (begins == PARQUET and suffix_of(path) == ".parquet"):
            return what, step
    return None


def bounded(path: Path, batches: Iterable[Any]) -> Iterator[Any]:
    """Rows of a Parquet file as pyarrow decodes them, up to what a table can have.

    Args:
        path: The file.
        batches: Some rows at a time.

    Raises:
        DataError: If they become far more than the file has.
    """
    size, packed = 0, path.stat().st_size
    for batch in batches:
        size += batch.nbytes
        refuse_bomb(path, packed, size)
        yield batch


def parquet(path: Path) -> Table:
    """Opens a Parquet file; needs pyarrow."""
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise DataError(f"{path}: Parquet needs pyarrow", "pip install embedgate[parquet]") from error

    with distrusting(DataError, f"{path}: not a Parquet file", _ANEW, ArrowException, OSError):
        file = ParquetFile(path)
        names = tuple(file.schema_arrow.names)
    if file.metadata.num_rows <= 0:
        raise empty(path)

    def rows() -> Iterator[tuple[int, Row]]:
        number = 0
        try:
            batches = (batch.to_pylist() for batch in bounded(path, file.iter_batches(AT_ONCE)))
            for number, row in enumerate(chain.from_iterable(batches), 1):
                yield number, row
        except (ArrowException, OSError, *MALFORMED) as error:
            raise DataError(f"{path} row {number + 1}: {in_one_line(error)}", _ANEW) from error

    return Table(str(path), names, rows(), unit=" row ")
