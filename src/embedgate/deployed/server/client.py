"""Asks a server over HTTP: with a limit of time, a token that is never shown, and a few more tries where that helps."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import httpx
import msgspec

from embedgate.core.errors import ResourceError
from embedgate.core.judgement import shorten
from embedgate.deployed.server.address import Address

# Seconds before each further try.
PAUSES = (0.1, 0.4, 1.0)
# The longest pause that a server may ask for, in seconds.
LONGEST_PAUSE = 5.0
# Seconds to connect in.
CONNECT = 5.0
# Answers that another try may mend: too many requests, and not ready.
BUSY = (429, 503)
# Of a route or method that is not there.
NO_ROUTE = (404, 405)
# Answers that are about whoever asks, and of what stands between.
CLOSED = {401: "not authorized", 403: "forbidden", 407: "a proxy asks for a login", 502: "bad gateway", 504: "timeout"}
# Characters of an answer that messages show.
SHOWN = 160
# Bytes of an answer, unpacked: 32 vectors of 65,536 dimensions as text are a fifth of it.
LARGEST = 1 << 28
# How an answer may be packed. Of two packings, one in the other, a few bytes become gigabytes in one step.
PACKINGS = ("gzip", "deflate")


@dataclass(frozen=True)
class Answer:
    """A server's answer.

    Attributes:
        asked: The method and URL, as in `POST http://host/embed`.
        status: The status of HTTP.
        content: The body.
        headers: The headers.
        said: What it says of itself where it is no success, in a few words.
    """

    asked: str
    status: int
    content: bytes
    headers: Mapping[str, str]
    said: str = ""

    @property
    def ok(self) -> bool:
        """Whether it is a success."""
        return 200 <= self.status < 300

    @property
    def told(self) -> str:
        """The answer in one line, as in `POST http://host/embed answered 400: too long`."""
        return f"{self.asked} answered {self.status}{f': {self.said}' if self.said else ''}"

    @property
    def text(self) -> str:
        """The body as text."""
        return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        """The body as JSON; NaN is let through, to be told as what it is. None where it is no JSON."""
        try:
            return msgspec.json.decode(self.content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
        try:
            return json.loads(self.content)
        except (ValueError, RecursionError):
            return None


class _TooLarge(Exception):
    """An answer that is made to fill memory."""


class Dropped(ResourceError):
    """A connection that ended without an answer: the server is gone, or what it was asked made it end this one."""


class Client:
    """Asks one server. Several threads may use it at once.

    Args:
        address: Where it is.
        timeout: Seconds that an answer may take.
        token: Sent as the bearer token; empty for none.
        pause: Waits so many seconds.

    Attributes:
        address: Where it is.
    """

    def __init__(
        self, address: Address, timeout: float, token: str = "", pause: Callable[[float], None] = time.sleep
    ) -> None:
        self.address = address
        self._timeout = timeout
        self._token = token
        self._pause = pause
        self._http = httpx.Client(
            timeout=httpx.Timeout(timeout, connect=min(timeout, CONNECT)),
            headers={
                "Accept-Encoding": ", ".join(PACKINGS),
                **({"Authorization": f"Bearer {token}"} if token else {}),
            },
            follow_redirects=False,
            trust_env=not address.is_local,
            verify=httpx.create_ssl_context(),  # by SSL_CERT_FILE, too, which the line above turns off
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=32),
        )

    def get(self, route: str) -> Answer:
        """Gets a route that a server may have or not, such as `/v1/models`.

        Raises:
            ResourceError: If the server does not answer.
        """
        return self._ask("GET", route, None, PAUSES)

    def glance(self, route: str) -> Answer | None:
        """Gets a route that nothing depends on, such as `/info`, in one try; None where that gives no answer."""
        try:
            return self._ask("GET", route, None, ())
        except ResourceError:
            return None

    def post(self, route: str, body: Mapping[str, Any]) -> Answer:
        """Posts JSON to a route.

        Raises:
            ResourceError: If the server does not answer, lets nobody in, or sends elsewhere.
        """
        # In ASCII, which holds whatever Python does: half of a surrogate pair has no UTF-8.
        answer = self._ask("POST", route, json.dumps(body).encode("ascii"), PAUSES)
        if 300 <= answer.status < 400:
            to = self._shown(answer.headers.get("location", "nowhere").partition("?")[0])
            raise ResourceError(f"{answer.asked} redirects to {to}, and redirects are not followed", "give that URL")
        if answer.status in CLOSED:
            step = "see the server's log"
            if answer.status in (401, 403):
                step = "name the environment variable that holds its token: ::token_env=NAME"
                step = "correct the token in the variable that token_env names" if self._token else step
            raise ResourceError(answer.told if answer.said else f"{answer.told} ({CLOSED[answer.status]})", step)
        return answer

    def close(self) -> None:
        """Closes its connections."""
        self._http.close()

    def _ask(self, method: str, route: str, content: bytes | None, pauses: Sequence[float]) -> Answer:
        answer = self._sent(method, f"{self.address.root}{route}", content, pauses)
        if self._token:  # which some servers repeat, and messages would show
            answer = replace(answer, content=answer.content.replace(self._token.encode(), b"***"))
        if answer.ok:
            return answer
        return replace(answer, said=self._shown(_reason(answer.json()) or answer.text))

    def _sent(self, method: str, url: str, content: bytes | None, pauses: Sequence[float]) -> Answer:
        """The first answer that another try would not mend; there is one more try than there are pauses."""
        left = iter(pauses)
        while True:
            try:
                answer = self._once(method, url, content)
            except httpx.TimeoutException as error:
                limit = self._timeout if not isinstance(error, httpx.ConnectTimeout) else min(self._timeout, CONNECT)
                cause = f"{method} {url} was not answered within {limit:g} seconds"
                raise ResourceError(cause, "see the server's log, or allow more: ::timeout=SECONDS") from None
            except _TooLarge:
                cause = f"{method} {url} answered with more than {LARGEST >> 20} MiB"
                raise ResourceError(cause, "see the server's log, or ask for fewer texts at once: ::batch=N") from None
            except httpx.DecodingError as error:
                cause = f"{method} {url} answered in a compression that cannot be read: {self._shown(str(error))}"
                raise ResourceError(cause, "see the server's log, and what stands between") from None
            except httpx.TransportError as error:
                trouble, again = f"{type(error).__name__}: {self._shown(str(error))}", 0.0
                dropped, busy = not isinstance(error, httpx.ConnectError), False
                if "WRONG_VERSION_NUMBER" in str(error):
                    raise ResourceError(
                        f"{url} speaks no TLS ({trouble})", "write http:// in the place of https://"
                    ) from None
                if "CERTIFICATE_VERIFY_FAILED" in str(error):
                    step = "give the server a certificate that this machine trusts, or name its CA in SSL_CERT_FILE"
                    raise ResourceError(f"{url} cannot be trusted ({trouble})", step) from None
            else:
                if answer.status not in BUSY:
                    return answer
                dropped, busy = False, answer.status == BUSY[0]
                trouble = f"{answer.status}: {self._shown(answer.text)}".rstrip(": ")
                again = _asked_pause(answer.headers.get("retry-after", ""))
            pause = next(left, None)
            if pause is None:
                cause = f"no answer to {method} {url} in {len(pauses) + 1} tries ({trouble})"
                step = "start the server, see its log, or correct the URL"
                if busy:
                    step = "it takes no more requests for now: raise its limit, or come back later"
                raise (Dropped if dropped else ResourceError)(cause, step)
            self._pause(max(pause, min(again, LONGEST_PAUSE)))

    def _once(self, method: str, url: str, content: bytes | None) -> Answer:
        """The answer of one try. The limit of time is the whole answer's; httpx's own is each part's."""
        until = time.monotonic() + self._timeout
        headers = {"Content-Type": "application/json"} if content else {}
        with self._http.stream(method, url, content=content, headers=headers) as response:
            packing = response.headers.get("content-encoding", "").strip().lower()
            if packing not in ("", "identity", *PACKINGS):
                raise httpx.DecodingError(f"packed by {packing}, and asked for {' or '.join(PACKINGS)}")
            parts, size = [], 0
            for part in response.iter_bytes():
                parts.append(part)
                size += len(part)
                if size > LARGEST:
                    raise _TooLarge
                if time.monotonic() > until:
                    raise httpx.ReadTimeout("it comes part by part")
            return Answer(f"{method} {url}", response.status_code, b"".join(parts), response.headers)

    def _shown(self, text: str) -> str:
        """What a server says, on one short line, without the token."""
        return shorten(text.replace(self._token, "***") if self._token else text, SHOWN)


def _asked_pause(text: str) -> float:
    """The seconds that `Retry-After` asks for; 0 where it names a date or nothing."""
    return float(text) if text.isdecimal() else 0.0


def _reason(found: Any) -> str:
    """What an error says, in the forms that servers give it."""
    while isinstance(found, dict):
        found = next((found[key] for key in ("error", "message", "detail", "error_type") if found.get(key)), None)
    return found if isinstance(found, str) else json.dumps(found) if found else ""
