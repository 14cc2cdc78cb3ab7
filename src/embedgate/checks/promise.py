"""A combination whose promise is speed and that is slower than fp32: a finding without any baseline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from embedgate.approved.tolerances import Promise
from embedgate.checks.budgets import most_checks
from embedgate.checks.check import Case
from embedgate.checks.context import Context
from embedgate.checks.machine import probe
from embedgate.core.judgement import PROMISE, Diagnosis, Judgement
from embedgate.encoders.evidence import promised
from embedgate.performance.paired import TO_RECORD, Aim, Levels, Ratio, hold
from embedgate.performance.workloads import Workload

# What the probe calls the types that products are promised in.
PROBED = {"bfloat16": "bf16", "float16": "fp16", "int8": "int8"}


def slower_than_promised(
    context: Context,
    case: Case,
    judged: Judgement,
    values: npt.NDArray[np.float64],
    again: Callable[[float], npt.NDArray[np.float64]],
    levels: Levels,
) -> Judgement | None:
    """Returns a red judgement where all of a workload's interval lies beyond what the combination promises, twice.

    Tolerances say what is promised, and for whom. It counts where this machine computes the promised type so much
    faster than float32 that the promise can be kept, which the probe tells.

    Args:
        context: What the session judges by.
        case: The combination and workload.
        judged: What was found, to be given its verdict.
        values: The ratios of the times, a value per block.
        again: Measures once more, held against a limit: the ratios, a value per block.
        levels: How sure to be.
    """
    load, promise = case.subject.about, _promise(context, case)
    if promise is None:
        return None
    found = hold(values, Aim(promise.most, levels))
    if found.low <= promise.most or not _computes(context, case, promise.products):
        return None
    confirming = again(promise.most)
    confirmed = hold(confirming, Aim(promise.most, levels))
    if confirmed.low <= promise.most:
        return None
    told = _told(load, found, promise.most)
    both = f"interval from {found.low:.3f}, and from {confirmed.low:.3f} in another fresh process"
    step = (
        "see which kernels ran (evidence in report.json), and what encode does beside its products; "
        f"where it is not meant to be faster: [combination.{case.combination}.promise] in "
        f"{context.settings.tolerances_to_edit}"
    )
    limit, layer = promise.most, Diagnosis(PROMISE, told, step)
    most = most_checks(levels, [values, confirming], lambda _: limit)
    red = replace(judged, verdict="fail", message=told, limit=limit, diagnosis=layer, details=(both,))
    return replace(red, largest_family=most)


def is_suspect(context: Context, case: Case, found: Ratio) -> bool:
    """Whether a combination seems slower than it promises, in too few blocks for an interval of any level.

    Args:
        context: What the session judges by.
        case: The combination and workload.
        found: The ratio of the times.
    """
    promise = _promise(context, case)
    return promise is not None and found.median > promise.most and found.blocks < TO_RECORD


def _promise(context: Context, case: Case) -> Promise | None:
    """What a combination promises of its time beside fp32's; None where it is held against another reference."""
    combination = case.combination
    if combination.reference.weight_precision != "fp32":
        return None
    return context.tolerances.promise(combination, case.subject.about.slack)


def _computes(context: Context, case: Case, times: float) -> bool:
    """Whether this machine's products in the promised type are so many times as fast as float32's."""
    name = PROBED.get(promised(case.combination) or "")
    if name is None or case.combination.device != "cpu":
        return False
    gain: float | None = getattr(context.of(probe), name)
    return gain is not None and gain >= times


def _told(load: Workload, found: Ratio, most: float) -> str:
    what = "slower than fp32" if most == 1 else f"slower than promised ({most:g} of the reference's time)"
    return f"{what}: takes {found.median:.3f} of the reference's time for {load}"
