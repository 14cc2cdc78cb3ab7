"""Sound encoders that are unusual, beside those of `benchmarks/causes`."""

from __future__ import annotations

from causes.fault import Around, Fault

from eyes import answers


def _sound(name: str, says: str, around: Around) -> Fault:
    return Fault(name, says, kind="sound", around=around)


PLAIN = Fault("plain", "nothing is wrong and nothing unusual", kind="sound", around=lambda encode: encode)
UNUSUAL = (
    PLAIN,
    _sound("fortran", "arrays whose columns lie together", answers.fortran),
    _sound("read-only", "arrays that nobody may write to", answers.read_only),
    _sound("every-other", "a view of every other row of a larger array", answers.every_other),
    _sound("tensors", "tensors in the place of arrays", answers.tensors),
    _sound("doubles", "float64 in the place of float32", answers.doubles),
    _sound("slow", "every call waits", answers.slow),
    _sound("large-batches", "256 texts at a time, whatever is asked for", answers.in_large_batches),
)
KNOWN = (
    "fp16-twice",
    "eager",
    "gelu-tanh",
    "epsilon",
    "sorted",
    "one-at-a-time",
    "in-threads",
    "half-answers",
    "json",
    "padded-8",
    "padded-left",
    "cache",
    "spaces",
)
