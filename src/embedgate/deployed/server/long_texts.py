"""What a server does with texts beyond the model's limit of length: found out once, and cut here if need be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from embedgate.deployed.server.client import Client
from embedgate.deployed.server.discovery import Route
from embedgate.encoders.lengths import LONGEST, has_limit, of_length

if TYPE_CHECKING:
    from embedgate.encoders.onnx.tokenizer import Tokenizer

# Values of `long=`.
CUT, REFUSE = "cut", "refuse"
# Tokens by which a text is tried to be too long: a few, as many as the limit again, and as many as a huge text has.
BEYOND = 8
HUGE = 20_000
NOTE = "it refuses texts beyond the model's limit: embedgate cut them by the model's own tokenizer before it sent them"


@dataclass(frozen=True)
class LongTexts:
    """What is done with long texts.

    Attributes:
        told: What the server does with them, for a person.
        cut: What is sent in the place of a text; the text itself where the server cuts.
        extra: What every request adds.
        problem: What contradicts the declaration; empty where nothing does.
        note: What a reader of the verdict must know; empty for nothing.
    """

    told: str
    cut: Callable[[str], str] = lambda text: text
    extra: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""
    note: str = ""


def find_out(client: Client, route: Route, tokenizer: Tokenizer | None, declared: str) -> LongTexts:
    """Tries texts beyond the limit.

    Args:
        client: Asks the server.
        route: Where and how.
        tokenizer: The model's own; None where it has none.
        declared: `cut`, `refuse`, or empty for whatever is found.

    Raises:
        GateError: If the server is gone.
    """
    if not has_limit(tokenizer):
        why = "no limit is known" if tokenizer is None else f"the limit is beyond {LONGEST} tokens"
        if declared == REFUSE and tokenizer is not None:
            told = f"refused, as declared; {why}; cut by embedgate"
            return LongTexts(told, _cutter(tokenizer, tokenizer.max_tokens), note=NOTE)
        return LongTexts(f"not tried: {why}")
    extra: Mapping[str, Any] = {}
    taken = tokenizer.max_tokens
    for beyond in (BEYOND, tokenizer.max_tokens, HUGE):
        text = [of_length(tokenizer, beyond)]
        answer = route.ask(client, text)
        if not answer.ok and not extra and route.protocol.cuts and declared != REFUSE:
            asks = replace(route, extra=route.protocol.cuts)
            if (again := asks.ask(client, text)).ok:
                route, extra, answer = asks, asks.extra, again
        if not answer.ok:
            return _refused(tokenizer, taken, f"{answer.status}: {answer.said}", declared, extra)
        taken = tokenizer.max_tokens + beyond
    if declared == REFUSE:
        problem = f"declared to refuse texts beyond the model's limit (long={REFUSE}), and takes them"
        return LongTexts("cut, and declared to be refused", problem=problem)
    asked = ", ".join(f"{key}={value}" for key, value in extra.items())
    if not asked:
        return LongTexts("cut")
    note = f"it refuses texts beyond the model's limit unless a request says {asked}, as embedgate's say"
    return LongTexts(f"cut, as every request asks ({asked})", extra=extra, note=note)


def _refused(tokenizer: Tokenizer, taken: int, why: str, declared: str, extra: Mapping[str, Any]) -> LongTexts:
    beyond = "" if taken == tokenizer.max_tokens else f" from some length above {taken} tokens"
    told = f"refused{beyond} ({why}); cut to {taken} tokens by embedgate before they are sent"
    problem = ""
    if declared == CUT:
        problem = f"declared to cut texts beyond the model's limit (long={CUT}), and refuses them ({why})"
    return LongTexts(told, _cutter(tokenizer, taken), extra, problem, NOTE)


def _cutter(tokenizer: Tokenizer, most: int) -> Callable[[str], str]:
    def cut(text: str) -> str:
        try:
            text.encode()
        except UnicodeEncodeError:  # half of a surrogate pair, which no tokenizer reads
            return text
        return tokenizer.cut(text, most)

    return cut
