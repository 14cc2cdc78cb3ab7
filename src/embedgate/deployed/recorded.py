"""Recorded answers: what a candidate once gave of texts, kept in a file (`--gate-record`) and judged later.

The file has an answer a line, as `{"text": ..., "vector": [...]}`: the text as the model reads it, with its prompt.
Where answers depend on how a text is used by more than that, each has a `role`; those of a model with routes have a
`route`. The first line says under `about` whose answers these are. Files of others, and Parquet, need no `about`.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from embedgate.core.combination import SERVED, Combination
from embedgate.core.errors import BuildError, DataError, GateError, NotRecorded, counted, unwritten
from embedgate.core.files import write_whole
from embedgate.core.judgement import quoted
from embedgate.core.model import Model
from embedgate.core.model_files import sha256_of
from embedgate.core.roles import PLAIN, ROLES, Role
from embedgate.core.spec import Spec
from embedgate.core.version import __version__
from embedgate.data.files import refuse_link_out
from embedgate.data.rows import Table, open_table
from embedgate.deployed import files
from embedgate.deployed.stored.rows import ROLE, TEXTS, VECTORS, vector_of
from embedgate.deployed.stored.tables import require_column
from embedgate.encoders import BuildContext, Encoder, Evidence, FloatArray, Stability
from embedgate.encoders.sources import Source

ABOUT = "about"
ROUTE = "route"
# Roles that answers may have; the empty one is plain `encode`.
KNOWN_ROLES = ("", *ROLES)


class Asked(NamedTuple):
    """What an answer is kept by.

    Attributes:
        text: The text as the model reads it, with its prompt.
        role: How it was used; None where that makes no difference beyond prompt and route.
        route: The route it took; empty for the only one.
    """

    text: str
    role: str | None = None
    route: str = ""

    @classmethod
    def by(cls, role: Role, text: str, by_role: bool) -> Asked:
        """What the answer for a text in a role is kept by.

        Args:
            role: How the text is used.
            text: The text, without a prompt.
            by_role: Whether answers depend on the role by more than its prompt and route.
        """
        return cls(role.prompt + text, role.name if by_role else None, "" if by_role else role.route)


@dataclass(frozen=True)
class About:
    """Whose answers were recorded.

    Attributes:
        combination: Its id, when it was recorded.
        origin: Where it came from: a path or a URL.
        at: When, in ISO 8601.
        model: The name of the model that was gated.
        identity: What told it from others of its name.
        library: What computed, as its evidence said.
        details: Whatever else its evidence said.
        notes: What a reader of a verdict must know of how it was asked.
        version: The version of embedgate.
    """

    combination: str = ""
    origin: str = ""
    at: str = ""
    model: str = ""
    identity: Mapping[str, str] = field(default_factory=dict)
    library: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    version: str = ""

    @classmethod
    def of(cls, source: Source, model: Model, evidence: Evidence | None = None) -> About:
        """What is to be known of answers that a source gives now, and of its evidence, where it has any."""
        return cls(
            source.combination.id,
            source.origin,
            dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            model.name,
            dict(source.identity),
            evidence.library if evidence else "",
            dict(evidence.details) if evidence else {},
            tuple(evidence.notes) if evidence else (),
            __version__,
        )

    @classmethod
    def read(cls, value: object) -> About:
        """What a file says; nothing of one that says nothing."""
        if not isinstance(value, Mapping):
            return cls()
        known = {name: value[name] for name in cls.__dataclass_fields__ if isinstance(value.get(name), str)}
        parts = {name: value[name] for name in ("identity", "details") if isinstance(value.get(name), Mapping)}
        notes = value.get("notes")
        return cls(**known, **parts, notes=tuple(map(str, notes)) if isinstance(notes, list) else ())

    @property
    def told(self) -> str:
        """Whose answers they are, in a few words; empty where nobody said it."""
        if not self.origin:
            return ""
        return f"answers of {self.origin}, recorded on {self.at[:10]}"


def write(path: Path, about: About, answers: Iterable[tuple[Asked, FloatArray]]) -> int:
    """Writes answers; the file is there whole or not at all.

    Args:
        path: The file; folders are made where they are missing.
        about: Whose answers they are.
        answers: The vector of each text, float32 `[dim]`; one that holds NaN or infinity is left out.

    Returns:
        How many were written.

    Raises:
        GateError: If the file cannot be written, or is there already.
    """
    lines: list[str] = []
    for asked, vector in answers:
        if not np.isfinite(vector).all():
            continue
        how = ({ROLE: asked.role} if asked.role is not None else {}) | ({ROUTE: asked.route} if asked.route else {})
        head = {"text": asked.text, **how} | ({} if lines else {ABOUT: vars(about)})
        # As the shortest decimals that read as the same float32.
        numbers = ",".join(vector.astype(np.float32).astype(str))
        lines.append(f'{json.dumps(head, default=str)[:-1]}, "vector": [{numbers}]}}\n')
    if path.exists():
        raise GateError(f"{path} is there already, and may hold answers that were paid for", "give another folder")
    try:
        write_whole(path, "".join(lines).encode())
    except OSError as error:
        raise GateError(*unwritten(path, error, "give --gate-record another folder")) from error
    return len(lines)


def source(spec: Spec, _: Model) -> Source:
    """What reads recorded answers.

    Raises:
        GateError: If there are none.
    """
    spec.refuse_unknown(("text", "vector"))
    path = Path(spec.where).expanduser()
    if not path.is_file():
        raise GateError(f"{spec.flag}: there is no file {spec.where}", "record answers by --gate-record FOLDER")
    files.refuse_pointer(path)
    refuse_link_out(path)
    recording = Recording(path, spec.given.get("text", ""), spec.given.get("vector", ""))
    about = recording.about
    try:
        was = Combination.parse(about.combination)
    except GateError:
        was = Combination(path.name.partition(".answers.")[0], SERVED, "cpu")
    folder = path.absolute().parent.name
    name = f"{folder}_{was.backend}" if about.combination else was.backend
    return Recorded(recording, spec.combination(name, was.weight_precision))


class Recording:
    """A file of recorded answers.

    Args:
        path: The file.
        text: The column of texts; empty for the one of a usual name.
        vector: The column of vectors; empty for the one of a usual name.
    """

    def __init__(self, path: Path, text: str = "", vector: str = "") -> None:
        self.path = path
        self._text = text
        self._vector = vector

    @cached_property
    def about(self) -> About:
        """Whose answers they are.

        Raises:
            DataError: If the file cannot be read, or lacks a column.
        """
        table = open_table(self.path)
        self._columns(table)
        _, first = next(table.rows, (0, {}))
        return About.read(first.get(ABOUT))

    def answers(self) -> tuple[dict[Asked, FloatArray], bool]:
        """The vector of each text, float32 `[dim]`, the first where there are several; and whether they have roles.

        Raises:
            DataError: If a row is malformed.
        """
        table = open_table(self.path)
        text, vector = self._columns(table)
        by_role, width = False, 0
        found: dict[Asked, FloatArray] = {}
        for number, row in table.rows:
            place, read, role, route = table.at(number), row.get(text), row.get(ROLE), row.get(ROUTE) or ""
            if not isinstance(read, str) or not isinstance(route, str):
                raise DataError(f"{place}: {text!r} or {ROUTE!r} is no text", "give each vector the text it is of")
            if role is not None and role not in KNOWN_ROLES:
                raise DataError(f"{place}: there is no role {role!r}", f"write one of {', '.join(ROLES)}")
            by_role = by_role if found else role is not None
            if by_role != (role is not None):
                raise DataError(f"{place}: some rows have a {ROLE} and some have none", "give all of them one, or none")
            with np.errstate(over="ignore"):  # what is beyond the type is infinite
                numbers = vector_of(row.get(vector), place).astype(np.float32)
            if not np.isfinite(numbers).all():
                raise DataError(f"{place}: a vector holds NaN, infinity or numbers beyond float32", "leave it out")
            width = width or len(numbers)
            if len(numbers) != width:
                raise DataError(f"{place}: a vector of {len(numbers)} numbers, others have {width}", "record anew")
            found.setdefault(Asked(read, None if role is None else str(role), route), numbers)
        if not found:
            raise DataError(f"{self.path} holds no answers", "record anew")
        return found, by_role

    def _columns(self, table: Table) -> tuple[str, str]:
        text = require_column(table, "text", self._text, TEXTS)
        return text, require_column(table, "vector", self._vector, VECTORS)


class Recorded(Source):
    """Reads recorded answers.

    Args:
        recording: The file.
        combination: What it is called.
    """

    proves = False
    takes_threads = False
    local = False
    answers = "recorded texts"

    def __init__(self, recording: Recording, combination: Combination) -> None:
        super().__init__(combination)
        self.origin = str(recording.path)
        self._recording = recording

    @cached_property
    def identity(self) -> Mapping[str, str]:
        """The hash of the file, and whose answers they are; see `Source.identity`."""
        found = {"sha256": sha256_of(self._recording.path)}
        return found | ({"recorded": told} if (told := self._recording.about.told) else {})

    def build(self, model: Model, context: BuildContext) -> Encoder:
        """Reads the answers; see `Source.build`."""
        try:
            answers, by_role = self._recording.answers()
        except DataError as error:
            raise BuildError(error.cause, error.action) from error
        about = self._recording.about
        details = {
            "file": self.origin,
            "answers": len(answers),
            "recorded at": about.at,
            "recorded of": about.origin,
            "model": about.model,
            "library": about.library,
            **about.details,
        }
        evidence = Evidence(self.combination.device, 0, 0, {}, "recorded answers", details, notes=tuple(about.notes))
        return RecordedEncoder(self.origin, answers, by_role, evidence)


class RecordedEncoder(Encoder):
    """Knows what was answered, and nothing else.

    Args:
        origin: The file, for messages.
        answers: The vector of each text, float32 `[dim]`.
        by_role: Whether answers depend on the role by more than its prompt and route.
        evidence: What it says of itself.
    """

    stability = Stability(batch=0.0)

    def __init__(self, origin: str, answers: Mapping[Asked, FloatArray], by_role: bool, evidence: Evidence) -> None:
        self.by_role = by_role
        self._origin = origin
        self._answers = answers
        self._evidence = evidence

    def encode(self, texts: Sequence[str], batch_size: int = 32) -> FloatArray:
        """What was answered for texts as they were sent; see `Encoder.encode`."""
        return self.encode_as(PLAIN, texts, batch_size)

    def encode_as(self, role: Role, texts: Sequence[str], batch_size: int = 32) -> FloatArray:
        """What was answered for texts in a role, float32 `[n, dim]`; see `Encoder.encode_as`.

        Raises:
            NotRecorded: If a text was not asked for then.
        """
        asked = [Asked.by(role, text, self.by_role) for text in texts]
        if missing := [each for each in asked if each not in self._answers]:
            used = f" as {missing[0].role}" if missing[0].role else ""
            raise NotRecorded(
                f"{self._origin} has no answer for {len(missing)} of {counted(len(asked), 'text')}, among them "
                f"{quoted(missing[0].text, 60)}{used}",
                "record answers for these data and prompts by --gate-record, or give the data that were asked for",
            )
        return np.stack([self._answers[each] for each in asked])

    def evidence(self) -> Evidence:
        """What was said when the answers were recorded; see `Encoder.evidence`."""
        return self._evidence
