"""Faults in what is made of embeddings: how they are stored, and which text they are given to."""

from __future__ import annotations

from causes import around, names
from causes.fault import Fault

STORED = (
    Fault(
        "zeros",
        "dimensions are zeros from 256 on",
        (names.ZEROS,),
        around=around.rows(around.zeros_from(256)),
    ),
    Fault(
        "halves",
        "the halves of vectors are exchanged",
        (names.HALVES,),
        around=around.rows(around.halves_swapped),
    ),
    Fault("permuted", "dimensions are in another order", (names.PERMUTED,), around=around.rows(around.permuted)),
    Fault(
        "zero-point",
        "int8 codes are decoded without their zero point",
        (names.OFFSET,),
        around=around.codes(around.without_zero_point),
        promise="int8",
    ),
    Fault(
        "symmetric",
        "int8 codes are decoded as if their range lay around 0",
        (names.OFFSET,),
        around=around.codes(around.symmetric),
        promise="int8",
    ),
    Fault(
        "undecoded",
        "int8 codes are not decoded",
        (names.UNDECODED,),
        around=around.codes(around.undecoded),
        promise="int8",
    ),
    Fault(
        "as-uint8",
        "int8 codes are read as uint8",
        (names.UNSIGNED,),
        around=around.codes(around.as_uint8),
        promise="int8",
    ),
    Fault("signs", "binary codes come in the place of vectors", (names.SIGNS,), around=around.rows(around.signs)),
    Fault("bits", "bits come in the place of vectors", (names.BITS,), around=around.rows(around.bits)),
)

EXCHANGED = (
    Fault(
        "by-length",
        "a batch is sorted by length, and never put back",
        (names.BY_LENGTH,),
        around=around.batches(around.by_length),
    ),
    Fault(
        "as-ready",
        "a server answers in the order it gets ready",
        (names.ORDER,),
        around=around.batches(around.as_ready),
        is_general=True,
    ),
    Fault("backwards", "a batch comes back last first", (names.BACKWARDS,), around=around.batches(around.backwards)),
    Fault(
        "one-off", "each text has the embedding of the next", (names.ROTATED,), around=around.batches(around.one_off)
    ),
    Fault(
        "first-for-all",
        "all texts of a batch have the first one's embedding",
        (names.ONE_FOR_ALL,),
        around=around.batches(around.first_for_all),
    ),
    Fault(
        "another-caller",
        "every fourth text has another caller's embedding",
        (names.ANOTHER_CALLER,),
        around=around.of_another_caller,
    ),
    Fault(
        "batch-before",
        "a batch has the embeddings of the one before",
        (names.CALL_BEFORE,),
        around=around.of_the_batch_before,
    ),
    Fault(
        "cache-prefix",
        "a cache whose key is a text's first 64 characters",
        (names.PREFIX,),
        around=around.cache(lambda text: text[:64]),
    ),
    Fault(
        "cache-case",
        "a cache whose key has no capitals, of a model that keeps them",
        (names.CASE_ALONE,),
        "prompted",
        around=around.cache(str.lower),
    ),
)
