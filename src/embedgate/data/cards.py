"""Dataset cards: what a dataset is, where it comes from, and the hash of its files; and which are bundled."""

from __future__ import annotations

import hashlib
import os
import reprlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Literal, get_args

from embedgate.core.errors import DataError
from embedgate.core.files import read_toml
from embedgate.data.files import PACKED, refuse_link_out, refuse_odd, unreadable
from embedgate.data.rows import is_data_file, suffix_of
from embedgate.data.spec import NAME, NAME_STEP
from embedgate.data.types import Kind

CARD = "card.toml"
CALIBRATION: Final = "calibration"
GOLDEN: Final = "golden"

CardKind = Kind | Literal["calibration", "golden"]
# Kinds of plain texts, of which nothing is scored.
PLAIN = (CALIBRATION, GOLDEN)
# Of bundled datasets, those that are judged by default where the model claims one of their languages.
CLAIMED = "claimed"
DEFAULTS = ("", CLAIMED)
# Files that are data where a folder has no others.
SOMETIMES = (".json", ".ndjson")
ENGLISH = "en"


@dataclass(frozen=True, kw_only=True)
class Card:
    """The content of `card.toml`, about the data beside it.

    Attributes:
        name: Short name, fit for a file name.
        kind: Kind of the dataset; `calibration` for texts that only calibrate quantization, `golden` for those whose
            token ids and embeddings baselines keep.
        version: Changes when the rows do.
        language: IETF language tags, with blanks between.
        default: Of a bundled dataset, `claimed` to judge on it where no data is named only if the model's card claims
            one of its languages beside English; empty to judge on it in any case.
        description: What is in it.
        provenance: Who wrote it, from what.
        licence: SPDX id.
        sha256: Hash of the data files, hex (see `sha256_of`); empty to leave them unverified.
        slices: What each slice named in the rows is about.
    """

    name: str
    kind: CardKind
    version: str = ""
    language: str = ""
    default: str = ""
    description: str = ""
    provenance: str = ""
    licence: str = ""
    sha256: str = ""
    slices: Mapping[str, str] = field(default_factory=dict)

    @property
    def foreign(self) -> tuple[str, ...]:
        """Its languages beside English."""
        return tuple(language for language in self.language.split() if language != ENGLISH)


def read_card(folder: Path) -> Card:
    """Reads a folder's card.

    Raises:
        DataError: If it is no valid TOML, lacks name or kind, or holds a key or value that no card has.
    """
    path = folder / CARD
    form: type[dict[str, Any]] = dict[str, Any]
    content = read_toml(path, form, DataError)
    if content is None:
        raise DataError(f"there is no {path}", "write a card, or restore it")
    known = [key.name for key in fields(Card)]
    for key, value in content.items():
        if key not in known:
            raise DataError(f"{path}: no card has a {key!r}", f"it can hold {', '.join(known)}")
        if key == "slices":
            if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
                step = 'write [slices], and below it name = "what it is about"'
                raise DataError(f"{path}: {key!r} is {reprlib.repr(value)}, not texts by name", step)
        elif not isinstance(value, str):
            raise DataError(f"{path}: {key!r} is {reprlib.repr(value)}, not a text", f'write {key} = "..."')
    if not NAME.fullmatch(content.get("name", "")):
        raise DataError(f"{path}: 'name' is {content.get('name')!r}", NAME_STEP)
    kinds = (*get_args(Kind), *PLAIN)
    if content.get("kind") not in kinds:
        raise DataError(f"{path}: 'kind' is {content.get('kind')!r}", f"choose from {', '.join(kinds)}")
    if content.get("default", "") not in DEFAULTS:
        raise DataError(f"{path}: 'default' is {content['default']!r}", f"write {CLAIMED!r}, or leave it out")
    return Card(**content)


def data_files(folder: Path) -> list[Path]:
    """The data files of a folder and the folders in it, by path.

    Raises:
        DataError: If one is a link that leaves the folder.
    """
    root = folder.resolve()
    found = []
    for path in folder.rglob("*"):
        relative = path.relative_to(folder)
        if any(part.startswith(".") for part in relative.parts) or not (is_data_file(path) or path.is_dir()):
            continue
        # Path.resolve fails where a link leads back to itself.
        if not Path(os.path.realpath(path)).is_relative_to(root):
            raise DataError(f"{path}: a link out of its folder", "put the file or folder itself there")
        if path.is_file():
            found.append(path)
    return sorted(filter(_counts_in(found), found), key=lambda path: path.relative_to(folder).as_posix())


def _counts_in(found: Collection[Path]) -> Callable[[Path], bool]:
    """Tells what of a folder is data: no packed copy, and JSON, which mostly describes data, by itself alone."""
    all_paths = {*found}
    only_json = all(suffix_of(path) in SOMETIMES for path in found)

    def counts(path: Path) -> bool:
        twin = path.suffix.lower() == PACKED and path.with_suffix("") in all_paths
        return not twin and (only_json or suffix_of(path) not in SOMETIMES)

    return counts


def sha256_of(root: Path, paths: Iterable[Path]) -> str:
    """SHA-256 over the path below `root` and the SHA-256 of each file, hex, as `embedgate.core.model_files` has it.

    Raises:
        DataError: If one cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        refuse_odd(path)
        refuse_link_out(path)
        try:
            with path.open("rb") as stream:
                content = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise unreadable(path, error) from error
        digest.update(f"{path.relative_to(root).as_posix()}\0{content}\0".encode())
    return digest.hexdigest()


def bundled_folder() -> Path:
    """The folder of the bundled datasets."""
    return Path(str(files("embedgate.fixtures"))) / "data"


def bundled_cards() -> tuple[Card, ...]:
    """The cards of the bundled datasets, in the order of the report: those last that not every model is judged on."""
    cards = [read_card(path.parent) for path in sorted(bundled_folder().glob(f"*/{CARD}"))]
    return tuple(sorted((card for card in cards if card.kind not in PLAIN), key=lambda card: card.default == CLAIMED))


def bundled() -> tuple[str, ...]:
    """Names of the bundled datasets, in the order of the report."""
    return tuple(card.name for card in bundled_cards())
