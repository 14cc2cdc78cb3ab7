"""Serves an encoder as Text Embeddings Inference (TEI) does, as far as its clients here ask. TEI is no Python package.

    python serve.py WORK FAULT PORT

TEI joins requests that arrive together into one batch. So does this one. With the fault `concurrent` it then gives each
request the vectors of its neighbour; with `joined` it then reads each text from its end.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from faults import NAMED, encoder_of, reference_of

WORK, FAULT, PORT = Path(sys.argv[1]), NAMED[sys.argv[2]], int(sys.argv[3])
ENCODER = encoder_of(WORK, FAULT)
WINDOW_SECONDS = 0.005


class Queue:
    """Joins what arrives within a moment, and encodes it in one batch."""

    def __init__(self) -> None:
        self.lock, self.waiting = threading.Condition(), list[dict[str, Any]]()
        threading.Thread(target=self._work, daemon=True).start()

    def ask(self, texts: list[str]) -> Any:
        """Embeddings of a request's texts."""
        asked: dict[str, Any] = {"texts": texts, "done": threading.Event()}
        with self.lock:
            self.waiting.append(asked)
            self.lock.notify()
        asked["done"].wait()
        return asked["vectors"]

    def _work(self) -> None:
        while True:
            with self.lock:
                self.lock.wait_for(lambda: self.waiting)
            time.sleep(WINDOW_SECONDS)
            with self.lock:
                together, self.waiting = self.waiting, []
            self._answer(together)

    def _answer(self, together: list[dict[str, Any]]) -> None:
        texts = [text for asked in together for text in asked["texts"]]
        if FAULT.name == "joined" and len(together) > 1:
            texts = [" ".join(reversed(text.split())) for text in texts]
        vectors = np.asarray(ENCODER.encode(texts, batch_size=32), dtype=np.float32)
        if FAULT.name == "concurrent" and len(together) > 1:
            vectors = np.roll(vectors, len(together[0]["texts"]), axis=0)
        for asked in together:
            asked["vectors"], vectors = vectors[: len(asked["texts"])], vectors[len(asked["texts"]) :]
            asked["done"].set()


QUEUE = Queue()


def _is_text(text: str) -> bool:
    """Whether it is valid UTF-8, as a server in Rust demands: half of a surrogate pair is none."""
    try:
        return bool(text.encode()) or not text
    except UnicodeEncodeError:
        return False


class Handler(BaseHTTPRequestHandler):
    """The routes `/health`, `/info` and `/embed`."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Health and metadata."""
        name = str(reference_of(WORK, FAULT, "folder"))
        self._send({} if self.path == "/health" else {"model_id": name, "max_client_batch_size": 32})

    def do_POST(self) -> None:
        """Embeddings; JSON has no NaN, so that a null stands for it."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/embed":
            self.send_error(404)
            return
        texts = [body["inputs"]] if isinstance(body["inputs"], str) else body["inputs"]
        if not all(_is_text(text) for text in texts):
            self.send_error(422)
            return
        rows = QUEUE.ask(texts)
        self._send([[value if np.isfinite(value) else None for value in row] for row in rows.tolist()])

    def _send(self, content: Any) -> None:
        encoded = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
