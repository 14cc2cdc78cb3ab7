"""A server's address: a URL, split into what is asked and what is shown."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from embedgate.core.errors import GateError
from embedgate.core.spec import FLAG

# How URLs end that name a version or a route and not the server; the first that fits is taken off.
ENDS = ("/v1/embeddings", "/v3/embeddings", "/api/embed", "/embeddings", "/embed", "/v1", "/v2", "/v3")


@dataclass(frozen=True)
class Address:
    """Where a server is.

    Attributes:
        url: The URL as the user gave it, without a slash at its end.
        root: What routes are joined to.
        host: Host and port, as a person reads them.
        is_local: Whether it is this machine, to which no proxy leads.
    """

    url: str
    root: str
    host: str
    is_local: bool

    @classmethod
    def parse(cls, text: str, flag: str = FLAG) -> Address:
        """Reads a URL.

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
        end = next((each for each in ENDS if shown.endswith(each)), "")
        host = parts.hostname if port is None else f"{parts.hostname}:{port}"
        return cls(shown, shown.removesuffix(end), host, _is_local(parts.hostname))


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
