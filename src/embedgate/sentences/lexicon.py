"""The words that sentences are made of: a TOML file per domain, and one with what fits every domain.

To add a domain, add a file to `domains/` of the form of the others. Agents and objects are singular; every object of an
action can be the object of both its verbs.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

# Base form, past tense and past participle.
Verb = tuple[str, str, str]


@dataclass(frozen=True)
class Action:
    """Something that is done to an object.

    Attributes:
        verb: The verb.
        like: A verb of nearly the same meaning.
        objects: What it can be done to, each with its article.
    """

    verb: Verb
    like: Verb
    objects: tuple[str, ...]


@dataclass(frozen=True)
class Domain:
    """The agents, places, words and actions that sentences of one domain can be about.

    Attributes:
        name: Its name.
        agents: Who acts, without an article.
        places: Where, each with its preposition.
        words: Single words, each with one of nearly the same meaning.
        actions: What is done.
    """

    name: str
    agents: tuple[str, ...]
    places: tuple[str, ...]
    words: tuple[tuple[str, str], ...]
    actions: tuple[Action, ...]


@dataclass(frozen=True)
class Lexicon:
    """All words.

    Attributes:
        domains: The domains, by name.
        names: First names.
        cities: Cities to come from.
        times: When, each with its preposition.
        numbers: Each in words and in figures.
        clauses: Subordinate clauses that fit any sentence in the past tense.
        meetings: What is done to another person.
        traits: A trait, one of nearly the same meaning, and one that contrasts without being its opposite.
    """

    domains: tuple[Domain, ...]
    names: tuple[str, ...]
    cities: tuple[str, ...]
    times: tuple[str, ...]
    numbers: tuple[tuple[str, str], ...]
    clauses: tuple[str, ...]
    meetings: tuple[Verb, ...]
    traits: tuple[tuple[str, str, str], ...]


@cache
def lexicon() -> Lexicon:
    """The lexicon, read once."""
    folder = files("embedgate.sentences")
    entries = sorted((folder / "domains").iterdir(), key=lambda entry: entry.name)
    domains = [
        _domain(entry.name.removesuffix(".toml"), _tuples(tomllib.loads(entry.read_text("utf-8"))))
        for entry in entries
        if entry.name.endswith(".toml")
    ]
    common = _tuples(tomllib.loads((folder / "common.toml").read_text("utf-8")))
    return Lexicon(domains=tuple(domains), **common)


def _domain(name: str, content: dict[str, Any]) -> Domain:
    actions = tuple(Action(**action) for action in content.pop("actions"))
    return Domain(name=name, actions=actions, **content)


def _tuples(value: Any) -> Any:
    """Lists as tuples, all the way down."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
