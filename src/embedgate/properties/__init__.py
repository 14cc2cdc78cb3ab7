"""Properties: what must hold for every text, looked for with Hypothesis rather than averaged over a dataset.

`ordering` asks whether similarities keep their order, `invariance` whether an embedding depends on its surroundings,
`contract` whether any text at all comes back as a sound vector. `explore` runs Hypothesis for all of them. Each names
what it found as a `Violation`: the smallest texts that break the property, and why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from embedgate.core.judgement import ROUNDING
from embedgate.encoders import FloatArray

# From texts to their embeddings, float32 `[n, dim]`.
Embed = Callable[[Sequence[str]], FloatArray]


@dataclass(frozen=True)
class Violation:
    """The smallest example that breaks a property.

    Attributes:
        texts: The texts of the example, in the order of the property.
        message: What was found, in one line.
        value: How far it went; None where nothing is measured.
        limit: How far it may go.
        layer: The layer of what was observed, as in `embedgate.core.judgement.Diagnosis`; empty where nothing was
            beyond the message.
        cause: What was observed, in one line; empty with `layer`.
        next_step: What to try, in one line; empty with `layer`.
        details: Further lines, such as the similarities in both arms.
        explained_by: Layers of which one must be reached by a cause of the whole run for that to explain it, see
            `embedgate.core.judgement.Diagnosis.reaches`; empty where what was observed is itself the cause.
    """

    texts: tuple[str, ...]
    message: str
    value: float | None = None
    limit: float | None = None
    layer: str = ""
    cause: str = ""
    next_step: str = ""
    details: tuple[str, ...] = field(default=())
    explained_by: tuple[str, ...] = ()

    def with_cause_of(self, other: Violation) -> Violation:
        """This violation with the cause of another."""
        told = replace(self, layer=other.layer, cause=other.cause, next_step=other.next_step)
        return replace(told, explained_by=other.explained_by)


def as_rounding(violation: Violation, tolerance: str) -> Violation:
    """A violation as one that is rounding: nothing else is its cause.

    Args:
        violation: One that moves vectors by less than `ROUNDING`.
        tolerance: The key of tolerances.toml that it broke.
    """
    cause = f"moves of less than {ROUNDING:g} of a vector's length are rounding, as another order of summation gives"
    step = f"look for no fault: where such moves are normal here, allow them by {tolerance} (docs/properties.md)"
    return replace(violation, layer="rounding", cause=cause, next_step=step, explained_by=())


@dataclass(frozen=True)
class Outcome:
    """The outcome of looking for a violation.

    Attributes:
        violation: The smallest one found; None where there is none.
        tried: How many examples were tried.
        worst: The largest value met on the way, in the unit of the limit; None where nothing is measured.
        limit: The largest value allowed; None where nothing is measured.
        note: What a reader should know where nothing is broken.
    """

    violation: Violation | None
    tried: int
    worst: float | None = None
    limit: float | None = None
    note: str = ""
