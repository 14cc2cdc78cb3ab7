"""Calibration of the static int8 graph: measured, chosen from the measurement, and recorded with the artefact.

For each site (an activation and the products that read it):

1. statistics of the activation on the calibration texts, padding left out;
2. candidate treatments, their clipping and smoothing chosen by the error they leave in the site's own products:
   `minmax`; `clip` (the clipping of least squared error); `smooth` (SmoothQuant, Xiao et al. 2023,
   https://arxiv.org/abs/2211.10438: channel j is divided by `max|X_j|^alpha / max|W_j|^(1 - alpha)` and the weights are
   multiplied by it, with the best alpha and clipping);
3. sensitivity: that site alone is quantized, and the finished embeddings of held-out texts are compared with fp32's.

The treatment of least error is chosen, the simpler one where the difference is slight. Then the whole graph is
measured on held-out texts, and the most sensitive sites go back to float until its error is within the target. What is
chosen and why is in the artefact's record. See `docs/calibration.md`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper
from onnxruntime import InferenceSession

from embedgate.core.errors import BuildError
from embedgate.core.machine import library_versions
from embedgate.core.model import Model
from embedgate.core.scratch import temporary_folder
from embedgate.encoders import BuildContext, FloatArray
from embedgate.encoders.onnx.export import exported_graph
from embedgate.encoders.onnx.graph import FILE_NAME, Graph, read_graph, save_graph
from embedgate.encoders.onnx.qdq import (
    LEVELS,
    Site,
    Treatment,
    quantize_weights,
    quantized_graph,
    sites,
    weights_of,
)
from embedgate.encoders.onnx.sensitivity import EMBEDDING, errors_to, sensitivities
from embedgate.encoders.onnx.session import LIBRARIES, session
from embedgate.encoders.onnx.tokenizer import Batch, Tokenizer

# Part of the cache key: raise it whenever the method changes.
CALIBRATION_VERSION = 3
KIND = "onnx-int8static"

MIN_TEXTS = 64
# Every fourth text is held out of the statistics, and judges them.
HELD_OUT_STRIDE = 4
SENSITIVITY_TEXTS = 64
STATISTICS_BATCH = 8
MEASURING_BATCH = 32
# Rows (tokens) of each activation kept to try treatments on.
SAMPLED_ROWS = 512

ALPHAS = (0.5, 0.7, 0.85, 1.0)
CLIPS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
# From the simplest, which costs nothing at run time, to the one that multiplies the activation.
SIMPLEST_FIRST = ("minmax", "clip", "smooth")
# A simpler treatment is chosen where its error is at most this much larger: no choice by a hair.
SIMPLER_WITHIN = 1.25
# Largest mean of 1 - cosine to fp32 of the finished embeddings; docs/calibration.md says where it comes from.
MAX_JOINT_ERROR = 0.006


@dataclass(frozen=True)
class Statistics:
    """The statistics of one activation over the calibration texts.

    Attributes:
        largest: Largest absolute value of each channel, float32 `[in]`.
        rows: Sampled values, float32 `[rows, in]`, of the texts held out.
    """

    largest: FloatArray
    rows: FloatArray


@dataclass(frozen=True)
class Trial:
    """A treatment of a site, and what it costs.

    Attributes:
        treatment: The treatment.
        product_error: Squared error of the site's products over their squared size, on held-out rows.
        sensitivity: Mean of 1 - cosine of held-out texts' embeddings to fp32's with this site alone quantized.
    """

    treatment: Treatment
    product_error: float
    sensitivity: float = float("nan")


def calibrated_graph(model: Model, context: BuildContext) -> tuple[Path, dict[str, Any]]:
    """The model's calibrated int8 graph, built if it is not in the cache yet.

    Returns:
        Path of `model.onnx`, and the record of its calibration.

    Raises:
        BuildError: If there are fewer than `MIN_TEXTS` calibration texts, or no product can be int8 within the target.
    """
    exported, texts, key = to_calibrate(model, context, CALIBRATION_VERSION)

    def build(folder: Path) -> dict[str, Any]:
        chosen, record = calibrate(exported, Tokenizer(model), texts, context)
        save_graph(quantized_graph(read_graph(exported), chosen), folder / FILE_NAME)
        return {"calibration_sha256": context.calibration_sha256, **record}

    folder, artefact = context.get_or_build(KIND, key, build)
    return folder / FILE_NAME, artefact["record"]


def to_calibrate(model: Model, context: BuildContext, version: int) -> tuple[Path, list[str], dict[str, Any]]:
    """Returns what calibration begins with: the exported graph, the texts, and the cache key of what comes of them.

    Args:
        model: The model.
        context: Its texts, and where the graph is kept.
        version: Of the method.

    Raises:
        BuildError: If there are fewer than `MIN_TEXTS` texts.
    """
    texts = list(context.calibration_texts)
    if len(texts) < MIN_TEXTS:
        raise BuildError(f"{len(texts)} calibration texts are too few", f"give at least {MIN_TEXTS}")
    exported = exported_graph(model, context)
    key = {
        "exported": exported.parent.name,
        "libraries": library_versions(("numpy", *LIBRARIES)),
        "texts": context.texts_sha256,
        "version": version,
    }
    return exported, texts, key


def minmax_int8_graph(fp32_path: Path, out_path: Path, calibration_feeds: Sequence[Batch]) -> None:
    """Writes what plain calibration gives: every product in int8, one scale for each tensor, from the largest value.

    It is what a calibrated graph is compared with, and a fault that the suite must catch.

    Args:
        fp32_path: The exported graph.
        out_path: Where the int8 graph goes.
        calibration_feeds: Batches of calibration texts.
    """
    graph = read_graph(fp32_path)
    seen = statistics_of(graph, sites(graph), calibration_feeds, calibration_feeds, threads=1)
    plain = {activation: _minmax(statistics.largest) for activation, statistics in seen.items()}
    save_graph(quantized_graph(graph, plain, per_channel=False), out_path)


def calibrate(
    exported: Path, tokenizer: Tokenizer, texts: Sequence[str], context: BuildContext
) -> tuple[dict[str, Treatment], dict[str, Any]]:
    """Chooses a treatment for each site of an exported graph; a site that has none stays in float.

    Args:
        exported: The fp32 graph.
        tokenizer: The model's.
        texts: Calibration texts.
        context: Threads, and whom to tell about progress.

    Returns:
        Treatments by activation, and the record: every site's trials and the choice, and the joint errors measured.
    """
    graph = read_graph(exported)
    found = sites(graph)
    if not found:
        raise BuildError("the graph has no product with weights that could be int8")
    held_out = list(texts[::HELD_OUT_STRIDE])
    fitted = [text for position, text in enumerate(texts) if position % HELD_OUT_STRIDE]
    judging = list(tokenizer.batches(held_out, MEASURING_BATCH))
    context.progress(f"calibrating int8: statistics of {len(found)} activations on {len(texts)} texts")
    seen = statistics_of(
        graph,
        found,
        list(tokenizer.batches(fitted, STATISTICS_BATCH)),
        list(tokenizer.batches(held_out, STATISTICS_BATCH)),
        context.threads,
    )
    # The longest texts come first, and cost most: the joint measurement has them, the many single ones do without.
    short = list(tokenizer.batches(sorted(held_out, key=len)[:SENSITIVITY_TEXTS], MEASURING_BATCH))
    context.progress(f"calibrating int8: treatments of {len(found)} sites")
    tried = {site.activation: _candidates(graph, site, seen[site.activation]) for site in found}
    treatments = {activation: [trial.treatment for trial in trials] for activation, trials in tried.items()}
    measured = sensitivities(graph, found, treatments, short, context.threads, context.progress)
    trials = {
        activation: [replace(trial, sensitivity=value) for trial, value in zip(each, measured[activation], strict=True)]
        for activation, each in tried.items()
    }
    picked = {activation: _pick(each) for activation, each in trials.items()}
    context.progress("calibrating int8: error of the whole graph")
    chosen, joint = _within_target(graph, picked, judging, context.threads)
    return chosen, _record(found, trials, picked, chosen, joint, len(texts))


def statistics_of(
    graph: Graph, found: Sequence[Site], fitted: Sequence[Batch], held_out: Sequence[Batch], threads: int
) -> dict[str, Statistics]:
    """Statistics of each site's activation, by its name: the largest values on `fitted`, sampled rows of `held_out`."""
    names = [site.activation for site in found]
    watched = graph.copy()
    del watched.proto.graph.output[:]
    watched.proto.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    runner = session(watched, threads)
    largest: dict[str, FloatArray] = {}
    for batch in fitted:
        for name, values in zip(names, runner.run(names, batch.feeds), strict=True):
            here = np.abs(_rows(values, batch)).max(axis=0)
            largest[name] = np.maximum(largest.get(name, here), here)
    generator = np.random.default_rng(0)
    tokens = sum(int(batch.attention_mask.sum()) for batch in held_out)
    pooled = sum(len(batch.rows) for batch in held_out)
    sampled: dict[str, list[FloatArray]] = {name: [] for name in names}
    for batch in held_out:
        for name, values in zip(names, runner.run(names, batch.feeds), strict=True):
            rows = _rows(values, batch)
            # What comes after pooling has a row for each text.
            share = min(1.0, SAMPLED_ROWS / (tokens if len(rows) == batch.attention_mask.sum() else pooled))
            sampled[name].append(rows[generator.random(len(rows)) < share])
    return {name: Statistics(largest[name], np.concatenate(sampled[name])) for name in names}


def _rows(values: FloatArray, batch: Batch) -> FloatArray:
    """Values of real tokens, `[tokens, in]`; an activation that is not per token (after pooling) has no padding."""
    if values.shape[:2] == batch.attention_mask.shape and values.ndim == 3:
        real: FloatArray = values[batch.attention_mask.astype(bool)]
        return real
    return values.reshape(-1, values.shape[-1])


def _minmax(largest: FloatArray) -> Treatment:
    return Treatment("minmax", _scale(float(largest.max())))


def _scale(largest: float) -> float:
    return largest / LEVELS if largest > 0 else 1.0


def _candidates(graph: Graph, site: Site, seen: Statistics) -> list[Trial]:
    """The best of each kind of treatment, by the error it leaves in the site's products on held-out rows."""
    original = np.concatenate([weights_of(graph, product) for product in site.products], axis=1)
    exact = seen.rows @ original
    size = float(np.square(exact).sum()) or 1.0

    def product_error(treatment: Treatment, weights: FloatArray) -> float:
        rows = seen.rows if treatment.smoothing is None else seen.rows / treatment.smoothing
        rounded = np.clip(np.rint(rows / treatment.scale), -LEVELS, LEVELS) * treatment.scale
        return float(np.square(rounded @ weights - exact).sum()) / size

    def tried(name: str, largest: FloatArray, alpha: float = 0.0) -> list[Trial]:
        smoothing = smoothing_factors(largest, original, alpha) if alpha else None
        top = largest if smoothing is None else largest / smoothing
        values, scales = quantize_weights(original if smoothing is None else original * smoothing[:, None])
        weights = values * scales
        clips = [Treatment(name, _scale(float(top.max()) * clip), smoothing, alpha, clip) for clip in CLIPS]
        return [Trial(treatment, product_error(treatment, weights)) for treatment in clips]

    plain = tried("clip", seen.largest)
    best = [
        Trial(_minmax(seen.largest), plain[0].product_error),
        min(plain, key=_product_error),
        min((trial for alpha in ALPHAS for trial in tried("smooth", seen.largest, alpha)), key=_product_error),
    ]
    # Clipping that clips nothing is min-max.
    return [trial for trial in best if trial.treatment.name != "clip" or trial.treatment.clip < 1.0]


def _product_error(trial: Trial) -> float:
    return trial.product_error


def smoothing_factors(largest: FloatArray, weights: FloatArray, alpha: float) -> FloatArray:
    """SmoothQuant's factors (Xiao et al. 2023, equation 4), float32 `[in]`.

    Args:
        largest: Largest absolute value of each input channel, float32 `[in]`.
        weights: float32 `[in, out]`.
        alpha: Share of the activation's range that moves to the weights, 0 to 1.
    """
    floor = 1e-5
    rows = np.abs(weights).max(axis=1)
    factors = np.maximum(largest, floor) ** alpha / np.maximum(rows, floor) ** (1 - alpha)
    return np.asarray(factors, dtype=np.float32)


def _pick(tried: Sequence[Trial]) -> Trial:
    """The trial of least sensitivity, or the simplest one nearly as good."""
    least = min(trial.sensitivity for trial in tried)
    good = [trial for trial in tried if trial.sensitivity <= SIMPLER_WITHIN * least]
    return min(good, key=lambda trial: SIMPLEST_FIRST.index(trial.treatment.name))


def _within_target(
    graph: Graph, picked: Mapping[str, Trial], judging: Sequence[Batch], threads: int
) -> tuple[dict[str, Treatment], dict[str, float]]:
    """Takes the most sensitive sites back to float until the measured error of the whole graph is within the target.

    Errors of single sites nearly add up, so how many must go is estimated from their sum before the next measurement.
    """
    reference = _embeddings(session(graph, threads), judging)
    remaining = dict(picked)
    while remaining:
        chosen = {activation: trial.treatment for activation, trial in remaining.items()}
        errors = errors_to(reference, _quantized_embeddings(graph, chosen, judging, threads))
        measured = float(errors.mean())
        if measured <= MAX_JOINT_ERROR:
            return chosen, {"mean": measured, "p99": float(np.percentile(errors, 99)), "target": MAX_JOINT_ERROR}
        total = sum(trial.sensitivity for trial in remaining.values())
        allowed = total * MAX_JOINT_ERROR / measured
        for activation in sorted(remaining, key=lambda name: -remaining[name].sensitivity):
            total -= remaining.pop(activation).sensitivity
            if total <= allowed:
                break
    raise BuildError(f"no product can be int8 with a mean error of at most {MAX_JOINT_ERROR}")


def _quantized_embeddings(
    graph: Graph, chosen: Mapping[str, Treatment], batches: Sequence[Batch], threads: int
) -> FloatArray:
    # By way of a file: quantized weights, too, may be more than a protobuf can hold.
    with temporary_folder() as folder:
        path = folder / FILE_NAME
        save_graph(quantized_graph(graph, chosen), path)
        return _embeddings(session(path, threads), batches)


def _embeddings(runner: InferenceSession, batches: Sequence[Batch]) -> FloatArray:
    return np.concatenate([runner.run([EMBEDDING], batch.feeds)[0] for batch in batches])


def _record(
    found: Sequence[Site],
    trials: Mapping[str, Sequence[Trial]],
    picked: Mapping[str, Trial],
    chosen: Mapping[str, Treatment],
    joint: Mapping[str, float],
    texts: int,
) -> dict[str, Any]:
    return {
        "texts": texts,
        "joint_error": dict(joint),
        "treatments": dict(Counter(treatment.name for treatment in chosen.values())),
        "float_products": [p.name for site in found if site.activation not in chosen for p in site.products],
        "sites": [
            {
                "products": [product.name for product in site.products],
                "chosen": picked[site.activation].treatment.name if site.activation in chosen else "float",
                "trials": [
                    {
                        **trial.treatment.describe(),
                        "product_error": trial.product_error,
                        "sensitivity": trial.sensitivity,
                    }
                    for trial in trials[site.activation]
                ],
            }
            for site in found
        ],
    }
