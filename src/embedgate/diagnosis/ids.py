"""What token ids alone show of how two readings of the same texts differ: no tokenizer is asked.

Each function looks at one kind of difference and returns None where the ids of any text contradict it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import takewhile
from typing import Literal, NamedTuple, TypeAlias

Row: TypeAlias = list[int]
Pairs: TypeAlias = Sequence[tuple[Row, Row]]
Side: TypeAlias = Literal["start", "end"]
Kept: TypeAlias = Literal["left", "right"]

# Ids that a cut text must share with the other reading of it, so that it is no chance which part was kept.
OVERLAP = 4
# Times that ids must recur under a mapping before it counts as one: the first time, any two ids map onto each other.
RECURRING = 3
# Ids that one id must stand for before it counts as the unknown one.
MERGED = 3


class Ends(NamedTuple):
    """Special tokens that every text has at its ends, as one number of ids each.

    Attributes:
        start: Ids at the start.
        end: Ids at the end.
    """

    start: int
    end: int


@dataclass(frozen=True)
class Edit:
    """A block of ids that stands in one place of every text, and is another one in the other reading.

    Attributes:
        side: Where it stands.
        outside: Ids between that end and the block, the same in every text.
        mine: The block of the one; empty where it has none.
        theirs: The block of the other.
    """

    side: Side
    outside: tuple[int, ...]
    mine: tuple[int, ...]
    theirs: tuple[int, ...]

    @property
    def is_special(self) -> bool:
        """Whether it is one id at the very end, or beside its like there: a special token."""
        both = {*self.mine, *self.theirs}
        return max(len(self.mine), len(self.theirs)) == 1 and (not self.outside or both <= set(self.outside))

    def applied(self, theirs: Row) -> Row:
        """The other's ids with the one's block in the place of its own."""
        ids = theirs if self.side == "start" else theirs[::-1]
        block = self.mine if self.side == "start" else self.mine[::-1]
        start = len(self.outside)
        changed = [*ids[:start], *block, *ids[start + len(self.theirs) :]]
        return changed if self.side == "start" else changed[::-1]


@dataclass(frozen=True)
class Cut:
    """Texts of which the one keeps another part than the other.

    Attributes:
        mine: From which end the one cuts.
        theirs: From which end the other does.
        kept: Most ids that the one has of a text.
        other: Most that the other has.
        shown: How many of the texts that differ show it: of one that is longer than both parts together, the ids have
            nothing in common.
    """

    mine: Kept
    theirs: Kept
    kept: int
    other: int
    shown: int


def ends_of(rows: Sequence[Row]) -> Ends:
    """Ids that all readings have at their ends; none where there are not two different texts to tell."""
    if len({tuple(row) for row in rows}) < 2:
        return Ends(0, 0)
    start = _common(rows)
    shortest = min(map(len, rows))
    return Ends(start, min(_common([row[::-1] for row in rows]), shortest - start))


def body_of(row: Row, ends: Ends) -> Row:
    """A text's ids without those at its ends."""
    return row[ends.start : len(row) - ends.end]


def edits_of(pairs: Pairs, rows: tuple[Sequence[Row], Sequence[Row]]) -> tuple[Edit, ...]:
    """The block of ids at one end, or at both, that makes the whole difference; empty where none does.

    Args:
        pairs: Both readings of the texts that differ. Two of them must differ in more than the block.
        rows: Both readings of all texts, which say how long a text can be.
    """
    longest = [max(map(len, each)) for each in rows]
    # A text at a limit of length loses or gains what others gain or lose.
    whole = [(a, b) for a, b in pairs if len(a) < longest[0] and len(b) < longest[1]] or pairs
    if len({tuple(a) for a, _ in whole}) < 2 or len({len(a) - len(b) for a, b in whole}) > 1:
        return ()
    found = _at_one_end(whole) or _at_both_ends(whole)
    return found if found and all(_same_but_cut(a, applied(found, b)) for a, b in pairs) else ()


def cuts_of(pairs: Pairs, ends: Ends, longest: tuple[int, int]) -> list[Cut]:
    """Where both cut long texts, and keep different parts of them: every way that fits all texts.

    Args:
        pairs: Both readings of the texts that differ.
        ends: Ids that all readings have at their ends.
        longest: Most ids of any text, by the one and by the other.
    """
    bodies = [(body_of(a, ends), body_of(b, ends)) for a, b in pairs]
    found = []
    for (mine, theirs), fits in CUTS.items():
        shown = [fits(a, b) for a, b in bodies]
        beyond = [not any(other(a, b) for other in CUTS.values()) for a, b in bodies]
        telling = sum(abs(len(a) - len(b)) for a, b in bodies) >= OVERLAP or mine != theirs
        explained = all(each or (out and mine != theirs) for each, out in zip(shown, beyond, strict=True))
        if any(shown) and explained and telling and _at_limit(pairs, longest, (mine, theirs)):
            found.append(Cut(mine, theirs, *longest, sum(shown)))
    # The end of a text is also what is left of it where the other one would cut from the other end.
    either = any(cut.mine == cut.theirs == "left" for cut in found)
    return [cut for cut in found if cut.mine == cut.theirs or not either]


def lost_end(pairs: Pairs, theirs: Sequence[Row]) -> int | None:
    """The last id of every text of the other's, where the one lacks it in the longest texts and differs in no more."""
    last, longest = {row[-1] for row in theirs if row}, max(map(len, theirs))
    cut = all(len(a) <= len(b) == longest and a[: len(b) - 1] == b[:-1] for a, b in pairs)
    return last.pop() if cut and len(last) == 1 and len(pairs) < len(theirs) else None


def vocabulary_of(pairs: Pairs) -> dict[int, int] | None:
    """Which id of the one's each id of the other's is, where all texts agree on that; None where they do not."""
    if any(len(a) != len(b) for a, b in pairs):
        return None
    found: dict[int, int] = {}
    recurring = 0
    for mine, theirs in ((x, y) for a, b in pairs for x, y in zip(a, b, strict=True)):
        recurring += theirs in found and mine != theirs
        if found.setdefault(theirs, mine) != mine:
            return None
    return found if recurring >= RECURRING and len(set(found.values())) == len(found) else None


def merged_id(pairs: Pairs) -> tuple[int, int] | None:
    """The one id that stands wherever the one differs, and how many different things it stands for; None for none."""
    stood_for: dict[int, set[tuple[int, ...]]] = {}
    for mine, theirs in (change for pair in pairs for change in _changes(*pair)):
        if len(set(mine)) != 1 or not theirs:
            return None
        stood_for.setdefault(mine[0], set()).add(theirs)
    if len(stood_for) != 1:
        return None
    ((merged, things),) = stood_for.items()
    return (merged, len(things)) if len(things) >= MERGED and (merged,) not in things else None


def shared(pairs: Pairs) -> float:
    """Which share of the one's ids the other has for the same text, in whatever order."""
    both = sum(len(set(a) & set(b)) for a, b in pairs)
    return both / max(1, sum(len(set(a)) for a, _ in pairs))


def _changes(mine: Row, theirs: Row) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Ids of the one's that differ, and what the other has in their place: id by id where there are as many."""
    if len(mine) == len(theirs):
        yield from (((a,), (b,)) for a, b in zip(mine, theirs, strict=True) if a != b)
        return
    for kind, start, end, other, until in SequenceMatcher(None, mine, theirs, autojunk=False).get_opcodes():
        if kind != "equal":
            yield tuple(mine[start:end]), tuple(theirs[other:until])


def beginning(rows: Sequence[Row]) -> Row:
    """The ids that all rows begin with."""
    return rows[0][: _common(rows)]


def _common(rows: Sequence[Row]) -> int:
    """How many ids all rows begin with."""
    columns = zip(*rows, strict=False)  # as long as the shortest
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))


def _at_one_end(pairs: Pairs) -> tuple[Edit, ...]:
    if start := _block(pairs):
        return (Edit("start", *start),)
    if end := _block([(a[::-1], b[::-1]) for a, b in pairs]):
        outside, mine, theirs = (block[::-1] for block in end)
        return (Edit("end", outside, mine, theirs),)
    return ()


def _at_both_ends(pairs: Pairs) -> tuple[Edit, ...]:
    """A block at the start where, besides, one of them has one id more at the end, the same in every text."""
    for side in (0, 1):
        last = {pair[side][-1] for pair in pairs if pair[side]}
        rest = [(a[:-1], b) if side == 0 else (a, b[:-1]) for a, b in pairs]
        if len(last) == 1 and (start := _block(rest)):
            end = tuple(last)
            return Edit("start", *start), Edit("end", (), *((end, ()) if side == 0 else ((), end)))
    return ()


def _block(pairs: Pairs) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]] | None:
    """The block near the start that makes the whole difference: ids before it, the one's, the other's."""
    first, second = pairs[0]
    most, others = _common([a for a, _ in pairs]), _common([b for _, b in pairs])
    start = _common([first[:most], second[:others]])
    added = len(first) - len(second)
    if any(len(a) - len(b) != added for a, b in pairs):
        return None
    for end in range(start, most + 1):
        until = end - added
        if start <= until <= others and all(a[end:] == b[until:] for a, b in pairs):
            return tuple(first[:start]), tuple(first[start:end]), tuple(second[start:until])
    return None


def applied(edits: Sequence[Edit], theirs: Row) -> Row:
    """The other's ids with all blocks of the one's."""
    for edit in edits:
        theirs = edit.applied(theirs)
    return theirs


def _same_but_cut(mine: Row, theirs: Row) -> bool:
    """Whether the longer one has nothing but ids in one place that the shorter one lacks."""
    least = min(len(mine), len(theirs))
    start = _common([mine, theirs])
    return start + _common([mine[start:][::-1], theirs[start:][::-1]]) >= least


def holds(row: Row, block: Row) -> bool:
    """Whether a row has a block of ids somewhere."""
    return any(row[i : i + len(block)] == block for i in range(len(row)))


def _begins_alike(mine: Row, theirs: Row) -> bool:
    """Whether one is the beginning of the other."""
    return len(mine) != len(theirs) and all(a == b for a, b in zip(mine, theirs, strict=False))


def _ends_later(mine: Row, theirs: Row) -> bool:
    """Whether the one begins within the other, and goes on from there to its end or beyond."""
    starts = range(1, len(theirs) - OVERLAP + 1)
    return any(mine[: len(theirs) - start] == theirs[start:] for start in starts)


def _at_limit(pairs: Pairs, longest: tuple[int, int], cut: tuple[Kept, Kept]) -> bool:
    """Whether the texts are as long as any is in the reading that cuts them."""
    by_mine, by_theirs = (all(len(pair[side]) == longest[side] for pair in pairs) for side in (0, 1))
    if cut == ("left", "right"):
        return by_mine
    if cut == ("right", "left"):
        return by_theirs
    shorter = {len(a) < len(b) for a, b in pairs}
    return len(shorter) == 1 and (by_mine if shorter.pop() else by_theirs)


CUTS: Mapping[tuple[Kept, Kept], Callable[[Row, Row], bool]] = {
    ("right", "right"): _begins_alike,
    ("left", "left"): lambda mine, theirs: _begins_alike(mine[::-1], theirs[::-1]),
    ("left", "right"): _ends_later,
    ("right", "left"): lambda mine, theirs: _ends_later(theirs, mine),
}
