"""Did quantization cost quality? Against the reference of the same session."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from embedgate.checks.check import Case, Check, Subject, candidates
from embedgate.checks.context import Context
from embedgate.core.combination import Combination
from embedgate.core.depth import STANDARD, Depth
from embedgate.core.family import Share
from embedgate.core.judgement import DATASET, Diagnosis, Judgement, Slice, WorstText
from embedgate.data.types import Dataset, Texts
from embedgate.metrics import LENGTH_KEPT, METRICS, ORDERING, NotFinite, Scores, metrics_of
from embedgate.metrics.comparison import AllAlike, Comparison
from embedgate.metrics.sequential import levels
from embedgate.metrics.statistics import compare, compare_floor
from embedgate.runtime.plan import Plan
from embedgate.runtime.session import Run, Session
from embedgate.sentences import approved_set

WORST = 5
# Slices of fewer items say nothing, and of so many nobody reads more.
FEWEST, MOST_SLICES = 10, 50


def of_datasets(plan: Plan) -> Iterable[Subject]:
    """Each dataset with each of its metrics."""
    for dataset in plan.datasets:
        for metric in metrics_of(dataset.kind):
            yield Subject(f"{dataset.name}-{metric}", dataset.name, metric, dataset)


def of_texts(plan: Plan) -> Iterable[Subject]:
    """Each metric of the comparison with the reference, over all texts together and over each dataset without labels.

    Where such a dataset has all the texts there are, they are compared once, under its name.
    """
    metrics = [metric for metric in metrics_of("agreement") if metric != LENGTH_KEPT or not plan.normalises]
    if plan.compares_all_texts:
        yield from (Subject(metric, plan.texts_name, metric) for metric in metrics)
    for dataset in plan.unlabelled:
        yield from (Subject(f"{dataset.name}-{metric}", dataset.name, metric, dataset) for metric in metrics)


def of_order(_: Plan) -> Iterable[Subject]:
    """Each metric of the order of generated sentences."""
    return (Subject(metric, ORDERING, metric) for metric in metrics_of("ordering"))


def by_text_first(_: Plan, __: Combination, subject: Subject) -> Depth:
    """Quick for what is judged text by text, standard for neighbours, which all texts together decide."""
    return STANDARD if METRICS[subject.metric].among_all else "quick"


def retention(context: Context, case: Case) -> Judgement:
    """Whether a combination keeps the reference's quality on a dataset."""
    tolerance = context.tolerances.retention(case.combination, case.subject.metric)
    return kept(context, case, context.reference_run(case), tolerance, "the reference's")


def agreement(context: Context, case: Case) -> Judgement:
    """Whether a combination's embeddings stay near the reference's, text by text."""
    run, metric, dataset = context.run(case), case.subject.metric, case.subject.about
    floor = context.tolerances.floor(case.combination, metric)
    looks = _looks(context.session, run, metric, dataset)
    try:
        for look, alpha in zip(looks, levels(context.alpha, tuple(look.items for look in looks)), strict=True):
            scores = look.scores()[metric]
            found = compare_floor(scores, floor, metric=metric, alpha=alpha, **_shared(context, case))
            if found.verdict == "pass":
                break
    except AllAlike as error:
        return case.unjudged(all_alike(metric, dataset, error))
    except ValueError as error:  # NaN, or a dimension of its own
        return case.unmeasured(error, context.diagnose(run))
    of = f" of {dataset.name}" if dataset is not None else ""
    return case.compared(
        found,
        f"{metric} {scores.value:.4f} over {len(scores.items)} texts{of}, {floor:.4f} is required",
        scores.value,
        diagnose=lambda: context.diagnose(run),
        worst=lambda: _furthest(context.session, run, metric, dataset),
        items=looks[-1].items if len(looks) > 1 else None,
    )


@dataclass(frozen=True)
class _Look:
    """Some of the texts that agreement is judged over.

    Attributes:
        items: How many they are.
        scores: Measures their scores, by metric.
    """

    items: int
    scores: Callable[[], Mapping[str, Scores]]


def _looks(session: Session, run: Run, metric: str, dataset: Texts | None) -> list[_Look]:
    """The looks at a verdict over all texts of the session, or those of a dataset, each within the next."""
    last = METRICS[metric].among_all  # a part of the texts says nothing of all
    exact = METRICS[metric].quantile == 0
    if dataset is not None:
        parts: Sequence[Dataset] = (dataset,) if last else session.parts(run, dataset)
        if exact and len(parts) > 1:
            parts = session.encoded(run, dataset)
        return [_Look(len(part), partial(session.scores, run, part)) for part in parts]
    samples = (None,) if last else session.samples(run)
    if exact and len(samples) > 1:
        # A least item has no interval: the more are looked at, the better, and those that are encoded cost nothing.
        samples = (None,) if session.is_whole(run) else (tuple(session.side_by_side(run)[0].inputs), None)
    everything = len(session.texts.judged)
    return [
        _Look(everything if sample is None else len(sample), partial(session.agreement, run, sample))
        for sample in samples
    ]


def _furthest(session: Session, run: Run, metric: str, dataset: Texts | None) -> list[WorstText]:
    """The texts that moved furthest, or whose lengths did."""
    scores = session.agreement(run) if dataset is None else session.scores(run, dataset)
    texts = session.side_by_side(run)[0].inputs if dataset is None else dataset.inputs()
    items = scores[metric if metric == LENGTH_KEPT else "cosine_mean"].items
    return [WorstText(texts[int(i)].text, 1.0, float(items[i])) for i in np.argsort(items)[:WORST]]


def order_kept(context: Context, case: Case) -> Judgement:
    """Whether enough generated sentences keep the reference's order of similarity."""
    run, metric = context.run(case), case.subject.metric
    floor = context.tolerances.floor(case.combination, metric)
    try:
        scores = context.session.order(run)[metric]
    except NotFinite as error:
        return case.unmeasured(error, context.diagnose(run))
    found = compare_floor(scores, floor, metric=metric, alpha=context.alpha, **context.share(case))
    cases, _ = approved_set()
    turned = Counter(each.relation for each, kept in zip(cases, scores.items, strict=True) if kept < 1)
    shown = ", ".join(f"{relation} {count}" for relation, count in turned.most_common()) or "none"
    message = f"reverses {turned.total()} of {len(cases)} orders ({shown}): keeps {scores.value:.2%}"
    message += f", {floor:.2%} is required"
    return case.compared(found, message, scores.value, diagnose=lambda: context.diagnose(run))


def kept(context: Context, case: Case, other: Run, tolerance: float, whose: str, *, beyond: bool = False) -> Judgement:
    """Whether a run keeps another's quality on a dataset.

    Args:
        context: What the session judges by.
        case: The combination and dataset.
        other: The run whose quality it is to keep.
        tolerance: The loss that is acceptable, as a share; below zero, the gain that is asked.
        whose: What messages call the other run, in the possessive.
        beyond: Whether it must be better than that, and not only as good.
    """
    run, metric, session = context.run(case), case.subject.metric, context.session
    dataset: Dataset = case.subject.about
    parts = (dataset,) if METRICS[metric].among_all else session.parts(run, dataset)
    looks = levels(context.alpha, tuple(len(part) for part in parts))

    def paired(part: Dataset, alpha: float) -> tuple[Scores, Scores, Comparison]:
        mine, theirs = session.scores(run, part)[metric], session.scores(other, part)[metric]
        loss = METRICS[metric].unit_loss
        shared = _shared(context, case)
        found = compare(mine, theirs, tolerance, alpha=alpha, unit_loss=loss, beyond=beyond, **shared)
        return mine, theirs, found

    for part, alpha in zip(parts[:-1], looks, strict=False):
        with suppress(ValueError):  # what so few cannot be judged by, all of them may
            mine, theirs, found = paired(part, alpha)
            if found.verdict == "pass":
                break
    else:
        part = dataset
        try:
            session.scores(run, dataset)
        except NotFinite as error:
            return case.unmeasured(error, context.diagnose(run))
        try:
            mine, theirs, found = paired(dataset, looks[-1])
        except AllAlike as error:
            return case.unjudged(all_alike(metric, dataset, error))
        except ValueError as error:
            # The reference itself scores nothing here, or holds NaN: that says nothing about the combination.
            of = whose.removesuffix("'s")
            cause = f"{metric} on {dataset.name} cannot be judged: {str(error).replace('the reference', of)}"
            return case.failed(Diagnosis(DATASET, cause, f"give data on which {of} scores above chance"))
    message = (
        f"{'reaches' if beyond else 'keeps'} {found.observed:.2%} of {whose} {metric} on {dataset.name} "
        f"({mine.value:.4f} of {theirs.value:.4f}), {'more than ' * beyond}{1 - tolerance:.2%} is required"
    )

    # A similarity has no better direction of its own: any move away from the reference's is shown.
    change = mine.items - theirs.items
    change = -np.abs(change) if metric == "spearman" else change

    # Of very many texts, the neighbours of a sample are looked up.
    by_item = len(change) == len(part)

    def worst() -> list[WorstText]:
        if not by_item:
            return []
        order = [int(i) for i in np.argsort(change, kind="stable")[:WORST] if change[i] < 0]
        return [WorstText(dataset.item_text(i), float(theirs.items[i]), float(mine.items[i])) for i in order]

    judged = case.compared(
        found,
        message,
        mine.value,
        theirs.value,
        # Between two models, or two files, layers differ everywhere.
        diagnose=(lambda: context.diagnose(run)) if _is_reference_of(other, run) else None,
        worst=worst,
        items=len(dataset) if len(parts) > 1 else None,
    )
    slices = _slices(part, mine, theirs) if by_item else ()
    lost = _lost_most(slices, mine.value - theirs.value) if judged.verdict == "fail" else ()
    return replace(judged, slices=slices, details=(*judged.details, *lost))


def all_alike(metric: str, dataset: Dataset, error: AllAlike) -> Diagnosis:
    """Why a metric of a dataset whose items all repeat one another is not judged."""
    cause = f"{metric} on {dataset.name} cannot be judged: {error}"
    return Diagnosis(
        DATASET, cause, "give texts that differ, or a `cluster` column that says which items belong together"
    )


def _is_reference_of(other: Run, run: Run) -> bool:
    return other.model is run.model and other.combination == run.combination.reference != run.combination


class _Shared(Share):
    shared: float


def _shared(context: Context, case: Case) -> _Shared:
    """What gives the upper end its level: the same at every look, since only the last one can be red."""
    return {"shared": context.alpha, **context.share(case)}


def _slices(dataset: Dataset, mine: Scores, theirs: Scores) -> tuple[Slice, ...]:
    """A metric of two runs over each slice of a dataset."""
    largest = {*sorted(dataset.slices, key=lambda name: -len(dataset.slices[name]))[:MOST_SLICES]}
    named = {name: rows for name, rows in dataset.slices.items() if len(rows) >= FEWEST and name in largest}
    return tuple(Slice(name, len(rows), mine.of(rows).value, theirs.of(rows).value) for name, rows in named.items())


def _lost_most(slices: Sequence[Slice], overall: float) -> tuple[str, ...]:
    """The slices that lost most of the metric, where they lost more than the dataset as a whole."""
    changes = sorted((each.value - each.reference_value, each.name, each.items) for each in slices)
    lost = [each for each in changes if each[0] < overall][:3]
    shown = ", ".join(f"{name} {change:+.4f} ({items} items)" for change, name, items in lost)
    return (f"lost most in slices: {shown}; {overall:+.4f} overall",) if shown else ()


RETENTION = Check(
    "retention",
    retention,
    candidates,
    of_datasets,
    depth="quick",
    family="quality",
    texts="some",
    tolerances=("retention",),
    vocabulary=lambda: METRICS,
)
AGREEMENT = Check(
    "agreement",
    agreement,
    candidates,
    of_texts,
    depth=by_text_first,
    family="quality",
    texts="some",
    tolerances=("floor",),
    vocabulary=lambda: METRICS,
)
ORDER_KEPT = Check(
    "ordering.kept",
    order_kept,
    candidates,
    of_order,
    family="quality",
    reproduces=True,
    texts="some",
    tolerances=("floor",),
    vocabulary=lambda: METRICS,
)
