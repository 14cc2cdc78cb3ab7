"""Did what was asked for really run?"""

from __future__ import annotations

import numpy as np

from embedgate.checks.check import Case, Check
from embedgate.checks.context import Context
from embedgate.core.combination import SERVED, Combination
from embedgate.core.embeddings import Embeddings
from embedgate.core.judgement import Diagnosis, Judgement
from embedgate.encoders.evidence import UNPROVEN
from embedgate.runtime.session import Run

# Largest difference of an embedding's component under which an int8 output counts as the reference's own. Backends that
# compute in float32 differ by some 1e-7, the best int8 by some 1e-3.
NOT_QUANTIZED = 1e-5
# Weight precisions that promise nothing smaller than the reference's.
NO_PROMISE = ("fp32", SERVED)
NEXT_STEP = "see how the encoder is built; nothing may stand in for it"


def effective(context: Context, case: Case) -> Judgement:
    """Whether what ran is what the combination's id says, and every embedding is finite."""
    run = context.run(case)
    evidence = run.evidence
    shown = ", ".join(f"{count} {kind}" for kind, count in sorted(evidence.products.items())) or "not shown"
    problems = list(evidence.problems)
    # A model of nothing but a table of embeddings has no products, and none of their bytes.
    unproven = not evidence.products and evidence.product_bytes != 0
    if unproven and context.plan.registry.source(case.combination).proves and UNPROVEN not in problems:
        problems.append(UNPROVEN)
    if not np.isfinite(run.embeddings.matrix).all():
        problems.append(context.diagnose(run).cause)
    elif not case.combination.is_reference:
        problems.extend(_not_quantized(case.combination, *context.session.side_by_side(run)))
    if problems:
        details = (*problems[1:], f"evidence: {evidence.library}, products with weights: {shown}")
        diagnosis = Diagnosis("evidence", problems[0], NEXT_STEP)
        return case.failed(diagnosis, f"is not what its id says: {problems[0]}", details=details)
    return case.passed(f"ran on {evidence.device} in {evidence.library}; products with weights: {shown}")


def is_sound(context: Context, run: Run) -> bool:
    """Whether a run is what its combination's id says, so that it may be approved."""
    return effective(context, Case(EFFECTIVE, run.combination)).verdict == "pass"


def _not_quantized(combination: Combination, mine: Embeddings, theirs: Embeddings) -> list[str]:
    """Tells what shows that a reduced weight precision is really the reference in disguise."""
    weight_precision, kind = combination.weight_precision, combination.reference.weight_precision
    if weight_precision in (*NO_PROMISE, kind) or mine.matrix.shape != theirs.matrix.shape or not len(mine):
        return []
    difference = float(np.abs(mine.matrix - theirs.matrix).max())
    if difference == 0:
        return [f"every embedding is bit-identical to the {kind} reference's, so nothing ran in {weight_precision}"]
    if weight_precision.startswith("int") and difference < NOT_QUANTIZED:
        return [
            f"no embedding differs from the {kind} reference's by more than {difference:.0e}, so nothing ran in int8"
        ]
    return []


EFFECTIVE = Check(
    "effective",
    effective,
    depth="quick",
    against="name",
    texts="some",
    tolerances=(),
)
