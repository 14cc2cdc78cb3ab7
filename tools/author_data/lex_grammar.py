"""A small grammar of composed sentences: families of templates whose slots are filled together.

A family has a base template, a rewording with the same meaning and edits that change the meaning. An edit
carries the grade that a pair of base (or rewording) and edit earns, and the grade follows from what the edit
changed: a contradiction 1.75 to 2, a role swap 2 to 2.75, one changed thing, offence or deed 2.25 to 2.75,
one changed name, place or number 3 to 3.75 (the less it weighs, the higher), two names 2.25, and everything
but the kind of event 1.25 to 1.5. Triplets do not use the grades.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import lex_names as names


@dataclass(frozen=True)
class Family:
    """Templates with common slots; an edit is (grade, tags, template), light a rewording that stays close."""

    tags: str
    base: str
    same: str
    edits: tuple[tuple[float, str, str], ...]
    light: str = ""


def slots(
    rng: random.Random,
    people: Sequence[str],
    firsts: Sequence[str],
    towns: Sequence[str],
) -> dict[str, str]:
    """One filling of every slot; slots that end in 2 differ from their partner."""
    p, p2 = rng.sample(list(people), 2)
    f, f2, f3, f4 = rng.sample(list(firsts), 4)
    t, t2, t3, t4 = rng.sample(list(towns), 4)
    n, n2 = rng.sample(names.NUMBERS, 2)
    y, y2 = rng.sample(names.YEARS, 2)
    d, d2 = rng.sample(names.DAYS, 2)
    (c, cw), (c2, cw2) = rng.sample(names.TIMES, 2)
    x, x2 = rng.choice(names.INGREDIENTS)
    less, more = rng.choice(names.ADVICE)
    post, post2 = rng.sample(names.POSTS, 2)
    gift, gift2 = rng.sample(names.GIFTS, 2)
    goods, goods2 = rng.sample(names.GOODS, 2)
    offence, offence2 = rng.sample(names.OFFENCES, 2)
    fine, fine2 = rng.sample((40, 60, 90, 120, 250, 300, 450, 800), 2)
    gram, gram2 = rng.sample((150, 200, 250, 350, 400, 500), 2)
    return {
        "p": p,
        "p2": p2,
        "f": f,
        "f2": f2,
        "t": t,
        "t2": t2,
        "t3": t3,
        "n": n,
        "N": names.FIGURES[n],
        "n2": n2,
        "N2": names.FIGURES[n2],
        "Cap": n.capitalize(),
        "Cap2": n2.capitalize(),
        "y": y,
        "y2": y2,
        "d": d,
        "d2": d2,
        "c": c,
        "cw": cw,
        "c2": c2,
        "cw2": cw2,
        "x": x,
        "x2": x2,
        "less": less,
        "more": more,
        "post": post,
        "post2": post2,
        "gift": gift,
        "gift2": gift2,
        "goods": goods,
        "goods2": goods2,
        "offence": offence,
        "offence2": offence2,
        "fine": str(fine),
        "fine2": str(fine2),
        "gram": str(gram),
        "gram2": str(gram2),
        "when": rng.choice(names.OCCASIONS),
        "sn": p.split()[-1],
        "sn2": p2.split()[-1],
        "f3": f3,
        "f4": f4,
        "t4": t4,
    }


PAIR_FAMILIES = (
    Family(
        "e",
        "{p} was appointed {post} in {t} in {y}.",
        "In {y}, {p} became {post} in {t}.",
        (
            (3, "", "{p2} was appointed {post} in {t} in {y}."),
            (3.25, "", "{p} was appointed {post} in {t2} in {y}."),
            (2.25, "", "{p2} was appointed {post} in {t2} in {y}."),
            (1.75, "n", "{p} was not appointed {post} in {t} in {y}."),
            (1.25, "", "{p2} was appointed {post2} in {t2} in {y2}."),
        ),
    ),
    Family(
        "ew",
        "{f} gave {f2} {gift} {when}.",
        "{f2} got {gift} from {f} {when}.",
        (
            (2.25, "", "{f2} gave {f} {gift} {when}."),
            (2.75, "", "{f} gave {f2} {gift2} {when}."),
            (3.75, "", "{f} gave {f2} {gift} and {gift2} {when}."),
        ),
    ),
    Family(
        "ed",
        "{p} sold {goods} to {p2} for {n} hundred crowns.",
        "{p2} paid {p} {N}00 crowns for {goods}.",
        (
            (2.25, "w", "{p2} sold {goods} to {p} for {n} hundred crowns."),
            (3.5, "", "{p} sold {goods} to {p2} for {n2} hundred crowns."),
            (2.75, "", "{p} sold {goods2} to {p2} for {n} hundred crowns."),
            (1.25, "", "{p} bought {goods2} in {t} for {n2} hundred crowns."),
        ),
    ),
    Family(
        "ed",
        "The {c} coach from {t} to {t2} runs only on {d}s.",
        "Only on {d}s is there a coach at {cw} from {t} to {t2}.",
        (
            (2.75, "w", "The {c} coach from {t2} to {t} runs only on {d}s."),
            (3.25, "", "The {c2} coach from {t} to {t2} runs only on {d}s."),
            (3.25, "", "The {c} coach from {t} to {t2} runs only on {d2}s."),
            (1.75, "n", "The {c} coach from {t} to {t2} does not run on {d}s."),
            (1.25, "", "The coach from {t3} is often full on {d2}s."),
        ),
    ),
    Family(
        "ed",
        "{p} was fined {fine} euros for {offence}.",
        "For {offence}, {p} had to pay a penalty of {fine} euros.",
        (
            (3.5, "", "{p} was fined {fine2} euros for {offence}."),
            (2.5, "", "{p} was fined {fine} euros for {offence2}."),
            (2, "n", "{p} was not fined for {offence}."),
            (3, "", "{p2} was fined {fine} euros for {offence}."),
        ),
    ),
    Family(
        "d",
        "Mix {gram} grams of {x} with {n} spoonfuls of {x2}.",
        "Take {N} spoonfuls of {x2} and stir them into {gram} grams of {x}.",
        (
            (2.5, "w", "Mix {gram} grams of {x2} with {n} spoonfuls of {x}."),
            (3.5, "", "Mix {gram2} grams of {x} with {n} spoonfuls of {x2}."),
            (3.5, "", "Mix {gram} grams of {x} with {n2} spoonfuls of {x2}."),
            (2, "n", "Do not mix the {x} with the {x2}."),
        ),
    ),
    Family(
        "e",
        "Dr {sn} told {f} to cut down on {less} and have more {more}.",
        "{f} was advised by Dr {sn} to go easy on {less} and have more {more}.",
        (
            (2, "w", "Dr {sn} told {f} to cut down on {more} and have more {less}."),
            (3.25, "", "Dr {sn} told {f2} to cut down on {less} and have more {more}."),
            (2, "n", "Dr {sn} did not ask {f} to cut down on {less}."),
            (1.5, "", "{f} likes {less} better than {more}."),
        ),
    ),
    Family(
        "ed",
        "{t} beat {t2} {n} points to two in the final on {d}.",
        "On {d}, {t2} lost the final to {t}, scoring two points against {N}.",
        (
            (2.25, "w", "{t2} beat {t} {n} points to two in the final on {d}."),
            (3.25, "", "{t} beat {t3} {n} points to two in the final on {d}."),
            (3.75, "", "{t} beat {t2} {n2} points to two in the final on {d}."),
            (1.5, "", "The final between {t} and {t2} will be shown on television."),
        ),
    ),
    Family(
        "ed",
        "{p} lived in {t} for {n} years before moving to {t2}.",
        "Before the move to {t2}, {p} had spent {N} years in {t}.",
        (
            (2.75, "w", "{p} lived in {t2} for {n} years before moving to {t}."),
            (3.75, "", "{p} lived in {t} for {n2} years before moving to {t2}."),
            (3.25, "", "{p} lived in {t} for {n} years before moving to {t3}."),
            (2, "n", "{p} never lived in {t} and never moved to {t2}."),
        ),
    ),
    Family(
        "ew",
        "{f} is older than {f2} but not as tall.",
        "{f2} is younger than {f}, yet taller.",
        (
            (2, "", "{f2} is older than {f} but not as tall."),
            (2.75, "", "{f} is older and taller than {f2}."),
            (1.25, "", "{f} and {f2} go to the same dancing class."),
        ),
    ),
    Family(
        "ed",
        "The mayor of {t} opened a bridge that had taken {n} years to build.",
        "A bridge {n} years in the making was opened by the mayor of {t}.",
        (
            (3.5, "", "The mayor of {t2} opened a bridge that had taken {n} years to build."),
            (3.75, "", "The mayor of {t} opened a bridge that had taken {n2} years to build."),
            (2.25, "", "The mayor of {t} closed a bridge that was {n} years old."),
            (1.25, "", "The mayor of {t2} was re-elected after {n2} years."),
        ),
    ),
    Family(
        "en",
        "{f} has never been to {t}.",
        "{f} has yet to visit {t}.",
        (
            (1.75, "", "{f} has often been to {t}."),
            (3, "", "{f} has never been to {t2}."),
            (3, "", "{f2} has never been to {t}."),
            (1.25, "", "{f2} comes from {t2}."),
        ),
    ),
)

TRIPLET_FAMILIES = (
    Family(
        "e",
        "The post of {post} in {t} has gone to {p}.",
        "{p} has been made {post} in {t}.",
        (
            (0, "", "The post of {post} in {t} has gone to {p2}."),
            (0, "", "The post of {post} in {t2} has gone to {p2}."),
            (0, "n", "The post of {post} in {t} has not gone to {p}."),
            (0, "", "The post of {post2} in {t2} has been advertised."),
        ),
        "The position of {post} in {t} has been given to {p}.",
    ),
    Family(
        "ew",
        "{f} borrowed {gift} from {f2}.",
        "{f2} lent {f} {gift}.",
        (
            (0, "", "{f2} borrowed {gift} from {f}."),
            (0, "", "{f} borrowed {gift2} from {f2}."),
            (0, "n", "{f} did not borrow {gift} from {f2}."),
        ),
        "{f} has borrowed {gift} belonging to {f2}.",
    ),
    Family(
        "ed",
        "At the auction in {t}, {p} paid {fine} pounds for {goods}.",
        "{p} bought {goods} for {fine} pounds at an auction held in {t}.",
        (
            (0, "", "At the auction in {t}, {p2} paid {fine2} pounds for {goods}."),
            (0, "", "At the auction in {t}, {p} paid {fine} pounds for {goods2}."),
            (0, "n", "At the auction in {t}, {p} would not pay {fine} pounds for {goods}."),
            (0, "", "The auction house in {t2} was damaged by a flood."),
        ),
        "At an auction held in {t}, {p} paid {fine} pounds to get {goods}.",
    ),
    Family(
        "ed",
        "The night bus leaves {t} at {c} and reaches {t2} by dawn.",
        "Setting off from {t} at {cw}, the night bus gets to {t2} by dawn.",
        (
            (0, "w", "The night bus leaves {t2} at {c} and reaches {t} by dawn."),
            (0, "", "The night bus leaves {t} at {c2} and reaches {t3} by dawn."),
            (0, "", "Buses in {t2} are painted yellow."),
        ),
        "The overnight bus departs from {t} at {c} and gets to {t2} by dawn.",
    ),
    Family(
        "e",
        "{p} was arrested in {t} for {offence}.",
        "Police in {t} took {p} into custody for {offence}.",
        (
            (0, "", "{p2} was arrested in {t} for {offence}."),
            (0, "n", "{p} was never arrested in {t} for {offence}."),
            (0, "", "{p} was arrested in {t} for {offence2}."),
            (0, "", "Police in {t2} have been given new uniforms."),
        ),
        "{p} was arrested by the police in {t} for {offence}.",
    ),
    Family(
        "d",
        "For the filling you need {gram} grams of {x} and {n} spoonfuls of {x2}.",
        "The filling is made with {N} spoonfuls of {x2} and {gram} grams of {x}.",
        (
            (0, "w", "For the filling you need {gram} grams of {x2} and {n} spoonfuls of {x}."),
            (0, "", "For the filling you need {gram2} grams of {x} and {n2} spoonfuls of {x2}."),
            (0, "", "A good filling should be neither too dry nor too wet."),
        ),
        "For the filling, take {gram} grams of {x} as well as {N} spoonfuls of {x2}.",
    ),
    Family(
        "ew",
        "Swap the {less} for {more}, {f} told {f2}.",
        "{f} told {f2} to have {more} instead of {less}.",
        (
            (0, "", "Swap the {more} for {less}, {f} told {f2}."),
            (0, "n", "Do not swap the {less} for {more}, {f} told {f2}."),
            (0, "", "{f} and {f2} ordered {less} for the whole party."),
        ),
        "Replace the {less} with {more}, {f} told {f2}.",
    ),
    Family(
        "ed",
        "{t} lost at home to {t2} by {n} goals.",
        "{t2} won by {N} goals away at {t}.",
        (
            (0, "w", "{t2} lost at home to {t} by {n} goals."),
            (0, "", "{t} lost at home to {t3} by {n2} goals."),
            (0, "", "{t} will play at home against {t3} next month."),
        ),
        "At home, {t} lost to {t2} by {N} goals.",
    ),
    Family(
        "ed",
        "{p} moved from {t} to {t2} in {y}.",
        "In {y}, {p} left {t} and settled in {t2}.",
        (
            (0, "w", "{p} moved from {t2} to {t} in {y}."),
            (0, "", "{p} moved from {t} to {t3} in {y2}."),
            (0, "n", "{p} did not move from {t} to {t2} in {y}."),
            (0, "", "The road from {t} to {t2} is being widened."),
        ),
        "In {y}, {p} moved house from {t} to {t2}.",
    ),
    Family(
        "ew",
        "{f} runs faster than {f2}.",
        "{f2} is a slower runner than {f}.",
        (
            (0, "", "{f2} runs faster than {f}."),
            (0, "", "{f} runs as fast as {f2}."),
            (0, "", "{f} and {f2} bought running shoes."),
        ),
        "{f} is a faster runner than {f2}.",
    ),
    Family(
        "ed",
        "{Cap} windows of the town hall in {t} were smashed on {d} night.",
        "On {d} night, somebody broke {n} of the town hall windows in {t}.",
        (
            (0, "", "{Cap2} windows of the town hall in {t} were cleaned on {d} night."),
            (0, "", "{Cap} windows of the railway station in {t2} were smashed on {d2} night."),
            (0, "", "The town hall in {t} has a clock that strikes every hour."),
        ),
        "{Cap} town hall windows were smashed in {t} on {d} night.",
    ),
    Family(
        "en",
        "{f} no longer works in {t}.",
        "{f} has given up working in {t}.",
        (
            (0, "", "{f} still works in {t}."),
            (0, "", "{f2} no longer works in {t2}."),
            (0, "", "{f} would like to work in {t}."),
        ),
        "{f} does not work in {t} any more.",
    ),
)

# sentences full of figures, dates and names, for rows that change one of them or two
NESTED = (
    "The lift was checked on {d} at {cw}, and {n} faults were found.",
    "On {d}, {n} parcels for {p} were left with the caretaker at {cw}.",
    "In {y}, a ticket for the {c} boat from {t} cost {fine} crowns.",
    "The clinic in {t} has moved the appointment of {p} to {cw} on {d}.",
    "Order {N} bags of {gram} grams each, and have them delivered to {t} by {d}.",
    "The recipe that {f} brought back from {t} in {y} calls for {n} eggs and {gram} grams of flour.",
    "{p} ordered {n} tickets for the {d} performance in {t}.",
    "The branch in {t} will be closed from {c} on {d}, said {p}.",
    "{f} left {t} at {c} on {d} with {n} suitcases.",
    "In {y}, {n} families moved from {t} to {t2}.",
    "Flat {N} in the old mill at {t} was let to {p} in {y}.",
)


def article_fix(text: str) -> str:
    """Capital at the start, whatever the first slot was."""
    return text[0].upper() + text[1:]


def light(family: Family, filling: dict[str, str]) -> str:
    """The rewording that stays close to the base."""
    return article_fix(family.light.format_map(filling))


def instance(family: Family, filling: dict[str, str]) -> tuple[str, str, list[tuple[float, str, str]]]:
    """Base, rewording and graded edits of a family for one filling."""
    base = article_fix(family.base.format_map(filling))
    same = article_fix(family.same.format_map(filling))
    return base, same, [(g, codes, article_fix(t.format_map(filling))) for g, codes, t in family.edits]


def swapped(filling: dict[str, str], slot: str) -> dict[str, str]:
    """The filling with a new value in one slot; the new value stands nowhere else in the sentence."""
    return {**filling, slot: filling[_NEW.get(slot, slot + "2")]}


def nested(template: str, filling: dict[str, str], rng: random.Random) -> tuple[str, str, str]:
    """A sentence, the same with one slot changed, and with that slot and another one changed."""
    have = [slot for slot in _SWAPS if "{" + slot + "}" in template]
    first, second = rng.sample(have, 2)
    one = swapped(filling, first)
    two = swapped(one, second)
    anchor, positive, negative = (article_fix(template.format_map(values)) for values in (filling, one, two))
    return anchor, positive, negative


_SWAPS = (
    "p",
    "t",
    "N",
    "n",
    "y",
    "d",
    "c",
    "cw",
    "gift",
    "goods",
    "offence",
    "gram",
    "fine",
    "post",
    "f",
    "f2",
    "t2",
)
_NEW = {"t": "t3", "t2": "t4", "f": "f3", "f2": "f4"}
