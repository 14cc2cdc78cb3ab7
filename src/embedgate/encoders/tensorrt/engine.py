"""Builds a graph's engine, or takes it from the cache.

An engine belongs to the graph's bytes, TensorRT's version, the GPU's name, its driver and the buckets: any other of
these is another engine. What the builder has learnt of kernels' speed (its timing cache) is kept apart, and shared by
all engines of one GPU.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedgate.core.errors import BuildError, one_line
from embedgate.core.files import write_whole
from embedgate.encoders import BuildContext
from embedgate.encoders.gpu.stream import Gpu
from embedgate.encoders.onnx.graph import FILE_NAME
from embedgate.encoders.tensorrt.buckets import Bucket
from embedgate.encoders.tensorrt.library import Library

# Part of the cache key: raise it whenever engines are built in another way.
VERSION = 1
PLAN = "engine.plan"
# Memory that a kernel may use while it runs: more only lets the builder try what seldom wins.
WORKSPACE_BYTES = 4 * 2**30
WORKSPACE_SHARE = 0.25
# Seconds between two lines of progress.
EVERY = 5.0
MEBIBYTE = 2**20


@dataclass(frozen=True)
class Engine:
    """A built engine, as kept in the cache.

    Attributes:
        library: The TensorRT that built it.
        plan: The serialised engine.
        graph: The graph it was built from.
        buckets: Its optimisation profiles, in their order.
        record: How it was built: library, GPU, workspace, seconds, and the SHA-256 of graph and plan.
    """

    library: Library
    plan: bytes
    graph: Path
    buckets: tuple[Bucket, ...]
    record: dict[str, Any]


def engine_of(found: Library, graph: Path, known: Sequence[Bucket], gpu: Gpu, context: BuildContext) -> Engine:
    """A graph's engine, built if it is not in the cache yet.

    Args:
        found: TensorRT.
        graph: The graph, in the types it is to compute in.
        known: The shapes it is to take.
        gpu: The GPU it is to run on.
        context: Where it is kept, and whom to tell about progress.

    Raises:
        BuildError: If TensorRT cannot parse or build it, or the engine in the cache is not the one that was built.
    """
    workspace = min(WORKSPACE_BYTES, int(WORKSPACE_SHARE * gpu.memory_bytes))
    key = {
        "graph_sha256": graph_sha256(graph),
        "library": str(found),
        "gpu": gpu.name,
        "capability": list(gpu.capability),
        "driver": gpu.driver,
        "buckets": [bucket.describe() for bucket in known],
        "workspace": workspace,
        "version": VERSION,
    }

    def build(folder: Path) -> dict[str, Any]:
        # TensorRT for RTX chooses kernels when it runs, and has no use for one.
        timing = None if found.for_rtx else context.cache.root / timing_cache_name(found, gpu)
        plan = build_plan(found, graph, known, workspace, timing, context.progress)
        (folder / PLAN).write_bytes(plan)
        return {"plan_sha256": hashlib.sha256(plan).hexdigest(), "plan_bytes": len(plan)}

    folder, artefact = context.get_or_build(f"{found.package}-engine", key, build)
    record = artefact["record"]
    try:
        plan = (folder / PLAN).read_bytes()
    except OSError as error:
        raise BuildError(
            f"the engine in {folder.name} cannot be read: {one_line(error)}", f"delete {folder}"
        ) from error
    if artefact["key"] != key or hashlib.sha256(plan).hexdigest() != record.get("plan_sha256"):
        raise BuildError(
            f"the engine in {folder.name} is not the one that was built for this graph", f"delete {folder}"
        )
    record = {**record, **key, "seconds": artefact["seconds"]}
    return Engine(found, plan, graph, tuple(known), record)


def graph_sha256(graph: Path) -> str:
    """SHA-256 over a graph's bytes, weights beside it included, hex."""
    digest = hashlib.sha256()
    for file in (graph, graph.with_name(f"{FILE_NAME}.data")):
        if file.is_file():
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def timing_cache_name(found: Library, gpu: Gpu) -> str:
    """Name of the file that keeps what one TensorRT has learnt of one GPU."""
    about = "\0".join((str(found), gpu.name, str(gpu.capability), gpu.driver))
    return f"{found.package}-timing-{hashlib.sha256(about.encode()).hexdigest()[:20]}.cache"


def build_plan(
    found: Library,
    graph: Path,
    known: Sequence[Bucket],
    workspace: int,
    timing: Path | None,
    progress: Callable[[str], None],
) -> bytes:
    """Builds and serialises an engine.

    Args:
        found: TensorRT.
        graph: The graph.
        known: Its optimisation profiles.
        workspace: Bytes a kernel may use while it runs.
        timing: File of the timing cache, read and written; None for none.
        progress: Told what the builder is at, every few seconds.

    Raises:
        BuildError: With TensorRT's own words.
    """
    trt = found.module
    log = logger(trt)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    # From the file, since weights of 2 GB and more lie beside it.
    if not parser.parse_from_file(str(graph)):
        raise BuildError(f"{found} cannot parse the graph: {_parser_error(parser) or log.told()}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # or the inspector would tell names alone
    config.clear_flag(trt.BuilderFlag.TF32)  # what is kept in float32 is kept for its precision
    for bucket in known:
        profile = builder.create_optimization_profile()
        for place in range(network.num_inputs):
            shapes = (bucket.least_shape, bucket.likely_shape, bucket.largest_shape)
            profile.set_shape(network.get_input(place).name, *shapes)
        if config.add_optimization_profile(profile) < 0:
            raise BuildError(f"{found} refuses the profile {bucket}: {log.told()}")
    if timing is not None:
        _recall(config, timing)
    monitor = progress_monitor(trt, progress, f"building the engine with {found}")
    config.progress_monitor = monitor
    plan = builder.build_serialized_network(network, config)
    if monitor.interrupted:
        raise KeyboardInterrupt
    if plan is None:
        raise BuildError(f"{found} cannot build the engine: {log.told()}", "see whether memory or workspace ran out")
    if timing is not None and (learnt := config.get_timing_cache()) is not None:
        with suppress(OSError):  # it only makes the next build quicker
            write_whole(timing, bytes(learnt.serialize()), durable=False)
    return bytes(plan)


def logger(trt: Any) -> Any:
    """A logger that keeps what TensorRT complains of, and prints nothing."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(" ".join(message.split()))

        def told(self) -> str:
            """The first complaint, which the others follow from."""
            return self.errors[0] if self.errors else "no reason given"

    return Log()


def progress_monitor(trt: Any, progress: Callable[[str], None], what: str) -> Any:
    """A monitor that tells what the builder is at every few seconds, and stops it at Ctrl-C."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.interrupted = False
            self._steps: dict[str, int] = {}
            self._told = time.monotonic()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            try:
                if time.monotonic() - self._told >= EVERY:
                    self._told = time.monotonic()
                    progress(f"{what}: {phase_name.lower()}, {step + 1} of {self._steps.get(phase_name, step + 1)}")
            except KeyboardInterrupt:  # raised through the library, it would end the process
                self.interrupted = True
            return not self.interrupted

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

    progress(what)
    return Monitor()


def _parser_error(parser: Any) -> str:
    """Tells what the parser complains of first, and the node it is about; empty where it complains of nothing."""
    if not parser.num_errors:
        return ""
    first = parser.get_error(0)
    node = " ".join(filter(None, (first.node_operator(), first.node_name())))
    return " ".join(f"{first.desc()} ({node})".split()) if node else " ".join(first.desc().split())


def _recall(config: Any, timing: Path) -> None:
    """Has the builder begin with what it learnt before; anew where that is another version's or damaged."""
    kept = b""
    with suppress(OSError):
        kept = timing.read_bytes()
    cache = config.create_timing_cache(kept)
    if cache is None or not config.set_timing_cache(cache, False):
        config.set_timing_cache(config.create_timing_cache(b""), False)
