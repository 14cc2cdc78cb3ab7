"""Compares the weights of two encoders by name, one tensor of each at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from embedgate.core.errors import listed
from embedgate.encoders import FloatArray
from embedgate.encoders.weights import Weight

# Share of a tensor's length by which two may differ and count as the same: bfloat16 rounds by up to 0.004.
TOLERANCE = 5e-3
# Share by which they differ at most that are the same number for number.
EQUAL = 1e-6
# Cosine from which on nothing but their length sets two tensors apart.
PARALLEL = 0.9999
# Cosine from which on a tensor of another name is taken for one, and how many of its numbers are looked at for that.
NEARLY = 0.9
SAMPLED = 4096


@dataclass(frozen=True)
class Difference:
    """How far one tensor is from the reference's.

    Attributes:
        name: Its name in the reference.
        distance: As a share of the length of the reference's; NaN where one is not finite.
        cosine: Its cosine to the reference's.
        factor: Its length, as a multiple of the reference's.
        rounding: The distance that storing it may make.
    """

    name: str
    distance: float
    cosine: float
    factor: float
    rounding: float

    def is_beyond(self, tolerance: float) -> bool:
        """Whether neither the tolerance nor rounding explains it."""
        return not self.distance <= max(tolerance, self.rounding)  # NaN is beyond

    def __str__(self) -> str:
        """As a person reads it."""
        if np.isnan(self.distance):
            return f"{self.name}, which holds NaN or infinity"
        if self.cosine > PARALLEL:
            return f"{self.name} by {self.distance:.2g} of its length ({self.factor:.4g} times the reference's)"
        return f"{self.name} by {self.distance:.2g} of its length (cosine {self.cosine:.3f})"


@dataclass(frozen=True)
class Comparison:
    """What came of comparing two encoders' weights.

    Attributes:
        differences: Each tensor that both have, in the reference's order.
        of: How many tensors the reference has.
        missing: Names of the reference's that the candidate has no tensor for; none where it has others to which no
            name of the reference's belongs, since these may be the same by other names.
    """

    differences: tuple[Difference, ...]
    of: int
    missing: tuple[str, ...] = ()

    @property
    def departed(self) -> list[Difference]:
        """Those that differ by more than rounding, the furthest first."""
        beyond = [each for each in self.differences if each.is_beyond(TOLERANCE)]
        return sorted(beyond, key=lambda each: np.inf if np.isnan(each.distance) else each.distance, reverse=True)

    @property
    def is_whole(self) -> bool:
        """Whether every tensor of the reference was compared."""
        return bool(self.differences) and len(self.differences) == self.of

    @property
    def largest(self) -> float:
        """The largest difference that was found."""
        return max((each.distance for each in self.differences), default=0.0)

    def told(self) -> str:
        """Which tensors depart, in one line."""
        found = self.departed
        count = f"{len(found)} of {len(self.differences)} tensors of weights differ: " if len(found) > 1 else ""
        one = "" if count else "the weights differ: "
        return f"{count}{one}{listed([*map(str, found)])}"


def compared(candidate: Mapping[str, Weight], reference: Mapping[str, Weight]) -> Comparison:
    """Compares every tensor that both have.

    Args:
        candidate: The one's weights by name.
        reference: The reference's. Either name may have more in front of it.
    """
    by_name = matched(candidate, reference)
    found = tuple(_differences(candidate, reference, by_name))
    has_others = bool(set(candidate) - {*by_name.values()})
    missing = () if has_others else tuple(name for name in reference if name not in by_name)
    return Comparison(found, len(reference), missing)


def matched(candidate: Collection[str], reference: Collection[str]) -> dict[str, str]:
    """The candidate's name of each tensor of the reference's that it has.

    Args:
        candidate: The one's names, such as `bert.encoder.layer.0.output.dense.weight`.
        reference: The reference's, such as `encoder.layer.0.output.dense.weight`.
    """
    by_end: dict[str, list[str]] = {}
    for name in candidate:
        for end in _ends(name):
            by_end.setdefault(end, []).append(name)
    found: dict[str, str] = {}
    for name in reference:
        if name in candidate:
            found[name] = name
            continue
        longer = by_end.get(name, [])
        shorter = [end for end in _ends(name) if end in candidate]
        if len(longer) == 1 or (not longer and shorter):
            found[name] = (longer or shorter)[0]
    taken = Counter(found.values())
    return {name: mine for name, mine in found.items() if taken[mine] == 1}


def _ends(name: str) -> Sequence[str]:
    """A name, and what is left of it without the first of its parts, and so on; its last two parts at least."""
    parts = name.split(".")
    return [".".join(parts[i:]) for i in range(max(1, len(parts) - 1))]


def _differences(
    candidate: Mapping[str, Weight], reference: Mapping[str, Weight], by_name: Mapping[str, str]
) -> Iterator[Difference]:
    by_values = _matched_by_values(candidate, reference, by_name)
    for name in reference:
        if name in by_name:
            mine = candidate[by_name[name]]
        elif name in by_values:
            other, turned = by_values[name]
            mine = candidate[other]
            mine = replace(mine, values=mine.values.T) if turned else mine
        else:
            continue
        if (found := _compared(name, mine, reference[name])) is not None:
            yield found


def _compared(name: str, mine: Weight, theirs: Weight) -> Difference | None:
    """How far two tensors are apart; None where their shapes or scales say nothing of that."""
    if mine.values.shape != theirs.values.shape or (mine.may_be_scaled and mine.values.ndim != 2):
        return None
    values = _unscaled(mine.values, theirs.values) if mine.may_be_scaled else mine.values
    return _difference(name, values, theirs.values, max(mine.rounding, theirs.rounding))


def _matched_by_values(
    candidate: Mapping[str, Weight], reference: Mapping[str, Weight], by_name: Mapping[str, str]
) -> dict[str, tuple[str, bool]]:
    """Tensors of the candidate's that go by another name, by those that they are nearly; and whether they are turned.

    Exporters fold the weights of products into tensors without a name, as they are or transposed.
    """
    left = [name for name in reference if name not in by_name]
    unnamed = _unnamed(candidate, {*by_name.values()}) if left else {}
    found: dict[str, tuple[str, bool]] = {}
    for name in left if unnamed else ():
        values = reference[name].values
        sample, others = _sample(values), unnamed.get(values.shape, [])
        near = [(_cosine(sample, each.sample), each.name, each.turned) for each in others]
        cosine, other, turned = max(near, default=(0.0, "", False))
        if cosine > NEARLY:
            found[name] = other, turned
    counts = Counter(other for other, _ in found.values())
    return {name: each for name, each in found.items() if counts[each[0]] == 1}


class _Unnamed(NamedTuple):
    """A tensor of two dimensions that goes by another name, as it is or turned."""

    name: str
    turned: bool
    sample: FloatArray


def _unnamed(candidate: Mapping[str, Weight], taken: Collection[str]) -> dict[tuple[int, ...], list[_Unnamed]]:
    """Those that are not taken, by their shape."""
    found: dict[tuple[int, ...], list[_Unnamed]] = {}
    for name in candidate:
        values = candidate[name].values if name not in taken else None
        for turned, each in ((False, values), (True, values.T)) if values is not None and values.ndim == 2 else ():
            found.setdefault(each.shape, []).append(_Unnamed(name, turned, _sample(each)))
    return found


def _sample(values: FloatArray) -> FloatArray:
    flat = values.ravel()
    return flat[:: max(1, flat.size // SAMPLED)].copy()


def _cosine(one: FloatArray, other: FloatArray) -> float:
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / lengths if lengths else 0.0


def _difference(name: str, mine: FloatArray, theirs: FloatArray, rounding: float) -> Difference:
    one, other = mine.ravel(), theirs.ravel()
    lengths = float(np.linalg.norm(one)), float(np.linalg.norm(other))
    distance = float(np.linalg.norm(one - other))
    if not lengths[0] * lengths[1]:
        return Difference(name, distance / lengths[1] if lengths[1] else distance, 0.0, 0.0, rounding)
    cosine = float(np.dot(one, other)) / (lengths[0] * lengths[1])
    return Difference(name, distance / lengths[1], cosine, lengths[0] / lengths[1], rounding)


def _unscaled(mine: FloatArray, theirs: FloatArray) -> FloatArray:
    """A product's weights with each input channel scaled so that it is nearest to the reference's."""
    own = np.einsum("oi,oi->i", mine, mine)
    both = np.einsum("oi,oi->i", mine, theirs)
    return np.asarray(mine * (both / np.maximum(own, np.float32(1e-12))), dtype=np.float32)
