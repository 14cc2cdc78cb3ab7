"""What faults do to embeddings, and to which text gets which."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any
from zlib import crc32

import numpy as np
from causes.fault import Around, Encode, Rows

TOUCHED_ONE_IN = 50
RARE_NOISE = 0.5
SERVER_BATCH = 64
FORGETS_AFTER = 1_000


def by_text(change: Callable[[Rows, str], Rows]) -> Around:
    """Every embedding is changed by what its text is."""

    def around(encode: Encode) -> Encode:
        def encoded(given: list[str], size: int) -> Rows:
            found = encode(given, size)
            return np.stack([change(row, text) for row, text in zip(found, given, strict=True)])

        return encoded

    return around


def _seed(text: str) -> int:
    return crc32(text.encode("utf-8", "surrogatepass"))


def _noisy(row: Rows, amount: float, seed: int) -> Rows:
    noise = np.random.default_rng(seed).normal(size=row.shape)
    noisy = row + amount * np.linalg.norm(row) * noise / np.linalg.norm(noise)
    return (noisy * np.linalg.norm(row) / np.linalg.norm(noisy)).astype(np.float32)


def noise(amount: float) -> Around:
    """Every embedding is off in a direction of its text's own, by a share of its length."""
    return by_text(lambda row, text: _noisy(row, amount, _seed(text)))


def rare_noise(row: Rows, text: str) -> Rows:
    """One embedding of fifty is far off."""
    seed = _seed(text)
    return _noisy(row, RARE_NOISE, seed) if seed % TOUCHED_ONE_IN == 0 else row


def unrepeatable(amount: float) -> Around:
    """Every call is off in other directions."""

    def around(encode: Encode) -> Encode:
        calls = iter(range(2**31))

        def encoded(given: list[str], size: int) -> Rows:
            call = next(calls)
            return np.stack([_noisy(row, amount, call) for row in encode(given, size)])

        return encoded

    return around


def second_time(encode: Encode) -> Encode:
    """A text that was asked for before gets another embedding."""
    asked: Counter[str] = Counter()

    def encoded(given: list[str], size: int) -> Rows:
        before = [asked[text] for text in given]
        asked.update(given)
        rows = zip(encode(given, size), given, before, strict=True)
        return np.stack([_noisy(row, 0.2, _seed(text)) if times else row for row, text, times in rows])

    return encoded


def too_long(words: int) -> Around:
    """Texts of many words overflow, and no number comes out."""
    return by_text(lambda row, text: row * np.nan if len(text.split()) > words else row)


def nothing_for_blank(row: Rows, text: str) -> Rows:
    """A text without a letter overflows."""
    return row if text.strip() else row * np.nan


def turned(numbers: list[int], order: list[int]) -> Callable[[Rows], Rows]:
    """Some dimensions change places."""

    def change(found: Rows) -> Rows:
        made = found.copy()
        made[:, numbers] = found[:, order]
        return made

    return change


def some_zero(share: float) -> Callable[[Rows], Rows]:
    """A share of the dimensions are zeros."""

    def change(found: Rows) -> Rows:
        gone = np.random.default_rng(0).permutation(found.shape[1])[: round(share * found.shape[1])]
        made = found.copy()
        made[:, gone] = 0
        return made

    return change


def other_signs(count: int) -> Callable[[Rows], Rows]:
    """The first dimensions have the other sign."""
    return lambda found: np.where(np.arange(found.shape[1]) < count, -found, found)


def clipped(limit: float) -> Callable[[Rows], Rows]:
    """int8 codes whose range is too narrow."""
    return lambda found: np.round(np.clip(found, -limit, limit) / limit * 127) * limit / 127


def rounded(decimals: int) -> Callable[[Rows], Rows]:
    """Few decimals are left."""
    return lambda found: found.round(decimals)


def pulled(share: float) -> Callable[[Rows], Rows]:
    """All embeddings are pulled in one direction."""

    def change(found: Rows) -> Rows:
        one = np.random.default_rng(0).normal(size=found.shape[1])
        return found + share * one / np.linalg.norm(one)

    return change


# Which embedding belongs to which text, of one batch.


def beyond_zero(found: Rows, _: list[str]) -> Rows:
    """A server that takes 64 texts gives zeros for those beyond."""
    return np.where(np.arange(len(found))[:, None] < SERVER_BATCH, found, 0)


def duplicates_astray(found: Rows, given: list[str]) -> Rows:
    """A text that stands in a batch again gets the embedding of the first one's neighbour."""
    first = {text: place for place, text in reversed(list(enumerate(given)))}
    places = [place if first[text] == place else (first[text] + 1) % len(given) for place, text in enumerate(given)]
    return found[places]


def last_for_equals(found: Rows, given: list[str]) -> Rows:
    """Texts of as many characters have the embedding of the last of them, as where lengths are keys."""
    last = {len(text): place for place, text in enumerate(given)}
    return found[[last[len(text)] for text in given]]


def partial_batch_lost(encode: Encode) -> Encode:
    """Of several batches, the last one comes back as zeros where it is not full."""

    def encoded(given: list[str], size: int) -> Rows:
        found, full = encode(given, size), len(given) // size * size
        return np.where(np.arange(len(given))[:, None] < full, found, 0) if full else found

    return encoded


def forgetful(encode: Encode) -> Encode:
    """A process gives zeros after so many texts."""
    seen = 0

    def encoded(given: list[str], size: int) -> Rows:
        nonlocal seen
        found = np.where(np.arange(len(given))[:, None] + seen < FORGETS_AFTER, encode(given, size), 0)
        seen += len(given)
        return found

    return encoded


def one_buffer(encode: Encode) -> Encode:
    """Every call answers with a view of the same memory."""
    memory: dict[int, Any] = {}

    def encoded(given: list[str], size: int) -> Rows:
        found = encode(given, size)
        room = memory.get(found.shape[1])
        if room is None or len(room) < len(found):
            room = memory[found.shape[1]] = np.empty((max(4_096, len(found)), found.shape[1]), np.float32)
        room[: len(found)] = found
        return room[: len(found)]

    return encoded


def shared_slot(encode: Encode) -> Encode:
    """Calls that come together leave their answers in one place."""
    slot: list[Rows] = []

    def encoded(given: list[str], size: int) -> Rows:
        found = encode(given, size)
        slot[:] = [found]
        time.sleep(0.002)
        return slot[0] if len(slot[0]) == len(found) else found

    return encoded


def parts_averaged(words: int) -> Around:
    """Long texts are cut into parts, whose embeddings are averaged."""

    def around(encode: Encode) -> Encode:
        def one(text: str, size: int) -> Rows:
            split = text.split()
            parts = [" ".join(split[start : start + words]) for start in range(0, len(split), words)]
            mean = encode(parts, size).mean(axis=0)
            return mean / np.linalg.norm(mean)

        def encoded(given: list[str], size: int) -> Rows:
            found = encode(given, size).copy()
            for place, text in enumerate(given):
                if len(text.split()) > words:
                    found[place] = one(text, size)
            return found

        return encoded

    return around


# Sound and unusual.


def fortran(encode: Encode) -> Encode:
    """Arrays whose columns lie together."""
    return lambda given, size: np.asfortranarray(encode(given, size))


def read_only(encode: Encode) -> Encode:
    """Arrays that nobody may write to."""

    def encoded(given: list[str], size: int) -> Rows:
        found = encode(given, size).copy()
        found.flags.writeable = False
        return found

    return encoded


def every_other(encode: Encode) -> Encode:
    """Arrays that are a view of every other row of a larger one."""
    return lambda given, size: np.repeat(encode(given, size), 2, axis=0)[::2]


def tensors(encode: Encode) -> Encode:
    """Tensors in the place of arrays."""
    import torch

    return lambda given, size: torch.tensor(np.array(encode(given, size)))  # type: ignore[return-value]


def doubles(encode: Encode) -> Encode:
    """float64 in the place of float32."""
    return lambda given, size: encode(given, size).astype(np.float64)  # type: ignore[return-value]


def slow(encode: Encode) -> Encode:
    """Every call waits."""

    def encoded(given: list[str], size: int) -> Rows:
        time.sleep(0.005)
        return encode(given, size)

    return encoded


def in_large_batches(encode: Encode) -> Encode:
    """Texts come 256 at a time, whatever is asked for."""
    return lambda given, _: encode(given, 256)
