"""The base of every store of approved things: where files are, whom they are about, and who may write them.

A file is `<folder>/<hardware profile>/<model><suffix>`. Each store has a codec, its `read` and `render`.
"""

from __future__ import annotations

import shlex
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, Generic, Protocol, TypeVar

from embedgate.approved.transaction import Transaction, settle, transaction
from embedgate.core.errors import BaselineError
from embedgate.core.machine import HardwareProfile
from embedgate.core.model import PLAIN_NAME, PLAIN_NAME_STEP

# How the names of weights end.
WEIGHTS = ".safetensors"
RECORD = "pytest --gate-update --gate-reason TEXT"
# Bytes of a name, with which those of its files are no longer than file systems take.
LONGEST_NAME = 200


class OtherModelError(BaselineError):
    """What was approved is about another model."""


class Known(Protocol):
    """A model, as far as it decides what approved things are about: `Model`, or what a report says of one."""

    @property
    def name(self) -> str:
        """Its short name, which names the files."""

    @property
    def source(self) -> str:
        """As it was asked for."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 over what its embeddings depend on, hex."""

    @property
    def files(self) -> Mapping[str, str]:
        """SHA-256 of the files that the fingerprint is over, hex, by their paths."""

    @property
    def tensors(self) -> str:
        """SHA-256 over its weights, however they are stored, hex."""


class Content(Protocol):
    """The content of an approved file.

    Attributes:
        fingerprint: SHA-256 over the weights, tokenizer and module configs of the model it is about, hex.
    """

    @property
    def fingerprint(self) -> str: ...  # noqa: D102


C = TypeVar("C", bound=Content)


@dataclass(frozen=True)
class Store(ABC, Generic[C]):
    """The approved files of one kind in a folder of baselines.

    Attributes:
        folder: The folder; made when first written to.
        suffix: How the names of its files end.
    """

    folder: Path
    suffix: ClassVar[str]

    @abstractmethod
    def read(self, file: Path) -> C | None:
        """A file's content; None where there is none.

        Raises:
            BaselineError: If it cannot be trusted.
        """

    @abstractmethod
    def render(self, content: C) -> bytes:
        """A file's bytes; equal content gives equal bytes."""

    def file(self, profile: str, model_name: str) -> Path:
        """Where the file of a hardware profile and model is.

        Raises:
            BaselineError: If a name could lead out of the folder.
        """
        for name in (profile, model_name):
            if not can_name(name):
                raise BaselineError(f"{name[:100]!r} cannot name a baseline", PLAIN_NAME_STEP)
        file = self.folder / profile / f"{model_name}{self.suffix}"
        if not file.resolve().is_relative_to(self.folder.resolve()):
            raise BaselineError(f"{file} leads out of {self.folder}", "replace the link by a folder or file")
        return file

    def chain(self, profile: HardwareProfile, model: Known) -> Iterator[tuple[str, Path, C]]:
        """The files of a profile and those it inherits from, nearest first: profile, file and content.

        Raises:
            BaselineError: If a file cannot be trusted.
        """
        settle(self.folder)
        for name in profile.chain:
            file = self.file(name, model.name)
            if (content := self.read(file)) is not None:
                yield name, file, content

    def writing(self, within: Transaction | None) -> AbstractContextManager[Transaction]:
        """The approval that files are written in: the one given, or one of its own.

        Raises:
            BaselineError: If another one is being written, or it cannot be written.
        """
        return transaction(self.folder) if within is None else nullcontext(within)


def can_name(name: str) -> bool:
    """Whether a hardware profile or a model of a folder of baselines can be called so, and leads not out of it."""
    return bool(PLAIN_NAME.fullmatch(name)) and len(name.encode()) <= LONGEST_NAME


def require_same_model(
    file: Path, fingerprint: str, model: Known, files: Mapping[str, str] | None = None, tensors: str = ""
) -> None:
    """Checks that a file is about a model.

    Args:
        file: The file.
        fingerprint: The fingerprint of the model that it is about.
        model: The model that it should be about.
        files: The files of the former, where they were kept.
        tensors: Its weights, where they were kept.

    Raises:
        BaselineError: If it is about another one, which says in what they differ.
    """
    if fingerprint != model.fingerprint:
        raise OtherModelError(
            f"{file} was recorded for another model: {_difference(files or {}, tensors, model)} "
            f"(fingerprint {short(fingerprint)}, this model's is {short(model.fingerprint)})",
            f"gate the model it was recorded for, or record this one: {RECORD}",
        )


def _difference(files: Mapping[str, str], tensors: str, model: Known) -> str:
    """In what a model differs from one whose files and weights were kept."""
    if not files:
        return "other weights, tokenizer or module configs"
    now = model.files
    names = sorted(name for name in {*files, *now} if files.get(name) != now.get(name))
    weights = [name for name in names if name.endswith(WEIGHTS)]
    others = [name for name in names if not name.endswith(WEIGHTS)]
    same = bool(weights) and tensors == model.tensors
    told = [f"other weights ({', '.join(weights)})"] if weights and not same else []
    told += [f"{'another' if name in now else 'no'} {name}" if name in files else f"a new {name}" for name in others]
    if same:
        told.append(f"weights that were saved anew, every tensor the same ({', '.join(weights)})")
    return " and ".join(filter(None, (", ".join(told[:-1]), told[-1]))) if told else "no file that was kept"


def corrupt(file: Path, cause: str) -> BaselineError:
    """The error about a file that cannot be trusted."""
    return BaselineError(f"{file} {cause}", restore(file))


def restore(file: Path) -> str:
    """Tells what to do about a file that cannot be trusted."""
    return f"restore it (git checkout -- {shlex.quote(str(file))}), or delete it and record it anew: {RECORD}"


def utc_now() -> str:
    """Date and time in UTC, ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def short(fingerprint: str) -> str:
    """The beginning of a hash, as messages show it."""
    return f"{fingerprint[:12]}..." if len(fingerprint) > 12 else fingerprint or "none"
