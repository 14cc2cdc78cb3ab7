"""What it takes to keep the process apart from a host project's encoder, for each of its calls.

    python benchmarks/host_code.py

The bundled model encodes a short text through `embedgate.core.host_code`, and without it, in turns. The call alone, of
a function that does nothing, and each thing that is looked after, are timed as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch
from sentence_transformers import SentenceTransformer

from embedgate.core.host_code import HostCode
from embedgate.core.model import DEFAULT_MODEL, resolve
from embedgate.core.surroundings import THINGS

ROUNDS = 400
REPEATS = 2000


def microseconds(call: Callable[[], object], repeats: int = REPEATS) -> float:
    """The least of five means, of this thread's own time."""
    means = []
    for _ in range(5):
        started = time.thread_time()
        for _ in range(repeats):
            call()
        means.append((time.thread_time() - started) / repeats)
    return min(means) * 1e6


def in_turns(one: Callable[[], object], other: Callable[[], object]) -> tuple[list[float], list[float]]:
    """Milliseconds of this thread's own time of each, one after the other, again and again."""
    found: tuple[list[float], list[float]] = [], []
    for number in range(ROUNDS):
        for which in (0, 1) if number % 2 else (1, 0):
            started = time.thread_time()
            (one, other)[which]()
            found[which].append((time.thread_time() - started) * 1e3)
    return found


def main() -> None:
    """Prints the figures."""
    torch.set_num_threads(1)
    code = HostCode("acme-int8-cpu")
    print(f"a call that does nothing: {microseconds(lambda: code.call('encoding', int)):.1f} microseconds")
    for thing in sorted(THINGS, key=lambda each: -microseconds(each.read)):
        print(f"  {thing.name:40} {microseconds(thing.read):6.2f}")
    model = SentenceTransformer(str(resolve(DEFAULT_MODEL).path), device="cpu", local_files_only=True)

    def encode() -> object:
        return model.encode(["A short text."], show_progress_bar=False)

    def apart() -> object:
        return code.call("encoding", encode)

    _show("a short text", *in_turns(encode, apart))
    with code.together("encoding"):
        _show("as it is timed", *in_turns(encode, apart))


def _show(what: str, without: list[float], looked_after: list[float]) -> None:
    ratio = median(b / a for a, b in zip(without, looked_after, strict=True))
    print(f"{what}: {median(without):.3f} ms without, {median(looked_after):.3f} ms with, ratio {ratio:.4f}")


if __name__ == "__main__":
    main()
