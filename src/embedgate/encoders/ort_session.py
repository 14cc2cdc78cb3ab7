"""ONNX Runtime's sessions, made in one way for encoders and calibration alike."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime as ort

from embedgate.machine import this_machine

PROVIDER = "CPUExecutionProvider"
QUIET = 3


def session(graph: Path | onnx.ModelProto, threads: int, optimized: Path | None = None) -> ort.InferenceSession:
    """A session on the CPU provider and no other.

    Args:
        graph: The graph, or where it is.
        threads: Threads of its own pool.
        optimized: Where to write the graph that really runs, weights beside it.
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
    source = str(graph) if isinstance(graph, Path) else graph.SerializeToString()
    return ort.InferenceSession(source, options, providers=[PROVIDER])


def needs_u8u8() -> bool:
    """Whether this CPU's fast int8 kernels saturate.

    x86 without VNNI sums two 8-bit products in 16 bits; ONNX Runtime has exact, slower kernels, used when asked for
    (`session.x64quantprecision`). Unlike weights of 7 bits (`reduce_range`), they leave the graph the same everywhere.
    """
    machine = this_machine()
    return machine.architecture == "x86_64" and not any("vnni" in flag for flag in machine.flags)
