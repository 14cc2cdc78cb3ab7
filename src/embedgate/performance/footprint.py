"""Memory and cold start of one combination, measured in a process that does nothing else."""

from __future__ import annotations

import gc
import hashlib
import re
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import psutil

from embedgate import encoders
from embedgate.core.memory import give_back
from embedgate.encoders import Encoder, InRole
from embedgate.encoders.gpu.device_memory import DeviceMemory
from embedgate.performance.workloads import WORKLOADS, texts_of

if TYPE_CHECKING:
    from embedgate.core.cache import ArtefactCache
    from embedgate.core.combination import Combination
    from embedgate.core.model import Model
    from embedgate.encoders import BuildContext
    from embedgate.encoders.registry import Registry

PEAK_WORKLOAD = WORKLOADS["batch_32_long"]
# One call's peak differs by 30 MB between processes, with when torch's threads free what they took; the highest of
# eight by half of that.
PEAK_CALLS = 8
# A few batches are encoded again and again, the words of each text in another order each time: new texts, of shapes
# that were met before. (For every new shape, oneDNN makes and keeps a kernel of some 0.1 MB, up to a thousand.)
BATCH = 16
BATCHES = 8
SETTLING = 2
SPANS = 3
# The first line of a mapping, and the end of one that is a shared library's.
_MAPPING = re.compile(r"[0-9a-f]+-[0-9a-f]+ ")
_LIBRARY = re.compile(r"\.so(\.[0-9.]+)?( \(deleted\))?$")


@dataclass(frozen=True)
class Footprint:
    """The memory and time that one combination takes, in bytes and seconds.

    Attributes:
        loaded: Resident memory it adds once it is built and has encoded one text, libraries' code apart.
        peak: The most it adds while it is built and encodes `PEAK_WORKLOAD`; where the system cannot forget an earlier
            peak, that of the imports before it counts too.
        growth: Bytes that stay after every batch of `BATCH` new texts, the least over `SPANS` spans.
        device_peak: The most of a GPU's memory that it takes while it is built and encodes `PEAK_WORKLOAD`, see
            `embedgate.encoders.gpu.device_memory`; None on a CPU.
        prepare_seconds: Export and quantization, as it took when the artefacts in the cache were made; None where that
            is not known.
        load_seconds: From the model's folder, and its artefacts where it has any, to a ready encoder.
        first_call_seconds: The first text.
        notes: What may have disturbed a figure, one line each.
    """

    loaded: int
    peak: int
    growth: int
    device_peak: int | None
    prepare_seconds: float | None
    load_seconds: float
    first_call_seconds: float
    notes: tuple[str, ...] = ()


class Workbench(Protocol):
    """The things that a combination is built with."""

    @property
    def registry(self) -> Registry:
        """The combinations there are."""

    @property
    def model(self) -> Model:
        """The model."""

    @property
    def context(self) -> BuildContext:
        """The context that encoders are built with."""

    @property
    def cache(self) -> ArtefactCache:
        """Where artefacts are; it tells how long they took."""


def measure(bench: Workbench, combination: Combination) -> Footprint:
    """Builds a combination and encodes with it; to be called in a fresh process, before anything was built there.

    Raises:
        GateError: If it cannot be built or does not encode.
    """
    registry, model, context = bench.registry, bench.model, bench.context
    encoders.import_library(combination, registry)  # which is no part of what a model takes
    gc.freeze()  # looking at all that was imported takes each collection half a second
    texts, long = texts_of("medium"), PEAK_WORKLOAD.calls
    before, whole = resident(), rss()
    forget_peak()
    device = DeviceMemory() if combination.device == "cuda" else None
    with device or nullcontext():
        started = time.perf_counter()
        encoder = InRole(encoders.build(model, combination, context, registry), model.roles[PEAK_WORKLOAD.role])
        built = time.perf_counter()
        encoder.encode(texts[:1])
        called = time.perf_counter()
        loaded = resident()
        for call in long * PEAK_CALLS:
            encoder.encode(call, batch_size=PEAK_WORKLOAD.batch_size)
        highest = peak() - whole
    growth = growth_per_batch(encoder, texts)
    taken = bench.cache.taken
    prepare = None if any(seconds is None for seconds in taken.values()) else sum(filter(None, taken.values()))
    encoder.close()
    return Footprint(
        loaded=max(0, loaded - before),
        peak=max(0, highest),
        growth=growth,
        device_peak=device.peak if device else None,
        prepare_seconds=prepare,
        load_seconds=built - started,
        first_call_seconds=called - built,
        notes=device.notes if device else (),
    )


def growth_per_batch(encoder: Encoder, texts: Sequence[str], memory: Callable[[], int] | None = None) -> int:
    """Bytes that stay after every batch: the least over a few spans, since an allocator grows in one and not in all.

    It ends with the first span in which nothing stays, once memory has settled: no other could make it less.

    Args:
        encoder: Encodes.
        texts: What batches are made of, `BATCH * BATCHES` of them.
        memory: Tells the resident memory in bytes; this process's where None.
    """
    memory = memory or resident
    found = []
    for span in range(SETTLING + SPANS):
        before = memory()
        for start in range(0, BATCH * BATCHES, BATCH):
            batch = [_reordered(text, span) for text in texts[start : start + BATCH]]
            encoder.encode(batch, batch_size=BATCH)
        found.append((memory() - before) // BATCHES)
        if span >= SETTLING and found[-1] <= 0:
            break
    return max(0, min(found[SETTLING:]))


def _reordered(text: str, places: int) -> str:
    """The same words, those in front moved behind: another text of as many tokens."""
    words = text.split()
    first = places % len(words) if words else 0
    return " ".join((*words[first:], *words[:first]))


def resident() -> int:
    """Resident memory of this process in bytes: its own pages and those of mapped files, libraries' code apart.

    What was freed is given back first. Of a library, the system maps more or fewer pages than are used, by how it holds
    the file: after an installation some 20 MB more of torch's. They are no part of what a model takes. Systems other
    than Linux do not tell them apart.
    """
    gc.collect()
    give_back()  # or what an import or a load has freed would hide megabytes of what is kept afterwards
    if sys.platform == "linux":
        with suppress(OSError):
            return _without_libraries(Path("/proc/self/smaps").read_text("utf-8", errors="replace"))
    return rss()


def rss() -> int:
    """Resident memory of this process in bytes, libraries' code with it, which is what `peak` counts."""
    return int(psutil.Process().memory_info().rss)


def _without_libraries(smaps: str) -> int:
    """Bytes that are resident of all mappings but those of shared libraries, from `/proc/<pid>/smaps` (proc(5))."""
    total, counts = 0, True
    for line in smaps.splitlines():
        if _MAPPING.match(line):
            counts = _LIBRARY.search(line) is None
        elif counts and line.startswith("Rss:"):
            total += int(line.split()[1]) * 1024
    return total


def sha256() -> str:
    """Returns the hash that identifies what is measured, hex."""
    return hashlib.sha256(f"{PEAK_WORKLOAD.sha256} {PEAK_CALLS}".encode()).hexdigest()


def forget_peak() -> None:
    """Has `peak` begin anew, where the system lets it (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", "ascii")


def peak() -> int:
    """The most resident memory this process has had since `forget_peak`, in bytes."""
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    try:
        # Not getrusage's: on Linux that is at least what the process had that started this one.
        found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text("ascii", errors="replace"))
    except OSError:
        found = None
    if found:
        return int(found[1]) * 1024
    import resource

    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(highest if sys.platform == "darwin" else highest * 1024)
