"""Texts that are cut at some length, whose number is what fits the vectors best."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from embedgate.diagnosis.distance import distances
from embedgate.diagnosis.faults import STEPS, Fault
from embedgate.diagnosis.playing import Player
from embedgate.encoders.change import ENDLESS, Unplayable

# Numbers that are tried first, and how many between two of them at once.
USUAL = (32, 64, 100, 128, 200, 250, 254, 256, 300, 384, 400, 500, 510, 512, 800, 1000, 1024, 2000, 2048, 4096, 8192)
AT_ONCE = 12
# Distance under which a vector is the reference's, as a share of its length, at least.
SAME = 1e-3
# A text is cut where its vector is so many times as far off as those of short ones are.
BEYOND = 2.0
# Of a vector with int8 noise, the number of a cut is not known to the token.
TO_THE_NUMBER = 1e-2
# A number that leaves a text further off than this is none.
PROMISING = 0.1
# Where vectors come as near as this, the number is found.
RIGHT = 1e-4
# A text that loses little may be off by no more than noise: a cut may lie so far below the longest that seems whole.
BELOW = 0.9
# How many times as many tokens another fault may make of a text, or as few.
BESIDE = 1.5
# Noise up to which a text that seems whole is.
EXACTLY = 0.05


def cuts(player: Player, beside: tuple[Fault, ...] = ()) -> Iterator[Fault]:
    """Cuts of texts that fit, where short texts agree and longer ones do not.

    Args:
        player: Plays faults through.
        beside: Faults that are there as well.
    """
    asked, lengths = player.asked, player.lengths
    off = distances(asked.mine, player.play(beside))
    order = sorted(range(len(lengths)), key=lambda row: lengths[row])
    short = order[: max(2, len(order) // 3)]
    usual = float(np.median(off[short]))
    beyond = off > max(SAME, BEYOND * usual)
    affected = [row for row in order if beyond[row]]
    if not affected or usual > asked.noise or beyond[short].mean() > 0.25:
        return
    # Two of different lengths: one that is cut at a number of characters may be short in tokens.
    rows = affected[:: max(1, len(affected) // 2)][:2]
    kinds = (("tokens", False), ("tokens", True)) if player.replay is not None else ()
    whole = [row for row in order if not beyond[row]]
    for kind in (*kinds, ("characters", False), ("characters", True), ("words", False)):
        best = _fitted(player, kind, beside, rows, _between(player, kind[0], whole, affected, bool(beside)))
        if best is not None:
            yield best


def _between(
    player: Player, unit_: str, whole: Sequence[int], affected: Sequence[int], is_beside: bool
) -> tuple[int, int]:
    """The numbers between which a cut must lie that leaves some texts whole and not others: from, and up to.

    Beside another fault, such as case that is kept, texts may come to more tokens, or to fewer.
    """
    # Beneath noise, a text that is cut may seem whole.
    most = max((_size(unit_, player, row) for row in whole), default=0) if player.asked.noise <= EXACTLY else 0
    least = min(_size(unit_, player, row) for row in affected)
    below, above = (BELOW / BESIDE, BESIDE) if is_beside else (BELOW, 1.0)
    return max(2, int(below * most)), int(above * least)


def _fitted(
    player: Player,
    kind: tuple[str, bool],
    beside: tuple[Fault, ...],
    rows: Sequence[int],
    between: tuple[int, int],
) -> Fault | None:
    """The cut that fits best.

    Args:
        player: Plays faults through.
        kind: The unit, and whether the beginning is lost.
        beside: Faults that are there as well.
        rows: The texts that it is to explain.
        between: The numbers that may be, from and up to.
    """
    unit_, left = kind
    known: dict[int, float] = {}

    def off_on(number: int, row: int) -> float:
        found = player.play((*beside, _cut(unit_, number, left)), [row])
        return float(np.square(distances(player.asked.mine[[row]], found)).mean())

    def off(number: int) -> float:
        if number not in known:
            try:
                first = off_on(number, rows[0])
                # What does not fit the first text need not be tried on another.
                others = rows[1:] if first < PROMISING**2 else ()
                known[number] = max([first, *(off_on(number, row) for row in others)])
            except Unplayable:
                known[number] = float("inf")
        return known[number]

    low, high = between
    most = max(_size(unit_, player, row) for row in rows)
    limit = player.replay.limit if player.replay is not None and unit_ == "tokens" else None
    if limit is not None and most > limit and not left and off(ENDLESS) < TO_THE_NUMBER**2:
        return _cut(unit_, ENDLESS, left)
    if high <= 2 or low > high:
        return None
    best = _least(off, low, high)
    if best >= most:  # whatever the number is, no text at hand is so long
        return _cut(unit_, ENDLESS, left) if limit is not None and most > limit and not left else None
    if not np.isfinite(off(best)) or (best == limit and not left):
        return None
    return _cut(unit_, best, left, exact=off(best) < TO_THE_NUMBER**2)


def _least(off: Callable[[int], float], low: int, high: int) -> int:
    """The number at which something is least: around the best of some, ever closer.

    Half a word more may be better or worse, so that no slope leads to the number.
    """
    some: list[int] = np.geomspace(low, high, AT_ONCE).astype(int).tolist()
    tried: list[int] = sorted({low, high, *some, *(each for each in USUAL if low < each < high)})
    for number in sorted(tried, key=lambda each: each not in USUAL):
        if off(number) < RIGHT**2:
            return number
    place = tried.index(min(tried, key=off))
    best, low, high = tried[place], tried[max(place - 1, 0)], tried[min(place + 1, len(tried) - 1)]
    while off(best) >= RIGHT**2:
        step = max((high - low) // AT_ONCE, 1)
        best = min((*range(low, high + 1, step), best), key=off)
        if step == 1:
            break
        low, high = max(best - step, 2), min(best + step, high)
    return best


def _size(unit_: str, player: Player, row: int) -> int:
    text = player.asked.texts[row]
    return {"tokens": player.lengths[row], "characters": len(text), "words": len(text.split())}[unit_]


def _cut(unit_: str, number: int, left: bool, exact: bool = True) -> Fault:
    where = " from the left" if left else ""
    about = "" if exact else "about "
    if unit_ == "tokens":
        name = "texts that are not cut" if number == ENDLESS else f"texts cut to {about}{number} tokens{where}"
        side = {"left": True} if left else {}
        return Fault(name, "tokens", STEPS["tokens"], change={"longest": number, **side}, cuts=True)

    def characters(text: str) -> str:
        return text[-number:] if left else text[:number]

    def words(text: str) -> str:
        return " ".join(text.split()[:number])

    change = characters if unit_ == "characters" else words
    return Fault(f"texts cut to {about}{number} {unit_}{where}", "texts", STEPS["texts"], text=change, cuts=True)
