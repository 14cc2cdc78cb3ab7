"""Variations: what surrounds a text is changed, and nothing that should matter.

A variation encodes texts twice and yields each text's two embeddings. How far they may lie apart is what the encoder
declares (`embedgate.encoders.Stability`), so no variation knows a backend.

To add a variation, write a function from a subject and texts to pairs, and describe it in `VARIATIONS`.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import cycle, islice

import numpy as np
from hypothesis.strategies import SearchStrategy

from embedgate.core.judgement import BY_BATCH, LENGTH, REPETITION
from embedgate.diagnosis.layers import relative_distance
from embedgate.encoders import CALLERS, Encoder, FloatArray
from embedgate.properties.batches import (
    BATCH,
    CROWD,
    EQUAL,
    LARGE,
    NEARLY_ALIKE,
    Texts,
    alike,
    as_long,
    crowd,
    equal,
    longest,
    many,
    number,
    one,
    several,
    two,
)

# The variation that keeps what a call gave.
KEPT = "kept"
# Seconds that callers get beyond twenty times what they take one after the other, before they count as blocked.
PATIENCE = 30.0


@dataclass(frozen=True)
class Pair:
    """One text's embeddings in two surroundings.

    Attributes:
        text: The text.
        before: Its embedding in the first surroundings, float32 `[dim]`.
        after: Its embedding in the others, float32 `[dim]`.
        batch: The texts that were encoded with it or beside it, itself included.
    """

    text: str
    before: FloatArray
    after: FloatArray
    batch: Sequence[str]

    @property
    def move(self) -> float:
        """The distance between the two, divided by the length of the first; NaN where one is not finite."""
        return relative_distance(self.before, self.after)


class Subject:
    """An encoder under test, and a second one of the same combination.

    Args:
        encoder: The encoder.
        second: Builds the second one, with another number of threads; called when it is first needed.
        beyond_limit: A text that the model's limit of length cuts; None where it has no limit.

    Attributes:
        trials: How often each of the callers that call at once asks for its texts.
    """

    trials = 1

    def __init__(self, encoder: Encoder, second: Callable[[], Encoder], beyond_limit: str | None) -> None:
        self.encoder = encoder
        self.beyond_limit = beyond_limit
        self._build_second = second
        self._alone: dict[str, FloatArray] = {}

    @cached_property
    def second(self) -> Encoder:
        """The second encoder."""
        return self._build_second()

    def encode(self, texts: Sequence[str], batch_size: int = BATCH) -> FloatArray:
        """Embeddings by the encoder, float32 `[n, dim]`: copies, since some give the same buffer each time."""
        return np.array(self.uncopied(texts, batch_size))

    def uncopied(self, texts: Sequence[str], batch_size: int = BATCH) -> FloatArray:
        """Embeddings by the encoder, float32 `[n, dim]`, in the very array that it gives."""
        return self.encoder.encode(list(texts), batch_size=batch_size)

    def alone(self, text: str) -> FloatArray:
        """The embedding of a text in a batch of its own, computed once, float32 `[dim]`."""
        if text not in self._alone:
            self._alone[text] = self.encode([text])[0]
        return self._alone[text]

    def close(self) -> None:
        """Releases the second encoder."""
        if "second" in self.__dict__:
            self.second.close()


@dataclass(frozen=True)
class Variation:
    """One way to encode the same texts in other surroundings.

    Attributes:
        vary: Encodes texts in both surroundings.
        examples: What the texts are drawn from.
        always: Texts that are tried in any case.
        where: What the other surroundings are, to be read after "moves by 0.1".
        shows: What is observed where it moves too far, in one line: no guess at why.
        exact: Whether the very same batch is encoded again, so that the tighter of the two bounds holds.
        explained_by: As in `embedgate.properties.Violation`, of a text that moves.
        most: The most examples to try in a round.
        shrinks: Whether a smaller example is looked for than one of `always`: of an encoder that remembers, each one
            that is tried changes what the next one shows.
    """

    vary: Callable[[Subject, Texts], Iterator[Pair]]
    examples: Callable[[], SearchStrategy[Texts]]
    where: str
    shows: str
    exact: bool = False
    explained_by: tuple[str, ...] = (BY_BATCH,)
    most: int = 1_000
    always: Callable[[], Sequence[Texts]] = tuple
    shrinks: bool = True

    @property
    def tolerance(self) -> str:
        """The key of tolerances.toml that says how far a text may move."""
        return "stability.repetition" if self.exact else "stability.batch"


def _repetition(subject: Subject, texts: Texts) -> Iterator[Pair]:
    yield from _pairs(texts, subject.encode(texts), subject.encode(texts))


def _batch_size(subject: Subject, texts: Texts) -> Iterator[Pair]:
    alone = np.stack([subject.alone(text) for text in texts])
    yield from _pairs(texts, alone, subject.encode(texts, batch_size=len(texts)))
    # Two batches in one call, of which the second is not full.
    yield from _pairs(texts, alone, subject.encode(texts, batch_size=1 + 2 * len(texts) // 3))


def _large_batch(subject: Subject, texts: Texts) -> Iterator[Pair]:
    # In calls of their own: what is wrong may be the call, whatever the batch size.
    parts = [texts[start : start + BATCH] for start in range(0, len(texts), BATCH)]
    before = np.concatenate([subject.encode(part) for part in parts])
    yield from _pairs(texts, before, subject.encode(texts, batch_size=len(texts)))


def _unpadded(subject: Subject, texts: Texts) -> Iterator[Pair]:
    together = subject.encode(texts)
    batch = (*texts, longest())
    yield from _pairs(texts, subject.encode(batch)[:-1], together)
    yield Pair(texts[0], subject.alone(texts[0]), together[0], texts)


def _kept(subject: Subject, texts: Texts) -> Iterator[Pair]:
    kept = subject.uncopied(texts)
    before = np.array(kept)
    # As many, so that no row of a buffer is left as it was.
    subject.uncopied([*islice(cycle(text for text in many() if text not in texts), len(texts))])
    yield from _pairs(texts, before, kept)


_NEW = itertools.count()


def _alone_again(subject: Subject, texts: Texts) -> Iterator[Pair]:
    # A text that nobody has asked for before: once seen, an encoder that changes at the second time changes no more.
    text = f"{texts[0]} {next(_NEW)}"
    yield Pair(text, subject.encode([text])[0], subject.encode([text])[0], (text,))


def _position(subject: Subject, texts: Texts) -> Iterator[Pair]:
    # A filler of as many tokens, since most encoders sort a batch by length.
    filler = [" ".join(reversed(texts[0].split()))] * (BATCH // 4)
    last = [*filler, texts[0]]
    yield Pair(texts[0], subject.encode([texts[0], *filler])[0], subject.encode(last)[-1], last)


def _order(subject: Subject, texts: Texts) -> Iterator[Pair]:
    cut = 1 + len(texts) // 3  # no text keeps its place, not even of two
    turned = (*texts[cut:], *texts[:cut])
    found = dict(zip(turned, subject.encode(turned), strict=True))
    for text, before in zip(texts, subject.encode(texts), strict=True):
        yield Pair(text, before, found[text], turned)


def _neighbours(subject: Subject, texts: Texts) -> Iterator[Pair]:
    text, one, other = (texts * 3)[:3]  # a pinned example may have fewer
    yield Pair(text, subject.encode([text, one])[0], subject.encode([text, other])[0], (text, other))


def _padding(subject: Subject, texts: Texts) -> Iterator[Pair]:
    batch = (*texts, longest())
    yield Pair(texts[0], subject.alone(texts[0]), subject.encode(batch)[0], batch)


def _self_similarity(subject: Subject, texts: Texts) -> Iterator[Pair]:
    batch = (texts[0], texts[0])
    first, second = subject.encode(batch)
    yield Pair(texts[0], first, second, batch)


def _symmetry(subject: Subject, texts: Texts) -> Iterator[Pair]:
    yield from _pairs(texts, subject.encode(texts), subject.encode(texts[::-1])[::-1])


def _history(subject: Subject, texts: Texts) -> Iterator[Pair]:
    # One by one and in opposite orders: an encoder that remembers answers one of them by what came before.
    before = [np.array(subject.second.encode([text])[0]) for text in texts]
    after = [subject.encode([text])[0] for text in texts[::-1]][::-1]
    yield from _pairs(texts, before, after)


def _threads(subject: Subject, texts: Texts) -> Iterator[Pair]:
    yield from _pairs(texts, subject.encode(texts), np.array(subject.second.encode(list(texts), batch_size=BATCH)))


def _truncation(subject: Subject, texts: Texts) -> Iterator[Pair]:
    if subject.beyond_limit is not None:
        longer = f"{subject.beyond_limit} {texts[0]}"
        yield Pair(longer, subject.encode([subject.beyond_limit])[0], subject.encode([longer])[0], (longer,))


def _concurrency(subject: Subject, texts: Texts) -> Iterator[Pair]:
    count = subject.encoder.callers
    parts = [part for start in range(count) if (part := texts[start::count])]

    def ask(number: int) -> FloatArray:
        # Every second caller asks for one text at a time, as most users do: an encoder may put these together itself.
        part = parts[number]
        return np.concatenate([subject.encode([text]) for text in part]) if number % 2 else subject.encode(part)

    started = time.monotonic()
    expected = [ask(number) for number in range(len(parts))]
    serial = time.monotonic() - started
    found: list[list[FloatArray]] = [[] for _ in parts]
    failures: list[Exception] = []
    together = threading.Barrier(len(parts))

    def call(number: int) -> None:
        try:
            together.wait()
            found[number] = [ask(number) for _ in range(subject.trials)]
        except Exception as error:
            failures.append(error)

    # Daemons, so that callers that block each other for good do not keep the process from ending.
    callers = [threading.Thread(target=call, args=(number,), daemon=True) for number in range(len(parts))]
    for caller in callers:
        caller.start()
    until = time.monotonic() + PATIENCE + 20 * subject.trials * serial
    for caller in callers:
        caller.join(max(0.0, until - time.monotonic()))
    if failures:
        raise failures[0]
    if any(caller.is_alive() for caller in callers):
        raise TimeoutError("calls have not come back: they seem to wait for each other")
    for part, before, answers in zip(parts, expected, found, strict=True):
        for after in answers:
            yield from _pairs(part, before, after, batch=texts)


def _pairs(
    texts: Texts, before: Iterable[FloatArray], after: Iterable[FloatArray], batch: Texts = ()
) -> Iterator[Pair]:
    for text, first, second in zip(texts, before, after, strict=True):
        yield Pair(text, first, second, batch or texts)


# Those that ask a second encoder.
BUILT_ANEW = ("history", "threads")
VARIATIONS: Mapping[str, Variation] = {
    REPETITION: Variation(
        _repetition,
        two,
        "when the same batch is encoded again",
        "the same batch gives other vectors when it is encoded again",
        exact=True,
        explained_by=(REPETITION,),
    ),
    "batch_size": Variation(
        _batch_size,
        several,
        "in a batch of many, compared with alone",
        "it moves with the other texts of its batch, or with how many they are",
        most=1,
        always=lambda: (crowd(), as_long(), many()[: CROWD + 1]),
    ),
    "large_batch": Variation(
        _large_batch,
        number,
        f"in a batch of up to {max(LARGE)} texts, compared with calls of {BATCH}",
        "it moves with how many texts are asked for at once",
        most=1,
        always=lambda: tuple(many()[:count] for count in LARGE),
        shrinks=False,
    ),
    "unpadded": Variation(
        _unpadded,
        equal,
        "in a batch of texts as long as it, compared with padding or alone",
        "it moves with padding: in a batch that has none, it is another",
        most=1,
        # The same text is as long as itself, whatever the tokenizer.
        always=lambda: (as_long()[:EQUAL], (as_long()[0],) * EQUAL),
    ),
    KEPT: Variation(
        _kept,
        two,
        "in the array that an earlier call gave, once other texts have been encoded",
        "a call writes into the array that an earlier one gave",
        exact=True,
        explained_by=(),
        most=1,
        always=lambda: (crowd()[:1], crowd()[:BATCH]),
        shrinks=False,
    ),
    "alone_again": Variation(
        _alone_again,
        one,
        "when it is asked for alone once more",
        "a text that is asked for alone has another vector the second time",
        exact=True,
        explained_by=(REPETITION,),
        most=2,
    ),
    "position": Variation(_position, one, "in last place, compared with first", "it moves with its place in the batch"),
    "order": Variation(
        _order,
        several,
        "when the same texts come in another order",
        "it moves with the order of the texts in its batch",
        most=1,
        always=lambda: (crowd(),),
    ),
    "neighbours": Variation(_neighbours, alike, "beside another text", "it moves with the text beside it"),
    "padding": Variation(
        _padding, one, "beside a longer text", "it moves with the length of its neighbours, that is with padding"
    ),
    "self_similarity": Variation(
        _self_similarity,
        one,
        "when it stands in the same batch twice",
        "one text has two vectors in one batch, that is by its place",
    ),
    "symmetry": Variation(
        _symmetry, two, "when a pair is encoded the other way round", "it moves when the two texts change places"
    ),
    "history": Variation(
        _history,
        alike,
        "when other texts were encoded before",
        "it moves with what was encoded before it, by another build of the encoder",
        always=lambda: (NEARLY_ALIKE,),
        shrinks=False,
        explained_by=(),
    ),
    "threads": Variation(
        _threads,
        two,
        "when another build of it encodes with another number of threads",
        "another build of the encoder, with another number of threads, gives another vector",
        explained_by=(),
    ),
    "truncation": Variation(
        _truncation,
        one,
        "by text beyond the limit of length",
        "it moves with text beyond the model's limit of length",
        exact=True,
        explained_by=(LENGTH,),
        most=2,
    ),
    "concurrency": Variation(
        _concurrency,
        several,
        "while other threads call the encoder",
        "it moves while other threads call the encoder",
        most=1,
        always=lambda: (crowd()[:CALLERS], crowd(), as_long()),  # callers that block each other are soon found out
        explained_by=(),
    ),
}
