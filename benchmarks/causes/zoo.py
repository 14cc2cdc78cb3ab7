"""Every fault, every pair of faults and every sound encoder that is asked about."""

from __future__ import annotations

from dataclasses import replace

from causes import after, around, before, unusual, within
from causes.fault import Fault, both

# The faults, by the layers at which embeddings depart by them.
GROUPS: tuple[tuple[tuple[Fault, ...], tuple[str, ...]], ...] = (
    (within.POOLED, ("pooling",)),
    (within.STRETCHED, ("normalisation",)),
    (before.PROMPTED, ("prompt", "tokens")),
    (before.TOKENIZED, ("tokens",)),
    (before.CUT, ("tokens",)),
    (before.CLEANED, ("texts", "tokens")),
    (within.MISLED, ("hidden states",)),
    (within.BUILT, ("hidden states", "pooling")),
    (within.WEIGHED, ("hidden states", "weights")),
    (after.STORED, ("codes", "dimension", "modules")),
    (after.EXCHANGED, ("order", "batch", "answers")),
    (within.QUANTIZED, ("pooling", "tokens")),
)

# Which faults are met together.
TOGETHER = (
    ("cls", "raw"),
    ("cls", "own-prompt"),
    ("cls", "case-kept"),
    ("last", "no-special"),
    ("max", "cut-64"),
    ("mean-padding", "raw"),
    ("mean-inner", "cut-128"),
    ("raw", "own-prompt"),
    ("raw", "cut-32"),
    ("no-special", "case-kept"),
    ("no-special", "raw"),
    ("case-kept", "accents-kept"),
    ("case-kept", "cut-100"),
    ("accents-kept", "cut-left"),
    ("positions-2", "raw"),
    ("types", "own-prompt"),
    ("causal", "last"),
    ("without-last-layer", "cls"),
    ("cut-64", "zeros"),
    ("mean-for-cls", "no-dense"),
    ("unit", "case-folded"),
    ("no-end", "by-length"),
)


def _sound() -> tuple[Fault, ...]:
    import torch

    u = unusual

    def sound(name: str, says: str, promise: str = "fp16", **settings: object) -> Fault:
        return Fault(name, says, kind="sound", promise=promise, **settings)  # type: ignore[arg-type]

    box: dict[str, object] = {"forms": ("black box",)}
    return (
        sound("bf16", "bf16", "bf16", change=u.dtype(torch.bfloat16), **box),
        sound(
            "fp16-twice",
            "fp16, and answers in float16",
            change=u.dtype(torch.float16),
            around=around.rows(u.in_half),
            **box,
        ),
        sound("float64", "float64", change=u.dtype(torch.float64), **box),
        sound("eager", "attention without a fused kernel", change=u.eager_attention),
        sound("gelu-tanh", "GELU by tanh", change=u.gelu_by_tanh),
        sound("epsilon", "LayerNorm with an epsilon of 1e-5", change=u.other_epsilon),
        sound("sorted", "sorted by length, and put back", around=u.sorted_and_restored),
        sound("one-at-a-time", "one text at a time", around=u.one_at_a_time),
        sound("in-threads", "two threads", around=u.in_threads),
        sound("int8-tensor", "dynamic int8, a scale per tensor", "int8", change=u.dynamic_int8(False), **box),
        sound("int8-channel", "dynamic int8, a scale per channel", "int8", change=u.dynamic_int8(True), **box),
        sound("int8-weights", "weights that were int8", "int8", change=u.weights_through_int8, **box),
        sound("int8-codes", "int8 codes, decoded", "int8", around=around.codes(around.decoded), **box),
        sound("int8-vector", "int8 codes with a scale per vector", "int8", around=around.rows(u.int8_by_vector), **box),
        sound("half-answers", "answers in float16", around=around.rows(u.in_half)),
        sound("four-decimals", "answers with four decimals", around=around.rows(u.four_decimals)),
        sound("json", "answers in JSON with six digits", around=around.rows(u.as_json)),
        sound("padded-8", "padded to a multiple of 8 tokens", change=u.padded_to(8)),
        sound("padded-64", "padded to a multiple of 64 tokens", change=u.padded_to(64)),
        sound("padded-left", "padded on the left, positions by the mask", change=u.padded_on_the_left),
        sound("cache", "a cache by the text", around=around.cache(str)),
        sound("normalised-twice", "normalised twice", change=u.normalised_twice),
        sound(
            "spaces",
            "white space collapsed, which the tokenizer does as well",
            around=around.texts(u.whitespace_collapsed),
        ),
        sound("folded-before", "lower-cased before, by a client of a model that does", around=around.texts(str.lower)),
        sound(
            "prompted-bf16",
            "bf16, of the model with prompts",
            "bf16",
            model="prompted",
            change=u.dtype(torch.bfloat16),
            **box,
        ),
        sound(
            "prompted-json",
            "answers in JSON, of the model with prompts",
            model="prompted",
            around=around.rows(u.as_json),
        ),
        sound(
            "dense-int8",
            "dynamic int8, of the model with a Dense layer",
            "int8",
            model="dense",
            change=u.dynamic_int8(True),
            **box,
        ),
        sound("torch-bf16", "embedgate's own bf16", "bf16", built="torch-bf16-cpu", forms=("inside",)),
        sound(
            "onnxruntime-fp32", "embedgate's own graph in ONNX Runtime", built="onnxruntime-fp32-cpu", forms=("inside",)
        ),
        sound(
            "onnxruntime-int8",
            "embedgate's own int8 in ONNX Runtime",
            "int8",
            built="onnxruntime-int8-cpu",
            forms=("inside",),
        ),
        sound(
            "dense-eager",
            "attention without a fused kernel, of the model with a Dense layer",
            model="dense",
            change=u.eager_attention,
        ),
    )


def faults() -> dict[str, Fault]:
    """All of them, by name."""
    singles = {fault.name: replace(fault, layers=layers) for group, layers in GROUPS for fault in group}
    pairs = [both(singles[first], singles[second]) for first, second in TOGETHER]
    return {**singles, **{fault.name: fault for fault in (*pairs, *_sound())}}
