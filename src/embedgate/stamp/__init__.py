"""Stamps of indexes: which model made an index's vectors, so that a query of another one is noticed before users do.

A stamp is a small JSON file that lies beside an index. It names the model, and holds a dozen canary texts with the
vectors that the index's maker gives of them. Whoever embeds queries gives the same texts again, and `check` compares.
Neither writing nor checking one imports torch here: vectors come from the caller.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from embedgate.core.errors import GateError, counted, one_line, unwritten
from embedgate.core.files import MOST, read_json, strict, to_json, write_whole
from embedgate.core.roles import DOCUMENT, QUERY
from embedgate.core.similarity import normalised

SCHEMA = 1
# What a canary's cosine is at least where the same model embeds it, in whatever weight precision is usual in serving.
LEAST_COSINE = 0.99
# How far lengths may be from 1 where the model normalises.
UNIT = 1e-2
# Two vectors nearer than this are one.
SAME = 0.9999
ACTION = "embed queries by what made the index, or embed the index anew"

Vector = npt.NDArray[np.float32]
# Embeds texts in a role, `query` or `document`: anything that NumPy can make `[n, dim]` of.
Embed = Callable[[Sequence[str], str], npt.ArrayLike]

# As a query or a document each: what tokenizers, prompts, pooling and limits of length treat otherwise.
CANARIES: Mapping[str, tuple[str, ...]] = {
    QUERY: (
        "how do i reset my password",
        "What is the capital of France?",
        "best hiking boots for wide feet under 150 dollars",
        "ERR_CONNECTION_TIMED_OUT nginx upstream 504",
        "Wie lange dauert die Lieferung nach Österreich?",
        "北京明天会下雨吗",
    ),
    DOCUMENT: (
        "To reset your password, open Settings, choose Security, and follow the link that we send you.",
        "Paris is the capital and the largest city of France, on the river Seine.",
        "Gateway timeouts (504) mean that the upstream did not answer in time: raise proxy_read_timeout.",
        "SKU 4411-B; 2,499.00 EUR; 12-month warranty; ships in 3-5 days \N{PACKAGE}",
        "Die Lieferung nach Österreich dauert drei bis fünf Werktage.",
        " ".join(f"Section {number} says that the party named above keeps its obligations." for number in range(1, 25)),
    ),
}


@dataclass(frozen=True)
class Canary:
    """A text, how it is used, and its vector in the index's space.

    Attributes:
        text: The text.
        role: `query` or `document`.
        vector: Its embedding as the index's maker gave it, float32 `[dim]`.
    """

    text: str
    role: str
    vector: Vector


@dataclass(frozen=True)
class Stamp:
    """What an index's vectors were made by.

    Attributes:
        model: Name of the model.
        source: As it was asked for: a folder, or a hub id with its commit.
        fingerprint: SHA-256 over its weights, tokenizer and module configs, hex.
        combination: What ran it, by its id.
        similarity: How embeddings are compared: `cosine`, `dot`, `euclidean` or `manhattan`.
        dim: Dimensions of a vector.
        normalised: Whether every vector has length 1.
        embedding_precision: How the index stores vectors, for people to read: `float32`, `float16`, `int8`, `uint8`,
            `binary`, `ubinary`.
        prompts: What stands before a text, by its role.
        least_cosine: What a canary's cosine must be at least.
        canaries: The texts.
        made: When, in UTC, ISO 8601 to the second.
        embedgate: The version that made it.
    """

    model: str
    source: str
    fingerprint: str
    combination: str
    similarity: str
    dim: int
    normalised: bool
    embedding_precision: str
    prompts: Mapping[str, str]
    least_cosine: float
    canaries: tuple[Canary, ...]
    made: str = ""
    embedgate: str = ""


@dataclass(frozen=True)
class Checked:
    """What came of a check.

    Attributes:
        problems: What differs, a line each; empty where the vectors fit the index.
        cosines: Each canary's cosine, in the stamp's order; empty where they cannot be compared.
    """

    problems: tuple[str, ...]
    cosines: tuple[float, ...] = field(default=())

    @property
    def fits(self) -> bool:
        """Whether the vectors fit the index."""
        return not self.problems

    def require(self) -> None:
        """Raises where they do not.

        Raises:
            GateError: With the first problem.
        """
        if self.problems:
            raise GateError(self.problems[0], ACTION)


def check(stamp: Stamp | Path | str, embed: Embed) -> Checked:
    """Compares what embeds queries today with what made an index.

    Args:
        stamp: The stamp, or its file.
        embed: Embeds texts in a role: `(texts, role) -> [n, dim]`.

    Raises:
        GateError: If the stamp's file cannot be read.
    """
    stamp = stamp if isinstance(stamp, Stamp) else read(Path(stamp))
    rows: dict[int, Vector] = {}
    for role in dict.fromkeys(canary.role for canary in stamp.canaries):
        places = [place for place, canary in enumerate(stamp.canaries) if canary.role == role]
        given = embed([stamp.canaries[place].text for place in places], role)
        try:
            found = np.asarray(given, dtype=np.float32)
        except (ValueError, TypeError) as error:
            return Checked((f"{counted(len(places), 'text')} gave no array of numbers: {one_line(error)}",))
        if found.ndim != 2 or len(found) != len(places):
            shape = f"{list(found.shape)}, not [{len(places)}, {stamp.dim}]"
            return Checked((f"{counted(len(places), 'text')} gave an array of shape {shape}",))
        if found.shape[1] != stamp.dim:
            return Checked((f"vectors have {found.shape[1]} dimensions, the index's have {stamp.dim}",))
        rows.update(zip(places, found, strict=True))
    mine = np.stack([rows[place] for place in range(len(rows))])
    theirs = np.stack([canary.vector for canary in stamp.canaries])
    if not np.isfinite(mine).all():
        return Checked(("a vector holds NaN or infinity",))
    cosines = normalised(mine) @ normalised(theirs).T
    return Checked(tuple(_problems(stamp, mine, theirs, cosines)), tuple(map(float, np.diag(cosines))))


def _problems(stamp: Stamp, mine: Vector, theirs: Vector, cosines: Vector) -> list[str]:
    own = np.diag(cosines)
    far = own < stamp.least_cosine
    found = []
    if far.any() and (cosines.max(axis=1)[far] > SAME).all():
        found.append(f"{counted(int(far.sum()), 'text')} got the vector of another text: answers are mixed up")
    elif far.any():
        roles: dict[str, list[bool]] = defaultdict(list)
        for canary, lost in zip(stamp.canaries, far, strict=True):
            roles[canary.role].append(bool(lost))
        lost_roles = [role for role, lost in roles.items() if any(lost)]
        kept_roles = [role for role, lost in roles.items() if not any(lost)]
        least = f"the least cosine is {own.min():.4f}, {stamp.least_cosine:g} is required"
        if kept_roles:
            prompts = ", ".join(f"{role} {stamp.prompts.get(role, '')!r}" for role in lost_roles)
            what = f"texts as a {' or '.join(lost_roles)} are embedded otherwise, others alike"
            found.append(f"{what}: {least}; prompts of the index: {prompts}")
        else:
            share = counted(int(far.sum()), "text")
            found.append(f"{share} of {len(far)} are embedded otherwise than in the index of {stamp.model}: {least}")
    lengths = np.linalg.norm(mine.astype(np.float64), axis=1)
    if stamp.normalised and (np.abs(lengths - 1) > UNIT).any():
        found.append(f"vectors have lengths of {lengths.min():.3g} to {lengths.max():.3g}, the index's have 1")
    elif not stamp.normalised and stamp.similarity != "cosine":
        kept = np.linalg.norm(theirs.astype(np.float64), axis=1)
        ratio = lengths / np.maximum(kept, np.finfo(np.float64).tiny)
        if (np.abs(ratio - 1) > UNIT).any():
            found.append(f"vectors have {ratio.min():.3g} to {ratio.max():.3g} times the lengths of the index's")
    return found


def read(path: Path) -> Stamp:
    """Reads a stamp.

    Raises:
        GateError: If it is missing, corrupt, or not as it was written.
    """
    step = "restore it, or make it anew: embedgate stamp"
    form = read_json(path, _File, GateError, step, newest=SCHEMA)
    if form is None:
        raise GateError(f"there is no stamp at {path}", "make one where the index is made: embedgate stamp")
    stamp = form.stamp()
    if form.sha256 != _File.of(stamp).sha256:
        raise GateError(f"{path} is not as it was written: its checksum is wrong", step)
    if not stamp.canaries or any(canary.vector.shape != (stamp.dim,) for canary in stamp.canaries):
        raise GateError(f"{path} is corrupt: its canaries have not {stamp.dim} dimensions", step)
    if not all(np.isfinite(canary.vector).all() for canary in stamp.canaries):
        raise GateError(f"{path} is corrupt: a canary's vector holds NaN or infinity", step)
    return stamp


def write(stamp: Stamp, path: Path) -> None:
    """Writes a stamp.

    Raises:
        GateError: If it cannot be written.
    """
    try:
        write_whole(path, (to_json(msgspec.to_builtins(_File.of(stamp)), indent=1, ensure_ascii=False) + "\n").encode())
    except OSError as error:
        raise GateError(*unwritten(path, error, "name another file")) from error


_Canary = strict(Canary, vector=str, role=Literal["query", "document"])
_Stamp = strict(
    Stamp,
    dim=Annotated[int, msgspec.Meta(ge=1, le=MOST)],
    least_cosine=Annotated[float, msgspec.Meta(ge=-1, le=1)],
    canaries=list[_Canary],  # type: ignore[valid-type]
)


class _File(_Stamp, kw_only=True, forbid_unknown_fields=True):  # type: ignore[call-arg, misc, valid-type]
    """A stamp's file; vectors are in base64, of little-endian float32."""

    schema: int
    sha256: str = ""

    @classmethod
    def of(cls, stamp: Stamp) -> _File:
        fields = {each.name: getattr(stamp, each.name) for each in dataclasses.fields(stamp)}
        canaries = [_Canary(each.text, each.role, _packed(each.vector)) for each in stamp.canaries]
        form = cls(**fields | {"prompts": dict(stamp.prompts), "canaries": canaries}, schema=SCHEMA)
        plain = to_json(msgspec.to_builtins(form), sort_keys=True)
        form.sha256 = hashlib.sha256(plain.encode()).hexdigest()
        return form

    def stamp(self) -> Stamp:
        fields = {each.name: getattr(self, each.name) for each in dataclasses.fields(Stamp)}
        canaries = tuple(Canary(each.text, each.role, _unpacked(each.vector)) for each in self.canaries)
        return Stamp(**fields | {"canaries": canaries})


def _packed(vector: Vector) -> str:
    return base64.b64encode(np.asarray(vector, dtype="<f4").tobytes()).decode()


def _unpacked(text: str) -> Vector:
    try:
        return np.array(np.frombuffer(base64.b64decode(text, validate=True), dtype="<f4"), dtype=np.float32)
    except ValueError:
        return np.empty(0, np.float32)
