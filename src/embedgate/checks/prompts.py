"""Is each text encoded with the prompt of its role? Dropped, doubled and exchanged ones are reproduced, then named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from embedgate.checks.check import Case, Check, Subject, live_candidates
from embedgate.checks.context import Context, measuring
from embedgate.core.combination import Combination
from embedgate.core.judgement import Diagnosis, Judgement, quoted
from embedgate.core.roles import DOCUMENT, QUERY, ROLES, Input, shown_prompt
from embedgate.core.similarity import normalised
from embedgate.diagnosis.prompts import HALF, SAME, SOME, Way, taken, way_of, wrong_ways
from embedgate.metrics import Matrix
from embedgate.runtime.plan import Plan
from embedgate.runtime.session import Run

# Texts of a role that are encoded in every wrong way by the reference.
PROBES = 32
# Of these, the texts that are encoded one at a time, and as others that the encoder has not met.
FEW = 8
NEXT_STEP = (
    "encode queries by encode_query and documents by encode_document, or give --gate-prompt what you mean to serve"
)
SOME_STEP = (
    "look for what sets these texts apart: their place in a batch, their length, the code that asks, or a cache that "
    "knows them in another role"
)
AGAIN, AGAIN_STEP = (
    " when it is encoded again",
    "look for what changes from call to call: a counter, a setting, a cache",
)
ALONE, ALONE_STEP = " when it is encoded alone", "add the prompt where a single text is encoded, as where many are"


def of_roles(plan: Plan) -> Iterable[Subject]:
    """Each role of the datasets whose prompt can be missed."""
    if plan.is_bundled_model:
        return
    used = {role for dataset in plan.datasets for role in dataset.roles}
    for name in ROLES:
        if name in used and wrong_ways(plan.model.roles, name):
            yield Subject.named(name)


@measuring
class Missed:
    """What each reference makes of a few texts of a role in every wrong way, encoded once for all combinations."""

    def __init__(self, context: Context) -> None:
        self._session = context.session
        self._known: dict[tuple[Combination, str], dict[Way, Matrix]] = {}

    def ways(self, reference: Run, name: str, probes: Sequence[Input]) -> Mapping[Way, Matrix]:
        """Normalised embeddings of the texts, float32 `[n, dim]`, by what happened to the prompt."""
        key = reference.combination, name
        if key not in self._known:
            self._known[key] = self.of(reference, name, [each.text for each in probes])
        return self._known[key]

    def of(self, reference: Run, name: str, texts: Sequence[str]) -> dict[Way, Matrix]:
        """As `ways`, of any texts, and not remembered."""
        return {
            way: normalised(self._session.encode_as(reference, way.role, way.texts(texts)))
            for way in wrong_ways(reference.model.roles, name)
        }


def as_its_role(context: Context, case: Case) -> Judgement:
    """Whether texts of a role are encoded with its prompt, by its route: at first, again, and one at a time."""
    name = case.subject.metric
    run, reference = context.run(case), context.reference_run(case)
    probes = _probes(run, name)
    if run.embeddings.dim != reference.embeddings.dim:
        cause = f"{run.embeddings.dim} dimensions instead of the reference's {reference.embeddings.dim}"
        return case.failed(Diagnosis("dimension", cause, "see which model the encoder loads"))
    # As the wrong ones: a model that compares by dot product has vectors of any length.
    mine, right = (arm.embeddings.unit(arm.embeddings.rows(probes)) for arm in (run, reference))
    if not np.isfinite(mine).all():
        return case.failed(context.diagnose(run), f"{name} cannot be judged: embeddings hold NaN or infinity")
    wrong = context.of(Missed).ways(reference, name, probes)
    if missed := _missed(context, case, probes, mine, right, wrong):
        return missed
    role, texts = context.plan.model.roles[name], [each.text for each in probes]
    again = normalised(context.session.encode_as(run, role, texts))
    if missed := _missed(context, case, probes, again, right, wrong, AGAIN):
        return missed
    some = _spread(len(probes), FEW)
    alone = np.concatenate([normalised(context.session.encode_as(run, role, [texts[row]])) for row in some])
    of_some = {way: vectors[some] for way, vectors in wrong.items()}
    return (
        _missed(context, case, [probes[row] for row in some], alone, right[some], of_some, ALONE)
        or _cached(context, case, texts, again, right, wrong)
        or case.passed(f"encodes {_shown(context, name)}", n=len(probes))
    )


def missed_alone(context: Context, run: Run, name: str, text: str) -> Diagnosis | None:
    """That a text misses the prompt of its role alone, and not beside another, or the other way round; else None."""
    session, role = context.session, run.model.roles[name]
    if not context.plan.is_live(run.combination.reference):
        return None
    reference = session.run(run.combination.reference, run.model)
    if run.embeddings.dim != reference.embeddings.dim:
        return None
    right = normalised(session.encode_as(reference, role, [text]))
    wrong = context.of(Missed).of(reference, name, [text])
    alone, beside = (
        way_of(normalised(session.encode_as(run, role, texts))[:1], right, wrong) for texts in ([text], [text] * 2)
    )
    if alone == beside:
        return None
    parts = ((alone, ALONE), (beside, " when it is encoded with others"))
    cause = " and ".join(f"{way.about}{when}" for way, when in parts if way is not None)
    return Diagnosis("prompt", f"{_named(name)} {cause}", ALONE_STEP if alone else SOME_STEP)


def _missed(
    context: Context,
    case: Case,
    probes: Sequence[Input],
    mine: Matrix,
    right: Matrix,
    wrong: Mapping[Way, Matrix],
    when: str = "",
) -> Judgement | None:
    """The failure of texts that took a wrong way, as it was when they were encoded; None where they took none."""
    found = taken(mine, right, wrong)
    if found is None:
        return None
    name, n = case.subject.metric, len(probes)
    shown, step = _shown(context, name), {AGAIN: AGAIN_STEP, ALONE: ALONE_STEP}.get(when)
    if found.rows:
        first = quoted(probes[found.rows[0]].text, 60)
        cause = f"{_named(name)} {found.about} of {n} texts{when}, among them {first}; right is {shown}"
        diagnosis = Diagnosis("prompt", cause, step or SOME_STEP)
        return case.failed(diagnosis, value=found.share, limit=(SOME - 1) / n, n=n)
    cause = (
        f"{_named(name)} {found.about}{when}: the embeddings lie {found.share:.0%} of the way from the right ones "
        f"({shown}) to those that the reference makes so"
    )
    return case.failed(Diagnosis("prompt", cause, step or NEXT_STEP), value=found.share, limit=HALF, n=n)


def _cached(
    context: Context, case: Case, texts: Sequence[str], before: Matrix, first: Matrix, ways: Mapping[Way, Matrix]
) -> Judgement | None:
    """The failure of an encoder that gives a text's embedding in this role again when it comes in another; else None.

    Args:
        context: The session.
        case: The combination and the role.
        texts: The texts.
        before: The combination's embeddings in this role, which are not wrong, float32 `[n, dim]`.
        first: The reference's.
        ways: The reference's in every wrong way.
    """
    name, roles = case.subject.metric, context.plan.model.roles
    way = next((each for each in ways if each.other), None)
    if way is None:
        return None
    run, other = context.run(case), way.other
    now = normalised(context.session.encode_as(run, roles[other], texts))
    apart = np.linalg.norm(ways[way] - first, axis=1) > SAME
    again = np.linalg.norm(now - before, axis=1)[apart] < SAME
    # Where it does the same with texts that it has not met, it encodes in the other role so, and remembers nothing.
    if not again.sum() > HALF * max(len(again), 1) or not _right_at_first(context, case, texts, other):
        return None
    cause = (
        f"{again.sum()} of {len(again)} texts that were encoded as {name} before get the same embedding when they come "
        f"as {other}"
    )
    step = "look for a cache that keeps embeddings by the text alone: the role belongs to its key"
    return case.failed(Diagnosis("prompt", cause, step), value=float(again.mean()), limit=HALF, n=len(again))


def _right_at_first(context: Context, case: Case, texts: Sequence[str], other: str) -> bool:
    """Whether a combination encodes texts that it has not met as another role, and not as this one."""
    name, session, roles = case.subject.metric, context.session, context.plan.model.roles
    fresh = [f"{name} {number}: {texts[number]}" for number in _spread(len(texts), FEW)]
    arms = ((context.run(case), other), (context.reference_run(case), other), (context.reference_run(case), name))
    mine, right, taken_for = (normalised(session.encode_as(run, roles[role], fresh)) for run, role in arms)
    nearer = np.linalg.norm(mine - right, axis=1) < np.linalg.norm(mine - taken_for, axis=1)
    return bool(nearer.mean() > HALF)


def _named(name: str) -> str:
    return f"a {name}" if name in (QUERY, DOCUMENT) else f"a text for {name}"


def _shown(context: Context, name: str) -> str:
    return f"{_named(name)} with {shown_prompt(context.plan.model.roles[name])}"


def _probes(run: Run, role: str) -> list[Input]:
    """A few texts of a role, evenly spread by length."""
    own = [each for each in run.embeddings.inputs if each.role == role]
    return [own[row] for row in _spread(len(own), PROBES)]


def _spread(count: int, most: int) -> list[int]:
    """Rows of so many, evenly spread."""
    return [int(row) for row in np.linspace(0, count - 1, min(most, count)).astype(int)]


PROMPT = Check(
    "prompt",
    as_its_role,
    live_candidates,
    of_roles,
    depth="quick",
    texts="some",
    tolerances=(),
    vocabulary=lambda: ROLES,
)
