"""Is every part of a dataset as good as before? A small overall loss may be a large one of texts that negate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from embedgate.checks.check import Case, Check, Subject, candidates
from embedgate.checks.context import Context
from embedgate.core.errors import counted, listed
from embedgate.core.judgement import DATASET, Diagnosis, Judgement, Slice
from embedgate.data.types import Dataset
from embedgate.metrics import METRICS, NotFinite, metrics_of
from embedgate.metrics.statistics import Comparison, compare_points
from embedgate.runtime.plan import Plan

# An interval of fewer items that repeat no other is no interval.
FEWEST = 30
# The more telling verdict first.
_VERDICTS = ("fail", "inconclusive", "pass")


@dataclass(frozen=True)
class Judged:
    """A slice, and what its comparison came to.

    Attributes:
        slice: The slice.
        found: The comparison, in the unit of the metric.
    """

    slice: Slice
    found: Comparison

    @property
    def rank(self) -> tuple[int, float]:
        """Its place among the slices: the reddest first, and then that with least room to the limit."""
        return _VERDICTS.index(self.found.verdict), self.found.low - self.found.limit


def of_sliced(plan: Plan) -> Iterable[Subject]:
    """Each dataset with a slice of 30 items or more, by the metric that stands for it."""
    for dataset in plan.datasets:
        for metric in metrics_of(dataset.kind):
            if METRICS[metric].heading and any(len(rows) >= FEWEST for rows in dataset.slices.values()):
                yield Subject(f"{dataset.name}-{metric}", dataset.name, metric, dataset)


def slices_kept(context: Context, case: Case) -> Judgement:
    """Whether a combination keeps the reference's quality on each slice of a dataset."""
    run, metric, dataset = context.run(case), case.subject.metric, case.subject.about
    tolerance = context.tolerances.slices(case.combination, metric)
    fewest = enough(context.alpha, tolerance, METRICS[metric].unit_loss)
    asked, small = _by_size(dataset, fewest)
    if not asked:
        cause = f"no slice of {dataset.name} has {fewest} items of their own, as a tolerance of {tolerance:g} takes"
        return case.unjudged(Diagnosis(DATASET, cause, f"give slices more items, or widen `slices.{metric}`"))
    try:
        mine, theirs = (context.session.scores(each, dataset)[metric] for each in (run, context.reference_run(case)))
    except NotFinite as error:
        return case.unmeasured(error, context.diagnose(run))
    judged = []
    for name, rows in asked.items():
        arms = mine.of(rows), theirs.of(rows)
        found = compare_points(
            *arms,
            tolerance,
            alpha=context.alpha,
            family=context.family(case) * len(asked),
            unit_loss=METRICS[metric].unit_loss,
        )
        part = Slice(name, len(rows), arms[0].value, arms[1].value, found.low, found.high, found.verdict)
        judged.append(Judged(part, found))
    first, *others = sorted(judged, key=lambda each: each.rank)
    judgement = case.compared(
        _of_the_dataset(first.found, len(asked)),
        _told(first, dataset, metric, tolerance, [*asked], small),
        first.slice.value,
        first.slice.reference_value,
        diagnose=lambda: context.diagnose(run),
        details=tuple(_line(each) for each in others if each.found.verdict == "fail"),
    )
    return replace(judgement, slices=tuple(each.slice for each in judged))


def enough(alpha: float, tolerance: float, unit_loss: float | None) -> int:
    """How many items of their own a slice must have to be judged: as many as pass where not one of them has changed.

    Args:
        alpha: Level of the lower end.
        tolerance: The loss that is acceptable, in the unit of the metric.
        unit_loss: As of `embedgate.metrics.Metric`. Of items that are right or wrong, it takes about 3 / tolerance
            (Hanley and Lippman-Hand 1983).
    """
    if unit_loss is None or not tolerance:
        return FEWEST
    return max(FEWEST, math.ceil(math.log(alpha) / math.log1p(-tolerance / unit_loss)))


def _by_size(dataset: Dataset, fewest: int) -> tuple[Mapping[str, tuple[int, ...]], list[str]]:
    """The slices to be judged, and those too small, with how many items they have that repeat no other."""
    clusters = dataset.clusters
    own = {
        name: len(rows if clusters is None else np.unique(clusters[list(rows)]))
        for name, rows in dataset.slices.items()
    }
    asked = {name: rows for name, rows in dataset.slices.items() if own[name] >= fewest}
    return asked, [f"{name} ({count})" for name, count in own.items() if name not in asked]


def _of_the_dataset(found: Comparison, slices: int) -> Comparison:
    """A comparison whose family counts datasets, each of which shares its level among its slices."""
    most = found.largest_family
    return found if most is None else replace(found, largest_family=most // slices)


def _told(first: Judged, dataset: Dataset, metric: str, tolerance: float, asked: list[str], small: list[str]) -> str:
    part = first.slice
    told = f"{_line(first)} of {metric} on {dataset.name}, {tolerance:g} is tolerated"
    if first.found.verdict == "pass":
        told = f"{counted(len(asked), 'slice')} of {dataset.name} judged, least room on {part.name}: {told}"
    return f"{told}; too few items to be judged: {listed(small)}" if small else told


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
