"""Roles: how a text is used decides what a model puts in front of it, and which of its routes it takes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from embedgate.core.errors import GateError, ModelError

QUERY, DOCUMENT = "query", "document"
STS, CLUSTERING, PAIR_CLASSIFICATION = "sts", "clustering", "pairclassification"
# The names under which a model keeps a role's prompt; the first that it has counts. `encode_query` and
# `encode_document` look up the former two, MTEB the others, which are its types of tasks.
PROMPT_NAMES: Mapping[str, tuple[str, ...]] = {
    QUERY: ("query",),
    DOCUMENT: ("document", "passage", "corpus"),
    STS: ("STS",),
    CLUSTERING: ("Clustering",),
    PAIR_CLASSIFICATION: ("PairClassification",),
}
ROLES = tuple(PROMPT_NAMES)
# Sentence Transformers gives every model these, empty where its config has none. So no other name that
# `encode_document` knows is ever looked up.
ALWAYS_THERE = (QUERY, DOCUMENT)
# What the model has no prompt of the name of is a text, but for this: it was meant for a name.
_NAME = re.compile(r"[\w.-]+")


class Input(NamedTuple):
    """A text and how it is used: what embeddings are kept by.

    Attributes:
        text: The text, without a prompt.
        role: One of `ROLES`; empty for plain `encode`.
    """

    text: str
    role: str = ""


@dataclass(frozen=True)
class Role:
    """A role as one model has it.

    Attributes:
        name: One of `ROLES`; empty for plain `encode`.
        prompt: The text that stands before each text.
        prompt_name: The model's name of the prompt; empty where it has none, or the user gave the text.
        route: The route of an asymmetric model (Router); empty where it has one way for all texts, or none for this.
        given: Whether the user chose the prompt (`--gate-prompt`).
    """

    name: str = ""
    prompt: str = ""
    prompt_name: str = ""
    route: str = ""
    given: bool = False

    def prompted(self, texts: Iterable[str]) -> list[str]:
        """Texts as the model reads them, with the prompt in front."""
        return [self.prompt + text for text in texts] if self.prompt else list(texts)

    def same_as(self, other: Role) -> bool:
        """Whether the model makes the same embedding of a text in both roles."""
        return (self.prompt, self.route) == (other.prompt, other.route)


# A text as it is, without a prompt.
PLAIN = Role()


class Roles:
    """The roles of one model, as Sentence Transformers has them.

    Args:
        source: What names the prompts, for messages.
        prompts: The model's prompts by name.
        default: The name of the one that plain `encode` puts before a text; None for none.
        chosen: By role, the prompt that the user chose: the name of one of the model's, or a text.
        routes: The routes of an asymmetric model for queries, documents and plain `encode` (the empty name), as far as
            it has them; empty for others.

    Raises:
        ModelError: If a name is none of the model's.
    """

    def __init__(
        self,
        source: str,
        prompts: Mapping[str, str | None],
        default: str | None = None,
        chosen: Mapping[str, str] | None = None,
        routes: Mapping[str, str] | None = None,
    ) -> None:
        given = {name: text or "" for name, text in prompts.items()}
        self.prompts = {**dict.fromkeys(ALWAYS_THERE, ""), **given}
        if default is not None and default not in self.prompts:
            raise ModelError(
                f"{source} names the default prompt {default!r}, and has no such prompt ({self._names})",
                f"correct its default_prompt_name, or add the prompt to its prompts in {source}",
            )
        self._source = source
        self._routes = routes or {}
        self._default = (
            Role("", self.prompts[default], default, self._route(""))
            if default is not None
            else Role(route=self._route(""))
        )
        self._chosen = {role: self._choice(role, value) for role, value in (chosen or {}).items()}

    def __getitem__(self, name: str) -> Role:
        """A role by its name; the empty name is plain `encode`."""
        return self._chosen.get(name) or self.own(name)

    def own(self, name: str) -> Role:
        """A role as the model has it, whatever the user chose."""
        found = next((each for each in PROMPT_NAMES.get(name, ()) if each in self.prompts), None)
        if found is not None:
            return Role(name, self.prompts[found], found, self._route(name))
        return Role(name, self._default.prompt, self._default.prompt_name, self._route(name))

    @property
    def changed(self) -> dict[str, str]:
        """By role, the prompts that the user chose and that are not the model's own."""
        return {name: role.prompt for name, role in self._chosen.items() if role.prompt != self.own(name).prompt}

    @property
    def distinct(self) -> tuple[Role, ...]:
        """Plain `encode`, then each role in which the model makes another embedding of a text than in those before."""
        found: list[Role] = []
        for role in (self[name] for name in ("", *ROLES)):
            # What no route leads to, Sentence Transformers refuses to encode.
            leads = bool(role.route) or not self._routes
            if leads and not any(role.same_as(other) for other in found):
                found.append(role)
        return tuple(found)

    def unused(self) -> str:
        """A prompt for documents that `encode_document` never looks up, since "document" is always there; or empty."""
        if DOCUMENT in self._chosen or self[DOCUMENT].prompt:
            return ""
        return next((name for name in PROMPT_NAMES[DOCUMENT][1:] if self.prompts.get(name)), "")

    def spread(self, texts: Sequence[str]) -> list[Input]:
        """Gives each text a role, those of `distinct` in turn, so that every one of them is seen."""
        roles = self.distinct
        return [Input(text, roles[place % len(roles)].name) for place, text in enumerate(texts)]

    def prompted(self, inputs: Iterable[Input]) -> list[str]:
        """Texts as the model reads them, each with the prompt of its role in front."""
        return [self[each.role].prompt + each.text for each in inputs]

    @property
    def _names(self) -> str:
        own = [repr(name) for name, text in self.prompts.items() if text]
        return f"it has {', '.join(own)}" if own else "it has no prompts"

    def _route(self, name: str) -> str:
        """The route of a role: only queries and documents are asked for by their names."""
        return self._routes.get(name if name in (QUERY, DOCUMENT) else "", "")

    def _choice(self, role: str, value: str) -> Role:
        if value not in self.prompts and not _NAME.fullmatch(value):
            return Role(role, value, "", self._route(role), given=True)
        if value not in self.prompts:
            raise ModelError(
                f"--gate-prompt {role}={value}: {self._source} has no prompt named {value!r} ({self._names})",
                "name one of these, or give the prompt's text, with a space or a colon in it",
            )
        return Role(role, self.prompts[value], value, self._route(role), given=True)


def parse_prompt(text: str, flag: str) -> tuple[str, str]:
    """Splits `ROLE=NAME|TEXT`.

    Raises:
        GateError: If it has another form, or there is no such role.
    """
    role, equals, value = text.partition("=")
    role = role.strip().lower()
    if not equals or role not in ROLES:
        cause = f"{flag} names no role: {text!r}" if not equals else f"{flag}: there is no role {role!r}"
        raise GateError(cause, f"write it as ROLE=NAME or ROLE=TEXT, where ROLE is one of {', '.join(ROLES)}")
    return role, value


def chosen_prompts(texts: Iterable[str], flag: str = "--gate-prompt") -> dict[str, str]:
    """The prompts that the user chose, by role.

    Raises:
        GateError: If one has another form than `ROLE=NAME|TEXT`, or a role is given twice.
    """
    found: dict[str, str] = {}
    for role, value in (parse_prompt(text, flag) for text in texts):
        if role in found and found[role] != value:
            raise GateError(f"{flag} gives the role {role} two prompts: {found[role]!r} and {value!r}", "give one")
        found[role] = value
    return found


def read_prompts(settings: Mapping[str, Any], source: str) -> tuple[dict[str, str | None], str | None]:
    """The prompts in a `config_sentence_transformers.json`, and the name of the default one.

    Raises:
        ModelError: If they have another form.
    """
    prompts, default = settings.get("prompts") or {}, settings.get("default_prompt_name")
    if not isinstance(prompts, dict) or not all(isinstance(text, str | None) for text in prompts.values()):
        raise ModelError(f"{source} has prompts that are no texts by name", 'write them as {"query": "query: "}')
    if not isinstance(default, str | None):
        raise ModelError(f"{source} has a default_prompt_name that is no name: {default!r}", "name a prompt, or null")
    return prompts, default


def shown_prompt(role: Role) -> str:
    """A role's prompt for a report: its text and its name at the model, or that there is none."""
    if not role.prompt:
        return "no prompt"
    own = f" ({role.prompt_name})" if role.prompt_name else ""
    return f"{role.prompt!r}{own}" + (" as given by --gate-prompt" if role.given else "")
