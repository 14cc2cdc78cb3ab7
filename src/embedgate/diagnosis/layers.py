"""Names the layer at which a combination departs from the reference.

The layers are tried in the order in which a text passes through them: what is wrong early makes everything later wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from embedgate.core.embeddings import Embeddings
from embedgate.core.judgement import BY_BATCH, Diagnosis, Proof, quoted
from embedgate.diagnosis import hidden, tokens
from embedgate.diagnosis.answers import zeros
from embedgate.diagnosis.arm import Arm
from embedgate.diagnosis.attempts import LEFT, SHARE
from embedgate.diagnosis.distance import row_cosines
from embedgate.diagnosis.hidden import SAME_HIDDEN_STATES
from embedgate.diagnosis.playing import Asked
from embedgate.diagnosis.rereading import Reading
from embedgate.encoders import Encoder, Stages

Cosines = npt.NDArray[np.float32] | npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float32]
SAME_POOLING = 1e-2
# Share by which lengths of pooled embeddings may differ: hidden states are held to the same.
OTHER_LENGTHS = 0.1
# Half types leave a unit vector a length of 1 within their own accuracy; what is not normalised misses it by far.
UNIT_NORM = 1e-2
# Cosine above which two embeddings are one, and under which two are told apart.
ALIKE = 1 - 1e-6
TOLD_APART = 0.99
NEXT_STEPS = {
    "finiteness": "look for an overflow (fp16 layer norm, softmax) or a division by a zero norm in this combination",
    "pooling": "compare the pooling config (1_Pooling/config.json): mean, CLS, max, attention mask",
    "normalisation": "check that the Normalize module is in the pipeline, and nothing scales afterwards",
}


def diagnose(candidate: Arm, reference: Arm, probes: Sequence[str]) -> Diagnosis:
    """Names the first layer at which the candidate departs from the reference.

    Args:
        candidate: The combination that failed.
        reference: The reference it failed against.
        probes: The texts of both arms' stages.
    """
    found = (
        _finiteness(candidate.embeddings, candidate.stages)
        or _dimension(candidate.embeddings, reference.embeddings)
        or _zeros(candidate.embeddings, reference.embeddings, SHARE)
        or _order(candidate.embeddings, reference.embeddings)
    )
    if found:
        return found
    if candidate.stages is not None and reference.stages is not None:
        found = _stages(candidate, reference, candidate.stages, reference.stages, probes)
        if found:
            return found
    problems = candidate.evidence.problems
    if problems:
        return Diagnosis("evidence", problems[0], "see what the encoder built, and why")
    if alike := _alike(candidate.embeddings, reference.embeddings):
        return alike
    if other := _other_lengths(candidate.embeddings, reference.embeddings):
        return other
    if few_zeros := _zeros(candidate.embeddings, reference.embeddings, 0.0):
        return few_zeros
    if candidate.stages is None:
        return Diagnosis(
            "unknown",
            "the encoder shows no stages, only embeddings",
            "give the encoder a `stages(texts)` method to have the layer named",
        )
    if unseen := _unseen(candidate.stages) or (_unseen(reference.stages) if reference.stages else ""):
        return Diagnosis(
            "unknown",
            f"the tokens agree, and no {unseen} are shown, where the embeddings depart",
            "compare weights and pooling; a graph that has `token_embeddings` as an output shows the layer",
        )
    cosine = float((candidate.embeddings.normalised * reference.embeddings.normalised).sum(axis=1).min())
    if cosine < 1 - SAME_POOLING and _agree(candidate.stages, reference.stages):
        return Diagnosis(
            "unknown",
            f"texts that agree when they are asked for again were off in the run (cosine {cosine:.3f} at least)",
            "see what differs from call to call: batches, caches, threads, callers",
        )
    return Diagnosis(
        "scores",
        "tokens, hidden states, pooling and normalisation agree; many small differences add up",
        "compare `cosine_p01` and the worst texts; use a finer weight precision if the loss is real",
    )


def _agree(mine: Stages, theirs: Stages | None) -> bool:
    """Whether finished embeddings of the probes agree."""
    return theirs is not None and float(row_cosines(mine.embeddings, theirs.embeddings).min()) >= 1 - SAME_POOLING


def _unseen(stages: Stages) -> str:
    """The stages that are not shown, in words; empty where all are."""
    missing = {"hidden states": stages.token_embeddings is None, "pooled embeddings": stages.pooled is None}
    return " and no ".join(name for name, is_missing in missing.items() if is_missing)


def shown_stages(encoder: Encoder, texts: Sequence[str]) -> Stages | None:
    """An encoder's stages; None where it shows none, or fails to: a finding is worth more than its layer."""
    try:
        return encoder.stages(texts)
    except Exception:
        return None


def first_difference(mine: Stages, theirs: Stages, tolerance: float) -> str:
    """Names the first layer at which two runs of the same texts differ; empty where none does.

    Args:
        mine: The one run's stages.
        theirs: The other's.
        tolerance: The largest difference that counts as none, as a share of the length of mine.
    """
    if any(not np.array_equal(a, b) for a, b in zip(mine.token_ids, theirs.token_ids, strict=True)):
        return "tokens"
    if mine.token_embeddings is not None and theirs.token_embeddings is not None:
        states = zip(mine.token_embeddings, theirs.token_embeddings, strict=True)
        if any(relative_distance(a.ravel(), b.ravel()) > tolerance for a, b in states):
            return "hidden states"
    for layer, a, b in (
        ("pooling", mine.pooled, theirs.pooled),
        ("normalisation", mine.embeddings, theirs.embeddings),
    ):
        if a is not None and b is not None and relative_distance(a.ravel(), b.ravel()) > tolerance:
            return layer
    return ""


def relative_distance(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]) -> float:
    """The distance between two vectors, divided by the length of the first; NaN where one is not finite."""
    one, other = first.astype(np.float64), second.astype(np.float64)
    distance, length = float(np.linalg.norm(one - other)), float(np.linalg.norm(one))
    return distance / length if length else distance


def first_not_finite(stages: Stages | None) -> str:
    """Says at which layer NaN or infinity first arises, to be put behind a finding; empty where no stage shows it."""
    if stages is None:
        return ""
    for layer, found in (
        ("hidden states", stages.token_embeddings),
        ("pooling", stages.pooled),
        ("normalisation", stages.embeddings),
    ):
        if found is not None and not all(np.isfinite(rows).all() for rows in found):
            return f"; it begins in the {layer}"
    return ""


def _finiteness(candidate: Embeddings, stages: Stages | None) -> Diagnosis | None:
    broken = np.flatnonzero(~np.isfinite(candidate.matrix).all(axis=1))
    if not broken.size:
        return None
    text = candidate.inputs[int(broken[0])].text
    return Diagnosis(
        "finiteness",
        f"{broken.size} of {len(candidate)} embeddings hold NaN or infinity, first that of {quoted(text, 60)}"
        f"{first_not_finite(stages)}",
        NEXT_STEPS["finiteness"],
    )


def _dimension(candidate: Embeddings, reference: Embeddings) -> Diagnosis | None:
    got, wanted = candidate.dim, reference.dim
    if got == wanted:
        return None
    return Diagnosis("pooling", f"{got} dimensions instead of {wanted}", "check pooling, dense layer and truncation")


def _zeros(candidate: Embeddings, reference: Embeddings, share: float) -> Diagnosis | None:
    """Whether zeros come in the place of vectors: they have no direction, and say nothing of lengths."""
    answered = Asked([each.text for each in candidate.inputs], (), candidate.matrix, 0.0, is_live=False)
    return zeros(answered, reference.matrix, share)


def _order(candidate: Embeddings, reference: Embeddings) -> Diagnosis | None:
    """Whether many texts have received another text's embedding."""
    rows = _sample(reference)
    cosines = candidate.unit(rows) @ reference.normalised.T
    own = cosines[np.arange(len(rows)), rows]
    nearest = cosines.argmax(axis=1)
    swapped = (nearest != rows) & (cosines.max(axis=1) > 0.98) & (own < cosines.max(axis=1) - 0.1)
    # Where all received the same one, nothing was swapped.
    if float(swapped.mean()) < 0.02 or len(set(nearest[swapped].tolist())) < 0.5 * swapped.sum():
        return None
    twice = swapped & ((candidate.unit(rows) * candidate.unit(nearest)).sum(axis=1) > ALIKE)
    are_given_twice = twice.sum() > 0.5 * swapped.sum()
    told = twice if are_given_twice else swapped
    share, first = float(told.mean()), int(np.flatnonzero(told)[0])
    mine, other = candidate.inputs[int(rows[first])].text, reference.inputs[int(nearest[first])].text
    example = f"({quoted(mine, 40)} received that of {quoted(other, 40)})"
    proof = Proof("read", len(rows), layers=("order", BY_BATCH))
    if are_given_twice:
        cause = f"{share:.0%} of the texts have the embedding of another one, which has it as well {example}"
        return Diagnosis("order", cause, "see which rows are given twice, and where the others are left", proof)
    return Diagnosis(
        "order",
        f"embeddings come back in another order than the texts: {share:.0%} of them belong to another text {example}",
        "restore the caller's order after sorting texts by length or splitting them into batches",
        proof,
    )


def _alike(candidate: Embeddings, reference: Embeddings) -> Diagnosis | None:
    """Whether many texts that the reference tells apart have one and the same embedding."""
    rows = _sample(reference)
    mine, theirs = (arm.unit(rows) @ arm.unit(rows).T for arm in (candidate, reference))
    merged = (mine > ALIKE) & (theirs < TOLD_APART)
    share = float(merged.any(axis=1).mean())
    if share < 0.5:
        return None
    return Diagnosis(
        "unknown",
        f"{share:.0%} of the texts have the embedding of another text, which the reference tells apart",
        "see whether texts reach the model one by one, and whether its weights were loaded",
    )


def _other_lengths(candidate: Embeddings, reference: Embeddings) -> Diagnosis | None:
    """That embeddings point as the reference's do, and have other lengths; None where either is not so."""
    cosines = (candidate.normalised * reference.normalised).sum(axis=1)
    told = _told_lengths(candidate.matrix, reference.matrix, cosines)
    if told is None:
        return None
    what, step = told
    return Diagnosis("normalisation", f"embeddings have the reference's directions and {what}", step)


def _told_lengths(mine: Matrix, theirs: Matrix, cosines: Cosines) -> tuple[str, str] | None:
    """What sets lengths apart, and what to try; None where nothing does, or directions are off as well.

    Zeros are left out: they have no direction, and are named as what they are.

    Args:
        mine: The combination's vectors, float32 `[n, dim]`.
        theirs: The reference's.
        cosines: Of each vector to the reference's.
    """
    given = mine.any(axis=1)
    if not given.any():
        return None
    lengths, others = (np.linalg.norm(rows[given], axis=1) for rows in (mine, theirs))
    if float(np.abs(lengths - others).max()) <= UNIT_NORM * float(others.max()):
        return None
    return _lengths(lengths, others) if _explain(lengths, others, cosines[given]) else None


def _explain(mine: npt.NDArray[np.float32], theirs: npt.NDArray[np.float32], cosines: Cosines) -> bool:
    """Whether lengths are what sets vectors apart, and not directions: what is left without them is little.

    Args:
        mine: The combination's lengths, float32 `[n]`.
        theirs: The reference's.
        cosines: Of each vector to the reference's.
    """
    kept = (mine > 0) & (theirs > 0)
    if not kept.any() or float(cosines[kept].mean()) < SAME_HIDDEN_STATES:
        return False
    factors, kept_cosines = mine[kept] / theirs[kept], cosines[kept]
    turned = float(np.median(np.maximum(2 - 2 * kept_cosines, 0)))
    whole = float(np.median(np.maximum(1 + np.square(factors) - 2 * factors * kept_cosines, 0)))
    return turned <= LEFT * whole


def _lengths(mine: npt.NDArray[np.float32], theirs: npt.NDArray[np.float32]) -> tuple[str, str]:
    """What sets the lengths of embeddings apart from the reference's, and what to try.

    Args:
        mine: The combination's, float32 `[n]`.
        theirs: The reference's, float32 `[n]`.
    """
    ranges = f"{_from_to(mine)}, the reference's {_from_to(theirs)}"
    if _all_one(mine):
        return f"other lengths: {ranges}", "the model does not normalise: see what does, such as the server"
    factors = mine[theirs > 0] / theirs[theirs > 0]
    factor = float(np.median(factors)) if factors.size else 0.0
    if factor > 0 and float(np.abs(factors / factor - 1).max()) <= UNIT_NORM:
        what = f"lengths of {factor:.4g} times the reference's, all alike: {ranges}"
        return what, f"look for what multiplies every vector by {factor:.4g}"
    return f"other lengths: {ranges}", length_step(normalises=_all_one(theirs))


def length_step(*, normalises: bool) -> str:
    """What to try where lengths are others, each by another factor, of a model that normalises or does not."""
    stretched = "the model does not normalise: see what stretches its vectors, each by another factor"
    return NEXT_STEPS["normalisation"] if normalises else stretched


def _all_one(lengths: npt.NDArray[np.float32]) -> bool:
    return float(np.abs(lengths - 1).max()) <= UNIT_NORM


def _from_to(lengths: npt.NDArray[np.float32]) -> str:
    return f"{lengths.min():.3f} to {lengths.max():.3f}"


def _sample(embeddings: Embeddings) -> npt.NDArray[np.intp]:
    """Rows of up to 512 texts, evenly spread."""
    return np.linspace(0, len(embeddings) - 1, min(len(embeddings), 512)).astype(np.intp)


def _stages(candidate: Arm, reference: Arm, mine: Stages, theirs: Stages, probes: Sequence[str]) -> Diagnosis | None:
    reading = Reading(candidate.inside.read, reference.inside.read, reference.inside.spelt)
    if read := tokens.diagnose(probes, mine.token_ids, theirs.token_ids, reading):
        return read
    if departed := hidden.diagnose(candidate, reference, mine, theirs):
        return departed
    if told := _pooled(mine, theirs):
        agree = f"{_compared(mine, theirs)} agree, pooled embeddings do not"
        return Diagnosis("pooling", f"{agree}{told}", NEXT_STEPS["pooling"])
    return _finished(mine, theirs)


def _pooled(mine: Stages, theirs: Stages) -> str:
    """What sets pooled embeddings apart, to be put behind that; empty where nothing does, or one shows none."""
    one, other = mine.pooled, theirs.pooled
    if one is None or other is None:
        return ""
    if one.shape != other.shape:
        return f": they have {one.shape[1]} numbers, the reference's {other.shape[1]}"
    cosine = row_cosines(one, other)
    if float(cosine.min()) < 1 - SAME_POOLING:
        return f" (cosine {cosine.mean():.3f} on average){_pooling_found(mine, theirs)}"
    lengths, others = (np.linalg.norm(each, axis=1) for each in (one, other))
    are_same = float(np.abs(lengths - others).max()) <= OTHER_LENGTHS * float(others.max())
    return "" if are_same else f": they have lengths of {_from_to(lengths)}, the reference's {_from_to(others)}"


def _compared(mine: Stages, theirs: Stages) -> str:
    """What both show of what comes before pooling, in words."""
    is_shown = mine.token_embeddings is not None and theirs.token_embeddings is not None
    return "tokens and hidden states" if is_shown else "tokens"


def _finished(mine: Stages, theirs: Stages) -> Diagnosis | None:
    """What becomes of pooled embeddings, which agree: other lengths, or other vectors altogether."""
    cosines = row_cosines(mine.embeddings, theirs.embeddings)
    if told_lengths := _told_lengths(mine.embeddings, theirs.embeddings, cosines):
        what, step = told_lengths
        return Diagnosis("normalisation", f"embeddings have {what}", step)
    my_norms, their_norms = np.linalg.norm(mine.embeddings, axis=1), np.linalg.norm(theirs.embeddings, axis=1)
    have_other_lengths = float(np.abs(my_norms - their_norms).max()) > UNIT_NORM * float(their_norms.max())
    all_shown = all(each.pooled is not None and each.token_embeddings is not None for each in (mine, theirs))
    if not all_shown or float(cosines.min()) >= 1 - SAME_POOLING:
        return None
    lengths = f", and other lengths ({_from_to(my_norms)}, the reference's {_from_to(their_norms)})"
    told = f"embeddings do not (cosine {cosines.mean():.3f} on average{lengths if have_other_lengths else ''})"
    return Diagnosis(
        "modules",
        f"tokens, hidden states and pooled embeddings agree, {told}: it is done after pooling, or around the model",
        "see the modules after pooling, and what its `encode` does to texts before the model, and to rows after it",
        Proof("read", len(mine.token_ids)),
    )


def _pooling_found(mine: Stages, theirs: Stages) -> str:
    """Which pooling reproduces what came out, where one of the usual ones does."""
    if mine.token_embeddings is None or mine.pooled is None:
        return ""
    usual = {
        "CLS": [states[0] for states in mine.token_embeddings],
        "last token": [states[-1] for states in mine.token_embeddings],
        "max": [states.max(axis=0) for states in mine.token_embeddings],
        "mean": [states.mean(axis=0) for states in mine.token_embeddings],
    }

    def name(pooled: npt.NDArray[np.float32]) -> str | None:
        for pooling, rows in usual.items():
            if pooled.shape == np.shape(rows) and float(row_cosines(pooled, np.stack(rows)).min()) > 0.999:
                return pooling
        return None

    found, expected = name(mine.pooled), name(theirs.pooled) if theirs.pooled is not None else None
    return f": it pools by {found}, the reference by {expected or 'another way'}" if found else ""
