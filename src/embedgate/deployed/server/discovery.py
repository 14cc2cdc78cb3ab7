"""Finds out how a server is asked: its route, the model's name there, and what it says of itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from embedgate.core.errors import BuildError, ResourceError
from embedgate.core.judgement import shorten
from embedgate.deployed.server.answers import vectors
from embedgate.deployed.server.client import NO_ROUTE, Answer, Client
from embedgate.deployed.server.protocols import MODEL, PROTOCOLS, Protocol
from embedgate.encoders import FloatArray
from embedgate.encoders.loading import PROBE

# What a server that says nothing of itself is called.
UNKNOWN = "unknown server"
# Types as servers name them, and the weight precisions that they are.
TYPES = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}


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


@dataclass(frozen=True)
class Said:
    """What a server says of itself.

    Attributes:
        library: Its name and version.
        details: What else a person would want to see.
        most: Texts that a request may have; None where it tells no limit.
        weight_precision: What it says that the model computes in; empty where it does not.
    """

    library: str
    details: Mapping[str, Any]
    most: int | None = None
    weight_precision: str = ""


def said(client: Client, route: Route) -> Said:
    """Asks a server about itself, wherever servers tell it."""
    details: dict[str, Any] = {}
    info = _object(client, "/info")
    owner = _owner(client, route)
    if owner:
        details["owned by"] = owner
    names = [name for name in _names(client, info, owner) if name]
    for key in ("model_id", "model_sha", "model_dtype", "max_input_length", "max_client_batch_size"):
        if info.get(key) is not None:
            details[key] = info[key] if isinstance(info[key], int) else shorten(str(info[key]))
    most = info.get("max_client_batch_size")
    kind = TYPES.get(str(info.get("model_dtype")), "")
    return Said(names[0] if names else UNKNOWN, details, most if isinstance(most, int) and most > 0 else None, kind)


def _names(client: Client, info: Mapping[str, Any], owner: str) -> Iterator[str]:
    """What a server may be called, the most telling first."""
    if "max_client_batch_size" in info:
        yield f"text-embeddings-inference {_word(info.get('version'))}".strip()
    if version := _word(_object(client, "/version").get("version")):
        yield f"{owner or 'version'} {version}"
    if version := _word(_object(client, "/api/version").get("version")):
        yield f"ollama {version}"
    server = _object(client, "/v2")
    yield f"{_word(server.get('name'))} {_word(server.get('version'))}".strip()
    yield owner
    front = client.glance("/")
    yield _word(front.headers.get("server")) if front else ""


def _owner(client: Client, route: Route) -> str:
    """Who serves the model, as the list of models says."""
    if route.protocol.name != "openai":
        return ""
    found = _object(client, route.path.replace("embeddings", "models")).get("data")
    listed = [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
    mine = next((each for each in listed if each.get("id") == route.model), listed[0] if listed else {})
    return _word(mine.get("owned_by"))


def _object(client: Client, route: str) -> dict[str, Any]:
    """The JSON object at a route that nothing depends on; empty where there is none."""
    answer = client.glance(route)
    found = answer.json() if answer and answer.ok else None
    return found if isinstance(found, dict) else {}


def _word(found: Any) -> str:
    return shorten(found, 60) if isinstance(found, str) else ""
