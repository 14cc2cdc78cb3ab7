"""Invariance: a text's embedding depends on the text alone, not on what surrounds it.

What is told of a text that moves is what was observed: how far, in which surroundings, and at which layer it begins
where the encoder shows its stages. Why it does is told where that was shown, see `embedgate.checks.properties`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from embedgate.core.errors import BuildError, EncodeError, GateError, one_line
from embedgate.core.judgement import ANSWERS, REPETITION, ROUNDING, UNKNOWN, quoted, rounding, shorten
from embedgate.diagnosis.answers import STEP
from embedgate.diagnosis.layers import NEXT_STEPS, first_difference, relative_distance, shown_stages
from embedgate.encoders import Encoder, Stability
from embedgate.properties import Outcome, Violation, as_rounding
from embedgate.properties.batches import Texts
from embedgate.properties.explore import Profile, look
from embedgate.properties.variations import KEPT, VARIATIONS, Pair, Subject, Variation

# What is observed, and what to try by that.
NOT_FINITE = "an embedding holds NaN or infinity"
RECEIVED = "texts receive the embeddings of other texts"
ZEROS = "zeros come in the place of a vector"
OWN_ARRAY = "return a new array from each call: a caller that has kept the last one finds other texts' vectors in it"
COMPARE = "encode the text alone and in its batch, and compare"
REPEAT = "encode the batch twice, and see what differs from call to call, such as random numbers or a counter"
GIVEN_BACK = "see how results are given back to texts: after sorting, from a cache, to several callers"
# Two embeddings nearer than this share of how far one has moved are the same one.
SAME = 0.1


def look_into(
    subject: Subject, name: str, stability: Stability, profile: Profile, seed: int, pinned: Iterable[Texts] = ()
) -> Outcome:
    """Looks for texts whose embeddings move too far.

    Args:
        subject: The encoder under test.
        name: One of `VARIATIONS`.
        stability: How far embeddings may move.
        profile: How long to look.
        seed: What the texts are drawn from.
        pinned: Texts to try first.

    Returns:
        What came of it; its worst value is the furthest move, None where there was nothing to compare.

    Raises:
        GateError: If the second encoder cannot be built, or memory runs out.
    """
    variation = VARIATIONS[name]
    limit = stability.repetition if variation.exact else stability.batch
    subject.trials = profile.trials
    worst: float | None = None

    def violation(texts: Texts) -> Violation | None:
        nonlocal worst
        try:
            moved = max(variation.vary(subject, texts), key=lambda pair: _severity(pair.move), default=None)
        except MemoryError as error:
            raise BuildError("memory ran out while texts were encoded again", "lower --gate-batch-size") from error
        except Exception as error:
            if isinstance(error, GateError) and not isinstance(error, EncodeError):
                raise  # the second encoder cannot be built
            return _failed(texts, variation, error)
        if moved is None:
            return None
        worst = max(worst or 0.0, moved.move)
        if moved.move <= limit:
            return None
        found = _observed(subject, variation, moved, stability.batch)
        if not np.isfinite(moved.move):
            return replace(found, texts=texts, limit=limit)
        how = f"moves by {moved.move:.2g} {variation.where}{rounding(moved.move)}, {limit:g} is declared"
        message = f"the embedding of {quoted(moved.text, 80)} {how}{found.message}"
        found = replace(found, texts=texts, message=message, value=moved.move, limit=limit)
        return as_rounding(found, variation.tolerance) if moved.move < ROUNDING else found

    found, tried = look(
        variation.examples(),
        violation,
        first=[*pinned, *variation.always()],
        like=lambda texts: variation.examples() if variation.shrinks and texts in variation.always() else None,
        rounds=profile.rounds,
        examples=min(profile.batches, variation.most),
        seed=seed,
    )
    return Outcome(found, tried, worst, limit)


def _failed(texts: Texts, variation: Variation, error: Exception) -> Violation:
    """The violation of an encoder that raises an error: it is the finding itself."""
    told = one_line(error)
    step = "encode these texts in the same way, and see where the error comes from"
    return Violation(texts, f"fails {variation.where}: {told}", layer=UNKNOWN, cause=told, next_step=step)


def _observed(subject: Subject, variation: Variation, moved: Pair, tolerance: float) -> Violation:
    """What was observed of a text whose embedding moved, its message to be put behind how far it moved."""

    def observed(layer: str, cause: str, step: str, message: str = "", by: tuple[str, ...] = ()) -> Violation:
        return Violation((), message, None, None, layer, cause, step, _shown(moved), by or (layer,))

    if not np.isfinite([moved.before, moved.after]).all():
        message = f"the embedding of {quoted(moved.text, 80)} is not finite {variation.where}"
        return observed("finiteness", NOT_FINITE, NEXT_STEPS["finiteness"], message)
    if moved.move < ROUNDING:
        return observed(UNKNOWN, variation.shows, COMPARE)
    if variation is VARIATIONS[KEPT]:
        return observed(ANSWERS, variation.shows, OWN_ARRAY)
    if moved.before.any() and not moved.after.any():
        return observed(ANSWERS, f"{ZEROS} {variation.where}", STEP, "; zeros came in its place")
    if other := _received(subject, moved):
        return observed("order", RECEIVED, GIVEN_BACK, f"; it received the embedding of {quoted(other, 60)}")
    layer = _layer(subject.encoder, moved, tolerance)
    cause = f"{variation.shows}; it begins in the {layer}" if layer else variation.shows
    if variation is VARIATIONS[REPETITION]:
        return observed(REPETITION, cause, REPEAT)
    return observed(layer or UNKNOWN, cause, COMPARE, by=variation.explained_by)


def _received(subject: Subject, moved: Pair) -> str:
    """The text of the batch whose embedding a text received; empty where it received none."""
    near = SAME * moved.move
    # Of texts that lie close together, another's may be near to its own.
    own = relative_distance(moved.after, subject.alone(moved.text))
    for other in dict.fromkeys(moved.batch):
        if other == moved.text:
            continue
        theirs = subject.alone(other)
        if (apart := relative_distance(moved.after, theirs)) < near and apart <= own:
            return other
        # Two texts may have one embedding, and then it had its own.
        is_theirs = relative_distance(moved.before, theirs) < near
        if is_theirs and relative_distance(subject.alone(moved.text), theirs) >= near:
            return other
    return ""


def _layer(encoder: Encoder, moved: Pair, tolerance: float) -> str:
    """The layer at which a text differs alone and in its batch; empty where the encoder cannot show it."""
    batch = list(moved.batch)
    alone, together = shown_stages(encoder, [moved.text]), shown_stages(encoder, batch)
    if alone is None or together is None:
        return ""
    last = len(batch) - 1 - batch[::-1].index(moved.text)
    return first_difference(alone, together.of(last), tolerance)


def _shown(moved: Pair) -> tuple[str, ...]:
    others = [text for text in moved.batch if text != moved.text]
    lines = [f"text: {shorten(moved.text, 200)}"]
    lines += [f"in a batch with: {shorten(text, 200)}" for text in others[:3]]
    return (*lines, f"and {len(others) - 3} more") if len(others) > 3 else tuple(lines)


def _severity(move: float) -> float:
    """NaN is the worst of moves."""
    return float("inf") if np.isnan(move) else move
