"""Stored vectors: an index as it is, of which some rows are drawn and held against what the model gives today."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from embedgate.core.combination import Combination
from embedgate.core.errors import BuildError, DataError, GateError
from embedgate.core.model import Model
from embedgate.core.roles import Input, Role
from embedgate.core.spec import COLLECTION, QDRANT, Spec
from embedgate.data.files import refuse_link_out
from embedgate.deployed.files import refuse_pointer, sha256_of_all
from embedgate.deployed.stored.arrays import ArrayRows
from embedgate.deployed.stored.qdrant import QdrantRows
from embedgate.deployed.stored.rows import KNOWN_ROLES, Layout, Reader, Rows
from embedgate.deployed.stored.tables import Asked, JsonRows, ParquetRows
from embedgate.encoders import BuildContext, Encoder, Evidence, FloatArray, Stability
from embedgate.encoders.sources import Source

# Rows that are drawn: where all of them are right, no more than 0.6% of all can be wrong, at a level of 5%.
ROWS = 512
PRECISIONS = {"float32": "f", "float16": "f", "int8": "i", "uint8": "u", "binary": "i", "ubinary": "u"}
BITS = ("binary", "ubinary")
KEYS = ("role", "precision", "ranges", "dims", "rows", "seed")
TABLE_KEYS, ARRAY_KEYS = ("text", "vector"), ("texts",)


def source(spec: Spec, model: Model) -> StoredSource:
    """What reads stored vectors.

    Raises:
        GateError: If there are none, or they cannot be the model's.
    """
    is_array = spec.where.lower().endswith(".npy")
    spec.refuse_unknown((*KEYS, *(ARRAY_KEYS if is_array else TABLE_KEYS)))
    role = spec.one_of("role", KNOWN_ROLES, "") if "role" in spec.given else ""
    asked = Asked(spec.given.get("text", ""), spec.given.get("vector", ""), role)
    if spec.where.startswith(QDRANT):
        reader: Reader = QdrantRows(spec.where, asked)
        name = spec.where.rpartition(COLLECTION)[2]
        kept: list[Path] = []
    else:
        file = Path(spec.where).expanduser()
        if not file.is_file():
            raise GateError(f"{spec.flag}: there is no file {spec.where}", "give the file that holds the vectors")
        refuse_pointer(file)
        reader, name = _file_reader(spec, file, asked), file.stem
        kept = [file, *(Path(spec.given[key]).expanduser() for key in ARRAY_KEYS if key in spec.given)]
        for each in kept:
            refuse_link_out(each)
    return StoredSource(reader, spec, spec.combination(name, "fp32"), model, kept)


def _file_reader(spec: Spec, file: Path, asked: Asked) -> Reader:
    match file.suffix.lower():
        case ".parquet":
            return ParquetRows(file, asked)
        case ".jsonl":
            return JsonRows(file, asked, _type_of(spec))
    texts = spec.given.get("texts")
    return ArrayRows(file, Path(texts).expanduser() if texts else None, asked.role)


def _type_of(spec: Spec) -> np.dtype[Any] | None:
    """The type of the numbers in a text file, as a key gives it; None where none does."""
    precision = spec.one_of("precision", PRECISIONS, "") if "precision" in spec.given else ""
    if not precision:
        return None
    kind = {"f": precision, "i": "int8", "u": "uint8"}[PRECISIONS[precision]]
    return np.dtype(kind)


class StoredSource(Source):
    """Reads stored vectors, and draws the rows that are judged.

    Args:
        reader: Reads the store.
        spec: What was asked for.
        combination: What it is called.
        model: The model whose vectors these should be.
        files: The files that hold them and their texts; none where they are in a folder or on a server.

    Attributes:
        reader: Reads the store.
        precision: The embedding precision of what is stored.
        dims: Dimensions that the model's vectors were truncated to; None for all.
        ranges: A file of what 8-bit codes are steps of; None where none is named.

    Raises:
        GateError: If there is no such store, or its vectors cannot be the model's.
    """

    proves = False
    takes_threads = False
    answers = "own rows"

    def __init__(
        self, reader: Reader, spec: Spec, combination: Combination, model: Model, files: Sequence[Path]
    ) -> None:
        super().__init__(combination)
        self.origin = reader.origin
        self.reader = reader
        self._files = files
        self._most = _whole(spec, "rows", ROWS, least=1)
        self._seed = _whole(spec, "seed", 0, least=0)
        self.dims: int | None = _whole(spec, "dims", 0, least=1) or None
        ranges = spec.given.get("ranges")
        self.ranges = Path(ranges).expanduser() if ranges else None
        if self.ranges is not None and not self.ranges.is_file():
            cause = f"{spec.flag} {spec.where}: there is no file of ranges {ranges}"
            raise GateError(cause, "save [2, dim] by numpy.save")
        if self.dims is not None and model.dim is not None and self.dims >= model.dim:
            step = f"the model has {model.dim}: give fewer"
            raise GateError(f"{spec.flag} {spec.where} has dims={self.dims}", step)
        layout = reader.layout()
        asked = spec.one_of("precision", PRECISIONS, "") if "precision" in spec.given else ""
        self.precision = _precision(reader.origin, layout, asked, self.dims or model.dim)

    @cached_property
    def identity(self) -> Mapping[str, str]:
        """The hash of the files; see `Source.identity`."""
        return {"sha256": sha256_of_all(self._files)} if self._files else {}

    @cached_property
    def drawn(self) -> tuple[Rows, int]:
        """The rows that are judged, the same each time; and how many there are in all.

        Raises:
            DataError: If one is malformed.
        """
        return self.reader.draw(self._most, self._seed)

    def build(self, model: Model, context: BuildContext) -> Encoder:
        """Reads the rows that are judged; see `Source.build`."""
        try:
            rows, count = self.drawn
        except DataError as error:
            raise BuildError(error.cause, error.action) from error
        details = {"rows": count, "drawn": len(rows), "stored": self.precision, "width": int(rows.codes.shape[1])}
        return StoredEncoder(rows, Evidence(self.combination.device, 1, 0, {}, self.reader.library, details))


class StoredEncoder(Encoder):
    """Knows the vectors of the texts that were drawn, and no others.

    Args:
        rows: The rows that were drawn.
        evidence: What it says of itself.
    """

    stability = Stability(batch=0.0)
    by_role = True

    def __init__(self, rows: Rows, evidence: Evidence) -> None:
        self._evidence = evidence
        self._row: dict[Input, int] = {}
        for row, each in enumerate(rows.inputs):
            self._row.setdefault(each, row)
        self._codes = rows.codes
        self.inputs = tuple(self._row)

    def encode(self, texts: Sequence[str], batch_size: int = 32) -> FloatArray:
        """Refuses texts without a role: only stored rows have vectors here."""
        raise BuildError("stored vectors belong to texts in a role", "ask for their own texts")

    def encode_as(self, role: Role, texts: Sequence[str], batch_size: int = 32) -> FloatArray:
        """What is stored of texts, as numbers, float32 `[n, width]`; see `Encoder.encode_as`."""
        try:
            rows = [self._row[Input(text, role.name)] for text in texts]
        except KeyError as error:
            raise BuildError("there is no stored vector of a text", "ask for the texts that were drawn") from error
        with np.errstate(over="ignore"):
            return self._codes[rows].astype(np.float32)

    def evidence(self) -> Evidence:
        """What was read; see `Encoder.evidence`."""
        return self._evidence


def _whole(spec: Spec, key: str, default: int, least: int) -> int:
    text = spec.given.get(key)
    if text is None:
        return default
    if not re.fullmatch(r"\d{1,9}", text) or int(text) < least:
        raise GateError(f"{spec.flag} {spec.where} has {key}={text}", f"give a whole number from {least}")
    return int(text)


def _precision(origin: str, layout: Layout, asked: str, dim: int | None) -> str:
    """The embedding precision of what is stored, by its type and width.

    Raises:
        GateError: If it cannot be told, or the model's vectors are never so.
    """
    width, kind = layout.width, layout.dtype.kind
    packed = -(-dim // 8) if dim else None
    found = asked
    if not found and kind == "f":
        found = "float16" if layout.dtype.itemsize == 2 else "float32"
    elif not found and layout.dtype.itemsize == 1:
        bits = {packed: ("binary", "ubinary"), dim: ("int8", "uint8")}.get(width)
        if dim and bits:
            found = bits[kind == "u"]
    if not found:
        raise GateError(
            f"{origin} holds vectors of {width} numbers in {layout.dtype}, the model's have {dim or 'some'} dimensions",
            f"say what is stored: precision= with one of {', '.join(PRECISIONS)}",
        )
    if (kind == "f") != (PRECISIONS[found] == "f") or (kind != "f" and layout.dtype.itemsize != 1):
        raise GateError(f"{origin} holds {layout.dtype}, which is not {found}", "correct precision=")
    most = packed if found in BITS else dim
    if most is not None and (width > most or (kind != "f" and width != most)):
        raise GateError(
            f"{origin} holds vectors of {width} numbers, {found} ones of this model have {most}",
            "gate the model that they were made with, or embed everything again",
        )
    return found
