"""Is what is new as good as what it replaces, or better? By items, or by the values of an older report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from embedgate.checks.check import Case, Check, Subject
from embedgate.checks.context import Context
from embedgate.checks.quality import kept, of_datasets
from embedgate.core.combination import Combination
from embedgate.core.depth import STANDARD, Depth
from embedgate.core.judgement import DATASET, Diagnosis, Judgement, Verdict
from embedgate.data.types import Dataset, Texts
from embedgate.metrics import METRICS, NotFinite, metrics_of
from embedgate.report.agreement import NEAREST
from embedgate.report.earlier import EarlierReport, Known
from embedgate.runtime.incumbent import Incumbent
from embedgate.runtime.plan import Plan

# Shares that agree in as many digits are equal: reports keep what a metric's sums in another order may change beyond.
SAME = 1e-6
BY_VALUES = "compared by values, since a report holds no scores of single items"


def of_the_new(plan: Plan) -> Sequence[Combination]:
    """The reference, whether it was asked for or not, and every combination that the incumbent can be held against."""
    # Without one, an expected failure may be about any of them.
    return plan.replacing(plan.incumbent) if plan.incumbent is not None else (plan.reference, *plan.encoding)


def of_kept(plan: Plan) -> Iterable[Subject]:
    """Each dataset with each of its metrics; of texts without labels, how many of the nearest are the reference's.

    Where the incumbent is another model, these tell nothing, and are asked about only where there is nothing else.
    """
    yield from of_datasets(plan)
    if plan.incumbent is None or plan.incumbent.kind != "model" or len(plan.unlabelled) == len(plan.datasets):
        for dataset in plan.unlabelled:
            yield Subject(f"{dataset.name}-{NEAREST}", dataset.name, NEAREST, dataset)


def of_superior(plan: Plan) -> Iterable[Subject]:
    """The heading metric of each dataset of `--gate-superior`."""
    for dataset in plan.superior or plan.datasets:
        for metric in metrics_of(dataset.kind):
            if METRICS[metric].heading:
                yield Subject(f"{dataset.name}-{metric}", dataset.name, metric, dataset)


def what_ships_first(plan: Plan, combination: Combination, _: Subject) -> Depth:
    """Standard for combinations, but no reference, for which the incumbent has to be built; quick for all others."""
    incumbent = plan.incumbent
    one = incumbent is not None and (incumbent.combination is not None or incumbent.report is not None)
    ships = combination.is_reference or bool(plan.registry.source(combination).origin)
    return "quick" if one or ships else STANDARD


def upgrade(context: Context, case: Case) -> Judgement:
    """Whether a combination keeps the incumbent's quality on a dataset."""
    return _held(context, case, context.tolerances.upgrade(case.subject.metric), beyond=False)


def superior(context: Context, case: Case) -> Judgement:
    """Whether a combination is better than the incumbent on a dataset."""
    return _held(context, case, -context.tolerances.superior(case.subject.metric), beyond=True)


def _held(context: Context, case: Case, tolerance: float, *, beyond: bool) -> Judgement:
    incumbent = context.session.plan.incumbent
    assert incumbent is not None, "the check is asked with an incumbent alone"
    if isinstance(case.subject.about, Texts) and (unlike := _unlike(context, case, incumbent)):
        return case.unjudged(unlike)
    if incumbent.report is not None:
        return _by_values(context, case, incumbent.report, tolerance, beyond=beyond)
    other = context.session.incumbent_run(case.combination)
    return kept(context, case, other, tolerance, _whose(incumbent, case, other.combination), beyond=beyond)


def _unlike(context: Context, case: Case, incumbent: Incumbent) -> Diagnosis | None:
    """Why texts without labels cannot tell what is better: the incumbent is no way of running the same model."""
    why = f"{incumbent.name} is another model"
    if incumbent.report is not None:
        return None
    if incumbent.kind != "model":
        other = context.session.incumbent_run(case.combination)
        if other.embeddings.dim != context.reference_run(case).embeddings.dim:
            why = f"{incumbent.name} has {other.embeddings.dim} dimensions"
        else:
            value = context.session.scores(other, case.subject.about)[NEAREST].value
            if value >= context.tolerances.floor(case.combination, NEAREST):
                return None
            why = f"{value:.1%} of {incumbent.name}'s nearest texts are those of this model"
    cause = f"{case.subject.dataset} has no labels, and {why}: which of the two is better cannot be told"
    return Diagnosis(DATASET, cause, "give data with labels as well")


def _whose(incumbent: Incumbent, case: Case, combination: Combination) -> str:
    """What messages call it; with its combination where that is another than the case's."""
    apart = incumbent.kind == "model" and combination != case.combination
    return f"{incumbent.name}'s" + (f" ({combination})" if apart else "")


def _by_values(context: Context, case: Case, report: EarlierReport, tolerance: float, *, beyond: bool) -> Judgement:
    """A judgement by the value that an older report has: the same model on the same items, with other libraries."""
    run, metric, dataset = context.run(case), case.subject.metric, case.subject.about
    known = report.value(case.combination.id, dataset, metric)
    if known is None or not known.value > 0:
        return case.unjudged(_unknown(report, case, dataset, known))
    try:
        value = context.session.scores(run, dataset)[metric].value
    except NotFinite as error:
        return case.unmeasured(error, context.diagnose(run))
    limit = 1 - tolerance
    share = _settled(value / known.value, limit)
    message = (
        f"{'reaches' if beyond else 'keeps'} {share:.2%} of what {report.name} has of {metric} on {dataset.name} "
        f"({value:.4f} of {known.value:.4f}), {'more than ' * beyond}{limit:.2%} is required; {BY_VALUES}"
    )
    verdict = _verdict(share, limit, beyond=beyond)
    return case.judgement(
        verdict,
        message,
        value=value,
        reference_value=known.value,
        observed=share,
        limit=limit,
        details=_interval_then(known) if verdict == "fail" else (),
    )


def _settled(share: float, limit: float) -> float:
    """A share, or the limit where rounding alone tells them apart."""
    return limit if abs(share - limit) <= SAME else share


def _verdict(share: float, limit: float, *, beyond: bool) -> Verdict:
    if beyond and share == limit:
        return "inconclusive"
    return "pass" if share >= limit else "fail"


def _unknown(report: EarlierReport, case: Case, dataset: Dataset, known: Known | None) -> Diagnosis:
    metric = case.subject.metric
    cause = f"{report.name} has no {metric} of {case.combination} on {dataset.name}"
    if apart := report.apart(dataset):
        cause = f"{report.name} cannot be compared with: {apart}"
    elif known is not None:
        cause = f"{report.name} has {metric} {known.value:.4g} on {dataset.name}: nothing to keep a share of"
    return Diagnosis(DATASET, cause, "give a report of a session that judged the same data at the same depth")


def _interval_then(known: Known) -> tuple[str, ...]:
    if known.low is None or known.high is None:
        return ()
    return (f"the value then had the interval {known.low:.4f} to {known.high:.4f}, over items like these",)


def _incumbent_first(context: Context, case: Case) -> None:
    """Runs the incumbent, so that what goes wrong there is no lost quality."""
    incumbent = context.session.plan.incumbent
    if incumbent is not None and incumbent.runs:
        context.session.incumbent_run(case.combination)


def is_asked(plan: Plan) -> bool:
    """With an incumbent."""
    return plan.settings.incumbent is not None


UPGRADE = Check(
    "upgrade",
    upgrade,
    of_the_new,
    of_kept,
    asked=is_asked,
    depth=what_ships_first,
    against="incumbent",
    family="quality",
    before=_incumbent_first,
    in_rows=False,
    in_receipts=False,
    tolerances=("upgrade",),
    vocabulary=lambda: METRICS,
)
SUPERIOR = replace(
    UPGRADE,
    name="superior",
    judge=superior,
    over=of_superior,
    asked=lambda plan: is_asked(plan) and bool(plan.superior),
    against="gain",
    tolerances=("superior",),
)
