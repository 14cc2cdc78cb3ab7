"""Known faults, as they are played through on the reference: each tells what is done otherwise.

To add one: give `Fault` a name that reads well after "the reference with", the layer it sits in, what to try, and what
it changes; and put it into `known_faults`. Two faults that change different things are tried together, too.
"""

from __future__ import annotations

import html
import json
import re
import string
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from embedgate.core.letters import without_emoji, without_other_scripts
from embedgate.core.roles import DOCUMENT, QUERY, Role, Roles
from embedgate.diagnosis.prompts import USUAL, Way, wrong_ways
from embedgate.diagnosis.rereading import without_accents
from embedgate.encoders import FloatArray
from embedgate.encoders.change import AS_IT_IS, PADDED, Change, Replay

Where = Literal["always", "alone", "together", "unpadded", "unpadded together"]
TextChange = Callable[[str], str]
Finish = Callable[[FloatArray], FloatArray]

STEPS = {
    "texts": "see what the encoder does to texts before its tokenizer",
    "prompt": "see which prompt it puts before texts of each role (config_sentence_transformers.json), and how often",
    "tokens": "compare tokenizer.json, tokenizer_config.json and the limit of length with the model's",
    "inputs": "see how it makes the attention mask, positions and token types of a batch",
    "layers": "compare num_hidden_layers in config.json and the layers of the built model",
    "activation": "compare hidden_act in config.json with the activation of the built model",
    "pooling": "compare the pooling config (1_Pooling/config.json): mean, CLS, last token, max",
    "modules": "compare modules.json with what it runs after pooling",
    "normalisation": "see what normalises or scales its vectors, and whether the model does",
    "dimension": "see which dimensions it keeps (truncate_dim), and what fills up the others",
    "codes": "see how its codes are decoded: zero point, offset, step and sign",
}


@dataclass(frozen=True, eq=False)
class Fault:
    """A known fault.

    Attributes:
        name: What is done, to be read after "the reference with".
        layer: The layer that a diagnosis names.
        next_step: What to try.
        text: What becomes of a text before it is used.
        ways: By the name of a role, how its texts are encoded in its place.
        change: What the model does otherwise: attributes of `Change` by their names.
        finish: What becomes of its vectors.
        where: Whether it shows always, or only for texts that are asked for alone, or together with others; or where
            all texts of a call are as long as each other, so that none is filled up.
        cuts: Whether it cuts texts at another length.
        read: How many numbers of each dimension were read from the vectors that it is to explain.
    """

    name: str
    layer: str
    next_step: str
    text: TextChange | None = None
    ways: Mapping[str, Way] = field(default_factory=dict)
    change: Mapping[str, Any] = field(default_factory=dict)
    finish: Finish | None = None
    where: Where = "always"
    cuts: bool = False
    read: int = 0

    @property
    def touches(self) -> frozenset[str]:
        """What it changes: two faults that touch the same are not tried together."""
        return frozenset(
            [
                *(["text"] if self.text else ()),
                *(["prompt"] if self.ways else ()),
                *(["finish"] if self.finish else ()),
                *self.change,
                # What has another pooling, or another width, has it whatever else is done.
                *(["where"] if self.where != "always" else ()),
            ]
        )

    @property
    def runs_layers(self) -> bool:
        """Whether the model's layers must run for it, as they need not for what comes after them."""
        changes_inputs = bool(set(self.change) - {"pooling", "without", "linear"})
        return bool(self.text or self.ways) or changes_inputs or self.depends_on_batch

    @property
    def depends_on_batch(self) -> bool:
        """Whether what becomes of a text depends on the texts that it is asked for with."""
        return self.where != "always" or self.changed().pads

    def way_of(self, role: Role) -> tuple[Role, str]:
        """How texts of a role are encoded, and what stands behind each."""
        way = self.ways.get(role.name)
        return (way.role, way.behind) if way is not None else (role, "")

    def changed(self, change: Change = AS_IT_IS) -> Change:
        """A change with this fault's own."""
        return replace(change, **self.change)


def known_faults(roles: Roles, names: list[str], replay: Replay | None) -> Iterator[Fault]:
    """Every fault that can be played through, but for those with a number in them; see `cuts` and `fits`.

    Args:
        roles: The model's roles.
        names: The names of the roles that texts at hand have.
        replay: The reference's replay; None where it has none, and only texts, prompts and vectors can be changed.
    """
    yield from _finishes()
    yield from _prompts(roles, names)
    yield from _texts()
    if replay is not None:
        yield from _poolings(replay)
        yield from _modules(replay)
        yield from _tokens(replay)
        yield from _inputs(replay)
        yield from _layers(replay)


def _poolings(replay: Replay) -> Iterator[Fault]:
    names = {
        "cls": "CLS pooling",
        "lasttoken": "pooling of the last token",
        "max": "max pooling",
        "mean": "mean pooling",
        "mean_sqrt_len_tokens": "the sum of tokens over the square root of their number",
        "weightedmean": "a mean weighted by position",
        "padded": "a mean over padding, too",
        "plain": "a mean without special tokens",
        "sum": "the sum of tokens in the place of their mean",
    }
    for mode, name in names.items():
        if mode != replay.pooling:
            fault = Fault(name, "pooling", STEPS["pooling"], change={"pooling": mode})
            yield fault
            if mode not in PADDED:
                yield replace(fault, name=f"{name} in a batch without padding", where="unpadded")
                yield replace(fault, name=f"{name} in a batch of several without padding", where="unpadded together")


def _modules(replay: Replay) -> Iterator[Fault]:
    if "Normalize" in replay.after:
        without = {"without": frozenset({"Normalize"})}
        yield Fault("no normalisation", "normalisation", STEPS["normalisation"], change=without)
    if "Dense" in replay.after:
        change: dict[str, Any] = {"linear": True}
        yield Fault("no activation in its Dense module", "pooling", STEPS["modules"], change=change)
    others = frozenset(replay.after) - {"Normalize"}
    for name in sorted(others):
        yield Fault(f"no {name} module", "pooling", STEPS["modules"], change={"without": frozenset({name})})
    if others and "Normalize" in replay.after:
        names = frozenset(replay.after)
        yield Fault("no module after pooling", "pooling", STEPS["modules"], change={"without": names})


def _tokens(replay: Replay) -> Iterator[Fault]:
    step = STEPS["tokens"]
    for which, name in (
        ("missing", "no special tokens"),
        ("first missing", "no special token at the start"),
        ("last missing", "no special token at the end"),
        ("twice", "special tokens twice"),
    ):
        yield Fault(name, "tokens", step, change={"specials": which})
    if replay.folds is not None:
        name = "case kept, which the tokenizer folds" if replay.folds else "lower-casing"
        yield Fault(name, "tokens", step, change={"lower": not replay.folds})
    if replay.strips is not None:
        name = "accents kept, which the tokenizer strips" if replay.strips else "accents stripped"
        yield Fault(name, "tokens", step, change={"accents": replay.strips})
    if replay.folds and replay.strips:
        both = {"lower": False, "accents": True}
        yield Fault("case and accents kept, which the tokenizer folds", "tokens", step, change=both)


def _inputs(replay: Replay) -> Iterator[Fault]:
    layer, step = "hidden states", STEPS["inputs"]
    yield Fault("token types of 1", layer, step, change={"types": 1})
    for shift in (1, 2, -1):
        yield Fault(f"positions {shift:+d} off", layer, step, change={"shift": shift})
    ignored = "the attention mask ignored"
    yield Fault(f"{ignored} by its layers", layer, step, change={"attention": "padding"})
    both = {"attention": "padding", "pooling": "padded"}
    if replay.pooling == "mean":
        yield Fault(f"{ignored} by its layers and by pooling", layer, step, change=both)
    if replay.pooling in ("lasttoken", "cls"):
        last = "the last place of the batch pooled, padding or not"
        yield Fault(last, "pooling", step, change={"pooling": "last place"})
    causal = {"attention": "causal"}
    yield Fault("causal attention", layer, step, change=causal)
    yield Fault("causal attention for a text that comes alone", layer, step, change=causal, where="alone")
    yield Fault("causal attention for texts that come together", layer, step, change=causal, where="together")


def _layers(replay: Replay) -> Iterator[Fault]:
    for count in range(1, min(4, replay.layers + 1)):
        which = "layer" if count == 1 else f"{count} layers"
        yield Fault(f"its last {which} missing", "hidden states", STEPS["layers"], change={"last": count})
    for name, is_so in (("gelu", "GELU"), ("relu", "ReLU"), ("silu", "SiLU")):
        # Kinds of GELU are rounding to each other.
        if replay.activation and name != replay.activation and not (name == "gelu" and "gelu" in replay.activation):
            yield Fault(
                f"{is_so} as the activation of its layers",
                "hidden states",
                STEPS["activation"],
                change={"activation": name},
            )
    if replay.layers > 1:
        yield Fault("its first layer missing", "hidden states", STEPS["layers"], change={"first": 1})


def _prompts(roles: Roles, names: list[str]) -> Iterator[Fault]:
    step = STEPS["prompt"]
    by_about: dict[str, dict[str, Way]] = {}
    for name in names:
        for way in wrong_ways(roles, name):
            by_about.setdefault(way.about, {})[name] = way
    for about, ways in by_about.items():
        yield Fault(_said(about), "prompt", step, ways=ways)
        for name, way in ways.items() if len(ways) > 1 else ():
            yield Fault(f"{_said(about)} for {_called(name)}", "prompt", step, ways={name: way})
    swapped = {name: roles[other] for name, other in ((QUERY, DOCUMENT), (DOCUMENT, QUERY)) if name in names}
    if len(swapped) > 1 and not roles[QUERY].same_as(roles[DOCUMENT]):
        ways = {name: Way("", role) for name, role in swapped.items()}
        yield Fault("queries encoded as documents, and documents as queries", "prompt", step, ways=ways)
    for prompt in _misspelt(roles, names):
        ways = {name: Way("", replace(roles[name], prompt=prompt)) for name in names if roles[name].prompt != prompt}
        if len(ways) == len(names):
            yield Fault(f"{prompt!r} before each text", "prompt", step, ways=ways)
        for name, way in ways.items() if len(names) > 1 else ():
            yield Fault(f"{prompt!r} before {_called(name)}", "prompt", step, ways={name: way})


def _said(about: str) -> str:
    """What happened to a prompt, to be read after "the reference with"."""
    known = {
        "comes without its prompt": "no prompt",
        "comes with its prompt twice": "the prompt twice",
        "comes with its prompt after the text": "the prompt after the text",
        "comes with the model's own prompt": "the model's own prompt",
    }
    if about.startswith("is encoded as "):
        return f"texts encoded as {about.removeprefix('is encoded as ')}"
    if about.startswith("comes with the prompt of "):
        return about.removeprefix("comes with ")
    return known.get(about, about)


def _called(name: str) -> str:
    return {"query": "queries", "document": "documents", "": "texts without a role"}.get(name, f"texts of {name}")


def _misspelt(roles: Roles, names: list[str]) -> Iterator[str]:
    """Prompts as they are written by hand: other spaces, colons and cases of the model's, and those of known models."""
    right = dict.fromkeys(roles[name].prompt for name in names)
    own = [each for each in dict.fromkeys(roles.prompts.values()) if each]
    found: dict[str, None] = {}
    for prompt in dict.fromkeys([*own, *USUAL]):
        word = prompt.strip().removesuffix(":").strip()
        variants = [prompt, f"{word}: ", f"{word}:", f"{word} : ", f"{word} ", f"{word}\n", f"{word}:  "]
        variants += [prompt.capitalize(), *([prompt.lower(), prompt.upper()] if prompt in own else ())]
        found.update(dict.fromkeys(variants))
    yield from (each for each in found if each and not (len(right) == 1 and each in right))


def _texts() -> Iterator[Fault]:
    step = STEPS["texts"]
    for name, change in (
        ("texts lower-cased first", str.lower),
        ("whitespace collapsed", lambda text: " ".join(text.split())),
        ("all whitespace lost", lambda text: "".join(text.split())),
        ("newlines turned into spaces", lambda text: re.sub(r"[\r\n]", " ", text)),
        ("newlines lost", lambda text: re.sub(r"[\r\n]+", "", text)),
        ("texts that end at their first newline", lambda text: re.split(r"[\r\n]", text.lstrip("\r\n"))[0]),
        ("texts stripped at both ends", str.strip),
        ("punctuation lost", lambda text: re.sub(r"[^\w\s]", "", text)),
        ("ASCII punctuation lost", lambda text: text.translate(str.maketrans("", "", string.punctuation))),
        ("punctuation turned into spaces", lambda text: re.sub(r"[^\w\s]", " ", text)),
        ("digits lost", lambda text: re.sub(r"\d", "", text)),
        ("characters beyond ASCII lost", lambda text: text.encode("ascii", "ignore").decode()),
        ("accents stripped from texts first", without_accents),
        ("emoji lost", without_emoji),
        ("letters that are not Latin lost", without_other_scripts),
        ("UTF-8 read as Latin-1", lambda text: text.encode("utf-8", "surrogatepass").decode("latin-1")),
        ("markup lost", lambda text: re.sub(r"<[^>]+>", "", text)),
        ("markup escaped", html.escape),
        ("markup escaped, but for quotes", lambda text: html.escape(text, quote=False)),
        ("entities of markup read (&amp; as &)", html.unescape),
        ("texts written as JSON", json.dumps),
        ("texts written as JSON, without its quotes", lambda text: json.dumps(text)[1:-1]),
        ("each text twice", lambda text: f"{text} {text}"),
        ("texts in quotes", lambda text: f'"{text}"'),
        ("a full stop behind each text", lambda text: f"{text}."),
        ("a space before each text", lambda text: f" {text}"),
        ("the first sentence of each text alone", lambda text: re.split(r"(?<=[.!?])\s", text.strip())[0]),
    ):
        yield Fault(name, "texts", step, text=change)


def _finishes() -> Iterator[Fault]:
    for name, layer, finish in (
        ("vectors normalised, which the model does not", "normalisation", unit),
        ("dimensions in the opposite order", "dimension", lambda rows: rows[:, ::-1]),
        ("the halves of its dimensions swapped", "dimension", lambda rows: np.roll(rows, rows.shape[1] // 2, axis=1)),
        ("the opposite sign", "codes", np.negative),
        ("signs in the place of numbers (-1 and 1)", "codes", lambda rows: np.where(rows > 0, 1, -1)),
        ("bits in the place of numbers (0 and 1)", "codes", lambda rows: np.where(rows > 0, 1, 0)),
        ("the opposite signs in the place of numbers (1 and -1)", "codes", lambda rows: np.where(rows > 0, -1, 1)),
        ("the opposite bits in the place of numbers (1 and 0)", "codes", lambda rows: np.where(rows > 0, 0, 1)),
        ("absolute values", "codes", np.abs),
    ):
        yield Fault(name, layer, STEPS[layer], finish=as_float32(finish))


def as_float32(finish: Callable[[FloatArray], Any]) -> Finish:
    """What becomes of vectors, as float32."""
    return lambda rows: np.asarray(finish(rows), dtype=np.float32)


def unit(rows: FloatArray) -> FloatArray:
    """Rows of length 1, float32 `[n, dim]`; a zero row stays zero."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, np.float32(1e-12)), dtype=np.float32)
