"""A server's address: a URL, split into what is asked and what is shown."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from embedgate.core.errors import GateError
from embedgate.core.spec import FLAG
from embedgate.deployed.server.protocols import MODEL, PROTOCOLS, Protocol

# What stands in a URL for the name of a model.
_NAME = r"(?P<model>[^/]+)"
# A version with which routes begin: a URL that ends with it names no route.
_VERSION = re.compile(r"/v\d+")


@dataclass(frozen=True)
class Address:
    """Where a server is.

    Attributes:
        url: The URL as the user gave it, without a slash at its end.
        root: What routes are joined to.
        route: The route that the URL ends with, as its protocol writes it; empty where it names none.
        model: The model's name that stands in that route; empty where none does.
        host: Host and port, as a person reads them.
        is_local: Whether it is this machine, to which no proxy leads.
    """

    url: str
    root: str
    route: str
    model: str
    host: str
    is_local: bool

    @classmethod
    def parse(cls, text: str, flag: str = FLAG, api: str = "") -> Address:
        """Reads a URL.

        Args:
            text: The URL.
            flag: The option that it was given by, for messages.
            api: The protocol, whose routes are looked for first; empty for any.

        Raises:
            GateError: If it is none, or holds what could be a secret, which messages would show.
        """
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as error:
            raise GateError(f"{flag} names no server: {error}", "write http://host:port") from error
        shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/")
        if not parts.hostname:
            raise GateError(f"{flag} {shown} names no host", "write http://host:port")
        if "@" in parts.netloc:
            step = "leave them out, and name the environment variable of a token: ::token_env=NAME"
            raise GateError(f"{flag} {shown} was given with a user or password in the URL, which reports show", step)
        if parts.query or parts.fragment:
            step = f"write {flag} {shown}; a token goes into ::token_env=NAME"
            raise GateError(f"{flag} {shown} was given with a query or fragment, which is no part of an address", step)
        end, route, model = _end(shown, api)
        host = parts.hostname if port is None else f"{parts.hostname}:{port}"
        return cls(shown, shown.removesuffix(end), route, model, host, _is_local(parts.hostname))


def _end(url: str, api: str) -> tuple[str, str, str]:
    """What a URL ends with beside the server: the text, the route that it is, and the model's name in it."""
    if found := _route(url, [kind for kind in PROTOCOLS if api in ("", kind.name)]):
        return found
    if found := _route(url, PROTOCOLS):  # of another protocol than the one that is to be asked
        return found[0], "", ""
    versions = {each[0] for kind in PROTOCOLS for route in kind.routes if (each := _VERSION.match(route))}
    return next((each for each in versions if url.endswith(each)), ""), "", ""


def _route(url: str, kinds: Iterable[type[Protocol]]) -> tuple[str, str, str] | None:
    """As `_end`, of the longest of these protocols' routes that fits; None where none does."""
    routes = (route for kind in kinds for route in kind.routes)
    tried = ((re.search(f"{re.escape(each).replace(re.escape(MODEL), _NAME)}$", url), each) for each in routes)
    fits = [(found[0], route, found.groupdict().get("model", "")) for found, route in tried if found]
    return max(fits, key=lambda fit: len(fit[0]), default=None)


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
