"""Why rows of stored vectors are not the model's: what each fault would have left there is made anew, and compared.

Each finder takes the rows that no other has explained. It explains what it reproduced, or reads from the vectors.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from embedgate.checks.check import Case
from embedgate.checks.context import Context
from embedgate.checks.drawn import Drawn, Marks, encoded_as
from embedgate.core.errors import NotRecorded, counted
from embedgate.core.judgement import Diagnosis
from embedgate.diagnosis.prompts import Way, usual_ways, wrong_ways
from embedgate.metrics import Matrix

# Rows that each fault is tried on before it is made of all.
PROBES = 32
# Rows that are compared with all others at a time.
BLOCK = 256
# Rows by which vectors may have moved against their texts.
SHIFTS = (1, -1, 2, -2, 3, -3)
# Rows that are named.
SHOWN = 5
# What a cause begins with, of one row.
_OF_ONE = {"are": "is", "have": "has", "hold": "holds", "lie": "lies", "were": "was"}
EMBED = "embed these rows again"
AGAIN = "embed everything again with the model that is gated"


@dataclass(frozen=True)
class Explained:
    """Rows with one cause.

    Attributes:
        layer: Where it lies; see `Diagnosis`.
        about: What is wrong, to be read after `N rows`.
        step: What to do.
        places: The rows among what was drawn.
    """

    layer: str
    about: str
    step: str
    places: tuple[int, ...]

    def line(self, drawn: Drawn) -> str:
        """Says it in one line, with the first rows."""
        shown = ", ".join(drawn.named(place) for place in self.places[:SHOWN])
        more = ", ..." if len(self.places) > SHOWN else ""
        return f"{counted(len(self.places), 'row')} {self._told()}: {shown}{more}"

    def _told(self) -> str:
        verb, space, rest = self.about.partition(" ")
        return f"{_OF_ONE[verb] if len(self.places) == 1 else verb}{space}{rest}"

    def diagnosis(self, drawn: Drawn) -> Diagnosis:
        """The same as a diagnosis."""
        return Diagnosis(self.layer, self.line(drawn), self.step)


Finder = Callable[[Context, Case, Drawn, Sequence[int]], Iterator[Explained]]


def explain(context: Context, case: Case, drawn: Drawn, wrong: Sequence[int]) -> list[Explained]:
    """Why rows are not the model's, the most frequent cause first; what nothing explains is called unknown.

    Args:
        context: The session.
        case: The store.
        drawn: Its rows.
        wrong: Places of those that are not the model's, ascending.
    """
    left, found = list(wrong), []
    for finder in FINDERS:
        # Recorded answers say nothing of texts that a cause would have to be reproduced with.
        with suppress(NotRecorded):
            for each in finder(context, case, drawn, left) if left else ():
                found.append(each)
                explained = set(each.places)
                left = [place for place in left if place not in explained]
    found.sort(key=lambda each: -len(each.places))
    return found + ([_unknown(drawn, left)] if left else [])


def _unknown(drawn: Drawn, left: Sequence[int]) -> Explained:
    cosines = drawn.cosines(drawn.as_stored(drawn.today[left]), left)
    about = (
        f"lie elsewhere, for no cause that was reproduced (cosines to the right vectors {cosines.min():.3f} to "
        f"{cosines.max():.3f})"
    )
    step = f"see which model, revision and code embedded them; {EMBED}"
    return Explained("unknown", about, step, tuple(left))


def not_finite(_: Context, __: Case, drawn: Drawn, left: Sequence[int]) -> Iterator[Explained]:
    """Vectors that hold NaN or infinity."""
    if found := tuple(place for place in left if not np.isfinite(drawn.vectors[place]).all()):
        yield Explained("finiteness", "hold NaN or infinity", f"look for what overflowed; {EMBED}", found)


def zeros(_: Context, __: Case, drawn: Drawn, left: Sequence[int]) -> Iterator[Explained]:
    """Vectors of zeros."""
    if found := tuple(place for place in left if not drawn.rows.codes[place].any() and not drawn.vectors[place].any()):
        yield Explained("finiteness", "are all zeros", f"look for rows that were never filled; {EMBED}", found)


def copies(_: Context, __: Case, drawn: Drawn, left: Sequence[int]) -> Iterator[Explained]:
    """One vector in rows of several texts, which the model tells apart."""
    owners: defaultdict[bytes, list[int]] = defaultdict(list)
    for place, code in enumerate(drawn.rows.codes):
        owners[code.tobytes()].append(place)
    wrong = set(left)
    for places in owners.values():
        mine = tuple(place for place in places if place in wrong)
        if mine and len({drawn.today[place].tobytes() for place in places}) > 1:
            about = f"hold one and the same vector, as {counted(len(places), 'row')} of those drawn do"
            yield Explained("codes", about, f"look for a buffer that was written again; {EMBED}", mine)


def lengths(context: Context, case: Case, drawn: Drawn, left: Sequence[int]) -> Iterator[Explained]:
    """Vectors of the right direction and another length."""
    right = drawn.as_stored(drawn.today)
    hit = drawn.points_at(right[list(left)], left)
    found = tuple(_where(hit, left))
    if not found:
        return
    mine, theirs = drawn.lengths[list(found)], np.linalg.norm(right[list(found)], axis=1)
    told = f"(lengths {mine.min():.3f} to {mine.max():.3f}, the model's {theirs.min():.3f} to {theirs.max():.3f})"
    step = f"normalise as the model does, or search by cosine; {EMBED}"
    if np.allclose(mine, 1, atol=1e-3):
        about = f"are normalised, and the model's are not {told}"
    elif _before_normalisation(context, case, drawn, found):
        about = f"are not normalised: they are what comes before the model's own normalisation {told}"
    else:
        about = f"have the right direction and another length {told}"
    yield Explained("normalisation", about, step, found)


def _before_normalisation(context: Context, case: Case, drawn: Drawn, places: Sequence[int]) -> bool:
    """Whether vectors are what the reference normalises."""
    probes = list(places[:PROBES])
    shown = context.session.stages(context.reference_of_own(case), [drawn.rows.inputs[place] for place in probes])
    if shown is None or shown.pooled is None or shown.pooled.shape[1] != drawn.vectors.shape[1]:
        return False
    pooled = np.linalg.norm(drawn.as_stored(shown.pooled), axis=1)
    return bool(np.allclose(drawn.lengths[probes], pooled, rtol=1 - drawn.length + 1e-3))


def shifted(context: Context, case: Case, drawn: Drawn, left: Sequence[int]) -> Iterator[Explained]:
    """Vectors that belong to the texts a few rows on."""
    numbers = {place: int(drawn.rows.numbers[place]) for place in left}
    # At once, since a store may have to be read from its beginning.
    near = drawn.source.reader.take(sorted({number + by for number in numbers.values() for by in SHIFTS}))
    others = {int(number): each for number, each in zip(near.numbers, near.inputs, strict=True)}

    def moved(places: Sequence[int], by: int) -> list[int]:
        """The places whose vectors are those of the texts so many rows on."""
        there = [place for place in places if numbers[place] + by in others]
        asked = [others[numbers[place] + by] for place in there]
        if not there:
            return []
        right = drawn.as_stored(context.session.embed(context.reference_of_own(case), asked))
        return _where(drawn.points_at(right, there), there)

    rest = list(left)
    for by in SHIFTS:
        if moved(_spread(rest), by):
            found = moved(rest, by)
            about = f"hold the vectors of the texts {counted(abs(by), 'row')} further {'down' if by > 0 else 'up'}"
            step = "look for a line that only one side has, such as a header; then join texts and vectors again"
            yield Explained("order", about, step, tuple(found))
            moved_here = set(found)
            rest = [place for place in rest if place not in moved_here]


def exchanged(_: Context, __: Case, drawn: Drawn, left: Sequence[int]) -> Iterator[Explained]:
    """Vectors that belong to the texts of other rows among those drawn."""
    right = drawn.as_stored(drawn.today)
    mine, theirs = _unit(drawn.vectors[list(left)]), _unit(right).T
    nearest = [(mine[start : start + BLOCK] @ theirs).argmax(axis=1) for start in range(0, len(mine), BLOCK)]
    owners = dict(zip(left, np.concatenate(nearest).tolist(), strict=True))
    hit = drawn.points_at(right[list(owners.values())], left)
    found = tuple(_where(hit, left))
    if found:
        shown = ", ".join(f"{_number(drawn, place)} that of {_number(drawn, owners[place])}" for place in found[:SHOWN])
        about = f"hold the vectors of other rows' texts ({shown})"
        step = "restore the order after texts are sorted or encoded in parallel; then join texts and vectors again"
        yield Explained("order", about, step, found)


def prompts(context: Context, case: Case, drawn: Drawn, left: Sequence[int]) -> Iterator[Explained]:
    """Texts that were encoded without the prompt of their role, or with another one."""
    roles = context.plan.model.roles
    for role in dict.fromkeys(drawn.rows.inputs[place].role for place in left):
        mine = [place for place in left if drawn.rows.inputs[place].role == role]

        def taken(places: Sequence[int], way: Way) -> list[int]:
            texts = [drawn.rows.inputs[place].text for place in places]
            wrong = encoded_as(context, case, way.role, way.texts(texts))
            hit = drawn.points_at(drawn.as_stored(wrong), places)
            return _where(hit, places)

        for way in (*wrong_ways(roles, role), *usual_ways(roles, role)):
            probes = _spread(mine)
            if probes and taken(probes, way) and (found := tuple(taken(mine, way))):
                about = f"were embedded as if a {role} {way.about}"
                step = (
                    "embed documents by encode_document, queries by encode_query; where all are queries, say role=query"
                )
                yield Explained("prompt", about, step, found)
                explained = set(found)
                mine = [place for place in mine if place not in explained]


def of_the_incumbent(context: Context, _: Case, drawn: Drawn, left: Sequence[int]) -> Iterator[Explained]:
    """Vectors of the model that is to be replaced."""
    incumbent = context.plan.incumbent
    if incumbent is None or not incumbent.runs or incumbent.answers != "any text":
        return
    run = context.session.incumbent_of_own()
    theirs = drawn.as_stored(context.session.embed(run, [drawn.rows.inputs[place] for place in left]))
    if theirs.shape[1] != drawn.vectors.shape[1]:
        return
    hit = drawn.points_at(theirs, left)
    if found := tuple(_where(hit, left)):
        yield Explained("codes", f"hold the vectors of {incumbent.name}, the incumbent", EMBED, found)


def signs(_: Context, __: Case, drawn: Drawn, left: Sequence[int]) -> Iterator[Explained]:
    """Vectors that are no more than signs."""
    right = np.sign(drawn.as_stored(drawn.today[list(left)]))
    hit = drawn.points_at(right, left)
    if found := tuple(_where(hit, left)):
        about = f"hold the signs of the right vectors alone, in {drawn.rows.codes.dtype}"
        yield Explained("codes", about, "say what is stored (precision=binary), or store the vectors themselves", found)


def steps(_: Context, __: Case, drawn: Drawn, left: Sequence[int]) -> Iterator[Explained]:
    """Vectors that were made of 8-bit codes."""
    if drawn.has_steps:
        about = (
            f"hold no more than 256 steps in each dimension: 8-bit codes that were decoded to {drawn.rows.codes.dtype}"
        )
        yield Explained("codes", about, "say what is stored: precision= and ranges=, or store the vectors", tuple(left))


def _where(hit: Marks, places: Sequence[int]) -> list[int]:
    return [place for place, is_hit in zip(places, hit, strict=True) if is_hit]


def _spread(places: Sequence[int]) -> list[int]:
    """A few of the places, evenly spread."""
    rows = np.linspace(0, max(0, len(places) - 1), min(PROBES, len(places))).astype(int)
    return [places[row] for row in rows]


def _number(drawn: Drawn, place: int) -> str:
    return drawn.source.reader.name(int(drawn.rows.numbers[place]))


def _unit(vectors: Matrix) -> Matrix:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12), dtype=np.float32)


FINDERS: tuple[Finder, ...] = (
    not_finite,
    zeros,
    copies,
    lengths,
    prompts,
    shifted,
    exchanged,
    of_the_incumbent,
    signs,
    steps,
)
