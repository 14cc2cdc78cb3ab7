"""Asks a server for embeddings, as any client would."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from embedgate.core.combination import Combination
from embedgate.core.errors import AnswerError, ResourceError
from embedgate.core.judgement import quoted
from embedgate.core.roles import Role
from embedgate.deployed.server.answers import vectors
from embedgate.deployed.server.client import NO_ROUTE, Answer, Client, Dropped
from embedgate.deployed.server.discovery import Route
from embedgate.deployed.server.long_texts import LongTexts
from embedgate.deployed.server.protocols import Said
from embedgate.encoders import Encoder, Evidence, FloatArray, Stability
from embedgate.encoders.evidence import UNKNOWN_DEVICE
from embedgate.encoders.loading import PROBE

# Threads that ask a server at once, where it is tried how it takes that: as many as its queue can mix up.
CALLERS = 16
NOT_SEEN = "not asked: a client sees none of them"


class ServerEncoder(Encoder):
    """Embeddings by a server. Safe to use from several threads.

    Args:
        client: Asks it.
        route: Where and how.
        dim: Dimensions of an embedding.
        combination: What it is called.
        stability: How far a text's embedding may move.
        said: What the server says of itself.
        long_texts: What is done with long texts.
        batch: Texts in a request, at most.
        adds_prompts: Whether the server puts prompts before texts itself.
        gone: Called with the error that ends it.
    """

    def __init__(
        self,
        client: Client,
        route: Route,
        dim: int,
        combination: Combination,
        stability: Stability,
        said: Said,
        long_texts: LongTexts,
        batch: int,
        adds_prompts: bool,
        gone: Callable[[ResourceError], None] = lambda _: None,
    ) -> None:
        self.stability = stability
        self.callers = CALLERS
        self._client = client
        self._route = route
        self._dim = dim
        self._combination = combination
        self._said = said
        self._long_texts = long_texts
        self._batch = min(batch, said.most or batch)
        self._adds_prompts = adds_prompts
        self._gone = gone

    def encode(self, texts: Sequence[str], batch_size: int = 32) -> FloatArray:
        """Embeds texts; see `Encoder.encode`.

        Raises:
            EncodeError: If it refuses a text, or answers with something else than a vector for each.
            ResourceError: If it does not answer.
        """
        return self._encoded([self._long_texts.cut(text) for text in texts], batch_size)

    def encode_as(self, role: Role, texts: Sequence[str], batch_size: int = 32) -> FloatArray:
        """Embeds texts with the role's prompt in front, unless the server adds it; see `encode`."""
        prompted = [self._long_texts.cut(text) for text in role.prompted(texts)]
        if self._adds_prompts:  # cut to what is left beside the prompt
            prompted = [text.removeprefix(role.prompt) for text in prompted]
        return self._encoded(prompted, batch_size)

    def evidence(self) -> Evidence:
        """What the server says of itself, and how it is asked; nothing else can be known."""
        problems = [self._long_texts.problem] if self._long_texts.problem else []
        told, promised = self._said.weight_precision, self._combination.weight_precision
        if told and promised in ("fp32", "fp16", "bf16") and told != promised:
            problems.append(f"named {promised}, but the server says that it computes in {told}")
        details: dict[str, Any] = {
            "api": self._route.protocol.name,
            "url": f"{self._client.address.root}{self._route.path}",
            "model": self._route.model,
            **self._said.details,
            "dimensions": self._dim,
            "texts in a request": self._batch,
            "long texts": self._long_texts.told,
            "prompts": "added by the server" if self._adds_prompts else "put in front by embedgate",
            "memory, bytes and tokens": NOT_SEEN,
        }
        notes = (self._long_texts.note,) if self._long_texts.note else ()
        return Evidence(UNKNOWN_DEVICE, 0, 0, {}, self._said.library, details, tuple(problems), notes=notes)

    def close(self) -> None:
        """Closes its connections."""
        self._client.close()

    def _encoded(self, texts: Sequence[str], batch_size: int) -> FloatArray:
        """Embeddings of texts as they are sent, float32 `[n, dim]`."""
        matrix = np.empty((len(texts), self._dim), dtype=np.float32)
        start = 0
        while start < len(texts):
            some = list(texts[start : start + max(1, min(batch_size, self._batch))])
            matrix[start : start + len(some)] = self._asked(some)
            start += len(some)
        return matrix

    def _asked(self, texts: list[str]) -> FloatArray:
        """The answer for a few texts. Where it is refused, halves are asked for, down to the text that is to blame."""
        try:
            answer = self._route.ask(self._client, texts)
        except Dropped as error:
            if len(texts) > 1:
                return self._halved(texts)
            if self._answers():
                cause = f"{error.cause}, and it answers others; the text was {quoted(texts[0], 60)}"
                raise AnswerError(cause, "see the server's log: this text ends what answers it") from None
            self._gone(error)
            raise
        except ResourceError as error:
            self._gone(error)
            raise
        if answer.ok:
            return vectors(answer, self._route.protocol, len(texts), self._dim)
        if answer.status in NO_ROUTE:
            changed = ResourceError(answer.told, "the server changed since it was first asked: see its log")
            self._gone(changed)
            raise changed
        if len(texts) == 1:
            raise _refusal(answer, texts[0])
        found = self._halved(texts)
        self._batch = min(self._batch, (len(texts) + 1) // 2)  # each half is taken, the whole is not
        return found

    def _halved(self, texts: list[str]) -> FloatArray:
        half = (len(texts) + 1) // 2
        return np.concatenate([self._asked(texts[:half]), self._asked(texts[half:])])

    def _answers(self) -> bool:
        """Whether it answers a text that it has answered before."""
        try:
            return self._route.ask(self._client, [PROBE]).ok
        except ResourceError:
            return False


def _refusal(answer: Answer, text: str) -> AnswerError:
    cause = f"{answer.told}; the text was {quoted(text, 60)}"
    return AnswerError(cause, "see the server's log: what it refuses, its users cannot embed")
