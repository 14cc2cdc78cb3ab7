"""Names why the same tokens give other hidden states: the first layer that departs, and weights told from inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from embedgate.core.errors import counted, listed
from embedgate.core.judgement import Diagnosis, Proof
from embedgate.diagnosis import weights
from embedgate.diagnosis.arm import Arm, Layers
from embedgate.diagnosis.distance import row_cosines
from embedgate.diagnosis.faults import STEPS
from embedgate.diagnosis.weights import EQUAL, Comparison
from embedgate.encoders import EMBEDDINGS, FloatArray, Stages
from embedgate.encoders.weights import Weight

# Mean cosine of token embeddings under which they count as different: where every product computes in float32 only the
# order of summation may differ, and reduced types that lose nothing worth a look stay above the other.
SAME_IN_FLOAT32 = 0.9999
SAME_HIDDEN_STATES = 0.995
# Share by which the length of all hidden states may differ: rounding in float32 turns them, and stretches them less.
SAME_LENGTHS_IN_FLOAT32 = 1e-2
# Cosines from here on are told with more digits.
ALMOST_ONE = 0.999
# Distances, as a share of the reference's length, from which on a layer departs: beyond rounding in float32, and as far
# as the cosine above is apart.
DEPARTED_IN_FLOAT32 = 1e-3
DEPARTED = 0.1
# Texts whose layers are looked at: those that moved most.
TEXTS = 4
# Types whose rounding no longer adds up to another embedding.
WIDE = ("float32", "float16", "bfloat16")


@dataclass(frozen=True)
class Departure:
    """The first layer at which hidden states depart.

    Attributes:
        layer: Its name.
        distance: How far, as a share of the length of the reference's.
        before: The layer before it, where all is well; empty where it is the first.
        others: The names of all other layers.
    """

    layer: str
    distance: float
    before: str
    others: tuple[str, ...] = ()

    def may_have(self, weight: str) -> bool:
        """Whether a tensor may be of this layer: it has the layer's name, or that of no other one."""
        return not any(weight.startswith(f"{other}.") for other in self.others if other != EMBEDDINGS)


def first_departure(mine: Layers, theirs: Layers, limit: float) -> Departure | None:
    """The first layer after which hidden states depart; None where none does of those that both have.

    Args:
        mine: Of each layer by name, in the order they run, every text's hidden states, float32 `[tokens, hidden]`.
        theirs: The reference's, of the same texts.
        limit: The distance that counts as none, as a share of the length of the reference's.
    """
    before = ""
    for name, (one, other) in zip(theirs, zip(mine.values(), theirs.values(), strict=False), strict=False):
        distance = _distance(one, other)
        if not distance <= limit:  # NaN departs
            return Departure(name, distance, before, tuple(other for other in theirs if other != name))
        before = name
    return None


def diagnose(candidate: Arm, reference: Arm, mine: Stages, theirs: Stages) -> Diagnosis | None:
    """Says that the same tokens give other hidden states, and what is shown of why; None where they give the same.

    Args:
        candidate: The one.
        reference: The reference.
        mine: The one's stages.
        theirs: The reference's.
    """
    if mine.token_embeddings is None or theirs.token_embeddings is None:
        return None
    sizes = mine.token_embeddings[0].shape[1], theirs.token_embeddings[0].shape[1]
    if sizes[0] != sizes[1]:
        told = f"the same tokens give hidden states of {sizes[0]} numbers, the reference's have {sizes[1]}"
        return Diagnosis("hidden states", told, "see which model it runs", Proof("read", len(mine.token_ids)))
    cosines = [row_cosines(a, b).mean() for a, b in zip(mine.token_embeddings, theirs.token_embeddings, strict=True)]
    cosine, in_float32 = float(np.mean(cosines)), set(candidate.evidence.products) == {"float32"}
    factor = _factor(mine.token_embeddings, theirs.token_embeddings)
    same_lengths = abs(factor - 1) <= (SAME_LENGTHS_IN_FLOAT32 if in_float32 else DEPARTED)
    if cosine >= (SAME_IN_FLOAT32 if in_float32 else SAME_HIDDEN_STATES) and same_lengths:
        return None
    worst = np.argsort(cosines, kind="stable")[:TEXTS].tolist()
    layers = candidate.inside.layers(worst) or {}
    shown = layers, (reference.inside.layers(worst) or {}) if layers else {}
    departure = first_departure(*shown, DEPARTED_IN_FLOAT32 if in_float32 else DEPARTED) if all(shown) else None
    comparison = _comparison(candidate, reference)
    digits = 3 if cosine < ALMOST_ONE else 5
    lengths = "" if same_lengths else f", {factor:.3g} times their length"
    finding = f"the same tokens give other hidden states (mean cosine {cosine:.{digits}f} to the reference's{lengths})"
    proof = Proof("read", len(mine.token_ids))
    shown_why = _layers_missing(candidate, reference, *shown) or _of_weights(comparison, departure)
    if shown_why is None and (low := _in_low_precision(candidate, departure)):
        # What it computes in is no proof that this is the reason.
        return Diagnosis("hidden states", f"{finding}{low[0]}", low[1])
    why, step = shown_why or _tensors_missing(comparison, departure) or _of_inputs(comparison, departure)
    return Diagnosis("hidden states", f"{finding}{why}", step, proof)


def _comparison(candidate: Arm, reference: Arm) -> Comparison:
    mine, theirs = candidate.inside.weights(), reference.inside.weights()
    nothing: Mapping[str, Weight] = {}
    try:
        return weights.compared(mine or nothing, theirs or nothing)
    except Exception:  # whatever a library raises over weights that it packs: the layer is known all the same
        return weights.compared(nothing, nothing)


def _layers_missing(candidate: Arm, reference: Arm, mine: Layers, theirs: Layers) -> tuple[str, str] | None:
    step = STEPS["layers"]
    if mine and theirs:
        runs, others = (sum(name != EMBEDDINGS for name in each) for each in (mine, theirs))
        how = "missing" if runs < others else "new"
        return (f"; it runs {runs} layers, the reference {others}: layers are {how}", step) if runs != others else None
    products, expected = sum(candidate.evidence.products.values()), sum(reference.evidence.products.values())
    # A single product less may be a pooler, which no embedding comes from.
    if candidate.evidence.library == reference.evidence.library and 0 < products < expected - 1:
        return f"; it runs {products} products with weights, the reference {expected}: layers are missing", step
    return None


def _of_weights(comparison: Comparison, departure: Departure | None) -> tuple[str, str] | None:
    """What is told where tensors differ by more than rounding."""
    found = comparison.departed
    if not found:
        return None
    step = "compare the files of weights, and what was done to them: the revision, conversion, merging"
    if departure is None or any(departure.may_have(each.name) for each in found):
        return f"{_where(departure)}; {comparison.told()}", step
    # What departs first has other reasons than weights of later layers.
    return f"{_where(departure)}, none of whose weights differ; {comparison.told()}", step


def _tensors_missing(comparison: Comparison, departure: Departure | None) -> tuple[str, str] | None:
    """What is told where the first layer that departs lacks tensors."""
    if departure is None or departure.layer == EMBEDDINGS:
        return None
    missing = [name for name in comparison.missing if f"{departure.layer}." in f"{name}."]
    if not missing or not comparison.differences:
        return None
    told = f"{counted(len(missing), 'tensor')} of weights not found there: {listed(missing)}"
    return f"{_where(departure)}; {told}", "see which modules of that layer were left out, replaced or renamed"


def _in_low_precision(candidate: Arm, departure: Departure | None) -> tuple[str, str] | None:
    """What is told where products compute in 8 bits or fewer, and nothing else is known to differ."""
    low = {name: n for name, n in candidate.evidence.products.items() if name not in WIDE}
    if not low:
        return None
    kinds = ", ".join(f"{n} in {name}" for name, n in sorted(low.items()))
    products = sum(candidate.evidence.products.values())
    return (
        f"{_where(departure)}; of {products} products with weights, {kinds}, and nothing else is known to differ",
        "calibrate on typical texts, quantize per channel, or keep the most sensitive products in float",
    )


def _of_inputs(comparison: Comparison, departure: Departure | None) -> tuple[str, str]:
    """What is told where no weights are known to differ."""
    if not comparison.differences:
        shown = f"{_where(departure)}; its weights are not shown"
        return shown, "compare the weights' fingerprint, and what the layers are given beside tokens"
    count = len(comparison.differences)
    which = f"all {count}" if comparison.is_whole else f"{count} of {comparison.of}"
    same = "equal the reference's" if comparison.largest <= EQUAL else "are the reference's but for rounding"
    what = _given(departure)
    rest = "" if comparison.is_whole else "the rest differs, or "
    told = f"{which} tensors of weights {same}: {rest}it is given other {what}, or computes otherwise there"
    return (
        f"{_where(departure)}; {told}",
        f"compare {what} as the model is given them, and config.json: activation, epsilon, attention",
    )


def _given(departure: Departure | None) -> str:
    """What a layer is given beside tokens and the results of the layers before it."""
    if departure is None:
        return "inputs (attention mask, positions, token types)"
    return "positions or token types" if departure.layer == EMBEDDINGS else "attention masks"


def _where(departure: Departure | None) -> str:
    if departure is None:
        return ""
    after = f", after {departure.before} within rounding" if departure.before else ""
    called = "the embedding layer" if departure.layer == EMBEDDINGS else departure.layer
    return f"; the first that departs is {called} (by {departure.distance:.2g} of their length{after})"


def _factor(mine: Sequence[FloatArray], theirs: Sequence[FloatArray]) -> float:
    """The length of all hidden states, as a multiple of the reference's."""
    length = float(np.linalg.norm(np.concatenate(theirs)))
    return float(np.linalg.norm(np.concatenate(mine))) / length if length else 1.0


def _distance(mine: Sequence[FloatArray], theirs: Sequence[FloatArray]) -> float:
    """Distance of all texts' hidden states, as a share of the length of the reference's; infinite for other shapes."""
    if [each.shape for each in mine] != [each.shape for each in theirs]:
        return float("inf")
    one, other = np.concatenate(mine), np.concatenate(theirs)
    length = float(np.linalg.norm(other))
    return float(np.linalg.norm(one - other)) / length if length else float(np.linalg.norm(one))
