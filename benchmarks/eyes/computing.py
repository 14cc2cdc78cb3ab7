"""Faults in what a model computes."""

from __future__ import annotations

from causes import pipeline
from causes.fault import Fault

from eyes import layers

LAYERS = 6
WEIGHTS = (
    *(
        Fault(f"layer-{number}", f"the weights of layer {number} times 0.9", change=pipeline.weakened(number, 0.9))
        for number in range(LAYERS)
    ),
    Fault("layer-little", "the weights of layer 3 times 0.98", change=pipeline.weakened(3, 0.98)),
    Fault("product", "the weights of one product of layer 3 times 0.9", change=layers.product(3, 0.9)),
    Fault("head", "one of twelve heads of layer 2 gives zeros", change=layers.silent_head(2, 5)),
    Fault("biases", "the products of layer 4 have no biases", change=layers.without_biases(4)),
    Fault("four-bits", "weights have 4 bits", change=layers.few_bits(4)),
)
ARITHMETIC = (
    Fault("softened", "attention is a tenth softer", change=layers.softened(0.9)),
    Fault("saturated", "activations are cut at 2", change=layers.saturated(2.0)),
    Fault("epsilon-large", "layer norms have an epsilon of 0.01", change=layers.epsilon(0.01)),
)
POOLING = (
    Fault(
        "equal-length-first",
        "several texts of one length are pooled by their first token",
        change=layers.pooled_by_first(layers.is_equally_long),
    ),
    Fault("alone-first", "a text alone is pooled by its first token", change=layers.pooled_by_first(layers.is_alone)),
)
COMPUTING = (*WEIGHTS, *ARITHMETIC, *POOLING)
KNOWN = (
    "cls",
    "last",
    "max",
    "mean-padding",
    "mean-inner",
    "raw",
    "positions-1",
    "positions-2",
    "types",
    "no-mask",
    "causal-alone",
    "without-last-layer",
    "no-layer-norm",
    "relu",
    "sibling",
    "dropout",
    "lengths",
    "unit",
)
