"""ONNX Runtime's sessions, made in one way for encoders and calibration alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime as ort

from embedgate.core.machine import this_machine
from embedgate.encoders.onnx.graph import Graph

# What a graph that derives from an exported one depends on; ONNX Runtime comes as either of two distributions.
LIBRARIES = ("onnx", "onnxruntime", "onnxruntime-gpu")
PROVIDER = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
PROVIDERS = {"cpu": PROVIDER, "cuda": CUDA}
# What stays in float32 beside float16 stays so for its precision.
CUDA_OPTIONS = {"use_tf32": "0"}
QUIET = 3


def session(
    graph: Path | Graph,
    threads: int,
    optimized: Path | None = None,
    device: str = "cpu",
    profile: Path | None = None,
) -> ort.InferenceSession:
    """A session on a device's provider; ONNX Runtime falls back to the CPU's by itself, which its providers then tell.

    Args:
        graph: Where the graph is; or one in memory, most of whose weights lie in its folder.
        threads: Threads of its own pool.
        optimized: Where to write the graph that really runs, weights beside it.
        device: `cpu` or `cuda`.
        profile: Prefix of the file that every node's run is written to.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = QUIET
    if needs_u8u8():
        options.add_session_config_entry("session.x64quantprecision", "1")
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
        name = f"{optimized.name}.data"
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", name)
        options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    if isinstance(graph, Graph):
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(graph.folder))
    source = graph.proto.SerializeToString() if isinstance(graph, Graph) else str(graph)
    providers: list[Any] = [PROVIDER]
    if device == "cuda":
        ort.preload_dlls()  # CUDA's libraries as torch has brought them
        providers = [(CUDA, CUDA_OPTIONS)]
    return ort.InferenceSession(source, options, providers=providers)


def needs_u8u8() -> bool:
    """Whether this CPU's fast int8 kernels saturate.

    x86 without VNNI sums two 8-bit products in 16 bits; ONNX Runtime has exact, slower kernels, used when asked for
    (`session.x64quantprecision`). Unlike weights of 7 bits (`reduce_range`), they leave the graph the same everywhere.
    """
    machine = this_machine()
    return machine.architecture == "x86_64" and not any("vnni" in flag for flag in machine.flags)
