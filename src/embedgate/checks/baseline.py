"""Did anything regress since it was approved? Values, and what becomes of golden texts."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import replace

from embedgate.approved.baseline import Found
from embedgate.approved.tensors import TensorApproval
from embedgate.checks.approvals import Approvals, libraries_since
from embedgate.checks.check import Case, Check
from embedgate.checks.context import Context
from embedgate.checks.stored import FEWEST_CALIBRATION, StoredVectors
from embedgate.core.combination import Combination
from embedgate.core.errors import BaselineError, counted
from embedgate.core.judgement import APPROVAL, TOLERATED_SINCE, UNKNOWN, Diagnosis, Judgement
from embedgate.data import load_golden
from embedgate.diagnosis.golden import drifted, largest_move
from embedgate.metrics.statistics import compare_drift
from embedgate.runtime.session import Run

# How the names of what is found among 8-bit codes by their approved ranges end.
EIGHT_BITS = "@int8"


def values(context: Context, case: Case) -> Judgement:
    """Whether what a combination measures is what was approved."""
    run, combination, approvals = context.run(case), case.combination, context.of(Approvals)
    approvals.ask(combination)
    if context.settings.update:
        with suppress(ValueError):  # NaN, or a dimension of its own: nothing to approve
            approvals.measure(run)
        return case.passed("to be recorded when the session ends")
    record = context.approve_command
    try:
        found = approvals.baseline(combination)
    except BaselineError as error:
        approvals.measure_anyway(run)
        return case.untrusted(error)
    if found is None:
        approvals.measure_anyway(run)
    if _has_nothing(context, run):
        return case.passed("nothing to approve of a reference on texts without labels")
    if found is None:
        return _never_approved(context, case, "baseline")
    try:
        measured = approvals.measure(run)
    except ValueError as error:  # NaN, or a dimension of its own
        return case.failed(context.diagnose(run), f"cannot be measured: {error}")
    missing, worse, better, largest = [], [], [], 0.0
    served: Counter[str] = Counter()
    files: dict[str, None] = {}
    since: dict[str, None] = {}
    try:
        if gone := _missing_ranges(context, combination, found):
            step = f"restore the file from git, or record it anew: {context.record_command}"
            return case.failed(Diagnosis(APPROVAL, gone, step))
        for (dataset, sha256, metric), scores in measured.items():
            approved = found.get(combination.id, dataset, sha256, metric)
            if approved is None and found.has_other_texts(combination.id, dataset):
                continue  # approved over other datasets together: there, a text has other neighbours
            if approved is None:
                missing.append(f"{dataset} {metric}")
                continue
            entry = approved.entry
            files[approvals.changed_file(combination, approved)] = None
            served[approved.profile + (" (inherited)" if approved.inherited else "")] += 1
            drift = context.tolerances.drift(combination, metric, inherited=approved.inherited)
            outcome = compare_drift(scores.value, entry.value, drift)
            largest = max(largest, abs(scores.value - entry.value))
            line = f"{dataset} {metric}: {scores.value:.4f}, approved {entry.value:.4f} (±{drift:g} tolerated)"
            if outcome == "fail":
                worse.append(line)
                since[libraries_since(context.session, combination, approved.provenance.libraries)] = None
            elif outcome == "stale":
                better.append(line)
    except BaselineError as error:
        return case.untrusted(error)
    where, n = " and ".join(served) or found.profile, counted(len(measured), "value")
    unknown = [*filter(None, files), *(f"not approved yet: {name}" for name in missing)]
    if worse:
        cause = f"regressed from what was approved for {where} in {len(worse)} of {n}"
        step = f"find what changed; once it is meant: {record}"
        return case.failed(Diagnosis("baseline", cause, step), details=(*since, *worse, *unknown))
    if missing:
        cause = f"never approved for {where}: {len(missing)} of {n}"
        return case.failed(Diagnosis(APPROVAL, cause, f"approve what you see by: {record}"), details=tuple(unknown))
    message = f"within what was approved for {where}: {n}, largest difference {largest:.4f}"
    if better:
        message += f"; {len(better)} better than approved, approve them by: {record}"
    return case.passed(message, details=(*filter(None, files), *better))


def _has_nothing(context: Context, run: Run) -> bool:
    """Whether a run is a reference's on unlabelled texts alone: it agrees with itself, and these tell nothing else."""
    unlabelled = len(context.plan.unlabelled) == len(context.plan.datasets)
    return run.combination.is_reference and unlabelled and not context.of(StoredVectors).known(run)


def golden(context: Context, case: Case) -> Judgement:
    """Whether the golden texts have the approved tokens and embeddings."""
    session, model, combination = context.session, context.plan.model, case.combination
    profile = context.profile_of(combination)
    texts, sha256 = load_golden()
    run, approvals = context.run(case), context.of(Approvals)
    approvals.take_reference(run)
    now = session.golden(run)
    if context.settings.update:
        return case.passed("to be recorded when the session ends")
    try:
        approved = approvals.golden.find_all(profile, model, combination.id, sha256, len(texts))
    except BaselineError as error:
        return case.untrusted(error)
    if approved is None:
        return _never_approved(context, case, "golden texts")
    move, why = _golden_move(context, run, approved.approval)
    read = session.inside(run, run.model.roles.spread(texts)).read
    found = drifted(now, approved.value, texts, move, read)
    if found is None:
        worst = largest_move(now, approved.value)
        message = f"{len(texts)} texts as approved for {approved.profile}: largest move {worst:.2g}, "
        told = f"{move:g}{TOLERATED_SINCE}{why}" if why else f"{move:g} is tolerated"
        return case.passed(f"{message}{told}", value=worst, limit=move, n=len(texts))
    return case.failed(
        replace(found, next_step=f"{found.next_step}; once it is meant: {context.approve_command}"),
        f"{_differing(found.layer)} of the golden texts differ from what was approved for {approved.profile}",
        limit=move,
        n=len(texts),
        details=(
            libraries_since(session, combination, approved.approval.libraries),
            *([f"a move of {move:g}{TOLERATED_SINCE}{why}"] if why else []),
        ),
    )


def _differing(layer: str) -> str:
    return "embeddings" if layer == UNKNOWN else layer


def _golden_move(context: Context, run: Run, approval: TensorApproval) -> tuple[float, str]:
    """How far golden texts may move from the approved ones, and why; no reason where it is so far everywhere."""
    tolerances, combination = context.tolerances, run.combination
    anywhere, same = (tolerances.golden_move(combination, same_machine=each) for each in (False, True))
    if same == anywhere:
        return anywhere, ""
    other = context.of(Approvals).departs(run, approval)
    return (anywhere, other) if other else (same, "all that computed it is as it was then")


def _never_approved(context: Context, case: Case, what: str) -> Judgement:
    chain = " or ".join(context.profile_of(case.combination).chain)
    verb = "are" if what.endswith("s") else "is"
    cause = f"no {what} of {context.plan.model.name} {verb} approved for {chain}"
    return case.failed(Diagnosis(APPROVAL, cause, f"approve what you see by: {context.approve_command}"))


def _missing_ranges(context: Context, combination: Combination, found: Found) -> str | None:
    """Says what is missing where values of 8-bit codes are approved and their ranges are not; None where nothing is."""
    ranges = context.of(StoredVectors).ranges.get(combination)
    if ranges is None or ranges.vectors < FEWEST_CALIBRATION:
        return None  # too few are never approved
    id_, model = combination.id, context.plan.model
    served = (each for each in found.chain() if any(name.endswith(EIGHT_BITS) for name in each.datasets(id_)))
    approved, store = next(served, None), context.of(Approvals).ranges
    if approved is None or store.find(context.profile_of(combination), model, id_) is not None:
        return None
    return f"ranges of {id_} were approved and are missing: {store.file(approved.profile, model.name)}"


GOLDEN = Check(
    "golden",
    golden,
    depth="quick",
    against="approved",
    texts="some",
    tolerances=("golden",),
)
BASELINE = Check(
    "baseline",
    values,
    against="approved",
    tolerances=("drift", "drift_inherited"),
)
