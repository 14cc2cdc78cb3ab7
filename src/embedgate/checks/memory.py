"""Is it really smaller? Memory in a fresh process, bytes of weights and artefact, and what products compute in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from embedgate.approved.entries import Entry, Key
from embedgate.checks.approvals import drifted
from embedgate.checks.budgets import ApprovedBudgets
from embedgate.checks.check import Case, Check, local, local_candidates
from embedgate.checks.context import Context, measuring
from embedgate.checks.speed import fresh_processes
from embedgate.core.combination import Combination
from embedgate.core.errors import BaselineError
from embedgate.core.judgement import APPROVAL, PROMISE, Diagnosis, Judgement
from embedgate.core.judgement import megabytes as mb
from embedgate.encoders.evidence import promised
from embedgate.metrics import BUDGET
from embedgate.performance import footprint
from embedgate.performance.footprint import BATCH, PEAK_WORKLOAD, Footprint

# Memory that stays after every batch counts as a leak from this share of the bytes of a batch's own embeddings.
LEAK = 0.25
# Bytes by which resident memory may differ, however small it is: pages, arenas, what a library keeps. A peak of torch's
# was seen to differ by 25 MB between two processes, with the order in which its threads free and take large blocks.
NOISE_BYTES = {"loaded": 8_000_000, "peak": 32_000_000, "device_peak": 8_000_000}
# Of what int8 saves where every product is quantized (three bytes of four), the least that must be saved.
LEAST_SAVING = 0.5
INT8_SAVES = 0.75
# What memory and size are measured as, and what a person calls it.
MEMORY = {
    "loaded": "memory once loaded",
    "peak": "memory at its peak",
    "device_peak": "memory of the device",
}
BYTES = {"weight_bytes": "weights", "artefact_bytes": "artefact"}
# What the share of products in the promised type is approved as.
PRODUCTS = "products_in_promised_type"
# Baselines keep six digits; one product of a hundred thousand is more than what that rounds.
ROUNDED = 5e-6
TELL = "give it evidence() (docs/add-a-backend.md)"


@measuring
class Footprints:
    """What combinations take in a fresh process, each measured once."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._known: dict[Combination, Footprint] = {}

    def of(self, combination: Combination) -> Footprint:
        """What one takes.

        Raises:
            GateError: If it cannot be measured.
        """
        if combination not in self._known:
            self._known[combination] = self._context.of(fresh_processes).footprint(combination)
        return self._known[combination]


def memory(context: Context, case: Case) -> Judgement:
    """Whether a combination stays within its memory in a fresh process, and keeps none with every batch."""
    run, fresh = context.run(case), context.of(fresh_processes)
    found = run.footprint = context.of(Footprints).of(case.combination)
    weights = run.evidence.weight_bytes
    times = f", {found.loaded / weights:.1f} times its weights" if weights else ""
    shown = f"{mb(found.loaded)} once loaded{times}; {mb(found.peak)} at its peak ({PEAK_WORKLOAD})"
    if found.device_peak is not None:
        shown += f"; {mb(found.device_peak)} of the GPU's"
    shown = "; ".join((shown, *found.notes))

    def anew() -> Footprint:
        with fresh.another(case.combination) as worker:
            return worker.footprint()

    largest = LEAK * BATCH * run.embeddings.dim * 4
    if found.growth > largest:
        kept = min(found.growth, anew().growth)
        if kept > largest:
            cause = f"keeps {kept / 1e3:.0f} kB of memory with every batch of {BATCH} new texts"
            step = "look for what holds on to texts, tensors or embeddings after encode returns"
            return case.failed(Diagnosis("memory", cause, step), value=float(kept), limit=largest, details=(shown,))

    def advice(excess: float) -> str:
        if weights and excess > 0.8 * weights:
            return f"that is {excess / weights:.1f} times its weights of {mb(weights)} more: are they held twice?"
        return "see which buffers grew"

    measured = [
        Measured(name, f"memory_{name}", label, getattr(found, name), NOISE_BYTES[name])
        for name, label in MEMORY.items()
    ]
    return _within(
        context, case, "memory", footprint.sha256(), measured, shown, advice, lambda name: float(getattr(anew(), name))
    )


def size(context: Context, case: Case) -> Judgement:
    """Whether weights and artefact take no more bytes than approved; of int8, clearly less than fp32's weights."""
    evidence, reference = context.run(case).evidence, context.reference_run(case).evidence
    bytes_of: Mapping[str, int | None] = {
        "weight_bytes": evidence.weight_bytes or None,
        "artefact_bytes": evidence.artefact_bytes,
    }
    measured = [Measured(name, name, label, bytes_of[name]) for name, label in BYTES.items()]
    known = [each for each in measured if each.value]
    shown = ", ".join(f"{mb(each.value)} of {each.label}" for each in known if each.value)
    if not known:
        cause = "the encoder does not report the bytes of its weights or artefact"
        return case.unjudged(Diagnosis("evidence", cause, TELL), "is of unknown size")
    if case.combination.weight_precision.startswith("int8") and reference.product_bytes:
        most = reference.weight_bytes - LEAST_SAVING * INT8_SAVES * reference.product_bytes
        for each in known:
            if each.value and each.value > most:
                cause = (
                    f"{each.label}: {mb(each.value)}, where fp32's weights are {mb(reference.weight_bytes)}: "
                    f"int8 must be below {mb(most)}"
                )
                diagnosis = Diagnosis(
                    PROMISE, cause, "see whether the quantized weights were saved, or fp32 beside them"
                )
                value = float(each.value)
                return case.failed(diagnosis, value=value, observed=value, limit=most, details=(shown,))
    return _within(context, case, "bytes", "", measured, shown, lambda _: "see what was added to it", None)


def products(context: Context, case: Case) -> Judgement:
    """Whether as many matrix products compute in the type the id promises as when it was approved."""
    combination = case.combination
    found, kind = context.run(case).evidence.products, promised(combination)
    total = sum(found.values())
    if kind is None:
        cause = f"the weight precision {combination.weight_precision} promises no type"
        return case.unjudged(Diagnosis("evidence", cause, ""), "its products are not known")
    if not total:
        cause = "the encoder does not report the type its products compute in"
        return case.unjudged(Diagnosis("evidence", cause, TELL), "its products are not known")
    share = found.get(kind, 0) / total
    shown = f"{found.get(kind, 0)} of {total} products with weights compute in {kind}"
    budgets = context.of(ApprovedBudgets)
    entry = Entry(Key(combination.id, BUDGET, PRODUCTS, ""), share, share, share, total)
    try:
        approved, missing = budgets.portable(combination, PRODUCTS)
    except BaselineError as error:
        budgets.keep(entry, None, 0.0)
        return case.untrusted(error)
    budgets.keep(entry, approved, 0.0)
    if context.settings.update:
        return case.passed(f"{shown}; to be recorded", value=share, observed=share)
    record = context.record_command
    if approved is None:
        return case.unjudged(Diagnosis(APPROVAL, missing, f"approve it by: {record}"), shown, value=share)
    was = approved.entry.value
    if share < was - ROUNDED:
        cause = f"{shown}, {was:.1%} of them did when it was approved"
        step = f"see which fell back (evidence in report.json); once it is meant: {record}"
        red = case.failed(Diagnosis("evidence", cause, step), value=share, observed=share, limit=was)
        return drifted(red, context.session, combination, approved)
    stale = f"{shown}, {was:.1%} is approved: stale, approve it by: {record}"
    details = (stale,) if share > was + ROUNDED else ()
    return case.passed(shown, value=share, observed=share, limit=was, details=details)


@dataclass(frozen=True)
class Measured:
    """Bytes that are held against what was approved.

    Attributes:
        name: What `again` knows it by.
        metric: What it is approved as.
        label: What a person calls it.
        value: The bytes; None for what does not exist.
        noise: Bytes by which it may differ by chance.
    """

    name: str
    metric: str
    label: str
    value: int | None
    noise: int = 0


def _within(
    context: Context,
    case: Case,
    layer: str,
    sha256: str,
    measured: list[Measured],
    shown: str,
    step: Callable[[float], str],
    again: Callable[[str], float] | None,
) -> Judgement:
    """Holds bytes against what was approved, or keeps them to be approved.

    Args:
        context: What the session judges by.
        case: The combination.
        layer: `memory` or `bytes`, which names the slack as well.
        sha256: What identifies what is measured.
        measured: The bytes.
        shown: All of them, in one line.
        step: What to try, of the bytes that are too many.
        again: Measures anew what is red, to confirm it; None for what is the same each time and on every machine.
    """
    combination, budgets, record = case.combination, context.of(ApprovedBudgets), context.record_command
    slack, updates = context.tolerances.slack(combination, layer), context.settings.update
    unknown, stale = "", []
    first = float(next(each.value for each in measured if each.value is not None))
    for each in measured:
        try:
            if again is None:
                approved, missing = budgets.portable(combination, each.metric)
            else:
                approved, missing = budgets.memory(combination, each.metric, sha256)
        except BaselineError as error:
            for kept in measured:
                if kept.value is not None:
                    budgets.keep(_entry(combination, kept, sha256), None, slack)
            return case.untrusted(error)
        value = each.value
        if value is None:
            unknown = f"{each.label}: approved, and no longer reported" if approved else unknown
            continue
        budgets.keep(_entry(combination, each, sha256), approved, slack)
        if updates:
            continue
        if approved is None:
            unknown = missing
            continue
        was = approved.entry.value
        limit = max(was * (1 + slack), was + each.noise)
        if value > limit and (again is None or again(each.name) > limit):
            wider = f"{slack:.0%}" if was * slack >= each.noise else mb(each.noise)
            cause = f"{each.label}: {mb(value)}, its budget is {mb(limit)} ({mb(was)} approved, {wider} slack)"
            diagnosis = Diagnosis(layer, cause, f"{step(value - was)}; once it is meant: {record}")
            red = case.failed(diagnosis, value=float(value), observed=float(value), limit=limit, details=(shown,))
            return drifted(red, context.session, combination, approved)
        if value < min(was * (1 - slack), was - each.noise):
            stale.append(f"{each.label}: {mb(value)}, {mb(was)} is approved: stale, approve it by: {record}")
    if updates:
        return case.passed(f"{shown}; to be recorded", value=first)
    if unknown:
        return case.unjudged(Diagnosis(APPROVAL, unknown, f"approve it by: {record}"), shown, value=first)
    return case.passed(shown, value=first, details=tuple(stale))


def _entry(combination: Combination, measured: Measured, sha256: str) -> Entry:
    value = float(measured.value or 0)
    return Entry(Key(combination.id, BUDGET, measured.metric, sha256), value, value, value, 1)


MEMORY_KEPT = Check(
    "memory",
    memory,
    local,
    afresh=True,
    phase="budgets",
    against="approved",
    texts="none",
    tolerances=("budget",),
)
SIZE = Check(
    "size",
    size,
    local,
    depth="quick",
    against="approved",
    texts="none",
    tolerances=("budget",),
)
PRODUCTS_KEPT = Check(
    "products",
    products,
    local_candidates,
    depth="quick",
    against="approved",
    texts="none",
    tolerances=(),
)
