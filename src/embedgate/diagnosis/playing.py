"""What a candidate was asked and answered, and what the reference answers with known faults."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from embedgate.core.roles import Role
from embedgate.diagnosis.faults import Fault
from embedgate.encoders import FloatArray
from embedgate.encoders.change import AS_IT_IS, Change, Replay, Unplayable

Encode = Callable[[Role, Sequence[str]], FloatArray]
Rows = Sequence[int]


@dataclass(frozen=True)
class Call:
    """Texts that were asked for at once.

    Attributes:
        role: How they are used.
        rows: Their places among all that was asked, in the order in which they were given.
    """

    role: Role
    rows: tuple[int, ...]

    @property
    def alone(self) -> bool:
        """Whether it is a single text."""
        return len(self.rows) == 1


@dataclass(frozen=True, eq=False)
class Asked:
    """What a candidate was asked and answered.

    Attributes:
        texts: The texts, without prompts; one that was asked for alone as well stands there twice.
        calls: How they were asked for, in this order.
        mine: What it answered, float32 `[n, dim]`.
        is_live: Whether it was asked just now; else how texts were grouped is not known.
        noise: How far a sound candidate of its kind may be off, as a share of a vector's length.
        again: What the first call gave when it was asked again; None where it was not.
        pool: Other texts that have been encoded in the session, with the reference's vectors of them.
        older: Vectors of other models for the same rows, by what they are called, for example `the incumbent`.
    """

    texts: Sequence[str]
    calls: Sequence[Call]
    mine: FloatArray
    noise: float
    again: FloatArray | None = None
    pool: tuple[Sequence[str], FloatArray] | None = None
    older: Mapping[str, FloatArray] = field(default_factory=dict)
    is_live: bool = True

    @property
    def distinct(self) -> int:
        """How many different texts there are."""
        return len(set(self.texts))


class Player:
    """Plays faults through on the reference, for what a candidate was asked.

    Args:
        asked: What it was asked.
        encode: The reference's embeddings of texts in a role.
        replay: What makes the reference do otherwise; None where it shows vectors alone.

    Attributes:
        asked: What it was asked.
        sound: The reference's own vectors, float32 `[n, dim]`.
        lengths: Tokens of each text, uncut; characters where nothing shows its tokens.
    """

    def __init__(self, asked: Asked, encode: Encode, replay: Replay | None) -> None:
        self.asked = asked
        self.replay = replay
        self._encode = encode
        self._known: dict[tuple[Role, str], FloatArray] = {}
        self._played: dict[tuple[Fault, ...], FloatArray] = {}
        self.lengths = self._lengths()
        self.sound = self.play(())

    def own(self) -> FloatArray:
        """The reference's own vectors, as it encodes the texts itself, float32 `[n, dim]`."""
        found: dict[int, FloatArray] = {}
        for call in self.asked.calls:
            rows = self._encoded(call.role, [self.asked.texts[row] for row in call.rows])
            found.update(zip(call.rows, rows, strict=True))
        return np.stack([found[row] for row in range(len(self.asked.texts))])

    def play(self, faults: tuple[Fault, ...], rows: Rows | None = None) -> FloatArray:
        """The reference's vectors with faults, float32 `[rows, dim]`.

        Args:
            faults: The faults, which touch different things.
            rows: The rows that are wanted; None for all, which are kept.

        Raises:
            Unplayable: If the reference cannot be made to do so.
        """
        if rows is None:
            key = tuple(sorted(faults, key=lambda each: each.name))
            if key not in self._played:
                self._played[key] = self._run(faults, range(len(self.asked.texts)))
            return self._played[key]
        return self._run(faults, rows)

    def _run(self, faults: Sequence[Fault], rows: Rows) -> FloatArray:
        wanted, found = set(rows), dict[int, FloatArray]()
        for call in self.asked.calls:
            some = [row for row in call.rows if row in wanted]
            if some:
                found.update(zip(some, self._call(faults, call, some), strict=True))
        matrix = np.stack([found[row] for row in rows])
        for fault in faults:
            if fault.finish is not None:
                matrix = fault.finish(matrix)
        return matrix

    def _call(self, faults: Sequence[Fault], call: Call, rows: Rows) -> FloatArray:
        """Vectors of some rows of a call; how far padding reaches depends on all of them."""
        here = [each for each in faults if self._shows(each, call)]
        role, change, behind = call.role, AS_IT_IS, ""
        for fault in here:
            change = fault.changed(change)
            if fault.ways:
                role, behind = fault.way_of(role)

        def texts(those: Rows) -> list[str]:
            found = [self.asked.texts[row] for row in those]
            for fault in here:
                found = [fault.text(text) for text in found] if fault.text else found
            return [f"{text} {behind}" if behind else text for text in found]

        if self.replay is None:
            if change != AS_IT_IS:
                raise Unplayable("the reference shows no modules, only vectors")
            return self._encoded(role, texts(rows))
        if not self.asked.is_live and (change.pads or len(here) < len(faults)):
            raise Unplayable("how texts were grouped into batches is not known")
        if change.pads:
            change = replace(change, width=self._width(role, texts(call.rows), change))
        return self.replay.vectors(role, texts(rows), change)

    def _shows(self, fault: Fault, call: Call) -> bool:
        """Whether a fault shows for the texts of a call."""
        if fault.where in ("unpadded", "unpadded together"):
            limit = self.replay.limit if self.replay is not None else None
            lengths = {min(self.lengths[row], limit or self.lengths[row]) for row in call.rows}
            return len(lengths) == 1 and not (fault.where == "unpadded together" and call.alone)
        return fault.where in ("always", "alone" if call.alone else "together")

    def _width(self, role: Role, texts: Sequence[str], change: Change) -> int:
        assert self.replay is not None
        limit = change.longest or self.replay.limit
        longest = max(self.replay.lengths(role, texts, change))
        return min(longest, limit) if limit else longest

    def _encoded(self, role: Role, texts: Sequence[str]) -> FloatArray:
        fresh = [text for text in dict.fromkeys(texts) if (role, text) not in self._known]
        if fresh:
            self._known.update(zip(((role, text) for text in fresh), self._encode(role, fresh), strict=True))
        return np.stack([self._known[role, text] for text in texts])

    def _lengths(self) -> list[int]:
        found = [0] * len(self.asked.texts)
        for call in self.asked.calls:
            texts = [self.asked.texts[row] for row in call.rows]
            counts = self.replay.lengths(call.role, texts) if self.replay is not None else list(map(len, texts))
            for row, count in zip(call.rows, counts, strict=True):
                found[row] = count
        return found
