"""Rows drawn from stored vectors, beside what the reference gives of their texts today."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from embedgate.checks.check import Case
from embedgate.checks.context import Context
from embedgate.checks.stored import StoredVectors
from embedgate.core.combination import Combination
from embedgate.core.errors import GateError
from embedgate.core.judgement import quoted
from embedgate.core.roles import Role
from embedgate.core.similarity import COSINE, Similarity
from embedgate.deployed.stored import StoredSource
from embedgate.deployed.stored.rows import Rows
from embedgate.metrics import LENGTH_KEPT, Matrix
from embedgate.runtime.session import Run
from embedgate.vectors.codes import BITS, NEEDS_RANGES, Ranges, decode, quantize
from embedgate.vectors.storage import EmbeddingPrecision

Marks = npt.NDArray[np.bool_]
FLOATS = ("float32", "float16")
# Lengths that differ from 1 by less are those of normalised vectors, in float16 too.
UNIT = 1e-3
# Standard errors within which the share of differing signs is chance.
STANDARD_ERRORS = 3.0
# Rows from which steps are read, how far off one a value may lie, and in which share of the dimensions.
FEWEST_FOR_STEPS = 32
OFF_STEP = 0.1
MOST_DIMENSIONS = 0.9


@dataclass(frozen=True, eq=False)
class Drawn:
    """The rows that were drawn from one store.

    Attributes:
        source: Reads the store.
        rows: The rows.
        count: How many rows the store has.
        vectors: What is stored, decoded, float32 `[n, width]`.
        today: What the reference gives of their texts and roles, float32 `[n, dim]`.
        ranges: What 8-bit codes are steps of; None for all others.
        similarity: How the model compares.
        cosine: The least cosine of a row with the right vector.
        length: The least share that the lesser length is of the greater.
    """

    source: StoredSource
    rows: Rows
    count: int
    vectors: Matrix
    today: Matrix
    ranges: Ranges | None
    similarity: Similarity
    cosine: float
    length: float

    @property
    def precision(self) -> EmbeddingPrecision:
        """The embedding precision of what is stored."""
        found: EmbeddingPrecision = self.source.precision  # type: ignore[assignment]
        return found

    @property
    def fits(self) -> bool:
        """Whether what is stored has as many dimensions as the model's vectors, truncated where so was said."""
        return bool(self.vectors.shape[1] == self.as_stored(self.today[:1]).shape[1])

    def as_stored(self, embeddings: Matrix) -> Matrix:
        """Embeddings as the store would hold them, decoded, float32 `[n, width]`."""
        return self._decoded(embeddings, self.source.dims)

    def truncated(self) -> Matrix:
        """Today's embeddings, cut to as many dimensions as the store has, float32 `[n, width]`."""
        return self._decoded(self.today, self.vectors.shape[1])

    def _decoded(self, embeddings: Matrix, dims: int | None) -> Matrix:
        kept = np.ascontiguousarray(embeddings[:, :dims])
        if self.precision not in FLOATS:
            kept = self.similarity.prepared(kept)
        codes = quantize(kept, self.precision, self.ranges)
        return decode(codes, self.precision, kept.shape[1], self.ranges)

    def cosines(self, right: Matrix, rows: Sequence[int] | None = None) -> npt.NDArray[np.float64]:
        """Cosines of what is stored with right vectors, float64 `[n]`; NaN where one has no direction.

        Args:
            right: Vectors as they would be stored, float32 `[n, width]`.
            rows: Places among what was drawn; None for all.
        """
        mine = (self.vectors if rows is None else self.vectors[rows]).astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            lengths = np.linalg.norm(mine, axis=1) * np.linalg.norm(right.astype(np.float64), axis=1)
            return np.asarray(np.einsum("ij,ij->i", mine, right.astype(np.float64)) / lengths)

    def points_at(self, right: Matrix, rows: Sequence[int] | None = None) -> Marks:
        """Whether what is stored has the direction of right vectors, bool `[n]`; see `cosines`."""
        return np.asarray(self.cosines(right, rows) >= self._least(right.shape[1]))

    def as_long_as(self, right: Matrix) -> Marks:
        """Whether what is stored has the length of right vectors, bool `[n]`.

        Where the model compares by cosine and its vectors have any length, normalised ones serve as well; and so do
        truncated ones that were normalised again.
        """
        mine, theirs = self.lengths, np.linalg.norm(right.astype(np.float64), axis=1)
        with np.errstate(invalid="ignore"):
            kept = np.minimum(mine, theirs) >= self.length * np.maximum(mine, theirs)
        serves = self.similarity is COSINE or self.source.dims is not None
        return np.asarray(kept | (np.abs(mine - 1) < UNIT)) if serves else np.asarray(kept)

    @property
    def has_steps(self) -> bool:
        """Whether floats lie on at most 256 steps in nearly every dimension, as decoded 8-bit codes do."""
        sound = self.vectors[np.isfinite(self.vectors).all(axis=1)].astype(np.float64)
        if self.precision not in FLOATS or len(sound) < FEWEST_FOR_STEPS:
            return False
        found = 0
        for column in sound.T:
            values = np.unique(column)
            gaps = np.diff(values)
            if len(gaps) and values[-1] - values[0] <= 255.5 * gaps.min():
                places = (values - values[0]) / gaps.min()
                found += bool(np.abs(places - places.round()).max() < OFF_STEP)
        return bool(found > MOST_DIMENSIONS * sound.shape[1])

    @property
    def lengths(self) -> npt.NDArray[np.float64]:
        """Lengths of what is stored, float64 `[n]`."""
        with np.errstate(over="ignore"):
            return np.asarray(np.linalg.norm(self.vectors.astype(np.float64), axis=1))

    def named(self, place: int) -> str:
        """A drawn row as a message calls it: its number and its text."""
        return f"{self.source.reader.name(int(self.rows.numbers[place]))} {quoted(self.rows.inputs[place].text, 40)}"

    def _least(self, width: int) -> float:
        """The least cosine that is near enough: of signs, that of vectors which are as near.

        Two vectors at an angle differ in the sign of a dimension with the probability angle / pi (Charikar 2002).
        """
        if self.precision not in BITS:
            return self.cosine
        share = math.acos(self.cosine) / math.pi
        return 1 - 2 * (share + STANDARD_ERRORS * math.sqrt(share * (1 - share) / width))


class DrawnRows:
    """What was drawn from each store of a session, made once."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._known: dict[Combination, Drawn] = {}

    def of(self, case: Case) -> Drawn:
        """The rows of a case's store.

        Raises:
            GateError: If it cannot be read, or 8-bit codes have no ranges.
        """
        if case.combination not in self._known:
            self._known[case.combination] = self._draw(case)
        return self._known[case.combination]

    def _draw(self, case: Case) -> Drawn:
        context, reference = self._context, self._context.reference_of_own(case)
        source = context.plan.registry.source(case.combination)
        assert isinstance(source, StoredSource), "the check is asked of stored vectors alone"
        rows, count = source.drawn
        today = context.session.embed(reference, rows.inputs)
        dims = source.dims or today.shape[1]
        width = -(-dims // 8) if source.precision in BITS else dims
        if source.precision not in FLOATS and rows.codes.shape[1] != width:
            has = rows.codes.shape[1]
            cause = f"{source.origin} holds {has} numbers a vector, {source.precision} codes of this model have {width}"
            raise GateError(cause, "gate the model that they were made with, or say dims=")
        floors = context.tolerances
        with np.errstate(over="ignore"):  # what is beyond float32 is infinite, which its check tells
            vectors = rows.codes.astype(np.float32)
        found = Drawn(
            source,
            rows,
            count,
            vectors,
            today,
            self._ranges(source, reference, dims),
            reference.model.similarity,
            floors.floor(case.combination, "cosine_min"),
            floors.floor(case.combination, LENGTH_KEPT),
        )
        if found.precision in FLOATS:
            return found
        return replace(found, vectors=decode(rows.codes, found.precision, dims, found.ranges))

    def _ranges(self, source: StoredSource, reference: Run, dims: int) -> Ranges | None:
        if source.precision not in NEEDS_RANGES:
            return None
        if source.ranges is not None:
            return Ranges.load(source.ranges, dims)
        approved = self._context.of(StoredVectors).recorded(reference.combination)
        if approved is None or len(approved.value.low) != dims:
            cause = f"{source.origin} holds {source.precision} codes, and no ranges of theirs are known"
            raise GateError(cause, "give the ranges that they are steps of: ranges=FILE, floats [2, dim] by numpy.save")
        return approved.value


def encoded_as(context: Context, case: Case, role: Role, texts: Sequence[str]) -> Matrix:
    """What the reference gives of texts in any role, float32 `[n, dim]`."""
    return context.session.encode_as(context.reference_of_own(case), role, texts)
