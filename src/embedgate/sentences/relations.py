"""The relations between the texts of a case: each function makes an anchor, a nearer and a farther text.

To add a relation, write a function and name it in `RELATIONS`. That changes the approved set: approve its flips anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from embedgate.sentences import grammar
from embedgate.sentences.grammar import Choose
from embedgate.sentences.lexicon import Action, Domain, lexicon

Texts = tuple[str, str, str]


def _related(choose: Choose) -> Texts:
    """The same person at other work, and somebody else in another domain."""
    here = grammar.domain(choose)
    there = grammar.other_domain(choose, here)
    if choose(12) == 11:
        one, _ = grammar.pick(choose, here.words)
        return one, _other_word(choose, here, one), grammar.pick(choose, there.words)[0]
    scenes = [grammar.scene(choose, here) for _ in range(grammar.size(choose))]
    return (
        " ".join(map(grammar.active, scenes)),
        " ".join(grammar.active(grammar.other_scene(choose, scene)) for scene in scenes),
        " ".join(grammar.active(grammar.scene(choose, there)) for _ in scenes),
    )


def _paraphrase(choose: Choose) -> Texts:
    """Every sentence in other words, and the same person at other work."""
    here = grammar.domain(choose)
    if choose(12) == 11:
        one, same = grammar.pick(choose, here.words)
        return one, same, _other_word(choose, here, one)
    scenes = [grammar.scene(choose, here) for _ in range(grammar.size(choose))]
    return (
        " ".join(map(grammar.active, scenes)),
        " ".join(grammar.reworded(choose, scene) for scene in scenes),
        " ".join(grammar.active(grammar.other_scene(choose, scene)) for scene in scenes),
    )


def _synonym(choose: Choose) -> Texts:
    """A near-synonym, and a trait that contrasts without being the opposite."""
    here = grammar.domain(choose)
    who = grammar.person(choose, here)
    when = f" {grammar.pick(choose, lexicon().times)}" if choose(2) else ""
    start = f"{who[0].upper()}{who[1:]} was"
    return _with_context(choose, here, *(f"{start} {trait}{when}." for trait in grammar.pick(choose, lexicon().traits)))


def _negation(choose: Choose) -> Texts:
    """In other words, and denied."""
    scene = _scene(choose)
    return _with_context(
        choose, scene.domain, grammar.active(scene), grammar.active(scene, scene.action.like), grammar.negated(scene)
    )


def _numeral(choose: Choose) -> Texts:
    """The number in figures, and another number."""
    scene = _scene(choose)
    numbers = lexicon().numbers
    word, figure = grammar.pick(choose, numbers)
    other = grammar.another(choose, [word for word, _ in numbers], word)
    return _with_context(
        choose,
        scene.domain,
        *(grammar.active(replace(scene, count=f"{number} times")) for number in (word, figure, other)),
    )


def _entity(choose: Choose) -> Texts:
    """In other words, and somebody else."""
    names = lexicon().names
    name = grammar.pick(choose, names)
    scene = replace(_scene(choose), agent=name)
    other = replace(scene, agent=grammar.another(choose, names, name))
    return _with_context(
        choose, scene.domain, grammar.active(scene), grammar.active(scene, scene.action.like), grammar.active(other)
    )


def _roles(choose: Choose) -> Texts:
    """The same in the passive voice, and the two persons in each other's place."""
    here = grammar.domain(choose)
    one = grammar.pick(choose, here.agents)
    first, second = f"the {one}", f"the {grammar.another(choose, here.agents, one)}"
    verb = grammar.pick(choose, lexicon().meetings)
    met = replace(_scene(choose, here), agent=first, object=second, action=Action(verb, verb, (second,)))
    swapped = replace(met, agent=second, object=first)
    return _with_context(choose, met.domain, grammar.active(met), grammar.passive(met), grammar.active(swapped))


def _voice(choose: Choose) -> Texts:
    """In the passive voice, and something else in the passive voice."""
    scene = _scene(choose)
    other = replace(scene, object=grammar.another(choose, scene.action.objects, scene.object))
    return _with_context(choose, scene.domain, grammar.active(scene), grammar.passive(scene), grammar.passive(other))


def _typo(choose: Choose) -> Texts:
    """Misspelt, and the same person at other work."""
    scene = _scene(choose)
    told = grammar.active(scene)
    other = grammar.active(grammar.other_scene(choose, scene))
    return _with_context(choose, scene.domain, told, grammar.misspelt(choose, told), other)


def _clause(choose: Choose) -> Texts:
    """With a clause added, and the same person at other work."""
    scene = replace(_scene(choose), clause="")
    more = replace(scene, clause=grammar.pick(choose, lexicon().clauses))
    other = grammar.other_scene(choose, scene)
    return _with_context(choose, scene.domain, grammar.active(scene), grammar.active(more), grammar.active(other))


def _other_word(choose: Choose, here: Domain, one: str) -> str:
    return grammar.another(choose, [word for word, _ in here.words], one)


def _scene(choose: Choose, here: Domain | None = None) -> grammar.Scene:
    return grammar.scene(choose, here or grammar.domain(choose))


def _with_context(choose: Choose, here: Domain, *texts: str) -> Texts:
    """The same sentences after each, where no limit of length cuts off what differs."""
    context = grammar.context(choose, here)
    anchor, nearer, farther = (text + context for text in texts)
    return anchor, nearer, farther


# The simplest first: Hypothesis shrinks towards it.
RELATIONS: Mapping[str, Callable[[Choose], Texts]] = {
    "related": _related,
    "paraphrase": _paraphrase,
    "synonym": _synonym,
    "negation": _negation,
    "numeral": _numeral,
    "entity": _entity,
    "roles": _roles,
    "voice": _voice,
    "typo": _typo,
    "clause": _clause,
}
