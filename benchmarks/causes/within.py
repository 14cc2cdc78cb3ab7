"""Faults in what is computed: inputs, layers, weights, pooling and lengths."""

from __future__ import annotations

from torch import nn

from causes import around, pipeline, unusual
from causes.fault import Fault
from causes.names import CASE, CLS, LAST, LENGTHS, MAX, MEAN, NORMALIZE, PADDED, POSITIONS, SPECIAL, WEIGHTS, cut

MISLED = (
    Fault("positions-1", "positions begin at 1", (POSITIONS,), change=pipeline.positions(1)),
    Fault("positions-2", "positions begin at 2", (POSITIONS,), change=pipeline.positions(2)),
    Fault(
        "types",
        "token types are all ones",
        (r"token types?|token_type|segment",),
        change=pipeline.inputs(pipeline.token_types),
    ),
    Fault("no-mask", "padding is attended to", (r"mask|padding",), change=pipeline.inputs(pipeline.no_mask)),
    Fault("causal", "tokens attend to those before them alone", (r"causal",), change=pipeline.inputs(pipeline.causal)),
    Fault(
        "causal-alone",
        "as before, where a text comes alone",
        (r"causal|alone|batch",),
        change=pipeline.inputs(pipeline.causal_alone),
    ),
)

BUILT = (
    Fault(
        "without-last-layer",
        "the last layer is missing",
        (r"last.*layer|layers? .*missing|5 of 6",),
        change=pipeline.keep_layers(slice(-1)),
    ),
    Fault(
        "without-two-layers",
        "the last two layers are missing",
        (r"last.*(two|2).*layers|(two|2).*last.*layers|layers.*missing|4 of 6",),
        change=pipeline.keep_layers(slice(-2)),
    ),
    Fault(
        "without-first-layer",
        "the first layer is missing",
        (r"first.*layer|layers? .*missing",),
        change=pipeline.keep_layers(slice(1, None)),
    ),
    Fault("no-dense", "the Dense layer is missing", (r"Dense",), "dense", change=pipeline.without_dense),
    Fault(
        "no-activation",
        "the Dense layer has no activation",
        (r"activation|Tanh|Dense",),
        "dense",
        change=pipeline.without_activation,
    ),
    Fault(
        "no-layer-norm",
        "a LayerNorm is missing",
        (r"LayerNorm|layer ?norm|layer 2|weights",),
        change=pipeline.without_layer_norm(2),
    ),
)

WEIGHED = (
    Fault("layer-weights", "the weights of one layer times 0.9", (WEIGHTS,), change=pipeline.weakened(3, 0.9)),
    Fault("shuffled", "the rows of one weight in another order", (WEIGHTS,), change=pipeline.shuffled(1)),
    Fault(
        "other-words",
        "the table of words is shifted by a row",
        (WEIGHTS + r"|embedding",),
        change=pipeline.other_words,
    ),
    Fault("sibling", "a model that was trained further", (WEIGHTS,), change=pipeline.with_noise(0.03)),
    Fault("dropout", "dropout is on", (r"dropout|random|twice",), change=pipeline.dropout),
    Fault("relu", "ReLU in the place of GELU", (r"ReLU|activation",), change=pipeline.activation(nn.ReLU())),
    Fault(
        "older",
        "the weights of an older model",
        (r"older|incumbent|weights",),
        change=pipeline.older,
    ),
)

POOLED = (
    Fault("cls", "CLS pooling in the place of mean", (CLS,), change=pipeline.pooling("cls")),
    Fault("last", "last-token pooling in the place of mean", (LAST,), change=pipeline.pooling("lasttoken")),
    Fault("max", "max pooling in the place of mean", (MAX,), change=pipeline.pooling("max")),
    Fault("weighted", "mean weighted by position", (r"weighted",), change=pipeline.pooling("weightedmean")),
    Fault("mean-padding", "mean pooling counts padding", (PADDED,), change=pipeline.pools_with(lambda m: m * 0 + 1)),
    Fault(
        "mean-inner",
        "mean pooling without special tokens",
        (SPECIAL,),
        change=pipeline.pools_with(pipeline.between_special_tokens),
    ),
    Fault("mean-for-cls", "mean pooling in the place of CLS", (MEAN,), "dense", change=pipeline.pooling("mean")),
    Fault(
        "sqrt",
        "the sum over the root of tokens, for the mean",
        (r"sqrt|root|sum|lengths",),
        "prompted",
        change=pipeline.pooling("mean_sqrt_len_tokens"),
    ),
)

STRETCHED = (
    Fault("raw", "vectors are not normalised", (NORMALIZE,), change=pipeline.without_last_module),
    Fault(
        "unit",
        "a server normalises what the model does not",
        (r"normali[sz]|length 1|unit|all 1|1\.000 to 1\.000",),
        "prompted",
        change=pipeline.normalised,
    ),
    Fault(
        "scaled",
        "vectors are multiplied by 16",
        (r"\b16\b.*times|times.*\b16\b|by 16\b",),
        "prompted",
        change=pipeline.scaled(16),
    ),
    Fault(
        "lengths",
        "each vector has another length than its own",
        (LENGTHS,),
        "prompted",
        around=around.lengths_by_text,
    ),
)

QUANTIZED = (
    Fault(
        "cls-int8",
        "CLS pooling, in int8",
        (CLS,),
        change=pipeline.together(unusual.dynamic_int8(True), pipeline.pooling("cls")),
        promise="int8",
        forms=("black box",),
    ),
    Fault(
        "case-int8",
        "capitals are kept, in int8",
        (CASE,),
        change=pipeline.together(unusual.dynamic_int8(True), pipeline.normalizer(lowercase=False, strip_accents=True)),
        promise="int8",
        forms=("black box",),
    ),
    Fault(
        "cut-int8",
        "texts are cut at 64 tokens, in int8",
        (cut(64),),
        change=pipeline.together(unusual.dynamic_int8(True), pipeline.limit(64)),
        promise="int8",
        forms=("black box",),
    ),
)
