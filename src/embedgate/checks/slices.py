"""Is every part of a dataset as good as before? A small overall loss may be a large one of texts that negate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import numpy as np

from embedgate.checks.check import Case, Check, Subject, candidates
from embedgate.checks.context import Context
from embedgate.core.combination import Combination
from embedgate.core.errors import counted
from embedgate.core.family import Share
from embedgate.core.judgement import DATASET, SCORES_NOTHING, TOO_FEW, Diagnosis, Judgement, Slice
from embedgate.data.types import Dataset, Texts
from embedgate.metrics import METRICS, Scores, mean_of, metrics_of
from embedgate.metrics.comparison import Comparison
from embedgate.metrics.ends import FEW, interval
from embedgate.metrics.statistics import compare_points
from embedgate.runtime.plan import Plan

# An interval of items that count as fewer is none to judge by.
FEWEST = FEW
# A slice is too small where its interval reaches further than this part of the tolerance: of a loss of half the
# tolerance it could tell nothing.
WIDEST = 0.5
# What slices of unlabelled texts are judged by: a mean over texts that are each compared alone.
AGREED = "cosine_mean"
# The more telling verdict first.
_VERDICTS = ("fail", "inconclusive", "pass")


@dataclass(frozen=True)
class Judged:
    """A slice, and what its comparison came to.

    Attributes:
        slice: The slice.
        found: The comparison, in the unit of the metric.
        own: As how many its items count.
    """

    slice: Slice
    found: Comparison
    own: int

    @property
    def is_small(self) -> bool:
        """Whether its items cannot tell: no loss beyond the tolerance is seen, and a small one would be as open."""
        found, tolerance = self.found, -self.found.limit
        wide = found.observed - found.low > tolerance * WIDEST
        return found.verdict == "inconclusive" and found.observed >= found.limit and wide


def _rank(each: Judged) -> tuple[int, int, float]:
    """Its place among the slices: the surest loss first, and of the others that with least room to the limit."""
    found = each.found
    end = found.high if found.verdict == "fail" else found.low
    return _VERDICTS.index(found.verdict), -(found.largest_family or 0), end - found.limit


def of_sliced(plan: Plan) -> Iterable[Subject]:
    """Each dataset with a slice of 30 items or more, by the metric that stands for it; of texts alone, `AGREED`."""
    for dataset in plan.datasets:
        metrics = [metric for metric in metrics_of(dataset.kind) if METRICS[metric].heading]
        for metric in [AGREED] if isinstance(dataset, Texts) else metrics:
            if any(len(rows) >= FEWEST for rows in dataset.slices.values()):
                yield Subject(f"{dataset.name}-{metric}", dataset.name, metric, dataset)


def slices_kept(context: Context, case: Case) -> Judgement:
    """Whether a combination keeps the reference's quality on each slice of a dataset."""
    run, metric, dataset = context.run(case), case.subject.metric, case.subject.about
    try:
        mine = context.session.scores(run, dataset)[metric]
        theirs = _whole(mine)
        if metric != AGREED:
            theirs = context.session.scores(context.reference_run(case), dataset)[metric]
    except ValueError as error:  # NaN, or a dimension of its own
        return case.unmeasured(error, context.diagnose(run))
    parts = _parts(theirs, dataset)
    few = {name: part.independent for name, part in parts.items() if part.independent < FEWEST}
    nothing = [name for name, part in parts.items() if name not in few and not scores_something(part, context.alpha)]
    asked = [name for name in parts if name not in few and name not in nothing]
    family = context.family(case) * len(asked)
    all_judged = [_judged(context, case, name, (mine.of(dataset.slices[name]), parts[name]), family) for name in asked]
    few |= {each.slice.name: each.own for each in all_judged if each.is_small}
    left, judged = _left(few, nothing), sorted((each for each in all_judged if not each.is_small), key=_rank)
    if not judged:
        cause = "; ".join(filter(None, (f"no slice of {dataset.name} can be judged by {metric}", left)))
        return case.unjudged(
            Diagnosis(DATASET, cause, "give slices more items, of which those that repeat one another count once")
        )
    first, *others = judged
    judgement = case.compared(
        _of_the_dataset(first.found, len(asked)),
        "; ".join(filter(None, (_told(judged, dataset, metric), left))),
        first.slice.value,
        first.slice.reference_value,
        diagnose=lambda: context.diagnose(run),
        details=tuple(_line(each) for each in others if each.found.verdict == "fail"),
    )
    return replace(judgement, slices=tuple(each.slice for each in judged))


def _judged(context: Context, case: Case, name: str, arms: tuple[Scores, Scores], family: int) -> Judged:
    """The comparison of a slice, of the combination's scores with the reference's."""
    metric = case.subject.metric
    tolerance, loss = _tolerance(context, case.combination, metric), METRICS[metric].unit_loss
    level: Share = {**context.share(case), "family": family}
    found = compare_points(*arms, tolerance, alpha=context.alpha, unit_loss=loss, **level)
    values = arms[0].value, arms[1].value
    part = Slice(name, len(arms[0].items), *values, found.low, found.high, found.verdict)
    return Judged(part, found, arms[1].independent)


def _tolerance(context: Context, combination: Combination, metric: str) -> float:
    """The largest loss on a slice; of cosines to the reference, what the floor leaves of its own, which are 1."""
    if metric == AGREED:
        return 1 - context.tolerances.floor(combination, metric)
    return context.tolerances.slices(combination, metric)


def _whole(mine: Scores) -> Scores:
    """The cosines of the reference's embeddings to themselves."""
    return replace(mean_of(np.ones_like(mine.items)), clusters=mine.clusters)


def scores_something(reference: Scores, alpha: float) -> bool:
    """Whether the reference scores above zero beyond chance, so that there is something to lose.

    It does not where all grades or labels of a slice are one, or where the model cannot read its texts.
    """
    return reference.value > 0 and interval(reference, alpha).low > 0


_PARTS: WeakKeyDictionary[Scores, dict[str, Scores]] = WeakKeyDictionary()


def _parts(reference: Scores, dataset: Dataset) -> Mapping[str, Scores]:
    """The reference's scores of each slice, made once for all combinations, as their replicates are."""
    if reference not in _PARTS:
        _PARTS[reference] = {name: reference.of(rows) for name, rows in dataset.slices.items() if len(rows) > 1}
    return _PARTS[reference]


def _of_the_dataset(found: Comparison, slices: int) -> Comparison:
    """A comparison whose family counts datasets, each of which shares its level among its slices."""
    most = found.largest_family
    return found if most is None else replace(found, largest_family=most // slices)


def _told(judged: Sequence[Judged], dataset: Dataset, metric: str) -> str:
    first = judged[0]
    told = f"{_line(first)} of {metric} on {dataset.name}, {-first.found.limit:g} is tolerated"
    if first.found.verdict != "pass":
        return told
    return f"{counted(len(judged), 'slice')} of {dataset.name} judged, least room on {first.slice.name}: {told}"


def _left(few: Mapping[str, int], nothing: Sequence[str]) -> str:
    """The slices that are not judged, and why."""
    small = ", ".join(f"{name} ({own})" for name, own in few.items())
    told = f"{TOO_FEW}{small}" if few else ""
    none = f"{SCORES_NOTHING}{', '.join(nothing)}" if nothing else ""
    return "; ".join(filter(None, (told, none)))


def _line(each: Judged) -> str:
    part = each.slice
    change, values = part.value - part.reference_value, f"{part.value:.4f} of {part.reference_value:.4f}"
    return f"{part.name} ({part.items} items) {change:+.4f} ({values})"


SLICES = Check(
    "slices",
    slices_kept,
    candidates,
    of_sliced,
    family="slices",
    tolerances=("slices",),
    vocabulary=lambda: METRICS,
)
