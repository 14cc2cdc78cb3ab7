"""Vectors out of an answer: one for each text, in the texts' order, all of them numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from embedgate.core.errors import AnswerError, counted, one_line
from embedgate.core.judgement import shorten
from embedgate.deployed.server.client import SHOWN, Answer
from embedgate.deployed.server.protocols import Protocol
from embedgate.encoders import FloatArray

LOOK = "see the server's log; its answers cannot be judged"


def vectors(answer: Answer, protocol: Protocol, count: int, dim: int | None = None) -> FloatArray:
    """The vectors of an answer, float32 `[count, dim]`.

    Args:
        answer: A success.
        protocol: What it was asked in.
        count: Texts that were asked for.
        dim: Dimensions of each; None for as many as the first has.

    Raises:
        AnswerError: If it holds something else.
    """
    found, start = answer.json(), shorten(answer.text[: 2 * SHOWN], SHOWN)
    if found is None:
        raise _wrong(answer, f"no JSON: {start}", "see that the URL is the server's own, or give api=")
    try:
        rows = protocol.rows(found)
    except (LookupError, TypeError, ValueError) as error:
        form = f"JSON of another form than {protocol.name}'s ({one_line(error)})"
        raise _wrong(answer, f"{form}: {start}") from error
    if len(rows) != count:
        raise _wrong(answer, f"{counted(len(rows), 'vector')} for {counted(count, 'text')}")
    places = [place for place, _ in rows]
    if any(not isinstance(place, int) or isinstance(place, bool) for place in places) or set(places) != {*range(count)}:
        odd = next((each for each in places if each not in range(count) or places.count(each) > 1), places[0])
        raise _wrong(answer, f"an index that is wrong or there twice: {odd!r} among {counted(count, 'text')}")
    matrix: FloatArray | None = None
    for place, row in rows:
        vector = _numbers(answer, row)
        if matrix is None:
            matrix = np.empty((count, dim or len(vector)), dtype=np.float32)
        if vector.shape != matrix.shape[1:]:
            raise _wrong(answer, f"a vector of {vector.size} dimensions in the place of {matrix.shape[1]}")
        matrix[place] = vector
    assert matrix is not None, "texts are asked for"
    if not np.isfinite(matrix).all():
        raise _wrong(answer, "a vector that holds NaN, infinity or numbers beyond float32")
    return matrix


def _numbers(answer: Answer, row: Any) -> FloatArray:
    """A vector as numbers.

    Raises:
        AnswerError: If it is none, such as JSON's null in the place of NaN.
    """
    try:
        vector = np.asarray(row)
    except ValueError as error:
        raise _wrong(answer, "a list of lists of several lengths in the place of a vector") from error
    if vector.ndim != 1 or not vector.size or vector.dtype.kind not in "fiu":
        if isinstance(row, list) and None in row:
            raise _wrong(answer, "a vector that holds null, as JSON has NaN")
        what = f"{type(row).__name__} of {vector.dtype} {list(vector.shape)}"
        raise _wrong(answer, f"{shorten(repr(row), 40)} in the place of a vector ({what})")
    with np.errstate(over="ignore"):
        return vector.astype(np.float32)


def _wrong(answer: Answer, what: str, step: str = LOOK) -> AnswerError:
    return AnswerError(f"{answer.asked} answered with {what}", step)
