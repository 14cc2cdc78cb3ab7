"""Scenes and how they are told: the same one in other words, in part changed, or denied."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from embedgate.sentences.lexicon import Action, Domain, Verb, lexicon

# How many there are -> which one, from 0. The first is the simplest: Hypothesis shrinks towards it.
Choose = Callable[[int], int]
T = TypeVar("T")

# How many sentences a text has. Most have one; the longest pass 200 words.
_SIZES = (*([1] * 42), 2, 2, 3, 4, 7, 20)


@dataclass(frozen=True)
class Scene:
    """Who did what to what, how often, where, when, and in what circumstances; what is empty is not told.

    Attributes:
        domain: What it is about.
        agent: Who, for example `the cook from Rome`.
        action: What is done.
        object: To what.
        count: How often, for example `two times`.
        where: Place, with its preposition.
        when: Time, with its preposition.
        clause: A subordinate clause.
    """

    domain: Domain
    agent: str
    action: Action
    object: str
    count: str = ""
    where: str = ""
    when: str = ""
    clause: str = ""


def pick(choose: Choose, items: Sequence[T]) -> T:
    """One of several."""
    return items[choose(len(items))]


def another(choose: Choose, items: Sequence[T], one: T) -> T:
    """One of several that is not this one."""
    return pick(choose, [item for item in items if item != one])


def domain(choose: Choose) -> Domain:
    """Any domain."""
    return pick(choose, lexicon().domains)


def scene(choose: Choose, about: Domain) -> Scene:
    """Any scene of a domain."""
    words = lexicon()
    action = pick(choose, about.actions)
    return Scene(
        domain=about,
        action=action,
        object=pick(choose, action.objects),
        agent=person(choose, about),
        count=f"{pick(choose, words.numbers)[0]} times" if choose(5) == 4 else "",
        where=pick(choose, about.places) if choose(2) else "",
        when=pick(choose, words.times) if choose(2) else "",
        clause=pick(choose, words.clauses) if choose(5) == 4 else "",
    )


def person(choose: Choose, about: Domain) -> str:
    """Somebody of a domain, by role or by name."""
    words = lexicon()
    who = pick(choose, words.names) if choose(4) == 3 else f"the {pick(choose, about.agents)}"
    return f"{who} from {pick(choose, words.cities)}" if choose(6) == 5 else who


def other_scene(choose: Choose, this: Scene) -> Scene:
    """A related scene: the same person does something else in the same surroundings."""
    action = another(choose, this.domain.actions, this.action)
    return replace(this, action=action, object=pick(choose, action.objects))


def other_domain(choose: Choose, this: Domain) -> Domain:
    """A domain that has nothing to do with this one."""
    return another(choose, lexicon().domains, this)


def active(this: Scene, verb: Verb | None = None) -> str:
    """Tells it as in: The cook stirred the soup two times in the kitchen on Monday, although it was late."""
    return _sentence(this, this.agent, (verb or this.action.verb)[1], this.object)


def passive(this: Scene, verb: Verb | None = None) -> str:
    """Tells it as in: The soup was stirred by the cook two times in the kitchen on Monday, although it was late."""
    return _sentence(this, this.object, "was", (verb or this.action.verb)[2], "by", this.agent)


def negated(this: Scene) -> str:
    """Tells it as in: The cook did not stir the soup two times in the kitchen on Monday, although it was late."""
    return _sentence(this, this.agent, "did not", this.action.verb[0], this.object)


def cleft(this: Scene) -> str:
    """Tells it as in: It was the cook who stirred the soup two times in the kitchen on Monday, although it was late."""
    return _sentence(this, "it was", this.agent, "who", this.action.verb[1], this.object)


def fronted(this: Scene) -> str:
    """Tells it as in: On Monday, the cook stirred the soup two times in the kitchen, although it was late."""
    return _sentence(replace(this, when=""), f"{this.when},", this.agent, this.action.verb[1], this.object)


def reworded(choose: Choose, this: Scene) -> str:
    """The same scene in other words."""
    match choose(4):
        case 0:
            return active(this, this.action.like)
        case 1:
            return passive(this)
        case 2:
            return passive(this, this.action.like)
    return fronted(this) if this.when else cleft(this)


def size(choose: Choose) -> int:
    """Of how many sentences a text is to be."""
    return pick(choose, _SIZES)


def context(choose: Choose, about: Domain) -> str:
    """Sentences of a domain to put behind others, beginning with a space; mostly none."""
    return "".join(f" {active(scene(choose, about))}" for _ in range(size(choose) - 1))


def misspelt(choose: Choose, text: str) -> str:
    """The text with a slip in one or two of its words."""
    words = text.split(" ")
    places = [i for i, word in enumerate(words) if len(_letters(word)) > 3]
    for _ in range(min(1 + choose(2), len(places))):
        place = places.pop(choose(len(places)))
        words[place] = _slip(choose, words[place])
    return " ".join(words)


def _slip(choose: Choose, word: str) -> str:
    """The word with two letters swapped, one left out, or one doubled; never the first."""
    at = 1 + choose(len(_letters(word)) - 2)
    match choose(3):
        case 0 if word[at] != word[at + 1]:
            return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        case 1:
            return word[:at] + word[at + 1 :]
    return word[:at] + word[at] + word[at:]


def _letters(word: str) -> str:
    return word.rstrip(".,")


def _sentence(this: Scene, *words: str) -> str:
    told = " ".join(word for word in (*words, this.count, this.where, this.when) if word)
    return f"{told[0].upper()}{told[1:]}{f', {this.clause}' if this.clause else ''}."
