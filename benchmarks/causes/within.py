"""Faults in what is computed: inputs, layers, weights, pooling and lengths."""

from __future__ import annotations

from torch import nn

from causes import around, names, pipeline, unusual
from causes.fault import Fault

MISLED = (
    Fault("positions-1", "positions begin at 1", (names.POSITIONS.format(1),), change=pipeline.positions(1)),
    Fault("positions-2", "positions begin at 2", (names.POSITIONS.format(2),), change=pipeline.positions(2)),
    Fault(
        "types",
        "token types are all ones",
        (names.TYPES,),
        change=pipeline.inputs(pipeline.token_types),
    ),
    Fault("no-mask", "padding is attended to", (names.NO_MASK,), change=pipeline.inputs(pipeline.no_mask)),
    Fault(
        "causal", "tokens attend to those before them alone", (names.CAUSAL,), change=pipeline.inputs(pipeline.causal)
    ),
    Fault(
        "causal-alone",
        "as before, where a text comes alone",
        (names.CAUSAL_ALONE,),
        change=pipeline.inputs(pipeline.causal_alone),
    ),
)

BUILT = (
    Fault(
        "without-last-layer",
        "the last layer is missing",
        (names.LAST_LAYER,),
        change=pipeline.keep_layers(slice(-1)),
    ),
    Fault(
        "without-two-layers",
        "the last two layers are missing",
        (names.LAST_TWO,),
        change=pipeline.keep_layers(slice(-2)),
    ),
    Fault(
        "without-first-layer",
        "the first layer is missing",
        (names.FIRST_LAYER,),
        change=pipeline.keep_layers(slice(1, None)),
    ),
    Fault("no-dense", "the Dense layer is missing", (names.NO_DENSE,), "dense", change=pipeline.without_dense),
    Fault(
        "no-activation",
        "the Dense layer has no activation",
        (names.NO_ACTIVATION,),
        "dense",
        change=pipeline.without_activation,
    ),
    Fault(
        "no-layer-norm",
        "a LayerNorm is missing",
        (names.tensors("layer.2.attention.output.LayerNorm"),),
        change=pipeline.without_layer_norm(2),
    ),
)

WEIGHED = (
    Fault(
        "layer-weights",
        "the weights of one layer times 0.9",
        (names.tensors("encoder.layer.3."),),
        change=pipeline.weakened(3, 0.9),
    ),
    Fault(
        "shuffled",
        "the rows of one weight in another order",
        (names.tensors("layer.1.attention.self.query"),),
        change=pipeline.shuffled(1),
    ),
    Fault(
        "other-words",
        "the table of words is shifted by a row",
        (names.WEIGHTS,),
        change=pipeline.other_words,
    ),
    Fault("sibling", "a model that was trained further", (names.WEIGHTS,), change=pipeline.with_noise(0.03)),
    Fault("dropout", "dropout is on", (names.RANDOM,), change=pipeline.dropout),
    Fault("relu", "ReLU in the place of GELU", (names.RELU,), change=pipeline.activation(nn.ReLU())),
    Fault(
        "older",
        "the weights of the model in use today",
        (names.OLDER,),
        change=pipeline.older,
        incumbent="older",
    ),
)

POOLED = (
    Fault("cls", "CLS pooling in the place of mean", (names.CLS,), change=pipeline.pooling("cls")),
    Fault("last", "last-token pooling in the place of mean", (names.LAST,), change=pipeline.pooling("lasttoken")),
    Fault("max", "max pooling in the place of mean", (names.MAX,), change=pipeline.pooling("max")),
    Fault("weighted", "mean weighted by position", (names.WEIGHTED,), change=pipeline.pooling("weightedmean")),
    Fault(
        "mean-padding", "mean pooling counts padding", (names.PADDED,), change=pipeline.pools_with(lambda m: m * 0 + 1)
    ),
    Fault(
        "mean-inner",
        "mean pooling without special tokens",
        (names.INNER,),
        change=pipeline.pools_with(pipeline.between_special_tokens),
    ),
    Fault("mean-for-cls", "mean pooling in the place of CLS", (names.MEAN,), "dense", change=pipeline.pooling("mean")),
    Fault(
        "sqrt",
        "the sum over the root of tokens, for the mean",
        (names.ROOT,),
        "prompted",
        change=pipeline.pooling("mean_sqrt_len_tokens"),
    ),
)

STRETCHED = (
    Fault("raw", "vectors are not normalised", (names.RAW,), change=pipeline.without_last_module),
    Fault(
        "unit",
        "a server normalises what the model does not",
        (names.UNIT,),
        "prompted",
        change=pipeline.normalised,
    ),
    Fault(
        "scaled",
        "vectors are multiplied by 16",
        (names.SCALED,),
        "prompted",
        change=pipeline.scaled(16),
    ),
    Fault(
        "lengths",
        "each vector has another length than its own",
        (names.LENGTHS,),
        "prompted",
        around=around.lengths_by_text,
    ),
)

QUANTIZED = (
    Fault(
        "cls-int8",
        "CLS pooling, in int8",
        (names.CLS,),
        change=pipeline.together(unusual.dynamic_int8(True), pipeline.pooling("cls")),
        promise="int8",
        forms=("black box",),
    ),
    Fault(
        "case-int8",
        "capitals are kept, in int8",
        (names.CASE_KEPT,),
        change=pipeline.together(unusual.dynamic_int8(True), pipeline.normalizer(lowercase=False, strip_accents=True)),
        promise="int8",
        forms=("black box",),
    ),
    Fault(
        "cut-int8",
        "texts are cut at 64 tokens, in int8",
        (names.about(58, 70),),
        change=pipeline.together(unusual.dynamic_int8(True), pipeline.limit(64)),
        promise="int8",
        forms=("black box",),
    ),
)
