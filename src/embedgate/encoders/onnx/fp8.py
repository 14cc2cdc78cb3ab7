"""The fp8 (E4M3) graph: every product in 8-bit floating point, its scales from the calibration texts.

An 8-bit float keeps its relative precision over four decades, so that a scale from the largest value seen is enough:
nothing is clipped, smoothed or left out, as int8 must (`embedgate.encoders.onnx.calibration`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from embedgate.core.model import Model
from embedgate.encoders import BuildContext
from embedgate.encoders.onnx.calibration import STATISTICS_BATCH, statistics_of, to_calibrate
from embedgate.encoders.onnx.graph import FILE_NAME, read_graph, save_graph
from embedgate.encoders.onnx.qdq import LARGEST_FP8, Treatment, quantized_graph, sites
from embedgate.encoders.onnx.tokenizer import Tokenizer

# Part of the cache key: raise it whenever the method changes.
VERSION = 1
KIND = "onnx-fp8"


def fp8_graph(model: Model, context: BuildContext) -> tuple[Path, dict[str, Any]]:
    """The model's fp8 graph, built if it is not in the cache yet.

    Returns:
        Path of `model.onnx`, and the record of its scales.

    Raises:
        BuildError: If there are too few calibration texts.
    """
    exported, texts, key = to_calibrate(model, context, VERSION)

    def build(folder: Path) -> dict[str, Any]:
        graph = read_graph(exported)
        found = sites(graph)
        context.progress(f"calibrating fp8: largest values of {len(found)} activations on {len(texts)} texts")
        batches = list(Tokenizer(model).batches(texts, STATISTICS_BATCH))
        largest = {
            activation: float(seen.largest.max())
            for activation, seen in statistics_of(graph, found, batches, batches[:1], context.threads).items()
        }
        chosen = {name: Treatment("minmax", value / LARGEST_FP8 or 1.0) for name, value in largest.items()}
        save_graph(quantized_graph(graph, chosen, kind="fp8"), folder / FILE_NAME)
        return {"texts": len(texts), "calibration_sha256": context.calibration_sha256, "largest": largest}

    folder, artefact = context.get_or_build(KIND, key, build)
    return folder / FILE_NAME, artefact["record"]
