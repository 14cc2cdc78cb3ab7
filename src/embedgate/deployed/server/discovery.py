"""Finds out how a server is asked: its route, the model's name there, and what it says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from embedgate.core.errors import BuildError, ResourceError
from embedgate.core.judgement import shorten
from embedgate.deployed.server.answers import vectors
from embedgate.deployed.server.client import NO_ROUTE, Answer, Client
from embedgate.deployed.server.protocols import MODEL, PROTOCOLS, Protocol, Said, word
from embedgate.encoders import FloatArray
from embedgate.encoders.loading import PROBE

# What a server that says nothing of itself is called.
UNKNOWN = "unknown server"


@dataclass(frozen=True)
class Route:
    """Where and how a server is asked.

    Attributes:
        protocol: How.
        path: Where, below the server's root.
        model: The model's name there; empty where it needs none.
        extra: What every request adds.
    """

    protocol: Protocol
    path: str
    model: str
    extra: Mapping[str, Any] = field(default_factory=dict)

    def ask(self, client: Client, texts: list[str]) -> Answer:
        """The answer to one request."""
        return client.post(self.path, {**self.protocol.body(texts, self.model), **self.extra})


def find(client: Client, api: str, model: str) -> tuple[Route, FloatArray]:
    """The route of embeddings, and the vector of one text that was asked for there, float32 `[1, dim]`.

    Args:
        client: Asks the server.
        api: The protocol; empty to find it.
        model: The model's name at the server; empty to find it.

    Where the URL ends with a route, only that one is asked.

    Raises:
        GateError: If there is none, or it does not answer with a vector.
    """
    refused: list[Answer] = []
    missing: list[str] = []
    address, model = client.address, model or client.address.model
    for kind in (each for each in PROTOCOLS if api in ("", each.name)):
        for path in (each for each in kind.routes if address.route in ("", each)):
            protocol = kind()
            named = model or _only(client, protocol, path)
            if not named and MODEL in path:
                if api:
                    raise BuildError(f"{address.url} needs the model's name", "give it: ::model=NAME")
                continue
            if not _prepared(client, protocol, named, needed=bool(api or address.route)):
                continue
            route = Route(protocol, path.format(model=named), named)
            answer = route.ask(client, [PROBE])
            if answer.ok:
                return route, vectors(answer, protocol, 1)
            if answer.status in NO_ROUTE and "model" not in answer.said.lower():
                missing.append(route.path)
            else:
                refused.append(answer)
    if refused:
        raise BuildError(refused[0].told, _step(client, model))
    tried = ", ".join(missing) or "nothing"
    *others, last = (kind.name for kind in PROTOCOLS)
    raise BuildError(
        f"{address.url} has no route of embeddings (tried {tried})",
        f"correct the URL, start the server for embeddings, or name its protocol: ::api={', '.join(others)} or {last}",
    )


def _prepared(client: Client, protocol: Protocol, model: str, needed: bool) -> bool:
    try:
        protocol.prepare(lambda route: _json(client, route), model)
    except BuildError as error:
        if needed:
            raise BuildError(f"{client.address.url}: {error.cause}", error.action) from error
        return False
    return True


def _only(client: Client, protocol: Protocol, path: str) -> str:
    """The name of the one model that a server lists; empty where it lists none.

    Raises:
        BuildError: If it lists several.
    """
    names = _models(client, protocol, path)
    if len(names) > 1:
        step = f"say which is this one: ::model={names[0]}"
        raise BuildError(f"{client.address.url} serves {shorten(', '.join(names))}", step)
    return names[0] if names else ""


def _models(client: Client, protocol: Protocol, path: str) -> list[str]:
    try:
        return protocol.models(lambda route: _json(client, route), path)
    except (LookupError, TypeError):
        return []


def _step(client: Client, model: str) -> str:
    """What to do about a refusal: names the models that the server lists, where the one asked for is none of them."""
    try:
        names = [name for kind in PROTOCOLS for path in kind.routes for name in _models(client, kind(), path)]
    except ResourceError:  # the refusal itself is what is to be told
        names = []
    if names and model not in names:
        return f"it serves {shorten(', '.join(dict.fromkeys(names)))}: say which by ::model=NAME"
    return "see the server's log; name model= or api= where they are not found right"


def _json(client: Client, route: str) -> Any:
    """The JSON at a route; None where there is none."""
    answer = client.get(route)
    return answer.json() if answer.ok else None


def said(client: Client, route: Route) -> Said:
    """Asks a server about itself, wherever servers of any protocol tell it.

    It may be asked in another protocol than its own, as TEI by OpenAI's.
    """
    told = []
    for kind in PROTOCOLS:
        asked_at = route.path if isinstance(route.protocol, kind) else ""
        told.append(kind().said(lambda path: _object(client, path), asked_at, route.model))
    front = client.glance("/")
    names = [each.library for each in told] + [each.owner for each in told]
    names.append(word(front.headers.get("server")) if front else "")
    details: dict[str, Any] = {}
    for each in told:
        details |= each.details
    return Said(
        next(filter(None, names), UNKNOWN),
        details=details,
        most=next((each.most for each in told if each.most), None),
        weight_precision=next((each.weight_precision for each in told if each.weight_precision), ""),
    )


def _object(client: Client, route: str) -> dict[str, Any]:
    """The JSON object at a route that nothing depends on; empty where there is none."""
    answer = client.glance(route)
    found = answer.json() if answer and answer.ok else None
    return found if isinstance(found, dict) else {}
