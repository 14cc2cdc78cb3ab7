"""Faults in what is made of embeddings: how they are stored, and which text they are given to."""

from __future__ import annotations

from causes import around
from causes.fault import Fault
from causes.names import BINARY, CODES, ORDER, ZERO_POINT

STORED = (
    Fault(
        "zeros",
        "dimensions are zeros from 256 on",
        (r"\b256\b|\b128\b|zero",),
        around=around.rows(around.zeros_from(256)),
    ),
    Fault(
        "halves",
        "the halves of vectors are exchanged",
        (r"dimensions?|halves|permut",),
        around=around.rows(around.halves_swapped),
    ),
    Fault("permuted", "dimensions are in another order", (r"dimensions?|permut",), around=around.rows(around.permuted)),
    Fault(
        "zero-point",
        "int8 codes are decoded without their zero point",
        (ZERO_POINT,),
        around=around.codes(around.without_zero_point),
        promise="int8",
    ),
    Fault(
        "symmetric",
        "int8 codes are decoded as if their range lay around 0",
        (ZERO_POINT,),
        around=around.codes(around.symmetric),
        promise="int8",
    ),
    Fault("undecoded", "int8 codes are not decoded", (CODES,), around=around.codes(around.undecoded), promise="int8"),
    Fault("as-uint8", "int8 codes are read as uint8", (CODES,), around=around.codes(around.as_uint8), promise="int8"),
    Fault("signs", "binary codes come in the place of vectors", (BINARY,), around=around.rows(around.signs)),
    Fault("bits", "bits come in the place of vectors", (BINARY,), around=around.rows(around.bits)),
)

EXCHANGED = (
    Fault(
        "by-length",
        "a batch is sorted by length, and never put back",
        (ORDER,),
        around=around.batches(around.by_length),
    ),
    Fault("as-ready", "a server answers in the order it gets ready", (ORDER,), around=around.batches(around.as_ready)),
    Fault("backwards", "a batch comes back last first", (ORDER,), around=around.batches(around.backwards)),
    Fault("one-off", "each text has the embedding of the next", (ORDER,), around=around.batches(around.one_off)),
    Fault(
        "first-for-all",
        "all texts of a batch have the first one's embedding",
        (r"same embedding|first|embedding of another text|one and the same|alike",),
        around=around.batches(around.first_for_all),
    ),
    Fault(
        "another-caller",
        "every fourth text has another caller's embedding",
        (r"another|other text|same embedding|rows of",),
        around=around.of_another_caller,
    ),
    Fault(
        "batch-before",
        "a batch has the embeddings of the one before",
        (r"batch before|previous|earlier|another text|order",),
        around=around.of_the_batch_before,
    ),
    Fault(
        "cache-prefix",
        "a cache whose key is a text's first 64 characters",
        (r"\b64\b|cache|embedding of another text|same",),
        around=around.cache(lambda text: text[:64]),
    ),
    Fault(
        "cache-case",
        "a cache whose key has no capitals, of a model that keeps them",
        (r"cache|capital|\bcase\b|embedding of another text",),
        "prompted",
        around=around.cache(str.lower),
    ),
)
