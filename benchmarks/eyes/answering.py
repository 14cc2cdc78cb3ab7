"""Faults in what is made of embeddings, and in which text gets which."""

from __future__ import annotations

from causes import around
from causes.fault import Fault

from eyes import answers

DIMENSIONS = 384
VALUES = (
    Fault("noise-3", "every embedding is off by 3%", around=answers.noise(0.03)),
    Fault("noise-10", "every embedding is off by 10%", around=answers.noise(0.10)),
    Fault("noise-20", "every embedding is off by 20%", around=answers.noise(0.20)),
    Fault("noise-rare", "one embedding of fifty is off by a half", around=answers.by_text(answers.rare_noise)),
    Fault("unrepeatable", "every call is off by 1%, each in another direction", around=answers.unrepeatable(0.01)),
    Fault("overflow", "texts of more than 100 words are NaN", around=answers.too_long(100)),
    Fault("blank-nan", "a text of spaces is NaN", around=answers.by_text(answers.nothing_for_blank)),
    Fault("clipped", "int8 codes whose range ends at 0.08", around=around.rows(answers.clipped(0.08))),
    Fault("one-decimal", "one decimal is left", around=around.rows(answers.rounded(1))),
    Fault("pulled", "all embeddings are pulled in one direction", around=around.rows(answers.pulled(0.2))),
)
PLACES = (
    Fault("two-swapped", "two dimensions change places", around=around.rows(answers.turned([3, 200], [200, 3]))),
    Fault("some-zero", "one dimension of twenty is zero", around=around.rows(answers.some_zero(0.05))),
    Fault("signs-10", "ten dimensions have the other sign", around=around.rows(answers.other_signs(10))),
    Fault("half", "the second half of the dimensions is zero", around=around.rows(around.zeros_from(DIMENSIONS // 2))),
)
CALLS = (
    Fault("one-buffer", "every call answers with the same memory", around=answers.one_buffer),
    Fault("above-64", "of a batch, what is beyond 64 texts is zeros", around=around.batches(answers.beyond_zero)),
    Fault("partial-batch", "the last of several batches, if not full, is zeros", around=answers.partial_batch_lost),
    Fault("second-time", "a text asked for again gets another embedding", around=answers.second_time),
    Fault(
        "duplicates-astray",
        "a text that is in a batch again gets its neighbour's embedding",
        around=around.batches(answers.duplicates_astray),
    ),
    Fault(
        "equals-alike",
        "texts of a batch with as many characters get one embedding",
        around=around.batches(answers.last_for_equals),
    ),
    Fault("forgetful", "a process gives zeros after 1,000 texts", around=answers.forgetful),
    Fault("shared-slot", "calls at once get each other's embeddings", around=answers.shared_slot),
    Fault("parts-averaged", "texts of more than 48 words are averaged over parts", around=answers.parts_averaged(48)),
)
ANSWERING = (*VALUES, *PLACES, *CALLS)
KNOWN = (
    "zeros",
    "permuted",
    "signs",
    "by-length",
    "one-off",
    "first-for-all",
    "another-caller",
    "batch-before",
    "cache-prefix",
)
