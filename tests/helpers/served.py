"""A server of embeddings on loopback, in a thread of the tests' own: every protocol, sound or with a fault."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

DIM = 8
NAME = "tiny"
TOKEN = "s3cret-t0ken"

Embed = Callable[[list[str]], np.ndarray]


def stored(texts: Sequence[str]) -> np.ndarray:
    """A unit vector for each text, which depends on nothing else."""
    seeds = [int(hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8], 16) for text in texts]
    rows = np.stack([np.random.default_rng(seed).normal(size=DIM) for seed in seeds]).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@dataclass
class Reply:
    """What a server sends back; None for `status` closes the connection without a word."""

    body: Any
    status: int | None = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Served:
    """A server.

    Attributes:
        embed: Computes.
        api: Its protocol.
        others: Protocols that it speaks as well.
        name: The model's name.
        dim: Dimensions that its description tells.
        refuse: Of texts and the body of the request, a reply in the place of vectors; None where it takes them.
        tamper: Changes the body of a success.
        extra: Further routes that can be got; a `Reply` is sent as it is.
        token: What it asks for; empty for nothing.
        wait: Seconds before each answer.
        drip: Seconds between the parts of an answer; 0 to send it whole.
        asked: Texts of each request of embeddings.
        sent: All that was posted and got, as route and headers.
    """

    embed: Embed = stored
    api: str = "openai"
    others: tuple[str, ...] = ()
    name: str = NAME
    refuse: Callable[[list[str], dict[str, Any]], Reply | None] = lambda texts, body: None
    tamper: Callable[[Any], Any] = lambda body: body
    extra: dict[str, Any] = field(default_factory=dict)
    token: str = ""
    wait: float = 0.0
    drip: float = 0.0
    asked: list[list[str]] = field(default_factory=list)
    sent: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    url: str = ""
    stopped: bool = False
    stop: Callable[[], None] = lambda: None

    def got(self, route: str) -> Reply:
        names = {
            "openai": {"/v1/models": {"data": [{"id": self.name, "owned_by": "tests"}]}},
            "base64": {"/v1/models": {"data": [{"id": self.name, "owned_by": "tests"}]}},
            "tei": {"/info": {"model_id": self.name, "version": "1.8.2", "max_client_batch_size": 16}},
            "ollama": {"/api/tags": {"models": [{"name": self.name}]}, "/api/version": {"version": "0.9"}},
            "kserve": {
                "/v2": {"name": "triton", "version": "2.60"},
                f"/v2/models/{self.name}": {
                    "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1, 1]}],
                    "outputs": [
                        {"name": "token_embeddings", "datatype": "FP32", "shape": [-1, -1, DIM]},
                        {"name": "sentence_embedding", "datatype": "FP32", "shape": [-1, DIM]},
                    ],
                },
            },
        }
        found = {**names[self.api], **self.extra}.get(route)
        if isinstance(found, Reply):
            return found
        return Reply({"detail": "Not Found"}, 404) if found is None else Reply(found)

    def posted(self, route: str, body: dict[str, Any]) -> Reply:
        routes = {
            "openai": "/v1/embeddings",
            "base64": "/v1/embeddings",
            "tei": "/embed",
            "ollama": "/api/embed",
            "kserve": f"/v2/models/{self.name}/infer",
        }
        api = next((each for each in (self.api, *self.others) if routes[each] == route), None)
        if api is None:
            return Reply({"detail": "Not Found"}, 404)
        if api in ("openai", "base64", "ollama") and body.get("model") != self.name:
            return Reply({"error": {"message": f"The model `{body.get('model')}` does not exist."}}, 404)
        texts = body["inputs"][0]["data"] if api == "kserve" else body.get("input", body.get("inputs"))
        self.asked.append(texts)
        if refusal := self.refuse(texts, body):
            return refusal
        if api == "tei" and len(texts) > 16:
            return Reply({"error": f"batch size {len(texts)} > maximum allowed batch size 16"}, 422)
        return Reply(self.tamper(self._written(self.embed(texts), api)))

    def _written(self, rows: np.ndarray, api: str) -> Any:
        if api == "kserve":
            outputs = [{"name": "sentence_embedding", "shape": list(rows.shape), "data": rows.ravel().tolist()}]
            return {"outputs": outputs}
        if api == "tei":
            return rows.tolist()
        if api == "ollama":
            return {"embeddings": rows.tolist()}
        coded = [base64.b64encode(row.astype("<f4").tobytes()).decode() if api == "base64" else row for row in rows]
        return {
            "data": [{"index": i, "embedding": r if isinstance(r, str) else r.tolist()} for i, r in enumerate(coded)]
        }


@contextmanager
def serving(served: Served) -> Iterator[Served]:
    """Serves on a port of loopback; the URL stands in `served.url`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # or headers and body go in two packets, and the second waits for the first to be acknowledged

        def do_GET(self) -> None:
            served.sent.append((self.path, dict(self.headers)))
            self.reply(served.got(self.path))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            served.sent.append((self.path, dict(self.headers)))
            if served.token and self.headers.get("Authorization") != f"Bearer {served.token}":
                given = self.headers.get("Authorization", "nothing")
                return self.reply(Reply({"error": {"message": f"wrong key: {given}"}}, 401))
            time.sleep(served.wait)
            return self.reply(served.posted(self.path, body))

        def reply(self, reply: Reply) -> None:
            if reply.status is None or served.stopped:
                self.close_connection = True
                return
            content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            for name, value in {"Content-Length": str(len(content)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            size = 10 if served.drip else max(1, len(content))
            for start in range(0, len(content), size):
                self.wfile.write(content[start : start + size])
                if served.drip:
                    self.wfile.flush()
                    time.sleep(served.drip)

        def log_message(self, *_: Any) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *_: Any) -> None:  # a client that has hung up
            pass

    server = Quiet(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    served.url = f"http://127.0.0.1:{server.server_port}"

    def stop() -> None:
        served.stopped = True  # connections that are open would be answered on
        server.shutdown()
        server.server_close()

    served.stop = stop
    try:
        yield served
    finally:
        stop()


class Together:
    """Puts the texts of requests that come at once into one batch, as servers do.

    Args:
        embed: Computes.
        apart: From the number of each request's texts and the vectors of all, the vectors in the order to give back.
        window: Seconds that the first request waits for others.
    """

    def __init__(
        self,
        embed: Embed,
        apart: Callable[[list[list[str]], np.ndarray], np.ndarray] = lambda _, rows: rows,
        window: float = 0.003,
    ) -> None:
        self._embed, self._apart, self._window = embed, apart, window
        self._lock = threading.Lock()
        self._waiting: list[tuple[list[str], list[np.ndarray], threading.Event]] = []

    def __call__(self, texts: list[str]) -> np.ndarray:
        mine: tuple[list[str], list[np.ndarray], threading.Event] = (texts, [], threading.Event())
        with self._lock:
            self._waiting.append(mine)
            first = len(self._waiting) == 1
        if first:
            time.sleep(self._window)
            with self._lock:
                taken, self._waiting = self._waiting, []
            parts = [part for part, _, _ in taken]
            rows = self._apart(parts, self._embed([text for part in parts for text in part]))
            start = 0
            for part, found, done in taken:
                found.append(rows[start : start + len(part)])
                start += len(part)
                done.set()
        mine[2].wait(30)
        return mine[1][0]


def mixed_up(parts: list[list[str]], rows: np.ndarray) -> np.ndarray:
    """Sorted by length, and not put back where several requests came at once."""
    texts = [text for part in parts for text in part]
    return rows if len(parts) == 1 else rows[np.argsort([len(text) for text in texts], kind="stable")]


def mispooled_together(parts: list[list[str]], rows: np.ndarray) -> np.ndarray:
    """Other pooling where several requests came at once and no text needs padding."""
    texts = [text for part in parts for text in part]
    return np.roll(rows, 1, axis=1) if len(parts) > 1 and len(set(map(len, texts))) == 1 else rows


def mispooled(texts: list[str]) -> np.ndarray:
    """Other pooling where a request has several texts and none needs padding."""
    rows = stored(texts)
    return np.roll(rows, 1, axis=1) if len(texts) > 1 and len(set(map(len, texts))) == 1 else rows
