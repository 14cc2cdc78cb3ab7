"""Telling texts: some in which it shows what was lost on the way to the tokenizer, and what texts have in common."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from embedgate.core.letters import has_accents, has_emoji, has_other_scripts
from embedgate.properties.batches import crowd

# Words of long texts. No two sentences of one are alike, so that each word that is cut off moves it.
LONG = (55, 75, 110, 150, 180, 360)
# Where texts are cut by mistake: what a column of a database holds, and the limit of many models.
CHARACTERS, TOKENS = 256, 128
# Canaries whose words repeat: what is cut off them, or lost, moves them by little.
MONOTONOUS = ("below_limit", "at_limit", "above_limit", "huge", "repeated_token")
# What is told of some texts: that so many have it, and so large a share of them. Of all that have it, so many times as
# large a share must be among them as of the others.
SEVERAL, MOST, TIMES = 2, 0.75, 2

# In most of them, little is left where the one thing is lost.
SHORT = (
    # accents
    "Le garçon préfère la forêt à la plage, où l'été dernier il a été brûlé.",
    "Příliš žluťoučký kůň úpěl ďábelské ódy.",
    "El niño soñó con un pingüino y una cigüeña en el jardín.",
    "Müde Bären hören gern schöne Märchen über König Löwe.",
    "Người Việt ở đây rất thân thiện và mến khách.",
    # emoji
    "🍕🍕🍷 tonight? 🙏",
    "My flight ✈️ is late again 😡😡😡",
    "🎂🎉🎈",
    "Feeling 😭 about the 🐶 today",
    # line breaks that stand for spaces
    "bread\nmilk\napples\ncheese\ntea",
    "The engine\nfailed\nwhile\nthe train\nclimbed.",
    "Roses are red\r\nViolets are blue\r\nSugar is sweet",
    "dear\nold\nfriend\nplease\nwrite\nback\nsoon",
    "one goat\ntwo sheep\nthree hens\n\nno cow",
    # capitals
    "NO ENTRY: WET PAINT ON ALL STAIRS",
    "NASA And ESA Sign Treaty On Moon Rocks",
    "PLEASE RETURN BORROWED BOOKS TO THE LIBRARY",
    "iPhone USB Cable And MacBook Charger For SALE",
)


@dataclass(frozen=True)
class Trait:
    """Something that texts have in common.

    Attributes:
        name: What, to be read after "texts".
        holds: Whether a text of so many tokens has it.
    """

    name: str
    holds: Callable[[str, int], bool]


@cache
def texts() -> tuple[str, ...]:
    """Texts in which a loss shows, beside the golden ones and the canaries; the long ones last."""
    return (*SHORT, *(_long(start, words) for start, words in enumerate(LONG)))


def _long(start: int, words: int) -> str:
    sentences = crowd()
    turned = (*sentences[7 * start :], *sentences[: 7 * start])
    return " ".join(" ".join(turned).split()[:words])


TRAITS = (
    Trait("with line breaks", lambda text, _: "\n" in text or "\r" in text),
    Trait("with emoji", lambda text, _: has_emoji(text)),
    Trait("with accents", lambda text, _: has_accents(text)),
    Trait("in other scripts", lambda text, _: has_other_scripts(text)),
    Trait(f"of more than {TOKENS} tokens", lambda _, tokens: tokens > TOKENS),
    Trait(f"of more than {CHARACTERS} characters", lambda text, _: len(text) > CHARACTERS),
    Trait("with characters beyond ASCII", lambda text, _: not text.isascii()),
    Trait("with digits", lambda text, _: any(map(str.isdigit, text))),
    Trait("with capitals", lambda text, _: text != text.lower()),
)


def groups(all_texts: Sequence[str], tokens: Sequence[int]) -> dict[str, frozenset[int]]:
    """Places of the texts that have something in common, by what they have; the smallest group first.

    Args:
        all_texts: The texts.
        tokens: How many tokens each has.
    """
    found = {
        trait.name: frozenset(
            place for place, (text, count) in enumerate(zip(all_texts, tokens, strict=True)) if trait.holds(text, count)
        )
        for trait in TRAITS
    }
    return dict(sorted(found.items(), key=lambda each: len(each[1])))


def in_common(some: Collection[int], by_trait: Mapping[str, frozenset[int]], count: int) -> str:
    """What most of some texts have in common, and others have seldom, in a few words; empty where that is nothing.

    Args:
        some: Their places.
        by_trait: Groups of all texts, as `groups` gives them.
        count: How many texts there are.
    """
    those = frozenset(some)

    def sets_apart(places: frozenset[int]) -> bool:
        both = len(those & places)
        share, of_others = both / max(len(places), 1), len(those - places) / max(count - len(places), 1)
        if len(places - those) > (count - len(those)) / 2:  # most of the others have it as well
            return False
        return both >= max(SEVERAL, MOST * len(those)) and share >= TIMES * of_others

    def likeness(name: str) -> float:
        return len(those & by_trait[name]) / len(those | by_trait[name])

    apart = [name for name, places in by_trait.items() if sets_apart(places)]
    if not apart:
        return ""
    name = max(apart, key=likeness)
    both, places = len(those & by_trait[name]), by_trait[name]
    which = "they" if both == len(those) else f"{both} of them"
    return f"{which} are {'the' if both == len(places) else 'among the'} {len(places)} texts {name}"
